"""The run that this process was started for, as ``EAGERLY_RUN_ID`` says. Loaded in such processes only.

What is outside of every session and call is inside of that run here: its call is the current one, and the parent of
others. The store is opened by the first use, and not before: a program that does nothing with its run leaves it alone.

Who begins a run ends it. If it is pending, it is begun by the first use, and ends with this process. One that runs
already belongs to whoever has begun it, such as the process that started the command.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, cast

from eagerly._context import TaskContext
from eagerly._declaration import Declaration
from eagerly._item import ItemScope, MapScope
from eagerly._paths import absolute, masked
from eagerly._run_ending import completed, failed
from eagerly._run_host import host_of
from eagerly._run_port import RunPort
from eagerly._run_voice import RunVoice
from eagerly._scope import OUTSIDE, SessionContext
from eagerly._settings import resolve_settings
from eagerly._stores import run_store
from eagerly._task import Task
from eagerly._tasks import SyncTask
from eagerly.errors import EagerlyError, OptionValueError, RunNotFound, RunsError, SettingsError
from eagerly.runs._change import Change, Moved
from eagerly.runs._payload import json_value
from eagerly.runs._record import RunRecord, now
from eagerly.runs._status import RunStatus

__all__ = ["EnvironmentCall", "EnvironmentRun", "inhabit"]

RUN_ID = "EAGERLY_RUN_ID"
RUN_INPUT = "EAGERLY_RUN_INPUT"
RUN_STORE = "EAGERLY_RUN_STORE"

FLUSH = 5.0
"""Seconds that the store gets to take what is left to be written when the process ends."""


def _program(**inputs: Any) -> None:
    """The program that this process is."""


class EnvironmentRun:
    """A run, as the process sees it that was started for it: a `RunPort`, attached to its row by its first use.

    Args:
        run_id: Its id.
    """

    def __init__(self, run_id: str) -> None:
        self.id = run_id
        self.forget()

    def forget(self) -> None:
        """Nothing is known of the row. In a forked child, whose run it is not."""
        self._lock = threading.RLock()
        self.attached: AttachedRun | None = None

    @property
    def row(self) -> AttachedRun:
        """The run itself.

        Raises:
            RunsError, SettingsError: The environment is wrong, or the store is out of reach.
        """
        with self._lock:
            if self.attached is None:
                self.attached = AttachedRun.find(self.id)
                self.attached.begin()
            return self.attached

    @property
    def inputs(self) -> dict[str, Any]:
        """What it was given.

        Raises:
            OptionValueError: The environment has no JSON object.
        """
        text = os.environ.get(RUN_INPUT)
        if text is None:
            found = json_value(self.row.record.inputs)
            return {} if found is None else found
        try:
            value: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise OptionValueError(f"environment variable {RUN_INPUT} is no JSON: {error}") from None
        if not isinstance(value, dict):
            raise OptionValueError(
                f'environment variable {RUN_INPUT} takes a JSON object such as {{"file": "a.csv"}}, not'
                f" {type(value).__name__}"  # pyright: ignore[reportUnknownArgumentType]  # of whatever
            )
        return value  # pyright: ignore[reportUnknownVariableType]  # by name

    @property
    def root_id(self) -> str:
        return self.row.root_id

    @property
    def store(self) -> Any:
        """Where its row is, if that has been looked for: no call waits for a store so that it can be recorded."""
        return None if self.attached is None else self.attached.store

    @property
    def stopping(self) -> bool:
        return self.row.stopping

    def progress(self, values: dict[str, Any]) -> None:
        self.row.progress(values)

    def become(self, status: str) -> None:
        self.row.become(status)

    def ask_to_stop(self) -> None:
        self.row.ask_to_stop()

    def give(self, value: Any, summary: str | None) -> None:
        self.row.give(value, summary)

    def item(self, value: Any) -> None:  # noqa: ARG002 - as the protocol has it
        raise AssertionError("a program gives no items")

    def wait(self, seconds: float) -> None:
        self.row.wait(seconds)

    def when_asked(self, tell: Callable[[], object]) -> Callable[[], object]:
        return self.row.when_asked(tell)

    def attach(self, cancel: Callable[[], object] | None) -> None:
        """Nobody cancels a program from inside."""


class AttachedRun(RunVoice):
    """The row of such a run."""

    def __init__(self, *options: Any) -> None:
        super().__init__(*options)
        self.mine = False
        self._pid = os.getpid()
        self._error: BaseException | None = None
        self._exits: dict[Any, BaseException | None] = {}  # what was raised to end the program, and has not been caught
        self._heard(self.record)

    @classmethod
    def find(cls, run_id: str) -> AttachedRun:
        """Look for it where the settings say.

        Raises:
            RunsError, SettingsError: There is none, or no way to it.
        """
        place = resolve_settings()[0].run_store
        if place is None:
            raise SettingsError(f"{RUN_ID} is set, and {RUN_STORE} is not; set it to where the run is")
        try:
            store = run_store(absolute(place))
            record = store.get(run_id)
        except EagerlyError as error:
            raise RunsError(f"{RUN_STORE}={masked(place)!r}, which {RUN_ID} needs: {error}", run_id=run_id) from error
        if record is None:
            raise RunNotFound(f"{RUN_ID}={run_id!r}: there is no such run in {store.place}", run_id=run_id)
        return cls(host_of(store), PROGRAM, record, SCOPE)

    def begin(self) -> None:
        """Follow it; and begin it, if nobody has."""
        if self.record.status is RunStatus.PENDING and self.record.owner is None:
            owner = self.store.owner()
            values = {"attempt": 1, "owner": owner}
            change = Change(self.id, now(), RunStatus.RUNNING, values, sources=(RunStatus.PENDING,))
            [outcome] = self.store.write([change])
            if isinstance(outcome, Moved):
                self.mine = True
                self.record = outcome.after
                self._note_exits()
                atexit.register(self.end)
        if not self.mine:
            atexit.register(self.leave)
        if not self.record.status.final:
            self.store.watch(self.id, self._tell)

    def _owner(self) -> str | None:
        return self.store.owner() if self.mine else None

    @property
    def stopping(self) -> bool:
        return bool(self._asked)

    def _noted(self, outcomes: Sequence[Any]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Moved):
                self._heard(outcome.after)

    def _tell(self, news: RunRecord | EagerlyError | None) -> bool:
        if isinstance(news, RunRecord):
            self._heard(news)
            return news.status.final
        return news is None

    def _heard(self, record: RunRecord) -> None:
        with self._lock:  # one thread may be late with what was so before
            self.record = max(self.record, record, key=lambda each: each.updated_at)
        if record.status.final or record.stop_requested_at is not None:
            self._asked.happen()

    def _note_exits(self) -> None:
        """Note with what the program ends: nobody tells the functions that are called then."""
        hook, exit_ = sys.excepthook, sys.exit

        def excepthook(kind: Any, error: BaseException, trace: Any) -> None:
            self._error = error
            hook(kind, error, trace)

        def leave(status: Any = None, /) -> NoReturn:
            try:
                exit_(status)
            except SystemExit as error:
                if threading.current_thread() is threading.main_thread():  # else it ends that thread and nothing more
                    self._note_exit(error, None if status is None or status == 0 else SystemExit(status))
                raise

        sys.excepthook, sys.exit = excepthook, leave

    def _note_exit(self, raised: SystemExit, error: BaseException | None) -> None:
        """The program is about to end with `error`, unless `raised` is caught.

        Whether it is shows when it is thrown away: while the program still runs, or when all of it has been left.
        """
        program = _running_program()
        mark = _Mark()
        raised.__dict__["_eagerly_mark"] = mark  # exceptions themselves tell nobody that they are thrown away

        def gone(which: Any) -> None:
            if _running_program() is program:
                self._exits.pop(which, None)

        self._error = None
        self._exits[weakref.ref(mark, gone)] = error

    def leave(self) -> None:
        """The process ends: write what has been said."""
        self._close([])

    def end(self) -> None:
        """The process ends, and with it the run."""
        owner = self.store.owner()
        error = next(reversed(self._exits.values()), None) if self._error is None else self._error
        self._close([completed(self.id, owner, None) if error is None else failed(self.id, owner, error)])

    def _close(self, ending: Sequence[Change]) -> None:
        if self._pid != os.getpid():
            return
        try:
            self.host.clerk.flush(FLUSH)
            with self._notes.writing:
                changes = [*self._notes.take(self._owner()), *ending]
                if changes:
                    self.store.write(changes)
        except Exception:
            import logging

            logging.getLogger("eagerly.runs").exception("what became of run %s could not be written", self.id)


class _Mark:
    """What is thrown away together with an exception."""


def _running_program() -> Any:
    """The outermost code that the main thread is in: that of the program, or of what is called when it has ended."""
    frame = sys._current_frames().get(cast("int", threading.main_thread().ident))
    while frame is not None and frame.f_back is not None:
        frame = frame.f_back
    return frame and frame.f_code


class _Scope(MapScope):
    """The place of the run: around everything."""

    @property
    def stopping(self) -> bool:
        return cast("RunPort", self.run).stopping


class EnvironmentCall(TaskContext):
    """The call that this process is, as its code sees it.

    Args:
        run: The run.
        outer: Its place.
    """

    def __init__(self, run: EnvironmentRun, outer: ItemScope) -> None:
        self._task = PROGRAM
        self._args, self._kwargs = (), {}
        self._outer = outer
        self._session = OUTSIDE
        self.attempt = 1
        self.ended = False
        self.started = OUTSIDE.now()
        self.run = run

    @property
    def name(self) -> str:
        """The task of the run."""
        return self.run.row.record.task

    @property
    def inputs(self) -> dict[str, Any]:
        """What the run was given, by name."""
        if self._inputs is None:
            self._inputs = self.run.inputs
        return self._inputs

    def __repr__(self) -> str:
        return f"<the call of run {self.run.id}, for which this process was started>"


PROGRAM: Task[..., Any] = SyncTask(Declaration(_program, {"name": "program"}))
SCOPE = _Scope(
    OUTSIDE,
    None,
    base=int.from_bytes(os.urandom(16), "big"),
    backend="inline",
    engine=PROGRAM,  # none, but not that of a worker, which does all that it calls by itself
    wanted=PROGRAM,
    around=SessionContext(),
)


def inhabit() -> None:
    """Make the run what is around everything in this process."""
    run = EnvironmentRun(os.environ[RUN_ID])
    SCOPE.run = cast("RunPort", run)
    call = EnvironmentCall(run, ItemScope(SCOPE, 0))
    OUTSIDE.outer = OUTSIDE._call = call
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=run.forget)
