"""Facts about calls on their way from a worker to the process that owns the session: noted there, told again here.

A worker has a recorder in the place of the session's plugins. What it notes travels with the results, in order, and is
told to the plugins once, however often an engine has run the work.
"""

from __future__ import annotations

import contextvars
import inspect
import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from eagerly._context import TaskContext
from eagerly._item import ItemScope
from eagerly._metadata import FACTS, MetadataSnapshot, TaskMetadata
from eagerly._scope import here, items_around
from eagerly._wire import PLAIN, PackedError, dump, load, pack_error, reason, shown, unpack_error
from eagerly.hooks._compile import MOMENTS, CompiledHooks
from eagerly.hooks._marker import hook_impl
from eagerly.hooks._spec import HOOKS, EagerlySpec

if TYPE_CHECKING:
    from uuid import UUID

    from eagerly._scope import Scope
    from eagerly._task import Task
    from eagerly.typing import Reporter

__all__ = ["Event", "ItemCall", "Replay", "listened", "log_record", "pack_events", "recorder"]

Event = tuple[Any, ...]
"""What happened, by number; whose call it is, by number within the item (0: that of the item itself); its attempt;
seconds since its start; then what the hook is given, without the call. For an item that returns, in the place of its
result: when that was."""

_FACTS: Final = len(HOOKS)
_LOG: Final = _FACTS + 1
_NOBODY: Final = -1
_ITEM: Final = 0

_NUMBERS: Final = {name: number for number, name in enumerate(HOOKS)}
_PLACE: Final = {
    name: next((place for place, given in enumerate(moment.given) if given in ("call", "metadata")), None)
    for name, moment in MOMENTS.items()
}
"""Where the call stands among what a compiled hook is given."""
_OUTCOMES: Final = ("after_node_execute", "on_cache_hit", "on_node_error")
"""Hooks whose last argument is how the call ended: for the call of an item, that travels once, as the outcome."""
_BEGINS: Final = _NUMBERS["before_node_execute"]
_RETURNS: Final = _NUMBERS["after_node_execute"]
_BEGUN: Final = (_BEGINS, _ITEM, 1, 0.0)
_USUAL: Final = {
    "before_node_execute": (
        "    item = metadata._outer",
        "    if isinstance(item, ItemScope) and item.resume is None and item.events is not None:",
        "        return item.events.append(BEGUN)",
    ),
    "after_node_execute": (
        "    item = metadata._outer",
        "    if isinstance(item, ItemScope) and item.events is not None:",
        "        return item.events.append((RETURNS, 0, metadata.attempt, metadata.elapsed, unix_time()))",
    ),
}
"""What most items tell, noted and told without a detour: the same as `_note` and `Replay._tell` would."""
_GOOD_ENDS: Final = ("after_node_execute", "on_cache_hit")
_BEGINNINGS: Final = ("on_cache_miss", "before_node_execute")
"""Hooks that have been told of an item that goes on in another worker."""
_LIGHT: Final = frozenset(
    {"before_node_execute", "after_node_execute", "on_node_error", "after_node_retry", "on_node_cancel"}
)
"""Hooks whose other arguments pickle whatever they are."""


def listened(hooks: CompiledHooks) -> frozenset[str]:
    """The hooks that somebody listens to."""
    return frozenset(name for name in HOOKS if getattr(hooks, name) is not None)


# In the worker


def recorder(hooks: Iterable[str]) -> object:
    """A plugin that notes what happens at the given hooks, on behalf of the item that it happens in."""
    methods: dict[str, Any] = {}
    for name in hooks:
        moment = MOMENTS[name]
        parameters = inspect.signature(getattr(EagerlySpec, name)).parameters
        call = "metadata" if "metadata" in parameters else "None"
        values = [each for each in moment.given if each not in ("call", "metadata")]
        if name in _OUTCOMES:
            values[-1] = f"None if is_noted({call}._outer) else {values[-1]}"
        asked = [each for each in parameters if each != "self" and each in (*moment.given, "metadata")]
        note = f"note({name!r}, {call}, ({''.join(f'{value}, ' for value in values)}))"
        lines = [f"def {name}(self, {', '.join(asked)}):", *_USUAL.get(name, ()), f"    {note}"]
        namespace: dict[str, Any] = {"note": _note, "is_noted": _is_noted}
        namespace |= {"ItemScope": ItemScope, "BEGUN": _BEGUN, "RETURNS": _RETURNS, "unix_time": time.time}
        exec("\n".join(lines), namespace)
        methods[name] = hook_impl(namespace[name])
    return type("Recorder", (), methods)()


def _is_noted(scope: Scope) -> bool:
    """Whether it is the place of an item that comes from elsewhere."""
    item = scope._item
    return item is not None and item.events is not None


def _noted_around(scope: Scope) -> ItemScope | None:
    """The item that comes from elsewhere, on whose behalf `scope` is there; it may be one of a map in another item."""
    return next((item for item in items_around(scope) if item.events is not None), None)


def _note(name: str, call: TaskContext | None, values: tuple[Any, ...]) -> None:
    item = _noted_around(here.get() if call is None else call)
    if item is None:
        return
    assert item.events is not None
    if call is None:
        item.events.append((_NUMBERS[name], _NOBODY, 0, 0.0, *values))
    else:
        number = _ITEM if call._outer is item else _number(item, call)
        if number == _ITEM and item.resume is not None and name in _BEGINNINGS:
            return
        elapsed = call.elapsed if hasattr(call, "started") else 0.0  # what the cache knows does not start
        item.events.append((_NUMBERS[name], number, call.attempt, elapsed, *values))
    if call is None or name not in _LIGHT or call._outer is not item:
        item.rich = item.rich or not PLAIN.issuperset(map(type, values))
        if name == "on_event":
            item.map.told(item)


def _number(item: ItemScope, call: TaskContext) -> int:
    """What a call within the item's own is called; its facts are noted when it is first heard of."""
    number = vars(call).get("_relayed")
    if number is None:
        number = vars(call)["_relayed"] = next(item.numbers)
        item.rich = True
        assert item.events is not None
        recorded = not call._session.recording and call._session.run_place == item._session.run_place
        more = recorded, call._task.name, call._task.declaration.version, time.time_ns() // 1000
        item.events.append((_FACTS, number, 0, 0.0, call._facts(), more))
    return number


def log_record(record: logging.LogRecord) -> None:
    """Note a log record that was made on behalf of an item."""
    scope = here.get()
    item = _noted_around(scope)
    if item is None:
        return
    assert item.events is not None
    facts = dict(vars(record), msg=record.getMessage(), args=None)
    if record.exc_info:
        facts["exc_text"] = record.exc_text or logging.Formatter().formatException(record.exc_info)
        facts["exc_info"] = None
    call = scope._call
    number = _NOBODY if call is None else _ITEM if call._outer is item else vars(call).get("_relayed", _ITEM)
    item.rich = True
    item.events.append((_LOG, number, 0, 0.0, facts))
    item.map.told(item)


def pack_events(item: ItemScope) -> list[Any]:
    """What was noted at an item until now, so that it can travel; it is not noted any more."""
    noted = item.events
    if not noted:
        return []
    rich, item.rich = item.rich, False
    events = noted[:]
    del noted[: len(events)]  # and no more: another thread of the body may be noting something now
    return [_pack_event(event) for event in events] if rich else events


def _pack_event(event: Event) -> Event | bytes:
    if PLAIN.issuperset(map(type, event)):
        return event
    event = tuple(pack_error(each) if isinstance(each, BaseException) else each for each in event)
    try:
        return dump(event)
    except Exception:  # whatever the user's objects raise: plugins must hear of it without them
        return dump(tuple(_without_what_cannot_travel(each) for each in event))


def _without_what_cannot_travel(value: object) -> object:
    try:
        dump(value)
    except Exception:
        if isinstance(value, dict):
            items: dict[object, object] = value  # pyright: ignore[reportUnknownVariableType]  # of anything
            return {str(key): _without_what_cannot_travel(each) for key, each in items.items()}
        return shown(value)
    return value


# In the process that owns the session


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
            if event[0] == _RETURNS and event[1] == _ITEM and not lost:
                call.attempt, call._told, call._told_at = event[2:5]
                if hooks.after_node_execute is not None:
                    hooks.after_node_execute(call, None if call.is_generator else outcome)
                else:
                    call.ended = True
                continue
            if event[0] == _BEGINS and event[1] == _ITEM:
                call._told, self.begun = event[3], True
                if hooks.before_node_execute is not None:
                    hooks.before_node_execute(call)
                continue
            told: tuple[Any, ...] = _unpack_event(event) if isinstance(event, bytes) else event
            number, whose, attempt, elapsed, *values = told
            if number == _FACTS:
                if whose == _NOBODY:
                    continue
                self._nested[whose] = _NestedCall(values[0], self.call, self._hooks.on_event, values[1])
                continue
            subject: Any = None if whose == _NOBODY else call if whose == _ITEM else self._nested.get(whose)
            if number == _LOG:
                _handle(values[0], subject or call)
                continue
            if (subject is None and whose != _NOBODY) or (lost and whose == _ITEM and HOOKS[number] in _GOOD_ENDS):
                continue
            self._tell(number, subject, attempt, elapsed, values, outcome)

    def _tell(self, number: int, call: Any, attempt: int, elapsed: float, values: list[Any], outcome: Any) -> None:
        name = HOOKS[number]
        place, moment = _PLACE[name], MOMENTS[name]
        mine = call is self.call
        if call is not None:
            call.attempt = attempt
            if mine:
                call._told = elapsed
                self._follow(name, call, attempt)
                if name in _OUTCOMES and not (call.is_generator and name != "on_node_error"):
                    values[-1] = outcome
            else:
                call.elapsed = elapsed
        if place is not None:
            values.insert(place, call)
        hook = getattr(self._hooks, name)
        if hook is not None:
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
        return (_FACTS, _NOBODY, 0, 0.0, {})
    return tuple(unpack_error(each) if isinstance(each, PackedError) else each for each in event)


def _handle(facts: dict[str, Any], call: TaskMetadata) -> None:
    """Give a record to the loggers of this process, as if it had been made here by the call."""
    record = logging.makeLogRecord(facts)
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        context = contextvars.copy_context()
        context.run(here.set, call)  # type: ignore[arg-type]  # has what filters ask of a call
        context.run(logger.handle, record)
