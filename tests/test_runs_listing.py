"""Lists of runs stay whole while others add, change and remove, and a deep page costs what the first costs."""

from __future__ import annotations

import contextlib
import itertools
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eagerly import runs, session
from eagerly.runs import MemoryRunStore, Moved, PostgresRunStore, Query, RunRecord, RunStatus, RunStore, SqliteRunStore
from eagerly.runs._query import matches, order_key
from eagerly.runs._record import new_id, now
from eagerly.runs._rows import select
from postgres_server import fresh_schema


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunStore]:
    made: RunStore = MemoryRunStore() if request.param == "memory" else SqliteRunStore(tmp_path / "runs.db")
    with session(run_store=made):
        yield made
    made.close()


@pytest.mark.parametrize("descending", [False, True])
def test_beside_a_thread_that_adds_and_removes(descending: bool, store: RunStore) -> None:
    """What is there at first, stays and matches is found exactly once, in order."""
    kept = [runs.create("kept").id for _ in range(60)]
    for _ in range(60):
        runs.update(runs.create("goes"), status="completed")
    stop = threading.Event()

    def disturb() -> None:
        with session(run_store=store):
            while not stop.is_set():
                runs.update(runs.create("goes"), status="completed")
                runs.create("new")
                runs.prune(keep=20)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for limit in (1, 7):
            found: list[str] = []
            cursor = None
            for _ in range(5000):
                page = runs.list(limit=limit, cursor=cursor, descending=descending, statuses=["pending", "completed"])
                found += [run.id for run in page]
                cursor = page.cursor
                if cursor is None or (not descending and set(kept) <= set(found)):
                    break
            assert [run_id for run_id in found if run_id in set(kept)] == (kept[::-1] if descending else kept)
            assert len(found) == len(set(found))
    finally:
        stop.set()
        thread.join()


changes = st.lists(st.sampled_from(["add", "add early", "remove", "page"]), min_size=5, max_size=40)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=changes, ties=st.booleans(), descending=st.booleans(), limit=st.integers(1, 4))
def test_in_any_order(changes: list[str], ties: bool, descending: bool, limit: int) -> None:
    """Additions, also with earlier times, and removals between any two pages."""
    store = MemoryRunStore()
    at = 1000

    def add(when: int) -> str:
        run_id = new_id()
        store.write([RunRecord(0, run_id, "t", RunStatus.COMPLETED, when, when, run_id)])
        return run_id

    kept = [add(at if ties else at + number) for number in range(8)]
    with session(run_store=store):
        removable: list[str] = []
        found: list[str] = []
        page = runs.list(limit=limit, descending=descending)
        found += [run.id for run in page]
        for change in changes:
            if change == "page" and page.cursor is not None:
                page = runs.list(limit=limit, descending=descending, cursor=page.cursor)
                found += [run.id for run in page]
            elif change == "remove" and removable:
                del store._records[removable.pop()]  # any one, where prune() would take the oldest
            elif change.startswith("add"):
                removable.append(add(at - 1 if change == "add early" else at + 100))
        while page.cursor is not None:
            page = runs.list(limit=limit, descending=descending, cursor=page.cursor)
            found += [run.id for run in page]
    assert [run_id for run_id in found if run_id in kept] == (kept[::-1] if descending else kept)
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"task": "task 1"},
        {"status": "completed"},
        {"status": "completed", "task": "task 1"},
        {"parent": "run_parent"},
        {"session": "s"},
        {"order_by": "updated"},
        {"since": None},
    ],
)
@pytest.mark.parametrize("descending", [False, True])
def test_a_deep_page_needs_no_sorting_and_no_scan(filters: dict[str, str], descending: bool, tmp_path: Path) -> None:
    """What SQLite says about its plan: an index gives the order, and the page begins at its place in it."""
    from eagerly.runs._listing import make_query

    store = SqliteRunStore(tmp_path / "runs.db")
    with session(run_store=store):
        runs.create("task 1")
        query: Query = make_query(**filters, descending=descending)._replace(after=(now(), 1))  # type: ignore[arg-type]
        statement, values = select(query)
        plan = store._read(lambda sql: sql.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall())
    store.close()
    [step] = [row[3] for row in plan]
    assert "SEARCH" in step, step
    assert "USING INDEX" in step, step


# Each filter alone, and with each other


NAMES, OWNERS_OF, LABELS = ("a", "b"), (None, "run_parent", "run_other"), ((), ("x",), ("x", "y"))


def any_runs(count: int, seed: int) -> list[RunRecord]:
    chance = random.Random(seed)
    made = []
    for number in range(count):
        run_id, at = new_id(), 1000 + chance.randrange(count)  # some at the same moment
        made.append(
            RunRecord(
                *(0, run_id, chance.choice(NAMES), chance.choice([*RunStatus]), at, at + chance.randrange(5), run_id),
                parent_id=chance.choice(OWNERS_OF),
                session_id=chance.choice((None, "s")),
                tags=chance.choice(LABELS),
                idempotency_key=f"key {number}" if chance.random() < 0.3 else None,
            )
        )
    return made


def test_every_filter_alone_and_with_every_other(every_store: RunStore) -> None:
    """Against what a loop over all runs finds: in both directions and orders, page by page and counted."""
    made = any_runs(60, seed=8)
    for written in every_store.write(made):
        assert isinstance(written, Moved)
    everything = every_store.find(Query(limit=1000))
    assert len(everything) == len(made)
    some = tuple(each.id for each in made[::2])
    filters: dict[str, Any] = {
        "task": "a",
        "statuses": (RunStatus.COMPLETED, RunStatus.RUNNING, RunStatus.PENDING),
        "ids": some,
        "parent": "run_parent",
        "session": "s",
        "tags": ("x",),
        "since": 1010,
        "until": 1050,
    }
    hits = 0
    for size in range(len(filters) + 1):
        for names in itertools.combinations(filters, size):
            asked = {name: filters[name] for name in names}
            for order, down in (("created", False), ("created", True), ("updated", False), ("updated", True)):
                query = Query(**asked, order_by=order, descending=down, limit=7)
                expected = sorted(
                    (each for each in everything if matches(query, each)),
                    key=lambda each, query=query: order_key(query, each),  # type: ignore[misc]
                    reverse=down,
                )
                found: list[RunRecord] = []
                at: Query = query
                while page := every_store.find(at):
                    found += page
                    at = at._replace(after=order_key(query, page[-1]))
                assert found == expected, asked
                assert every_store.count(query) == len(expected)
                numbered = every_store.find(query._replace(limit=3, offset=3))
                assert numbered == expected[3:6]
                hits += bool(expected)
    assert hits > 500


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def every_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunStore]:
    with contextlib.ExitStack() as stack:
        made: RunStore
        if request.param == "postgres":
            url, schema = stack.enter_context(fresh_schema())
            made = PostgresRunStore(url, schema=schema)
        else:
            made = MemoryRunStore() if request.param == "memory" else SqliteRunStore(tmp_path / "runs.db")
        stack.callback(made.close)
        yield made


DISTURBER = """
import sys
from eagerly import runs, session
with session(run_store=sys.argv[1]):
    print("go", flush=True)
    while True:
        runs.update(runs.create("goes"), status="completed")
        runs.create("new")
        runs.prune(keep=20)
"""


@pytest.mark.parametrize(
    ("rows", "limit"), [(2_000, 50), pytest.param(200_000, 1000, marks=pytest.mark.slow)], ids=["2,000", "200,000"]
)
def test_all_pages_beside_another_process_that_adds_and_removes(rows: int, limit: int, tmp_path: Path) -> None:
    """In both directions; what is there at first and stays is found exactly once, and counted."""
    store = SqliteRunStore(tmp_path / "runs.db")
    begin = now() - rows * 1000
    kept: list[str] = []
    for start in range(0, rows, 5_000):
        part = []
        for number in range(start, min(start + 5_000, rows)):
            run_id, at = new_id(), begin + number * 1000
            # Live, so that nothing removes them.
            part.append(RunRecord(0, run_id, "kept", RunStatus.RUNNING, at, at, run_id, tags=("odd",) * (number % 2)))
            kept.append(run_id)
        store.write(part)
    child = subprocess.Popen([sys.executable, "-c", DISTURBER, store.place], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        with session(run_store=store):
            for descending in (False, True):
                expected = set(kept)
                found: list[str] = []
                cursor = None
                while expected:
                    page = runs.list(limit=limit, cursor=cursor, descending=descending)
                    found += [run.id for run in page]
                    expected.difference_update(run.id for run in page)
                    cursor = page.cursor
                    assert cursor is not None or not expected
                own = set(kept)
                assert [each for each in found if each in own] == (kept[::-1] if descending else kept)
                assert len(found) == len(set(found))
            last = runs.list(task="kept", tags=["odd"], page=rows // 2 // limit, page_size=limit)
            assert (last.total, last.pages, len(last)) == (rows // 2, rows // 2 // limit, limit)
    finally:
        child.kill()
        child.communicate()
    store.close()
