"""`MemoryRunStore`: runs of this process, gone when it ends."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

from eagerly._forks import hold_while_forking
from eagerly._numbers import count
from eagerly.errors import EagerlyError, RunNotFound
from eagerly.runs._change import Change, Moved, changed
from eagerly.runs._payload import Payload
from eagerly.runs._protocol import Outcome, Write
from eagerly.runs._query import Query, matches, order_key
from eagerly.runs._record import RunRecord, new_id
from eagerly.runs._waiters import Tell, Waiters

__all__ = ["PROCESS", "MemoryRunStore"]


class _Extra(NamedTuple):
    """What a run has beside its record."""

    output: Payload | None = None
    pickled_error: bytes | None = None


class MemoryRunStore:
    """A `RunStore` in the memory of this process: for tests, and for who does not need the runs of yesterday.

    Args:
        keep: How many runs that have ended stay. The trees of those that began first go first.
        place: What it is called.

    Attributes:
        blocking: False.
        trusted: True.
        keeps_objects: True: what a submitted task returns is kept as it is, and not as JSON.

    Example:
        >>> from eagerly import runs, session
        >>> from eagerly.runs import MemoryRunStore
        >>> with session(run_store=MemoryRunStore()):
        ...     run = runs.create("import", {"file": "a.csv"})
        ...     runs.update(run, status="running", progress=0.5).percentage
        50.0
    """

    blocking = False
    trusted = True
    keeps_objects = True

    def __init__(self, *, keep: int = 10_000, place: str = "memory://") -> None:
        self.place = place
        self.keep = count("MemoryRunStore(keep=...)", keep)
        self._begin()
        _stores.add(self)

    def __repr__(self) -> str:
        return f"MemoryRunStore({len(self._records)} runs)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError(
            "a MemoryRunStore is in the memory of one process, and cannot be sent to another; use a path:"
            " session(run_store='runs.db')"
        )

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._records: dict[str, RunRecord] = {}
        self._extras: dict[str, _Extra] = {}
        self._children: dict[str, list[str]] = {}
        self._keys: dict[str, str] = {}
        self._last = 0
        self._bound = 2 * self.keep + 100  # records; when there are more, those that have ended are looked for
        self._owner = (0, "")
        self._waiters = Waiters()

    def write(self, batch: Sequence[Write], /) -> list[Outcome]:
        """Add records and make changes, in order, and wake who waits for them."""
        with self._lock:
            outcomes = [self._add(each) if isinstance(each, RunRecord) else self._change(each) for each in batch]
            if len(self._records) > self._bound:
                self.prune(before=None, keep=self.keep)
                # Half as many more than stay, or each write would go through all of a large tree that lives.
                self._bound = max(2 * self.keep + 100, len(self._records) * 3 // 2)
        for outcome in outcomes:
            if isinstance(outcome, Moved):
                self._waiters.wake(each.after for each in (outcome, *outcome.family))
        return outcomes

    def _add(self, record: RunRecord) -> Moved:
        key = record.idempotency_key
        if key is not None:
            if key in self._keys:
                existing = self._records[self._keys[key]]
                return Moved(existing, existing)
            self._keys[key] = record.id
        self._last += 1
        record = record._replace(seq=self._last)
        self._records[record.id] = record
        if record.parent_id is not None:
            self._children.setdefault(record.parent_id, []).append(record.id)
        return Moved(None, record)

    def _change(self, change: Change) -> Outcome:
        before = self._records.get(change.run_id)
        if before is None:
            return RunNotFound(f"there is no run {change.run_id!r} in {self.place}", run_id=change.run_id)
        try:
            after = changed(before, change)
        except EagerlyError as refusal:
            return refusal
        if after is not before and (change.output is not None or change.pickled_error is not None):
            extra = self._extras.get(before.id, _Extra())
            output = extra.output if change.output is None else change.output
            self._extras[before.id] = _Extra(output, change.pickled_error)
        self._records[before.id] = after  # last: who looks waits for no lock, and reads the output of what has ended
        family = () if change.family is None else tuple(self._change_family(before.id, change.family))
        return Moved(before, after, family)

    def _change_family(self, run_id: str, change: Change) -> Iterator[Moved]:
        for child in self._children.get(run_id, ()):
            if not self._records[child].status.final:
                moved = self._change(change._replace(run_id=child, family=None))
                if isinstance(moved, Moved):
                    yield moved
            yield from self._change_family(child, change)

    def get(self, run_id: str, /) -> RunRecord | None:
        """The run, or None."""
        return self._records.get(run_id)

    def ids(self, prefix: str, limit: int, /) -> list[str]:
        """Ids that begin like this, in their order, at most `limit`."""
        with self._lock:
            return sorted(run_id for run_id in self._records if run_id.startswith(prefix))[:limit]

    def find(self, query: Query, /) -> list[RunRecord]:
        """A page of runs."""
        keyed = sorted(
            ((order_key(query, record), record) for record in self._matching(query)),
            key=itemgetter(0),
            reverse=query.descending,
        )
        if query.after is not None:
            after = query.after
            keyed = [each for each in keyed if (each[0] < after if query.descending else each[0] > after)]
        return [record for _, record in keyed[query.offset : query.offset + query.limit]]

    def count(self, query: Query, /) -> int:
        """How many runs match, on all pages."""
        return len(self._matching(query))

    def _matching(self, query: Query) -> list[RunRecord]:
        with self._lock:
            return [record for record in self._records.values() if matches(query, record)]

    def output(self, run_id: str, /) -> Payload | None:
        """The output of a run; None if there is none."""
        return self._extras.get(run_id, _Extra()).output

    def pickled_error(self, run_id: str, /) -> bytes | None:
        """The exception of a failed run as it was written, or None."""
        return self._extras.get(run_id, _Extra()).pickled_error

    def prune(self, *, before: int | None, keep: int | None) -> int:
        """Remove trees of runs that have all ended; how many runs."""
        with self._lock:
            live = {record.root_id for record in self._records.values() if not record.status.final}
            roots = [each for each in self._records.values() if each.id == each.root_id and each.id not in live]
            if keep is not None:
                roots.sort(key=lambda root: (root.created_at, root.seq), reverse=True)
                roots = roots[keep:]
            doomed = {root.id for root in roots if before is None or root.updated_at < before}
            gone = [record for record in self._records.values() if record.root_id in doomed]
            for record in gone:
                del self._records[record.id]
                self._extras.pop(record.id, None)
                self._children.pop(record.id, None)
                if record.idempotency_key is not None:
                    del self._keys[record.idempotency_key]
            return len(gone)

    def owner(self) -> str:
        """The id of this process as an owner of runs."""
        if self._owner[0] != os.getpid():
            self._owner = os.getpid(), new_id("own")
        return self._owner[1]

    def recover(self) -> list[RunRecord]:
        """Nothing: the runs end with the process that owns them."""
        return []

    def watch(self, run_id: str, tell: Tell, /) -> Callable[[], None]:
        """Call `tell` with the run at once, and again whenever it has changed."""
        end = self._waiters.add(run_id, tell)
        if tell(self._records.get(run_id)):
            end()
        return end

    def close(self) -> None:
        """There is nothing to let go of."""


_stores: weakref.WeakSet[MemoryRunStore] = weakref.WeakSet()

PROCESS: Final = MemoryRunStore()
"""Where the runs of this process are that nobody keeps."""


def _locks() -> list[Any]:
    return [store._lock for store in list(_stores)]


def _new_locks() -> None:
    for store in list(_stores):
        store._lock = threading.RLock()


hold_while_forking(_locks, _new_locks)  # the child is to find whole records
