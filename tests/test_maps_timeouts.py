"""Timeouts in maps: what cannot be interrupted loses its worker, and nobody else loses anything."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import sys
import threading
import time
import warnings
from collections import Counter
from pathlib import Path

import pytest

import map_bodies as bodies
from eagerly import Retry, current_task, map_tasks, session, task
from eagerly.errors import EagerlyWarning, OptionValueError, StopRequested, TaskTimeoutError
from eagerly.testing import RecordingHooks
from map_bodies import attempts_at, note_attempt

TIMEOUT = 0.5


@pytest.fixture(scope="module")
def process():
    with bodies.engine("process") as backend:
        yield backend


def sleep_in_c(number: int) -> int:
    if number == 1:
        ctypes.CDLL(None).sleep(600)
    return number


def hold_the_interpreter(number: int) -> int:
    if number == 1:
        bodies.hold_the_interpreter()
    return number


def spin(number: int) -> int:
    if number == 1:
        bodies.spin()
    return number


def swallow(number: int) -> int:
    while number == 1:
        try:
            bodies.spin()
        except StopRequested:
            continue
    return number


async def sleep(number: int) -> int:
    if number == 1:
        await asyncio.sleep(600)
    return number


async def sleep_in_c_though_async(number: int) -> int:
    return sleep_in_c(number)


BODIES = [sleep_in_c, hold_the_interpreter, spin, swallow, sleep, sleep_in_c_though_async]
all_bodies = pytest.mark.parametrize("body", BODIES, ids=[body.__name__ for body in BODIES])


@all_bodies
def test_one_that_takes_too_long_fails_alone(body, process):
    timed = task(body, timeout=TIMEOUT)
    with session(plugins=[hooks := RecordingHooks()]):
        found = map_tasks(timed, range(6), backend=process, errors="return")
        assert map_tasks(bodies.double, range(3), backend=process) == [0, 2, 4]
    error = found.pop(1)
    assert isinstance(error, TaskTimeoutError)
    assert error.timeout == TIMEOUT
    assert f"took longer than its timeout of {TIMEOUT:g} s" in str(error)
    assert found == [0, 2, 3, 4, 5]
    hooks.verify()
    assert [event.metadata.map_index for event in hooks.events if event.hook == "on_node_error"] == [1]


@task(timeout=TIMEOUT, retries=Retry(2, delay=0))
def too_long_at_first(folder: str, number: int, how: str) -> int:
    call = current_task()
    assert call is not None
    attempt = note_attempt(folder, number)
    assert call.attempt == attempt
    if number == 1 and attempt < 3:
        {"spin": bodies.spin, "hold": bodies.hold_the_interpreter, "sleep": lambda: ctypes.CDLL(None).sleep(600)}[how]()
    return attempt


@pytest.mark.parametrize("how", ["spin", "hold", "sleep"])
def test_attempts_that_take_too_long_are_retried(how, process, tmp_path):
    with session(plugins=[hooks := RecordingHooks()]):
        found = map_tasks(too_long_at_first, [str(tmp_path)] * 4, range(4), [how] * 4, backend=process)
    assert found == [1, 3, 1, 1]
    hooks.verify()
    (life,) = [life for life in hooks.calls() if life[0].metadata.map_index == 1]
    assert Counter(event.hook for event in life) == {
        "before_node_execute": 1,
        "before_node_retry": 2,
        "after_node_retry": 2,
        "after_node_execute": 1,
    }
    assert all(isinstance(each.error, TaskTimeoutError) for each in life if each.hook == "before_node_retry")


@task(timeout=TIMEOUT, retries=1)
def always_too_long(folder: str, number: int) -> None:
    note_attempt(folder, number)
    bodies.hold_the_interpreter()


def test_retries_run_out(process, tmp_path):
    with session(plugins=[hooks := RecordingHooks()]):
        found = map_tasks(always_too_long, [str(tmp_path)] * 2, range(2), backend=process, errors="return")
    assert [type(each) for each in found] == [TaskTimeoutError] * 2
    assert [attempts_at(tmp_path, number) for number in range(2)] == [2, 2]
    hooks.verify()


@pytest.mark.parametrize("kind", ["inline", "thread", "pool"])
def test_where_nobody_can_be_killed_the_wait_ends(kind):
    """A body that ends when it is interrupted is over; others would be warned about."""
    with session(plugins=[hooks := RecordingHooks()]), bodies.engine(kind) as backend:
        found = map_tasks(task(spin, timeout=TIMEOUT), range(4), backend=backend, errors="return")
    assert isinstance(found.pop(1), TaskTimeoutError)
    assert found == [0, 2, 3]
    hooks.verify()


def test_chunks_of_timed_items_are_refused(process):
    with pytest.raises(OptionValueError, match="each item is handed over alone then; leave chunk out"):
        map_tasks(task(spin, timeout=TIMEOUT), range(4), backend=process, chunk=2)


# -- a timeout around a map ------------------------------------------------------------------------------------------


def until_told(folder: str, number: int) -> int:
    call = current_task()
    assert call is not None
    Path(folder, f"begun-{number}").touch()
    end = time.monotonic() + bodies.PATIENCE
    while not call.should_stop():
        assert time.monotonic() < end
        time.sleep(0.002)
    Path(folder, f"told-{number}").touch()
    return number


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_timeout_around_a_map_tells_its_items_to_stop(kind, tmp_path):
    with bodies.engine(kind) as backend:
        map_tasks(bodies.double, range(4), backend=backend)  # the workers are there

        @task(timeout=1.5)
        def around() -> list[int]:
            return map_tasks(until_told, itertools.repeat(str(tmp_path)), itertools.count(), backend=backend)

        with session(plugins=[hooks := RecordingHooks()]), warnings.catch_warnings():
            warnings.simplefilter("ignore", EagerlyWarning)  # it may take longer than a moment to end
            with pytest.raises(TaskTimeoutError):
                around()
            begun = {path.name.partition("-")[2] for path in tmp_path.glob("begun-*")}
            assert begun
            bodies.until(lambda: all((tmp_path / f"told-{number}").exists() for number in begun))
        assert map_tasks(bodies.double, [1], backend=backend) == [2]
    hooks.verify(allow_running=True)


# -- errors, and others that take long -------------------------------------------------------------------------------


@task
def fail_beside(folder: str, number: int, how: str) -> int:
    call = current_task()
    assert call is not None
    if number == 0:
        bodies.wait_for(Path(folder, "begun"))
        raise LookupError(number)
    Path(folder, "begun").touch()
    if how == "deaf":
        bodies.hold_the_interpreter()
    elif how == "patient":
        bodies.wait_for(Path(folder, "gate"))
    else:
        while not call.should_stop():
            time.sleep(0.002)
        Path(folder, "told").touch()
    return number


@pytest.mark.parametrize("how", ["listening", "deaf"])
def test_an_error_ends_what_runs_on_processes(how, process, tmp_path):
    with session(plugins=[hooks := RecordingHooks()]), pytest.raises(LookupError):
        map_tasks(fail_beside, itertools.repeat(str(tmp_path)), range(9), itertools.repeat(how), backend=process)
    assert (tmp_path / "told").exists() == (how == "listening")
    hooks.verify()
    assert map_tasks(bodies.double, [1], backend=process) == [2]


def test_an_error_asks_threads_to_stop(tmp_path):
    with session(plugins=[hooks := RecordingHooks()], backend="thread"), pytest.raises(LookupError):
        map_tasks(fail_beside, itertools.repeat(str(tmp_path)), range(3), itertools.repeat("listening"))
    assert (tmp_path / "told").exists()
    hooks.verify()


def test_a_session_waits_for_threads_that_do_not_listen(tmp_path):
    """The map does not: its error is raised while they run."""
    with session(backend="thread", plugins=[hooks := RecordingHooks()]):
        with pytest.raises(LookupError):
            map_tasks(fail_beside, itertools.repeat(str(tmp_path)), range(3), itertools.repeat("patient"))
        opener = threading.Timer(0.2, (tmp_path / "gate").touch)
        opener.start()
        assert not (tmp_path / "gate").exists()
    assert (tmp_path / "gate").exists()
    hooks.verify()


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_async_items_are_cancelled_when_another_fails(kind, tmp_path):
    async def work(number: int) -> int:
        if number == 0:
            while not (tmp_path / "begun").exists():
                await asyncio.sleep(0.002)
            raise LookupError(number)
        (tmp_path / "begun").touch()
        await asyncio.sleep(600)
        return number

    with session(backend=kind, plugins=[hooks := RecordingHooks()]), pytest.raises(LookupError):
        map_tasks(work, range(2))
    hooks.verify()
    if kind == "thread":
        assert [event.reason for event in hooks.events if event.hook == "on_node_cancel"] == ["cancelled"]


# -- figures ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_next_item_runs_soon_after_a_kill(capsys, tmp_path):
    """The kill is due a moment of grace after the timeout; from then to the beginning of the next item."""
    from eagerly._remote_item import MARGIN

    @task(timeout=TIMEOUT)  # in here, so that it travels by value: else it is the import of this module that takes long
    def when(folder: str, number: int) -> float:
        begin = time.monotonic()
        if number == 1:
            Path(folder, "begin").write_text(repr(begin))
            ctypes.PyDLL(None).sleep(600)
        return begin

    before = len(bodies.children())
    with bodies.engine("process", 1) as one:
        figures: list[float] = []
        for _ in range(10):
            found = map_tasks(when, [str(tmp_path)] * 3, range(3), backend=one, errors="return")
            figures.append(found[2] - float((tmp_path / "begin").read_text()) - TIMEOUT - MARGIN)
            bodies.until(lambda: len(bodies.children()) == before + 2)
            time.sleep(1.5)  # until the spare worker is there again: it is what this is about
    with capsys.disabled():
        sys.stdout.write(f"\nfrom the kill to the next item, ms: {sorted(round(1000 * each) for each in figures)}\n")
