"""Submitted runs: all kinds, on all backends, in all stores; results, errors, attempts, children, hooks, sessions."""

from __future__ import annotations

import asyncio
import operator
import threading
import traceback
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import eagerly
import run_tasks as tasks
from eagerly import Run, current_task, runs, session, share, task
from eagerly.errors import (
    BackendError,
    OptionValueError,
    OutputMissing,
    OutputNotSerializable,
    RunCancelled,
    RunFailed,
    RunsError,
    RunTimeout,
    WorkerCrashed,
)
from eagerly.runs import MemoryRunStore, RunStore, SqliteRunStore
from eagerly.runs._protocol import Outcome, Write
from eagerly.testing import RecordingHooks
from run_tasks import PATIENCE, until, until_status

KINDS = {"sync": tasks.double, "async": tasks.double_async, "stream": tasks.count, "async_stream": tasks.count_async}
FAILING = {
    "sync": tasks.fail,
    "async": tasks.fail_async,
    "stream": tasks.fail_stream,
    "async_stream": tasks.fail_async_stream,
}
BACKENDS = ["inline", "thread", "process"]

on_each_backend = pytest.mark.parametrize("backend", BACKENDS)
of_each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunStore]:
    made: RunStore = MemoryRunStore() if request.param == "memory" else SqliteRunStore(tmp_path / "runs.db")
    yield made
    made.close()


def expected(kind: str) -> Any:
    return [1, 2, 3] if "stream" in kind else 7


def start(kind: str, backend: str | None) -> Run[Any]:
    return KINDS[kind].options(backend=backend, tags=["a"]).submit(3, plus=1)


# What comes of them


@of_each_kind
@on_each_backend
def test_every_kind_on_every_backend(kind: str, backend: str, store: RunStore) -> None:
    with session(run_store=store) as here:
        run = start(kind, backend)
        assert run.result(PATIENCE) == expected(kind)
        found = runs.get(run.id)
        assert (found.status, found.progress, found.attempt, found.error) == ("completed", 1.0, 1, None)
        assert (found.task, found.tags, found.session_id) == (KINDS[kind].name, ("a",), str(here.session_id))
        assert found.inputs in ({"x": 3, "plus": 1}, {"n": 3, "plus": 1})
        assert found.input_summary in ("x=3, plus=1", "n=3, plus=1")
        assert (found.parent_id, found.root_id) == (None, run.id)
        assert found.owner == store.owner()
        assert found.result() == expected(kind)
        assert found.created_at <= found.started_at <= found.completed_at  # type: ignore[operator]
        assert [each.id for each in runs.list(task=KINDS[kind])] == [run.id]
        until(lambda: run.settled)


@pytest.mark.parametrize("kind", FAILING)
@on_each_backend
def test_an_error_ends_the_run_with_what_is_known_of_it(kind: str, backend: str, store: RunStore) -> None:
    with session(run_store=store):
        run = FAILING[kind].options(backend=backend).submit("gone")
        with pytest.raises(RunFailed, match="LookupError: gone") as caught:
            run.result(PATIENCE)
        assert isinstance(caught.value.__cause__, LookupError)
        found = runs.get(run.id)
        assert found.error is not None
        assert (found.status, found.error.type, found.error.message) == ("failed", "LookupError", "gone")
        assert "raise LookupError(message)" in found.error.traceback
        assert "/eagerly/_" not in found.error.traceback
        assert found.error.kind == "error"
        with pytest.raises(RunFailed) as again:
            found.result()
        assert isinstance(again.value.__cause__, LookupError)


@on_each_backend
def test_what_is_shown_of_an_error_has_the_users_frames_once(backend: str, store: RunStore) -> None:
    with session(run_store=store):
        run = tasks.fail.options(backend=backend).submit("gone")
        for _ in range(2):
            with pytest.raises(RunFailed) as caught:
                run.result(PATIENCE)
            shown = "".join(traceback.format_exception(caught.value))
            assert shown.count(", in fail\n") == 1
            assert shown.count("Traceback in the worker:\n") == (backend == "process")


def test_who_has_no_exception_sees_where_it_was_raised(tmp_path: Path) -> None:
    with session(run_store=tmp_path / "runs.db"):
        run = runs.create("import")
        try:
            raise LookupError("gone")
        except LookupError as error:
            runs.update(run, status="failed", error=error)
        with pytest.raises(RunFailed) as caught:
            run.refresh().result()
    assert caught.value.__cause__ is None
    assert 'raise LookupError("gone")' in caught.value.__notes__[0]


def test_what_has_no_frames_is_not_said_twice(store: RunStore) -> None:
    with session(run_store=store):
        run = tasks.kills_itself.options(backend="process").submit()
        with pytest.raises(RunFailed) as caught:
            run.result(PATIENCE)
    assert "Traceback in the worker" not in "".join(traceback.format_exception(caught.value))


@on_each_backend
def test_the_traceback_is_that_of_the_user(backend: str, store: RunStore) -> None:
    with session(run_store=store):
        run = tasks.fail_above.options(backend=backend).submit("gone")
        with pytest.raises(RunFailed) as caught:
            run.result(PATIENCE)
        recorded = runs.get(run.id).error
        below = [each.error for each in runs.list(task="fail", parent=run)]
    assert recorded is not None
    assert caught.value.traceback == recorded.traceback
    assert [found.partition(", in ")[2] for found in frames(recorded.traceback)] == [
        *("fail_above", "fail", "fail_above", "fail_above", "fail"),
    ]
    assert recorded.traceback.count("LookupError: gone") == 2
    if backend != "process":  # of calls in a worker only the last line is recorded
        last = [frames(each.traceback)[-1] for each in below if each]
        assert [found.partition(", in ")[2] for found in last] == ["fail", "fail"]
    for each in (recorded, *below):
        assert each is not None
        assert "/eagerly/_" not in each.traceback


def test_a_traceback_without_the_users_frames(store: RunStore) -> None:
    with session(run_store=store):
        refused = task(runs.get).submit("run_nosuch").wait().error  # an error of ours, which says it all
        assert refused is not None
        assert refused.traceback.startswith("eagerly.errors.RunNotFound: there is no run 'run_nosuch' in ")
        failed = task(operator.truediv).submit(1, 0).wait().error  # else there would be nothing to go by
        assert failed is not None
        assert failed.traceback.startswith("Traceback (most recent call last):\n")
        assert frames(failed.traceback)[-1].endswith(", in __call__")


def test_the_traceback_of_an_error_that_is_handed_in(store: RunStore) -> None:
    with session(run_store=store):
        run = runs.update(runs.create("import"), status="running")
        try:
            tasks.fail("gone")
        except LookupError as error:
            runs.update(run, status="failed", error=error)
        found = runs.get(run.id).error
        assert found is not None
        assert [each.partition(", in ")[2] for each in frames(found.traceback)] == [
            *("test_the_traceback_of_an_error_that_is_handed_in", "fail"),
        ]


def frames(traceback: str) -> list[str]:
    return [line.strip(" |") for line in traceback.splitlines() if line.strip(" |").startswith("File ")]


@on_each_backend
def test_attempts_are_counted(backend: str, store: RunStore, tmp_path: Path) -> None:
    with session(run_store=store):
        run = tasks.flaky.options(backend=backend).submit(str(tmp_path))
        assert run.result(PATIENCE) == 3
        assert runs.get(run.id).attempt == 3


@on_each_backend
def test_a_cached_result_is_marked(backend: str, store: RunStore, tmp_path: Path) -> None:
    cached = tasks.double.options(cache=True, backend=backend)
    with session(run_store=store, cache_store=tmp_path / "cache"):
        first, second = (cached.submit(4) for _ in range(2))
        assert first.result(PATIENCE) == second.result(PATIENCE) == 8
        third = cached.submit(4)
        assert third.result(PATIENCE) == 8
        assert runs.get(third.id).cached


@on_each_backend
def test_a_timeout_bounds_an_attempt(backend: str, store: RunStore, tmp_path: Path) -> None:
    with session(run_store=store):
        run = tasks.sleeps.options(backend=backend, timeout=0.1).submit(str(tmp_path))
        with pytest.raises(RunFailed, match="TaskTimeoutError"):
            run.result(PATIENCE)


@on_each_backend
def test_a_dataset_is_saved(backend: str, store: RunStore, tmp_path: Path) -> None:
    with session(run_store=store, dataset_store=tmp_path / "data"):
        run = tasks.double.options(backend=backend, dataset="{x}.json").submit(4)
        assert run.result(PATIENCE) == 8
        assert eagerly.load_dataset("4.json") == 8


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_arguments_are_the_callers_and_leave_no_record(kind: str, store: RunStore) -> None:
    with session(run_store=store):
        with pytest.raises(TypeError, match="unexpected keyword argument 'minus'"):
            KINDS[kind].submit(3, minus=1)
        assert list(runs.list()) == []


def test_an_argument_may_have_any_name(store: RunStore) -> None:
    @task(cache=True, cache_store="memory://")
    def own(self: int, task: int, args: int) -> int:
        return self + task + args

    with session(run_store=store):
        assert own.submit(self=1, task=2, args=3).result(PATIENCE) == 6
        assert own.is_cached(self=1, task=2, args=3)


def test_the_default_is_a_thread_and_outside_of_a_session_the_memory() -> None:
    @task
    def where() -> tuple[str, str]:
        call = current_task()
        assert call is not None
        return threading.current_thread().name, call.backend

    run = where.submit()
    name, backend = run.result(PATIENCE)
    assert (name != threading.current_thread().name, backend) == (True, "thread")
    assert runs.get(run.id) == run


def test_inline_has_ended_when_submit_returns(store: RunStore) -> None:
    with session(run_store=store, backend="inline"):
        run = tasks.double.submit(1)
        assert (run.status, run.settled) == ("completed", True)
        with pytest.raises(KeyboardInterrupt):
            tasks.interrupts.submit()
        assert [each.status for each in runs.list()] == ["completed", "failed"]


@on_each_backend
def test_nothing_that_a_body_raises_leaves_it_running(backend: str, store: RunStore) -> None:
    with session(run_store=store):
        run = tasks.leaves.options(backend=backend).submit(3)
        with pytest.raises(RunFailed, match="SystemExit: 3"):
            run.result(PATIENCE)
    with session(run_store=store):
        if backend != "inline":
            run = tasks.interrupts.options(backend=backend).submit()
            with pytest.raises(RunFailed, match="KeyboardInterrupt"):
                run.result(PATIENCE)


def test_the_call_and_the_run_have_one_number(store: RunStore) -> None:
    with session(run_store=store):
        run = task(lambda: str(current_task().id), name="own").submit()  # type: ignore[union-attr]
        assert run.result(PATIENCE).replace("-", "").startswith(run.id.removeprefix("run_"))


def test_a_name_is_a_template(store: RunStore) -> None:
    with session(run_store=store):
        run = tasks.double.options(name="double {x}").submit(4)
        run.wait(PATIENCE)
        found = runs.get(run.id)
        assert (found.task, found.name) == ("double {x}", "double 4")
        assert [each.id for each in runs.list(task="double {x}")] == [run.id]


def test_inputs_that_json_does_not_have_are_shown(store: RunStore) -> None:
    class Odd:
        def __repr__(self) -> str:
            raise ValueError

    with session(run_store=store):
        run = task(lambda day, odd: None, name="odd").submit(date(2026, 1, 2), Odd())
        found = run.wait(PATIENCE)
        assert found.inputs is None
        assert found.input_summary is not None
        assert found.input_summary.startswith("day=datetime.date(2026, 1, 2), odd=<")
        long = task(lambda text: None, name="long").submit("x" * 10_000)
        assert len(long.wait(PATIENCE).input_summary or "") <= 1000


def test_memory_gives_back_the_object_and_a_database_what_json_has(tmp_path: Path) -> None:
    made = object()
    with session(run_store=MemoryRunStore()):
        assert task(lambda: made, name="make").submit().result(PATIENCE) is made
    with session(run_store=tmp_path / "runs.db"):
        run = task(lambda: {"rows": [1, {2}]}, name="make").submit()
        with pytest.raises(RunFailed, match=r"output\['rows'\]\[1\] is set"):
            run.result(PATIENCE)
        assert runs.get(run.id).error.type == "OutputNotSerializable"  # type: ignore[union-attr]
        assert isinstance(run._live.error, OutputNotSerializable)  # type: ignore[union-attr]
        pickled = task(lambda: {"rows": [1, {2}]}, name="make", run_output="pickle").submit()
        assert pickled.result(PATIENCE) == {"rows": [1, {2}]}
        assert runs.get(pickled.id).result() == {"rows": [1, {2}]}


@on_each_backend
def test_a_handle_has_what_is_small_without_the_store(backend: str, tmp_path: Path) -> None:
    repeat = task(operator.mul, name="repeat").options(backend=backend)
    with session(run_store=tmp_path / "runs.db"):
        small, large = [repeat.submit(["a"], times) for times in (3, 3000)]
        for run, times in ((small, 3), (large, 3000)):
            assert run.result(PATIENCE) == run.result() == ["a"] * times
            run.result().append("b")
            assert run.result() == ["a"] * times, "each caller has its own"
        assert runs.prune(keep=0) == 2
        assert small.result() == ["a"] * 3
        with pytest.raises(OutputMissing, match=large.id):
            large.result()


def test_run_output_is_checked() -> None:
    with pytest.raises(OptionValueError, match="'json' or 'pickle', not 'yaml'"):
        task(lambda: None, run_output="yaml")  # type: ignore[call-overload]


def test_arguments_that_cannot_travel_are_refused_in_the_caller(store: RunStore) -> None:
    with session(run_store=store, backend="process"):
        with pytest.raises(BackendError, match="cannot travel"):
            tasks.double.submit(threading.Lock())  # type: ignore[arg-type]
        assert list(runs.list()) == []


# Event loops


@of_each_kind
def test_on_an_event_loop(kind: str, store: RunStore) -> None:
    async def main() -> None:
        async with session(run_store=store):
            run = start(kind, None)
            assert await run == expected(kind)
            assert (await runs.aio.get(run.id)).status == "completed"

    asyncio.run(main())


def test_an_async_task_runs_on_the_loop_where_it_was_submitted(store: RunStore) -> None:
    @task
    async def thread() -> int:
        return threading.get_ident()

    async def main() -> None:
        with session(run_store=store):
            assert await thread.submit() == threading.get_ident()
            assert await thread.options(backend="thread").submit() != threading.get_ident()

    asyncio.run(main())


def test_nothing_is_written_on_the_event_loop(tmp_path: Path) -> None:
    loops: list[int] = []

    class Watched(SqliteRunStore):
        def write(self, batch: Any, /) -> Any:
            loops.append(threading.get_ident())
            return super().write(batch)

    async def main() -> None:
        async with session(run_store=Watched(tmp_path / "runs.db")):
            started = [start(kind, backend) for kind in KINDS for backend in (None, "thread", "process")]
            assert [await run.aio.wait(PATIENCE) for run in started] == started
            run = tasks.sleeps_async.submit(str(tmp_path))
            await run.aio.stop()
            with pytest.raises(RunCancelled):
                await run

    asyncio.run(main())
    assert loops
    assert threading.get_ident() not in loops


def test_inline_is_refused_where_it_would_block_the_loop(tmp_path: Path) -> None:
    async def main() -> None:
        with (
            session(run_store=tmp_path / "runs.db", backend="inline"),
            pytest.raises(BackendError, match="block the event"),
        ):
            tasks.double.submit(1)

    asyncio.run(main())


def test_a_thousand_coroutines_wait_for_one_run(store: RunStore) -> None:
    async def main() -> None:
        go = asyncio.Event()

        @task
        async def wait() -> str:
            await go.wait()
            return "done"

        async with session(run_store=store):
            run = wait.submit()
            waiting = [asyncio.ensure_future(run.aio.result(PATIENCE)) for _ in range(1000)]
            await asyncio.sleep(0)
            go.set()
            assert set(await asyncio.gather(*waiting)) == {"done"}

    asyncio.run(main())


# Streams


@pytest.mark.parametrize("kind", ["stream", "async_stream"])
@pytest.mark.parametrize("backend", ["thread", "process"])
def test_items_come_while_it_runs(kind: str, backend: str, store: RunStore, tmp_path: Path) -> None:
    endless = (tasks.streams if kind == "stream" else tasks.streams_async).options(backend=backend)
    with session(run_store=store):
        run = endless.submit(str(tmp_path))
        early, late = run.items(), run.items()
        assert [next(early) for _ in range(3)] == [0, 1, 2]
        assert run.refresh().status == "running"
        assert next(late) == 0
        run.stop()
        rest = [*early]
        assert rest == list(range(3, 3 + len(rest)))
        assert [*late] == [1, 2, *rest]
        assert run.wait(PATIENCE).status == "cancelled"
        assert run.output() == [0, 1, 2, *rest] == [*run.items()]
        assert (tmp_path / "ended").exists()


def test_items_of_a_stream_that_fails(store: RunStore) -> None:
    with session(run_store=store):
        items = tasks.fail_stream.submit("gone").items()
        assert next(items) == 1
        with pytest.raises(RunFailed, match="gone"):
            next(items)


def test_items_for_async_readers(store: RunStore) -> None:
    async def main() -> None:
        async with session(run_store=store):
            run = tasks.count_async.submit(3)
            assert [item async for item in run.aio.items()] == [0, 1, 2]
            assert [item async for item in run.aio.items()] == [0, 1, 2]

    asyncio.run(main())


def test_what_is_no_stream_has_no_items(store: RunStore) -> None:
    with session(run_store=store), pytest.raises(RunsError, match="no items"):
        next(tasks.double.submit(1).items())


def test_items_of_a_run_that_has_ended_long_ago(store: RunStore) -> None:
    with session(run_store=store):
        run_id = tasks.count.submit(3).wait(PATIENCE).id
        assert [*runs.get(run_id).items()] == [0, 1, 2]


# Families


def test_children_know_their_parents(store: RunStore) -> None:
    with session(run_store=store):
        top = tasks.parent_of.submit(2)
        assert top.result(PATIENCE) == 3
        child = next(iter(runs.list(parent=top)))
        grandchild = next(iter(runs.list(parent=child)))
        assert child.root_id == grandchild.root_id == top.id


def test_children_of_a_worker_process_are_in_the_same_store(tmp_path: Path) -> None:
    with session(run_store=tmp_path / "runs.db"):
        top = tasks.parent_of.options(backend="process").submit(2)
        assert top.result(PATIENCE) == 3
        [child] = runs.list(parent=top)
        assert (child.root_id, child.status) == (top.id, "completed")
        assert child.owner != top.owner


@pytest.mark.parametrize("parent", [tasks.parent_of, tasks.parent_with_timeout, tasks.parent_async])
def test_more_waiting_parents_than_threads(parent: Any, store: RunStore) -> None:
    with session(run_store=store):
        depth = 40
        assert [run.result(PATIENCE) for run in [parent.options(backend="thread").submit(depth) for _ in range(3)]] == [
            depth + 1
        ] * 3


# Hooks and sessions


@on_each_backend
def test_the_hook_tells_what_becomes_of_a_run_in_order(backend: str, store: RunStore) -> None:
    hooks = RecordingHooks()
    with session(run_store=store, plugins=[hooks], backend=backend):
        started = [tasks.double.submit(number) for number in range(5)]
        for run in started:
            run.wait(PATIENCE)
    events = [event for event in hooks.events if event.hook == "on_run_status"]
    for run in started:
        told = [(event.previous, event.run.status) for event in events if event.run == run]
        assert told == [(None, "pending"), ("pending", "running"), ("running", "completed")]
    hooks.verify()
    assert hooks.names("double").count("after_node_execute") == 5


def test_a_session_waits_for_its_runs(store: RunStore, tmp_path: Path) -> None:
    @task
    def wait() -> None:
        until((tmp_path / "go").exists)

    with session(run_store=store):
        run = wait.submit()
        (tmp_path / "go").touch()
    assert run.refresh().status == "completed"


def test_an_interrupted_session_cancels_its_runs(store: RunStore, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), session(run_store=store):
        run = tasks.sleeps.submit(str(tmp_path))
        until((tmp_path / "begun").exists)
        raise KeyboardInterrupt
    assert run.refresh().status == "cancelled"
    assert run.cancel_reason == "the session was left with KeyboardInterrupt"
    until((tmp_path / "ended").exists)


def test_an_async_session_waits_without_blocking_the_loop(store: RunStore) -> None:
    async def main() -> Run[int]:
        async with session(run_store=store):
            return tasks.double_async.submit(2)

    assert asyncio.run(main()).refresh().status == "completed"


# Workers that die


def test_a_worker_that_dies_fails_its_own_run_only(store: RunStore, tmp_path: Path) -> None:
    with session(run_store=store, backend="process"):
        other = tasks.loops.submit(str(tmp_path))
        until((tmp_path / "begun").exists)
        run = tasks.kills_itself.submit()
        with pytest.raises(RunFailed, match="SIGKILL") as caught:
            run.result(PATIENCE)
        assert isinstance(caught.value.__cause__, WorkerCrashed)
        assert run.error is not None
        assert run.error.kind == "crashed"
        assert other.refresh().status == "running"
        other.stop()
        assert other.wait(PATIENCE).status == "cancelled"


@on_each_backend
def test_what_is_shared_arrives_as_itself(backend: str, store: RunStore) -> None:
    with session(run_store=store, backend=backend):
        assert tasks.add.submit(share([1, 2]), more=share([3])).result(PATIENCE) == 6


def test_a_body_that_ignores_its_cancellation_holds_up_no_session(store: RunStore, tmp_path: Path) -> None:
    with session(run_store=store):
        run = tasks.ignores.submit(str(tmp_path))
        until((tmp_path / "begun").exists)
        run.cancel()
    assert (run.status, run.settled) == ("cancelled", False)


def test_waiting_has_an_end(store: RunStore, tmp_path: Path) -> None:
    with session(run_store=store):
        run = tasks.loops.submit(str(tmp_path))
        until_status(run, "running")
        with pytest.raises(RunTimeout, match="is running"):
            run.wait(0.2)
        run.stop()


def test_a_store_in_trouble_is_told_to_the_caller(tmp_path: Path) -> None:
    (tmp_path / "runs.db").write_bytes(b"this is no database" * 100)
    with session(run_store=tmp_path / "runs.db"), pytest.raises(RunsError, match=r"runs\.db"):
        tasks.double.submit(1)


class CutOff(SqliteRunStore):
    """Carries out what it is told, and loses its first answer, like a server that is restarted at the wrong moment."""

    def write(self, batch: Sequence[Write], /) -> list[Outcome]:
        outcomes = super().write(batch)
        known = self.__dict__.setdefault("known", [])
        if not any(len(batch) == len(each) and all(map(operator.is_, batch, each)) for each in known):
            known.append([*batch])
            error = RunsError("the answer is lost")
            vars(error)["passing"] = True
            raise error
        return outcomes


@pytest.mark.parametrize("backend", [*BACKENDS, None])
def test_each_write_of_a_run_may_be_carried_out_and_not_known_to_be(
    backend: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs once, and its record is there once."""
    monkeypatch.setattr("eagerly.runs._passing.AGAIN", 0.0)
    store = CutOff(tmp_path / "runs.db")
    hooks = RecordingHooks()

    async def on_the_loop() -> None:
        async with session(run_store=store, plugins=[hooks]):
            assert await tasks.double_async.options(tags=["a"]).submit(2) == 4

    if backend is None:
        asyncio.run(on_the_loop())
    else:
        with session(run_store=store, plugins=[hooks], backend=backend):
            assert tasks.double.options(tags=["a"]).submit(2).result(PATIENCE) == 4
    with session(run_store=store):
        [run] = runs.list(tags=["a"])
        assert (run.status, run.output(), run.tags) == ("completed", 4, ("a",))
    told = [(event.previous, event.run.status) for event in hooks.events if event.hook == "on_run_status"]
    assert told == [(None, "pending"), ("pending", "running"), ("running", "completed")]
    assert hooks.names().count("after_node_execute") == 1
    store.close()


class Dotted:
    """Looks its attributes up in a dict, as careless classes do: not even `hasattr` can be asked of it."""

    data: dict[str, int] = {}  # noqa: RUF012 - a constant of the test

    def __getattr__(self, name: str) -> int:
        return self.data[name]


class Listless(dict[str, int]):
    def items(self) -> Any:
        raise KeyError("no items here")


@pytest.mark.parametrize("backend", [*BACKENDS, None])
@pytest.mark.parametrize("make", [Dotted, Listless])
def test_an_output_that_cannot_be_looked_at(make: type, backend: str | None, tmp_path: Path) -> None:
    @task
    def works() -> Any:
        return make()

    @task
    async def works_async() -> Any:
        return make()

    async def on_the_loop() -> Run[Any]:
        async with session(run_store=tmp_path / "runs.db"):
            return await works_async.submit().aio.wait(PATIENCE)

    if backend is None:
        run = asyncio.run(on_the_loop())
    else:
        with session(run_store=tmp_path / "runs.db", backend=backend):
            run = works.submit().wait(PATIENCE)
            if backend != "process":
                assert tasks.double.submit(make()).wait(PATIENCE).status == "failed"
    unsent = make is Listless and backend == "process"  # what pickle does not take either is refused there
    wanted = "BackendError" if unsent else "OutputNotSerializable"
    assert (run.status, run.error and run.error.type) == ("failed", wanted)


class Failing(SqliteRunStore):
    """Fails when it is told to, in a way that does not pass."""

    begins = looks = False

    def write(self, batch: Sequence[Write], /) -> list[Outcome]:
        if self.begins and any(getattr(each, "status", None) == "running" for each in batch):
            self.begins = False
            raise RunsError("no room")
        return super().write(batch)

    def get(self, run_id: str, /) -> Any:
        if self.looks and threading.current_thread().name == "eagerly-runs-clerk":
            self.looks = False
            raise RunsError("the server is being restarted")
        return super().get(run_id)


@on_each_backend
def test_a_run_whose_beginning_cannot_be_written_has_failed(backend: str, tmp_path: Path) -> None:
    store = Failing(tmp_path / "runs.db")
    with session(run_store=store, backend=backend):
        store.begins = True
        run = tasks.double.submit(1)
        until(lambda: run.refresh().status == "failed")
        assert run.error is not None
        assert run.error.message == "no room"
    store.close()


def test_a_parent_that_cannot_be_looked_at_holds_up_nobody(tmp_path: Path) -> None:
    store = Failing(tmp_path / "runs.db")

    @task
    async def parent() -> int:
        store.looks = True
        found: int = await tasks.double_async.submit(2)
        return found

    async def main() -> None:
        async with session(run_store=store):
            assert await parent.submit() == 4
            assert len(await runs.aio.list()) == 2

    asyncio.run(main())
    assert not store.looks
    store.close()


class Narrow(SqliteRunStore):
    """Has no room for large outputs."""

    def write(self, batch: Sequence[Write], /) -> list[Outcome]:
        if any(getattr(each, "output", None) and len(each.output.data) > 1000 for each in batch):  # type: ignore[union-attr]
            raise RunsError("no room")
        return super().write(batch)


def test_what_has_no_room_takes_nothing_else_with_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Narrow(tmp_path / "runs.db")

    @task
    async def large() -> None:
        current_task().set_output("x" * 2000)

    async def main() -> None:
        async with session(run_store=store):
            for _ in range(10):
                first, *others = large.submit(), *(tasks.double_async.submit(number) for number in range(5))
                assert await asyncio.gather(*others) == [0, 2, 4, 6, 8]
                await first.aio.wait(PATIENCE)

    asyncio.run(main())
    store.close()
    assert "could not be written: no room" in caplog.text
