"""What must hold for every `RunStore`, as tests. `eagerly.contracts` offers it."""

from __future__ import annotations

import itertools
import os
import threading
from typing import Any

from eagerly._checks import Child, check, equal, in_threads, skip
from eagerly.errors import RunNotFound
from eagerly.runs._change import Change
from eagerly.runs._contract_changes import ChangesContract
from eagerly.runs._contract_runs import end_elsewhere, got, new_record, run_at
from eagerly.runs._payload import INLINE, encode
from eagerly.runs._protocol import RunStore
from eagerly.runs._query import Query, order_key
from eagerly.runs._record import RunError, RunRecord, now
from eagerly.runs._status import RunStatus
from eagerly.runs._waiting import wait_for

__all__ = ["RunStoreContract"]

PENDING, RUNNING, PAUSED, COMPLETED, FAILED, CANCELLED = RunStatus
PATIENCE = 60.0


class RunStoreContract(ChangesContract):
    """What must hold for every `RunStore`.

    Subclass it, next to your other tests, and say how a store is made:

    Attributes:
        shared: Whether stores that `make_store` makes see one another's runs. A store that keeps them in its own
            process says False.

    Example:
        >>> from eagerly.runs import MemoryRunStore
        >>> class TestMyStore(RunStoreContract):
        ...     shared = False
        ...
        ...     def make_store(self):
        ...         return MemoryRunStore()
        >>> TestMyStore().test_what_was_written_is_what_get_returns()
    """

    # Lists

    def test_each_filter_and_both_at_once(self) -> None:
        """A listing has just the runs that match; an empty list matches nothing."""
        store = self.make_store()
        one = new_record("a", RUNNING, at=10, tags=("x", "y"), session_id="s")
        two = new_record("b", FAILED, at=20, tags=("x",))
        three = new_record("a", PENDING, at=30, parent_id=one.id, root_id=one.id)
        store.write([one, two, three])
        names = {one.id: 1, two.id: 2, three.id: 3}
        cases: list[tuple[Query, list[int]]] = [
            (Query(), [1, 2, 3]),
            (Query(task="a"), [1, 3]),
            (Query(statuses=(RUNNING, FAILED)), [1, 2]),
            (Query(ids=(three.id, one.id, "run_nosuch")), [1, 3]),
            (Query(parent=one.id), [3]),
            (Query(parent=None), [1, 2]),
            (Query(session="s"), [1]),
            (Query(tags=("x",)), [1, 2]),
            (Query(tags=("y", "x")), [1]),
            (Query(since=20), [2, 3]),
            (Query(until=20), [1]),
            (Query(task="a", tags=("x",), statuses=(RUNNING,), parent=None, session="s", since=5, until=15), [1]),
            (Query(task="b", statuses=(RUNNING,)), []),
            (Query(statuses=()), []),
            (Query(ids=()), []),
            (Query(tags=()), []),
        ]
        for query, expected in cases:
            equal([names[each.id] for each in store.find(query)], expected, f"find({query})")
            equal(store.count(query), len(expected), f"count({query})")

    def test_pages_follow_one_another(self) -> None:
        """Pages of every size, in both directions and orders, give each run once and in order."""
        store = self.make_store()
        made = [new_record(at=at) for at in (3, 1, 2, 2, 2, 1, 3, 9)]
        store.write(made)
        store.write([Change(made[1].id, 5, RUNNING)])
        for order, down, limit in itertools.product(("created", "updated"), (False, True), (1, 2, 3, 100)):
            query = Query(order_by=order, descending=down, limit=limit)
            found: list[RunRecord] = []
            while page := store.find(query):
                check(len(page) <= limit, f"a page of {limit} has {len(page)} runs")
                found += page
                query = query._replace(after=order_key(query, page[-1]))
            keys = [order_key(query, each) for each in found]
            equal(keys, sorted(keys, reverse=down), f"the order of find({query})")
            equal({each.id for each in found}, {each.id for each in made}, "the runs on all pages")
            equal(len(found), len(made), "their number")
            equal(store.find(query._replace(after=None, offset=3)), found[3:][:limit], "a page by its number")

    # Outputs

    def test_outputs_small_and_large(self) -> None:
        """What was given comes back, in the row or beside it; null is an output, and none is none."""
        store = self.make_store()
        for value in (None, "", [1, {"ä": 0.5}], "x" * (INLINE - 2), "x" * (INLINE - 1), "é" * 300_000):
            run = run_at(store, RUNNING)
            equal(store.output(run.id), None, "the output of a run that has given none")
            payload = encode(value)
            store.write([Change(run.id, now(), COMPLETED, output=payload)])
            equal(store.output(run.id), payload, f"an output of {len(payload.data)} bytes")
            equal(got(store, run.id).output_blob is not None, len(payload.data) > INLINE, "whether it is offloaded")
        equal(store.output("run_nosuch"), None, "the output of no run")

    def test_an_output_can_be_replaced_while_the_run_goes_on(self) -> None:
        """The last one counts, whatever sizes they have."""
        store = self.make_store()
        run = run_at(store, RUNNING)
        for value in ("small", "x" * 100_000, "small again"):
            store.write([Change(run.id, now(), output=encode(value))])
            equal(store.output(run.id), encode(value), "the last output")

    def test_the_exception_itself_is_kept_as_bytes(self) -> None:
        """`pickled_error` gives what was written, and None where nothing was."""
        store = self.make_store()
        run, other = run_at(store, RUNNING), run_at(store, FAILED)
        error = RunError("E", "m", "t")
        store.write([Change(run.id, now(), FAILED, {"error": error}, pickled_error=b"\0bytes\xff")])
        equal(store.pickled_error(run.id), b"\0bytes\xff", "pickled_error()")
        equal(store.pickled_error(other.id), None, "pickled_error() of a run without")

    # What goes

    def test_prune_removes_ended_trees_and_nothing_else(self) -> None:
        """By age and by number; a tree goes as a whole, once all of it has ended."""
        store = self.make_store()
        old, young = run_at(store, COMPLETED, at=10, output="x" * 100_000), run_at(store, FAILED, at=1000)
        child, live = run_at(store, COMPLETED, at=5000, parent=old), run_at(store, RUNNING, at=10)
        root = run_at(store, COMPLETED, at=10)
        below = run_at(store, RUNNING, at=10, parent=root)
        same = run_at(store, COMPLETED, at=2000, output="x" * 100_000)
        equal(store.prune(before=1, keep=None), 0, "prune() of what is older than all")
        equal(store.prune(before=500, keep=3), 0, "prune() where so many are kept")
        equal(store.prune(before=500, keep=None), 2, "prune() by age")
        there = [each.id for each in (old, young, child, live, root, below, same) if store.get(each.id) is not None]
        equal(there, [each.id for each in (young, live, root, below, same)], "what is left")
        equal(store.output(same.id), encode("x" * 100_000), "an output that another run had too")
        equal(store.prune(before=None, keep=1), 1, "prune() by number")
        equal(store.prune(before=None, keep=0), 1, "prune() of all that has ended")
        equal(store.count(Query()), 3, "the number of runs that live, or that a live run belongs to")
        equal(store.output(same.id), None, "the output of a run that is gone")

    def test_prune_removes_no_output_that_is_being_written(self) -> None:
        """One thread removes what has ended, over and over, while others give one and the same large output."""
        store = self.make_store()
        payload = encode("x" * 100_000)
        writers = ["writer"] * 3

        def act(what: str) -> None:
            if what == "remover":
                while writers:
                    store.prune(before=None, keep=0)
                return
            try:
                for _ in range(15):
                    run = run_at(store, RUNNING)
                    store.write([Change(run.id, now(), output=payload)])
                    equal(store.output(run.id), payload, "an output that was given just now")
                    store.write([Change(run.id, now(), COMPLETED)])
            finally:
                writers.pop()

        in_threads(act, [*writers, "remover"])

    # Who waits

    def test_whoever_commits_tells(self) -> None:
        """When `write` returns, those of this process who wait for the run have been told; nobody polls for that."""
        store = self.make_store()
        run, other = run_at(store, RUNNING), run_at(store, RUNNING)
        told: list[tuple[str, int]] = []

        def tell(news: Any) -> bool:
            told.append((news.status, threading.get_ident()))
            return False  # it wants to hear all, also if the thread that watches was quicker

        end = store.watch(run.id, tell)
        store.write([Change(other.id, now(), COMPLETED), Change(run.id, now(), PAUSED)])
        store.write([Change(run.id, now(), COMPLETED)])
        check((PAUSED, threading.get_ident()) in told, f"the thread that commits has told {told}")
        check((COMPLETED, threading.get_ident()) in told, f"the thread that commits has told {told}")
        end()

    def test_who_waits_is_told(self) -> None:
        """A run that has ended is told of at once, one that ends when it does, and that there is none too."""
        store = self.make_store()
        ended, run = run_at(store, COMPLETED), run_at(store, RUNNING)
        equal(wait_for(store, ended.id, PATIENCE), ended, "wait for a run that has ended")

        def act(what: str) -> None:
            if what == "end":
                store.write([Change(run.id, now(), COMPLETED)])
            else:
                equal(wait_for(store, run.id, PATIENCE).status, COMPLETED, "what a waiting thread was told")

        in_threads(act, ["wait"] * 5 + ["end"])
        try:
            wait_for(store, "run_nosuch", PATIENCE)
        except RunNotFound:
            return
        raise AssertionError("waiting for no run should raise RunNotFound")

    # Several stores, processes, owners

    def test_two_stores_of_one_place_see_the_same(self) -> None:
        """What one writes, the other reads; who waits at one is told of what the other does."""
        store, other = self.make_store(), self._second()
        if other is None:
            skip("its runs stay in the process")
        run = run_at(store, RUNNING)
        equal(other.get(run.id), store.get(run.id), "a run by another store")
        other.write([Change(run.id, now(), COMPLETED, output=encode("x" * 100_000))])
        equal(wait_for(store, run.id, PATIENCE).status, COMPLETED, "its status by the first")
        equal(store.output(run.id), encode("x" * 100_000), "its output by the first")

    def test_another_process_is_noticed(self) -> None:
        """Who waits here is told of what another process does."""
        store = self.make_store()
        self._needs_processes()
        run = run_at(store, RUNNING)
        child = Child(lambda _tell: end_elsewhere(store, run.id))
        equal(wait_for(store, run.id, PATIENCE).status, CANCELLED, "what the child made of it")
        child.join()

    def test_runs_of_a_killed_process_are_lost_once(self) -> None:
        """They become failed, kind ``lost``, and only they; the first who looks is told, and nobody else."""
        store = self.make_store()
        self._needs_processes()
        mine = run_at(store, RUNNING, owner=store.owner())
        free = run_at(store, RUNNING)
        theirs = [new_record("theirs"), new_record("theirs")]
        done = new_record("theirs")

        def work(tell: Any) -> None:
            own = store.owner()
            store.write([*theirs, done, *(Change(each.id, now(), RUNNING, {"owner": own}) for each in (*theirs, done))])
            store.write([Change(theirs[1].id, now(), PAUSED, owner=own), Change(done.id, now(), COMPLETED, owner=own)])
            tell()
            while True:
                store.get(mine.id)

        child = Child(work)
        child.wait_until_told()
        equal(store.recover(), [], "what is lost while all are alive")
        child.kill()
        lost = [wait_for(store, each.id, PATIENCE) for each in theirs]
        equal([each.status for each in lost], [FAILED, FAILED], "the runs of a killed process")
        equal([each.error and each.error.kind for each in lost], ["lost", "lost"], "the kinds of their errors")
        equal(store.recover(), [], "what is lost a second time")
        others = [got(store, each.id).status for each in (done, mine, free)]
        equal(others, [COMPLETED, RUNNING, RUNNING], "an ended run of it, one of this process, one of nobody")

    def test_a_closed_store_opens_again(self) -> None:
        """`close` lets go of what is open, and what comes after opens it anew."""
        store = self.make_store()
        run = new_record()
        store.write([run])
        store.close()
        store.close()
        check(store.get(run.id) is not None, "a run is gone after close()")
        store.close()

    # How the tests do that

    def _second(self) -> RunStore | None:
        return self.make_store() if self.shared else None

    def _needs_processes(self) -> None:
        if not self.shared:
            skip("its runs stay in the process")
        if not hasattr(os, "fork"):
            skip("needs fork")
