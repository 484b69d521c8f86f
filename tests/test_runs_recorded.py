"""Calls in sessions with a run store: what is recorded, when it is written, and what happens when it cannot be."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recorded_tasks as tasks
from eagerly import (
    Retry,
    Run,
    async_session,
    current_task,
    gather_tasks,
    iter_tasks,
    map_tasks,
    registry,
    runs,
    session,
    task,
    workflow,
)
from eagerly.errors import EagerlyWarning, OutputMissing, RunFailed, RunsError, TaskTimeoutError, WorkerCrashed
from eagerly.runs import MemoryRunStore, PostgresRunStore, Query, RunStore, SqliteRunStore
from eagerly.testing import RecordingHooks
from postgres_server import fresh_schema
from recorded_tasks import call, run_id
from run_tasks import PATIENCE, until

KINDS = {"sync": tasks.double, "async": tasks.double_async, "stream": tasks.count, "async_stream": tasks.count_async}
FAILING = {
    "sync": tasks.fail,
    "async": tasks.fail_async,
    "stream": tasks.fail_stream,
    "async_stream": tasks.fail_async_stream,
}
of_each_kind = pytest.mark.parametrize("kind", KINDS)
TESTS = Path(__file__).parent


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunStore]:
    with contextlib.ExitStack() as stack:
        made: Any
        if request.param == "memory":
            made = MemoryRunStore()
        elif request.param == "sqlite":
            made = SqliteRunStore(tmp_path / "runs.db")
        else:
            url, schema = stack.enter_context(fresh_schema())
            made = PostgresRunStore(url, schema=schema)
        yield made
        made.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def sqlite(path: Path) -> Iterator[SqliteRunStore]:
    made = SqliteRunStore(path)
    yield made
    made.close()


def only(name: str) -> Run[Any]:
    [found] = runs.list(task=name)
    return found


def children(run: Run[Any] | str) -> list[str]:
    return [each.task for each in runs.list(parent=run)]


# What is recorded


@of_each_kind
def test_every_kind(kind: str, store: RunStore) -> None:
    before = datetime.now(UTC)
    with session(run_store=store) as here:
        call(kind, KINDS[kind].options(tags=["a", "b"]), 3)
        run = only(KINDS[kind].name)
        assert (run.kind, run.status, run.progress, run.attempt, run.cached) == ("call", "completed", 1.0, 1, False)
        assert (run.parent_id, run.root_id, run.session_id) == (None, run.id, str(here.session_id))
        assert (run.name, run.tags, run.error, run.cancel_reason) == (run.task, ("a", "b"), None, None)
        assert run.input_summary == ("n=3" if "stream" in kind else "x=3")
        assert run.output_summary == (None if "stream" in kind else "6")
        assert run.inputs is None
        assert run.started_at is not None
        assert run.completed_at is not None
        assert before <= run.created_at <= run.started_at <= run.completed_at <= datetime.now(UTC)
        assert run.started_at.utcoffset() == timedelta(0)
        assert run.duration == (run.completed_at - run.started_at).total_seconds()
        assert [*runs.list(session=here)] == [*runs.list(tags=["a"])] == [*runs.list(status="completed")] == [run]


@of_each_kind
def test_an_error(kind: str, store: RunStore) -> None:
    with session(run_store=store):
        with pytest.raises(LookupError):
            call(kind, FAILING[kind], 3)
        run = only(FAILING[kind].name)
        assert (run.status, run.attempt, run.output_summary, run.completed_at) == ("failed", 1, None, None)
        assert run.failed_at is not None
        assert run.error is not None
        assert run.error[:2] + run.error[3:] == ("LookupError", "no 3 here", "error")
        assert run.error.traceback.startswith("Traceback (most recent call last):\n")
        assert "recorded_tasks.py" in run.error.traceback
        assert run.error.traceback.rstrip().endswith("LookupError: no 3 here")
        assert FAILING[kind].__name__ in run.error.traceback
        with pytest.raises(RunFailed, match="LookupError: no 3 here"):
            run.result()


@pytest.mark.parametrize("succeeds", [True, False])
@of_each_kind
def test_attempts(kind: str, succeeds: bool, store: RunStore) -> None:
    told: list[int] = []
    good, bad = KINDS[kind].func, FAILING[kind].func
    name = f"{kind}_again"

    def pick() -> Any:
        told.append(1)
        return good if succeeds and len(told) == 3 else bad

    bodies: dict[str, Any] = {}

    @task(name=name, retries=Retry(2, delay=0))
    def sync_(x: int) -> Any:
        return pick()(x)

    @task(name=name, retries=Retry(2, delay=0))
    async def async_(x: int) -> Any:
        return await pick()(x)

    @task(name=name, retries=Retry(2, delay=0))
    def stream(x: int) -> Any:
        if pick() is bad:
            raise LookupError(f"no {x} here")
        yield from good(x)

    @task(name=name, retries=Retry(2, delay=0))
    async def async_stream(x: int) -> Any:
        if pick() is bad:
            raise LookupError(f"no {x} here")
        async for item in good(x):
            yield item

    bodies = {"sync": sync_, "async": async_, "stream": stream, "async_stream": async_stream}
    with session(run_store=store):
        with contextlib.nullcontext() if succeeds else pytest.raises(LookupError):
            call(kind, bodies[kind], 3)
        run = only(name)
        assert (run.status, run.attempt) == ("completed" if succeeds else "failed", 3)
        assert (run.error is None) == succeeds


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_timeout(kind: str, store: RunStore) -> None:
    @task(timeout=0.02, name="slow")
    def slow() -> None:
        here = current_task()
        while not here.should_stop():  # type: ignore[union-attr]
            time.sleep(0.001)

    @task(timeout=0.02, name="slow")
    async def slow_async() -> None:
        await asyncio.sleep(PATIENCE)

    with session(run_store=store):
        with pytest.raises(TaskTimeoutError):
            call(kind, slow if kind == "sync" else slow_async)
        run = only("slow")
        assert run.status == "failed"
        assert run.error is not None
        assert run.error.type == "TaskTimeoutError"


@of_each_kind
def test_a_cache_hit(kind: str, store: RunStore, tmp_path: Path) -> None:
    cached = KINDS[kind].options(cache=True)
    with session(run_store=store, cache_store=tmp_path / "cache"):
        for _ in range(2):
            call(kind, cached, len(kind))
        computed, hit = runs.list(task=cached.name)
        assert (computed.cached, computed.attempt, hit.cached, hit.attempt) == (False, 1, True, 0)
        assert (hit.status, hit.progress, hit.duration) == ("completed", 1.0, 0.0)
        assert hit.output_summary == computed.output_summary


@pytest.mark.parametrize("kind", ["stream", "async_stream"])
@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_a_stream_that_is_left(kind: str, how: str, store: RunStore) -> None:
    async def leave() -> None:
        stream = tasks.count_async(5)
        await anext(stream)
        assert runs.list(task="count_async")[0].status == "running"
        if how == "closed":
            await stream.aclose()
        else:
            del stream
            gc.collect()
            await asyncio.sleep(0)

    with session(run_store=store):
        if kind == "async_stream":
            asyncio.run(leave())
        else:
            stream = tasks.count(5)
            next(stream)
            assert only("count").status == "running"
            if how == "closed":
                stream.close()  # type: ignore[attr-defined]
            del stream
            gc.collect()
        run = only(KINDS[kind].name)
        assert (run.status, run.cancel_reason) == ("cancelled", "closed before its end")


def test_a_cancellation(store: RunStore) -> None:
    begun = threading.Event()

    @task
    async def endless() -> None:
        begun.set()
        await asyncio.sleep(PATIENCE)

    async def main() -> None:
        called = asyncio.ensure_future(endless())
        while not begun.is_set():
            await asyncio.sleep(0)
        called.cancel()
        await asyncio.wait([called])

    with session(run_store=store):
        asyncio.run(main())
        assert (only("endless").status, only("endless").cancel_reason) == (
            "cancelled",
            "its asyncio task was cancelled",
        )


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interruption(error: type[BaseException], store: RunStore) -> None:
    @task
    def leave() -> None:
        raise error

    with session(run_store=store):
        with pytest.raises(error):
            leave()
        assert (only("leave").status, only("leave").cancel_reason) == ("cancelled", f"interrupted by {error.__name__}")


def test_wrong_arguments_are_no_call(store: RunStore) -> None:
    with session(run_store=store):
        with pytest.raises(TypeError):
            tasks.double()  # type: ignore[call-arg]
        assert [*runs.list()] == []


@pytest.mark.parametrize("asks", ["body", "hooks"])
def test_the_id_of_a_call_is_that_of_its_record(asks: str, store: RunStore) -> None:
    found: list[str] = []

    @task
    def body() -> None:
        if asks == "body":
            found.append(run_id())
        assert runs.get(run_id()).status == "running"

    recorder = RecordingHooks()
    with session(run_store=store, plugins=[recorder] if asks == "hooks" else []):
        body()
        if not found:
            found = [f"run_{recorder.events[-1].metadata.id.hex[:24]}"]
        assert runs.get(found[0]).task == "body"
        assert len(runs.list()) == 1


# What is shown of arguments and results


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __len__(self) -> int:
        raise RuntimeError("no len")

    @property
    def shape(self) -> Any:
        raise RuntimeError("no shape")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        ("it's", '"it\'s"'),
        (-1.5, "-1.5"),
        ([1, [2, (3,)]], "[1, [2, (3,)]]"),
        ({"a": {1}}, "{'a': {1}}"),
        ([], "[]"),
        (set(), "set()"),
        (list(range(1000)), "[0, 1, 2, 3, 4, 5, 6, 7, ... 1,000 in all]"),
        ([[[[1]]]], "[[[[...]]]]"),
        (2**2000, "<int>"),
        (Hostile(), "<test_runs_recorded.Hostile>"),
        (datetime(2024, 5, 1, tzinfo=UTC), "datetime.datetime(2024, 5, 1, 0, 0, tzinfo=datetime.timezone.utc)"),
        ("\ud800\0", "'\\ud800\\x00'"),
        (b"x", "b'x'"),
    ],
)
def test_what_is_shown(value: Any, text: str, store: RunStore) -> None:
    @task
    def same(value: Any) -> Any:
        return value

    with session(run_store=store):
        assert same(value) is value
        assert (only("same").input_summary, only("same").output_summary) == (f"value={text}", text)


def test_what_is_shown_is_short_and_of_that_moment(store: RunStore) -> None:
    @task
    def change(rows: list[int], *more: str) -> list[int]:
        rows.append(1)
        return rows

    with session(run_store=store):
        rows: list[int] = []
        change(rows, *(["x" * 10_000] * 100))
        rows.append(2)
        run = only("change")
        assert run.input_summary is not None
        assert run.input_summary.startswith("rows=[], more=('xxx")
        assert len(run.input_summary) <= 1000
        assert run.output_summary == "[1]"


def test_nothing_of_the_users_is_kept(store: RunStore) -> None:
    class Thing:
        pass

    @task
    def same(value: Any) -> Any:
        return value

    with session(run_store=Gate(store)) as here:
        assert isinstance(here.run_store, Gate)
        same(Thing())
        gc.collect()
        assert not [each for each in gc.get_objects() if isinstance(each, Thing)]
        here.run_store.open()


def test_there_is_no_output(store: RunStore) -> None:
    with session(run_store=store):
        tasks.double(2)
        run = only("double")
        assert not run.has_output
        for ask in (run.output, run.result, lambda: runs.output(run)):
            with pytest.raises(OutputMissing, match="was called, not submitted: its caller has got the result"):
                ask()


# Trees


def test_a_tree(store: RunStore) -> None:
    with session(run_store=store) as here:
        top = tasks.nest(1)
        assert children(top) == ["double", "middle"]
        assert children(only("middle")) == ["double"]
        assert {each.root_id for each in runs.list()} == {top}
        assert {each.session_id for each in runs.list()} == {str(here.session_id)}
        assert [each.id for each in runs.list(parent=None)] == [top]


def test_submitted_runs_in_calls_and_calls_in_submitted_runs(store: RunStore) -> None:
    @task
    def outer() -> None:
        submitted = tasks.nest.submit(1)
        submitted.result(PATIENCE)

    with session(run_store=store):
        outer()
        top, submitted = only("outer"), only("nest")
        assert (top.kind, submitted.kind) == ("call", "run")
        assert (submitted.parent_id, submitted.root_id) == (top.id, top.id)
        assert children(submitted) == ["double", "middle"]
        assert {each.root_id for each in runs.list()} == {top.id}
        assert submitted.result() == submitted.id


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_workflow_is_above_its_tasks(colour: str, store: RunStore) -> None:
    @workflow
    def nightly() -> int:
        tasks.middle(1)
        return tasks.double(2)

    @workflow(name="nightly")
    async def nightly_async() -> int:
        await tasks.double_async(1)
        return tasks.double(2)

    with session(run_store=store) as here:
        assert (nightly() if colour == "sync" else asyncio.run(nightly_async())) == 4
        run = only("nightly")
        assert (run.kind, run.status, run.parent_id, run.session_id) == (
            "workflow",
            "completed",
            None,
            str(here.session_id),
        )
        assert children(run) == ["middle" if colour == "sync" else "double_async", "double"]
        assert {each.root_id for each in runs.list()} == {run.id}


@pytest.mark.parametrize(("error", "status"), [(ValueError("no"), "failed"), (SystemExit(), "cancelled")])
def test_how_a_workflow_ends(error: BaseException, status: str, store: RunStore) -> None:
    @workflow
    def broken() -> None:
        raise error

    with session(run_store=store):
        with pytest.raises(type(error)):
            broken()
        assert only("broken").status == status


def test_of_sessions_in_sessions_the_innermost_decides(store: RunStore, tmp_path: Path) -> None:
    other = SqliteRunStore(tmp_path / "other.db")

    @task
    def outer() -> None:
        with session():
            tasks.double(1)
        with session(run_store=None):
            tasks.double(2)
            with session(run_store=store):
                tasks.double(3)
        with session(run_store=other):
            tasks.middle(4)
            assert [each.task for each in runs.list(parent=None)] == ["middle"]

    with session(run_store=store):
        outer()
        assert [each.input_summary for each in runs.list(parent=only("outer"))] == ["x=1", "x=3"]
        assert len({each.session_id for each in runs.list()}) == 3
        assert len(runs.list()) == 3
    assert [each.task for each in other.find(Query())] == ["middle", "double"]
    other.close()


def test_without_a_store_nothing_is_recorded() -> None:
    before = len(runs.list(limit=1000))
    with session():
        tasks.double(1)
        assert len(runs.list(limit=1000)) == before
    tasks.double(1)


def test_concurrent_callers_have_their_own_trees(store: RunStore) -> None:
    found: list[str] = []

    def work() -> None:
        with session(run_store=store):
            found.extend(tasks.nest(number) for number in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with session(run_store=store):
        assert {each.id for each in runs.list(parent=None, limit=1000)} == set(found)
        for top in found:
            assert children(top) == ["double", "middle"]


async def test_concurrent_asyncio_tasks(store: RunStore) -> None:
    @task
    async def outer(x: int) -> str:
        await asyncio.gather(*(tasks.double_async(x) for _ in range(3)))
        return run_id()

    async with async_session(run_store=store):
        tops = await asyncio.gather(*(outer(x) for x in range(10)))
        for x, top in enumerate(tops):
            assert [each.input_summary for each in await runs.aio.list(parent=top)] == [f"x={x}"] * 3


@dataclass
class Node:
    """A call that is to be made: how, what comes of it, and what it calls."""

    colour: str
    outcome: str
    via: str
    below: list[Node] = field(default_factory=list)
    label: str = ""


def nodes() -> Any:
    leaf = st.builds(
        Node, st.sampled_from(["sync", "async", "stream", "async_stream"]), OUTCOMES, st.just("call"), st.just([])
    )
    return st.recursive(
        leaf,
        lambda below: st.builds(
            Node,
            st.sampled_from(["sync", "stream"]),
            OUTCOMES,
            st.sampled_from(["call", "session", "submit", "map"]),
            st.lists(below, max_size=3),
        ),
        max_leaves=8,
    )


OUTCOMES = st.sampled_from(["completed", "failed", "again"])


def body(node: Node) -> int:
    here = current_task()
    assert here is not None
    for each in node.below if here.attempt == (2 if node.outcome == "again" else 1) else ():
        with contextlib.suppress(LookupError, RunFailed):
            make(each)
    if node.outcome == "failed" or (node.outcome == "again" and here.attempt == 1):
        raise LookupError(node.label)
    return 1


@task(name="{label}", retries=Retry(1, delay=0, on=lambda error: False))
def never_again(node: Node, label: str) -> int:
    return body(node)


def task_for(node: Node) -> Any:
    again = Retry(1, delay=0) if node.outcome == "again" else 0

    @task(name="{label}", retries=again)
    def sync(node: Node, label: str) -> int:
        return body(node)

    @task(name="{label}", retries=again)
    async def async_(node: Node, label: str) -> int:
        return body(node)

    @task(name="{label}", retries=again)
    def stream(node: Node, label: str) -> Iterator[int]:
        yield body(node)

    @task(name="{label}", retries=again)
    async def async_stream(node: Node, label: str) -> Any:
        yield body(node)

    return {"sync": sync, "async": async_, "stream": stream, "async_stream": async_stream}[node.colour]


def make(node: Node) -> None:
    function = task_for(node)
    if node.via == "submit":
        function.options(backend="thread").submit(node, node.label).result(PATIENCE)
    elif node.via == "map":
        list(map_tasks(function, [node], [node.label], backend="inline"))
    elif node.via == "session":
        with session():
            call(node.colour, function, node, node.label)
    else:
        call(node.colour, function, node, node.label)


def labelled(node: Node, numbers: Iterator[int]) -> None:
    node.label = f"n{next(numbers)}"
    for each in node.below:
        labelled(each, numbers)


def rest(run: Run[Any]) -> tuple[Any, ...]:
    return run.status, run.attempt, run.kind


def expected(node: Node, parent: str | None, root: str) -> Iterator[tuple[Any, ...]]:
    label = f"{node.label}[0]" if node.via == "map" else node.label
    status = "failed" if node.outcome == "failed" else "completed"
    yield label, parent, status, 2 if node.outcome == "again" else 1, "run" if node.via == "submit" else "call", root
    for each in node.below:
        yield from expected(each, label, root)


@settings(max_examples=60, deadline=None)
@given(st.lists(nodes(), min_size=1, max_size=3))
def test_random_trees(tops: list[Node]) -> None:
    numbers = iter(range(1_000_000))
    for top in tops:
        labelled(top, numbers)
    with session(run_store=MemoryRunStore()):
        for top in tops:
            with contextlib.suppress(LookupError, RunFailed):
                make(top)
        found = {run.id: run for run in runs.iter()}
    shown = {
        (run.name, found[run.parent_id].name if run.parent_id else None, *rest(run), found[run.root_id].name)
        for run in found.values()
    }
    wanted = [
        each for top in tops for each in expected(top, None, f"{top.label}[0]" if top.via == "map" else top.label)
    ]
    assert shown == set(wanted)
    assert len(found) == len(wanted)


# Maps

BACKENDS = ["inline", "thread", "process"]
on_each_backend = pytest.mark.parametrize("backend", BACKENDS)


@on_each_backend
def test_items_of_maps(backend: str, store: RunStore) -> None:
    with session(run_store=store) as here:
        tops = map_tasks(tasks.nest, range(5), backend=backend)
        found = runs.list(task="nest")
        assert {each.id for each in found} == set(tops)
        assert sorted((each.name, each.input_summary) for each in found) == [(f"nest[{x}]", f"x={x}") for x in range(5)]
        for each in found:
            assert (each.status, each.attempt, each.tags, each.parent_id) == ("completed", 1, ("outer",), None)
            assert each.session_id == str(here.session_id)
            below = runs.list(parent=each)
            assert [child.task for child in below] == ["double", "middle"]
            assert children(below[1]) == ["double"]
            assert {child.root_id for child in below} == {each.id}
            for child in below:
                assert each.started_at is not None
                assert child.started_at is not None
                assert child.duration is not None
        assert len({each.id[:12] for each in found}) == 5, "a few digits say which item is meant"
        assert runs.list(status="running") == []
        assert len(runs.list(limit=1000)) == 20


@on_each_backend
def test_versions(backend: str, store: RunStore, tmp_path: Path) -> None:
    """That of `cache_version`, or of the registry, as runs have it; also of calls that are made in a worker."""
    registered = registry.register("registered_version", lambda x: x, version="4")
    with session(run_store=store, cache_store=tmp_path):
        assert map_tasks(tasks.third_version, range(2), backend=backend) == [0, 1]
        assert [registered(1), tasks.double(1), tasks.third_version(0)] == [1, 2, 0]
        names = ("second_version", "third_version", "registered_version", "double")
        found = [{each.task_version for each in runs.list(task=name)} for name in names]
        assert found == [{"2"}, {"3"}, {"4"}, {None}]


@on_each_backend
def test_a_map_in_a_call(backend: str, store: RunStore) -> None:
    @task
    def outer() -> list[str]:
        return [*iter_tasks(tasks.nest, range(2), backend=backend)]

    with session(run_store=store):
        tops = outer()
        assert {each.id for each in runs.list(parent=only("outer"))} == set(tops)
        assert {each.root_id for each in runs.list()} == {only("outer").id}


async def test_items_on_an_event_loop(store: RunStore) -> None:
    async with async_session(run_store=store):
        await gather_tasks(tasks.double_async, range(4))
        names = [each.name for each in await runs.aio.list(task="double_async")]
        assert sorted(str(name) for name in names) == [f"double_async[{x}]" for x in range(4)]


@on_each_backend
def test_items_that_fail_and_try_again(backend: str, store: RunStore) -> None:
    with session(run_store=store):
        with pytest.raises(LookupError):
            list(map_tasks(tasks.fail, [7], backend=backend))
        error = only("fail").error
        assert error is not None
        assert (error.type, error.message) == ("LookupError", "no 7 here")
        list(map_tasks(tasks.second_time, [1, 2], backend=backend))
        assert [each.attempt for each in runs.list(task="second_time")] == [2, 2]


def test_what_a_dead_worker_has_begun_is_lost(store: RunStore) -> None:
    with session(run_store=store):
        with pytest.raises(WorkerCrashed):
            list(map_tasks(tasks.die_within, [1], backend="process"))
        run = only("die_within")
        assert run.status == "failed"
        assert run.error is not None
        assert (run.error.type, run.error.kind) == ("WorkerCrashed", "crashed")
        assert runs.list(status="running") == []


@pytest.mark.parametrize("backend", ["thread", "process"])
def test_sessions_in_items(backend: str, sqlite: SqliteRunStore, tmp_path: Path) -> None:
    there = tmp_path / "other.db"
    with session(run_store=sqlite):
        list(map_tasks(tasks.apart, [1, 2], [str(there), None], backend=backend))
        list(map_tasks(tasks.apart_alike, [3], backend=backend))
        assert [each.input_summary for each in runs.list(task="double")] == ["x=3"]
        assert runs.get(runs.list(task="double")[0].parent_id or "").task == "apart_alike"
    other = SqliteRunStore(there)
    assert [each.input_summary for each in other.find(Query())] == ["x=1"]
    other.close()


@pytest.mark.parametrize("backend", ["thread", "process"])
def test_runs_that_items_submit(backend: str, sqlite: SqliteRunStore) -> None:
    with session(run_store=str(sqlite.place)):
        [made] = map_tasks(tasks.submits, [1], backend=backend)
        runs.wait(made, timeout=PATIENCE)
        item = only("submits")
        assert (runs.get(made).parent_id, runs.get(made).root_id) == (item.id, item.id)
        shared = tasks.nest.options(backend=backend).submit(1)
        assert shared.result(PATIENCE) == shared.id
        assert children(shared) == ["double", "middle"]


# When it is written


class Gate:
    """A store whose writes wait until it is opened, and fail as long as it has a `trouble`. It counts them."""

    def __init__(self, store: RunStore, *, closed: bool = True) -> None:
        self._store = store
        self._open = threading.Event()
        self.blocking = True
        self.trouble: Exception | None = None
        self.answers = True
        self.writes = 0
        self.rows = 0
        self.threads: set[int] = set()
        self.tried = threading.Semaphore(0)
        if not closed:
            self.open()

    def open(self) -> None:
        self._open.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write(self, batch: Sequence[Any], /) -> Any:
        self.tried.release()
        assert self._open.wait(PATIENCE)
        self.threads.add(threading.get_ident())
        if self.trouble is not None:
            raise self.trouble
        self.writes += 1
        self.rows += len(batch)
        outcomes = self._store.write(batch)
        if not self.answers:
            raise RunsError("the connection was cut")
        return outcomes


def test_calls_wait_for_no_store_and_are_written_together(store: RunStore) -> None:
    gate = Gate(store)
    with session(run_store=gate):
        for number in range(100):
            tasks.double(number)
        assert gate.writes == 0
        gate.open()
    assert len(store.find(Query())) == 100
    assert gate.writes < 10
    assert threading.get_ident() not in gate.threads


def test_what_is_being_written_is_waited_for(store: RunStore) -> None:
    gate = Gate(store)
    counts: list[int] = []

    def work() -> None:
        with session(run_store=gate):
            tasks.double(1)
            assert gate.tried.acquire(timeout=PATIENCE)  # the batch is on its way, and stands before the gate
        counts.append(store.count(Query()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(0.2)  # which ends now only if nobody waits
    gate.open()
    thread.join()
    assert counts == [1]


async def test_an_event_loop_writes_nothing(store: RunStore) -> None:
    gate = Gate(store)
    async with async_session(run_store=gate):
        await tasks.double_async(1)
        looking = asyncio.ensure_future(runs.aio.list())
        leaving = asyncio.Event()
        await asyncio.sleep(0)
        assert not looking.done()
        gate.open()
        assert len(await looking) == 1
        leaving.set()
    assert threading.get_ident() not in gate.threads


async def test_leaving_with_async_with_does_not_block_the_loop(store: RunStore) -> None:
    gate = Gate(store)
    async with async_session(run_store=gate):
        await tasks.double_async(1)
        asyncio.get_running_loop().call_later(0.01, gate.open)  # which nobody would do if the loop was blocked
    assert len(store.find(Query())) == 1


def test_two_stores_of_one_place_are_one(sqlite: SqliteRunStore) -> None:
    @task
    def outer() -> None:
        with session(run_store=SqliteRunStore(sqlite.place)) as here:
            tasks.double(1)
            assert here.run_store is not sqlite
            here.run_store.close()  # type: ignore[union-attr]

    with session(run_store=sqlite):
        outer()
        assert children(only("outer")) == ["double"]


def test_what_goes_on_is_written_as_running(store: RunStore) -> None:
    seen: list[Any] = []

    @task(retries=Retry(1, delay=0))
    def long() -> None:
        until(lambda: store.get(run_id()) is not None)  # past the session: nothing is flushed for who asks like this
        here = current_task()
        assert here is not None
        until(lambda: store.get(run_id()).attempt == here.attempt)  # type: ignore[union-attr]
        seen.append(store.get(run_id()))
        if here.attempt == 1:
            raise OSError("not yet")

    with session(run_store=store):
        long()
        assert [(each.status, each.attempt, each.owner) for each in seen] == [
            ("running", 1, store.owner()),
            ("running", 2, store.owner()),
        ]
        run = only("long")
        assert (run.status, run.attempt, run.started_at) == ("completed", 2, run.created_at)


def test_short_calls_are_one_row_and_one_write(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eagerly.runs._recorder.INTERVAL", PATIENCE)  # so that only leaving the session writes
    gate = Gate(store, closed=False)
    with session(run_store=gate):
        tasks.nest(1)
    assert (gate.rows, gate.writes) == (4, 1)


@pytest.mark.parametrize("error", [None, ValueError("no"), KeyboardInterrupt()])
def test_leaving_the_session_writes_what_is_left(error: BaseException | None, store: RunStore) -> None:
    with contextlib.suppress(ValueError, KeyboardInterrupt), session(run_store=store):
        tasks.nest(1)
        if error is not None:
            raise error
    assert len(store.find(Query())) == 4


def test_streams_that_outlive_their_session(store: RunStore) -> None:
    with session(run_store=store):
        stream = tasks.count(3)
        next(stream)
    [record] = store.find(Query())
    assert record.status == "running"
    assert list(stream) == [1, 2]
    until(lambda: store.get(record.id).status == "completed")  # type: ignore[union-attr]


def test_the_end_of_the_program_writes_what_is_left(path: Path) -> None:
    code = "import sys, recorded_tasks as tasks\nfrom eagerly import session\ns = session(run_store=sys.argv[1])\n"
    code += "s.__enter__()\ntasks.nest(1)\nstream = tasks.count(3)\nnext(stream)\ns._context.closed = True"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60, cwd=TESTS)
    store = SqliteRunStore(path)
    assert sorted(each.task for each in store.find(Query())) == ["count", "double", "double", "middle", "nest"]
    store.close()


KILLED = """
import sys
import recorded_tasks as tasks
from eagerly import session, task
from recorded_tasks import run_id
from run_tasks import until
from eagerly.runs import SqliteRunStore

@task
def outer():
    looks = SqliteRunStore(sys.argv[1])
    print("outer", run_id(), flush=True)
    last = None
    while True:
        print("call", called(), flush=True)

@task
def called():
    return run_id()

with session(run_store=sys.argv[1]):
    outer()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills with a signal")
@pytest.mark.parametrize("least", [1, 50, 2000])
def test_a_process_that_is_killed_loses_what_came_last(least: int, path: Path) -> None:
    """What the store has is the beginning of what has happened. Nothing is written but by the clerk, on its own."""
    words = [sys.executable, "-c", KILLED, str(path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=TESTS) as child:
        assert child.stdout is not None
        outer = child.stdout.readline().split()[1]
        made: list[str] = []
        looks = SqliteRunStore(path)
        patience = time.monotonic() + PATIENCE
        while len(made) < least or looks.get(made[0]) is None:  # the first one is written, in the middle of all this
            made.append(child.stdout.readline().split()[1])
            assert time.monotonic() < patience, "it is not written"
        child.kill()
        made += [line.split()[1] for line in child.stdout if line.endswith("\n") and line.startswith("call")]
    there = [looks.get(each) is not None for each in made]
    kept = sum(there)
    assert kept > 0
    assert there == [True] * kept + [False] * (len(made) - kept), "no call is missing before one that is there"
    looks.recover()
    lost = looks.get(outer)
    assert lost is not None
    assert lost.status == "failed"
    assert lost.error is not None
    assert lost.error.kind == "lost"
    looks.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # 3.12+: fork with threads
def test_a_fork(sqlite: SqliteRunStore) -> None:
    @task
    def outer() -> None:
        tasks.double(1)
        pid = os.fork()
        if pid == 0:
            code = 1
            with contextlib.suppress(BaseException):
                tasks.double(2)
                seen = [each.input_summary for each in runs.list(task="double")]
                code = 0 if "x=2" in seen else 1  # what the parent has noted, the parent writes in its time
            os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0

    with session(run_store=sqlite):
        outer()
        assert [each.input_summary for each in runs.list(task="double")] == ["x=1", "x=2"]
        assert children(only("outer")) == ["double", "double"]
        assert len({each.owner for each in runs.list()}) == 2


# A store that is in the way


def test_whoever_is_too_fast_waits(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eagerly.runs._recorder.ROOM", 10)
    gate = Gate(store)
    done = threading.Event()

    def work() -> None:
        for number in range(200):
            tasks.double(number)
        done.set()

    with session(run_store=gate):
        import contextvars

        thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))
        thread.start()
        assert gate.tried.acquire(timeout=PATIENCE)
        assert not done.is_set()
        gate.open()
        thread.join()
    assert store.count(Query()) == 200


async def test_an_event_loop_hardly_waits(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eagerly.runs._recorder.ROOM", 10)
    gate = Gate(store)
    async with async_session(run_store=gate):
        for number in range(15):
            await tasks.double_async(number)
        gate.open()
    assert len(store.find(Query())) == 15


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_trouble_is_told_once_at_the_end(colour: str, store: RunStore, caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate(store, closed=False)
    gate.trouble = RunsError("no room is left")

    def work() -> None:
        with session(run_store=gate):
            assert [tasks.double(number) for number in range(3)] == [0, 2, 4]
            assert gate.tried.acquire(timeout=PATIENCE)
            assert tasks.double(3) == 6

    async def work_async() -> None:
        async with session(run_store=gate):
            assert [await tasks.double_async(number) for number in range(4)] == [0, 2, 4, 6]

    with pytest.warns(EagerlyWarning) as warned, caplog.at_level(logging.WARNING, "eagerly.runs"):
        work() if colour == "sync" else asyncio.run(work_async())
    message = f"4 calls were made and could not be recorded in {gate.place}: no room is left"
    assert [str(each.message) for each in warned] == [message]
    assert warned[0].filename == __file__
    assert len([each for each in caplog.records if "cannot be recorded" in each.message]) >= 1


def test_trouble_that_passes_loses_nothing(store: RunStore) -> None:
    gate = Gate(store, closed=False)
    gate.trouble = RunsError("locked")
    with session(run_store=gate):
        tasks.double(1)
        assert gate.tried.acquire(timeout=PATIENCE)
        gate.trouble = None
        tasks.double(2)
    assert [each.input_summary for each in store.find(Query())] == ["x=1", "x=2"]


class Picky(Gate):
    """Refuses every batch in which a call with this input is."""

    refused = "x=13"

    def write(self, batch: Sequence[Any], /) -> Any:
        if any(getattr(each, "input_summary", None) == self.refused for each in batch):
            self.tried.release()
            raise RunsError("what is this?")
        return super().write(batch)


def test_what_cannot_be_written_is_lost_alone(store: RunStore) -> None:
    gate = Picky(store)

    def program() -> None:
        with session(run_store=gate):
            for number in range(10, 20):
                tasks.double(number)
            gate.open()
            assert len(runs.list()) == 9
            tasks.double(20)

    with pytest.warns(EagerlyWarning, match=r"^1 call was made and could not be recorded in .*: what is this\?$"):
        program()
    shown = [each.input_summary for each in store.find(Query())]
    assert shown == [f"x={number}" for number in range(10, 21) if number != 13]


@pytest.mark.parametrize("fails", [True, False])
def test_answers_that_are_lost(fails: bool, store: RunStore) -> None:
    gate = Gate(store, closed=False)
    gate.answers = False

    @task
    def long() -> None:
        until(lambda: store.get(run_id()) is not None)
        until(lambda: gate.writes > 1)  # it was tried again
        gate.answers = not fails
        if fails:
            raise LookupError("no")

    with contextlib.suppress(LookupError), session(run_store=gate):
        tasks.double(1)
        try:
            long()
        finally:
            gate.answers = True
    assert [(each.task, str(each.status)) for each in store.find(Query())] == [
        ("double", "completed"),
        ("long", "failed" if fails else "completed"),
    ]


def test_trouble_that_stays_takes_no_more_memory(
    store: RunStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("eagerly.runs._recorder.ROOM", 10)
    gate = Gate(store, closed=False)
    gate.trouble = RunsError("locked")

    def work() -> None:
        with session(run_store=gate):
            tasks.double(0)
            assert gate.tried.acquire(timeout=PATIENCE)
            until(lambda: "cannot be recorded" in caplog.text)
            for number in range(1, 200):
                tasks.double(number)
            gate.trouble = None

    with pytest.warns(EagerlyWarning, match="190 calls were made and could not be recorded"):
        work()
    assert [each.input_summary for each in store.find(Query())] == [f"x={number}" for number in range(190, 200)]


LIMITED = """
import resource, signal, sys, warnings
import recorded_tasks as tasks
from eagerly import runs, session
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    with session(run_store=sys.argv[1]):
        tasks.double(0)
        runs.list()
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
        for number in range(20_000):
            assert tasks.double(number) == 2 * number
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
print(*(each.message for each in told), sep="\\n")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs file size limits")
def test_a_full_disk(path: Path) -> None:
    words = [sys.executable, "-c", LIMITED, str(path)]
    done = subprocess.run(words, check=True, timeout=120, capture_output=True, text=True, cwd=TESTS)
    [told] = done.stdout.splitlines()
    assert f"calls were made and could not be recorded in {path}: " in told
    store = SqliteRunStore(path)
    assert store.count(Query()) + int(told.split()[0].replace(",", "")) == 20_001
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_place_that_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(EagerlyWarning, match="1 call was made and could not be recorded"):  # noqa: SIM117
        with session(run_store=tmp_path / "file" / "runs.db"):
            assert tasks.double(1) == 2


# What can be done with these records


def test_a_call_is_not_ended_from_elsewhere(store: RunStore) -> None:
    @task
    def waits() -> None:
        for end in (runs.stop, runs.cancel, lambda each: runs.get(each).cancel()):
            with pytest.raises(RunsError, match="is a call that its caller waits for, and cannot be"):
                end(run_id())

    with session(run_store=store):
        waits()
        assert only("waits").status == "completed"


def test_what_a_cancelled_run_was_calling_is_cancelled_with_it(store: RunStore) -> None:
    begun, go = threading.Event(), threading.Event()

    @task
    def inner() -> None:
        until(lambda: runs.get(run_id()).status == "running")
        begun.set()
        assert go.wait(PATIENCE)

    @task
    def outer() -> None:
        inner()

    with session(run_store=store):
        run = outer.submit()
        assert begun.wait(PATIENCE)
        run.cancel("enough")
        go.set()
        until(lambda: run.settled)
        assert (only("inner").status, run.refresh().status) == ("cancelled", "cancelled")


def test_they_are_pruned_as_trees(store: RunStore) -> None:
    with session(run_store=store):
        for number in range(3):
            tasks.nest(number)
        assert runs.prune(keep=1) == 8
        assert len(runs.list()) == 4
        assert runs.prune(older_than=timedelta(0)) == 4


def test_waiting_for_a_call(store: RunStore) -> None:
    begun, go = threading.Event(), threading.Event()
    found: list[str] = []

    @task
    def waits() -> None:
        found.append(run_id())
        begun.set()
        assert go.wait(PATIENCE)

    with session(run_store=store):
        import contextvars

        thread = threading.Thread(target=contextvars.copy_context().run, args=(waits,))
        thread.start()
        assert begun.wait(PATIENCE)
        run = runs.get(found[0])
        assert run.status == "running"
        go.set()
        assert run.wait(PATIENCE).status == "completed"
        thread.join()


def test_on_run_status_is_for_runs(store: RunStore) -> None:
    recorder = RecordingHooks()
    with session(run_store=store, plugins=[recorder]):
        tasks.nest(1)
    assert "on_run_status" not in recorder.names()


def test_other_plugins_hear_what_they_always_hear(store: RunStore) -> None:
    recorders = RecordingHooks(), RecordingHooks()
    for recorder, place in zip(recorders, (store, None), strict=True):
        with session(run_store=place, plugins=[recorder]), contextlib.suppress(LookupError):
            tasks.nest(1)
            tasks.second_time(1)
            list(map_tasks(tasks.nest, range(2), backend="process"))
            tasks.fail(1)
        recorder.verify()
    assert recorders[0].names() == recorders[1].names()


def test_the_record_as_json(store: RunStore) -> None:
    with session(run_store=store):
        tasks.double(1)
        assert json.loads(json.dumps(only("double").to_dict()))["kind"] == "call"


def test_signals_are_left_alone(store: RunStore) -> None:
    before = signal.getsignal(signal.SIGINT)
    with session(run_store=store):
        tasks.double(1)
    assert signal.getsignal(signal.SIGINT) is before
