"""Workers that die: the item that did it fails, nobody else does, and what follows goes on."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import map_bodies as bodies
from eagerly import Retry, current_task, iter_tasks, map_tasks, session, task
from eagerly.errors import BackendError, WorkerCrashed
from eagerly.testing import RecordingHooks, instant_clock
from map_bodies import DEATHS, EXPECTED, attempts_at, note_attempt

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc and sends signals")

POOLS = ("process", "pool", "loky")
"""Whose workers may die. A death costs the last two a new pool, so the tests of many deaths are for the first."""

pools = pytest.mark.parametrize("kind", POOLS)


@pytest.fixture(scope="module")
def process():
    with bodies.engine("process") as backend:
        yield backend


def is_crash(error: object, index: int, how: str) -> bool:
    """Whether `error` says all that is to be said."""
    assert isinstance(error, WorkerCrashed), error
    exitcode, number = EXPECTED[how]
    ending = f"exited with code {exitcode}" if number is None else f"was killed by signal {int(number)} ("
    assert f"item {index} of the map" in str(error)
    assert f"the worker process {error.pid} {ending}" in str(error)
    assert (error.index, error.exitcode, error.signal) == (index, exitcode, number)
    assert error.pid is not None
    assert bodies.gone(error.pid)
    return True


# -- exactly the culprit ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", DEATHS)
def test_the_item_that_kills_its_worker_fails_and_no_other(how, process):
    with session(plugins=[hooks := RecordingHooks()]):
        found = map_tasks(
            bodies.die_if, [(n, how if n == 13 else None) for n in range(40)], backend=process, errors="return"
        )
        assert map_tasks(bodies.double, range(20), backend=process) == list(range(0, 40, 2))
    assert is_crash(found.pop(13), 13, how)
    assert found == [n * 10 for n in range(40) if n != 13]
    hooks.verify()
    assert Counter(hooks.names()) == {
        "before_session_start": 1,
        "before_node_execute": 60,
        "after_node_execute": 59,
        "on_node_error": 1,
        "after_session_end": 1,
    }
    (error,) = [event for event in hooks.events if event.hook == "on_node_error"]
    assert isinstance(error.error, WorkerCrashed)
    assert error.metadata.map_index == 13


@pytest.mark.parametrize("kind", POOLS[1:])
def test_where_a_pool_dies_with_its_worker_the_culprit_is_found(kind):
    with session(plugins=[hooks := RecordingHooks()]), bodies.engine(kind) as backend:
        items = [(n, "SIGKILL" if n == 5 else None) for n in range(12)]
        found = map_tasks(bodies.die_if, items, backend=backend, errors="return")
        assert map_tasks(bodies.double, range(5), backend=backend) == [0, 2, 4, 6, 8]
    assert is_crash(found.pop(5), 5, "SIGKILL")
    assert found == [n * 10 for n in range(12) if n != 5]
    hooks.verify()
    assert [event.metadata.map_index for event in hooks.events if event.hook == "on_node_error"] == [5]


@pytest.mark.parametrize(("chunk", "ordered"), [(1, False), (4, True), ("auto", True)])
@pytest.mark.parametrize("dying", [{0}, {19}, {0, 1, 2, 19}, {3, 7, 11}], ids=["first", "last", "ends", "several"])
def test_wherever_they_stand(process, chunk, ordered, dying):
    items = [(n, "os._exit" if n in dying else None) for n in range(20)]
    found = map_tasks(bodies.die_if, items, backend=process, errors="return", chunk=chunk, ordered=ordered)
    crashes = [each for each in found if isinstance(each, WorkerCrashed)]
    assert {each.index for each in crashes} == dying
    assert len(crashes) == len(dying)
    results = [each for each in found if not isinstance(each, WorkerCrashed)]
    assert sorted(results) == [n * 10 for n in range(20) if n not in dying]
    if ordered:
        assert [n for n, each in enumerate(found) if isinstance(each, WorkerCrashed)] == sorted(dying)


def test_all_of_them(process):
    found = map_tasks(bodies.die_if, [(n, "SIGKILL") for n in range(8)], backend=process, errors="return")
    assert [each.index for each in found] == list(range(8))
    assert len({each.pid for each in found}) == 8
    assert map_tasks(bodies.double, [1], backend=process) == [2]


@pools
def test_an_error_that_is_raised_says_which_item_it_was(kind):
    with bodies.engine(kind) as backend:
        with pytest.raises(WorkerCrashed) as caught:
            map_tasks(bodies.die_if, [(0, None), (1, "os._exit")], backend=backend)
        assert caught.value.index == 1
        assert any("raised for item 1 of a map: (1, 'os._exit')" in note for note in caught.value.__notes__)
        assert map_tasks(bodies.double, [1], backend=backend) == [2]


def test_errors_that_are_skipped_take_nothing_with_them(process):
    items = [(n, "os._exit" if n % 5 == 0 else None) for n in range(20)]
    assert map_tasks(bodies.die_if, items, backend=process, errors="skip") == [n * 10 for n in range(20) if n % 5]


@pools
def test_what_ends_programs_is_raised_and_ends_no_worker(kind):
    with session(plugins=[hooks := RecordingHooks()]), bodies.engine(kind) as backend:
        with pytest.raises(SystemExit) as caught:
            map_tasks(sys.exit, [3], backend=backend, errors="return")
        assert caught.value.code == 3
        assert map_tasks(bodies.double, [1], backend=backend) == [2]
    hooks.verify()


@task
def exceed(number: int) -> int:
    if number == 3:
        bodies.exceed_memory()
    return number


def test_an_item_that_exceeds_the_memory_fails_alone(process):
    found = map_tasks(exceed, range(12), backend=process, errors="return")
    assert isinstance(found[3], MemoryError | WorkerCrashed)
    del found[3]
    assert found == [0, 1, 2, *range(4, 12)]
    assert map_tasks(bodies.double, [1], backend=process) == [2]


# -- death on the way ------------------------------------------------------------------------------------------------


class DiesWhenRead:
    """As an argument: kills whoever unpickles it, in a worker."""

    def __init__(self, home: int) -> None:
        self.home = home

    def __reduce__(self) -> tuple[Any, ...]:
        return die_elsewhere, (self.home,)


class DiesWhenSent:
    def __reduce__(self) -> tuple[Any, ...]:
        os._exit(9)


def die_elsewhere(home: int) -> int:
    if os.getpid() != home:
        os._exit(8)
    return home


def test_an_argument_that_kills_who_reads_it(process):
    items = [DiesWhenRead(os.getpid()) if n == 4 else [n] for n in range(10)]
    found = map_tasks(lambda item: item, items, backend=process, errors="return", chunk=5)
    assert isinstance(found[4], WorkerCrashed)
    assert (found[4].index, found[4].exitcode) == (4, 8)
    del found[4]
    assert found == [[n] for n in range(10) if n != 4]


def test_a_result_that_kills_who_sends_it(process):
    found = map_tasks(lambda n: DiesWhenSent() if n == 4 else n, range(10), backend=process, errors="return", chunk=5)
    assert isinstance(found[4], WorkerCrashed)
    assert (found[4].index, found[4].exitcode) == (4, 9)
    assert [each for each in found if isinstance(each, int)] == [n for n in range(10) if n != 4]


def test_a_task_that_kills_who_loads_it(process):
    bomb = DiesWhenRead(os.getpid())
    found = map_tasks(lambda n: (bomb, n)[1], range(3), backend=process, errors="return")
    assert [(type(each), each.index, each.exitcode) for each in found] == [(WorkerCrashed, n, 8) for n in range(3)]
    assert map_tasks(bodies.double, [1], backend=process) == [2]


# -- retries ---------------------------------------------------------------------------------------------------------


@task(retries=Retry(3, delay=5, backoff=2, jitter=0))
def die_twice(folder: str, number: int, how: str) -> int:
    call = current_task()
    assert call is not None
    if number == 2 and note_attempt(folder, number) < 3:
        bodies.quiet_die(how)
    return call.attempt


@pools
def test_retries_cover_crashes_where_they_are_asked_to(kind, tmp_path):
    clock = instant_clock()
    with session(plugins=[hooks := RecordingHooks()], clock=clock), bodies.engine(kind) as backend:
        found = map_tasks(
            die_twice,
            itertools.repeat(str(tmp_path), 6),
            range(6),
            itertools.repeat("SIGKILL", 6),
            backend=backend,
            on_crash="retry",
        )
    # Where all workers die with one, the first death only shows who may have been at fault.
    delays = [5.0, 10.0] if kind == "process" else [5.0]
    assert found == [1, 1, 1 + len(delays), 1, 1, 1]
    hooks.verify()
    (life,) = [life for life in hooks.calls() if life[0].metadata.map_index == 2]
    failed = ["before_node_retry", "after_node_retry"]
    assert [event.hook for event in life] == [
        "before_node_execute",
        *(failed if kind == "process" else []),
        *("before_node_retry", "after_node_execute", "after_node_retry"),
    ]
    retries = [event for event in life if event.hook == "before_node_retry"]
    assert [(event.attempt, event.delay, type(event.error)) for event in retries] == [
        (2 + number, delay, WorkerCrashed) for number, delay in enumerate(delays)
    ]
    assert clock.sleeps == delays


def test_retries_do_not_cover_crashes_otherwise(process, tmp_path):
    with session(plugins=[hooks := RecordingHooks()]):
        found = map_tasks(die_twice, [str(tmp_path)] * 4, range(4), ["os._exit"] * 4, backend=process, errors="return")
    assert is_crash(found.pop(2), 2, "os._exit")
    assert found == [1, 1, 1]
    assert attempts_at(tmp_path, 2) == 1
    hooks.verify()
    assert "before_node_retry" not in hooks.names()


@task(retries=1)
def die_always(folder: str, number: int) -> None:
    note_attempt(folder, number)
    bodies.quiet_die("os._exit")


def test_retries_run_out(process, tmp_path):
    with session(plugins=[hooks := RecordingHooks()]):
        found = map_tasks(die_always, [str(tmp_path)] * 3, range(3), backend=process, on_crash="retry", errors="return")
    assert [each.index for each in found] == [0, 1, 2]
    assert [attempts_at(tmp_path, n) for n in range(3)] == [2, 2, 2]
    hooks.verify()
    for life in hooks.calls():
        assert [event.hook for event in life] == [
            "before_node_execute",
            "before_node_retry",
            "after_node_retry",
            "on_node_error",
        ]


@task(retries=Retry(3, delay=0))
def fail_then_die(folder: str, number: int) -> int:
    call = current_task()
    assert call is not None
    attempt = note_attempt(folder, number)
    assert attempt == call.attempt
    if attempt == 1:
        raise LookupError(number)
    if attempt == 2:
        bodies.quiet_die("SIGKILL")
    return inner(attempt)


@task
def inner(attempt: int) -> int:
    call = current_task()
    assert call is not None
    assert call.attempt == 1
    return attempt


def test_attempts_are_counted_through_failures_and_crashes(process, tmp_path):
    with session(plugins=[hooks := RecordingHooks()]):
        found = map_tasks(fail_then_die, [str(tmp_path)] * 4, range(4), backend=process, on_crash="retry")
    assert found == [3, 3, 3, 3]
    hooks.verify()
    for life in hooks.calls():
        if life[0].metadata.map_index is not None and life[0].metadata.parent_id is None:
            assert Counter(event.hook for event in life) == {
                "before_node_execute": 1,
                "before_node_retry": 2,
                "after_node_retry": 2,
                "after_node_execute": 1,
            }


@pytest.mark.parametrize("kind", ["inline", "thread"])
def test_where_no_worker_can_die_alone_that_is_refused(kind):
    with bodies.engine(kind) as backend, pytest.raises(BackendError, match=r"use 'process', 'dask', 'ray' or an exec"):
        map_tasks(bodies.double, [1], backend=backend, on_crash="retry")


# -- what others hear ------------------------------------------------------------------------------------------------


@task
def report_and_maybe_die(folder: str, number: int) -> int:
    call = current_task()
    assert call is not None
    for step in range(3):
        call.report("step", number=number, step=step)
        bodies.spin(0.025)  # so long that what was reported is sent at once
    if number == 1:
        bodies.quiet_die("SIGKILL")
    return number


def test_events_of_others_arrive_once_while_workers_die(process, tmp_path):
    with session(plugins=[hooks := RecordingHooks()]):
        found = map_tasks(
            report_and_maybe_die, [str(tmp_path)] * 8, range(8), backend=process, errors="return", chunk=4
        )
    assert is_crash(found.pop(1), 1, "SIGKILL")
    assert found == [0, *range(2, 8)]
    hooks.verify()
    heard = [(event.data["number"], event.data["step"]) for event in hooks.events if event.hook == "on_event"]
    assert Counter(each for each in heard if each[0] != 1) == Counter(
        (number, step) for number in range(8) for step in range(3) if number != 1
    )
    assert len(set(heard)) == len(heard)


def assert_nothing_lost(folder: Path, items: int, kills: int, seed: int, **options: Any) -> None:
    """While somebody kills workers from outside, at whatever they are: also one that has nothing to do."""
    chance = random.Random(seed)
    over = threading.Event()
    killed = 0

    def kill() -> None:
        nonlocal killed
        while not over.wait(chance.uniform(0.01, 0.05)) and killed < kills:
            workers = list(folder.glob("worker-*"))
            if workers:
                victim = chance.choice(sorted(workers))
                victim.unlink()
                os.kill(int(victim.name.partition("-")[2]), signal.SIGKILL)
                killed += 1

    with bodies.engine("process") as backend, session(plugins=[hooks := RecordingHooks()]):
        killer = threading.Thread(target=kill)
        killer.start()
        try:
            found = map_tasks(bodies.slowly, itertools.repeat(str(folder)), range(items), backend=backend, **options)
        finally:
            over.set()
            killer.join()
    assert killed
    hooks.verify()
    crashed = [each.index for each in found if isinstance(each, WorkerCrashed)]
    assert [each for each in found if not isinstance(each, WorkerCrashed)] == [
        number + 1 for number in range(items) if number not in set(crashed)
    ]
    assert len(found) == items
    assert len(crashed) <= killed
    counts = Counter(hooks.names())
    assert counts["before_node_execute"] == items
    assert counts["after_node_execute"] == items - len(crashed)
    assert counts["on_node_error"] == len(crashed)
    attempts = [
        (event.metadata.map_index, event.attempt) for event in hooks.events if event.hook == "before_node_retry"
    ]
    assert len(set(attempts)) == len(attempts)
    if options.get("on_crash") == "retry":
        assert not crashed


@pytest.mark.parametrize(("seed", "on_crash"), [(1, "fail"), (2, "retry")])
def test_workers_that_are_killed_from_outside_lose_and_repeat_nothing(seed, on_crash, tmp_path):
    assert_nothing_lost(tmp_path, 2_000, 6, seed, errors="return", on_crash=on_crash)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_workers_that_are_killed_from_outside_for_long(seed, tmp_path):
    assert_nothing_lost(tmp_path, 20_000, 1_000, seed, errors="return", on_crash="retry" if seed % 2 else "fail")


def test_a_map_that_is_read_slowly_hears_of_crashes_when_it_is_read(process):
    results = iter_tasks(
        bodies.die_if, [(n, "os._exit" if n == 1 else None) for n in range(6)], backend=process, errors="return"
    )
    assert next(results) == 0
    rest = list(results)
    assert is_crash(rest[0], 1, "os._exit")
    assert rest[1:] == [20, 30, 40, 50]


@task
def report_at_once(number: int) -> int:
    """What is reported is sent at once if 20 ms have passed since something was."""
    call = current_task()
    assert call is not None
    if number == 0:
        bodies.spin(0.05)
    call.report("seen", number=number)
    if number == 1:
        bodies.quiet_die("os._exit")
    return number


def test_an_item_that_has_been_heard_of_is_not_lost_with_its_neighbour(process):
    with session(plugins=[hooks := RecordingHooks()]):
        found = map_tasks(report_at_once, range(4), backend=process, errors="return", chunk=4)
    assert is_crash(found.pop(1), 1, "os._exit")
    assert found == [0, 2, 3]
    hooks.verify()
    assert Counter(event.data["number"] for event in hooks.events if event.hook == "on_event") == {0: 1, 2: 1, 3: 1}


# -- the coordinator -------------------------------------------------------------------------------------------------

BODIES = {
    "sleeping": "time.sleep(600)",
    "spinning": "bodies.spin()",
    "holding the interpreter": "bodies.hold_the_interpreter()",
}

KILLED = """
import map_bodies as bodies

@task
def work(number):
    Path(folder, f"at-{{number}}-{{os.getpid()}}").touch()
    {body}

{hook}
{prepare}
with session(backend="process", plugins={plugins}):
    {run}
"""

A_HOOK = """
from eagerly import hook_impl
class Hooks:
    @hook_impl
    def after_node_execute(self, metadata):
        (folder / "at-hook-0").touch()
        time.sleep(600)
"""
PHASES: dict[str, dict[str, str]] = {
    **{
        f"waiting for items that are {how}": {"body": body, "run": "map_tasks(work, range(4))"}
        for how, body in BODIES.items()
    },
    "taking items": {"body": "pass", "run": "map_tasks(work, bodies.stuck_after(folder, 3))"},
    "in a hook": {"body": "pass", "hook": A_HOOK, "plugins": "[Hooks()]", "run": "map_tasks(work, range(4))"},
    "in the consumer": {
        "body": "pass",
        "run": "for _ in iter_tasks(work, itertools.count()): (folder / 'at-consumer-0').touch(); time.sleep(600)",
    },
    "starting workers": {
        "body": "pass",
        "prepare": "threading.Thread(target=lambda: (until(children), (folder / 'at-start-0').touch())).start()",
        "run": "map_tasks(work, bodies.forever())",
    },
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_coordinator_that_is_killed_leaves_no_worker_behind(phase, tmp_path):
    facts = {"hook": "", "plugins": "[]", "prepare": "", **PHASES[phase]}
    with bodies.start_script(tmp_path, KILLED.format(**facts)) as program:
        try:
            bodies.until(lambda: list(tmp_path.glob("at-*")) or program.poll() is not None)
            assert program.poll() is None, program.communicate()
            workers = bodies.until(lambda: bodies.children(program.pid))
        finally:
            program.kill()
        program.communicate()
    assert [pid for pid in workers if not bodies.gone(pid, within=3)] == []
