"""`Fanout`: the one driver of all maps. It takes items, hands them to an engine, and gives results back in order.

Everything here happens in the thread that reads the results, and only while it does: items are taken, hooks are called
and errors are raised there. Engines only put reports into a queue. What an item's failure means, `TaskContext` decides.
"""

from __future__ import annotations

import contextvars
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from eagerly._buffer import Buffer
from eagerly._chunk import PENDING, Again, Chunk, Ended, Failure
from eagerly._claims import claims_of
from eagerly._clock import SLICE
from eagerly._inbox import Inbox
from eagerly._intake import Intake
from eagerly._item import MapScope
from eagerly._item_run import Loops
from eagerly._later import Later
from eagerly._one_by_one import one_by_one
from eagerly._outcomes import Outcomes
from eagerly._packing import Packer, Unpackable
from eagerly._records import LIVELY, UNHURRIED
from eagerly._scope import here, is_stopping, open_session
from eagerly._sizing import Sizing
from eagerly._tally import Tally
from eagerly._waits import Waits
from eagerly.backends._inline import InlineBackend
from eagerly.errors import BackendError, SessionError, StopRequested

if TYPE_CHECKING:
    from eagerly._map_options import MapOptions
    from eagerly._task import Task
    from eagerly.backends._protocol import Backend, Message

__all__ = ["Fanout"]

PATIENCE: Final = 0.2
"""Seconds after which a worker hands back what it has not begun, should items take longer than those before them."""

STOP_GRACE: Final = 0.5
INTERRUPT_GRACE: Final = 0.1
"""Seconds that bodies get to end when a map is given up, and when it is interrupted; then workers are killed that can
be."""

KILL_GRACE: Final = 2.0
"""Seconds in which a killed worker is reported."""


class Fanout:
    """A map that is under way.

    Args:
        task: The task.
        rows: The arguments of each item: one argument each if `unary`, else tuples.
        total: How many items there are, or None if that is not known.
        ready: Whether their arguments are all there, so that taking them cannot take long.
        engine: An open backend.
        wanted: As what it was asked for.
        options: How the map is to go about it.
    """

    def __init__(
        self,
        task: Task[..., Any],
        rows: Iterator[Any],
        *,
        unary: bool,
        total: int | None,
        ready: bool,
        engine: Backend,
        wanted: object,
        options: MapOptions,
    ) -> None:
        around = here.get()
        can = engine.capabilities
        self.task = task
        self.unary = unary
        self.timed = task.declaration.timeout is not None
        self.scope = MapScope(
            open_session(around),
            around._call,
            base=secrets.randbits(128),
            backend=can.name,
            engine=engine,
            wanted=wanted,
            around=around,
        )
        self.context, self.loops = contextvars.copy_context(), Loops()
        self.patience = max(PATIENCE, 4 * can.chunk_seconds)
        self.unhurried = False  # whether nobody looks at results before all are there
        self.reports: Inbox[tuple[Chunk, bytes | Ended | None]] = Inbox()

        self._intake = Intake(rows, ready=ready)
        self._inline = isinstance(engine, InlineBackend)
        self._engine, self._can = engine, can
        self._buffer = Buffer(options.ordered, keep_errors=options.errors == "return")
        self.hand = self._buffer.hand
        self._sizing = Sizing(can, chunk=1 if self.timed else options.chunk, window=options.window, total=total)
        self._packer = None if can.in_process else Packer(task, unary, self.scope, around, engine)
        self._outcomes = Outcomes(
            task,
            unary,
            self.scope,
            self.scope.session.hooks if self._packer is None else self._packer.hooks,
            retry_crashes=options.on_crash == "retry",
            settle=self._settle,
            settle_all=self._settle_all,
            learn=self._sizing.learn,
        )
        claims = claims_of(task, self.scope, unary, self._packer)
        self.tally = Tally(options.errors, claims, options.progress)
        self._waits = Waits(around, engine)
        self._sated = 0  # with so many items unconsumed there may be room for more
        self._active: set[Chunk] = set()
        self._later = Later(self.scope.session.clock)
        self._stopping = self._fallen = self._refused = self._given_up = self._listening = False
        self._over = threading.Event()

    # What the consumer sees

    def results(self, *, together: bool = False) -> Iterator[Any]:
        """The results, as they are asked for; with `together` lists of as many as are there.

        Raises:
            BaseException: What an item has raised, if errors are to be raised; what the iterable has raised.
        """
        hand = self.hand  # and nothing else here keeps a result while the consumer has it
        take = self._buffer.take_all if together else self._buffer.take
        try:
            for _ in one_by_one(self, self._intake.rows) if self._inline else self._outcomes_as_asked(take):
                if together:
                    yield self._buffer.batch()
                elif type(hand[0]) is not Failure or self._buffer.sift():
                    yield hand.pop()
                if self._given_up:
                    break
            if self._given_up:
                raise SessionError(
                    f"the session was left before the map of task {self.task.name!r} had been read to its end"
                )
            if self._intake.error is not None:
                raise self._intake.error
        except BaseException as error:
            self._leave(error)
            raise
        self._leave(None)

    def collect(self, into: list[Any]) -> None:
        """Add all results to a list. Those that are there together cost less there than one by one."""
        self.unhurried = self.tally.progress is None
        for batch in [self.results()] if self._inline else self.results(together=True):
            into.extend(batch)

    def _outcomes_as_asked(self, take: Callable[[], bool]) -> Iterator[None]:
        """Whenever something is in the hand that `take` has put there."""
        while not self._given_up:
            self._sated = self._buffer.unconsumed
            if not self.tally.has_failed:
                self._hand_out()
            if self.tally.has_failed:  # also of items that were not handed out, as they cannot travel
                self._stop(STOP_GRACE)
                raise self.tally.first_error()
            while take():
                yield
                if self._has_room():
                    self._hand_out()
            if (self._active or self._later) and not self.tally.has_failed:
                self._listen()
            elif self._intake.exhausted and not self.tally.has_failed:
                return

    # Handing out work

    def _has_room(self) -> bool:
        """Whether there may be something to hand out, asked after each result."""
        enough = self._buffer.unconsumed > self._sated or len(self._active) >= self._sizing.slots
        return not enough and (not self._intake.exhausted or bool(self._later))

    def _hand_out(self) -> None:
        """Give the engine what it has room for: first what has to be done again, then new items."""
        if self._later or self._fallen:
            self._hand_out_again()
        suspects = self._later.suspects
        if self._can.shared_fate and (self._fallen or suspects or any(each.alone for each in self._active)):
            return
        intake = self._intake
        while not (intake.exhausted or self._given_up) and len(self._active) < self._sizing.slots:
            first, size = intake.taken, self._sizing.next(self._buffer.unconsumed)
            self._sated -= 0 if size else self._sizing.step
            rows = intake.take(size) if size else None
            if intake.exhausted and self.tally.progress is not None:
                self.tally.progress.known(intake.taken)
            if not rows:
                return
            chunk = Chunk(self, first, rows)
            self._sizing.took(len(rows))
            self._buffer.expect(chunk)
            self._submit(chunk)
            if self._fallen or not self.reports.empty():
                return

    def _hand_out_again(self) -> None:
        if self._fallen:
            if self._can.shared_fate and self._active:
                return  # they are about to fall too
            self._engine.recover()
            self._fallen = False
        while not self._fallen and (part := self._later.due()) is not None:
            self._submit(part)
        # Who may have killed a worker is tried alone: where others share its fate, with nobody else at work.
        suspects = self._later.suspects
        while suspects and not self._fallen and not (self._active and self._can.shared_fate):
            self._submit(suspects.popleft())

    def _submit(self, chunk: Chunk) -> None:
        if self._packer is not None and not self._prepare(chunk):
            return
        self._active.add(chunk)
        try:
            self._engine.submit(chunk)
        except BackendError:
            self._active.discard(chunk)
            if self._refused or not self._can.survives_crash:
                raise
            self._refused = self._fallen = True  # a worker has died, and those at work are about to hear of it
            self._later.add(chunk, 0.0)
        else:
            self._refused = False

    def _prepare(self, chunk: Chunk) -> bool:
        """Pack the items of a chunk, in this thread. Those that cannot travel have failed; whether none has."""
        try:
            if self.tally.claims is not None:
                self.tally.claims.claim_all(chunk.first, chunk.rows)
            chunk.message  # noqa: B018 - made now
        except Unpackable as unpackable:
            self._settle(chunk, unpackable.place, Failure(unpackable.error, time.time()))
            for part in chunk.follow([Again(place) for place in chunk.unfinished()], len(chunk.rows)):
                self._submit(part)
            return False
        return True

    def packed(self, chunk: Chunk) -> Message:
        """A chunk as bytes."""
        assert self._packer is not None
        lively = UNHURRIED if self.unhurried else LIVELY
        return self._packer.message(chunk.first, chunk.rows, chunk.resume, self.patience, lively)

    def _do_again(self, chunk: Chunk, again: list[Again]) -> None:
        delays = {chunk.first + each.place: each.delay for each in again}
        for part in chunk.follow(again, self._sizing.size):
            self._later.add(part, delays[part.first])

    # What comes back

    def _listen(self) -> None:
        """Wait until something has come back or is to be done, and read all that is there."""
        if self.reports.empty() and self._waits.helps():
            self._help()
        self._listening = True
        try:
            with self._waits:
                report = self.reports.wait(self._later.rest(SLICE))
            while report is not None:
                self._read(*report)
                report = self.reports.wait(0)
        finally:
            self._listening = False
        if is_stopping(self.scope.around):
            raise StopRequested(f"the map of task {self.task.name!r} was asked to stop")

    def _help(self) -> None:
        """This thread is one of the workers, and all may wait like this: it does itself what no other has begun."""
        for chunk in self._active:
            if self._engine.cancel(chunk, force=False):
                chunk.run()
                return

    def _read(self, chunk: Chunk, report: bytes | Ended | None) -> None:
        if chunk not in self._active:
            return  # given up
        if isinstance(report, bytes):
            self._do_again(chunk, self._outcomes.read(chunk, report))
            return
        if self._packer is None:
            self._notice(chunk)
        if report is None:
            return
        self._active.discard(chunk)
        if report.crash is not None:
            self._fallen = True
            if report.crash.asked and not (self._stopping or self._given_up):
                raise BackendError(
                    f"backend {self._can.name!r} was closed before the map of task {self.task.name!r} was done"
                )
            certain = chunk.alone or not self._can.shared_fate
            self._do_again(chunk, self._outcomes.crashed(chunk, report.crash, certain=certain))
        elif not (self._stopping or self._given_up) and (left := chunk.unfinished()):  # it took longer than it should
            if len(left) == len(chunk.rows):
                raise BackendError(f"backend {self._can.name!r} has handed in nothing of what it was given")
            self._do_again(chunk, [Again(place) for place in left])

    def _notice(self, chunk: Chunk) -> None:
        """What a worker of this process has noted."""
        if chunk.seconds:
            self._sizing.learn(len(chunk.noted), chunk.seconds)
        for place in range(chunk.settled, len(chunk.noted)):
            self._settle(chunk, place, chunk.noted[place])
            chunk.noted[place] = None

    def _settle_all(self, chunk: Chunk, place: int, results: list[Any]) -> None:
        """The results of items that follow one another, as another process tells."""
        if chunk.settled != place or not self.tally.idle:
            for offset, result in enumerate(results):
                self._settle(chunk, place + offset, result)
        else:
            chunk.settled += len(results)
            self._buffer.returned(chunk, place, results)

    def _settle(self, chunk: Chunk, place: int, outcome: Any) -> None:
        """An item has ended, as another process tells. The first time counts."""
        if chunk.outcomes[place] is not PENDING:
            return
        chunk.replays.pop(place, None)
        chunk.settled += 1
        outcome = self.tally.count(chunk.first + place, chunk.rows[place], outcome)
        self._buffer.ended(chunk, place, outcome)

    # The end

    def _stop(self, grace: float) -> None:
        """Take back what has not begun, ask what runs to end, and end it if it does not and can be ended."""
        if self._stopping:
            return
        self._stopping = True
        self.scope.stop()
        self.loops.cancel()
        self._later.clear()
        self._withdraw(force=False)
        self._wait_for_end(grace)
        if self._active and not self._can.in_process:
            self._withdraw(force=True)  # an engine that cannot kill at least forgets what it has not begun
            self._wait_for_end(KILL_GRACE if self._can.kills else SLICE)
        for chunk in self._active:
            for replay in chunk.begun():
                replay.call.cancel("cancelled")
        if self._packer is not None:
            self._active.clear()

    def _withdraw(self, *, force: bool) -> None:
        for chunk in list(self._active):
            if self._engine.cancel(chunk, force=force):
                self._active.discard(chunk)

    def _wait_for_end(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self._active and (rest := end - time.monotonic()) > 0:
            if (report := self.reports.wait(min(SLICE, rest))) is not None:
                self._read(*report)

    def _leave(self, error: BaseException | None) -> None:
        """The consumer has had all, has had enough, or gets an error."""
        if self.reports.elsewhere:  # the items, and what they share, are those of the process that began the map
            return
        try:
            if self._active or self._later:
                at_once = error is not None and not isinstance(error, Exception | GeneratorExit)
                self._stop(INTERRUPT_GRACE if at_once else STOP_GRACE)
        finally:
            self._done()

    def _done(self) -> None:
        self._intake.close()
        self._buffer.clear()
        self.loops.close()
        if self._packer is not None:
            self._packer.close()
        if self.tally.claims is not None:
            self.tally.claims.close()
        self._over.set()

    def give_up(self, *, at_once: bool) -> None:
        """The session is left before the map has been read to its end; `at_once` if the program is interrupted."""
        self._given_up = True
        if self.reports.elsewhere:
            return
        self.scope.stop()
        if self._listening:  # in another thread, which finds out soon
            self._over.wait(STOP_GRACE + KILL_GRACE)
        else:
            self._stop(INTERRUPT_GRACE if at_once else STOP_GRACE)
