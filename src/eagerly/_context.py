"""`TaskContext`: every decision in the life of a call.

Nothing in this file calls the task's function, sleeps, awaits or iterates: the drivers in `_tasks` do that, on the
answers they get here. A change that would touch two drivers belongs here.
"""

from __future__ import annotations

import contextvars
import functools
import time
from typing import TYPE_CHECKING, Any

from eagerly._deadline import TimedBody
from eagerly._life import Reason, reason_of
from eagerly._metadata import TaskMetadata
from eagerly._notes import add_note
from eagerly._run_controls import RunControls
from eagerly._scope import OUTSIDE, Scope, SessionContext, first_deadline, here, is_stopping, open_session
from eagerly.errors import OptionTypeError, SettingsError, TaskError
from eagerly.hooks._compile import is_from_hook

if TYPE_CHECKING:
    from datetime import datetime

    from eagerly._clock import Clock
    from eagerly._item import ItemScope
    from eagerly._stored import StoredCall
    from eagerly._task import Task
    from eagerly.cache._protocol import CacheStore
    from eagerly.datasets._store import DatasetStore
    from eagerly.typing import Reporter

__all__ = ["TaskContext"]


_look = here.get


class TaskContext(RunControls, TaskMetadata):
    """One call of one task: the facts about it and every decision of its life.

    Get it with `current_task()` in the body of a task, or as a parameter ``call: TaskContext = INJECTED``, which
    callers do not see. Its facts are those of `TaskMetadata`, which hooks see of it.
    """

    # Defaults of what few calls need stand here, where they cost a call nothing.
    _delivered = 0
    _stopping = False
    _timestamp: datetime | None = None
    _retries_told = 1
    _deadline: float | None = None
    _item: ItemScope | None = None
    _stored: StoredCall | None = None
    _reckon: Any = None  # says when it was, of a call that was made elsewhere

    ended: bool
    started: float

    def __init__(self, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._task = task
        self._args = args
        self._kwargs = kwargs
        self._outer = outer = _look()
        session = outer._session
        self._session = session if not session.closed else open_session(session)
        self.attempt = 1
        self.ended = False

    @property
    def _call(self) -> TaskContext:
        return self

    # Facts, for the body and for hooks

    @property
    def task(self) -> Task[..., Any]:
        """The task that was called."""
        return self._task

    @property
    def session(self) -> SessionContext | None:
        """The session that the call belongs to, or None outside of one."""
        return None if self._session is OUTSIDE else self._session

    @property
    def parent(self) -> TaskContext | None:
        """The call on whose behalf this one was made, or None."""
        return self._outer._call

    @property
    def cache_store(self) -> CacheStore | None:
        """Where cached tasks that the body calls keep their results, or None."""
        return self._session.cache_store

    @property
    def dataset_store(self) -> DatasetStore | None:
        """Where datasets are saved that the body saves, or None."""
        return self._session.dataset_store

    @property
    def metadata(self) -> TaskMetadata:
        """The facts about this call that hooks get too."""
        return self

    @property
    def elapsed(self) -> float:
        """Seconds since the first attempt started, by the session's clock."""
        return self._session.now() - self.started

    @property
    def timestamp(self) -> datetime:
        """When the first attempt started: wall-clock time in UTC, reckoned back when first asked for.

        With a clock of your own, whose seconds may not be real ones: when it was first asked for.
        """
        if self._timestamp is None:
            from datetime import UTC, datetime, timedelta

            real = self._session.now is time.perf_counter
            self._timestamp = datetime.now(UTC) - timedelta(seconds=self.elapsed if real else 0.0)
        return self._timestamp

    @property
    def sources(self) -> list[dict[str, Any]]:
        """The datasets that this attempt has loaded so far, for the manifests of those that it saves."""
        if self._stored is not None:
            return self._stored.sources
        return vars(self).setdefault("_sources", [])  # type: ignore[no-any-return]  # of sources

    def _forget_sources(self) -> None:
        vars(self).pop("_sources", None)
        if self._stored is not None:
            self._stored.sources = []

    @property
    def reporter(self) -> Reporter:
        """Sends events of your own to the session's ``on_event`` hooks."""
        return self

    def report(self, name: str, /, **data: Any) -> None:
        """Send the event `name` with its `data` to the session's ``on_event`` hooks.

        Example:
            >>> from eagerly import current_task, task
            >>> @task
            ... def load(rows):
            ...     current_task().report("loaded", rows=len(rows))
        """
        if not isinstance(name, str):
            raise OptionTypeError(f"report() takes the name of the event and its data by keyword, not {name!r}")
        if (hook := self._session.hooks.on_event) is not None:
            hook(name, data, self)

    def should_stop(self) -> bool:
        """Whether the body should end as soon as it can: its time, or that of a call around it, is up, or the map that
        it is an item of is given up.
        """
        return is_stopping(self)

    @property
    def outer(self) -> Scope:
        """What the call was made in: a session, another call, or an item of a map."""
        return self._outer

    def __repr__(self) -> str:
        return f"<call of task {self.name!r}, attempt {self.attempt}, id={self.id}>"

    # Decisions, for the drivers

    @property
    def clock(self) -> Clock:
        """What measures this call and sleeps between its attempts."""
        return self._session.clock

    def hit(self, key: str, value: Any) -> None:
        """The result was found in the cache, and is returned without a run; None for a stream."""
        self.ended = True
        if self._outer._item is not None:
            self._note_run(cached=True)
        if (hook := self._session.hooks.on_cache_hit) is not None:
            hook(self, key, value)

    def miss(self, key: str) -> None:
        """The result was not found in the cache: the function will run."""
        if (hook := self._session.hooks.on_cache_miss) is not None:
            self.started = self._session.now()  # if the hook raises, the call ends here, and that end has a duration
            hook(self, key)

    def cache_failed(self, key: str, error: Exception) -> None:
        """The cache could not be read or written. The call goes on as if it had no cache."""
        if (hook := self._session.hooks.on_cache_error) is not None:
            hook(self, key, error)

    def start(self) -> None:
        """The first attempt is about to be made.

        Raises:
            TypeError: The arguments are wrong. Only looked at here when somebody would hear of a call that never was;
                else calling the function tells, at no cost.
        """
        session = self._session
        self.started = session.now()
        if (hook := session.hooks.before_node_execute) is not None:
            self._task.check(*self._args, **self._kwargs)
            hook(self)

    def succeed(self, result: Any) -> None:
        """The function has returned `result`; None for a stream that is exhausted."""
        try:
            if (hook := self._session.hooks.after_node_execute) is not None:
                hook(self, result)  # which notes that the call has ended
            else:
                self.ended = True
        finally:
            if self.attempt > 1:
                self._end_retry(succeeded=True)

    def exhaust(self, closing: bool) -> None:
        """The stream's generator has ended: by itself, or because the consumer closed it (`closing`)."""
        if closing:
            self.cancel("closed")
        else:
            self.succeed(None)

    def deliver(self, item: Any) -> bool:
        """A stream has produced an item that is about to be handed out; whether the next one matters here too."""
        index = self._delivered
        self._delivered = index + 1
        if (hook := self._session.hooks.node_iteration) is None:
            return False
        hook(self, index, item)
        return True

    def fail(self, error: BaseException) -> float | None:
        """The user's code has raised: seconds to wait before the next attempt, or None if `error` is to be raised.

        Raises:
            TaskError: Instead of a final `error`, where errors are wrapped.
        """
        if not isinstance(error, Exception):
            self.interrupt(error)
            return None
        if isinstance(error, TypeError) and self._arguments_are_wrong():
            self.ended = True  # it never began
            return None
        delay = self._delay_after(error)
        if self.attempt > 1:
            self._end_retry(succeeded=False)
        if delay is not None:
            self.attempt += 1
            self._forget_sources()
            self._note_run(attempt=self.attempt, progress=0.0, step=None, steps=None)
            if (hook := self._session.hooks.before_node_retry) is not None:
                hook(self, self.attempt, error, delay)
            return delay
        if (hook := self._session.hooks.on_node_error) is not None:
            hook(self, error)  # here, not one frame deeper: the stack may be what is exhausted
        else:
            self.ended = True
        attempts = f"{self.attempt} attempt{'s' if self.attempt > 1 else ''}"
        if self._wraps_errors(error):
            if self._stored is not None:  # before it is wrapped: those who wait for the result wrap it themselves
                self._stored.give_up(error)
            raise self._task_error(error, attempts) from error
        add_note(
            error, f"eagerly: task {self._task.declaration.name!r}", f"failed after {attempts} in {self.elapsed:.3g} s"
        )
        return None

    def fail_for_good(self, error: Exception) -> None:
        """The call ends with `error`, not raised in this run of the function. The caller of this raises it."""
        if self.attempt > 1:
            self._end_retry(succeeded=False)
        if (hook := self._session.hooks.on_node_error) is not None:
            hook(self, error)
        else:
            self.ended = True

    def fail_like(self, error: Exception) -> Exception:
        """The call ends with the `error` of another one, whose result it would have had; what is to be raised."""
        self.fail_for_good(error)
        if not self._wraps_errors(error):
            return error
        wrapped = self._task_error(error, f"{self.attempt} attempt")
        wrapped.__cause__ = error
        return wrapped

    def interrupt(self, error: BaseException) -> None:
        """`error` is on its way to the caller. If the call has not ended, that is its end, though no failure of the
        user's function: a `BaseException`, or one from between attempts.
        """
        self.cancel(reason_of(error), error)

    def cancel(self, reason: Reason, error: BaseException | None = None) -> None:
        """The call ends with neither a result nor an error, unless it has ended already."""
        if self._stored is not None:
            self._stored.give_up(error)
        if self.ended:
            return
        try:
            if self.attempt > 1:
                self._end_retry(succeeded=False)
        finally:
            if (hook := self._session.hooks.on_node_cancel) is not None:
                hook(self, reason)
            else:
                self.ended = True

    def _end_retry(self, *, succeeded: bool) -> None:
        """Tell how the retry that was announced went, once."""
        if self._retries_told < self.attempt:
            self._retries_told = self.attempt
            if (hook := self._session.hooks.after_node_retry) is not None:
                hook(self, self.attempt, succeeded)

    def timed_attempt(self) -> TimedBody:
        """The next attempt, to be bounded by the task's timeout.

        The attempt gets a context of its own: one that was asked to stop goes on being asked while the next one runs.
        """
        declaration = self._task.declaration
        timeout = declaration.timeout
        assert timeout is not None
        attempt = self._for_one_attempt()
        attempt._deadline = deadline = time.monotonic() + timeout
        context = contextvars.copy_context()
        context.run(here.set, attempt)
        return TimedBody(
            name=declaration.name,
            body=functools.partial(self._task.func, *self._args, **self._kwargs),
            context=context,
            timeout=timeout,
            deadline=deadline,
            attempt=attempt,
        )

    def lift_deadline(self) -> None:
        """The attempt has ended in time: its deadline does not concern what it left running."""
        self._deadline = None

    def enclosing_deadline(self) -> float | None:
        """`time.monotonic` reading at which the first of the timeouts around this attempt is up, or None."""
        return first_deadline(self._outer)

    def _for_one_attempt(self) -> TaskContext:
        self._identify()  # before the copy, as all attempts are one call, with one id and one beginning
        self.timestamp  # noqa: B018 - as above
        copy = object.__new__(TaskContext)
        for slot in TaskMetadata.__slots__:
            setattr(copy, slot, getattr(self, slot))
        vars(copy).update(vars(self))
        return copy

    def _arguments_are_wrong(self) -> bool:
        try:
            self._task.check(*self._args, **self._kwargs)
        except TypeError:
            return True
        return False

    def _arguments_fit_what_is_shown(self) -> bool:
        """Whether the signature admits the arguments; a decorator on the function may take any and pass them on."""
        try:
            self._task.signature.bind(*self._args, **self._kwargs)
        except TypeError:
            return False
        return True

    def _delay_after(self, error: Exception) -> float | None:
        retry = self._task.declaration.retry
        if retry is None or self._delivered or self.should_stop() or is_from_hook(error):
            return None
        if isinstance(error, TypeError) and not self._arguments_fit_what_is_shown():
            return None
        try:
            return retry.delay_after(self.attempt, error, elapsed=self.elapsed)
        except Exception as problem:
            add_note(error, "eagerly: not retried:", f"Retry(on=...) failed with {type(problem).__name__}: {problem}")
            return None

    def _wraps_errors(self, error: Exception) -> bool:
        wrap = self._task.declaration.wrap_errors
        if wrap is not None:
            return wrap
        try:
            return self._session.settings.wrap_errors
        except SettingsError as problem:  # looked up outside of a session, where the user's error is what counts
            add_note(error, "eagerly: settings ignored:", str(problem))
            return False

    def _task_error(self, error: Exception, attempts: str) -> TaskError:
        elapsed = self.elapsed
        return TaskError(
            f"task {self.name!r} failed after {attempts} in {elapsed:.3g} s: {type(error).__name__}: {error}",
            metadata=self,
            attempts=self.attempt,
            duration=elapsed,
        )
