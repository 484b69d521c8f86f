"""Running a body for at most so many seconds, on a helper thread (sync) or in an asyncio task of its own (async).

Both keep the promise to the caller first: it is released when the time is up, whatever the body does. The body is
asked to stop and interrupted. If it does not end within `GRACE` it is abandoned: counted, warned about, and what it
returns in the end is thrown away. Nothing here knows about retries, sessions or hooks.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from eagerly._warnings import warn
from eagerly.errors import EagerlyWarning, StopRequested, TaskTimeoutError

if TYPE_CHECKING:
    import asyncio

__all__ = ["GRACE", "TimedBody", "abandoned_bodies", "run_async", "run_sync"]

GRACE: Final = 0.1
"""Seconds that an interrupted body gets for its `finally` blocks before it counts as abandoned."""

MAX_IDLE: Final = 16
"""How many helper threads are kept for reuse; those above it end with their job."""

# Lists and sets without a lock: the garbage collector may run a hook, and so a task, at any allocation.
_idle: list[_Helper] = []
_abandoned: set[object] = set()
_numbers = itertools.count(1)
_starting = threading.RLock()
"""Held while a helper thread starts. Until it runs, CPython 3.11 takes it for the thread that starts it, and would
deliver an interruption of that one to it. Re-entrant, as the garbage collector may run a task here too."""


class Attempt(Protocol):
    """What the body's side of a timeout is told and asked."""

    def request_stop(self) -> None:
        """The time is up, or the caller has gone: let the body know, should it ask."""
        ...

    def end(self) -> None:
        """The body has ended in time: its deadline does not concern what it left running."""
        ...

    def enclosing_deadline(self) -> float | None:
        """`time.monotonic` reading at which the first of the timeouts around this attempt is up, if there are any."""
        ...


class TimedBody(NamedTuple):
    """One attempt that may take a limited time.

    Attributes:
        name: Of the task, for messages.
        body: What to call, without arguments.
        context: Where to call it: a copy of the caller's context.
        timeout: Seconds.
        deadline: `time.monotonic` reading at which they are over.
        attempt: Whom to tell.
    """

    name: str
    body: Callable[[], Any]
    context: contextvars.Context
    timeout: float
    deadline: float
    attempt: Attempt


def abandoned_bodies() -> int:
    """How many bodies are running in this process although their callers have been released by a timeout."""
    return len(_abandoned)


class _Job:
    """A body on a helper thread. It begins, unless its caller has given it up before, and it is over at some time."""

    __slots__ = ("__weakref__", "begun", "context", "error", "given_up", "lock", "over", "ready", "result", "run")

    def __init__(self, timed: TimedBody) -> None:
        self.run: Any = timed.body
        self.context: Any = timed.context
        self.lock = threading.Lock()
        self.ready = threading.Lock()
        self.ready.acquire()
        self.begun = self.given_up = self.over = False
        self.result: Any = None
        self.error: BaseException | None = None

    def begin(self) -> bool:
        """Whether the body is to run; not when its caller has gone already."""
        with self.lock:
            self.begun = not self.given_up
        return self.begun

    def finish(self) -> None:
        """Hand in the outcome. May be cut short by an interruption and called again; the second call completes it."""
        with self.lock:
            self.run = self.context = None  # when the caller goes on, nothing here keeps its arguments
            self.over = True
            if self.given_up:
                self.result = self.error = None
                _abandoned.discard(self)
        if self.ready.locked():
            self.ready.release()

    def give_up(self, thread: threading.Thread) -> bool:
        """Disown the body and interrupt it; False when it was over already and its outcome counts."""
        with self.lock:
            if self.over:
                return False
            self.given_up = True
            if self.begun:
                _abandoned.add(self)
                _interrupt(thread)  # under the lock, so that it cannot hit the thread's next job
        return True


class _Helper:
    """A daemon thread that runs one job after another and waits in `_idle` in between."""

    __slots__ = ("_job", "_wake", "thread")

    def __init__(self) -> None:
        self._job: _Job | None = None
        self._wake = threading.Lock()
        self._wake.acquire()
        self.thread = threading.Thread(target=self._work, name=f"eagerly-timeout-{next(_numbers)}", daemon=True)
        with _starting:
            self.thread.start()

    def give(self, job: _Job) -> None:
        self._job = job
        self._wake.release()

    def _work(self) -> None:
        while True:
            self._wake.acquire()
            job, self._job = self._job, None
            assert job is not None
            if not _run(job):
                return
            del job
            _idle.append(self)
            if len(_idle) > MAX_IDLE:
                with contextlib.suppress(ValueError):  # somebody has taken this one in between
                    _idle.remove(self)
                    return


def _run(job: _Job) -> bool:
    """Run the job on this thread; False when the thread was interrupted and must not be used again.

    The one interruption that `give_up` sends may arrive at any bytecode from `begin` to the end of the outer `try`.
    """
    try:
        try:
            if job.begin():
                job.result = job.context.run(job.run)
        except BaseException as error:
            job.error = _without_own_frame(error)
        finally:
            job.finish()
        if job.given_up:
            for _ in range(1_000):  # let an interruption that is still on its way arrive here
                pass
    except StopRequested:
        job.finish()
    return not (job.begun and job.given_up)


def _without_own_frame(error: BaseException) -> BaseException:
    """The caller's traceback goes from its call straight into the user's function."""
    return error.with_traceback(None if error.__traceback__ is None else error.__traceback__.tb_next)


def run_sync(timed: TimedBody) -> Any:
    """Run the body on a helper thread for as long as its timeout allows, and return what it returns.

    Raises:
        TaskTimeoutError: The time was up first.
        StopRequested: The time of an enclosing timeout was up first.
        BaseException: Whatever the body raised, or what interrupted the wait (Ctrl-C).
    """
    before = dict(timed.context)
    job = _Job(timed)
    helper = None
    try:
        try:
            helper = _idle.pop()
        except IndexError:
            helper = _Helper()
        helper.give(job)
        in_time = _wait(job.ready, timed)
    except BaseException:
        timed.attempt.request_stop()
        if helper is not None:
            job.give_up(helper.thread)
        raise
    if not in_time:
        timed.attempt.request_stop()
        in_time = not job.give_up(helper.thread)
    if in_time:
        result, error = job.result, job.error
        job.result = job.error = None
        if isinstance(error, StopRequested) and time.monotonic() >= timed.deadline:
            raise _timeout_error(timed, None)  # a timed task inside was stopped because of this very deadline
        timed.attempt.end()
        _adopt(timed.context, before)
        if error is None:
            return result
        try:
            raise error
        finally:
            del error  # or this frame, the traceback and the error would keep one another
    if time.monotonic() < timed.deadline:
        raise _stopped(timed)
    if job.begun:
        job.ready.acquire(timeout=GRACE)
    running = job.begun and not job.over
    late = f"the thread {helper.thread.name!r} is abandoned until the function returns by itself" if running else None
    raise _timeout_error(timed, late)


def _time_left(timed: TimedBody) -> float:
    """Seconds until the first deadline. Ask again when it has passed: the attempt around this one may have ended."""
    enclosing = timed.attempt.enclosing_deadline()
    return (timed.deadline if enclosing is None else min(timed.deadline, enclosing)) - time.monotonic()


def _stopped(timed: TimedBody) -> StopRequested:
    return StopRequested(f"the timeout around task {timed.name!r} has passed")


def _wait(ready: threading.Lock, timed: TimedBody) -> bool:
    """Wait for `ready` until the first deadline, however far away that is; whether it was had in time."""
    while True:
        rest = _time_left(timed)
        if rest <= 0:
            return ready.acquire(blocking=False)
        if ready.acquire(timeout=min(rest, threading.TIMEOUT_MAX)):
            return True


_LATE_TASK: Final = "its asyncio task is abandoned until the function returns by itself"


async def run_async(timed: TimedBody) -> Any:
    """Run the body, which gives an awaitable, in an asyncio task for as long as its timeout allows.

    Raises:
        TaskTimeoutError: The time was up first.
        StopRequested: The time of an enclosing timeout was up first.
        BaseException: Whatever the body raised, or the cancellation of the caller.
    """
    import asyncio

    before = dict(timed.context)
    work = _outcome(timed.body)
    task = asyncio.get_running_loop().create_task(work, name=f"{timed.name} (timed)", context=timed.context)
    try:
        while not task.done() and (rest := _time_left(timed)) > 0:
            await asyncio.wait((task,), timeout=rest)
    except asyncio.CancelledError as cancelled:
        timed.attempt.request_stop()
        if task.done() or not await _cancel_through(task, cancelled, timed):
            raise  # if it was over already it can no longer hear of it: the cancellation is the caller's
    except BaseException:
        task.cancel()
        raise
    if task.done():
        result, error = task.result()
        if isinstance(error, StopRequested) and time.monotonic() >= timed.deadline:
            raise _timeout_error(timed, None)  # a timed plain task inside was stopped because of this very deadline
        timed.attempt.end()
        _adopt(timed.context, before)
        if error is None:
            return result
        try:
            raise error
        finally:
            del error, task  # as in run_sync
    timed.attempt.request_stop()
    task.cancel()
    _abandon(task)
    await asyncio.wait((task,), timeout=GRACE)
    if time.monotonic() < timed.deadline:
        raise _stopped(timed)
    raise _timeout_error(timed, None if task.done() else _LATE_TASK)


async def _outcome(body: Callable[[], Awaitable[Any]]) -> tuple[Any, BaseException | None]:
    """What the body gives or raises, as a value: asyncio would let a `SystemExit` of a task stop its whole loop."""
    import asyncio

    try:
        return await body(), None
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return None, _without_own_frame(error)


async def _cancel_through(task: asyncio.Task[Any], cancelled: asyncio.CancelledError, timed: TimedBody) -> bool:
    """Pass a cancellation of the caller on to the body, and wait for its end as if it ran in the caller's own task.

    Whether the body ended with a result or an error of its own, which then counts. The timeout goes on bounding it.
    """
    import asyncio

    task.cancel(*cancelled.args)
    while not task.done():
        rest = timed.deadline + GRACE - time.monotonic()
        if rest <= 0:
            _abandon(task)
            _warn_abandoned(timed, _LATE_TASK, cancelled)
            return False
        try:
            await asyncio.wait((task,), timeout=rest)
        except asyncio.CancelledError as again:
            task.cancel(*again.args)
    return not task.cancelled()


def _abandon(task: asyncio.Task[Any]) -> None:
    """Count the body as abandoned until it ends; what it then returns or raises is thrown away."""
    _abandoned.add(task)
    task.add_done_callback(_abandoned.discard)


def _adopt(context: contextvars.Context, before: dict[contextvars.ContextVar[Any], Any]) -> None:
    """Let the caller see the context variables that the body set, as it would have without a timeout."""
    missing = object()
    for variable, value in context.items():
        if before.get(variable, missing) is not value:
            variable.set(value)


def _timeout_error(timed: TimedBody, late: str | None) -> TaskTimeoutError:
    """What to raise when the time is up; `late` says what is still running, if anything is."""
    error = TaskTimeoutError(
        f"task {timed.name!r} took longer than its timeout of {timed.timeout:g} s",
        timeout=timed.timeout,
        abandoned=late is not None,
    )
    if late is not None:
        _warn_abandoned(timed, late, error)
    return error


def _warn_abandoned(timed: TimedBody, late: str, error: BaseException) -> None:
    message = (
        f"task {timed.name!r} did not stop within {GRACE:g} s of its timeout; {late} ({abandoned_bodies()} abandoned "
        "now). Give blocking calls a limit of their own, and let threads that the function started ask "
        "current_task().should_stop()"
    )
    try:
        warn(message)
    except EagerlyWarning:  # warnings are errors here: what the caller gets is the one that counts
        error.add_note(message)


def _interrupt(thread: threading.Thread) -> None:
    """Make `StopRequested` appear at the next bytecode of `thread`; a blocking C call has to return first."""
    if sys.version_info < (3, 12) and (sys.gettrace() is not None or sys.getprofile() is not None):
        # Under a debugger, profiler or coverage, CPython 3.11 would spin in every other thread until this one is
        # interrupted, which a blocking C call puts off. The body is asked to stop, and no more.
        return
    try:
        import ctypes
    except ImportError:  # built without libffi: the body is asked to stop, and no more
        return
    if thread.ident is not None:
        with _starting:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(StopRequested))


def _after_fork() -> None:
    """A forked child has none of its parent's helper threads."""
    global _starting
    _starting = threading.RLock()
    _idle.clear()
    _abandoned.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
