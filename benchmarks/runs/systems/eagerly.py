"""eagerly, with records in SQLite and in memory; and a bare thread pool, which records nothing."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.contest import Contestant, calls
from benchmarks.runs.work import plain, trivial
from eagerly import session
from eagerly.runs import MemoryRunStore, SqliteRunStore

TITLE = "eagerly"
MODULE = "eagerly"


def one() -> None:
    """One run, from its submission to its result."""
    assert trivial.submit(1).result() == 2


@contextmanager
def contestants(folder: Path) -> Iterator[Iterator[Contestant]]:
    store, memory = SqliteRunStore(folder / "eagerly.db"), MemoryRunStore()

    def within(place: Any = None) -> AbstractContextManager[Any]:
        return session(backend="thread") if place is None else session(backend="thread", run_store=place)

    @contextmanager
    def warm(place: Any) -> Iterator[None]:
        """A session that has its worker: those of the others are there from the beginning."""
        with within(place):
            one()
            yield

    def first(count: int) -> float:
        """Rounds of the first run of a session, without the opening and closing of that."""
        taken = 0.0
        for _ in range(count):
            with within(store):
                start = perf_counter()
                one()
                taken += perf_counter() - start
        return taken

    with ThreadPoolExecutor(1) as pool:
        try:
            yield iter(
                [
                    Contestant("one", TITLE, calls(one, around=lambda: warm(store))),
                    Contestant("one-first", TITLE, first),
                    Contestant("one-memory", TITLE, calls(one, around=lambda: warm(memory))),
                    Contestant("one-memory", "a thread pool", calls(lambda: pool.submit(plain, 1).result())),
                    Contestant("call", TITLE, calls(trivial, 1, around=within)),
                    Contestant("call-recorded", TITLE, calls(trivial, 1, around=lambda: within(store))),
                ]
            )
        finally:
            store.close()
