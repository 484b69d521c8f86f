"""The same task in four kinds, so that a rule is stated once and tested for all of them.

Helpers only; nothing here asserts anything.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import eagerly
from eagerly import Clock, task

__all__ = [
    "ASYNC_KINDS",
    "KINDS",
    "NO_SLEEP",
    "STREAM_KINDS",
    "TheirError",
    "all_kinds",
    "async_kinds",
    "drive",
    "frames_of_ours",
    "make_function",
    "ours",
    "stream_kinds",
    "walk_traceback",
]


class TheirError(Exception):
    """What the user's code raises in these tests."""


class Kind(enum.Enum):
    """One of the four kinds of task, with what it takes to make one from a plain body and to run it to its end."""

    SYNC = "sync"
    ASYNC = "async"
    STREAM = "stream"
    ASYNC_STREAM = "async_stream"

    @property
    def is_async(self) -> bool:
        return self in (Kind.ASYNC, Kind.ASYNC_STREAM)

    @property
    def is_stream(self) -> bool:
        return self in (Kind.STREAM, Kind.ASYNC_STREAM)

    def make(self, body: Callable[..., Any], **options: Any) -> Any:
        """A task whose body calls `body`; the streams yield its result as their only item."""
        return task(make_function(self, body), **options)

    def run(self, task: Any, *args: Any, **kwargs: Any) -> Any:
        """Call from sync code, run to the end, return the result (of a stream: its last item)."""
        if self.is_async:
            return asyncio.run(self.arun(task, *args, **kwargs))
        if self is Kind.SYNC:
            return task(*args, **kwargs)
        result = None
        for item in task(*args, **kwargs):
            result = item
        return result

    async def arun(self, task: Any, *args: Any, **kwargs: Any) -> Any:
        """As `run`, for the async kinds, in the running event loop."""
        if self is Kind.ASYNC:
            return await task(*args, **kwargs)
        result = None
        async for item in task(*args, **kwargs):
            result = item
        return result


def make_function(kind: Kind, body: Callable[..., Any]) -> Callable[..., Any]:
    """The undecorated function that `Kind.make` decorates."""
    if kind is Kind.SYNC:

        def function(*args: Any, **kwargs: Any) -> Any:
            return body(*args, **kwargs)

    elif kind is Kind.ASYNC:

        async def function(*args: Any, **kwargs: Any) -> Any:
            return body(*args, **kwargs)

    elif kind is Kind.STREAM:

        def function(*args: Any, **kwargs: Any) -> Any:
            yield body(*args, **kwargs)

    else:

        async def function(*args: Any, **kwargs: Any) -> Any:
            yield body(*args, **kwargs)

    function.__name__ = function.__qualname__ = getattr(body, "__name__", "body").strip("<>")
    return function


def drive(coroutine: Any) -> Any:
    """The result of a coroutine that never waits for anything, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits for something")


async def _async_no_sleep(seconds: float) -> None:
    """For `drive`: waits for nothing."""


NO_SLEEP = Clock(sleep=lambda seconds: None, async_sleep=_async_no_sleep)
"""A clock that does not wait and remembers nothing, where `instant_clock` would remember each sleep."""

KINDS = tuple(Kind)
ASYNC_KINDS = tuple(kind for kind in Kind if kind.is_async)
STREAM_KINDS = tuple(kind for kind in Kind if kind.is_stream)


def _over(kinds: tuple[Kind, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kind", kinds, ids=[kind.value for kind in kinds])


all_kinds = _over(KINDS)
async_kinds = _over(ASYNC_KINDS)
stream_kinds = _over(STREAM_KINDS)

_PACKAGE = str(Path(eagerly.__file__).parent)


def ours(filename: str) -> bool:
    """Whether code from this file is the library's."""
    return filename.startswith(_PACKAGE)


def walk_traceback(error: BaseException) -> Iterator[Any]:
    """The frames of the error's traceback, outermost first."""
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def frames_of_ours(error: BaseException) -> list[str]:
    """The names of the library's functions that the traceback of `error` goes through."""
    return [frame.f_code.co_name for frame in walk_traceback(error) if ours(frame.f_code.co_filename)]
