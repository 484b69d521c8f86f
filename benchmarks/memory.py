"""Resident memory before and after a million calls, each kind in a process of its own."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.cases import Both, async_stream, plain, plain_async, stream
from eagerly import session, task

KINDS = ("sync", "async", "stream", "async stream")
CALLS = 1_000_000
WARM_UP = 20_000
BOUND = 512 * 1024
"""Bytes that a million calls may add: half a byte per call is the allocator's noise, one reference kept would be 8."""


def growth(kind: str, calls: int = CALLS) -> tuple[int, int]:
    """Resident bytes after the warm-up and after `calls` further calls, measured in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.memory", kind, str(calls)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    before, after = output.split()
    return int(before), int(after)


def resident() -> int | None:
    """Bytes of this process that are in memory now; None where only Linux's /proc would tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    import resource

    return pages * resource.getpagesize()


def _make_calls(kind: str, count: int) -> None:
    turns = range(count)
    if kind == "sync":
        call = task(plain)
        for number in turns:
            call(number)
    elif kind == "stream":
        read = task(stream)
        for _ in turns:
            for _item in read(1):
                pass
    else:
        asyncio.run(_make_async_calls(kind, count))


async def _make_async_calls(kind: str, count: int) -> None:
    if kind == "async":
        call: Any = task(plain_async)
        for number in range(count):
            await call(number)
    else:
        read = task(async_stream)
        for _ in range(count):
            async for _item in read(1):
                pass


def main(kind: str, calls: int) -> None:
    """Print both numbers. The calls are made in a session with a listener: the longest way through the library."""
    with session(plugins=[Both()]):
        _make_calls(kind, WARM_UP)
        gc.collect()
        before = resident()
        _make_calls(kind, calls)
        gc.collect()
        print(before or 0, resident() or 0)  # read by `growth`


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
