"""What a page of runs costs at the beginning and 200,000 rows deep, in several orders and with several filters."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import statistics
import tempfile
import time

from eagerly.runs import Query, RunRecord, RunStatus, SqliteRunStore
from eagerly.runs._record import new_id, now

__all__ = ["ROWS", "deepest", "first", "ratio"]

ROWS = int(os.environ.get("BENCHMARK_RUNS", "200000"))
PAGE = 100
BATCH = 5_000

QUERIES = {
    "all": Query(limit=PAGE),
    "one task of ten": Query(task="task 3", limit=PAGE),
    "failed": Query(statuses=(RunStatus.FAILED,), limit=PAGE),
    "one tag": Query(tags=("seventh",), limit=PAGE),
    "by last change": Query(order_by="updated", limit=PAGE),
}


@functools.cache
def filled() -> SqliteRunStore:
    """A store of runs that have ended, a millisecond apart; made once."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    store = SqliteRunStore(folder)
    begin = now() - ROWS * 1000
    for start in range(0, ROWS, BATCH):
        batch = []
        for number in range(start, min(start + BATCH, ROWS)):
            run_id, at = new_id(), begin + number * 1000
            status = RunStatus.COMPLETED if number % 3 else RunStatus.FAILED
            tags = ("seventh",) if number % 7 == 0 else ()
            batch.append(RunRecord(0, run_id, f"task {number % 10}", status, at, at, run_id, tags=tags))
        store.write(batch)
    return store


def first() -> float:
    """Milliseconds for the first page, the slowest of the queries."""
    store = filled()
    return max(_milliseconds(store, query) for query in QUERIES.values())


def deepest() -> float:
    """The same for the last page."""
    store = filled()
    return max(_milliseconds(store, _at_the_end(store, name)) for name in QUERIES)


def ratio() -> float:
    """How many times the last page costs what the first does, in the worst of the listings; both in turns."""
    store = filled()
    ratios = []
    for name, query in QUERIES.items():
        times: tuple[list[float], list[float]] = [], []
        for _ in range(15):
            for page, own in zip((query, _at_the_end(store, name)), times, strict=True):
                start = time.perf_counter()
                store.find(page)
                own.append(time.perf_counter() - start)
        ratios.append(statistics.median(times[1]) / statistics.median(times[0]))
    return max(ratios)


@functools.cache
def _at_the_end(store: SqliteRunStore, name: str) -> Query:
    query = QUERIES[name]
    last = store.find(query._replace(descending=True))[-1]
    return query._replace(after=(last.created_at if query.order_by == "created" else last.updated_at, last.seq - 1))


def _milliseconds(store: SqliteRunStore, query: Query) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        assert len(store.find(query)) == PAGE
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000
