"""The threads that event loops have blocking work done by: few, more for a slow store, and as many as it takes."""

from __future__ import annotations

import asyncio
import contextvars
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eagerly import runs, session
from eagerly.runs import Run, RunRecord, SqliteRunStore

MANY = 100
"""More threads than any number of coroutines has."""


class Counting(SqliteRunStore):
    """A store that knows how many threads read at once."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.before: Callable[[str], object] = lambda run_id: None
        self.most = 0
        self._inside: set[int] = set()

    def get(self, run_id: str, /) -> RunRecord | None:
        self._inside.add(threading.get_ident())
        self.most = max(self.most, len(self._inside))
        try:
            self.before(run_id)
            return super().get(run_id)
        finally:
            self._inside.discard(threading.get_ident())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Counting]:
    made = Counting(tmp_path / "runs.db")
    with session(run_store=made):
        yield made
    made.close()


async def get_all(ids: list[str]) -> list[str]:
    return [run.id for run in await asyncio.gather(*map(runs.aio.get, ids))]


async def test_thousands_of_coroutines_have_few_threads(store: Counting) -> None:
    ids = [run.id for run in await asyncio.gather(*(runs.aio.create("import", {"n": n}) for n in range(100)))] * 20
    assert await get_all(ids) == ids
    assert 0 < store.most < MANY


async def test_a_slow_store_has_more(store: Counting) -> None:
    run = await runs.aio.create("import")
    store.before = lambda run_id: time.sleep(0.02)  # what a distant server takes
    assert set(await get_all([run.id] * 1_000)) == {run.id}
    assert 16 < store.most < MANY


async def test_work_that_waits_for_work_behind_it(store: Counting) -> None:
    """Whatever a store does: that there are few threads must not let it hang."""
    first, last = await runs.aio.create("import"), await runs.aio.create("import")
    done = threading.Event()
    store.before = lambda run_id: done.set() if run_id == last.id else done.wait()
    ids = [first.id] * 20 + [last.id]
    assert await get_all(ids) == ids


async def test_a_store_that_stands_still_does_not_hold_up_another(store: Counting, tmp_path: Path) -> None:
    run = await runs.aio.create("import")
    go_on = threading.Event()
    store.before = lambda run_id: go_on.wait()
    waiting = [asyncio.ensure_future(runs.aio.get(run.id)) for _ in range(20)]
    await asyncio.sleep(0)
    other = SqliteRunStore(tmp_path / "other.db")
    try:
        with session(run_store=other):
            made = await runs.aio.create("export")
            assert (await runs.aio.get(made.id)).task == "export"
        assert not any(each.done() for each in waiting)
    finally:
        go_on.set()
    assert {each.id for each in await asyncio.gather(*waiting)} == {run.id}
    other.close()


async def test_each_has_the_context_of_its_caller(store: Counting) -> None:
    who: contextvars.ContextVar[int] = contextvars.ContextVar("who")
    run = await runs.aio.create("import")
    seen: list[int] = []
    store.before = lambda run_id: seen.append(who.get())

    async def ask(number: int) -> Run[Any]:
        who.set(number)
        return await runs.aio.get(run.id)

    await asyncio.gather(*map(ask, range(200)))
    assert sorted(seen) == list(range(200))


FORKS = """
import asyncio, os, signal, sys, threading
from eagerly import runs, session
from eagerly.runs import SqliteRunStore
inside, go_on = threading.Semaphore(0), threading.Event()
class Slow(SqliteRunStore):
    def get(self, run_id, /):
        if os.getpid() == parent:
            inside.release()
            go_on.wait()
        return super().get(run_id)
parent = os.getpid()
async def main():
    run = await runs.aio.create("import")
    waiting = [asyncio.ensure_future(runs.aio.get(run.id)) for _ in range(50)]
    await asyncio.sleep(0)
    for _ in range(4):
        inside.acquire()
    child = os.fork()
    if not child:
        signal.alarm(60)
        def look():
            with session(run_store=store):
                print(asyncio.run(runs.aio.get(run.id)).task, flush=True)
            os._exit(0)
        threading.Thread(target=look).start()  # this thread has a loop already
        threading.Event().wait()
    assert os.waitpid(child, 0)[1] == 0
    go_on.set()
    print(len(await asyncio.gather(*waiting)))
store = Slow(sys.argv[1])
with session(run_store=store):
    asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_has_threads_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKS, str(tmp_path / "runs.db")]
    done = subprocess.run(command, check=False, timeout=120, capture_output=True, text=True)
    assert (done.stdout.split(), done.stderr) == (["import", "50"], "")
