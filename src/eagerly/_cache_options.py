"""The ``cache*`` options of `task`: checked once, when a task is declared. Nothing here opens a store."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

from eagerly._numbers import seconds
from eagerly._options import nearest
from eagerly._paths import absolute, path_text
from eagerly.cache._protocol import CacheStore
from eagerly.errors import OptionTypeError, OptionValueError

__all__ = [
    "CACHE_OPTIONS",
    "MODES",
    "CacheHash",
    "CacheMode",
    "CacheOptions",
    "StoreSpec",
    "absolute",
    "cache_options",
    "store_spec",
]

CacheMode: TypeAlias = Literal["on", "off", "read", "refresh"]
CacheHash: TypeAlias = Callable[[Callable[..., Any], dict[str, Any]], str]
StoreSpec: TypeAlias = "str | os.PathLike[str] | CacheStore"

MODES: Final[tuple[str, ...]] = get_args(CacheMode)
CACHE_OPTIONS: Final[dict[str, Any]] = {
    "cache": False,
    "cache_store": None,
    "cache_ttl": None,
    "cache_hash": None,
    "cache_version": None,
    "cache_ignore": (),
}
"""The options that concern caching, with their defaults."""


class CacheOptions(NamedTuple):
    """What a task was told about caching.

    Attributes:
        store: Where results go: a path, a URL or a store; None: where the session says.
        ttl: Seconds that a result is good for, or None.
        hash: Makes the key instead of us.
        version: Stands for the version of the code.
        ignore: Parameters that are no part of the key.
        mode: What holds for this task whatever the session says; for `Task.refresh`.
    """

    store: str | CacheStore | None
    ttl: float | None
    hash: CacheHash | None
    version: str | None
    ignore: frozenset[str]
    mode: CacheMode | None = None


def cache_options(options: Mapping[str, Any], signature: inspect.Signature) -> CacheOptions | None:
    """What `options` say about caching, or None when it is off.

    Raises:
        OptionTypeError, OptionValueError: One has the wrong type, a value that cannot work, or no effect.
    """
    given = {**CACHE_OPTIONS, **{name: options[name] for name in CACHE_OPTIONS if name in options}}
    cache = given["cache"]
    made = CacheOptions(
        store=_store(cache, given["cache_store"]),
        ttl=None if given["cache_ttl"] is None else seconds("task(cache_ttl=...)", given["cache_ttl"], positive=True),
        hash=_hash(given["cache_hash"]),
        version=_version(given["cache_version"]),
        ignore=_ignore(given["cache_ignore"], signature),
    )
    if cache is not False:
        _refuse_beside_hash(made)
        return made
    for name in CACHE_OPTIONS if "cache" not in options else ():  # cache=False switches off what is said beside it
        if name in options and given[name] != CACHE_OPTIONS[name]:
            raise OptionValueError(
                f"task({name}={given[name]!r}) has no effect without caching; write @task(cache=True, {name}=...)"
            )
    return None


def store_spec(
    option: str, value: object, otherwise: str = "leave it out for that of the settings"
) -> str | CacheStore:
    """A path or URL as a string, or the store itself.

    Raises:
        OptionTypeError, OptionValueError: It is neither, or empty.
    """
    if (path := path_text(option, value, otherwise)) is not None:
        return path
    if not isinstance(value, CacheStore):
        raise OptionTypeError(f"{option} takes a path, a URL or a CacheStore, not {value!r}; {otherwise}")
    return value


def _store(cache: object, store: object) -> str | CacheStore | None:
    if isinstance(cache, bool):
        option, place = "task(cache_store=...)", store
    else:
        option, place = "task(cache=...)", cache
        if store is not None:
            raise OptionValueError(
                f"task(cache={cache!r}, cache_store={store!r}) names two stores; write cache=True beside cache_store"
            )
    if place is None and store is None and isinstance(cache, bool):
        return None
    spec = store_spec(option, place, "write cache=True for the store of the session")
    return absolute(spec) if isinstance(spec, str) else spec


def _hash(value: Any) -> CacheHash | None:
    if value is not None and not callable(value):
        raise OptionTypeError(
            f"task(cache_hash=...) takes a function of (func, inputs) that returns a str, not {value!r}"
        )
    return value  # type: ignore[no-any-return]  # its parameters show when it is called


def _version(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise OptionTypeError(
            f"task(cache_version=...) takes a string, not {value!r}; write cache_version={str(value)!r}"
        )
    return value


def _ignore(value: Any, signature: inspect.Signature) -> frozenset[str]:
    if isinstance(value, str):
        raise OptionTypeError(f"task(cache_ignore=...) takes several names; write cache_ignore=({value!r},)")
    try:
        names = frozenset[Any](value)
    except TypeError:
        raise OptionTypeError(f"task(cache_ignore=...) takes names of parameters, not {value!r}") from None
    for name in names:
        if name not in signature.parameters:
            near = nearest(str(name), signature.parameters)
            hint = f"did you mean {near!r}?" if near else f"there are {', '.join(signature.parameters) or 'none'}"
            raise OptionValueError(f"task(cache_ignore=...): there is no parameter {name!r}; {hint}")
    return names


def _refuse_beside_hash(options: CacheOptions) -> None:
    if options.hash is None:
        return
    for name, value in (("cache_version", options.version), ("cache_ignore", tuple(options.ignore) or None)):
        if value is not None:
            raise OptionValueError(
                f"task({name}={value!r}) has no effect beside cache_hash, which makes the key; use it there"
            )
