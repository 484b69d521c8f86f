"""Tasks that are submitted, importable so that worker processes find them. Helpers only; nothing here asserts anything.

Bodies that are to be watched from outside say in a file that they are there, and that they have ended.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from eagerly import Retry, Run, current_task, task

PATIENCE = 60.0
ENDLESS = LONG = 30
"""Seconds, or items: what a body does that is to be ended from outside. A test that fails must not hang."""


def here() -> Any:
    call = current_task()
    assert call is not None
    return call


def until(condition: Any) -> None:
    """Wait until `condition()` holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it has not happened"
        time.sleep(0.002)


def until_status(run: Run[Any], status: str) -> None:
    until(lambda: run.refresh().status == status)


@task
def double(x: int, *, plus: int = 0) -> int:
    return 2 * x + plus


@task
async def double_async(x: int, *, plus: int = 0) -> int:
    await asyncio.sleep(0)
    return 2 * x + plus


@task
def count(n: int, *, plus: int = 0) -> Iterator[int]:
    for number in range(n):
        yield number + plus


@task
async def count_async(n: int, *, plus: int = 0) -> AsyncIterator[int]:
    for number in range(n):
        await asyncio.sleep(0)
        yield number + plus


@task
def fail(message: str) -> None:
    raise LookupError(message)


@task
async def fail_async(message: str) -> None:
    raise LookupError(message)


@task
def fail_stream(message: str) -> Iterator[int]:
    yield 1
    raise LookupError(message)


@task
async def fail_async_stream(message: str) -> AsyncIterator[int]:
    yield 1
    raise LookupError(message)


@task
def asks_itself_to_stop() -> str:
    here().request_stop()
    return "and returns"


@task
def fail_above(message: str) -> None:
    """What it raises has a cause, a context and members, all from a task that it calls."""
    try:
        fail(message)
    except LookupError as error:
        try:
            fail(message)
        except LookupError as other:
            raise ExceptionGroup("all of it", [error]) from other


@task(retries=2)
def flaky(folder: str) -> int:
    tries = Path(folder, "tries")
    tries.write_text(tries.read_text() + "." if tries.exists() else ".")
    if here().attempt < 3:
        raise ConnectionError(here().attempt)
    return len(tries.read_text())


@task(retries=1)
def counts_anew(folder: str) -> None:
    call = here()
    if call.attempt == 1:
        call.set_progress(step=8, steps=10)
        raise ConnectionError
    until(Path(folder, "go").exists)
    call.set_progress(steps=5)
    call.set_progress(step=1)
    until(Path(folder, "end").exists)


@task
def report(name: str) -> dict[str, Any]:
    call = here()
    call.set_progress(0.25, message=f"{name} begins", data={"name": name})
    nested(name)
    call.set_output({"partial": name}, summary=f"half of {name}")
    for step in range(1, 5):
        call.set_progress(step=step, steps=4)
    call.set_progress(step=3, steps=4, message=f"{name} ends")
    return {"name": name}


def nested(name: str) -> None:
    inner(name)


@task
def inner(name: str) -> None:
    here().set_progress(0.3, message=f"in {name}")


@task
def add(numbers: list[int], *, more: list[int]) -> int:
    return sum([*numbers, *more])


@task
def only_output(value: int) -> None:
    here().set_output(value, summary="early")


@task
def pauses(folder: str) -> str:
    call = here()
    call.set_status("paused")
    Path(folder, "paused").touch()
    until(Path(folder, "go").exists)
    call.set_status("running")
    return "went on"


def _ends(folder: str) -> None:
    Path(folder, "ended").touch()


@task
def loops(folder: str) -> str:
    """A cooperative loop, which returns normally."""
    Path(folder, "begun").touch()
    try:
        end = time.monotonic() + LONG
        while not here().should_stop() and time.monotonic() < end:
            time.sleep(0.001)
        return "returned"
    finally:
        _ends(folder)


@task
def sleeps(folder: str) -> None:
    Path(folder, "begun").touch()
    try:
        here().sleep(ENDLESS)
    finally:
        _ends(folder)


@task
async def sleeps_async(folder: str) -> None:
    Path(folder, "begun").touch()
    try:
        await here().aio.sleep(ENDLESS)
    finally:
        _ends(folder)


@task
async def waits_async(folder: str) -> None:
    """Which knows nothing of being asked."""
    Path(folder, "begun").touch()
    try:
        await asyncio.sleep(ENDLESS)
    finally:
        _ends(folder)


@task
def streams(folder: str) -> Iterator[int]:
    Path(folder, "begun").touch()
    try:
        for number in range(ENDLESS * 1000):
            yield number
            time.sleep(0.001)
    finally:
        _ends(folder)


@task
async def streams_async(folder: str) -> AsyncIterator[int]:
    Path(folder, "begun").touch()
    try:
        for number in range(ENDLESS * 1000):
            yield number
            await asyncio.sleep(0.001)
    finally:
        _ends(folder)


@task
def ignores(folder: str) -> None:
    """Everything that it is told."""
    Path(folder, "begun").touch()
    time.sleep(ENDLESS)


@task(retries=Retry(3, delay=ENDLESS))
def tries_again(folder: str) -> None:
    Path(folder, "begun").touch()
    Path(folder, "ended").touch()
    raise ConnectionError


@task(retries=Retry(3, delay=ENDLESS))
async def tries_again_async(folder: str) -> None:
    Path(folder, "begun").touch()
    Path(folder, "ended").touch()
    raise ConnectionError


@task(retries=Retry(3, delay=ENDLESS), timeout=0.2)
def gets_stuck(folder: str) -> None:
    """Where nothing but the end of its process ends it."""
    with Path(folder, "begun").open("a") as begun:
        begun.write(".")
    ctypes.PyDLL(None).sleep(ENDLESS)


@task
def leaves_a_mark(folder: str) -> str:
    """Each time that it runs."""
    Path(folder, "begun").touch()
    until(Path(folder, "go").exists)
    with Path(folder, "ended").open("a") as ended:
        ended.write(".")
    return "done"


@task
def tells_its_process(folder: str) -> None:
    Path(folder, "pid").write_text(str(os.getpid()))
    Path(folder, "begun").touch()
    time.sleep(ENDLESS)


@task
def kills_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task
def leaves(code: int) -> None:
    raise SystemExit(code)


@task
def interrupts() -> None:
    raise KeyboardInterrupt


@task
def parent_of(depth: int, backend: str | None = None) -> int:
    if not depth:
        return 1
    child = parent_of.options(backend=backend).submit(depth - 1, backend)
    return 1 + child.result()


@task
def parent_with_timeout(depth: int) -> int:
    return 1 if not depth else 1 + parent_with_timeout.submit(depth - 1).result(PATIENCE)


@task
async def parent_async(depth: int) -> int:
    return 1 if not depth else 1 + await parent_async.options(backend="thread").submit(depth - 1)


@task
def family(folder: str) -> None:
    child = Path(folder, "child")
    child.mkdir()
    sleeps.submit(str(child))
    until((child / "begun").exists)
    sleeps(folder)
