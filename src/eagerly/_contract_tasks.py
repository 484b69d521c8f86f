"""The tasks that `BackendContract` maps. Workers import them by name, so they stand in a module of their own.

Nothing here asserts anything: what a task has seen, it returns.
"""

from __future__ import annotations

import contextvars
import logging
import os
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from eagerly._decorator import task
from eagerly._mapping import map_tasks
from eagerly._retry import Retry
from eagerly._scope import current_session, current_task

__all__ = [
    "LOGGER",
    "CannotTravel",
    "OddError",
    "Unreadable",
    "add",
    "cached",
    "count_to",
    "count_to_async",
    "die_of",
    "facts",
    "fail_for",
    "fails_first",
    "give",
    "give_and_raise",
    "leave",
    "left_behind",
    "length",
    "nested",
    "nested_facts",
    "square",
    "square_async",
    "talks",
    "wait_until_asked_to_stop",
]

LOGGER: Final = "eagerly.contracts"

left_behind: contextvars.ContextVar[int] = contextvars.ContextVar("left_behind", default=-1)


class OddError(Exception):
    """An error whose constructor takes what pickle would not give it."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{reason} ({code})")
        self.code = code
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return _odd_error, (self.code, self.reason)


def _odd_error(code: int, reason: str) -> OddError:
    return OddError(code, reason=reason)


class CannotTravel(Exception):  # noqa: N818 - it says what is the matter with it
    """An error that pickle refuses, as whatever else refers to an open file or a lock."""

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("it holds a connection")


class Unreadable:
    """A value that can be pickled, and not made again."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ("it was made for another machine",)


def _refuse(reason: str) -> None:
    raise ValueError(reason)


@task(tags=["arithmetic"])
def square(x: int) -> int:
    return x * x


@task
async def square_async(x: int) -> int:
    return x * x


@task
def count_to(x: int) -> Iterator[int]:
    yield from range(x)


@task
async def count_to_async(x: int) -> AsyncIterator[int]:
    for each in range(x):
        yield each


@task
def add(x: int, y: int) -> int:
    return x + y


@task
def length(value: Any) -> int:
    return len(value)


@task
def give(sort: str) -> Any:
    """A value that does not arrive everywhere."""
    if sort == "a lock":
        import threading

        return threading.Lock()
    return Unreadable() if sort == "unreadable" else sort


@task
def leave(x: int) -> int:
    """What an earlier item has left in the context; leaves something."""
    found = left_behind.get()
    left_behind.set(x)
    return found


@task(name="facts_{x}", tags=["one", "two"])
def facts(x: int) -> dict[str, Any]:  # noqa: ARG001 - an item has one
    """What the body sees of its own call."""
    call, session = current_task(), current_session()
    assert call is not None
    return {
        "id": call.id,
        "name": call.name,
        "map_index": call.map_index,
        "parent_id": call.parent_id,
        "session_id": call.session_id,
        "backend": call.backend,
        "tags": call.tags,
        "attempt": call.attempt,
        "inputs": call.inputs,
        "same session": session is not None and session.session_id == call.session_id,
        "process": os.getpid(),
    }


@task
def fail_for(x: int, bad: int) -> int:
    if x == bad:
        raise OddError(x, reason="not this one")
    return x


@task
def give_and_raise(sort: str) -> str:
    if sort == "odd":
        raise OddError(7, reason="odd")
    if sort == "cannot travel":
        raise CannotTravel("it broke")
    if sort == "caused":
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error
    if sort == "several":
        raise ExceptionGroup("several", [ValueError("one"), OddError(2, reason="two")])
    return sort


@task
def die_of(x: int, bad: int, how: str) -> int:
    if x == bad:
        if how == "exit":
            os._exit(3)
        raise SystemExit(3) if how == "SystemExit" else KeyboardInterrupt
    return x


@task(retries=Retry(2, delay=0))
def fails_first(x: int) -> int:  # noqa: ARG001 - an item has one
    """Fails in its first two attempts. Gives the attempt that succeeded."""
    call = current_task()
    assert call is not None
    if call.attempt < 3:
        raise OddError(call.attempt, reason="too early")
    return call.attempt


@task
def talks(x: int) -> int:
    """Says something, in each way that there is."""
    call = current_task()
    assert call is not None
    call.report("said", what=x)
    logging.getLogger(LOGGER).warning("item %d", x)
    return square(x)


@task(cache=True, cache_version="1")
def cached(x: int) -> int:
    return x * 10


@task
def nested(x: int, backend: Any) -> int:
    """The sum of the first squares, by another map."""
    return sum(map_tasks(square, range(x), backend=backend))


@task
def nested_facts(x: int) -> dict[str, Any]:
    """What the bodies see in a map that was told no backend, in an item of a map."""
    call = current_task()
    assert call is not None
    return {"id": call.id, "process": os.getpid(), "inner": map_tasks(facts, [x])[0]}


@task
def wait_until_asked_to_stop(x: int, bad: int) -> int:
    """The item `bad` fails at once; others end when they are asked to, and in any case after a minute."""
    if x == bad:
        raise OddError(x, reason="not this one")
    call, late = current_task(), time.monotonic() + 60.0
    assert call is not None
    while not call.should_stop() and time.monotonic() < late:
        pass
    return x
