"""The part of `RunStoreContract` that is about rows and how they change."""

from __future__ import annotations

import itertools

from eagerly._checks import check, equal, in_threads
from eagerly.errors import InvalidTransition, RunNotFound
from eagerly.runs._change import Change, Moved
from eagerly.runs._contract_runs import all_moved, got, new_record, run_at, without_place
from eagerly.runs._payload import encode
from eagerly.runs._protocol import RunStore, Write
from eagerly.runs._query import Query
from eagerly.runs._record import RunError, now
from eagerly.runs._status import FINAL, TRANSITIONS, RunStatus

__all__ = ["ChangesContract"]

PENDING, RUNNING, PAUSED, COMPLETED, FAILED, CANCELLED = RunStatus


class ChangesContract:
    """What must hold for the rows of every store."""

    shared: bool = True

    def make_store(self) -> RunStore:
        """A store over one place, which is empty when a test begins. A test calls it once or several times, and means
        the same place each time."""
        raise NotImplementedError("a subclass of RunStoreContract defines make_store(self), which returns the store")

    # Rows

    def test_it_has_the_methods_and_attributes_of_a_store(self) -> None:
        """It is a `RunStore`, and says where it is, whether it blocks and whether others could have written to it."""
        store = self.make_store()
        check(isinstance(store, RunStore), f"{store!r} lacks a method or an attribute of RunStore")
        types = [type(each) for each in (store.place, store.blocking, store.trusted)]
        equal(types, [str, bool, bool], "the types of .place, .blocking and .trusted")
        store.close()

    def test_what_was_written_is_what_get_returns(self) -> None:
        """Every field of a record comes back; what was never written is None."""
        full = new_record(
            "import",
            FAILED,
            session_id="ses_1",
            task_version="v1",
            name="import ä 日本 \U0001f642",
            inputs='{"x":[1]}',
            input_summary="x=[1]",
            output_summary="none",
            progress=0.25,
            step=1,
            steps=4,
            message="a 'quoted' ? % message",
            progress_data="{}",
            attempt=3,
            cached=True,
            error=RunError("ValueError", "no", "Traceback", "error"),
            cancel_reason="why",
            stop_requested_at=1,
            tags=("b", "a"),
            owner="somebody",
            started_at=2,
            paused_at=3,
            completed_at=4,
            failed_at=2**53 + 1,
            cancelled_at=6,
            idempotency_key="key",
        )
        bare = new_record()
        store = self.make_store()
        for each in all_moved(store.write([full, bare])):
            equal(each.before, None, "what a new run was before")
        equal(without_place(store.get(full.id)), full, "a record with every field")
        equal(without_place(store.get(bare.id)), bare, "a record with few")
        equal(store.get("run_nosuch"), None, "get() of what is not there")

    def test_ids_that_begin_alike(self) -> None:
        """`ids` gives those with the prefix, in order, and no more than asked for."""
        store = self.make_store()
        made = [new_record(id=f"run_{name}") for name in ("aab", "aaa", "ab", "b", "a_", "a%")]
        store.write(made)
        equal(store.ids("run_aa", 10), ["run_aaa", "run_aab"], "ids('run_aa', 10)")
        equal(store.ids("run_", 2), ["run_a%", "run_a_"], "ids('run_', 2)")
        equal(store.ids("run_a_", 10), ["run_a_"], "ids('run_a_', 10)")
        equal(store.ids("run_x", 10), [], "ids('run_x', 10)")

    def test_one_idempotency_key_is_one_run(self) -> None:
        """A second record with a key adds nothing and gives the first, in one batch and in threads too."""
        store = self.make_store()
        first, second, other = (new_record(idempotency_key=key) for key in ("k", "k", "other"))
        moved = all_moved(store.write([first, second, other, new_record(), new_record()]))
        equal([each.after.id for each in moved[:3]], [first.id, first.id, other.id], "the ids of three with two keys")
        equal(moved[1].before, moved[1].after, "before and after of the one that was there")
        found: list[str] = []
        records = [new_record(idempotency_key="raced") for _ in range(8)]
        in_threads(lambda record: found.append(all_moved(store.write([record]))[0].after.id), records)
        equal(len(set(found)), 1, "the number of runs that eight threads made with one key")
        equal(store.count(Query()), 5, "the number of runs")

    # Changes

    def test_the_table_of_transitions(self) -> None:
        """Each of the 36 pairs is allowed or refused as `eagerly.runs.TRANSITIONS` says; a refusal changes nothing."""
        store = self.make_store()
        for current, wanted in itertools.product(RunStatus, RunStatus):
            run = run_at(store, current)
            [outcome] = store.write([Change(run.id, now(), wanted)])
            found = store.get(run.id)
            if wanted in TRANSITIONS[current]:
                equal((found or run).status, wanted, f"a run that was {current}")
            else:
                check(isinstance(outcome, InvalidTransition), f"{current} -> {wanted} gave {outcome!r}")
                equal(found, run, f"a {current} run after it was refused to become {wanted}")
                told = getattr(outcome, "current", ""), getattr(outcome, "wanted", "")
                equal(told, (current, wanted), "what the refusal names")

    def test_times_and_progress_follow_the_status(self) -> None:
        """Each status has its time, a second start does not move the first, and a completed run is at 1.0."""
        store = self.make_store()
        run = new_record(at=1)
        store.write([run])
        stamps = ((RUNNING, 2), (PAUSED, 3), (RUNNING, 4), (COMPLETED, 5))
        for status, at in stamps:
            store.write([Change(run.id, at, status)])
        found = got(store, run.id)
        times = (found.created_at, found.started_at, found.paused_at, found.completed_at, found.updated_at)
        equal(times, (1, 2, 3, 5, 5), "created, started, paused, completed, updated")
        equal((found.progress, found.failed_at, found.cancelled_at), (1.0, None, None), "progress, failed, cancelled")

    def test_a_final_run_is_immutable(self) -> None:
        """Neither status, progress, message nor output of an ended run changes, and asking it to stop does nothing."""
        store = self.make_store()
        for status in FINAL:
            run = run_at(store, status, output="first")
            refused: list[Write] = [
                *(Change(run.id, now(), None, {name: value}) for name, value in (("progress", 0.5), ("message", "x"))),
                *(Change(run.id, now(), None, output=encode("second")), Change(run.id, now(), FAILED)),
            ]
            for outcome in store.write(refused):
                check(isinstance(outcome, InvalidTransition), f"a {status} run was changed: {outcome!r}")
            [moved] = all_moved(store.write([Change(run.id, now(), stop=True)]))
            equal(moved.before, moved.after, "what stop does to a run that has ended")
            equal(store.get(run.id), run, f"a {status} run")
            output = store.output(run.id)
            equal(None if output is None else output.data, b'"first"', "its output")

    def test_a_refusal_stops_nothing_else_of_a_batch(self) -> None:
        """The outcomes stand at the places of what was asked for, and what can be done is done."""
        store = self.make_store()
        run, other = run_at(store, RUNNING), new_record()
        outcomes = store.write(
            [
                Change(run.id, now(), PENDING),
                other,
                Change("run_nosuch", now(), RUNNING),
                Change(run.id, now(), None, {"step": 3, "steps": 2}),
                Change(other.id, now(), RUNNING),
            ]
        )
        kinds = [type(each) for each in outcomes]
        equal(kinds[:3], [InvalidTransition, Moved, RunNotFound], "the first three outcomes")
        check(isinstance(outcomes[3], ValueError), f"step 3 of 2 gave {outcomes[3]!r}")
        equal(got(store, other.id).status, RUNNING, "a run that was added and started in the batch")

    def test_a_change_may_depend_on_owner_and_status(self) -> None:
        """`owner` and `sources` are compared in the transaction that sets: of eight who take a run, one gets it."""
        store = self.make_store()
        run = new_record()
        store.write([run])
        names = [f"owner {number}" for number in range(8)]
        winners: list[str] = []

        def take(name: str) -> None:
            change = Change(run.id, now(), RUNNING, {"owner": name, "attempt": 1}, sources=(PENDING,))
            if isinstance(store.write([change])[0], Moved):
                winners.append(name)

        in_threads(take, names)
        equal(len(winners), 1, "how many got the run")
        loser = next(name for name in names if name not in winners)
        [outcome] = store.write([Change(run.id, now(), COMPLETED, owner=loser)])
        check(isinstance(outcome, InvalidTransition), f"somebody else has completed the run: {outcome!r}")
        equal(got(store, run.id).owner, winners[0], "the owner")

    def test_a_stop_request(self) -> None:
        """A pending run is cancelled; one that runs is marked, and what it then returns can make it cancelled."""
        store = self.make_store()
        pending, running, other = run_at(store, PENDING), run_at(store, RUNNING), run_at(store, RUNNING)
        store.write([Change(each.id, 7, stop=True) for each in (pending, running)])
        found = got(store, pending.id)
        equal((found.status, found.stop_requested_at), (CANCELLED, 7), "a pending run that was stopped")
        found = got(store, running.id)
        equal((found.status, found.stop_requested_at), (RUNNING, 7), "a running run that was stopped")
        ends = [Change(each.id, now(), COMPLETED, heed_stop=True, output=encode(1)) for each in (running, other)]
        store.write(ends)
        statuses = [got(store, each.id).status for each in (running, other)]
        equal(statuses, [CANCELLED, COMPLETED], "what has returned after and without a request to stop")
        check(store.output(running.id) is not None, "the output of a stopped run is gone")

    def test_a_change_reaches_live_descendants(self) -> None:
        """`family` is done to each live run below, also below ended ones, and to nothing beside or above."""
        store = self.make_store()
        root = run_at(store, RUNNING)
        ended = run_at(store, COMPLETED, parent=root)
        below, child = run_at(store, RUNNING, parent=ended), run_at(store, PENDING, parent=root)
        beside = run_at(store, RUNNING)
        change = Change(root.id, now(), CANCELLED, {"cancel_reason": "enough"})
        [moved] = all_moved(store.write([change._replace(family=Change("", now(), CANCELLED))]))
        equal({each.after.id for each in moved.family}, {below.id, child.id}, "the descendants that it tells of")
        statuses = [got(store, each.id).status for each in (root, ended, below, child, beside)]
        equal(statuses, [CANCELLED, COMPLETED, CANCELLED, CANCELLED, RUNNING], "root, ended, below, child, beside")

    def test_of_two_endings_one_wins(self) -> None:
        """500 times, one thread completes and another cancels: one of them is refused, and the record agrees."""
        store = self.make_store()
        other = self.make_store() if self.shared else store
        runs = [run_at(store, RUNNING) for _ in range(250)]
        won: dict[str, list[RunStatus]] = {run.id: [] for run in runs}

        def end(what: tuple[RunStore, RunStatus]) -> None:
            for run in runs:
                output = encode("done") if what[1] is COMPLETED else None
                if isinstance(what[0].write([Change(run.id, now(), what[1], output=output)])[0], Moved):
                    won[run.id].append(what[1])

        in_threads(end, [(store, COMPLETED), (other, CANCELLED)])
        for run in runs:
            found = got(store, run.id)
            equal(won[run.id], [found.status], f"who has ended run {run.id}")
            equal(store.output(run.id) is not None, found.status is COMPLETED, "whether it has an output")
