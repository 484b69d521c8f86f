"""Time as a parameter: everything that reads a clock or sleeps between attempts does it through a `Clock`.

Timeouts are the exception: they bound real work and are measured in real time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from eagerly.errors import OptionTypeError

if TYPE_CHECKING:
    from eagerly.typing import AsyncSleep, Now, Sleep

__all__ = ["SLICE", "SYSTEM_CLOCK", "Clock"]

SLICE: Final = 0.05
"""Seconds that a thread waits at most before it looks whether it is interrupted. No timeout around it can end a wait,
and CPython sleeps through a signal that comes after it has looked for one and before the wait begins."""


_perf_counter, _unix_time = time.perf_counter, time.time


def _sleep(seconds: float) -> None:
    """`time.sleep` in slices."""
    end = time.monotonic() + seconds
    while seconds > SLICE:
        time.sleep(SLICE)
        seconds = end - time.monotonic()
    time.sleep(max(0.0, seconds))


async def _asyncio_sleep(seconds: float) -> None:
    import asyncio

    await asyncio.sleep(seconds)


class Clock:
    """How a session tells the time and waits.

    Args:
        now: Returns seconds as a float; never goes backwards. Default: `time.perf_counter`.
        sleep: Blocks the thread for so many seconds. Default: `time.sleep`, in slices.
        async_sleep: Suspends the coroutine for so many seconds. Default: `asyncio.sleep`.
        time: Returns Unix seconds, which say whether a cached result has expired. Default: `time.time`.

    Raises:
        OptionTypeError: An argument is not callable.

    Example:
        >>> from eagerly import Clock, session
        >>> naps = []
        >>> with session(clock=Clock(sleep=naps.append)):
        ...     pass
    """

    __slots__ = ("async_sleep", "now", "sleep", "time")

    def __init__(
        self,
        now: Now = _perf_counter,
        sleep: Sleep = _sleep,
        async_sleep: AsyncSleep = _asyncio_sleep,
        time: Now = _unix_time,
    ) -> None:
        for name, value in (("now", now), ("sleep", sleep), ("async_sleep", async_sleep), ("time", time)):
            if not callable(value):
                raise OptionTypeError(f"Clock({name}=...) takes a function, not {value!r}")
        self.now: Now = now
        self.sleep: Sleep = sleep
        self.async_sleep: AsyncSleep = async_sleep
        self.time: Now = time

    def __repr__(self) -> str:
        return f"Clock(now={self.now!r}, sleep={self.sleep!r}, async_sleep={self.async_sleep!r}, time={self.time!r})"


SYSTEM_CLOCK = Clock()
