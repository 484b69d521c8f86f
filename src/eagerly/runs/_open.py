"""From a path or a URL to a run store. The class for URLs is only loaded when one is used."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from eagerly._paths import masked
from eagerly.errors import OptionValueError
from eagerly.runs._memory import MemoryRunStore
from eagerly.runs._sqlite import SqliteRunStore

if TYPE_CHECKING:
    from eagerly.runs._protocol import RunStore

__all__ = ["address_of", "open_run_store", "shared_run_store"]

_shared: dict[str, RunStore] = {}
_lock = threading.Lock()


def open_run_store(place: str) -> RunStore:
    """The store at `place`: a `SqliteRunStore` for a path, a `PostgresRunStore` for a ``postgresql://`` URL.

    ``memory://`` is the memory of this process. ``?schema=jobs`` at the end of a URL is the schema of the tables.

    Args:
        place: A path or a URL.

    Raises:
        MissingExtraError: psycopg is not installed, and it is a URL.
        OptionValueError: The URL is for something else.
    """
    scheme, separator, _ = place.partition("://")
    if not separator:
        return SqliteRunStore(place)
    if scheme == "memory":
        return MemoryRunStore(place=place)
    if scheme in ("postgresql", "postgres"):
        from eagerly.runs._postgres import PostgresRunStore

        url, schema = _without_schema(place)
        return PostgresRunStore(url) if schema is None else PostgresRunStore(url, schema=schema)
    raise OptionValueError(
        f"runs cannot be kept at {masked(place)!r}; write a path, as in 'runs.db', or"
        " 'postgresql://user@host:5432/database'"
    )


def address_of(store: RunStore) -> str | None:
    """What another process says to open the same store, passwords included; None if it cannot."""
    if isinstance(store, SqliteRunStore):
        return store.place
    address = getattr(store, "address", None)
    return address if isinstance(address, str) else None


def _without_schema(url: str) -> tuple[str, str | None]:
    address, _, query = url.partition("?")
    parts = query.split("&") if query else []
    named = [part.partition("=")[2] for part in parts if part.startswith("schema=")]
    rest = "&".join(part for part in parts if not part.startswith("schema="))
    return (f"{address}?{rest}" if rest else address), (named[-1] if named else None)


def shared_run_store(place: str) -> RunStore:
    """As `open_run_store`, but the same store for the same place: sessions come and go, and connections stay open."""
    with _lock:
        if place not in _shared:
            _shared[place] = open_run_store(place)
        return _shared[place]
