"""The warning about plain functions that hand back what has not run yet: a coroutine or a generator."""

from __future__ import annotations

from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final

from eagerly._declaration import Declaration
from eagerly._warnings import warn

__all__ = ["ESCAPING", "warn_escaped"]

ESCAPING: Final = frozenset({CoroutineType, GeneratorType, AsyncGeneratorType})


def warn_escaped(declaration: Declaration, result: Any) -> None:
    """A plain function has handed back something that has not run yet, out of reach of everything a task does."""
    if declaration.warned_escaped:
        return
    declaration.warned_escaped = True
    what, fix = _ESCAPED[type(result).__name__]
    warn(
        f"task {declaration.name!r} is a plain function that returned {what}: what runs in it is out of reach of "
        f"retries, timeouts and hooks. {fix}"
    )


_DECORATOR: Final = "If a decorator hides what the function is, put @task directly on it, below that decorator"
_ESCAPED: Final = {
    "coroutine": (
        "a coroutine",
        f"Declare it with `async def` and await the call inside. {_DECORATOR}, or use inspect.markcoroutinefunction",
    ),
    "generator": ("a generator", f"Write the `yield` in the task itself, or return a list. {_DECORATOR}"),
    "async_generator": ("an async generator", f"Write the `yield` in the task itself. {_DECORATOR}"),
}
