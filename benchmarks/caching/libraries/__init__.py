"""Libraries that cache the results of functions, one file each; those that are not installed are left out by name."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

__all__ = ["NAMES", "ROOM", "Library", "load"]

_PLACES = {
    "eagerly": "ours:Eagerly",
    "joblib": "joblib:Joblib",
    "joblib-mmap": "joblib:JoblibMapped",
    "diskcache": "diskcache:Diskcache",
    "diskcache-barrier": "diskcache:DiskcacheBarrier",
    "lru_cache": "lru_cache:LruCache",
    "cachetools": "cachetools:Cachetools",
    "cachetools-condition": "cachetools:CachetoolsCondition",
    "daglite": "daglite:Daglite",
    "prefect": "prefect:Prefect",
}
NAMES = tuple(_PLACES)

ROOM = 2**36
"""Bytes that stores may take, where they have a limit: nothing is to make room for anything else."""
"""The libraries, in the order of their columns."""


class Library:
    """One way to cache, opened in one folder. A subclass for each.

    Attributes:
        title: The head of its column.
        distribution: The installed package whose version the table names, or None for the standard library.
        module: What to look for to see whether it is there.
        on_disk: Whether processes can share its results.
        apart: Whether it starts threads or servers and is timed in a process of its own, with eagerly beside it.
        leaves_out: Checks that would say nothing of it; see `checks.CHECKS`.
    """

    title: ClassVar[str]
    distribution: ClassVar[str | None]
    module: ClassVar[str]
    on_disk: ClassVar[bool] = True
    apart: ClassVar[bool] = False
    leaves_out: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def available(cls) -> bool:
        return importlib.util.find_spec(cls.module) is not None

    def around(self) -> AbstractContextManager[Any]:
        """What calls of cached functions have to be in, in every thread."""
        return nullcontext()

    def cached(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, with its results cached; called by position."""
        raise NotImplementedError

    def lock(self) -> Callable[[], Any]:
        """A function that takes a lock which processes share, and gives it back. Not all have one."""
        raise NotImplementedError

    def key(self, value: Any) -> Any:
        """What stands for the call of a function with this one argument: two calls are one if this is equal."""
        raise NotImplementedError

    def key_text(self, value: Any) -> str:
        """The key as processes share it."""
        return str(self.key(value))

    def leftovers(self) -> int:
        """How many files there are that no result needs."""
        raise NotImplementedError


def load(name: str) -> type[Library]:
    """The library of that name."""
    module, _, attribute = _PLACES[name].partition(":")
    found: type[Library] = getattr(importlib.import_module(f"benchmarks.caching.libraries.{module}"), attribute)
    return found
