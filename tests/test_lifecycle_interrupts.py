"""Rule 4 under Ctrl-C: a real SIGINT, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import eagerly
from kinds import Kind, all_kinds

PRELUDE = """
import asyncio, gc, os, signal, sys, threading, time
from eagerly import Clock, Retry, current_task, session, task
from eagerly.testing import RecordingHooks

# Where the tests run in the background of a shell, the signal is ignored and Python leaves it so.
signal.signal(signal.SIGINT, signal.default_int_handler)
hooks = RecordingHooks()

def ctrl_c():
    # To the process, as a terminal does: it arrives while the main thread waits for what never comes.
    threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()

def forever():
    ctrl_c()
    for _ in range(600):  # CPython sleeps through a signal that comes just before it sleeps
        time.sleep(0.05)

async def async_forever():
    ctrl_c()
    await asyncio.sleep(30)

async def consume(stream):
    async for _ in stream:
        pass

clock = Clock()
"""

IN_BODY = {
    Kind.SYNC: """
@task(retries=5)
def work():
    forever()

run = work
""",
    Kind.ASYNC: """
@task(retries=5)
async def work():
    await async_forever()

run = lambda: asyncio.run(work())
""",
    Kind.STREAM: """
@task(retries=5)
def work():
    yield forever()

run = lambda: list(work())
""",
    Kind.ASYNC_STREAM: """
@task(retries=5)
async def work():
    yield await async_forever()

run = lambda: asyncio.run(consume(work()))
""",
}
TIMED = {kind: IN_BODY[kind].replace("retries=5", "timeout=600") for kind in (Kind.SYNC, Kind.ASYNC)}
IN_BACK_OFF = {
    kind: "clock = Clock(sleep=lambda _: forever(), async_sleep=lambda _: async_forever())\n"
    + program.replace("await async_forever()", "1 / 0").replace("forever()", "1 / 0")
    for kind, program in IN_BODY.items()
}
IN_CONSUMER = {
    Kind.STREAM: """
@task
def work():
    yield 1

def run():
    for _ in work():
        forever()
""",
    Kind.ASYNC_STREAM: """
@task
async def work():
    yield 1

async def consume():
    async for _ in work():
        await async_forever()

run = lambda: asyncio.run(consume())
""",
}

REPORT = """
try:
    with session(plugins=[hooks], clock=clock):
        run()
except KeyboardInterrupt:
    pass
else:
    raise SystemExit("Ctrl-C was swallowed")
gc.collect()
hooks.verify()
assert current_task() is None
print(*hooks.names("work"), hooks.of("work")[-1].reason)
"""


def interrupted(program: str) -> str:
    """What a process that runs `program` under Ctrl-C reports of its only task."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + program + REPORT],
        env={**os.environ, "PYTHONPATH": str(Path(eagerly.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")


def reason(kind: Kind) -> str:
    # asyncio.run turns Ctrl-C into a cancellation of the main task and raises KeyboardInterrupt itself.
    return "cancelled" if kind.is_async else "interrupted"


@all_kinds
def test_ctrl_c_in_the_body(kind):
    assert interrupted(IN_BODY[kind]) == f"before_node_execute on_node_cancel {reason(kind)}"


@pytest.mark.parametrize("kind", TIMED, ids=[kind.value for kind in TIMED])
def test_ctrl_c_in_a_timed_body(kind):
    assert interrupted(TIMED[kind]) == f"before_node_execute on_node_cancel {reason(kind)}"


@all_kinds
def test_ctrl_c_between_two_attempts(kind):
    assert interrupted(IN_BACK_OFF[kind]) == (
        f"before_node_execute before_node_retry after_node_retry on_node_cancel {reason(kind)}"
    )


@pytest.mark.parametrize("kind", IN_CONSUMER, ids=[kind.value for kind in IN_CONSUMER])
def test_ctrl_c_in_the_consumer_of_a_stream(kind):
    *life, reason = interrupted(IN_CONSUMER[kind]).split()

    assert life == ["before_node_execute", "node_iteration", "on_node_cancel"]
    # asyncio closes an abandoned async stream in a task, and may cancel that one too when the loop ends.
    assert reason in ({"closed", "cancelled"} if kind.is_async else {"closed"})
