"""`RunRow`: the record of a run that this process executes: added to the store, and followed from then on.

Its status is the one in the store. It becomes another by a compare-and-set there and in no other way.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from eagerly._once import Once, nothing
from eagerly._run_voice import RunVoice
from eagerly.errors import EagerlyError, RunsError
from eagerly.runs._change import Change, Moved
from eagerly.runs._live import UNWRITTEN
from eagerly.runs._passing import write_patiently
from eagerly.runs._record import RunRecord, now
from eagerly.runs._status import RunStatus

if TYPE_CHECKING:
    from eagerly._item import MapScope
    from eagerly._run_host import RunHost
    from eagerly._task import Task

__all__ = ["YOUNG", "RunRow"]

YOUNG: Final = 0.02
"""Seconds for which nobody looks whether another process wants something of a run: most have ended by then."""


class RunRow(RunVoice, ABC):
    """A run, as the store has it.

    Args:
        host: Who executes the runs of the store.
        task: What is called.
        record: As it is to be written.
        scope: Where the call is made.

    Attributes:
        record: What is known of it.
        error: What its body has raised, or None.
        over: It has ended, as the store says.
        gone: Its code has ended.
    """

    def __init__(self, host: RunHost, task: Task[..., Any], record: RunRecord, scope: MapScope) -> None:
        super().__init__(host, task, record, scope)
        self.error: BaseException | None = None
        self.over = Once()
        self.gone = Once()
        self._written = Once()
        self._refused: BaseException | None = None
        self._unwatch: Callable[[], object] | None = None
        self._ending = False

    # Making it

    def write_now(self) -> None:
        """Add the record.

        Raises:
            RunsError: The store cannot.
        """
        try:
            record = self.record._replace(owner=self.store.owner())
            [outcome] = write_patiently(self.store, [record])
            self._added(outcome)
            if self._refused is not None:
                raise self._refused
            self._heed_parent()
        except BaseException as error:
            self._give_up(error)
            raise
        self._written.happen()

    def write_soon(self, then: Callable[[], object], *, begin: bool = False) -> None:
        """Have the clerk add the record, and call `then`; with `begin` the run begins in the same transaction."""

        def make() -> Sequence[RunRecord | Change]:
            record = self.record._replace(owner=self.store.owner())
            self.record = record
            return [record, self._beginning()] if begin else [record]

        def done(outcomes: list[Any]) -> None:
            self._added(outcomes[0])
            if self._refused is not None:
                self._give_up(self._refused)
                return
            try:
                if begin:
                    self._begun(outcomes[1:])
                self._heed_parent()
            except RunsError as error:  # the record is there, and what others do to it is heard of later
                logging.getLogger("eagerly.runs").warning("run %s could not be looked at: %s", self.id, error)
            then()  # first, so that who waits for it finds it where it waits
            self._written.happen()

        UNWRITTEN.add(self)  # type: ignore[arg-type]  # a Live, once it is registered
        self._written.when(partial(UNWRITTEN.discard, self))
        self.host.clerk.write(make, done)

    def _added(self, outcome: Any) -> None:
        if isinstance(outcome, Moved):
            with self._lock:
                if self.record.updated_at <= outcome.after.updated_at:  # else somebody has changed it already
                    self.record = outcome.after
            self.host.tell(self.scope, outcome.after, None)
        else:
            self._refused = outcome

    def _heed_parent(self) -> None:
        """A parent that is asked to stop tells its children in one transaction. One that is added after it sees it."""
        if self.record.parent_id is None:
            return
        parent = self.store.get(self.record.parent_id)
        if parent is not None and (parent.stop_requested_at or parent.status is RunStatus.CANCELLED):
            self._noted(self.store.write([Change(self.id, now(), stop=True)]))
            self.heard(self.record)

    def _give_up(self, error: BaseException) -> None:
        """It has no record, so it does not run."""
        self._refused = error
        self._written.happen()
        self._settle()

    # What becomes of it

    def _noted(self, outcomes: Sequence[Any]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Moved):
                self._note(outcome.after)
            elif type(outcome) is RunsError:  # no refusal: the store has no room, or is in trouble
                logging.getLogger("eagerly.runs").error("what run %s says could not be written: %s", self.id, outcome)

    def _look(self) -> None:
        """Somebody else has changed it."""
        record = self.store.get(self.id)
        if record is not None:
            self._note(record)

    def _note(self, record: RunRecord) -> None:
        with self._lock:
            before = self.record
            if before.status.final or record.updated_at < before.updated_at:
                return
            self.record = record
        if record.status is not before.status:
            self.host.tell(self.scope, record, before.status)
        if record.status.final:
            self.over.happen()

    def _watch(self) -> None:
        """Listen to what others do to it."""
        with self._lock:
            if self.gone or self._unwatch is not None:
                return
            self._unwatch = nothing
        unwatch = self.store.watch(self.id, self._tell)
        with self._lock:
            if not self.gone:
                self._unwatch = unwatch
                return
        unwatch()

    def _tell(self, news: RunRecord | EagerlyError | None) -> bool:
        if isinstance(news, RunRecord):
            self.heard(news)
            return news.status.final
        return news is None

    def heard(self, record: RunRecord) -> None:
        """Somebody has changed it, or asks something of it."""
        self._note(record)
        if record.status.final:
            if not self._ending:  # else it is what this process has just written itself
                self._sign_off()
        elif record.stop_requested_at is not None:
            self._ask()

    def _beginning(self) -> Change:
        return Change(
            self.id,
            now(),
            RunStatus.RUNNING,
            {"attempt": 1},
            sources=(RunStatus.PENDING,),
            owner=self.store.owner(),
        )

    def _begun(self, outcomes: Sequence[Any]) -> bool:
        """What the store has made of that; whether it may run."""
        self._noted(outcomes)
        if not isinstance(outcomes[-1], Moved):
            self._look()
            if self.record.status is not RunStatus.RUNNING:  # else an attempt to write that was cut off was carried out
                return False
        if self.store.blocking:
            self.host.clerk.do_later(YOUNG, self._watch)
        else:
            self._watch()
        return True

    @abstractmethod
    def _ask(self) -> None:
        """Its body is to end by itself."""

    @abstractmethod
    def _sign_off(self) -> None:
        """What its body gives does not matter any more."""

    @abstractmethod
    def _settle(self) -> None:
        """Its code has ended, or never began."""
