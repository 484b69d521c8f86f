"""What type checkers see of runs. Checked and run by `tests/test_typing.py`."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any, assert_type

from eagerly import Run, RunStatus, runs, session
from eagerly.runs import MemoryRunStore, RunError, RunPage, RunStore, RunTwins, SqliteRunStore, aio, open_run_store


def stores() -> list[RunStore]:
    return [MemoryRunStore(), SqliteRunStore("never-made.db"), open_run_store("memory://")]


async def twins(run: Run[Any]) -> None:
    assert_type(await aio.get(run.id), Run[Any])
    assert_type(await runs.aio.update(run, progress=0.5), Run[Any])
    assert_type(await runs.aio.prune(keep=1), int)
    assert_type(await run.aio.refresh(), Run[Any])
    assert_type(run.aio, RunTwins[Any])
    async for each in runs.aio.iter(task="import"):
        assert_type(each, Run[Any])


def typed(run: Run[int]) -> int:
    assert_type(run.result(), int)
    assert_type(run.wait(), Run[int])
    return run.result()


async def awaited(run: Run[int]) -> None:
    assert_type(await run, int)
    assert_type(await run.aio.result(timeout=1), int)


with session(run_store=stores()[0]) as here:
    assert_type(here.run_store, RunStore | None)
    run = runs.create("import", {"x": 1}, tags=["a"])
    assert_type(run, Run[Any])
    assert_type(run.status, RunStatus)
    assert_type(run.error, RunError | None)
    assert_type(run.created_at, datetime)
    assert_type(run.started_at, datetime | None)
    assert_type(run.tags, tuple[str, ...])
    assert_type(runs.list(status="pending", limit=5), RunPage)
    assert_type(runs.list(page=1, page_size=5, order_by="updated"), RunPage)
    assert_type([each.id for each in runs.iter(parent=None)], list[str])
    asyncio.run(twins(run))
    runs.update(run, status="completed", output=3)
    assert typed(run) == 3
    asyncio.run(awaited(run))
