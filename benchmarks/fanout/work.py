"""The functions that are mapped, where every worker can import them. Nothing here knows of engines."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

__all__ = ["double", "double_async", "meet", "nap", "spin_in_c", "suicide"]

NAP = 0.01
"""Seconds that an item takes in the rows about items that take time."""


def double(x: int) -> int:
    return 2 * x


async def double_async(x: int) -> int:
    return 2 * x


def nap(x: int) -> int:
    time.sleep(NAP)
    return x


def meet(folder: str, number: int, count: int) -> int:
    """Wait until `count` items are at work at the same time, each in a worker of its own."""
    place = Path(folder)
    (place / str(number)).touch()
    while len(os.listdir(place)) < count:  # noqa: PTH208 - names will do
        time.sleep(0.0005)
    return os.getpid()


def suicide(number: int) -> float:
    """The first item kills its worker; the next one says when it began. What the first wrote is when it died."""
    now = time.time()
    if number == 0:
        Path(os.environ["BENCHMARK_NOTE"]).write_text(repr(now), encoding="utf-8")
        os.kill(os.getpid(), signal.SIGKILL)
    return now


def spin_in_c(number: int) -> float:
    """The first item sleeps where no exception reaches it; the next one says when it began."""
    now = time.time()
    if number == 0:
        import ctypes

        Path(os.environ["BENCHMARK_NOTE"]).write_text(repr(now), encoding="utf-8")
        ctypes.CDLL(None).sleep(30)
    return now
