"""`DistantRun`: a run whose body is executed by a worker in another process. Everything here happens in the clerk.

The engine's side (`Work`) may be called in any thread and only hands on what came.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from eagerly._chunk import PENDING, Failure
from eagerly._dataset_saving import save_from_afar
from eagerly._item import ItemScope
from eagerly._live_run import LiveRun
from eagerly._outcomes import Outcomes
from eagerly._records import RUN
from eagerly._replay import ItemCall, Replay
from eagerly._stored import claim_for
from eagerly._wire import load
from eagerly.errors import StopRequested, WorkerCrashed
from eagerly.runs._payload import OBJECT, Payload
from eagerly.runs._status import RunStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eagerly._chunk import Again
    from eagerly._packing import Packer
    from eagerly.backends._protocol import Crash, Message
    from eagerly.hooks._compile import CompiledHooks

__all__ = ["DistantRun"]

KILL_AFTER: Final = 0.3
"""Seconds that a body which is cancelled gets to end by itself before its worker is killed."""


class DistantRun(LiveRun):
    """A run whose body is executed elsewhere.

    Args:
        packer: What all that is sent for it has in common.
        message: What is sent first.
        options: As for `LiveRun`.
    """

    first = 0

    def __init__(self, *options: Any, packer: Packer, message: Message, **more: Any) -> None:
        super().__init__(*options, **more)
        self.rows: list[Any] = [self.called]
        self.replays: dict[int, Replay] = {}
        self.resume: tuple[int, float] | None = None
        self._packer = packer
        self.outcomes: list[Any] = [PENDING]
        self._handed = False
        self._message = message
        self._reader = _RunOutcomes(self, packer.hooks)
        saves = self.task.declaration.dataset is not None
        self._unclaim = claim_for(self.call()) if saves else None

    def call(self) -> ItemCall:
        """The call that is made elsewhere, as hooks see it."""
        args, kwargs = self.called
        call = ItemCall(self.task, args, ItemScope(self.scope, 0))
        call._kwargs = kwargs
        return call

    # The engine's side

    @property
    def message(self) -> Message:
        return self._message

    def run(self) -> None:
        raise AssertionError("a run in another process does not run here")

    def output(self, data: bytes) -> None:
        self.host.clerk.do(partial(self._read, data))

    def end(self, crash: Crash | None = None) -> None:
        self.host.clerk.do(partial(self._ended, crash))

    # The clerk's side

    def start(self) -> None:
        self.host.clerk.write(lambda: [self._beginning()], self._hand_over)

    def _hand_over(self, outcomes: Sequence[Any]) -> None:
        if self._begun(outcomes):
            self._submit()
        elif isinstance(outcomes[-1], Exception) and not self.record.status.final:  # that it begins cannot be written
            self.outcomes[0] = Failure(outcomes[-1], 0.0)
            self._ended(None)
        else:
            self._close()

    def _submit(self) -> None:
        assert self.lane is not None
        try:
            self._handed = True
            self.lane.engine.submit(self)
        except Exception as error:
            self.outcomes[0] = Failure(error, 0.0)
            self._ended(None)

    def _read(self, data: bytes) -> None:
        try:
            again = self._reader.read(self, data)  # type: ignore[arg-type]  # it has what is asked of a chunk
        except Exception as error:  # no worker can load the task, or a strict hook has raised
            self.outcomes[0] = Failure(error, 0.0)
        else:
            self._go_on(again)

    def _ended(self, crash: Crash | None) -> None:
        if self.gone:
            return
        if self._due_again:  # what has ended is the attempt before the one that is about to be made
            self._due_again = False
            return
        if crash is not None and self._goes_on_after(crash):
            return
        for replay in self.replays.values():
            if replay.begun and not replay.call.ended:
                replay.call.cancel("cancelled")
        outcome = self.outcomes[0]
        if outcome is PENDING:
            outcome = Failure(self._why(crash), 0.0)
        elif self._packer.saves_here and type(outcome) is not Failure:
            try:
                save_from_afar(self.call(), outcome if self._stream is None else self._stream.all())
            except Exception as error:
                outcome = Failure(error, 0.0)
        if type(outcome) is Failure:
            self._end_or_report(None, outcome.error, outcome.text)
        else:
            self._end_or_report(outcome, None)
        self._close()

    def _goes_on_after(self, crash: Crash) -> bool:
        """Whether another worker makes the next attempt."""
        assert self.lane is not None
        if self.lane.engine.capabilities.shared_fate:
            self.lane.engine.recover()
        again = self._reader.crashed(self, crash, certain=True)  # type: ignore[arg-type]  # it has what is asked of a chunk
        self._go_on(again)
        self._due_again = False
        return bool(again)

    def _why(self, crash: Crash | None) -> BaseException:
        """What it ends with, as nothing has been heard of its end."""
        if crash is None or self._signed_off:
            return StopRequested("it was taken back")
        return WorkerCrashed(f"run {self.id} of task {self.task.name!r}: {crash}", index=0)

    _due_again = False
    _waits = False  # for its next attempt; no engine has it

    def _go_on(self, again: list[Again]) -> None:
        """Its next attempt is made by another worker, unless it is asked to end before that."""
        for each in again:
            self._due_again = self._waits = True
            self.resume = each.resume
            self._message = self._packer.message(0, self.rows, each.resume)
            self.host.clerk.do_later(each.delay, self._try_again)
            if self._asked:
                self._withdraw(force=False)

    def _try_again(self) -> None:
        if self._waits:
            self._waits = False
            self._submit()

    def _close(self) -> None:
        self.rows = []
        self.replays = {}
        self._settle()

    def unfinished(self) -> list[int]:
        """As of a chunk: whether it has not ended."""
        return [0] if self.outcomes[0] is PENDING else []

    def settle(self, _run: Any, _place: int, outcome: Any) -> None:
        """It has ended, as its worker tells. The first time counts."""
        if self.outcomes[0] is PENDING:
            self.outcomes[0] = outcome

    def hear(self, what: str, *values: Any) -> None:
        """Its body has said something."""
        if what == "item":
            self.item(load(values[0]))
        elif what == "become":
            self.become(*values)
        elif what == "progress":
            self.progress(*values)
        elif what == "stop":
            self.ask_to_stop()
        else:
            data, summary = values
            payload = Payload(OBJECT, load(data), None) if isinstance(data, bytes) else Payload(*data)
            self._notes.add(None, {} if summary is None else {"output_summary": summary}, payload)
            self._write_notes(0.0)

    # What is asked of it

    def _ask(self) -> None:
        first = not self._asked
        super()._ask()
        if first:
            self.host.clerk.do(partial(self._withdraw, force=False))

    def _sign_off(self) -> None:
        super()._sign_off()
        if not self.gone:
            self.host.clerk.do_later(KILL_AFTER, partial(self._withdraw, force=True))

    def _withdraw(self, *, force: bool) -> None:
        assert self.lane is not None
        if self.gone or not self._handed:
            return
        if self._waits:
            self._waits = self._due_again = False
            self._ended(None)
        elif self.lane.engine.cancel(self, force=force):
            self._ended(None)

    def _settle(self) -> None:
        if self._unclaim is not None and self.record.status is not RunStatus.COMPLETED:
            self._unclaim()
        self._unclaim = None
        self._packer.close()
        super()._settle()


class _RunOutcomes(Outcomes):
    """What a worker sends for one run."""

    def __init__(self, run: DistantRun, hooks: CompiledHooks) -> None:
        super().__init__(
            run.task,
            False,
            run.scope,
            hooks,
            retry_crashes=False,
            settle=run.settle,
            settle_all=lambda _run, place, values: run.settle(_run, place, values[0]),
            learn=lambda _items, _seconds: None,
        )
        self._run = run

    def _read(self, chunk: Any, record: tuple[Any, ...], again: list[Again]) -> None:
        if record[0] == RUN:
            self._run.hear(*record[2:])
        else:
            super()._read(chunk, record, again)

    def _new_replay(self, chunk: Any, place: int) -> Replay:  # noqa: ARG002 - there is only one
        replay = Replay(self._run.call(), self._hooks)
        if chunk.resume is not None:
            replay.go_on(*chunk.resume)
        return replay

    def _error(self, index: int, crash: Crash) -> Any:
        error = super()._error(index, crash)
        if isinstance(error, WorkerCrashed):
            error.args = (f"run {self._run.id} of task {self._task.name!r}: {crash}",)
        return error

    def _item(self, chunk: Any, place: int) -> str:  # noqa: ARG002 - there is only one
        return f"run {self._run.id} of task {self._task.name!r} on backend {self._scope.backend!r}"
