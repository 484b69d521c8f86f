"""Rule 11 in bulk: the memory of a process does not grow with the number of calls it has made."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

import eagerly
from eagerly import hook_impl, session, task
from kinds import NO_SLEEP, Kind, TheirError, all_kinds


class Listener:
    """Listens to the moments that every call has, and keeps nothing."""

    @hook_impl
    def before_node_execute(self, metadata):
        metadata.id

    @hook_impl
    def after_node_execute(self, metadata, result, duration):
        pass

    @hook_impl
    def on_node_error(self, metadata, error, duration):
        pass


def call_often(kind: Kind, task, times: int) -> None:
    """Make `times` calls, failing ones included, in one event loop where one is needed."""

    async def acall() -> None:
        for number in range(times):
            with contextlib.suppress(TheirError):
                await kind.arun(task, number)

    if kind.is_async:
        asyncio.run(acall())
        return
    for number in range(times):
        with contextlib.suppress(TheirError):
            kind.run(task, number)


def sometimes_failing(number: int) -> bytes:
    if number % 100 == 0:
        raise TheirError
    return b"x" * 1_000


def measured(kind: Kind, times: int, listening: bool) -> int:
    """Bytes that are allocated after so many calls and were not before, the garbage collector being off."""
    working = kind.make(sometimes_failing, retries=1)
    with session(plugins=[Listener()] if listening else [], clock=NO_SLEEP):
        call_often(kind, working, 200)  # caches fill, modules are imported
        gc.collect()
        gc.disable()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            call_often(kind, working, times)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            gc.enable()
    return after - before


@all_kinds
@pytest.mark.parametrize("listening", [False, True], ids=["unheard", "heard"])
def test_twenty_thousand_calls_leave_memory_flat(kind, listening):
    # A single reference kept per call would be 160 kB, a kept result 20 MB; an event loop leaves some kB.
    assert measured(kind, 20_000, listening) < 50_000


def test_ten_thousand_half_consumed_streams_leave_memory_flat():
    @task
    def stream(payload):
        yield payload
        yield payload

    def half_consume(times):
        for _ in range(times):
            next(stream(b"x" * 1_000))

    half_consume(100)
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        half_consume(10_000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()

    assert after - before < 50_000


A_MILLION = """
import resource
from test_memory import call_often, sometimes_failing
from kinds import NO_SLEEP, Kind

kind = Kind({kind!r})
working = kind.make(sometimes_failing)
resident = []
for _ in range(11):
    call_often(kind, working, 100_000)
    with open("/proc/self/statm") as file:
        resident.append(int(file.read().split()[1]) * resource.getpagesize())
# The first hundred thousand fill the allocator's arenas; a million more must fit into them.
print(resident[-1] - resident[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the resident memory from /proc")
@all_kinds
def test_a_million_calls_leave_resident_memory_flat(kind):
    done = subprocess.run(
        [sys.executable, "-c", A_MILLION.format(kind=kind.value)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(eagerly.__file__).parents[1]), str(Path(__file__).parent)]),
        },
        capture_output=True,
        text=True,
        timeout=900,
        check=True,
    )

    assert int(done.stdout) < 2_000_000
