"""Maps in turns: wall time, and the processor time of this process and of all that it has started.

As in `benchmarks.contest`, everybody runs once, then everybody again, so that a disturbance hits all. But one operation
here is a whole map, workers are warm before the first turn, and what they burn is counted too.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

__all__ = ["Entrant", "Result", "race"]


@dataclass
class Entrant:
    """One way to do a row.

    Attributes:
        row: Key of the row.
        name: As the table shows it.
        run: Does it once.
        items: How many items that is; by this its time is divided.
        wall: Seconds per item, one for each turn.
        busy: Seconds of processor time per item, likewise.
    """

    row: str
    name: str
    run: Callable[[], object]
    items: int
    wall: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Result:
    """Seconds per item.

    Attributes:
        minimum: Of all turns: what the code costs.
        median: What one got.
        busy: Processor time, the mean: it is told in ticks of the system's clock where there is nothing finer.
        turns: How many there were.
    """

    minimum: float
    median: float
    busy: float
    turns: int


def race(entrants: Sequence[Entrant], *, turns: int, seconds_each: float) -> dict[tuple[str, str], Result]:
    """Run everybody in turns; who is slow runs fewer, at least three, or `turns` if that is less."""
    plans: list[tuple[Entrant, int]] = []
    for each in entrants:
        each.run()  # workers start, imports are made
        begun = perf_counter()
        each.run()
        affordable = max(min(3, turns), int(seconds_each / (perf_counter() - begun)))
        plans.append((each, max(1, turns // affordable)))
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for turn in range(turns):
            for entrant, every in plans:
                if turn % every == 0:
                    _run(entrant)
            gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()
    return {(each.row, each.name): _result(each) for each in entrants}


def _run(entrant: Entrant) -> None:
    others, own, begun = _seconds_of_others(), process_time(), perf_counter()
    entrant.run()
    wall, own = perf_counter() - begun, process_time() - own  # what follows is not theirs
    entrant.wall.append(wall / entrant.items)
    entrant.busy.append((own + _seconds_of_others() - others) / entrant.items)


def _result(entrant: Entrant) -> Result:
    busy = sum(entrant.busy) / len(entrant.busy)
    return Result(min(entrant.wall), median(entrant.wall), busy, len(entrant.wall))


def _seconds_of_others() -> float:
    """Processor time of the processes that this one has waited for, of those below it that are alive, and of theirs."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime + sum(map(_of_process, _started()))


def _started() -> list[int]:
    """The processes below this one."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():  # noqa: PTH112, PTH208 - counted in every turn
        if entry.isdecimal():
            with contextlib.suppress(OSError):
                parents[int(entry)] = int(_stat(entry)[1])
    found, level = [], [os.getpid()]
    while level:
        level = [pid for pid, parent in parents.items() if parent in level]
        found += level
    return found


def _stat(process: str | int) -> list[str]:
    """The fields of its status, from the state on; the name before them may contain anything."""
    return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()


def _of_process(process: int) -> float:
    """Seconds of processor time that a process and the children that it has waited for have used."""
    try:
        own, children = _stat(process)[11:13], _stat(process)[13:15]
    except OSError:
        return 0.0
    threads = _of_threads(process)
    ticks = sum(map(int, children)) + (0 if threads else sum(map(int, own)))
    return threads + ticks / os.sysconf("SC_CLK_TCK")


def _of_threads(process: int) -> float:
    """To the nanosecond, where the system tells it."""
    seconds = 0.0
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{process}/task").iterdir():
            seconds += int((thread / "schedstat").read_text(encoding="utf-8").split()[0]) / 1e9
    return seconds
