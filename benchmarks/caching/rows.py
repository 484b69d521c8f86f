"""The rows of the first table: what is timed, what it may take, and who takes part."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.caching import work
from benchmarks.caching.libraries import Library, load
from benchmarks.caching.libraries.ours import Eagerly, EagerlyWithoutMemory
from benchmarks.contest import Contestant, Place, Round, calls

__all__ = ["ROWS", "Row", "contestants"]

US, MS = 1e-6, 1e-3
INTS = 100_000


@dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
        key: What ``--only`` selects by.
        title: What the table says.
        target: Seconds that eagerly may take; None where the design names none.
        reachable: Seconds that the design names as what can be reached.
        enter: Makes a round of a library; `size` is that of arrays, in bytes.
        ours: How eagerly takes part.
        on_disk: Whether the others that take part are those that store on the disk, or those that do not.
        large: Whether it moves so much memory that it would disturb the small ones.
        least: Operations in a round at least: a round of a millisecond would be a handful of cold misses.
        needs: The method of a library without which it does not take part.
    """

    key: str
    title: str
    target: float | None
    reachable: float
    enter: Callable[[Library, int], Round]
    ours: type[Eagerly] = EagerlyWithoutMemory
    on_disk: bool = True
    large: bool = False
    least: int = 1
    needs: str = "cached"


def _hit(library: Library, _: int) -> Round:
    return _hits(library, work.add, 1, 2)


def _miss(library: Library, _: int) -> Round:
    return _misses(library.cached(work.add), library.around)


def _lock(library: Library, _: int) -> Round:
    return calls(library.lock(), around=library.around)


def _load(library: Library, size: int) -> Round:
    return _hits(library, work.make_array, size)


def _argument(library: Library, size: int) -> Round:
    return _hits(library, work.total, work.make_array(size))


def _key(library: Library, _: int) -> Round:
    return calls(library.key, list(range(INTS)))


ROWS = (
    Row("hit-memory", "hit, memory tier, two scalars", 5 * US, 2.3 * US, _hit, ours=Eagerly, on_disk=False),
    Row("hit-disk", "hit, disk, two scalars", 14 * US, 10 * US, _hit),
    Row("miss", "miss, with storing and computing once", 80 * US, 60 * US, _miss, ours=Eagerly, least=25),
    Row("lock", "lock of one key between processes, had and given back", None, 1.4 * US, _lock, needs="lock"),
    Row("load", "load an array result of {size}", 0.3 * MS, 0.03 * MS, _load, large=True),
    Row("argument", "hit with an array argument of {size}", 45 * MS, 27 * MS, _argument, large=True),
    Row("key", f"key of {INTS:,} ints", 3 * MS, 2 * MS, _key, large=True),
)


def contestants(
    names: list[str], rows: list[Row], folder: Path, size: int, refused: dict[tuple[str, str], str]
) -> Iterator[tuple[Row, Contestant]]:
    """Who takes part in which row, each in a folder of its own. Those who cannot are noted in `refused`."""
    for row in rows:
        for name in names:
            library = row.ours if name == "eagerly" else load(name)
            if name != "eagerly" and (library.on_disk != row.on_disk or row.key in library.leaves_out):
                continue
            if getattr(library, row.needs) is getattr(Library, row.needs):
                continue
            try:
                work_round = row.enter(library(folder / f"{row.key}-{name}" / "cache"), size)
                work_round(1)
            except Exception as error:  # a library may refuse such values
                print(f"{name}, {row.key}: {error}", file=sys.stderr)
                refused[row.key, name] = type(error).__name__
            else:
                yield row, Contestant(row.key, name, work_round, least=1 if library.apart else row.least)


def _hits(library: Library, function: Callable[..., Any], *arguments: Any) -> Round:
    return calls(library.cached(function), *arguments, around=library.around)


def _misses(function: Callable[..., Any], around: Place) -> Round:
    numbers = itertools.count()

    def run(count: int) -> float:
        with around():
            start = perf_counter()
            for number in itertools.islice(numbers, count):
                function(number, 0)
            return perf_counter() - start

    return run
