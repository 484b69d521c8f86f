"""A cached task in a place that can be damaged, and everything that its calls say.

Helpers only; what they assert holds for every call: it gives the right value, and nothing but our warnings come of it.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eagerly import Clock, session
from eagerly.cache import DiskStore
from eagerly.errors import EagerlyWarning
from eagerly.testing import RecordingHooks
from kinds import Kind

__all__ = ["LARGE", "SMALL", "Calls", "Entries", "both_sizes"]

SMALL, LARGE = 40, 50_000
both_sizes = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["row", "file"])


class Calls:
    """Calls of one cached task, whose result is a function of its argument.

    Attributes:
        store: The store that the next call uses.
        runs: How often the body has run.
        errors: What hooks were told of the cache.
        warned: The messages of our warnings.
    """

    def __init__(
        self, kind: Kind, path: Path, *, size: int = SMALL, clock: Clock | None = None, **options: Any
    ) -> None:
        self.kind, self.path, self.size, self.clock, self.options = kind, path, size, clock, options
        self.runs = 0
        self.errors: list[Exception] = []
        self.warned: list[str] = []
        self.reopen()

        def body(n: int) -> list[str]:
            self.runs += 1
            return self.expected(n)

        self.task = kind.make(body, name="work", cache=True, cache_version="1")

    def expected(self, n: int) -> list[str]:
        return [f"{n:08}", "x" * self.size]

    def reopen(self, **options: Any) -> None:
        """Another store object for the same place, as in another process: nothing in memory, nothing open."""
        self.store = DiskStore(self.path, **{**self.options, **options})

    def __call__(self, n: int, store: Any = None) -> str:
        """Call the task; ``"hit"`` or ``"miss"``."""
        before, hooks = self.runs, RecordingHooks()
        with (
            warnings.catch_warnings(record=True) as caught,
            session(cache_store=store or self.store, plugins=[hooks], clock=self.clock),
        ):
            warnings.simplefilter("always")
            result = self.kind.run(self.task, n)
        hooks.verify()
        assert result == self.expected(n)
        assert all(issubclass(each.category, EagerlyWarning) for each in caught), [str(each) for each in caught]
        self.warned += [str(each.message) for each in caught]
        self.errors += [event.error for event in hooks.events if event.hook == "on_cache_error"]
        assert self.runs - before in (0, 1)
        return "hit" if self.runs == before else "miss"

    def said(self) -> tuple[int, int]:
        """How many warnings and how many errors there were since the last time."""
        found = len(self.warned), len(self.errors)
        self.warned, self.errors = [], []
        return found


class Entries:
    """What is in the folder of a disk store, seen and changed past the store."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def change(self, change: Callable[[bytes], bytes]) -> int:
        """Replace the content of every entry; how many there were."""
        count = 0
        for file in self.files():
            content = change(file.read_bytes())
            file.write_bytes(content)
            count += 1
        with self.index() as connection:
            rows = connection.execute("SELECT rowid, value FROM Cache WHERE value IS NOT NULL").fetchall()
            for rowid, value in rows:
                connection.execute("UPDATE Cache SET value = ? WHERE rowid = ?", (change(value), rowid))
                count += 1
        return count

    def files(self) -> list[Path]:
        return sorted(self.path.glob("??/*.value"))

    def strangers(self) -> list[str]:
        """Everything that is no file of a store that works."""
        known = re.compile(r"cache\.db(-wal|-shm)?|locks|generation|\.gitignore|[0-9a-f]{2}(/[0-9a-f]+\.value)?")
        found = (path.relative_to(self.path).as_posix() for path in self.path.rglob("*"))
        return sorted(name for name in found if not known.fullmatch(name))

    @contextlib.contextmanager
    def index(self) -> Any:
        connection = sqlite3.connect(self.path / "cache.db", isolation_level=None)
        with contextlib.closing(connection):
            yield connection
