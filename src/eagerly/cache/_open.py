"""From a path or a URL to a store. The classes for URLs are only loaded when one is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eagerly.cache._disk import DiskStore
from eagerly.cache._memory import MemoryStore

if TYPE_CHECKING:
    from eagerly.cache._protocol import CacheStore

__all__ = ["open_store"]


def open_store(place: str, signing_key: str | None = None) -> CacheStore:
    """The store at `place`: a `DiskStore` for a path, a `RedisStore` for ``redis://``, a `RemoteStore` for other URLs.

    Args:
        place: A path or a URL.
        signing_key: Signs and checks the entries, which stores on other machines require.

    Raises:
        MissingExtraError: The package for this kind of URL is not installed.
        OptionValueError: The URL cannot be one, or needs a signing key.
    """
    key = None if signing_key is None else signing_key.encode()
    scheme, separator, _ = place.partition("://")
    if not separator:
        return DiskStore(place, signing_key=key)
    if scheme == "memory":
        return MemoryStore()
    if scheme in ("redis", "rediss", "unix"):
        from eagerly.cache._redis import RedisStore

        return RedisStore(place, signing_key=key)
    from eagerly.cache._remote import RemoteStore

    return RemoteStore(place, signing_key=key)
