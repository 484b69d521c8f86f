"""The PostgreSQL run store while others change it: what two transactions make of one tree of runs.

Each of them waits at a certain point until the other has got as far as it can: it has done its work, or waits for a
lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from eagerly import runs, session
from eagerly.runs import PostgresRunStore, RunRecord
from postgres_server import fresh_schema

PATIENCE = 60.0


class Stopping(PostgresRunStore):
    """Stops within its transactions: before a statement that removes something, and before the end."""

    before_removal: Callable[[], object] | None = None
    before_end: Callable[[], object] | None = None

    def _write(self, work: Any) -> Any:
        return super()._write(lambda sql: work(Statements(self, sql)))

    def _told(self, sql: Any, records: Iterable[RunRecord]) -> None:
        super()._told(sql, records)
        if self.before_end is not None:
            self.before_end()


class Statements:
    def __init__(self, store: Stopping, sql: Any) -> None:
        self.store, self.executemany, self._execute = store, sql.executemany, sql.execute

    def execute(self, statement: str, *parameters: Any) -> Any:
        if "DELETE FROM runs" in statement and self.store.before_removal is not None:
            self.store.before_removal()
        return self._execute(statement, *parameters)


class Place:
    """A schema, stores of it, and whether anybody waits for a lock there."""

    def __init__(self, stack: ExitStack) -> None:
        import psycopg

        self.url, self.schema = stack.enter_context(fresh_schema())
        self._stack = stack
        self._looks = stack.enter_context(psycopg.connect(self.url, autocommit=True))

    def store(self) -> Stopping:
        made = Stopping(self.url, schema=self.schema)
        self._stack.callback(made.close)
        return made

    def until(self, happened: threading.Event) -> None:
        """Wait until that has happened, or somebody waits for a lock."""
        while not happened.wait(0.002) and not self._blocked():
            pass

    def _blocked(self) -> bool:
        found = self._looks.execute(
            "SELECT 1 FROM pg_locks JOIN pg_class ON pg_class.oid = relation"
            " JOIN pg_namespace ON pg_namespace.oid = relnamespace"
            " WHERE nspname = %s AND cardinality(pg_blocking_pids(pg_locks.pid)) > 0",
            (self.schema,),
        ).fetchone()
        return found is not None


@pytest.fixture
def place() -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(stack)


def in_thread(work: Callable[[], object]) -> tuple[threading.Thread, threading.Event]:
    """A thread that does that, and what happens when it has."""
    done = threading.Event()

    def run() -> None:
        try:
            work()
        finally:
            done.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, done


@pytest.mark.parametrize("generations", [1, 2])
@pytest.mark.parametrize("end", [runs.cancel, runs.stop])
def test_a_run_that_is_added_while_its_tree_is_ended(end: Callable[[str], Any], generations: int, place: Place) -> None:
    """Neither transaction has seen the other when it began."""
    maker, ender = place.store(), place.store()
    with session(run_store=ender):
        ended = parent = runs.create("ended", parent=runs.create("root").id)
        for _ in range(generations - 1):
            parent = runs.create("parent", parent=parent.id)
        added, looked = threading.Event(), threading.Event()
        made: list[Any] = []

        def hold_child() -> None:
            maker.before_end = None
            added.set()
            place.until(looked)

        def hold_end() -> None:
            ender.before_end = None
            looked.set()
            place.until(created)

        def make() -> None:
            with session(run_store=maker):
                made.append(runs.create("child", parent=parent.id))

        maker.before_end, ender.before_end = hold_child, hold_end
        thread, created = in_thread(make)
        assert added.wait(PATIENCE)
        end(ended.id)
        thread.join(PATIENCE)
        assert [runs.get(each.id).status for each in (ended, parent, *made)] == ["cancelled"] * 3


def test_a_run_that_is_added_while_its_tree_is_removed(place: Place) -> None:
    """It is not removed: it comes after its parent has gone."""
    maker, remover = place.store(), place.store()
    with session(run_store=remover):
        root = runs.update(runs.create("root"), status="completed")
        made: list[Any] = []
        threads: list[threading.Thread] = []

        def make() -> None:
            with session(run_store=maker):
                made.append(runs.create("child", parent=root.id))

        def add() -> None:
            remover.before_removal = None
            thread, created = in_thread(make)
            threads.append(thread)
            place.until(created)

        remover.before_removal = add
        assert runs.prune(keep=0) == 1
        threads[0].join(PATIENCE)
        assert [each.status for each in runs.list()] == ["pending"]
        assert runs.get(made[0].id) == made[0]


def test_a_run_that_was_added_just_before_its_tree_is_removed(place: Place) -> None:
    """Nothing is removed: the tree has a live run again."""
    maker, remover = place.store(), place.store()
    with session(run_store=remover):
        root = runs.update(runs.create("root"), status="completed")
        other = runs.update(runs.create("other"), status="completed")
        added, removed = threading.Event(), threading.Event()

        def hold_child() -> None:
            maker.before_end = None
            added.set()
            place.until(removed)

        def make() -> None:
            with session(run_store=maker):
                runs.create("child", parent=root.id)

        maker.before_end = hold_child
        thread, _ = in_thread(make)
        assert added.wait(PATIENCE)
        assert runs.prune(keep=0) == 1
        removed.set()
        thread.join(PATIENCE)
        assert [each.task for each in runs.list()] == ["root", "child"]
        with pytest.raises(LookupError):
            runs.get(other.id)
