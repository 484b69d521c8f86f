"""`Waits`: workers of this process that wait for maps on other workers, and whether anybody is left to do the work.

A worker that waits for a map does itself what nobody else can begin: items of its own engine, and those of an engine
whose workers all wait, in the end for one another. It does not while anybody may still come to them, as an engine with
one worker may be there so that no two items run at a time.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from eagerly._scope import items_around

if TYPE_CHECKING:
    from eagerly._scope import Scope
    from eagerly.backends._protocol import Backend

__all__ = ["Waits"]


class Waits:
    """How the thread that reads a map waits for it.

    Args:
        around: What the map was called in.
        engine: What it runs on.
    """

    def __init__(self, around: Scope, engine: Backend) -> None:
        own = [item.map.engine for item in items_around(around)]
        self._engine = engine
        self._nested = engine.capabilities.in_process and any(each is engine for each in own)
        self._worker_of: Any = next((each for each in own if _has_threads(each)), None)
        self._suspects = False

    def helps(self) -> bool:
        """Whether this thread is to do what nobody has begun. Ask again whenever nothing has come for a while."""
        if self._nested:
            return True
        if self._worker_of is None or not self._engine.capabilities.in_process:
            return False
        with self:
            suspected, self._suspects = self._suspects, _is_stuck(self._engine, ())
        return suspected and self._suspects  # twice, as something may just have come

    def __enter__(self) -> None:
        if self._worker_of is not None:
            with _lock:
                _waiting.setdefault(_key(self._worker_of), []).append(self._engine)

    def __exit__(self, *_: object) -> None:
        if self._worker_of is not None:
            with _lock:
                there = _waiting[_key(self._worker_of)]
                del there[next(place for place, each in enumerate(there) if each is self._engine)]
                if not there:
                    del _waiting[_key(self._worker_of)]


_waiting: dict[int, list[Any]] = {}
"""By the key of an engine: the engines that those of its workers wait for that wait."""

_lock = threading.RLock()  # re-entrant: the garbage collector may run a task in the middle of it


def _after_fork() -> None:
    """A forked child has none of the threads that wait, nor the one that may hold the lock."""
    global _lock
    _lock = threading.RLock()
    _waiting.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _key(engine: Any) -> int:
    """The same for backends that have the same threads."""
    return id(getattr(engine, "workers_of", engine))


def _has_threads(engine: Any) -> bool:
    capabilities = getattr(engine, "capabilities", None)
    return capabilities is not None and capabilities.in_process and capabilities.name != "inline"


def _is_stuck(engine: Any, assumed: tuple[Any, ...]) -> bool:
    """Whether all workers of an engine wait, and for none but such engines."""
    if any(_key(each) == _key(engine) for each in assumed):
        return True
    with _lock:
        found = list(_waiting.get(_key(engine), ()))
    return len(found) >= engine.capabilities.workers and all(_is_stuck(each, (*assumed, engine)) for each in found)
