"""`SqlRunStore`: what stores in a database have in common, which is nearly everything.

A subclass says how a transaction is made, where large outputs go, and who has ended. Every change of a row is made by
`_move`, under a lock on that row, as `changed` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Any, Final, Protocol, TypeVar

from eagerly.errors import EagerlyError, RunNotFound
from eagerly.runs._change import Change, Moved, changed
from eagerly.runs._payload import Payload
from eagerly.runs._protocol import Outcome, Write
from eagerly.runs._query import Query
from eagerly.runs._record import RunRecord, now
from eagerly.runs._recovery import lost, report
from eagerly.runs._rows import INSERT, TAG, insertion, marks, record_of, row_value, select, select_count
from eagerly.runs._schema import COLUMNS, IS_LIVE
from eagerly.runs._waiters import Probe, Tell, Waiters

__all__ = ["Sql", "SqlRunStore"]

T = TypeVar("T")

_CHUNK: Final = 500
"""Rows that one statement names, and trees that one transaction removes, so that others can write in between."""

_FAMILY: Final = (
    "WITH RECURSIVE family(id) AS (SELECT id FROM runs WHERE parent_id = ?"
    " UNION SELECT runs.id FROM runs JOIN family ON runs.parent_id = family.id)"
    f" SELECT {COLUMNS} FROM runs WHERE id IN (SELECT id FROM family) AND {IS_LIVE} ORDER BY seq"
)
_PRUNABLE: Final = (
    f"parent_id IS NULL AND NOT {IS_LIVE}"
    f" AND NOT EXISTS (SELECT 1 FROM runs AS other WHERE other.root_id = runs.id AND other.{IS_LIVE})"
)


class Sql(Protocol):
    """A connection in the middle of a transaction."""

    def execute(self, statement: str, parameters: Sequence[Any] = (), /) -> Any:
        """Run one statement; what it returns has ``fetchone``, ``fetchall`` and ``rowcount``."""
        ...

    def executemany(self, statement: str, parameters: Iterable[Sequence[Any]], /) -> Any:
        """Run one statement for each of several lists of parameters."""
        ...


class SqlRunStore:
    """Base of the stores that are databases."""

    place: str
    blocking = True
    trusted: bool
    _waiters: Waiters
    # What makes SELECT lock the rows it finds, where a transaction does not lock everything. The second one also waits
    # for those who add a run below, and they for it.
    _for_update = ""
    _for_tree = ""

    # What a subclass says

    def _read(self, work: Callable[[Sql], T]) -> T:
        """What `work` gives in a transaction that only reads."""
        raise NotImplementedError

    def _write(self, work: Callable[[Sql], T]) -> T:
        """What `work` gives in a transaction that writes, all of it or nothing. It may be called again."""
        raise NotImplementedError

    def _stage(self, payload: Payload) -> Any:
        """Make ready, outside of the transaction, to keep an output that is too large for its row."""
        raise NotImplementedError

    def _keep(self, sql: Sql, staged: Any) -> None:
        """Keep, inside of the transaction, what `_stage` has made ready."""
        raise NotImplementedError

    def _unstage(self, staged: Any) -> None:
        """Remove what `_stage` has made and nobody has kept."""

    def _load(self, blob: str, run_id: str) -> bytes:
        """A large output, verified."""
        raise NotImplementedError

    def _sweep(self) -> None:
        """Remove large outputs that no run has."""
        raise NotImplementedError

    def _hold(self, sql: Sql, records: Iterable[RunRecord]) -> None:
        """Before these are added: what they belong to is neither cancelled nor removed until they are there."""

    def _told(self, sql: Sql, records: Iterable[RunRecord]) -> None:
        """Inside of the transaction that has changed these: say so to other processes that would not notice."""

    def _dead(self, owners: Sequence[str]) -> list[str]:
        """Those of the owners that have ended."""
        raise NotImplementedError

    def _bury(self, owner: str) -> None:
        """Forget an owner that has ended."""
        raise NotImplementedError

    def open_probe(self) -> Probe:
        """What notices that another process has written."""
        raise NotImplementedError

    # What follows

    def write(self, batch: Sequence[Write], /) -> list[Outcome]:
        """Add records and make changes, in order and in one transaction, and wake who waits for them."""
        large = [each.output for each in batch if isinstance(each, Change) and each.output and each.output.blob]
        staged = {payload.blob: self._stage(payload) for payload in large}
        try:
            outcomes = self._write(lambda sql: self._apply(sql, batch, staged))
        finally:
            for each in staged.values():
                self._unstage(each)
        self._waiters.wake(_moved(outcomes))
        return outcomes

    def _apply(self, sql: Sql, batch: Sequence[Write], staged: dict[str | None, Any]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for plain, group in groupby(batch, _is_plain):
            if plain:  # records that nothing needs to be asked about go in together
                records = [each for each in group if isinstance(each, RunRecord)]
                self._hold(sql, records)
                self._insert(sql, records)
                self._tag(sql, records)
                outcomes += [Moved(None, record) for record in records]
                continue
            for each in group:
                if isinstance(each, RunRecord):
                    outcomes.append(self._add(sql, each))
                else:
                    outcomes.append(self._change(sql, each, staged))
        self._told(sql, _moved(outcomes))
        return outcomes

    def _insert(self, sql: Sql, records: Sequence[RunRecord]) -> None:
        sql.executemany(INSERT, map(insertion, records))

    def _add(self, sql: Sql, record: RunRecord) -> Moved:
        self._hold(sql, [record])
        if sql.execute(INSERT, insertion(record)).rowcount:
            self._tag(sql, [record])
            return Moved(None, record)
        row = sql.execute(f"SELECT {COLUMNS} FROM runs WHERE idempotency_key = ?", (record.idempotency_key,)).fetchone()
        existing = record_of(row)
        return Moved(existing, existing)

    def _tag(self, sql: Sql, records: Sequence[RunRecord]) -> None:
        tags = [(tag, record.id) for record in records for tag in record.tags]
        if tags:
            sql.executemany(TAG, tags)

    def _change(self, sql: Sql, change: Change, staged: dict[str | None, Any]) -> Outcome:
        lock = self._for_update if change.family is None else self._for_tree
        row = sql.execute(f"SELECT {COLUMNS} FROM runs WHERE id = ?{lock}", (change.run_id,)).fetchone()
        if row is None:
            return RunNotFound(f"there is no run {change.run_id!r} in {self.place}", run_id=change.run_id)
        try:
            moved = self._move(sql, record_of(row), change)
        except EagerlyError as refusal:
            return refusal
        if change.output is not None and change.output.blob is not None:
            self._keep(sql, staged[change.output.blob])
        if change.family is None:
            return moved
        return moved._replace(family=self._change_family(sql, change.run_id, change.family))

    def _change_family(self, sql: Sql, run_id: str, change: Change) -> tuple[Moved, ...]:
        """Change the live descendants, also those that were added while their parents were being locked."""
        done: dict[str, Moved] = {}
        while True:
            live = map(record_of, sql.execute(_FAMILY + self._for_tree, (run_id,)).fetchall())
            fresh = [each for each in live if each.id not in done]
            done |= {each.id: self._move(sql, each, change) for each in fresh}
            if not fresh or not self._for_tree:
                return tuple(done.values())

    def _move(self, sql: Sql, before: RunRecord, change: Change) -> Moved:
        """The one place where a run changes. Its row is locked."""
        after = changed(before, change)
        if after is before:
            return Moved(before, before)
        pairs = zip(RunRecord._fields, before, after, strict=True)
        new: dict[str, Any] = {name: row_value(name, value) for name, old, value in pairs if value != old}
        if change.output is not None:
            new["output"] = change.output.data if change.output.blob is None else None
        if change.pickled_error is not None:
            new["pickled_error"] = change.pickled_error
        if new:
            columns = ", ".join(f"{name} = ?" for name in new)
            values = [*new.values(), before.seq, str(before.status)]
            sql.execute(f"UPDATE runs SET {columns} WHERE seq = ? AND status = ?", values)
        return Moved(before, after)

    def get(self, run_id: str, /) -> RunRecord | None:
        """The run, or None."""
        return next(iter(self.records([run_id])), None)

    def records(self, run_ids: Sequence[str], /) -> list[RunRecord]:
        """Those of the runs that there are, in no order."""

        def work(sql: Sql) -> list[RunRecord]:
            found: list[RunRecord] = []
            for start in range(0, len(run_ids), _CHUNK):
                part = run_ids[start : start + _CHUNK]
                found += map(record_of, sql.execute(f"SELECT {COLUMNS} FROM runs WHERE id IN ({marks(part)})", part))
            return found

        return self._read(work)

    def ids(self, prefix: str, limit: int, /) -> list[str]:
        """Ids that begin like this, in their order, at most `limit`."""
        statement = "SELECT id FROM runs WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
        beyond = f"{prefix}\U0010ffff"
        return self._read(lambda sql: [row[0] for row in sql.execute(statement, (prefix, beyond, limit))])

    def find(self, query: Query, /) -> list[RunRecord]:
        """A page of runs."""
        if query.impossible:
            return []
        return self._read(lambda sql: [record_of(row) for row in sql.execute(*select(query))])

    def count(self, query: Query, /) -> int:
        """How many runs match, on all pages."""
        return 0 if query.impossible else self._read(lambda sql: int(sql.execute(*select_count(query)).fetchone()[0]))

    def output(self, run_id: str, /) -> Payload | None:
        """The output of a run; None if there is none, or no such run.

        Raises:
            OutputMissing: It was too large for the row, and where it was kept it is no more.
            OutputCorrupt: It is not what was written.
        """
        statement = "SELECT output_form, output, output_blob FROM runs WHERE id = ?"
        row = self._read(lambda sql: sql.execute(statement, (run_id,)).fetchone())
        if row is None or row[0] is None:
            return None
        form, data, blob = row
        return Payload(form, bytes(data) if blob is None else self._load(blob, run_id), blob)

    def pickled_error(self, run_id: str, /) -> bytes | None:
        """The exception of a failed run as it was written, or None."""
        statement = "SELECT pickled_error FROM runs WHERE id = ?"
        row = self._read(lambda sql: sql.execute(statement, (run_id,)).fetchone())
        return None if row is None or row[0] is None else bytes(row[0])

    def prune(self, *, before: int | None, keep: int | None) -> int:
        """Remove trees of runs that have all ended, with the outputs that no other run has; how many runs."""
        removed = 0
        bound = self._read(lambda sql: _bound(sql, before, keep))
        while bound is not None:
            count = self._write(lambda sql: self._remove_some(sql, *bound))
            if count is None:
                break
            removed += count
        self._sweep()
        return removed

    def _remove_some(self, sql: Sql, condition: str, values: list[Any]) -> int | None:
        """Remove a few trees; how many runs, or None if there is no such tree."""
        some = f"SELECT id FROM runs WHERE {condition} ORDER BY seq LIMIT ?{self._for_tree}"
        found = [row[0] for row in sql.execute(some, [*values, _CHUNK]).fetchall()]
        if not found:
            return None
        # Once more, now that they are locked: somebody may have added a run to one of them just before.
        still = f"SELECT id FROM runs WHERE id IN ({marks(found)}) AND {condition}"
        roots = [row[0] for row in sql.execute(still, [*found, *values]).fetchall()]
        if not roots:
            return 0
        tree = f"root_id IN ({marks(roots)})"
        sql.execute(f"DELETE FROM run_tags WHERE seq IN (SELECT seq FROM runs WHERE {tree})", roots)
        return int(sql.execute(f"DELETE FROM runs WHERE {tree}", roots).rowcount)

    def recover(self) -> list[RunRecord]:
        """Make runs whose owners have ended failed, and return those that nobody has made failed before."""
        statement = f"SELECT DISTINCT owner FROM runs WHERE owner IS NOT NULL AND {IS_LIVE}"
        owners = self._read(lambda sql: [row[0] for row in sql.execute(statement)])
        found: list[RunRecord] = []
        for owner in self._dead(owners) if owners else ():
            gone = self._write(partial(self._bury_runs, owner))
            self._bury(owner)
            self._waiters.wake(gone)
            found += gone
        report(found, self.place)
        return found

    def _bury_runs(self, owner: str, sql: Sql) -> list[RunRecord]:
        statement = f"SELECT {COLUMNS} FROM runs WHERE owner = ? AND {IS_LIVE} ORDER BY seq{self._for_update}"
        rows = sql.execute(statement, (owner,)).fetchall()
        gone = [self._move(sql, record, lost(record, now())).after for record in map(record_of, rows)]
        self._told(sql, gone)
        return gone

    def watch(self, run_id: str, tell: Tell, /) -> Callable[[], None]:
        """Call `tell` with the run soon, and again whenever it may have changed, from any thread."""
        return self._waiters.watch(self, run_id, tell)

    def alarm(self, run_id: str, error: EagerlyError) -> None:
        """Tell those in this process who wait for a run that what became of it cannot be written."""
        self._waiters.alarm(run_id, error)


def _is_plain(write: Write) -> bool:
    return isinstance(write, RunRecord) and write.idempotency_key is None


def _moved(outcomes: Iterable[Outcome]) -> Iterator[RunRecord]:
    """The runs that were changed, and not only added: nobody can have waited for those."""
    for outcome in outcomes:
        if isinstance(outcome, Moved):
            if outcome.before is not None and outcome.before is not outcome.after:
                yield outcome.after
            yield from _moved(outcome.family)


def _bound(sql: Sql, before: int | None, keep: int | None) -> tuple[str, list[Any]] | None:
    """What a root must be like to be removed, or None if none is to be."""
    conditions, values = [_PRUNABLE], list[Any]()
    if keep:
        statement = f"SELECT created_at, seq FROM runs WHERE {_PRUNABLE} ORDER BY created_at DESC, seq DESC"
        last = sql.execute(f"{statement} LIMIT 1 OFFSET ?", (keep - 1,)).fetchone()
        if last is None:
            return None  # there are no more than that
        conditions.append("(created_at, seq) < (?, ?)")
        values += last
    if before is not None:
        conditions.append("updated_at < ?")
        values.append(before)
    return " AND ".join(conditions), values
