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
"""How many threads work at once while some work gets done. If none does, as it may wait for work that is still to be
done, there is no limit."""

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
    if len(_crew) >= CREW:
        if not _lookouts:
            _begin(_look_out, _lookouts)
        return
    try:
        _begin(_serve, _crew)
    except RuntimeError:
        if not _crew:
            with contextlib.suppress(ValueError):  # somebody has done it in between
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
    global _done
    try:
        while True:
            try:
                context, work = _waiting.popleft()
            except IndexError:
                return
            context.run(work)
            del context, work  # not kept while the next one is looked for
            _done += 1
    finally:
        _crew.discard(me)
        if _waiting and len(_crew) < CREW:
            _begin(_serve, _crew)


def _look_out(me: object) -> None:
    """Call for more threads when those that work stand still."""
    try:
        while _waiting:
            done, used = _done, time.process_time()
            time.sleep(LOOK)
            if _done == done:
                _reinforce(1)
            elif time.process_time() - used < LOOK / 2:
                _reinforce(min(len(_crew), MOST - len(_crew)))
    finally:
        _lookouts.discard(me)
        if _waiting and not _lookouts:
            _begin(_look_out, _lookouts)


def _reinforce(number: int) -> None:
    with contextlib.suppress(RuntimeError):  # no thread can be started; then those that are there have to do
        for _ in range(min(number, len(_waiting))):
            _begin(_serve, _crew)


def _after_fork() -> None:
    """A forked child has none of its parent's threads, and what waits is the parent's work."""
    _waiting.clear()
    _crew.clear()
    _lookouts.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
