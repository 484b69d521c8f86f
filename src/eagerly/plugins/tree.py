"""`CallTree`: what ran or was cached, who called whom, how often it was tried, how long it took, what came out.

Keeps names, numbers and short texts about calls, never their arguments, results, errors or metadata.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, Literal

from eagerly import TaskMetadata, hook_impl
from eagerly.plugins.drawing import Row, draw, rows_of
from eagerly.plugins.text import error_line, one_line, summarise

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["Call", "CallTree"]

State = Literal["running", "retrying", "ok", "cached", "failed", "cancelled"]

_NOTES = 3
"""Notes that are kept of one call; those after them are counted."""

_EARLY = 1000
"""Calls of which a note is kept before they are known."""


class Call:
    """What is remembered of one call of a task.

    Attributes:
        id: As in `TaskMetadata`.
        name: As in `TaskMetadata`, on one line.
        parent: The call on whose behalf it was made; for the outermost calls, the root of the tree.
        children: The calls made on its behalf, by id, in the order in which they started.
        state: ``"running"``, ``"retrying"``, ``"ok"``, ``"cached"`` (its result was in the cache, so nothing ran),
            ``"failed"`` or ``"cancelled"``.
        attempts: How often it was tried so far.
        items: How many items the stream has produced; None if it is no stream, or was in the cache.
        duration: Seconds from the first attempt to the end; None while it runs, 0.0 if nothing ran.
        outcome: A few words about the result, the error, or the reason of the cancellation.
        setback: Why the last attempt but this one failed, or an empty text.
        notes: What else happened, in a few words each: datasets that it saved, trouble with the cache. The first three.
        more_notes: How many there were after those.
        forgotten: How many calls made on its behalf have been forgotten to save memory.
        forgotten_failed: How many of those failed.
        forgotten_cached: How many of those were in the cache.
        is_forgotten: Whether this call itself has been forgotten.
    """

    __slots__ = (
        "_started",
        "attempts",
        "children",
        "duration",
        "forgotten",
        "forgotten_cached",
        "forgotten_failed",
        "id",
        "is_forgotten",
        "items",
        "more_notes",
        "name",
        "notes",
        "outcome",
        "parent",
        "setback",
        "state",
    )

    def __init__(self, id: UUID | None, name: str, parent: Call | None, *, is_stream: bool = False) -> None:  # noqa: A002  # the name in TaskMetadata
        self.id = id
        self.name = name
        self.parent = parent
        self.children: dict[UUID | None, Call] = {}
        self.state: State = "running"
        self.attempts = 1
        self.items = 0 if is_stream else None
        self.duration: float | None = None
        self.outcome = ""
        self.setback = ""
        self.notes: list[str] = []
        self.more_notes = 0
        self.forgotten = 0
        self.forgotten_failed = 0
        self.forgotten_cached = 0
        self._started = time.perf_counter()
        self.is_forgotten = False

    @property
    def elapsed(self) -> float:
        """Seconds that it took, or that it has been running by now."""
        return time.perf_counter() - self._started if self.duration is None else self.duration

    def __repr__(self) -> str:
        return f"<Call {self.name!r} {self.state}>"


class CallTree:
    """A plugin that records which calls were made, as a tree, and renders it as text.

    A call whose result was in the cache is one of them, without a duration and without calls of its own.

    Threads and asyncio tasks may record at the same time. Memory is bounded: of the calls that have ended, the last
    `max_calls` are remembered, and those before them only counted.

    Args:
        max_calls: How many calls that have ended are remembered.
        summarise: Puts a result into a few words. Default: `eagerly.plugins.text.summarise`, which shows numbers and
            short texts and says of everything else what it is. ``lambda result: ""`` shows nothing.

    Example:
        >>> from eagerly import session, task
        >>> @task
        ... def double(x):
        ...     return 2 * x
        >>> tree = CallTree()
        >>> with session(plugins=[tree]):
        ...     double(21)
        42
        >>> print(tree)  # doctest: +ELLIPSIS
        ✓ double  ... ms  42
    """

    def __init__(self, *, max_calls: int = 1000, summarise: Callable[[Any], str] = summarise) -> None:
        if max_calls < 1:
            raise ValueError(f"CallTree(max_calls=...) takes a number from 1, not {max_calls!r}")
        self._max_calls = max_calls
        self._summarise = summarise
        self._lock = threading.Lock()
        # A hook may run in the garbage collector, in the middle of a change made by the same thread. So hooks touch
        # only their own call; changes of what calls share wait in line, and whoever has the lock makes them.
        self._changes: deque[tuple[Callable[[Call], None], Call]] = deque()
        self._forget_all()

    # Reading

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls that were not made on behalf of another one, in the order in which they started."""
        return tuple(call for depth, call in self.walk() if depth == 0)

    def walk(self) -> Iterator[tuple[int, Call]]:
        """Every call that is remembered, with its depth from 0: callers before those they called."""
        with self._settled():
            found: list[tuple[int, Call]] = []
            waiting = [(0, call) for call in reversed(self._root.children.values())]
            while waiting:
                depth, call = waiting.pop()
                found.append((depth, call))
                waiting += [(depth + 1, child) for child in reversed(call.children.values())]
        return iter(found)

    def render(self, *, width: int | None = None, siblings: int = 20, ascii: bool = False) -> str:  # noqa: A002  # as in builtins
        """The tree as text, one call per line: name, duration, attempts, items, result or error, what it saved.

        Args:
            width: Characters per line; None: as many as it takes.
            siblings: How many calls made by the same caller are shown; of the others it is said how many there are.
            ascii: Draw without characters beyond ASCII.
        """
        return "\n".join(draw(self.rows(siblings=siblings, ascii=ascii), width=width, ascii=ascii))

    def rows(self, *, siblings: int = 20, ascii: bool = False) -> list[Row]:  # noqa: A002 - as in builtins
        """The lines of `render` in columns, for displays that arrange or colour them in their own way."""
        with self._settled():
            return rows_of(self._root, siblings=siblings, ascii=ascii)

    def __str__(self) -> str:
        return self.render()

    def clear(self) -> None:
        """Forget everything, calls that are still running included."""
        with self._settled():
            self._forget_all()

    def changed(self, call: Call) -> None:
        """A call has started, is to be retried or has ended, as ``call.state`` tells. For subclasses; does nothing.

        Called by one thread at a time, for each call in the order of its life. It must not read the tree, which is
        in the middle of a change; `call` and its parents may be read.
        """

    # Recording

    @hook_impl
    def before_node_execute(self, metadata: TaskMetadata) -> None:
        parent = self._known.get(metadata.parent_id, self._root)
        call = Call(metadata.id, one_line(metadata.name), parent, is_stream=metadata.is_generator)
        self._adopt(call)
        self._change(self._attach, call)

    @hook_impl
    def node_iteration(self, metadata: TaskMetadata, index: int) -> None:
        if (call := self._known.get(metadata.id)) is not None:
            call.items = index + 1
            call.state = "running"

    @hook_impl
    def before_node_retry(self, metadata: TaskMetadata, attempt: int, error: Exception) -> None:
        if (call := self._known.get(metadata.id)) is not None:
            call.attempts = attempt
            call.setback = error_line(error)
            call.state = "retrying"
            self._change(self.changed, call)

    @hook_impl
    def after_node_execute(self, metadata: TaskMetadata, result: Any, duration: float) -> None:
        self._end(metadata, "ok", one_line(self._summarise(result)), duration)

    @hook_impl
    def on_node_error(self, metadata: TaskMetadata, error: Exception, duration: float) -> None:
        self._end(metadata, "failed", error_line(error), duration)

    @hook_impl
    def on_node_cancel(self, metadata: TaskMetadata, reason: str, duration: float) -> None:
        self._end(metadata, "cancelled", reason, duration)

    @hook_impl
    def on_cache_hit(self, metadata: TaskMetadata, value: Any) -> None:
        parent = self._known.get(metadata.parent_id, self._root)
        call = Call(metadata.id, one_line(metadata.name), parent)
        call.state, call.duration, call.outcome = "cached", 0.0, one_line(self._summarise(value))
        self._adopt(call)
        self._change(self._attach_and_retire, call)

    @hook_impl
    def on_cache_error(self, metadata: TaskMetadata, error: Exception) -> None:
        self._note(metadata, one_line(f"cache failed: {error_line(error)}"))

    @hook_impl
    def after_dataset_save(self, metadata: TaskMetadata | None, key: str) -> None:
        if metadata is not None:  # else saved outside of every call
            self._note(metadata, one_line(f"saved {key}"))

    def _note(self, metadata: TaskMetadata, text: str) -> None:
        call = self._known.get(metadata.id)
        if call is not None:
            self._change(functools.partial(_add_note, text=text), call)
            return
        # Before it is known whether the call is a hit or will run. It may also be refused, and never be heard of again.
        if len(self._early) >= _EARLY:
            self._early.clear()
        self._early.setdefault(metadata.id, []).append(text)

    def _adopt(self, call: Call) -> None:
        self._known[call.id] = call
        for text in self._early.pop(call.id, ()):
            _add_note(call, text)

    def _end(self, metadata: TaskMetadata, state: State, outcome: str, duration: float) -> None:
        if (call := self._known.get(metadata.id)) is not None:
            call.duration = duration
            call.outcome = outcome
            call.state = state
            self._change(self._retire, call)

    # Changes of what calls share, made by one thread at a time

    def _change(self, change: Callable[[Call], None], call: Call) -> None:
        self._changes.append((change, call))
        self._work_off()

    def _work_off(self) -> None:
        # Never waits for the lock: whoever has it will look at the line again after giving it back.
        while self._changes and self._lock.acquire(blocking=False):
            try:
                self._make_changes()
            finally:
                self._lock.release()

    def _make_changes(self) -> None:
        while self._changes:
            change, call = self._changes.popleft()
            change(call)

    def _attach(self, call: Call) -> None:
        if call.id in self._known:  # else everything has been cleared meanwhile
            parent = call.parent = _remembered(call.parent)
            parent.children[call.id] = call
            self.changed(call)

    def _attach_and_retire(self, call: Call) -> None:
        if call.id in self._known:
            parent = call.parent = _remembered(call.parent)
            parent.children[call.id] = call
            self._retire(call)

    def _retire(self, call: Call) -> None:
        if call.id in self._known:
            self._ended.append(call)
            self.changed(call)
            if len(self._ended) > self._max_calls:
                self._forget(self._ended.popleft())

    def _forget(self, call: Call) -> None:
        parent = _remembered(call.parent)
        parent.forgotten += 1 + call.forgotten
        parent.forgotten_failed += (call.state == "failed") + call.forgotten_failed
        parent.forgotten_cached += (call.state == "cached") + call.forgotten_cached
        del parent.children[call.id]
        for child in call.children.values():  # calls that outlive their caller, as background work does
            child.parent = parent
        parent.children.update(call.children)
        call.children = {}
        call.is_forgotten = True
        del self._known[call.id]

    def _forget_all(self) -> None:
        self._root = Call(None, "", None)
        self._known: dict[UUID | None, Call] = {}
        self._early: dict[UUID | None, list[str]] = {}  # notes of calls that are not known yet
        self._ended: deque[Call] = deque()

    @contextlib.contextmanager
    def _settled(self) -> Generator[None]:
        """Nobody changes the tree in here, and whatever hooks have told so far is in it."""
        with self._lock:
            self._make_changes()
            yield
        self._work_off()


def _add_note(call: Call, text: str) -> None:
    if len(call.notes) < _NOTES:
        call.notes.append(text)
    else:
        call.more_notes += 1


def _remembered(call: Call | None) -> Call:
    """`call` or, if it has been forgotten, the nearest caller of it that has not."""
    while call is not None and call.is_forgotten:
        call = call.parent
    assert call is not None  # the root is never forgotten
    return call
