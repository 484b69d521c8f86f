"""huey: a task queue in SQLite. Its consumer and whoever waits for a result poll, here every millisecond."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contest import Contestant, calls
from benchmarks.runs.work import plain

TITLE = "huey"
MODULE = "huey"

POLL = 0.001
"""Seconds between two looks. Its defaults are 0.1 for workers and for who waits, and more when there is nothing."""


@contextmanager
def contestants(folder: Path) -> Iterator[Iterator[Contestant]]:
    from huey import SqliteHuey

    queue = SqliteHuey(filename=str(folder / "huey.db"))
    work = queue.task()(plain)

    def one() -> None:
        assert work(1).get(blocking=True, backoff=1.0, max_delay=POLL) == 2

    consumer = queue.create_consumer(
        workers=1, worker_type="thread", initial_delay=POLL, backoff=1.0, max_delay=POLL, check_worker_health=False
    )
    consumer.start()
    try:
        yield iter([Contestant("one", TITLE, calls(one))])
    finally:
        consumer.stop(graceful=True)
