"""For tests of code that uses eagerly: hooks that remember what happened, and a clock on which nobody waits.

Works with every test framework; pytest finds fixtures made of it through `eagerly_pytest`.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from eagerly._clock import Clock
from eagerly._life import ENDINGS, LIFE, check_life
from eagerly._metadata import TaskMetadata
from eagerly._numbers import seconds
from eagerly.hooks import hook_impl

if TYPE_CHECKING:
    from uuid import UUID

    from eagerly.runs._run import Run
    from eagerly.runs._status import RunStatus
    from eagerly.typing import Reporter

__all__ = ["HookEvent", "InstantClock", "RecordingHooks", "instant_clock"]

_OF_A_LIFE = frozenset(hook for moves in LIFE.values() for hook in moves)
_ENDING_HOOKS = ", ".join(hook for hook, state in LIFE["running"].items() if state in ENDINGS)


class HookEvent:
    """One hook that fired. Its arguments are attributes: ``event.metadata``, ``event.error``, ``event.delay``.

    Attributes:
        hook: Name of the hook.
        arguments: Its arguments by name.
    """

    __slots__ = ("arguments", "hook")

    def __init__(self, hook: str, arguments: dict[str, Any]) -> None:
        self.hook = hook
        self.arguments = arguments

    def __getattr__(self, name: str) -> Any:
        if name in HookEvent.__slots__:  # asked for while the event is being copied
            raise AttributeError(name)
        try:
            return self.arguments[name]
        except KeyError:
            raise AttributeError(f"{self.hook} has no argument {name!r}; it has {', '.join(self.arguments)}") from None

    def __repr__(self) -> str:
        parts = [self.hook]
        for name, value in self.arguments.items():
            if name == "metadata":
                parts.append(repr(None if value is None else value.name))
            elif name != "reporter":
                parts.append(f"{name}={value!r}")
        return f"<{' '.join(parts)}>"


class RecordingHooks:
    """A plugin that implements every hook and remembers what fired, in order, from all threads and asyncio tasks.

    Give it to ``session(plugins=[...])``. It keeps arguments and results alive until `clear` is called.

    Example:
        >>> from eagerly import session, task
        >>> from eagerly.testing import RecordingHooks
        >>> @task
        ... def double(x):
        ...     return 2 * x
        >>> hooks = RecordingHooks()
        >>> with session(plugins=[hooks]):
        ...     double(21)
        42
        >>> hooks.names("double")
        ['before_node_execute', 'after_node_execute']
        >>> hooks.of("double")[-1].result
        42
        >>> hooks.verify()
    """

    def __init__(self) -> None:
        # Without a lock, which on_node_cancel could meet in the garbage collector while its own thread holds it:
        # appending to a list and copying one are atomic.
        self._events: list[HookEvent] = []

    @property
    def events(self) -> list[HookEvent]:
        """What fired so far, in order; a copy."""
        return self._events.copy()

    def names(self, of: str | TaskMetadata | None = None) -> list[str]:
        """The names of the hooks that fired, in order.

        Args:
            of: Only those of the calls that `of` would give for it. Default: all, those of sessions included.
        """
        return [event.hook for event in (self.events if of is None else self.of(of))]

    def of(self, call: str | TaskMetadata) -> list[HookEvent]:
        """What fired for one call, or for all calls of one name.

        Args:
            call: The name of a task, as the call had it (placeholders filled in), or the metadata of one call, of which
                ``current_task()`` is one too.
        """
        if isinstance(call, str):
            return [event for event in self.events if (of := _metadata(event)) is not None and of.name == call]
        return [event for event in self.events if (of := _metadata(event)) is not None and of.id == call.id]

    def calls(self) -> list[list[HookEvent]]:
        """What fired for each call: one list per call, in the order in which the calls first showed up."""
        calls: dict[UUID, list[HookEvent]] = {}
        for event in self.events:
            if (metadata := _metadata(event)) is not None:
                calls.setdefault(metadata.id, []).append(event)
        return list(calls.values())

    def clear(self) -> None:
        """Forget everything. Not for the middle of a call, whose ending would then have no start."""
        self._events.clear()

    def verify(self, *, allow_running: bool = False) -> None:
        """Check that every call lived a life: one start, exactly one ending, and in between only what may come there.

        Args:
            allow_running: Accept calls that have not ended yet.

        Raises:
            AssertionError: A call did not; the message tells for each such call what fired.
        """
        wrong: list[str] = []
        for call in self.calls():
            hooks = [event.hook for event in call if event.hook in _OF_A_LIFE]
            complaint = _complaint(hooks, allow_running) if hooks else None
            if complaint is not None:
                metadata = call[0].metadata
                wrong.append(f"call {metadata.id} of task {metadata.name!r}: {complaint}")
        if wrong:
            raise AssertionError("\n".join(wrong))

    def __repr__(self) -> str:
        return f"<RecordingHooks: {len(self._events)} events>"

    # The hooks

    def _record(self, hook: str, **arguments: Any) -> None:
        self._events.append(HookEvent(hook, arguments))

    @hook_impl
    def before_session_start(self, session_id: UUID) -> None:
        self._record("before_session_start", session_id=session_id)

    @hook_impl
    def on_cache_hit(self, metadata: TaskMetadata, key: str, value: Any, reporter: Reporter) -> None:
        self._record("on_cache_hit", metadata=metadata, key=key, value=value, reporter=reporter)

    @hook_impl
    def on_cache_miss(self, metadata: TaskMetadata, key: str, reporter: Reporter) -> None:
        self._record("on_cache_miss", metadata=metadata, key=key, reporter=reporter)

    @hook_impl
    def on_cache_error(self, metadata: TaskMetadata, key: str, error: Exception, reporter: Reporter) -> None:
        self._record("on_cache_error", metadata=metadata, key=key, error=error, reporter=reporter)

    @hook_impl
    def before_node_execute(self, metadata: TaskMetadata, reporter: Reporter) -> None:
        self._record("before_node_execute", metadata=metadata, reporter=reporter)

    @hook_impl
    def node_iteration(self, metadata: TaskMetadata, index: int, item: Any, reporter: Reporter) -> None:
        self._record("node_iteration", metadata=metadata, index=index, item=item, reporter=reporter)

    @hook_impl
    def before_node_retry(
        self, metadata: TaskMetadata, attempt: int, error: Exception, delay: float, reporter: Reporter
    ) -> None:
        self._record(
            "before_node_retry", metadata=metadata, attempt=attempt, error=error, delay=delay, reporter=reporter
        )

    @hook_impl
    def after_node_execute(self, metadata: TaskMetadata, result: Any, duration: float, reporter: Reporter) -> None:
        self._record("after_node_execute", metadata=metadata, result=result, duration=duration, reporter=reporter)

    @hook_impl
    def after_node_retry(self, metadata: TaskMetadata, attempt: int, succeeded: bool, reporter: Reporter) -> None:
        self._record("after_node_retry", metadata=metadata, attempt=attempt, succeeded=succeeded, reporter=reporter)

    @hook_impl
    def on_node_error(self, metadata: TaskMetadata, error: Exception, duration: float, reporter: Reporter) -> None:
        self._record("on_node_error", metadata=metadata, error=error, duration=duration, reporter=reporter)

    @hook_impl
    def on_node_cancel(self, metadata: TaskMetadata, reason: str, duration: float, reporter: Reporter) -> None:
        self._record("on_node_cancel", metadata=metadata, reason=reason, duration=duration, reporter=reporter)

    @hook_impl
    def before_dataset_save(
        self, key: str, value: Any, format: str | None, options: dict[str, Any], metadata: TaskMetadata | None
    ) -> None:
        self._record("before_dataset_save", key=key, value=value, format=format, options=options, metadata=metadata)

    @hook_impl
    def after_dataset_save(
        self, key: str, value: Any, format: str, options: dict[str, Any], metadata: TaskMetadata | None, path: str
    ) -> None:
        self._record(
            "after_dataset_save", key=key, value=value, format=format, options=options, metadata=metadata, path=path
        )

    @hook_impl
    def before_dataset_load(
        self, key: str, return_type: Any, format: str | None, options: dict[str, Any], metadata: TaskMetadata | None
    ) -> None:
        self._record(
            "before_dataset_load", key=key, return_type=return_type, format=format, options=options, metadata=metadata
        )

    @hook_impl
    def after_dataset_load(
        self,
        key: str,
        return_type: Any,
        format: str | None,
        options: dict[str, Any],
        metadata: TaskMetadata | None,
        result: Any,
        duration: float,
    ) -> None:
        self._record(
            "after_dataset_load",
            key=key,
            return_type=return_type,
            format=format,
            options=options,
            metadata=metadata,
            result=result,
            duration=duration,
        )

    @hook_impl
    def on_event(self, name: str, data: dict[str, Any], metadata: TaskMetadata | None) -> None:
        self._record("on_event", name=name, data=data, metadata=metadata)

    @hook_impl
    def on_run_status(self, run: Run[Any], previous: RunStatus | None) -> None:
        self._record("on_run_status", run=run, previous=previous)

    @hook_impl
    def after_session_end(self, session_id: UUID, duration: float) -> None:
        self._record("after_session_end", session_id=session_id, duration=duration)


class InstantClock(Clock):
    """A clock that stands still until somebody sleeps on it, and then is at once as much later. See `instant_clock`.

    Attributes:
        sleeps: The seconds that were asked for, in order, from all threads and asyncio tasks.
    """

    def __init__(self, start: float = 0.0) -> None:
        super().__init__(now=self._read, sleep=self._sleep, async_sleep=self._async_sleep, time=self._read_wall)
        self.sleeps: list[float] = []
        self._time = seconds("instant_clock(start=...)", start)
        self._wall_offset = time.time() - self._time
        # Reentrant: the garbage collector may run code that sleeps while its own thread is in here.
        self._lock = threading.RLock()

    def advance(self, by: float) -> None:
        """Make it `by` seconds later, without a sleep."""
        by = seconds("InstantClock.advance()", by)
        with self._lock:
            self._time += by

    def _read(self) -> float:
        return self._time

    def _read_wall(self) -> float:
        return self._wall_offset + self._time

    def _sleep(self, duration: float) -> None:
        self.sleeps.append(duration)
        self.advance(duration)

    async def _async_sleep(self, duration: float) -> None:
        import asyncio

        self.sleeps.append(duration)
        await asyncio.sleep(0)  # others get their turn, and a cancellation gets in, as in any sleep
        self.advance(duration)

    def __repr__(self) -> str:
        return f"<InstantClock at {self._time:g} s, {len(self.sleeps)} sleeps>"


def instant_clock(start: float = 0.0) -> InstantClock:
    """A clock for ``session(clock=...)`` on which retries wait for no time at all, and which shows what they asked for.

    Its time advances by what is slept on it and by `InstantClock.advance`, and by nothing else. Sleeps that would be
    concurrent in real time add up. Timeouts bound real work and stay in real time.

    Args:
        start: Its first reading, in seconds.

    Example:
        >>> from eagerly import Retry, session, task
        >>> from eagerly.testing import instant_clock
        >>> @task(retries=Retry(2, delay=30, jitter=0))
        ... def fetch():
        ...     raise ConnectionError
        >>> clock = instant_clock()
        >>> with session(clock=clock):
        ...     try:
        ...         fetch()
        ...     except ConnectionError:
        ...         clock.sleeps
        [30.0, 60.0]
        >>> clock.now()
        90.0
    """
    return InstantClock(start)


def _metadata(event: HookEvent) -> TaskMetadata | None:
    return event.arguments.get("metadata")


def _complaint(hooks: list[str], allow_running: bool) -> str | None:
    """What is wrong with the life of one call, or None."""
    try:
        state = check_life(hooks)
    except ValueError as error:
        return str(error)
    if state in ENDINGS or allow_running:
        return None
    return (
        f"it has started and not ended; exactly one of {_ENDING_HOOKS} must follow, but there was only "
        f"{', '.join(hooks)}. If it may still be running here, use verify(allow_running=True)"
    )
