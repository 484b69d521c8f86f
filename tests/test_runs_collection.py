"""`eagerly.runs`: runs that another program moves forward, their handles, and lists of them."""

from __future__ import annotations

import base64
import itertools
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import eagerly
from eagerly import Run, RunStatus, registry, runs, session, task
from eagerly.errors import (
    EagerlyError,
    InvalidCursor,
    InvalidTransition,
    OptionTypeError,
    OptionValueError,
    OutputCorrupt,
    OutputMissing,
    OutputNotSerializable,
    RunCancelled,
    RunFailed,
    RunNotFound,
    RunsError,
    RunTimeout,
)
from eagerly.runs import MemoryRunStore, RunError, RunStore, SqliteRunStore
from eagerly.runs._status import TRANSITIONS


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EAGERLY_RUN_STORE", raising=False)
    return tmp_path


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, folder: Path) -> Iterator[RunStore]:
    """The store of the session that the test runs in."""
    made: RunStore = MemoryRunStore() if request.param == "memory" else SqliteRunStore(folder / "runs.db")
    with session(run_store=made):
        yield made
    made.close()


# Moving a run forward


def test_a_run_from_beginning_to_end(store: RunStore) -> None:
    run = runs.create("import", {"file": "a.csv"}, name="the file", tags=["nightly", "nightly"], steps=4)
    assert run.id.startswith("run_")
    assert (run.status, run.done, run.progress, run.attempt) == (RunStatus.PENDING, False, 0.0, 0)
    assert (run.task, run.name, run.inputs, run.input_summary) == (
        "import",
        "the file",
        {"file": "a.csv"},
        "file='a.csv'",
    )
    assert (run.tags, run.owner, run.started_at, run.duration) == (("nightly",), None, None, None)
    data = {"rows": [1, 2]}
    running = runs.update(run.id, status="running", step=1, message="reading", progress_data=data, attempt=1)
    assert (running.status, running.percentage, running.message) == ("running", 25.0, "reading")
    assert running.progress_data == data
    assert run.status == "pending"
    assert run.refresh() is run
    assert run.status == "running"
    runs.update(run, status="paused")
    runs.update(run, status="running")
    done = runs.update(run, status="completed", output={"rows": 2}, output_summary="2 rows")
    assert (done.status, done.done, done.progress, done.output_summary) == ("completed", True, 1.0, "2 rows")
    assert done.created_at <= done.started_at <= done.paused_at <= done.completed_at == done.updated_at  # type: ignore[operator]
    assert done.created_at.tzinfo is UTC
    assert abs(datetime.now(UTC) - done.created_at) < timedelta(minutes=1)
    assert done.duration is not None
    assert done.duration >= 0
    assert run.result() == {"rows": 2} == runs.output(run) == run.output()
    assert (done.failed_at, done.cancelled_at) == (None, None)


@pytest.mark.parametrize("current", RunStatus)
@pytest.mark.parametrize("wanted", RunStatus)
def test_the_table(current: RunStatus, wanted: RunStatus, store: RunStore) -> None:
    """Written out once more, so that the table in the library cannot be changed by accident."""
    allowed = {
        "pending": {"running", "completed", "failed", "cancelled"},
        "running": {"paused", "completed", "failed", "cancelled"},
        "paused": {"running", "completed", "failed", "cancelled"},
    }
    run = runs.create("import")
    for status in {"pending": [], "paused": ["running", "paused"]}.get(current, [current]):
        runs.update(run, status=status)
    if wanted in allowed.get(current, set()):
        assert runs.update(run, status=wanted).status == wanted
        return
    with pytest.raises(InvalidTransition, match=f"run {run.id} is {current} and cannot become {wanted}") as caught:
        runs.update(run, status=wanted)
    assert (caught.value.run_id, caught.value.current, caught.value.wanted) == (run.id, current, wanted)
    assert runs.get(run.id).status == current
    assert current.final == (current not in allowed)


CELLS = """
import json, sys
from eagerly import runs, session
from eagerly.errors import InvalidTransition
told = {}
with session(run_store=sys.argv[1]):
    for run_id, wanted in json.loads(sys.argv[2]).items():
        try:
            told[run_id] = runs.update(run_id, status=wanted).status
        except InvalidTransition as error:
            told[run_id] = [error.current, error.wanted]
print(json.dumps(told))
"""


def test_the_table_holds_in_another_process(folder: Path) -> None:
    """All 36 cells: it changes and refuses what this process would, and this process sees it."""
    with session(run_store=folder / "runs.db") as here:
        cells: dict[str, tuple[RunStatus, RunStatus]] = {}
        for current, wanted in itertools.product(RunStatus, repeat=2):
            run = runs.create("import")
            for status in {"pending": [], "paused": ["running", "paused"]}.get(current, [current]):
                runs.update(run, status=status)
            cells[run.id] = current, wanted
        asked = json.dumps({run_id: wanted for run_id, (_, wanted) in cells.items()})
        done = subprocess.run(
            [sys.executable, "-c", CELLS, str(folder / "runs.db"), asked], capture_output=True, text=True, check=True
        )
        told = json.loads(done.stdout)
        for run_id, (current, wanted) in cells.items():
            allowed = wanted in TRANSITIONS[current]
            assert told[run_id] == (wanted if allowed else [current, wanted])
            assert runs.get(run_id).status == (wanted if allowed else current)
        here.run_store.close()  # type: ignore[union-attr]


@pytest.mark.parametrize("current", RunStatus)
def test_the_table_holds_for_handles(current: RunStatus, store: RunStore) -> None:
    """What a handle can do by itself: the column of cancelling, and a request to stop."""
    run = runs.create("import")
    for status in {"pending": [], "paused": ["running", "paused"]}.get(current, [current]):
        runs.update(run, status=status)
    stopped = runs.get(run.id)
    stopped.stop()
    assert stopped.status == ("cancelled" if current == "pending" else current)
    if current.final or current == "pending":
        with pytest.raises(InvalidTransition):
            run.cancel()
    else:
        run.cancel("enough")
        assert (run.status, run.cancel_reason) == ("cancelled", "enough")
    assert runs.get(run.id).status.final


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_a_run_that_has_ended_is_immutable(status: str, store: RunStore) -> None:
    run = runs.update(runs.create("import"), status=status)
    before = run.to_dict()
    for change in ({"progress": 0.5}, {"output": 1}, {"message": "late"}, {"status": "running"}):
        with pytest.raises(InvalidTransition, match=f"is {status}"):
            runs.update(run, **change)  # type: ignore[arg-type]
    with pytest.raises(InvalidTransition):
        run.cancel()
    assert runs.stop(run).to_dict() == before == runs.get(run.id).to_dict()


def test_nothing_to_change_and_nothing_are_not_the_same(store: RunStore) -> None:
    run = runs.create("import", steps=3)
    with pytest.raises(
        OptionValueError, match=r"update\(\) has nothing to change; write update\(run, status='running'\)"
    ):
        runs.update(run)
    runs.update(run, message="hello", step=2, output_summary="so far")
    run.refresh()
    assert (run.message, run.step, run.steps) == ("hello", 2, 3)
    runs.update(run, message=None, step=None, steps=None, output_summary=None)
    run.refresh()
    assert (run.message, run.step, run.steps, run.output_summary) == (None, None, None, None)
    for name in ("status", "progress", "attempt", "error"):
        with pytest.raises(OptionValueError):
            runs.update(run, **{name: None})  # type: ignore[arg-type]


def test_null_is_an_output_and_none_is_not(store: RunStore) -> None:
    run = runs.create("import")
    assert not run.has_output
    with pytest.raises(OutputMissing, match=f"run {run.id} has no output; it is pending"):
        runs.output(run)
    runs.update(run, output=None)
    assert run.refresh().has_output
    assert runs.output(run) is None
    empty = runs.update(runs.create("import"), status="completed")
    assert empty.result() is None
    with pytest.raises(OutputMissing):
        empty.output()


def test_an_output_may_be_large(store: RunStore) -> None:
    value = {"text": "é" * 200_000}
    run = runs.update(runs.create("import"), status="completed", output=value)
    assert run.result() == value


@pytest.mark.parametrize(
    ("value", "path", "advice"),
    [
        ({"rows": [1, {2}]}, "output['rows'][1]", "set, which JSON does not have; write sorted"),
        ([[b"x"]], "output[0][0]", "base64"),
        ({"a": {1: 2}}, "output['a']", "has the key 1, and keys of JSON are strings"),
        (float("nan"), "output", "is nan"),
        ([float("inf")], "output[0]", "is inf"),
        ({"when": datetime.now(UTC)}, "output['when']", "isoformat"),
        (object(), "output", "is object, which JSON does not have"),
        ({"n": 10**5000}, "output", "cannot be written"),
    ],
)
def test_what_json_does_not_have(value: Any, path: str, advice: str, store: RunStore) -> None:
    run = runs.create("import")
    with pytest.raises(OutputNotSerializable) as caught:
        runs.update(run, status="completed", output=value)
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path} ")
    assert advice in str(caught.value)
    assert run.refresh().status == "pending"


def test_what_contains_itself(store: RunStore) -> None:
    circle: list[Any] = [1]
    circle.append(circle)
    with pytest.raises(OutputNotSerializable, match=r"output\[1\] contains itself"):
        runs.update(runs.create("import"), output=circle)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(OutputNotSerializable, match="nested too deeply"):
        runs.update(runs.create("import"), output=deep)
    same = [1]
    assert runs.output(runs.update(runs.create("import"), output=[same, same])) == [[1], [1]]


def test_inputs_are_json_too(store: RunStore) -> None:
    with pytest.raises(OutputNotSerializable, match=r"inputs\['x'\] is set"):
        runs.create("import", {"x": {1}})
    run = runs.create("import", {"x": "y" * 5000})
    assert run.inputs == {"x": "y" * 5000}
    assert run.input_summary is not None
    assert len(run.input_summary) == 1000
    assert run.input_summary.endswith("...")


def test_text_that_databases_refuse(store: RunStore) -> None:
    run = runs.update(runs.create("import"), message="half \ud800 and nul \0", output="\ud800\0")
    assert run.message == "half \\ud800 and nul \ufffd"
    assert run.output() == "\ud800\0"


def test_why_it_failed(store: RunStore) -> None:
    try:
        raise ValueError("no such row")
    except ValueError as error:
        run = runs.update(runs.create("import"), status="failed", error=error)
    assert run.error is not None
    assert run.error[:2] == ("ValueError", "no such row")
    assert "raise ValueError" in run.error.traceback
    assert run.wait() is run
    with pytest.raises(RunFailed, match=f"run {run.id} of task 'import' has failed: ValueError: no such row") as caught:
        run.result()
    assert (caught.value.run_id, caught.value.error_type) == (run.id, "ValueError")
    assert "raise ValueError" in caught.value.traceback


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("it broke", RunError("", "it broke")),
        ({"message": "m", "type": "T", "traceback": "at"}, RunError("T", "m", "at")),
        (RunError("T", "m", "", "timeout"), RunError("T", "m", "", "timeout")),
    ],
)
def test_errors_of_other_programs(error: Any, expected: RunError, store: RunStore) -> None:
    assert runs.update(runs.create("import"), status="failed", error=error).error == expected


def test_a_failure_without_a_reason(store: RunStore) -> None:
    run = runs.update(runs.create("import"), status="failed")
    with pytest.raises(RunFailed, match="has failed"):
        run.result()


def test_an_error_belongs_to_a_failure(store: RunStore) -> None:
    run = runs.create("import")
    with pytest.raises(OptionValueError, match="a run that is pending has no error; write status='failed'"):
        runs.update(run, error="early")
    assert run.refresh().error is None


# What is refused


def test_the_largest_numbers_that_are_none_too_large(store: RunStore) -> None:
    run = runs.update(runs.create("import"), status="completed")
    assert runs.list(page=10**15, page_size=1000) == []
    assert runs.prune(keep=2**63 - 1) == 0
    assert runs.prune(older_than=timedelta(days=700_000)) == 0
    first, last = (each.replace(tzinfo=timezone(timedelta(hours=5))) for each in (datetime.min, datetime.max))
    assert runs.list(since=first, until=last) == [run]
    assert runs.list(since=timedelta(days=700_000), until=-timedelta(days=700_000)) == [run]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda run: runs.update(run, progress=10**400), OptionValueError, "takes a number from 0 to 1, not 10000"),
        (lambda run: runs.update(run, progress=1.5), OptionValueError, "takes a number from 0 to 1, not 1.5"),
        (lambda run: runs.update(run, progress=float("nan")), OptionValueError, "not nan"),
        (lambda run: runs.update(run, progress=True), OptionTypeError, "not True"),
        (lambda run: runs.update(run, progress="half"), OptionTypeError, "not 'half'"),
        (lambda run: runs.update(run, step=3, steps=2), OptionValueError, "step 3 of 2: a step must not be greater"),
        (lambda run: runs.update(run, step=6), OptionValueError, "step 6 of 5"),
        (lambda run: runs.update(run, step=-1), OptionValueError, "0 or more"),
        (lambda run: runs.update(run, step=1.0), OptionTypeError, "takes an int"),
        (lambda run: runs.update(run, step=2**63), OptionValueError, r"less than 2\*\*63"),
        (lambda run: runs.update(run, status="done"), OptionValueError, "takes one of 'pending', 'running', "),
        (lambda run: runs.update(run, message=3), OptionTypeError, "takes a string, not 3"),
        (lambda run: runs.update(run, output_summary="x" * 1001), OptionValueError, "1000 characters at most"),
        (lambda run: runs.update(run, status="failed", error=3), OptionTypeError, "an exception, a string or a map"),
        (lambda run: runs.update(run, status="failed", error={"msg": "m"}), OptionValueError, "a mapping with message"),
        (lambda run: run.cancel("x" * 501), OptionValueError, "takes 500 characters at most, and these are 501"),
        (lambda run: run.cancel(3), OptionTypeError, "takes a string, not 3"),
        (lambda run: runs.create(""), OptionValueError, "must not be empty"),
        (lambda run: runs.create(3), OptionTypeError, "takes a string, not 3"),
        (lambda run: runs.create("t", [1]), OptionTypeError, r"a mapping from names to values, not \[1\]"),
        (lambda run: runs.create("t", tags="nightly"), OptionTypeError, r"write tags=\['nightly'\]"),
        (lambda run: runs.create("t", input_summary="x" * 1001), OptionValueError, "1000 characters at most"),
        (lambda run: runs.create("t", parent="run_nosuch"), RunNotFound, "no run 'run_nosuch'"),
        (lambda run: runs.get("run_nosuch"), RunNotFound, "no run 'run_nosuch'"),
        (lambda run: runs.get(3), OptionTypeError, "takes the id of a run, or a Run, not 3"),
        (lambda run: runs.update("run_nosuch", progress=0.5), RunNotFound, "no run"),
        (lambda run: runs.stop("run_nosuch"), RunNotFound, "no run"),
        (lambda run: runs.cancel("run_nosuch"), RunNotFound, "no run"),
        (lambda run: runs.output("run_nosuch"), RunNotFound, "no run"),
        (lambda run: runs.wait("run_nosuch"), RunNotFound, "no run"),
        (lambda run: run.wait(0), OptionValueError, "finite and greater than 0, not 0"),
        (lambda run: run.wait(float("inf")), OptionValueError, "finite"),
        (lambda run: run.result(-1), OptionValueError, "finite and greater than 0"),
        (lambda run: runs.create("t" * 501), OptionValueError, r"create\(task\) takes 500 characters at most"),
        (lambda run: runs.create("t", tags=["x" * 501]), OptionValueError, r"'x{20}'\.\.\. has 501"),
        (lambda run: runs.create("t", idempotency_key="x" * 501), OptionValueError, "500 characters at most"),
        (lambda run: task(tags=["x" * 501])(len), OptionValueError, r"task\(tags=...\) takes 500 characters at most"),
        (lambda run: task(name="x" * 501)(len), OptionValueError, r"task\(name=...\) takes 500 characters at most"),
        (lambda run: registry.register("x" * 501, len), OptionValueError, "500 characters at most"),
        (lambda run: runs.list(limit=0), OptionValueError, "takes 1 to 1000, not 0"),
        (lambda run: runs.list(limit=-1), OptionValueError, "takes 1 to 1000, not -1"),
        (lambda run: runs.list(limit=True), OptionTypeError, "takes an int, not True"),
        (lambda run: runs.list(page=-1), OptionValueError, "takes 1 or more, not -1"),
        (lambda run: runs.list(limit=1001), OptionValueError, "takes 1 to 1000, not 1001"),
        (lambda run: runs.list(page=1, page_size=1001), OptionValueError, "takes 1 to 1000, not 1001"),
        (lambda run: runs.list(page=0), OptionValueError, "takes 1 or more, not 0"),
        (lambda run: runs.list(page_size=10), OptionValueError, "write page=1 too"),
        (lambda run: runs.list(page=1, limit=10), OptionValueError, "write page_size="),
        (lambda run: runs.list(order_by="name"), OptionValueError, "takes 'created' or 'updated', not 'name'"),
        (lambda run: runs.list(descending=1), OptionTypeError, "takes True or False, not 1"),
        (lambda run: runs.list(statuses="running"), OptionTypeError, r"takes a list, not 'running'; write statuses="),
        (lambda run: runs.list(session=5), OptionTypeError, "takes a session, or its id, not 5"),
        (lambda run: runs.list(session=""), OptionValueError, "must not be empty"),
        (lambda run: runs.list(status="running", statuses=["failed"]), OptionValueError, "write one of them"),
        (lambda run: runs.list(since=datetime(2024, 1, 1)), OptionValueError, "tzinfo=UTC"),
        (lambda run: runs.list(since=3), OptionTypeError, "takes a datetime or"),
        (lambda run: runs.list(ids=["x"] * 1001), OptionValueError, "takes 1000 at most"),
        (lambda run: runs.list(cursor="nonsense"), InvalidCursor, "'nonsense' is no cursor"),
        (lambda run: runs.list(cursor=""), InvalidCursor, "'' is no cursor"),
        (lambda run: runs.list(cursor="W10"), InvalidCursor, "is no cursor"),
        (lambda run: runs.prune(), OptionValueError, r"write prune\(keep=0\) for that"),
        (lambda run: runs.prune(keep=-1), OptionValueError, "0 or more"),
        (lambda run: runs.prune(older_than=-1), OptionValueError, "0 or more"),
        (lambda run: runs.prune(keep=2**70), OptionValueError, r"prune\(keep=...\) must be less than 2\*\*63"),
        (
            lambda run: runs.prune(older_than=1e300),
            OptionValueError,
            r"prune\(older_than=1e\+300\) is before the year 1",
        ),
        (lambda run: runs.prune(older_than=1.7e308), OptionValueError, "before the year 1; write a shorter time"),
        (lambda run: runs.prune(older_than=timedelta.max), OptionValueError, "before the year 1"),
        (lambda run: runs.prune(older_than=10**11), OptionValueError, "before the year 1"),
        (lambda run: runs.list(page=2**62), OptionValueError, r"list\(page=...\) takes 10\*\*15 at most"),
        (lambda run: runs.list(page=10**16, page_size=1000), OptionValueError, r"takes 10\*\*15 at most"),
        (lambda run: runs.list(since=timedelta.max), OptionValueError, "is before the year 1; write a shorter time"),
        (lambda run: runs.list(until=timedelta.min), OptionValueError, "is after the year 9999; write a shorter time"),
    ],
)
def test_what_is_refused(call: Any, error: type[Exception], message: str, store: RunStore) -> None:
    run = runs.create("import", steps=5)
    with pytest.raises(error, match=message) as caught:
        call(run)
    assert isinstance(caught.value, EagerlyError)
    assert run.refresh().status == "pending"


# Ending one


def test_stop_asks(store: RunStore) -> None:
    pending, running = runs.create("a"), runs.update(runs.create("b"), status="running")
    assert pending.stop() is pending
    assert (pending.status, pending.cancel_reason) == ("cancelled", "stopped before it began")
    assert runs.stop(running.id).status == "running"
    assert running.refresh().stop_requested_at is not None
    first = running.stop_requested_at
    assert running.stop().stop_requested_at == first
    assert runs.update(running, status="completed").status == "completed"


def test_cancel_decides(store: RunStore) -> None:
    run = runs.update(runs.create("a"), status="running")
    assert run.cancel("not needed") is run
    assert (run.status, run.cancel_reason) == ("cancelled", "not needed")
    with pytest.raises(RunCancelled, match=f"run {run.id} was cancelled: not needed") as caught:
        run.result()
    assert caught.value.reason == "not needed"
    assert run.wait() is run


def test_both_reach_those_below(store: RunStore) -> None:
    for end in ("stop", "cancel"):
        root = runs.update(runs.create("root"), status="running")
        child = runs.update(runs.create("child", parent=root), status="completed")
        below = runs.update(runs.create("below", parent=child.id), status="running")
        assert (below.parent_id, below.root_id) == (child.id, root.id)
        getattr(root, end)()
        below.refresh()
        assert (below.stop_requested_at is not None) == (end == "stop")
        assert below.status == ("running" if end == "stop" else "cancelled")
        if end == "cancel":
            assert below.cancel_reason == f"{root.id} was cancelled"


def test_a_child_of_a_stopped_run_is_stopped(store: RunStore) -> None:
    for end in ("stop", "cancel"):
        root = runs.update(runs.create("root"), status="running")
        getattr(root, end)()
        assert runs.create("child", parent=root).status == "cancelled"


def test_two_runs_with_one_key_are_one(store: RunStore) -> None:
    first = runs.create("import", {"n": 1}, idempotency_key="today")
    second = runs.create("import", {"n": 2}, idempotency_key="today")
    assert first == second
    assert second.inputs == {"n": 1}
    assert len({first, second, runs.create("import", idempotency_key="tomorrow")}) == 2


# Waiting


def test_waiting_too_long(store: RunStore) -> None:
    run = runs.update(runs.create("import"), status="running")
    for wait in (run.wait, run.result, lambda timeout: runs.wait(run.id, timeout)):
        with pytest.raises(RunTimeout, match=f"run {run.id} is running after 0.01 s") as caught:
            wait(timeout=0.01)
        assert isinstance(caught.value, TimeoutError)
        assert (caught.value.run_id, caught.value.status) == (run.id, "running")
    assert run.refresh().status == "running"


def test_a_paused_run_honours_the_timeout(store: RunStore) -> None:
    run = runs.update(runs.update(runs.create("import"), status="running"), status="paused")
    with pytest.raises(RunTimeout, match="is paused"):
        run.wait(0.01)


# Lists


def test_pages_by_cursor(store: RunStore) -> None:
    made = [runs.create("import").id for _ in range(7)]
    for descending in (False, True):
        found: list[str] = []
        cursor = None
        sizes = []
        while True:
            page = runs.list(limit=3, cursor=cursor, descending=descending)
            sizes.append(len(page))
            found += [run.id for run in page]
            assert (page.total, page.pages) == (None, None)
            cursor = page.cursor
            if cursor is None:
                break
        assert sizes == [3, 3, 1]
        assert found == (made[::-1] if descending else made)
    assert [run.id for run in runs.iter()] == made
    assert [run.id for run in runs.iter(descending=True)] == made[::-1]


def test_pages_by_number(store: RunStore) -> None:
    made = [runs.create("import").id for _ in range(7)]
    runs.create("other")
    pages = [runs.list(task="import", page=number, page_size=3) for number in (1, 2, 3, 4)]
    assert [[run.id for run in page] for page in pages] == [made[:3], made[3:6], made[6:], []]
    assert {(page.total, page.pages, page.cursor) for page in pages} == {(7, 3, None)}


def test_a_cursor_belongs_to_its_query(store: RunStore) -> None:
    for _ in range(3):
        runs.create("import", tags=["a"])
    cursor = runs.list(limit=1, tags=["a"]).cursor
    assert len(runs.list(limit=2, tags=["a"], cursor=cursor)) == 2
    for other in ({}, {"tags": ["b"]}, {"tags": ["a"], "descending": True}, {"tags": ["a"], "order_by": "updated"}):
        with pytest.raises(InvalidCursor, match="belongs to a listing with other filters or another order"):
            runs.list(cursor=cursor, **other)  # type: ignore[arg-type]


def test_a_cursor_of_numbers_that_no_database_has(store: RunStore) -> None:
    for _ in range(2):
        runs.create("import")
    cursor = runs.list(limit=1).cursor
    assert cursor is not None
    fingerprint, *_ = json.loads(base64.urlsafe_b64decode(cursor + "=="))
    for place in ([2**70, 1], [1, -(2**70)], ["1", 1], [True, 1], [1.5, 1], [1]):
        forged = base64.urlsafe_b64encode(json.dumps([fingerprint, *place]).encode()).decode()
        with pytest.raises(InvalidCursor, match="is no cursor"):
            runs.list(cursor=forged)


def test_filters(store: RunStore) -> None:
    with session() as inner:
        one = runs.create("a", tags=["x", "y"])
        assert one.session_id == str(inner.session_id)
    two = runs.update(runs.create("b", tags=["x"]), status="failed")
    three = runs.create("a", parent=one)

    def found(**filters: Any) -> list[Run[Any]]:
        return [*runs.list(**filters)]

    assert found(task="a") == [one, three]
    assert found(task=eagerly.task(lambda: None, name="b")) == [two]
    assert found(status="failed") == [two] == found(statuses=["failed", "cancelled"])
    assert found(ids=[three, one.id]) == [one, three]
    assert found(parent=None) == [one, two]
    assert found(parent=runs.UNSET) == [one, two, three]
    assert found(parent=one) == [three] == found(parent=one.id)
    assert found(session=inner) == [one] == found(session=inner.session_id)
    assert found(tags=["x"]) == [one, two]
    assert found(tags=["x", "y"], task="a", status="pending") == [one]
    assert found(since=two.created_at, until=three.created_at) == [two]
    assert found(since=timedelta(hours=1)) == [one, two, three]
    assert found(until=timedelta(hours=1)) == []
    assert found(statuses=[]) == found(ids=[]) == found(tags=[]) == []
    assert found(order_by="updated", descending=True) == [three, two, one]
    runs.update(one, progress=0.5)
    assert found(order_by="updated", descending=True) == [one, three, two]


# What goes


def test_prune(store: RunStore) -> None:
    old = [runs.update(runs.create("old"), status="completed") for _ in range(3)]
    live = runs.create("live")
    assert runs.prune(older_than=3600) == 0
    assert runs.prune(older_than=timedelta(hours=1), keep=0) == 0
    assert runs.prune(keep=2) == 1
    assert [*runs.list()] == [*old[1:], live]
    assert runs.prune(older_than=0) == 2
    assert [*runs.list()] == [live]
    with pytest.raises(RunNotFound):
        runs.get(old[0].id)


# Which store


def test_without_a_store_runs_are_in_memory(folder: Path) -> None:
    run = runs.create("import")
    with session():
        assert runs.get(run.id) == run
    with session(run_store=None):
        assert runs.get(run.id) == run
    assert list(folder.iterdir()) == []


def test_the_store_of_the_session(folder: Path) -> None:
    with session(run_store="a/runs.db") as outer:
        run = runs.create("import")
        with session():
            assert runs.get(run.id) == run
        with session(run_store=folder / "b.db"), pytest.raises(RunNotFound, match=r"b\.db"):
            runs.get(run.id)
        with session(run_store=None) as inner:
            assert inner.run_store is None
            with pytest.raises(RunNotFound):
                runs.get(run.id)
        assert outer.run_store is not None
        assert outer.run_store.place == str(folder / "a" / "runs.db")
        outer.run_store.close()
    with session(run_store="a/runs.db") as again:
        assert again.run_store is outer.run_store


def test_the_store_of_the_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EAGERLY_RUN_STORE", "from_environment.db")
    run = runs.create("import")
    with session() as inside:
        assert runs.get(run.id) == run
    assert (folder / "from_environment.db").exists()
    assert inside.run_store is not None
    inside.run_store.close()


@pytest.mark.parametrize("value", [3, MemoryRunStore, b"path", ""])
def test_what_is_no_store(value: Any) -> None:
    with pytest.raises((OptionTypeError, OptionValueError), match="run_store"):
        session(run_store=value)


def test_a_url_for_something_else() -> None:
    with pytest.raises(OptionValueError, match=r"runs cannot be kept at 'redis://me:\*\*\*@host'; write a path"):
        session(run_store="redis://me:secret@host").__enter__()


# Handles


def test_a_handle_can_be_sent_to_another_process(folder: Path) -> None:
    store = SqliteRunStore(folder / "runs.db")
    with session(run_store=store):
        run = runs.create("import")
    copy = pickle.loads(pickle.dumps(run))
    assert copy == run
    assert hash(copy) == hash(run)
    assert copy.refresh().status == "pending"
    copy._store.close()
    store.close()


def test_as_json(store: RunStore) -> None:
    run = runs.update(runs.create("import", {"x": 1}, tags=["t"]), status="failed", error="why")
    shown = json.loads(json.dumps(run.to_dict()))
    assert shown["status"] == "failed"
    assert shown["error"] == {"type": "", "message": "why", "traceback": "", "kind": "error"}
    assert datetime.fromisoformat(shown["created_at"]) == run.created_at
    assert repr(run) == f"<run {run.id} of task 'import': failed>"


@pytest.mark.parametrize(
    "error",
    [
        RunsError("m", run_id="r"),
        InvalidTransition("m", run_id="r", current="running", wanted="pending"),
        RunFailed("m", run_id="r", error_type="T", traceback="tb"),
        RunCancelled("m", run_id="r", reason="why"),
        RunTimeout("m", run_id="r", status="running"),
        RunNotFound("m", run_id="r"),
        OutputCorrupt("m", run_id="r"),
        OutputMissing("m", run_id="r"),
        OutputNotSerializable("m", run_id="r", path="output[0]"),
        eagerly.errors.RunLost("m", run_id="r"),
        eagerly.errors.AmbiguousName("m"),
        InvalidCursor("m"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_pickle(error: RunsError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), vars(copy)) == (str(error), vars(error))
    assert isinstance(copy, RunsError)
