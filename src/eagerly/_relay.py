"""Facts about calls on their way from a worker to the process that owns the session: noted there, told again here.

A worker has a recorder in the place of the session's plugins. What it notes travels with the results, in order, and is
told to the plugins once, however often an engine has run the work.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from eagerly._context import TaskContext
from eagerly._item import ItemScope
from eagerly._scope import here, items_around
from eagerly._wire import PLAIN, dump, pack_error, shown
from eagerly.hooks._compile import MOMENTS, CompiledHooks
from eagerly.hooks._marker import hook_impl
from eagerly.hooks._spec import HOOKS, EagerlySpec

if TYPE_CHECKING:
    from eagerly._scope import Scope

__all__ = [
    "BEGINS",
    "FACTS_OF_CALL",
    "ITEM",
    "LEFT_RUNS",
    "LOG",
    "NOBODY",
    "OUTCOMES",
    "RETURNS",
    "Event",
    "listened",
    "log_record",
    "note_left_runs",
    "noted_around",
    "pack_events",
    "recorder",
]

Event = tuple[Any, ...]
"""What happened, by number; whose call it is, by number within the item (0: that of the item itself); its attempt;
seconds since its start; then what the hook is given, without the call. For an item that returns, in the place of its
result: when that was."""

FACTS_OF_CALL: Final = len(HOOKS)
LOG: Final = FACTS_OF_CALL + 1
LEFT_RUNS: Final = FACTS_OF_CALL + 2
NOBODY: Final = -1
ITEM: Final = 0

_NUMBERS: Final = {name: number for number, name in enumerate(HOOKS)}
OUTCOMES: Final = ("after_node_execute", "on_cache_hit", "on_node_error")
"""Hooks whose last argument is how the call ended: for the call of an item, that travels once, as the outcome."""
BEGINS: Final = _NUMBERS["before_node_execute"]
RETURNS: Final = _NUMBERS["after_node_execute"]
_BEGUN: Final = (BEGINS, ITEM, 1, 0.0)
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
_BEGINNINGS: Final = ("on_cache_miss", "before_node_execute")
"""Hooks that have been told of an item that goes on in another worker."""
_LIGHT: Final = frozenset(
    {"before_node_execute", "after_node_execute", "on_node_error", "after_node_retry", "on_node_cancel"}
)
"""Hooks whose other arguments pickle whatever they are."""
_URGENT: Final = ("on_event", "on_run_status")
"""Hooks that people may want to hear of before the item has ended."""


def listened(hooks: CompiledHooks) -> frozenset[str]:
    """The hooks that somebody listens to."""
    return frozenset(name for name in HOOKS if getattr(hooks, name) is not None)


def recorder(hooks: Iterable[str]) -> object:
    """A plugin that notes what happens at the given hooks, on behalf of the item that it happens in."""
    methods: dict[str, Any] = {}
    for name in hooks:
        moment = MOMENTS[name]
        parameters = inspect.signature(getattr(EagerlySpec, name)).parameters
        call = "metadata" if "metadata" in parameters else "None"
        values = [each for each in moment.given if each not in ("call", "metadata")]
        if name in OUTCOMES:
            values[-1] = f"None if is_noted({call}._outer) else {values[-1]}"
        asked = [each for each in parameters if each != "self" and each in (*moment.given, "metadata")]
        note = f"note({name!r}, {call}, ({''.join(f'{value}, ' for value in values)}))"
        lines = [f"def {name}(self, {', '.join(asked)}):", *_USUAL.get(name, ()), f"    {note}"]
        namespace: dict[str, Any] = {"note": _note, "is_noted": _is_noted}
        namespace |= {"ItemScope": ItemScope, "BEGUN": _BEGUN, "RETURNS": RETURNS, "unix_time": time.time}
        exec("\n".join(lines), namespace)
        methods[name] = hook_impl(namespace[name])
    return type("Recorder", (), methods)()


def _is_noted(scope: Scope) -> bool:
    """Whether it is the place of an item that comes from elsewhere."""
    item = scope._item
    return item is not None and item.events is not None


def noted_around(scope: Scope) -> ItemScope | None:
    """The item that comes from elsewhere, on whose behalf `scope` is there; it may be one of a map in another item."""
    return next((item for item in items_around(scope) if item.events is not None), None)


def _note(name: str, call: TaskContext | None, values: tuple[Any, ...]) -> None:
    item = noted_around(here.get() if call is None else call)
    if item is None:
        return
    assert item.events is not None
    if call is None:
        item.events.append((_NUMBERS[name], NOBODY, 0, 0.0, *values))
    else:
        number = ITEM if call._outer is item else _number(item, call)
        if number == ITEM and item.resume is not None and name in _BEGINNINGS:
            return
        elapsed = call.elapsed if hasattr(call, "started") else 0.0  # what the cache knows does not start
        item.events.append((_NUMBERS[name], number, call.attempt, elapsed, *values))
    if call is None or name not in _LIGHT or call._outer is not item:
        item.rich = item.rich or not PLAIN.issuperset(map(type, values))
        if name in _URGENT:
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
        item.events.append((FACTS_OF_CALL, number, 0, 0.0, call._facts(), more))
    return number


def note_left_runs(item: ItemScope) -> None:
    """The item ends: nobody here will tell any more of what becomes of the runs that it has submitted."""
    if item.events is not None and (left := vars(item).get("_runs")):
        item.events.append((LEFT_RUNS, NOBODY, 0, 0.0, [*left]))
        item.rich = True


def log_record(record: logging.LogRecord) -> None:
    """Note a log record that was made on behalf of an item."""
    scope = here.get()
    item = noted_around(scope)
    if item is None:
        return
    assert item.events is not None
    facts = dict(vars(record), msg=record.getMessage(), args=None)
    if record.exc_info:
        facts["exc_text"] = record.exc_text or logging.Formatter().formatException(record.exc_info)
        facts["exc_info"] = None
    call = scope._call
    number = NOBODY if call is None else ITEM if call._outer is item else vars(call).get("_relayed", ITEM)
    item.rich = True
    item.events.append((LOG, number, 0, 0.0, facts))
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
