"""Work that may block, handed in by event loops and done by a few helper threads.

Ten thousand coroutines that look something up at once are not to have ten thousand threads.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from eagerly._threads import Job, start_on_helper

__all__ = ["hand_in"]

CREW: Final = 4
"""How many threads begin to work at once. More of them only get into each other's way, unless they stand still."""

MOST: Final = 64
"""How many threads work at once while some work gets done. If none does, as its store may not answer or it may wait for
work that is still to be done, there is no limit: other work is not to wait for that."""

LOOK: Final = 0.05
"""Seconds in which the threads that work have to use half a processor, as long as work waits; else they wait for a slow
store, and as many more are called for."""

# Without a lock: the garbage collector may run a hook, and so a task, at any allocation. Whoever adds work looks for
# workers after that, and who leaves looks for work after that.
_waiting: Final[deque[tuple[contextvars.Context, Callable[[], object]]]] = deque()
_crew: Final[set[object]] = set()
_lookouts: Final[set[object]] = set()
_done: int = 0
"""Grows while work gets done. Two threads that count at once count one, which is enough."""


def hand_in(work: Callable[[], object]) -> None:
    """Have `work` done in the caller's context, after what was handed in before. It should raise nothing.

    Raises:
        RuntimeError: There is no thread for it, and none can be started.
    """
    entry = (contextvars.copy_context(), work)
    _waiting.append(entry)
    try:
        if len(_crew) < CREW:
            _begin(_serve, _crew)
        elif not _lookouts:
            _begin(_look_out, _lookouts)
    except RuntimeError:
        with contextlib.suppress(ValueError):  # somebody has begun it in between
            _waiting.remove(entry)
            raise


def _begin(body: Callable[[object], None], group: set[object]) -> None:
    me = object()
    group.add(me)
    try:
        start_on_helper(Job(lambda: body(me), contextvars.Context()))
    except BaseException:
        group.discard(me)
        raise


def _serve(me: object) -> None:
    """Work as long as there is any."""
    try:
        while _do(_waiting.popleft):
            pass
    finally:
        _crew.discard(me)
        if _waiting and len(_crew) < CREW:
            _begin(_serve, _crew)


def _do(take: Callable[[], tuple[contextvars.Context, Callable[[], object]]]) -> bool:
    """Do what `take` gives; False if there is nothing."""
    global _done
    try:
        context, work = take()
    except IndexError:
        return False
    context.run(work)
    _done += 1
    return True


def _look_out(me: object) -> None:
    """Call for more threads when those that work stand still."""
    try:
        while _waiting:
            done, used = _done, time.process_time()
            time.sleep(LOOK)
            more = len(_crew)
            if _done != done:
                more = min(more, MOST - more) if time.process_time() - used < LOOK / 2 else 0
            try:
                for _ in range(min(more, len(_waiting))):
                    _begin(_serve, _crew)
            except RuntimeError:  # no thread can be started; then what came last does not wait for what stands still
                _lookouts.discard(me)
                _do(_waiting.pop)
                _lookouts.add(me)
    finally:
        _lookouts.discard(me)
        if _waiting and not _lookouts:
            _begin(_look_out, _lookouts)


def _after_fork() -> None:
    """A forked child has none of its parent's threads, and what waits is the parent's work."""
    _waiting.clear()
    _crew.clear()
    _lookouts.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
