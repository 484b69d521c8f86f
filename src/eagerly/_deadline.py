"""Running a body for at most so many seconds, on a helper thread (sync) or in an asyncio task of its own (async).

Both keep the promise to the caller first: it is released when the time is up, whatever the body does. The body is
asked to stop and interrupted. If it does not end within `GRACE` it is abandoned: counted, warned about, and what it
returns in the end is thrown away. Nothing here knows about retries, sessions or hooks.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from eagerly._clock import SLICE
from eagerly._threads import Job, abandoned, abandoned_bodies, start_on_helper, without_own_frame
from eagerly._warnings import warn
from eagerly.errors import EagerlyWarning, StopRequested, TaskTimeoutError

if TYPE_CHECKING:
    import asyncio

__all__ = ["GRACE", "TimedBody", "run_async", "run_sync"]

GRACE: Final = 0.1
"""Seconds that an interrupted body gets for its `finally` blocks before it counts as abandoned."""

LATE_TASK: Final = "its asyncio task is abandoned until the function returns by itself"


class Attempt(Protocol):
    """What the body's side of a timeout is told and asked."""

    def give_notice(self) -> None:
        """The time is up, or the caller has gone: let the body know, should it ask."""
        ...

    def lift_deadline(self) -> None:
        """The body has ended in time: its deadline does not concern what it left running."""
        ...

    def enclosing_deadline(self) -> float | None:
        """`time.monotonic` reading at which the first of the timeouts around this attempt is up, if there are any."""
        ...


class TimedBody:
    """One attempt that may take a limited time.

    Attributes:
        name: Of the task, for messages.
        body: What to call, without arguments.
        context: Where to call it: a copy of the caller's context.
        timeout: Seconds.
        deadline: `time.monotonic` reading at which they are over.
        attempt: Whom to tell.
    """

    __slots__ = ("attempt", "body", "context", "deadline", "name", "timeout")

    def __init__(
        self,
        *,
        name: str,
        body: Callable[[], Any],
        context: contextvars.Context,
        timeout: float,
        deadline: float,
        attempt: Attempt,
    ) -> None:
        self.name = name
        self.body = body
        self.context = context
        self.timeout = timeout
        self.deadline = deadline
        self.attempt = attempt


def run_sync(timed: TimedBody) -> Any:
    """Run the body on a helper thread for as long as its timeout allows, and return what it returns.

    Raises:
        TaskTimeoutError: The time was up first.
        StopRequested: The time of an enclosing timeout was up first.
        BaseException: Whatever the body raised, or what interrupted the wait (Ctrl-C).
    """
    before = dict(timed.context)
    job = Job(timed.body, timed.context)
    thread = None
    try:
        thread = start_on_helper(job)
        in_time = _wait(job.ready, timed)
    except BaseException:
        timed.attempt.give_notice()
        if thread is not None and job.give_up(thread):
            # Ctrl-C ends programs: a body that is printing gets the time to let go of the lock of stdout.
            job.ready.acquire(timeout=GRACE)
        raise
    if not in_time:
        timed.attempt.give_notice()
        in_time = not job.give_up(thread)
    if in_time:
        result, error = job.result, _settled(timed, before, job.error)
        job.result = job.error = None
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
    late = f"the thread {thread.name!r} is abandoned until the function returns by itself" if running else None
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
        if ready.acquire(timeout=min(rest, SLICE)):
            return True


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
        timed.attempt.give_notice()
        if task.done() or not await _cancel_through(task, cancelled, timed):
            raise  # if it was over already it can no longer hear of it: the cancellation is the caller's
    except BaseException:
        task.cancel()
        raise
    if task.done():
        result, error = task.result()
        error = _settled(timed, before, error)
        if error is None:
            return result
        try:
            raise error
        finally:
            del error, task  # as in run_sync
    timed.attempt.give_notice()
    task.cancel()
    _abandon(task)
    await asyncio.wait((task,), timeout=GRACE)
    if time.monotonic() < timed.deadline:
        raise _stopped(timed)
    raise _timeout_error(timed, None if task.done() else LATE_TASK)


async def _outcome(body: Callable[[], Awaitable[Any]]) -> tuple[Any, BaseException | None]:
    """What the body gives or raises, as a value: asyncio would let a `SystemExit` of a task stop its whole loop."""
    import asyncio

    try:
        return await body(), None
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return None, without_own_frame(error)


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
            _warn_abandoned(timed, LATE_TASK, cancelled)
            return False
        try:
            await asyncio.wait((task,), timeout=rest)
        except asyncio.CancelledError as again:
            task.cancel(*again.args)
    return not task.cancelled()


def _abandon(task: asyncio.Task[Any]) -> None:
    """Count the body as abandoned until it ends; what it then returns or raises is thrown away."""
    abandoned.add(task)
    task.add_done_callback(abandoned.discard)


def _settled(
    timed: TimedBody, before: dict[contextvars.ContextVar[Any], Any], error: BaseException | None
) -> BaseException | None:
    """A body has ended in time: what its caller is to raise. The context variables that it set are now the caller's."""
    if isinstance(error, StopRequested) and time.monotonic() >= timed.deadline:
        return _timeout_error(timed, None)  # a timed task inside was stopped because of this very deadline
    timed.attempt.lift_deadline()
    _adopt(timed.context, before)
    return error


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
