"""DBOS: durable execution. A step outside a workflow is the bare function; inside, its result goes to a database."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from benchmarks.cases import plain, plain_async
from benchmarks.contest import Contestant, awaits, calls
from benchmarks.peers import installed

NAME = "DBOS"
DISTRIBUTIONS = ("dbos",)
MODULE = "dbos"
APART = True

OUTSIDE = "a step outside a workflow, of which nothing is recorded"


def available() -> bool:
    return installed("dbos")


@contextmanager
def contestants() -> Iterator[Iterator[Contestant]]:
    from dbos import DBOS

    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'benchmark.sqlite'}"
        DBOS(
            config={"name": "benchmark", "system_database_url": url, "log_level": "CRITICAL", "run_admin_server": False}
        )
        step, async_step = DBOS.step()(plain), DBOS.step()(plain_async)

        @DBOS.workflow()
        def inside(count: int) -> float:
            start = perf_counter()
            for _ in range(count):
                step(1)
            return perf_counter() - start

        @DBOS.workflow()
        def empty() -> None:
            pass

        DBOS.launch()
        try:
            yield iter(
                [
                    Contestant("call-sync", NAME, calls(step, 1), OUTSIDE),
                    Contestant("call-async", NAME, awaits(async_step, 1), OUTSIDE),
                    Contestant("call-sync-inside", NAME, inside, "recorded in SQLite"),
                    Contestant("session", NAME, calls(empty), "an empty workflow, recorded in SQLite"),
                ]
            )
        finally:
            DBOS.destroy()
