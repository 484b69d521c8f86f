"""What a body can say about its run: in every kind, on every backend, in nested helpers; and outside of runs."""

from __future__ import annotations

import asyncio
import inspect
import math
import pickle
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import run_tasks as tasks
from eagerly import INJECTED, ContextExecutor, TaskContext, current_task, map_tasks, runs, session, task
from eagerly.errors import OptionTypeError, OptionValueError, OutputNotSerializable, RunFailed, StopRequested
from eagerly.runs import MemoryRunStore, RunStore, SqliteRunStore
from eagerly.testing import RecordingHooks, instant_clock
from run_tasks import PATIENCE, here, until, until_status

BACKENDS = ["inline", "thread", "process"]
on_each_backend = pytest.mark.parametrize("backend", BACKENDS)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunStore]:
    made: RunStore = MemoryRunStore() if request.param == "memory" else SqliteRunStore(tmp_path / "runs.db")
    yield made
    made.close()


@on_each_backend
def test_what_was_said_last_is_in_the_record(backend: str, store: RunStore) -> None:
    with session(run_store=store, backend=backend):
        started = [tasks.report.submit(name) for name in ("one", "two")]
        for name, run in zip(("one", "two"), started, strict=True):
            assert run.result(PATIENCE) == {"name": name}
            found = runs.get(run.id)
            assert (found.step, found.steps, found.message) == (3, 4, f"{name} ends")
            assert (found.progress_data, found.output_summary) == ({"name": name}, f"half of {name}")
            assert found.progress == 1.0


@on_each_backend
def test_an_output_may_be_given_early(backend: str, store: RunStore) -> None:
    with session(run_store=store, backend=backend):
        run = tasks.only_output.submit(5)
        assert run.result(PATIENCE) == 5
        assert runs.get(run.id).output_summary == "early"


@pytest.mark.parametrize("backend", ["thread", "process"])
def test_a_body_may_pause(backend: str, store: RunStore, tmp_path: Path) -> None:
    with session(run_store=store, backend=backend):
        run = tasks.pauses.submit(str(tmp_path))
        until_status(run, "paused")
        (tmp_path / "go").touch()
        assert run.result(PATIENCE) == "went on"
        assert run.paused_at is not None


@pytest.mark.parametrize("backend", ["thread", "process"])
def test_an_attempt_counts_its_own_steps(backend: str, store: RunStore, tmp_path: Path) -> None:
    with session(run_store=store, backend=backend):
        run = tasks.counts_anew.submit(str(tmp_path))
        until(lambda: run.refresh().attempt == 2)
        assert (run.step, run.steps, run.progress) == (None, None, 0.0)
        (tmp_path / "go").touch()
        until(lambda: run.refresh().step == 1 or run.done)
        assert (run.step, run.steps, run.progress, run.error) == (1, 5, 0.2, None)
        (tmp_path / "end").touch()
        run.result(PATIENCE)


def test_progress_is_written_while_it_runs_and_not_too_often(store: RunStore, tmp_path: Path) -> None:
    hooks = RecordingHooks()
    written: list[float] = []

    @task
    def work() -> None:
        for number in range(10_000):
            here().set_progress(number / 10_000)
        until((tmp_path / "go").exists)

    with session(run_store=store, plugins=[hooks]):
        run = work.submit()
        end = store.watch(run.id, lambda record: bool(written.append(record.progress)))  # type: ignore[union-attr, func-returns-value]
        until(lambda: run.refresh().progress == 9_999 / 10_000)
        (tmp_path / "go").touch()
        run.wait(PATIENCE)
        end()
    assert len(set(written)) < 1000


def test_on_an_event_loop(store: RunStore) -> None:
    @task
    async def work(name: str) -> str:
        call = here()
        call.set_progress(0.5, message=name)
        await call.aio.checkpoint()
        await call.aio.sleep(0.001)
        await asyncio.to_thread(lambda: here().set_progress(0.75, message=f"{name} from a thread"))
        return name

    @task
    async def stream(name: str) -> AsyncIterator[int]:
        here().set_progress(0.5, message=name)
        yield 1

    async def main() -> None:
        async with session(run_store=store):
            started = [work.submit(str(number)) for number in range(20)]
            assert [await run for run in started] == [str(number) for number in range(20)]
            assert [run.message for run in started] == [f"{number} from a thread" for number in range(20)]
            run = stream.submit("stream")
            assert await run == [1]
            assert run.message == "stream"

    asyncio.run(main())


def test_threads_that_carry_the_context_and_maps_find_the_run(store: RunStore) -> None:
    @task
    def work(name: str) -> None:
        with ContextExecutor(ThreadPoolExecutor(1)) as pool:
            pool.submit(lambda: here().set_progress(0.5, message=name)).result()
        map_tasks(lambda number: here().set_progress(step=number, steps=3), [1, 2], backend="inline")

    with session(run_store=store):
        started = [work.submit(str(number)) for number in range(10)]
        for number, run in enumerate(started):
            run.wait(PATIENCE)
            assert (run.message, run.step, run.steps) == (str(number), 2, 3)


@on_each_backend
def test_what_json_does_not_have_fails_in_the_body(backend: str, tmp_path: Path) -> None:
    with session(run_store=tmp_path / "runs.db", backend=backend):
        run = tasks.only_output.submit({1})  # type: ignore[arg-type]
        with pytest.raises(RunFailed, match="output is set"):
            run.result(PATIENCE)


def test_sleep_uses_the_clock_of_the_session(store: RunStore) -> None:
    clock = instant_clock()
    with session(run_store=store, clock=clock):
        task(lambda: here().sleep(1000), name="sleep").submit().result(PATIENCE)
    assert clock.sleeps == [1000]


# Outside of a run


class TestOutside:
    """The same calls check what they are given, and do nothing more."""

    def test_nothing_happens(self) -> None:
        @task
        def body() -> str:
            call = here()
            call.checkpoint()
            call.sleep(0)
            call.sleep(timedelta(0))
            call.set_progress(0.5, message="half", data={"a": 1})
            call.set_progress(step=1, steps=2)
            call.set_output(object(), summary="an object")
            call.set_status("paused")
            call.set_status("running")
            return "done"

        @task
        async def async_body() -> str:
            await here().aio.checkpoint()
            await here().aio.sleep(0)
            return "done"

        assert body() == asyncio.run(async_body()) == "done"

    @pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, 10**400])
    def test_progress_is_from_0_to_1(self, value: float) -> None:
        with pytest.raises(OptionValueError, match="from 0 to 1"):
            task(lambda: here().set_progress(value))()

    @pytest.mark.parametrize("value", [True, "0.5", None])
    def test_progress_is_a_number(self, value: Any) -> None:
        with pytest.raises(OptionTypeError, match="from 0 to 1"):
            task(lambda: here().set_progress(value))()

    @pytest.mark.parametrize(
        ("given", "error"),
        [
            ({"step": 3, "steps": 2}, OptionValueError),
            ({"step": -1}, OptionValueError),
            ({"step": True}, OptionTypeError),
            ({"step": 1.5}, OptionTypeError),
            ({"message": 1}, OptionTypeError),
            ({"data": {1}}, OutputNotSerializable),
            ({}, OptionValueError),
        ],
    )
    def test_what_cannot_be_is_refused(self, given: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error):
            task(lambda: here().set_progress(**given))()

    def test_a_status_is_one_of_two(self) -> None:
        with pytest.raises(OptionValueError, match="'paused' or 'running', not 'completed'"):
            task(lambda: here().set_status("completed"))()

    def test_a_summary_is_short_text(self) -> None:
        with pytest.raises(OptionTypeError):
            task(lambda: here().set_output(1, summary=2))()
        with pytest.raises(OptionValueError):
            task(lambda: here().set_output(1, summary="x" * 1001))()

    @pytest.mark.parametrize("value", [-1, math.nan, "1"])
    def test_a_time_to_sleep_is_one(self, value: Any) -> None:
        with pytest.raises((OptionTypeError, OptionValueError)):
            task(lambda: here().sleep(value))()

    def test_a_call_that_is_asked_to_stop_ends_at_its_checkpoint(self) -> None:
        @task
        def body() -> None:
            here().request_stop()
            here().checkpoint()

        with pytest.raises(StopRequested):
            body()


def test_a_step_beyond_the_last_is_refused_in_the_body(store: RunStore) -> None:
    @task
    def body() -> None:
        here().set_progress(steps=2)
        with pytest.raises(OptionValueError, match="step 3 of 2"):
            here().set_progress(step=3)

    with session(run_store=store):
        body.submit().result(PATIENCE)


# A parameter for the call


@task
def told(ctx: TaskContext, x: int, *more: int) -> tuple[str, int, tuple[int, ...]]:
    return ctx.name, x, more


@task
def told_stream(n: int, ctx: TaskContext) -> Iterator[str]:
    for _ in range(n):
        yield ctx.name


@task
async def told_async(n: int, *, ctx: TaskContext) -> tuple[int, bool]:
    return n, ctx is current_task()


@task
async def told_async_stream(ctx: TaskContext) -> AsyncIterator[str]:
    yield ctx.name


@task(cache=True)
def converted(files: list[str], *, call: TaskContext = INJECTED) -> tuple[str, int]:
    return call.name, len(files)


class Shop:
    @task
    def price(self, ctx: TaskContext, of: str) -> tuple[str, str]:
        return ctx.name, of


class TestInjection:
    """A parameter annotated `TaskContext` is filled with the call."""

    def test_in_every_kind(self) -> None:
        called: Any = told
        assert called(1) == called(x=1) == ("told", 1, ())
        assert called(1, 2, 3) == ("told", 1, (2, 3))
        stream: Any = told_stream
        assert list(stream(2)) == list(stream(n=2)) == ["told_stream"] * 2
        coroutine: Any = told_async
        assert asyncio.run(coroutine(3)) == (3, True)
        method: Any = Shop().price
        assert method("tea") == method(of="tea") == ("price", "tea")

        async def collected() -> list[str]:
            stream: Any = told_async_stream
            return [item async for item in stream()]

        assert asyncio.run(collected()) == ["told_async_stream"]

    @on_each_backend
    def test_in_runs(self, backend: str, store: RunStore) -> None:
        with session(run_store=store, backend=backend):
            submitted: Any = told.submit
            run = submitted(1, 2)
            assert list(run.result(PATIENCE)) in (["told", 1, [2]], ["told", 1, (2,)])
            assert run.inputs == {"x": 1, "more": [2]}

    def test_callers_do_not_see_it(self) -> None:
        assert str(inspect.signature(told)).startswith("(x: ")
        assert list(told.signature.parameters) == ["x", "more"]
        called: Any = told_async
        with pytest.raises(TypeError, match="unexpected keyword argument 'ctx'"):
            called(1, ctx=None)
        called = told
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
            called()

    def test_a_timed_body_gets_its_attempt(self) -> None:
        timed: Any = told.options(timeout=PATIENCE)
        assert timed(1) == ("told", 1, ())

    def test_it_is_no_part_of_a_key_and_the_body_is(self, tmp_path: Path) -> None:
        cached: Any = told.options(cache=True)
        with session(cache_store=tmp_path):
            assert cached.cache_key(1) == cached.cache_key(x=1)
            assert cached(1) == cached(1) == ("told", 1, ())
            other: Any = task(lambda ctx, x: x, name="told", cache=True)
            assert cached.cache_key(1) != other.cache_key(None, 1)

    def test_it_travels(self) -> None:
        assert pickle.loads(pickle.dumps(told)) is told
        again: Any = pickle.loads(pickle.dumps(told.options(retries=1)))
        assert again(1) == ("told", 1, ())

    @pytest.mark.parametrize("by_value", [False, True])
    def test_with_a_default_for_type_checkers(self, by_value: bool, tmp_path: Path) -> None:
        def local(files: list[str], *, call: TaskContext = INJECTED) -> tuple[str, int]:
            return call.name, len(files)

        made = task(local, name="converted", cache=True) if by_value else converted
        with session(cache_store=tmp_path):
            assert made(["a"]) == made(["a"]) == ("converted", 1)
            assert made.is_cached(["a"])
        assert list(made.signature.parameters) == ["files"]
        assert cloudpickle.loads(cloudpickle.dumps(made))(["a", "b"]) == ("converted", 2)

    def test_without_task_it_says_so(self) -> None:
        def plain(call: TaskContext = INJECTED) -> str:
            return call.name

        with pytest.raises(AttributeError, match=r"INJECTED\.name: .* called without @task, .* pass current_task\(\)"):
            plain()
        assert repr(INJECTED) == "INJECTED"
        assert pickle.loads(pickle.dumps(INJECTED)) is INJECTED
        assert not hasattr(INJECTED, "__len__")

    def test_a_class_of_that_name_may_be_another(self) -> None:
        class TaskContext:
            pass

        def plain(ctx: Any) -> Any:
            return ctx

        plain.__annotations__["ctx"] = TaskContext
        mine = TaskContext()
        assert task(plain)(mine) is mine


def test_two_parallel_runs_never_see_each_other(store: RunStore) -> None:
    together = threading.Barrier(4)

    @task
    def work(number: int) -> None:
        for step in range(50):
            here().set_progress(step=step, steps=100, message=f"{number}/{step}")
            if step % 10 == 0:
                together.wait()

    with session(run_store=store):
        started = [work.submit(number) for number in range(4)]
        for number, run in enumerate(started):
            run.wait(PATIENCE)
            assert run.message == f"{number}/49"
