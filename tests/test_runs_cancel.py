"""Stopping and cancelling submitted runs, from everywhere; races; the end of processes and of the interpreter."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import run_tasks as tasks
from eagerly import Run, _clerk, runs, session, task
from eagerly.errors import InvalidTransition, OutputMissing, RunCancelled, RunLost
from eagerly.runs import MemoryRunStore, RunStore, SqliteRunStore
from run_tasks import PATIENCE, until

BODIES: dict[str, Any] = {
    "loop": tasks.loops,
    "sleep": tasks.sleeps,
    "async sleep": tasks.sleeps_async,
    "retry": tasks.tries_again,
    "async retry": tasks.tries_again_async,
    "stream": tasks.streams,
    "async stream": tasks.streams_async,
}
BACKENDS = ["thread", "process"]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunStore]:
    made: RunStore = MemoryRunStore() if request.param == "memory" else SqliteRunStore(tmp_path / "runs.db")
    yield made
    made.close()


def begun(body: Any, folder: Path, backend: str) -> Any:
    run = body.options(backend=backend).submit(str(folder))
    until((folder / "begun").exists)
    if body in (tasks.tries_again, tasks.tries_again_async):  # which wait from then on
        until(lambda: run.refresh().attempt == 2)
    return run


def elsewhere(place: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` about the runs at `place` in another process."""
    program = f"from eagerly import runs, session\nwith session(run_store={str(place)!r}):\n    {code}\n"
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=PATIENCE, cwd=place.parent
    )


@pytest.mark.parametrize("verb", ["stop", "cancel"])
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_body_ends_and_its_finally_ran(
    verb: str, body: str, backend: str, store: RunStore, tmp_path: Path
) -> None:
    with session(run_store=store):
        run = begun(BODIES[body], tmp_path, backend)
        getattr(run, verb)()
        assert run.wait(PATIENCE).status == "cancelled"
        until(lambda: run.settled)
        assert (tmp_path / "ended").exists()
        with pytest.raises(RunCancelled):
            run.result()
        kept = verb == "stop" and body in ("loop", "stream", "async stream")
        assert run.refresh().has_output is kept


@pytest.mark.parametrize("verb", ["stop", "cancel"])
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_from_another_process(verb: str, body: str, backend: str, tmp_path: Path) -> None:
    place = tmp_path / "runs.db"
    with session(run_store=place):
        run = begun(BODIES[body], tmp_path, backend)
        elsewhere(place, f"runs.{verb}({run.id!r})")
        assert run.wait(PATIENCE).status == "cancelled"
        until(lambda: run.settled)
        assert (tmp_path / "ended").exists()


@pytest.mark.parametrize("verb", ["stop", "cancel"])
def test_an_attempt_that_waits_for_its_turn_is_not_made(verb: str, store: RunStore, tmp_path: Path) -> None:
    with session(run_store=store, backend="process"):
        run = tasks.gets_stuck.submit(str(tmp_path))
        until(lambda: run.refresh().attempt == 2)  # the worker of the first is gone
        getattr(run, verb)()
        assert run.wait(PATIENCE / 4).status == "cancelled"
        until(lambda: run.settled)
    assert (tmp_path / "begun").read_text() == "."


def test_from_another_process_while_nothing_else_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who writes for the runs here may be asleep, and is in time all the same to listen to other processes."""
    monkeypatch.setattr(_clerk, "LINGER", 3600.0)
    place = tmp_path / "runs.db"
    with session(run_store=place):
        tasks.double.submit(1).result(PATIENCE)
        for number in range(2):
            folder = tmp_path / str(number)
            folder.mkdir()
            run = begun(tasks.sleeps, folder, "thread")
            elsewhere(place, f"runs.stop({run.id!r})")
            assert run.wait(PATIENCE / 4).status == "cancelled"  # what looks after the store looks every half minute
            until((folder / "ended").exists)


def test_a_queued_run_never_runs(store: RunStore, tmp_path: Path) -> None:
    from eagerly.backends import ThreadBackend

    with ThreadBackend(1) as one, session(run_store=store, backend=one):
        first = begun(tasks.loops, tmp_path, None)  # type: ignore[arg-type]
        waiting = [tasks.loops.submit(str(tmp_path / "never")) for _ in range(4)]
        assert {run.refresh().status for run in waiting} == {"pending"}
        waiting[0].stop()
        waiting[1].cancel("not needed")
        runs.stop(waiting[2])
        runs.cancel(waiting[3].id)
        for run in waiting:
            assert run.wait(PATIENCE).status == "cancelled"
            assert (run.started_at, run.settled) == (None, True)
        assert waiting[0].cancel_reason == "stopped before it began"
        assert waiting[1].cancel_reason == "not needed"
        first.stop()


def test_an_async_body_that_knows_nothing_is_cancelled(store: RunStore, tmp_path: Path) -> None:
    with session(run_store=store):
        run = begun(tasks.waits_async, tmp_path, "thread")
        run.cancel("enough")
        assert run.wait(PATIENCE).cancel_reason == "enough"
        until((tmp_path / "ended").exists)


def test_on_the_event_loop(store: RunStore, tmp_path: Path) -> None:
    async def main() -> None:
        async with session(run_store=store):
            for number, body in enumerate([tasks.sleeps_async, tasks.waits_async, tasks.streams_async]):
                folder = tmp_path / str(number)
                folder.mkdir()
                run = body.submit(str(folder))
                while not (folder / "begun").exists():
                    await asyncio.sleep(0.001)
                await run.aio.cancel("enough")
                with pytest.raises(RunCancelled, match="enough"):
                    await run
                while not run.settled:
                    await asyncio.sleep(0.001)
                assert (folder / "ended").exists()

    asyncio.run(main())


def test_a_worker_that_ignores_everything_is_killed(store: RunStore, tmp_path: Path) -> None:
    with session(run_store=store, backend="process"):
        run = begun(tasks.tells_its_process, tmp_path, "process")
        worker = int((tmp_path / "pid").read_text())
        run.cancel()
        assert run.status == "cancelled"
        until(lambda: run.settled)
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)
        assert tasks.double.submit(2).result(PATIENCE) == 4


def test_what_comes_after_a_cancellation_is_thrown_away(store: RunStore, tmp_path: Path) -> None:
    @task
    def late() -> str:
        (tmp_path / "begun").touch()
        until((tmp_path / "go").exists)
        return "late"

    with session(run_store=store):
        run = late.submit()
        until((tmp_path / "begun").exists)
        run.cancel()
        assert not run.settled
        (tmp_path / "go").touch()
        until(lambda: run.settled)
        assert runs.get(run.id).status == "cancelled"
        with pytest.raises(OutputMissing):
            run.output()
        with pytest.raises(InvalidTransition):
            run.cancel()


@pytest.mark.parametrize("verb", ["stop", "cancel"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_children_are_reached(verb: str, backend: str, tmp_path: Path) -> None:
    with session(run_store=tmp_path / "runs.db"):
        run = begun(tasks.family, tmp_path, backend)
        getattr(run, verb)()
        [child] = [each for each in runs.list(parent=run) if each.kind == "run"]
        assert child.wait(PATIENCE).status == run.wait(PATIENCE).status == "cancelled"
        until((tmp_path / "ended").exists)
        if backend == "thread":
            until((tmp_path / "child" / "ended").exists)


def test_five_hundred_races_between_the_end_and_a_cancellation(store: RunStore) -> None:
    chance = random.Random(5)
    outcomes = set()

    @task
    def body(spins: int) -> int:
        for _ in range(spins):
            pass
        return spins

    with session(run_store=store):
        for _ in range(500):
            heard: list[str] = []
            run = body.submit(chance.randrange(3000))
            other = Run[int](store, run._record)
            waiter = threading.Thread(target=lambda other=other, heard=heard: heard.append(other.wait().status))
            waiter.start()
            for _ in range(chance.randrange(3000)):
                pass
            try:
                run.cancel()
                won = True
            except InvalidTransition:
                won = False
            waiter.join(PATIENCE)
            status = "cancelled" if won else "completed"
            assert heard == [status]
            assert (run.wait(PATIENCE).status, run.refresh().has_output) == (status, not won)
            until(lambda run=run: run.settled)
            found = runs.get(run.id)
            assert (found.status, found.has_output) == (status, not won)
            outcomes.add(status)
    assert outcomes == {"cancelled", "completed"}


# The end of processes


def program(tmp_path: Path, body: str) -> subprocess.Popen[str]:
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\nimport run_tasks as tasks\n{body}"
    environment = {**os.environ, "EAGERLY_RUN_STORE": str(tmp_path / "runs.db")}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_leaving_the_interpreter_always_works(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("ignores", "sleeps", "waits", "process")]
    for folder in folders:
        folder.mkdir()
    ends = program(
        tmp_path,
        f"""
tasks.ignores.submit({str(folders[0])!r})
tasks.sleeps.submit({str(folders[1])!r})
tasks.waits_async.submit({str(folders[2])!r})
tasks.ignores.options(backend="process").submit({str(folders[3])!r})
for folder in {[str(folder) for folder in folders]!r}:
    tasks.until(lambda: __import__("os").path.exists(folder + "/begun"))
""",
    )
    output, errors = ends.communicate(timeout=PATIENCE)
    assert (ends.returncode, output, errors) == (0, "", "")
    with session(run_store=tmp_path / "runs.db"):
        ignores, sleeps, waits, process = runs.list()
        assert ignores.status == waits.status == "failed"
        assert sleeps.status == "cancelled"
        assert (tmp_path / "sleeps" / "ended").exists()
        assert process.status == "failed"
        with pytest.raises(RunLost, match="the interpreter was left"):
            ignores.result()


def test_a_killed_owner_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = tmp_path / "runs.db"
    (tmp_path / "other").mkdir()
    with session(run_store=place):
        own = begun(tasks.loops, tmp_path / "other", "thread")
        owner = program(
            tmp_path,
            f"""
tasks.ignores.submit({str(tmp_path)!r})
from eagerly.backends import ThreadBackend
tasks.ignores.options(backend=ThreadBackend(1)).submit({str(tmp_path)!r})
[tasks.ignores.options(backend="process").submit({str(tmp_path)!r}) for _ in range(8)]
tasks.time.sleep(tasks.ENDLESS)
""",
        )
        until((tmp_path / "begun").exists)
        until(lambda: len(runs.list()) == 11)
        owner.send_signal(signal.SIGKILL)
        owner.communicate(timeout=PATIENCE)
        lost = [run for run in runs.list() if run.id != own.id]
        for run in lost:
            assert run.wait(PATIENCE).status == "failed"
            with pytest.raises(RunLost):
                run.result()

        def told() -> list[str]:
            return sorted(record.args[0] for record in caplog.records if record.name == "eagerly.runs")  # type: ignore[misc, index]  # the id

        until(lambda: len(told()) >= len(lost))  # that is said after it has been written
        assert told() == sorted(run.id for run in lost)
        assert own.refresh().status == "running"
        own.stop()


def test_a_forked_child_has_none_of_its_parents_runs(tmp_path: Path) -> None:
    with session(run_store=tmp_path / "runs.db"):
        run = begun(tasks.loops, tmp_path, "thread")
        child = os.fork()
        if not child:  # in a copy of this process, which must not end the run of the original
            code = 1
            try:
                code = 0 if tasks.double.options(backend="inline").submit(2).result() == 4 else 2
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert run.refresh().status == "running"
        run.stop()
    assert run.refresh().status == "cancelled"
