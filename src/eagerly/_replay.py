"""`Replay`: tells the plugins of the process that owns the session what a worker has noted of an item."""

from __future__ import annotations

import contextvars
import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from eagerly._context import TaskContext
from eagerly._metadata import FACTS, MetadataSnapshot, TaskMetadata
from eagerly._relay import BEGINS, FACTS_OF_CALL, ITEM, LEFT_RUNS, LOG, NOBODY, OUTCOMES, RETURNS, Event, noted_around
from eagerly._scope import here
from eagerly._wire import PackedError, load, reason, unpack_error
from eagerly.hooks._compile import MOMENTS, CompiledHooks
from eagerly.hooks._spec import HOOKS

if TYPE_CHECKING:
    from uuid import UUID

    from eagerly._item import ItemScope
    from eagerly._task import Task
    from eagerly.typing import Reporter

__all__ = ["ItemCall", "Replay"]

_PLACE: Final = {
    name: next((place for place, given in enumerate(moment.given) if given in ("call", "metadata")), None)
    for name, moment in MOMENTS.items()
}
"""Where the call stands among what a compiled hook is given."""
_GOOD_ENDS: Final = ("after_node_execute", "on_cache_hit")


class ItemCall(TaskContext):
    """The call of an item that runs elsewhere: the same facts, and the decisions that its worker cannot take."""

    _told: float | None = None
    _told_at: float | None = None

    def __init__(self, task: Task[..., Any], args: tuple[Any, ...], item: ItemScope) -> None:
        self._task = task
        self._args = args
        self._kwargs = {}
        self._outer = item
        self._session = item._session
        self.attempt = 1
        self.ended = False
        self.started = item._session.now()
        self.nested: dict[UUID, Any] = {}  # what is recorded of the calls that it has made and that have not ended

    def _reckon(self, begun: int) -> tuple[int, int]:  # noqa: ARG002 - of a nested call that is known
        """When it began and ended, in microseconds since 1970."""
        at = int((self._told_at or time.time()) * 1e6)
        return at - int(self.elapsed * 1e6), at

    def take_nested(self) -> list[Any]:
        """What has not ended, and of which nobody will hear any more."""
        nested, self.nested = self.nested, {}
        return [*nested.values()]

    @property
    def elapsed(self) -> float:
        """Seconds since the first attempt started, as its worker has told, or as time has passed here."""
        return self._session.now() - self.started if self._told is None else self._told


class _NestedCall(MetadataSnapshot):
    """A call that was made by the body of an item, as hooks see it."""

    __slots__ = ("_entry", "_events", "around", "began", "elapsed", "ended", "recorded", "task_name", "version")

    elapsed: float

    def __init__(
        self,
        facts: dict[str, Any],
        around: ItemCall,
        events: Callable[..., None] | None,
        more: tuple[bool, str, str | None, int],
    ) -> None:
        super().__init__(facts)
        self.elapsed = 0.0
        self.ended = False
        self.around = around
        self._entry = None
        self._events = events
        self.recorded, self.task_name, self.version, self.began = more

    def _reckon(self, begun: int) -> tuple[int, int]:
        return begun, begun + int(self.elapsed * 1e6)

    def take_nested(self) -> list[Any]:
        self.around.nested.pop(self.id, None)
        return []

    def report(self, name: str, /, **data: Any) -> None:
        if self._events is not None:
            self._events(name, data, self)

    @property
    def reporter(self) -> Reporter:
        return self

    @property
    def _call(self) -> _NestedCall:
        return self

    @property
    def session(self) -> None:
        return None

    def interrupt(self, error: BaseException) -> None:
        """A hook has raised it: the caller of the replay gets it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return MetadataSnapshot, ({name: getattr(self, name) for name in FACTS},)


class Replay:
    """Tells what has happened at one item.

    Attributes:
        call: The call of the item.
        begun: Whether its start has been told.
    """

    __slots__ = ("_hooks", "_nested", "begun", "call")

    def __init__(self, call: ItemCall, hooks: CompiledHooks) -> None:
        self.call = call
        self.begun = False
        self._hooks = hooks
        self._nested: dict[int, _NestedCall] = {}

    def go_on(self, attempt: int, elapsed: float) -> None:
        """The item goes on in another worker, where this attempt comes next; its start has been told elsewhere."""
        self.begun = True
        self.call.attempt = attempt
        self.call._retries_told = attempt - 1
        self.call.started -= elapsed

    def tell(self, events: Iterable[Event | bytes], outcome: Any = None, *, lost: bool = False) -> None:
        """Call the hooks, in order.

        Args:
            events: What was noted.
            outcome: The result or the error of the item, where its end is among them.
            lost: The item has ended well, but its result does not arrive: its end is not told.
        """
        call, hooks = self.call, self._hooks
        for event in events:
            if event[0] == RETURNS and event[1] == ITEM and not lost:
                call.attempt, call._told, call._told_at = event[2:5]
                if hooks.after_node_execute is not None:
                    hooks.after_node_execute(call, None if call.is_generator else outcome)
                else:
                    call.ended = True
                continue
            if event[0] == BEGINS and event[1] == ITEM:
                call._told, self.begun = event[3], True
                if hooks.before_node_execute is not None:
                    hooks.before_node_execute(call)
                continue
            told: tuple[Any, ...] = _unpack_event(event) if isinstance(event, bytes) else event
            number, whose, attempt, elapsed, *values = told
            if number >= FACTS_OF_CALL:
                self._keep_in_mind(number, whose, values)
                continue
            subject = self._whose(whose)
            if (subject is None and whose != NOBODY) or (lost and whose == ITEM and HOOKS[number] in _GOOD_ENDS):
                continue
            self._tell(number, subject, attempt, elapsed, values, outcome)

    def _whose(self, number: int) -> Any:
        return None if number == NOBODY else self.call if number == ITEM else self._nested.get(number)

    def _keep_in_mind(self, number: int, whose: int, values: list[Any]) -> None:
        """What no hook is told."""
        if number == LOG:
            _handle(values[0], self._whose(whose) or self.call)
        elif number == LEFT_RUNS:
            if (engines := self.call._session.engines) is not None:
                engines.watch_runs(values[0])
        elif whose != NOBODY:
            self._nested[whose] = _NestedCall(values[0], self.call, self._hooks.on_event, values[1])

    def _tell(self, number: int, call: Any, attempt: int, elapsed: float, values: list[Any], outcome: Any) -> None:
        name = HOOKS[number]
        place, moment = _PLACE[name], MOMENTS[name]
        mine = call is self.call
        if call is not None:
            call.attempt = attempt
            if mine:
                call._told = elapsed
                self._follow(name, call, attempt)
                if name in OUTCOMES and not (call.is_generator and name != "on_node_error"):
                    values[-1] = outcome
            else:
                call.elapsed = elapsed
        if place is not None:
            values.insert(place, call)
        hook = getattr(self._hooks, name)
        if hook is not None:
            session = self.call._session
            if name == "on_run_status" and session.engines is not None and noted_around(self.call) is None:
                session.engines.hear(hook, *values, session.run_store)
            else:
                hook(*values)
        elif moment.ending and call is not None:
            call.ended = True
        if (
            not mine
            and (name == "after_node_retry" or (moment.ending and attempt == 1))
            and call is not None
            and call.ended
        ):
            self._nested = {number: each for number, each in self._nested.items() if each is not call}

    def _follow(self, name: str, call: ItemCall, attempt: int) -> None:
        """Keep in mind what decides how the call may go on here."""
        if name == "after_node_retry":
            call._retries_told = attempt
        elif name == "node_iteration":
            call._delivered += 1


def _unpack_event(data: bytes) -> Event:
    try:
        event: Event = load(data)
    except Exception as error:  # a class that cannot be made here
        why = reason(error)
        logging.getLogger("eagerly.hooks").warning("an event from a worker is lost, as it cannot be read: %s", why)
        return (FACTS_OF_CALL, NOBODY, 0, 0.0, {})
    return tuple(unpack_error(each) if isinstance(each, PackedError) else each for each in event)


def _handle(facts: dict[str, Any], call: TaskMetadata) -> None:
    """Give a record to the loggers of this process, as if it had been made here by the call."""
    record = logging.makeLogRecord(facts)
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        context = contextvars.copy_context()
        context.run(here.set, call)  # type: ignore[arg-type]  # has what filters ask of a call
        context.run(logger.handle, record)
