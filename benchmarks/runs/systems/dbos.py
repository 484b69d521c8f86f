"""DBOS: durable workflows, here in SQLite. A workflow that is started in the background is what a submitted run is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from benchmarks.contest import Contestant, calls
from benchmarks.runs.work import plain

TITLE = "DBOS"
MODULE = "dbos"


@contextmanager
def contestants(folder: Path) -> Iterator[Iterator[Contestant]]:
    from dbos import DBOS

    url = f"sqlite:///{folder / 'dbos.sqlite'}"
    DBOS(config={"name": "benchmark", "system_database_url": url, "log_level": "CRITICAL", "run_admin_server": False})
    work, step = DBOS.workflow()(plain), DBOS.step()(plain)

    @DBOS.workflow()
    def steps(count: int) -> float:
        start = perf_counter()
        for _ in range(count):
            step(1)
        return perf_counter() - start

    def one() -> None:
        assert DBOS.start_workflow(work, 1).get_result() == 2

    DBOS.launch()
    try:
        yield iter([Contestant("one", TITLE, calls(one)), Contestant("call-recorded", TITLE, steps)])
    finally:
        DBOS.destroy()
