"""Timing of contestants in turns. Nothing here knows what is being timed.

The machine is shared and noisy: all contestants run one short round each, then all again, so that a disturbance hits
everybody; minima say what the code costs, medians what one gets, and garbage collection waits meanwhile.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

Round = Callable[[int], float]
"""Does the thing so many times and returns the seconds that took."""

Place = Callable[[], AbstractContextManager[Any]]
"""Makes what surrounds a round, outside the clock."""

ROUND_SECONDS = 0.001
"""How long a round should take: long enough for the clock, short enough to fall between two disturbances."""


LONG_SECONDS = 0.1
"""A round that takes longer is so long for itself, and is not repeated to be sure of it."""


@dataclass
class Contestant:
    """One way to do what a case asks for.

    Attributes:
        case: Key of the case it takes part in.
        name: ``raw``, ``floor``, ``eagerly``, or the name of a variant or peer.
        round: How to run it.
        note: What the reader must know to compare it, if anything.
        least: Operations in the smallest round, where a fixed cost would hide that of an operation.
        samples: Seconds per operation, one for each round.
    """

    case: str
    name: str
    round: Round
    note: str = ""
    least: int = 1
    samples: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Timing:
    """Seconds per operation."""

    minimum: float
    median: float
    note: str = ""

    def __sub__(self, other: Timing) -> Timing:
        return Timing(self.minimum - other.minimum, self.median - other.median, self.note)

    def __truediv__(self, count: float) -> Timing:
        return Timing(self.minimum / count, self.median / count, self.note)


def compete(contestants: Sequence[Contestant], *, rounds: int, seconds_each: float) -> None:
    """Run `rounds` rounds of every contestant in turns; a slow one gets fewer, so that it stays within its time.

    Args:
        contestants: Who takes part; their `samples` are filled.
        rounds: How many rounds a fast contestant runs.
        seconds_each: About how long one contestant may take in total. Three rounds are run in any case.
    """
    plans = [(contestant, *_plan(contestant, rounds, seconds_each)) for contestant in contestants]
    gc.collect()
    gc.freeze()  # so that collecting between turns does not look at all that a large peer has loaded
    gc.disable()
    try:
        for turn in range(rounds):
            for contestant, count, every in plans:
                if turn % every == 0:
                    contestant.samples.append(contestant.round(count) / count)
            gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()


def _plan(contestant: Contestant, rounds: int, seconds_each: float) -> tuple[int, int]:
    """Operations per round, and in every how many turns it runs one."""
    count, each = contestant.least, _quickest(contestant, contestant.least) / contestant.least
    while count * each < ROUND_SECONDS / 2:  # by the best so far: disturbed rounds must not end it too early
        count *= 2
        each = min(each, _quickest(contestant, count) / count)
    count = max(contestant.least, round(ROUND_SECONDS / each))
    start = perf_counter()
    contestant.round(count)
    whole = perf_counter() - start  # what surrounds a round may take longer than the round
    affordable = max(3, int(seconds_each / whole))
    return count, max(1, rounds // affordable)


def _quickest(contestant: Contestant, count: int) -> float:
    """The seconds that a round takes if nothing is cold and nobody disturbs it; else all rounds would be too short, and
    what surrounds an operation would count as the operation.
    """
    taken = contestant.round(count)
    if taken < LONG_SECONDS:
        taken = min(taken, *(contestant.round(count) for _ in range(2)))
    return taken


def timing(contestant: Contestant) -> Timing:
    """What came out."""
    return Timing(min(contestant.samples), median(contestant.samples), contestant.note)


# Rounds of the usual sorts. `around` is entered before the clock starts.


def calls(function: Callable[..., Any], *args: Any, around: Place = nullcontext) -> Round:
    """Rounds of ``function(*args)``."""

    def run(count: int) -> float:
        turns = itertools.repeat(None, count)
        with around():
            start = perf_counter()
            for _ in turns:
                function(*args)
            return perf_counter() - start

    return run


def awaits(
    function: Callable[..., Awaitable[Any]],
    *args: Any,
    around: Place = nullcontext,
) -> Round:
    """Rounds of ``await function(*args)`` in one event loop."""

    async def run(count: int) -> float:
        turns = itertools.repeat(None, count)
        with around():
            start = perf_counter()
            for _ in turns:
                await function(*args)
            return perf_counter() - start

    return lambda count: _runner().run(run(count))


def items(stream: Callable[[int], Iterable[Any]], *, around: Place = nullcontext) -> Round:
    """Rounds that read a stream to its end; the operation is one item."""

    def run(count: int) -> float:
        with around():
            start = perf_counter()
            for _ in stream(count):
                pass
            return perf_counter() - start

    return run


def async_items(stream: Callable[[int], Any], *, around: Place = nullcontext) -> Round:
    """As `items`, for async streams."""

    async def run(count: int) -> float:
        with around():
            start = perf_counter()
            async for _ in stream(count):
                pass
            return perf_counter() - start

    return lambda count: _runner().run(run(count))


def blocks(make: Callable[[], AbstractContextManager[Any]]) -> Round:
    """Rounds of ``with make(): pass``."""

    def run(count: int) -> float:
        turns = itertools.repeat(None, count)
        start = perf_counter()
        for _ in turns:
            with make():
                pass
        return perf_counter() - start

    return run


_the_runner: asyncio.Runner | None = None


def _runner() -> asyncio.Runner:
    """One event loop for all rounds: making a loop takes longer than a round."""
    global _the_runner
    if _the_runner is None:
        _the_runner = asyncio.Runner()
    return _the_runner
