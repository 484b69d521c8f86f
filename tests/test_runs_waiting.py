"""Waiting for runs: threads, coroutines, processes; what wakes them, and what it costs while nothing happens."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eagerly import Run, runs, session
from eagerly.errors import EagerlyError, InvalidTransition, RunFailed, RunNotFound, RunTimeout
from eagerly.runs import MemoryRunStore, RunRecord, RunStore, SqliteRunStore

PATIENCE = 60.0


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunStore]:
    """The store of the session that the test runs in."""
    made: RunStore = MemoryRunStore() if request.param == "memory" else SqliteRunStore(tmp_path / "runs.db")
    with session(run_store=made):
        yield made
    made.close()


def running() -> Run[object]:
    return runs.update(runs.create("import"), status="running")


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "eagerly-runs-watcher"]


def test_a_run_that_has_ended_is_there_at_once(store: RunStore) -> None:
    others = watchers()  # of stores that other tests have used
    run = runs.update(runs.create("import"), status="completed", output=1)
    assert runs.wait(run.id, timeout=0.001).status == "completed"
    assert runs.get(run.id).result(timeout=0.001) == 1
    assert [each for each in watchers() if each not in others] == []


def test_fifty_threads(store: RunStore) -> None:
    run = running()
    found: list[object] = []
    together = threading.Barrier(51)

    def wait() -> None:
        together.wait()
        found.append(Run[object](store, run._record).result(PATIENCE))

    threads = [threading.Thread(target=wait) for _ in range(50)]
    for thread in threads:
        thread.start()
    together.wait()
    runs.update(run, status="completed", output="done")
    for thread in threads:
        thread.join()
    assert found == ["done"] * 50


class Late(MemoryRunStore):
    """A store one of whose threads tells what it had read before the run ended."""

    def watch(self, run_id: str, tell: Callable[[RunRecord | EagerlyError | None], bool], /) -> Callable[[], None]:
        before = self.get(run_id)
        end = super().watch(run_id, tell)
        runs.update(run_id, status="completed", output="done")
        tell(before)
        return end


def test_one_who_tells_too_late() -> None:
    with session(run_store=Late()):
        assert running().wait(PATIENCE).status == "completed"


async def test_one_who_tells_a_coroutine_too_late() -> None:
    with session(run_store=Late()):
        assert (await running().aio.wait(PATIENCE)).status == "completed"


async def test_a_thousand_coroutines(store: RunStore) -> None:
    others = set(threading.enumerate())  # what other tests and their clusters have left
    run = await runs.aio.update(await runs.aio.create("import"), status="running")
    waiting = [asyncio.ensure_future(runs.aio.wait(run.id, PATIENCE)) for _ in range(999)]
    waiting.append(asyncio.ensure_future(run.aio.wait(PATIENCE)))
    await asyncio.sleep(0)
    meanwhile = set(threading.enumerate()) - others
    await runs.aio.update(run.id, status="completed", output="done")
    found = await asyncio.gather(*waiting)
    assert {each.status for each in found} == {"completed"}
    assert len(meanwhile) < 50, "each coroutine has a thread"
    assert await run == "done"


async def test_the_loop_goes_on_meanwhile(tmp_path: Path) -> None:
    """Another process has locked the store; nothing of that is felt on the loop."""
    import sqlite3

    store = SqliteRunStore(tmp_path / "runs.db")
    with session(run_store=store):
        run = await runs.aio.create("import")
        writer = sqlite3.connect(tmp_path / "runs.db", isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        changing = asyncio.ensure_future(runs.aio.update(run, status="running"))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not changing.done()
        writer.execute("COMMIT")
        writer.close()
        assert (await changing).status == "running"
    store.close()


async def test_each_twin_does_what_its_sync_function_does(store: RunStore) -> None:
    run = await runs.aio.create("import", {"x": 1}, tags=["t"])
    assert await runs.aio.get(run.id) == run
    assert await runs.aio.list(tags=["t"], limit=1) == [run]
    assert [each async for each in runs.aio.iter(task="import")] == [run]
    assert (await runs.aio.update(run, status="running", output=5)).has_output
    assert await runs.aio.output(run) == await run.aio.output() == 5
    assert (await run.aio.refresh()).status == "running"
    assert (await run.aio.stop()).stop_requested_at == (await runs.aio.stop(run)).stop_requested_at
    with pytest.raises(RunTimeout, match=r"is running after 0\.01 s"):
        await run.aio.wait(timeout=0.01)
    with pytest.raises(RunTimeout):
        await runs.aio.wait(run.id, timeout=0.01)
    assert (await run.aio.cancel("enough")).cancel_reason == "enough"
    with pytest.raises(InvalidTransition):
        await runs.aio.cancel(run)
    assert (await runs.aio.wait(run)).status == "cancelled"
    failed = await runs.aio.update(await runs.aio.create("import"), status="failed", error="no")
    with pytest.raises(RunFailed):
        await failed
    assert await runs.aio.prune(keep=0) == 2
    with pytest.raises(RunNotFound):
        await runs.aio.wait(run.id)


async def test_a_cancelled_wait_leaves_the_run_alone(store: RunStore) -> None:
    run = await runs.aio.update(await runs.aio.create("import"), status="running")
    waiting = asyncio.ensure_future(run.aio.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await run.aio.refresh()).status == "running"


def test_a_run_that_is_removed_meanwhile(store: RunStore) -> None:
    run = runs.update(runs.create("import"), status="completed")
    runs.prune(keep=0)
    with pytest.raises(RunNotFound, match=run.id):
        runs.wait(run.id, 1)


def test_another_process_is_noticed(tmp_path: Path) -> None:
    """Within half a second: the child says when it has committed."""
    store = SqliteRunStore(tmp_path / "runs.db")
    code = "import sys, time\nfrom eagerly import runs, session\nwith session(run_store=sys.argv[1]):\n"
    code += "    sys.stdin.readline()\n    runs.update(sys.argv[2], status='completed')\n    print(time.time())"
    with session(run_store=store):
        run = running()
        words = [sys.executable, "-c", code, store.place, run.id]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
            run.wait(PATIENCE)
            noticed = time.time()
            committed = float(child.communicate(timeout=PATIENCE)[0])
        assert run.status == "completed"
        assert noticed - committed < 0.5
    store.close()


def test_nobody_watches_when_nobody_waits(tmp_path: Path) -> None:
    store = SqliteRunStore(tmp_path / "runs.db")
    with session(run_store=store):
        run = running()
        with pytest.raises(RunTimeout):
            run.wait(0.01)
        for thread in watchers():
            thread.join(PATIENCE)
        assert watchers() == []
        thread = threading.Thread(target=run.wait, args=(PATIENCE,))
        thread.start()
        runs.update(run.id, status="completed")
        thread.join()
    store.close()


def test_waiting_for_a_run_of_a_killed_process(tmp_path: Path) -> None:
    """Who waits finds out by itself, without anybody opening the store."""
    store = SqliteRunStore(tmp_path / "runs.db")
    code = (
        "import sys\nfrom eagerly.runs import SqliteRunStore\nprint(SqliteRunStore(sys.argv[1]).owner(), flush=True)\n"
    )
    code += "sys.stdin.readline()"
    with session(run_store=store):
        run = runs.create("import")
        words = [sys.executable, "-c", code, store.place]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            owner = child.stdout.readline().strip()
            take(store, run.id, owner)
            killer = threading.Timer(0.1, child.kill)
            killer.start()
            run.wait(PATIENCE)
            assert run.error is not None
            assert (run.status, run.error.kind) == ("failed", "lost")
            with pytest.raises(RunFailed, match="has ended while the run was running"):
                run.result()
    store.close()


def take(store: RunStore, run_id: str, owner: str) -> None:
    from eagerly.runs import Change, RunStatus
    from eagerly.runs._record import now

    store.write([Change(run_id, now(), RunStatus.RUNNING, {"owner": owner})])


def test_the_next_one_to_wait_starts_the_thread_that_could_not_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    made = SqliteRunStore(tmp_path / "runs.db")
    with session(run_store=made):
        run, ended = running(), runs.update(runs.create("import"), status="completed")
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="can't start"):
                runs.wait(run.id, timeout=PATIENCE)

        async def wait() -> object:
            return (await runs.aio.wait(ended.id, timeout=PATIENCE)).status

        assert asyncio.run(wait()) == "completed"
    made.close()
