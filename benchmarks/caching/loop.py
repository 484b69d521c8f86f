"""How long an event loop stands still while a large result is stored, beside what the machine does to an idle loop and
to one with a bare `os.write` in a thread: ``python -m benchmarks.caching.loop``, once for each figure.

A loop that asks to be woken every half millisecond notes the longest time that it was not. What is stored with is told
apart from what the machine does by what stands beside it, from processes that take turns.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

from benchmarks.caching import work

__all__ = ["ROUNDS", "TARGET", "TITLES", "longest_gaps"]

ROUNDS = 15
TARGET = 5e-3
"""Seconds that the loop may stand still, besides what an idle one does."""

TICK = 0.0005
SETTLING, IDLE_SECONDS = 0.05, 0.1
TIMEOUT = 60

TITLES = {
    "idle": "nothing: an idle loop",
    "write": "a bare `os.write` of as much, in a thread",
    "task": "an async task whose result is stored",
}


def longest_gaps(size: int, rounds: int = ROUNDS) -> dict[str, tuple[float, float]]:
    """Minimum and median of the longest gap in seconds, for each of `TITLES`."""
    found: dict[str, list[float]] = {name: [] for name in TITLES}
    for _ in range(rounds):
        for name, gaps in found.items():
            command = [sys.executable, "-m", "benchmarks.caching.loop", name, str(size)]
            result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT)
            gaps.append(float(result.stdout))
    return {name: (min(gaps), median(gaps)) for name, gaps in found.items()}


async def _longest_gap(run: Callable[[], Awaitable[object]]) -> float:
    longest = 0.0
    over = False

    async def watch() -> None:
        nonlocal longest
        before = time.perf_counter()
        while not over:
            await asyncio.sleep(TICK)
            now = time.perf_counter()
            longest, before = max(longest, now - before), now

    watching = asyncio.ensure_future(watch())
    await asyncio.sleep(SETTLING)
    longest = 0.0
    await run()
    over = True
    await watching
    return longest


async def _measure(name: str, size: int, folder: Path) -> float:
    from eagerly import session, task
    from eagerly.cache import DiskStore

    array = work.make_array(size)
    work.prepared.append(array)

    async def idle() -> None:
        await asyncio.sleep(IDLE_SECONDS)

    def write() -> None:
        with (folder / "file").open("wb", buffering=0) as file:
            os.write(file.fileno(), memoryview(array).cast("B"))

    cached = task(cache=True)(work.give)
    with session(cache_store=DiskStore(folder / "cache")):
        await cached(0)  # what is made and imported once
        todo = {"idle": idle, "write": lambda: asyncio.to_thread(write), "task": lambda: cached(1)}
        return await _longest_gap(todo[name])


def main(name: str, size: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(asyncio.run(_measure(name, int(size), Path(folder))))


if __name__ == "__main__":
    main(*sys.argv[1:])
