"""Runs in bad surroundings: a clock that is set back, loops that are closed, locked files, no room, forks."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eagerly import _run_row, async_session, current_task, registry, runs, session, task
from eagerly.errors import RunCancelled, RunTimeout
from eagerly.runs import MemoryRunStore, RunStore, SqliteRunStore
from run_tasks import PATIENCE, until

HOUR = 3_600_000_000


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunStore]:
    made: RunStore = MemoryRunStore() if request.param == "memory" else SqliteRunStore(tmp_path / "runs.db")
    yield made
    made.close()


@task
async def plus_one(x: int) -> int:
    return x + 1


@task
def plus_two(x: int) -> int:
    return x + 2


class TestAClockThatIsSetBack:
    """While a run is pending, so that it begins before it was made."""

    @pytest.fixture(autouse=True)
    def back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real: Callable[[], int] = _run_row.now
        monkeypatch.setattr(_run_row, "now", lambda: real() - HOUR)

    async def test_the_body_runs(self, store: RunStore) -> None:
        async with async_session(run_store=store):
            run = plus_one.submit(1)
            assert await run == 2
            assert (run.status, run.duration is not None) == ("completed", True)

    def test_everybody_hears_of_it(self, store: RunStore) -> None:
        with session(run_store=store):
            run = plus_two.submit(1)
            assert run.result(PATIENCE) == 3
            record = runs.get(run.id)
            assert (record.status, record.progress) == ("completed", 1.0)
            assert record.updated_at > record.created_at, "what was changed later looks later"


class TestALoopThatIsClosed:
    """By a body, with something on it that sleeps until the run is asked to stop."""

    @pytest.mark.parametrize("stops", [False, True])
    def test_it_concerns_nobody_else(self, stops: bool, store: RunStore, recwarn: pytest.WarningsRecorder) -> None:
        kept: list[Any] = []
        begun, go = threading.Event(), threading.Event()

        async def sleeper() -> None:
            call = current_task()
            assert call is not None
            await call.aio.sleep(3600)

        @task
        def careless(x: int) -> int:
            loop = asyncio.new_event_loop()
            kept.append(loop.create_task(sleeper()))
            for _ in range(5):
                loop.run_until_complete(asyncio.sleep(0))
            loop.close()
            begun.set()
            go.wait(PATIENCE)
            return x

        from eagerly.backends import ThreadBackend

        with session(run_store=store, backend=ThreadBackend(workers=1)):
            for number in range(3):  # more than there are workers
                begun.clear()
                go.clear()
                run = careless.submit(number)
                assert begun.wait(PATIENCE)
                if stops:
                    run.stop()
                go.set()
                assert run.wait(PATIENCE).status == ("cancelled" if stops else "completed")
                until(lambda: run.settled)  # noqa: B023 - at once
        for each in kept:
            each.get_coro().close()
        recwarn.clear()


class TestARecordThatIsNotYetWritten:
    """On an event loop somebody else writes it."""

    async def test_the_collection_has_it(self, tmp_path: Path) -> None:
        async with async_session(run_store=tmp_path / "runs.db"):
            assert (await runs.aio.get(plus_two.submit(1).id)).task == "plus_two"
            run = plus_two.submit(1)
            assert [*await runs.aio.list(ids=[run.id])] == [run]
            made = await runs.aio.create("below", parent=plus_two.submit(1))
            assert made.parent_id is not None

    async def test_it_can_be_stopped_by_its_id(self, tmp_path: Path) -> None:
        @task
        async def endless() -> None:
            await asyncio.Event().wait()

        async with async_session(run_store=tmp_path / "runs.db"):
            for verb in (runs.aio.stop, runs.aio.cancel):
                run = endless.submit()
                await verb(run.id)
                if verb is runs.aio.stop:
                    await runs.aio.cancel(run.id)
                with pytest.raises(RunCancelled):
                    await run

    async def test_a_timeout_counts_from_the_beginning(self, tmp_path: Path) -> None:
        place = tmp_path / "runs.db"
        async with async_session(run_store=place):
            assert await plus_one.submit(1) == 2
            other = sqlite3.connect(place, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            try:
                run = plus_one.submit(2)
                with pytest.raises(RunTimeout, match=f"{run.id} is pending after 0.01 s"):
                    await run.aio.wait(timeout=0.01)
                with pytest.raises(RunTimeout, match=f"{run.id} is pending after 0.01 s"):
                    await asyncio.to_thread(run.wait, 0.01)
            finally:
                other.execute("ROLLBACK")
                other.close()
            assert await run == 3


def test_what_is_derived_has_the_version_that_was_registered() -> None:
    registered = registry.register("derived_version", plus_two, version="3")
    with session(run_store=MemoryRunStore()):
        for derived in (registered.options(tags=["a"]), registered.options(backend="thread").options(retries=1)):
            assert derived.submit(1).wait(PATIENCE).task_version == "3"
            assert registry.get(derived).version == "3"
        other = registered.options(cache=True, cache_version="5")
        assert other.submit(1).wait(PATIENCE).task_version == "5"


@pytest.mark.parametrize("backend", ["inline", "thread", "process"])
def test_a_body_can_ask_for_its_own_end(backend: str, store: RunStore) -> None:
    import run_tasks as tasks

    with session(run_store=store):
        run = tasks.asks_itself_to_stop.options(backend=backend).submit()
        assert run.wait(PATIENCE).status == "cancelled"
        assert runs.get(run.id).output() == "and returns"


NO_ROOM = """
import resource, signal, sys, threading
from eagerly import current_task, runs, session, task
from eagerly.errors import RunsError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
go = threading.Event()

@task
def work():
    go.wait()
    return "kept"

with session(run_store=sys.argv[1], backend="thread"):
    made = [runs.create("import", {"x": "y" * 5000}) for _ in range(50)]
    run = work.submit()
    while run.refresh().status != "running":
        pass
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    go.set()
    try:
        print(run.wait(60).status)
    except RunsError as error:
        print(type(error).__name__, f"what became of run {run.id} could not be written" in str(error))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    while runs.get(run.id).status != "completed":
        pass
    print(run.result(60), run.settled)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs file size limits")
def test_an_end_that_finds_no_room_is_told_and_written_later(tmp_path: Path) -> None:
    command = [sys.executable, "-c", NO_ROOM, str(tmp_path / "runs.db")]
    done = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["RunsError True", "kept True"], done


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_handle_in_a_forked_child_knows_the_record_only(tmp_path: Path) -> None:
    code = """
import os, sys, threading
from eagerly import session, task
go = threading.Event()
@task
def work():
    go.wait()
with session(run_store=sys.argv[1], backend="thread"):
    run = work.submit()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(writing)
        os.read(reading, 1)
        print(run.wait(60).status, run.settled, flush=True)
        os._exit(0)
    go.set()
    run.wait()
    os.close(writing)
    assert os.waitpid(child, 0)[1] == 0
"""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, str(tmp_path / "runs.db")]
    done = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True)
    assert done.stdout.split() == ["completed", "True"]
