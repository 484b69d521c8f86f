"""`LiveRun`: a run that this process executes. Its body talks to it, the engine works on it, its handles ask it.

Its status is the one in the store. It becomes another by a compare-and-set there and in no other way, so whoever loses
that race has lost it: a run that was cancelled meanwhile never begins, and what it returns afterwards is thrown away.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from eagerly._item import ItemScope
from eagerly._once import Once
from eagerly._run_body import run_body, run_body_on_loop
from eagerly._run_ending import completed, failed, payload_of
from eagerly._run_port import run_around
from eagerly._run_row import RunRow
from eagerly._scope import here
from eagerly._steps import Until
from eagerly._threads import Job, start_on_helper
from eagerly.errors import InvalidTransition, OutputNotSerializable, RunNotFound, RunsError
from eagerly.runs._actions import cancel_run
from eagerly.runs._change import Change, Moved
from eagerly.runs._live import LIVE
from eagerly.runs._passing import write_patiently
from eagerly.runs._payload import OBJECT
from eagerly.runs._record import RunRecord
from eagerly.runs._status import RunStatus

if TYPE_CHECKING:
    from eagerly._item import MapScope
    from eagerly._lane import Lane
    from eagerly._run_host import RunHost
    from eagerly._run_items import RunItems
    from eagerly._task import Task
    from eagerly.backends._protocol import Crash, Message
    from eagerly.runs._payload import Payload

__all__ = ["LiveRun"]

KEPT: Final = 4096
"""Bytes of an output that are kept for the handles, so that they need not look into the store."""

BRIEFLY: Final = 0.05
"""Seconds for which who waits for a run waits here, before it has the store watched."""


class LiveRun(RunRow):
    """A run that this process executes.

    Args:
        host: Who executes the runs of the store.
        task: What is called.
        args: The arguments.
        kwargs: Those by name.
        record: As it is to be written.
        scope: Where the call is made.
        context: The context variables that it sees.
        lane: Where it waits for its engine; None: it runs in an asyncio task, or at once.

    Attributes:
        record: What is known of it.
        error: What its body has raised, or None.
        kept: What it has given at its end, if that is small; else None.
        interrupted: The Ctrl-C that came while its body ran in the thread of its caller.
        loop: The event loop that it runs on, or None.
        over: It has ended, as the store says.
        gone: Its code has ended.
    """

    size = 1

    def __init__(
        self,
        host: RunHost,
        task: Task[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        record: RunRecord,
        scope: MapScope,
        context: contextvars.Context,
        lane: Lane | None,
    ) -> None:
        super().__init__(host, task, record, scope)
        self.lane = lane
        self.called: tuple[tuple[Any, ...], dict[str, Any]] = args, kwargs
        self._context = context
        self.kept: Payload | None = None
        self.trouble: RunsError | None = None
        self._ends: list[Change] | None = None  # what is to be written
        self.interrupted: BaseException | None = None
        self.loop: Any = None
        scope.run = self

    def __repr__(self) -> str:
        return f"<{self.id} of task {self.task.name!r}: {self.record.status}>"

    def register(self) -> None:
        """It is about to be made: from now on its handles find it, and leaving the interpreter ends it."""
        LIVE[self.id] = self
        self.host.live.add(self)

    # Beginning and ending

    def start(self) -> None:
        """The engine has room for it. Called by its lane; does not block."""
        assert self.lane is not None
        try:
            self.lane.engine.submit(self)
        except Exception as error:
            self.host.clerk.do(partial(self._never_began, error))

    def run(self) -> None:
        """Execute it in this thread. Raises nothing."""
        try:
            if self.begin():
                self._end(*self._execute())
        except BaseException as error:  # the store is in trouble, or Ctrl-C has come between body and end
            if isinstance(error, KeyboardInterrupt):
                self.interrupted = error
            self._report(error)
        finally:
            self._settle()

    async def run_on_loop(self) -> None:
        """Execute it on the event loop that runs here, once the clerk has noted that it begins."""
        outcome: tuple[Any, BaseException | None] | None = None
        try:
            await Until(self._written.when).do_async()
            if self._refused is not None:
                return
            if self.record.status is RunStatus.RUNNING:  # else it was cancelled before it could begin
                item = ItemScope(self.scope, 0)
                try:
                    outcome = await run_body_on_loop(self.task, item, self, *self.called), None
                except BaseException as error:
                    outcome = None, error
        except BaseException as error:
            outcome = None, error
        over = Once()

        def end() -> None:
            if outcome is not None:
                self._end_or_report(*outcome)
            self._settle()
            over.happen()

        self.host.clerk.do(end)
        await Until(over.when).do_async()

    def begin(self) -> bool:
        """Whether it may run: not if it has ended meanwhile."""
        return self._begun(write_patiently(self.store, [self._beginning()]))

    def _execute(self) -> tuple[Any, BaseException | None]:
        try:
            return self._context.run(run_body, self.task, ItemScope(self.scope, 0), self, *self.called), None
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                self.interrupted = error
            return None, error

    def _end(self, value: Any, error: BaseException | None, text: str = "") -> None:
        """Its body has ended. Whether that counts the store decides."""
        self._ending = True
        owner = self.store.owner()
        ending: Change | None = None
        if error is None:
            try:
                ending = completed(self.id, owner, self._payload(value))
            except OutputNotSerializable as refusal:
                refusal.run_id = self.id
                error = refusal
            except Exception as trouble:  # of the value's own methods
                error = trouble
        if ending is None:
            assert error is not None
            self.error = error
            ending = failed(self.id, owner, error, text=text)
        with self._notes.writing:
            try:
                self._ends = [*self._notes.take(owner), ending]
                outcomes = write_patiently(self.store, self._ends)
            except RunsError as trouble:  # with the output, perhaps; the ending alone may still find room
                self.error = trouble
                outcomes = self.store.write([failed(self.id, owner, trouble)])
        self._ends = None
        if not isinstance(outcomes[-1], Moved):
            self._noted(outcomes)
            self._look()
            return
        if ending.output is not None and ending.output.form != OBJECT and len(ending.output.data) <= KEPT:
            self.kept = ending.output
        self._noted(outcomes)

    def _payload(self, value: Any) -> Any:
        if self._stream is not None:
            value = self._stream.all()
        elif value is None and self._notes.has_output:
            return None
        return payload_of(self.store, value, self.task.run_output)

    def _end_or_report(self, value: Any, error: BaseException | None, text: str = "") -> None:
        try:
            self._end(value, error, text)
        except BaseException as trouble:
            self._report(trouble)

    def _never_began(self, error: BaseException) -> None:
        self._end_or_report(None, error)
        self._settle()

    def _report(self, error: BaseException) -> None:
        """What became of it could not be written: who waits is told, and it is tried again for as long as need be."""
        self.error = self.error or error
        what = f"what became of run {self.id} could not be written: {type(error).__name__}: {error}"
        logging.getLogger("eagerly.runs").error(what)
        if self._ends is None:  # it could not even begin
            self._ends = [failed(self.id, self.record.owner, error)]
        self.trouble = RunsError(what, run_id=self.id)
        if (alarm := getattr(self.store, "alarm", None)) is not None:
            alarm(self.id, self.trouble)
        self.host.end_later(self)

    def end_again(self) -> bool:
        """Try to write its end; whether that is done with."""
        assert self._ends is not None
        try:
            outcomes = self.store.write(self._ends)
        except RunsError:
            return False
        self.trouble = None
        self._noted(outcomes)
        self._look()
        return True

    def _settle(self) -> None:
        """Its code has ended, or never began."""
        with self._lock:
            unwatch, self._unwatch = self._unwatch, None
            if self.gone:
                return
            self._asked.happen()
        if unwatch is not None:
            unwatch()
        if self._stream is not None:
            self._stream.close()
        self.gone.happen()
        self.called = (), {}
        self._context = contextvars.Context()
        self.host.settled(self)
        if self.lane is not None:
            self.lane.done(self)

    # What is asked of it

    def _ask(self) -> None:
        """Its body is to end by itself."""
        self.scope.stop()
        self._asked.happen()

    def _sign_off(self) -> None:
        """What its body gives does not matter any more: it is to end as soon as possible."""
        self._ask()
        if self._stream is not None:
            self._stream.close()
        if self.lane is not None and self.lane.take(self):
            self._settle()
            return
        self._signed_off.happen()

    # What its handles ask

    @property
    def settled(self) -> bool:
        return bool(self.gone)

    def ready(self, timeout: float | None = None) -> bool:
        written = self.host.clerk.here or self._written.wait(timeout)
        if self._refused is not None:
            raise self._refused
        return written

    def when_ready(self, tell: Callable[[], object]) -> None:
        self._written.when(tell)

    def help(self, *, waits: bool) -> None:
        """A body that waits keeps a worker busy, and if all do, nobody is left to do what they wait for."""
        lane = self.lane
        if lane is None or not lane.engine.capabilities.in_process or self.over or run_around(here.get()) is None:
            return
        if lane.take(self):
            if waits:
                self.run()
            else:
                start_on_helper(Job(self.run, contextvars.Context()))

    def wait_briefly(self, seconds: float | None) -> float | None:
        patience = BRIEFLY if seconds is None else min(seconds, BRIEFLY)
        if self.over.wait(patience):
            return None
        if self.trouble is not None:
            raise self.trouble
        return BRIEFLY if seconds is None else max(seconds - patience, 0.001)

    def items(self) -> Iterator[Any]:
        return self._items().each()

    def items_async(self) -> AsyncIterator[Any]:
        return self._items().each_async()

    def _items(self) -> RunItems:
        if self._stream is None:
            raise RunsError(
                f"run {self.id} is of task {self.task.name!r}, which is no generator function and has no items; write"
                " run.result()",
                run_id=self.id,
            )
        return self._stream

    # Work: for engines whose workers are other processes, see `DistantRun`

    @property
    def timed(self) -> bool:
        return self.task.timeout is not None

    @property
    def message(self) -> Message:
        raise AssertionError("a run in this process does not travel")

    def output(self, data: bytes) -> None:  # noqa: ARG002 - as the protocol has it
        raise AssertionError("a run in this process has no output of a worker")

    def end(self, crash: Crash | None = None) -> None:  # noqa: ARG002 - as above
        raise AssertionError("a run in this process does not end like this")

    # The end of a session, or of the interpreter

    @property
    def pending_end(self) -> bool:
        """Whether it is still to end."""
        return not self.over and not self.gone

    def cancel_because(self, reason: str) -> None:
        """Cancel it, if it has not ended."""
        with contextlib.suppress(InvalidTransition, RunNotFound):
            cancel_run(self.store, self.id, reason)

    def lose(self, error: BaseException) -> None:
        """Nobody waits for its body any more, which may still run."""
        self.error = self.error or error
        self._noted(self.store.write([failed(self.id, self.store.owner(), error, lost=True)]))

    def wait_until(self, deadline: float) -> bool:
        """Wait until its code has ended, but not longer than `time.monotonic` reads `deadline`."""
        return self.gone.wait_until(deadline)
