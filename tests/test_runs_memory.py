"""The run store in memory: what is seen without a lock, what goes by itself, and forks."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from eagerly import runs, session
from eagerly._checks import Child
from eagerly.runs import Change, MemoryRunStore, Query, RunStatus
from eagerly.runs._payload import encode
from eagerly.runs._record import now

PATIENCE = 60.0


def test_what_is_completed_has_its_output_at_every_moment() -> None:
    """Whoever looks waits for no lock, so it may look between any two lines of a write."""
    store = MemoryRunStore()
    with session(run_store=store):
        run = runs.update(runs.create("import"), status="running")
    seen: list[tuple[bool, bool]] = []

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        record = store.get(run.id)
        assert record is not None
        seen.append((record.status.final, store.output(run.id) is not None))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        store.write([Change(run.id, now(), RunStatus.COMPLETED, output=encode(5))])
    finally:
        sys.settrace(before)
    assert (False, False) in seen
    assert (True, True) in seen
    assert (True, False) not in seen


class Counting(MemoryRunStore):
    """Counts how often it looks for what can go."""

    looks = 0

    def prune(self, *, before: int | None, keep: int | None) -> int:
        self.looks += 1
        return super().prune(before=before, keep=keep)


def test_a_large_tree_that_lives_is_not_looked_through_by_each_write() -> None:
    store = Counting(keep=10)
    with session(run_store=store):
        root = runs.create("root")
        for _ in range(1000):
            runs.create("child", parent=root.id)
        assert store.count(Query()) == 1001
        assert 0 < store.looks < 10
        runs.cancel(root.id)
        for _ in range(1000):
            runs.cancel(runs.create("other").id)
        assert store.count(Query()) < 200


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


class Batch(list[Any]):
    """A batch that does something in the middle of being written."""

    then: Callable[[], object]

    def __iter__(self) -> Iterator[Any]:
        yield from super().__iter__()
        self.then()


@needs_fork
def test_a_fork_in_the_middle_of_a_write_of_another_thread() -> None:
    """The child makes runs of its own."""
    store = MemoryRunStore()
    within, forked = threading.Event(), threading.Event()

    def stay() -> None:
        within.set()
        forked.wait(PATIENCE)

    batch = Batch()
    batch.then = stay
    thread = threading.Thread(target=store.write, args=(batch,))
    thread.start()
    assert within.wait(PATIENCE)

    def work(tell: Any) -> None:
        with session(run_store=store):
            runs.update(runs.create("import"), status="completed")
        tell()

    child = Child(work)
    try:
        child.wait_until_told()
    finally:
        child.kill()
        forked.set()
        thread.join(PATIENCE)


@needs_fork
def test_a_fork_while_another_thread_begins_to_wait() -> None:
    store = MemoryRunStore()
    with session(run_store=store):
        run = runs.create("import")
    within, forked = threading.Event(), threading.Event()

    class Id(str):
        __slots__ = ()

        def __hash__(self) -> int:
            within.set()
            forked.wait(PATIENCE)
            return super().__hash__()

    thread = threading.Thread(target=store.watch, args=(Id(run.id), lambda news: False))
    with_other = store.watch(run.id, lambda news: False)  # somebody waits, so that a change asks who does
    thread.start()
    assert within.wait(PATIENCE)

    def work(tell: Any) -> None:
        with session(run_store=store):
            runs.update(run.id, status="completed")
        tell()

    child = Child(work)
    try:
        child.wait_until_told()
    finally:
        child.kill()
        forked.set()
        thread.join(PATIENCE)
        with_other()
