"""Submitted runs on engines whose workers are connected with nobody while they work: executors, Dask, Ray.

What the body says and what is asked of it goes through the row of the run, which both sides can reach.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import run_tasks as tasks
from eagerly import runs, session
from eagerly.errors import RunCancelled, RunFailed, WorkerCrashed
from eagerly.runs import MemoryRunStore, RunStore
from run_tasks import PATIENCE, until, until_status

FIXTURES = {"process_pool": "process_pool", "loky": "loky_pool", "dask": "dask_client", "ray": "ray_cluster"}
KINDS = {"sync": tasks.double, "async": tasks.double_async, "stream": tasks.count, "async_stream": tasks.count_async}


@pytest.fixture(params=FIXTURES)
def engine(request: pytest.FixtureRequest) -> Any:
    """What ``backend=`` takes, for every engine in turn."""
    found = request.getfixturevalue(FIXTURES[request.param])
    return "ray" if request.param == "ray" else found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    with session(run_store=tmp_path / "runs.db") as here:
        assert here.run_store is not None
        yield here.run_store
    here.run_store.close()


def test_results_and_errors_of_every_kind(engine: Any, store: RunStore) -> None:
    for kind, body in KINDS.items():
        run = body.options(backend=engine).submit(3, plus=1)
        assert run.result(PATIENCE) == ([1, 2, 3] if "stream" in kind else 7)
        assert (run.status, run.progress, run.owner) == ("completed", 1.0, store.owner())
    stream = tasks.count.options(backend=engine).submit(3)
    assert [*stream.items()] == [0, 1, 2]
    failed = tasks.fail.options(backend=engine).submit("gone")
    with pytest.raises(RunFailed, match="LookupError: gone"):
        failed.result(PATIENCE)


def test_what_a_body_says_is_written_while_it_runs(engine: Any, store: RunStore, tmp_path: Path) -> None:
    run = tasks.pauses.options(backend=engine).submit(str(tmp_path))
    until_status(run, "paused")
    (tmp_path / "go").touch()
    assert run.result(PATIENCE) == "went on"
    told = tasks.report.options(backend=engine).submit("one")
    assert told.result(PATIENCE) == {"name": "one"}
    found = runs.get(told.id)
    assert (found.step, found.steps, found.message, found.progress) == (3, 4, "one ends", 1.0)
    assert (found.progress_data, found.output_summary) == ({"name": "one"}, "half of one")


@pytest.mark.parametrize("verb", ["stop", "cancel"])
def test_a_body_hears_what_is_asked_of_its_run(verb: str, engine: Any, store: RunStore, tmp_path: Path) -> None:
    bodies = [tasks.loops, tasks.sleeps, tasks.sleeps_async, tasks.streams]
    for body in [*bodies, *[tasks.waits_async] * (verb == "cancel")]:
        folder = tmp_path / body.name
        folder.mkdir()
        run = body.options(backend=engine).submit(str(folder))
        until((folder / "begun").exists)
        getattr(run, verb)()
        with pytest.raises(RunCancelled):
            run.result(PATIENCE)
        until((folder / "ended").exists)
        until(lambda run=run: run.settled)
        assert run.refresh().has_output is (verb == "stop" and body in (tasks.loops, tasks.streams))


def test_a_worker_that_dies_fails_its_run(engine: Any, store: RunStore, request: pytest.FixtureRequest) -> None:
    if request.node.callspec.params["engine"] in ("process_pool", "loky"):
        pytest.skip("a pool that has lost a process is broken, which tests of executors show")
    run = tasks.kills_itself.options(backend=engine).submit()
    with pytest.raises(RunFailed) as caught:
        run.result(PATIENCE)
    assert isinstance(caught.value.__cause__, WorkerCrashed)
    assert run.error is not None
    assert run.error.kind == "crashed"
    assert tasks.double.options(backend=engine).submit(2).result(PATIENCE) == 4


def test_with_records_in_memory_what_it_says_comes_at_its_end(engine: Any) -> None:
    with session(run_store=MemoryRunStore()):
        run = tasks.report.options(backend=engine).submit("one")
        assert run.result(PATIENCE) == {"name": "one"}
        assert (run.refresh().step, run.message) == (3, "one ends")
