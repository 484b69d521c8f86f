"""`on_run_status` and runs that bodies in other processes submit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eagerly import hook_impl, map_tasks, runs, session, task
from eagerly.errors import WorkerCrashed
from eagerly.runs import Run, RunStatus, SqliteRunStore
from eagerly.testing import RecordingHooks
from map_bodies import quiet_die, until, wait_for

PATIENCE = 60.0
STEPS = [(None, "pending"), ("pending", "running"), ("running", "completed")]


@task
def double(number: int) -> int:
    return 2 * number


@task
def wait(folder: str) -> str:
    wait_for(Path(folder, "go"), PATIENCE)
    return "waited"


@task
def submit_and_wait(number: int) -> str:
    run = double.submit(number)
    assert run.result() == 2 * number
    return run.id


@task
def submit_and_leave(folder: str) -> str:
    return wait.submit(folder).id


@task
async def submit_on_a_loop(number: int) -> str:
    return double.submit(number).id


@task
async def double_async(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


@task
async def submit_async_on_a_loop(number: int) -> str:
    run = double_async.submit(number)
    assert await run == 2 * number
    return run.id


@task
def create_and_update(_: int) -> str:
    run = runs.create("import")
    runs.update(run, status="running")
    return run.id


@task
def cancel(run_id: str) -> None:
    runs.cancel(run_id)


@task
def submit_and_cancel(folder: str) -> str:
    run = wait.submit(folder)
    run.cancel("not needed")
    return run.id


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteRunStore]:
    made = SqliteRunStore(tmp_path / "runs.db")
    yield made
    made.close()


def told(hooks: RecordingHooks, run_id: str) -> list[tuple[str | None, str]]:
    found = [event.arguments for event in hooks.events if event.hook == "on_run_status"]
    return [
        (each["previous"] and str(each["previous"]), str(each["run"].status))
        for each in found
        if each["run"].id == run_id
    ]


def last_of(hooks: RecordingHooks, run_id: str) -> str | None:
    """What was told last that it has become."""
    changes = told(hooks, run_id)
    return changes[-1][1] if changes else None


def is_in_order(changes: list[tuple[str | None, str]], last: str) -> bool:
    """They begin with a new run, each goes on from the one before, and all are over at the end."""
    follow = [previous for previous, _ in changes[1:]] == [status for _, status in changes[:-1]]
    return changes[0][0] is None and follow and changes[-1][1] == last and len(set(changes)) == len(changes)


BODIES = [submit_and_wait, submit_on_a_loop, submit_async_on_a_loop]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.name)
def test_runs_of_items(body: Any, store: SqliteRunStore, process_backend: Any) -> None:
    hooks = RecordingHooks()
    with session(run_store=store, plugins=[hooks], backend=process_backend):
        made = map_tasks(body, range(20))
        until(lambda: all(last_of(hooks, run_id) == "completed" for run_id in made), PATIENCE)
    assert len(set(made)) == 20
    for run_id in made:
        assert is_in_order(told(hooks, run_id), "completed"), told(hooks, run_id)
    if body is submit_and_wait:  # all of it while the item runs
        assert [told(hooks, run_id) for run_id in made] == [STEPS] * 20


def test_runs_of_submitted_runs(store: SqliteRunStore, process_backend: Any) -> None:
    hooks = RecordingHooks()
    with session(run_store=store, plugins=[hooks]):
        outer = submit_and_wait.options(backend=process_backend).submit(4)
        inner = outer.result(PATIENCE)
    assert told(hooks, outer.id) == STEPS
    assert told(hooks, inner) == STEPS


def test_a_run_that_outlives_its_item(store: SqliteRunStore, process_backend: Any, tmp_path: Path) -> None:
    """Its row tells, as soon as it says so, and not only when the session ends."""
    hooks = RecordingHooks()
    with session(run_store=store, plugins=[hooks], backend=process_backend):
        [run_id] = map_tasks(submit_and_leave, [str(tmp_path)])
        until(lambda: told(hooks, run_id)[-1:] == [("pending", "running")], PATIENCE)
        (tmp_path / "go").touch()
        until(lambda: told(hooks, run_id)[-1:] == [("running", "completed")], PATIENCE)
    assert told(hooks, run_id) == STEPS


def test_a_run_that_the_end_of_the_session_ends(store: SqliteRunStore, tmp_path: Path) -> None:
    """Its worker goes with the session, and it is told before that is left."""
    hooks = RecordingHooks()
    with session(run_store=store, plugins=[hooks], backend="process"):
        [run_id] = map_tasks(submit_and_leave, [str(tmp_path)])
    assert is_in_order(told(hooks, run_id), "failed")
    assert hooks.names()[-1] == "after_session_end"


def test_a_run_that_is_cancelled_here(store: SqliteRunStore, process_backend: Any, tmp_path: Path) -> None:
    hooks = RecordingHooks()
    with session(run_store=store, plugins=[hooks], backend=process_backend):
        [run_id] = map_tasks(submit_and_leave, [str(tmp_path)])
        runs.cancel(run_id)
        until(lambda: last_of(hooks, run_id) == "cancelled", PATIENCE)
    assert is_in_order(told(hooks, run_id), "cancelled")


def test_a_run_that_its_item_cancels(store: SqliteRunStore, process_backend: Any, tmp_path: Path) -> None:
    hooks = RecordingHooks()
    with session(run_store=store, plugins=[hooks], backend=process_backend):
        [run_id] = map_tasks(submit_and_cancel, [str(tmp_path)])
    assert is_in_order(told(hooks, run_id), "cancelled")


def test_a_run_of_ours_that_an_item_cancels(store: SqliteRunStore, process_backend: Any, tmp_path: Path) -> None:
    """Who executes it tells, and nobody else."""
    hooks = RecordingHooks()
    with session(run_store=store, plugins=[hooks]):
        run = wait.submit(str(tmp_path))
        until(lambda: told(hooks, run.id)[-1:] == [("pending", "running")], PATIENCE)
        map_tasks(cancel, [run.id], backend=process_backend)
        (tmp_path / "go").touch()
    assert told(hooks, run.id) == [*STEPS[:2], ("running", "cancelled")]


def test_runs_of_other_programs_are_told_of_where_they_are_changed(store: SqliteRunStore, process_backend: Any) -> None:
    hooks = RecordingHooks()
    with session(run_store=store, plugins=[hooks], backend=process_backend):
        [run_id] = map_tasks(create_and_update, [1])
        assert told(hooks, run_id) == STEPS[:2]
        runs.update(run_id, status="completed")
        assert told(hooks, run_id) == STEPS


def test_runs_in_the_memory_of_a_worker_are_nobodys_business(process_backend: Any) -> None:
    hooks = RecordingHooks()
    with session(plugins=[hooks], backend=process_backend):
        [run_id] = map_tasks(submit_and_wait, [1])
    assert told(hooks, run_id) == []
    hooks.verify()


def test_on_dask(store: SqliteRunStore, dask_client: Any, tmp_path: Path) -> None:
    """Its workers tell of nothing while they work, and go on when the session ends."""
    hooks = RecordingHooks()
    with session(run_store=store, plugins=[hooks], backend=dask_client):
        [waited] = map_tasks(submit_and_wait, [3])
        until(lambda: told(hooks, waited) == STEPS, PATIENCE)
        [left] = map_tasks(submit_and_leave, [str(tmp_path)])
    (tmp_path / "go").touch()
    with session(run_store=store):
        assert runs.wait(left, timeout=PATIENCE).status == "completed"
    assert told(hooks, left)[0] == (None, "pending")


def test_what_the_hook_is_given_is_of_use(store: SqliteRunStore, process_backend: Any) -> None:
    class Look:
        def __init__(self) -> None:
            self.outputs: list[Any] = []

        @hook_impl
        def on_run_status(self, run: Run[Any], previous: RunStatus | None) -> None:
            if run.done and run.task.endswith("double"):
                self.outputs.append((run.output(), run.refresh().status, previous))

    look = Look()
    with session(run_store=store, plugins=[look], backend=process_backend):
        map_tasks(submit_and_wait, [3])
    assert look.outputs == [(6, "completed", "running")]


@task
def submit_and_die(folder: str) -> None:
    run = wait.submit(folder)
    Path(folder, "id").write_text(run.id)
    quiet_die("os._exit")


@task
def submit_and_fail(folder: str) -> None:
    Path(folder, "id").write_text(wait.submit(folder).id)
    raise ZeroDivisionError


def test_a_run_whose_worker_dies(store: SqliteRunStore, process_backend: Any, tmp_path: Path) -> None:
    hooks = RecordingHooks()
    with session(run_store=store, plugins=[hooks], backend=process_backend), pytest.raises(WorkerCrashed):
        map_tasks(submit_and_die, [str(tmp_path)])
    run_id = (tmp_path / "id").read_text()
    assert is_in_order(told(hooks, run_id), "failed")


def test_a_run_whose_item_fails(store: SqliteRunStore, process_backend: Any, tmp_path: Path) -> None:
    hooks = RecordingHooks()
    with session(run_store=store, plugins=[hooks], backend=process_backend):
        with pytest.raises(ZeroDivisionError):
            map_tasks(submit_and_fail, [str(tmp_path)])
        run_id = (tmp_path / "id").read_text()
        (tmp_path / "go").touch()
        until(lambda: last_of(hooks, run_id) == "completed", PATIENCE)
    assert is_in_order(told(hooks, run_id), "completed")
