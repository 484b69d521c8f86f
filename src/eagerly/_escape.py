"""The warning about plain functions that hand back what has not run yet: a coroutine or a generator."""

from __future__ import annotations

from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final, Protocol

from eagerly._warnings import warn

__all__ = ["ASYNC_GENERATOR", "COROUTINE", "GENERATOR", "warn_escaped"]

COROUTINE: Final = CoroutineType
GENERATOR: Final = GeneratorType
ASYNC_GENERATOR: Final = AsyncGeneratorType
"""What has not run yet. Compare the type of a result with ``is``: a set would ask its metaclass for a hash, which may
be code of the user's, and raise.
"""


class MayBeEscaped(Protocol):
    """What remembers that the warning has been given."""

    name: str
    warned_escaped: bool


def warn_escaped(decorated: MayBeEscaped, decorator: str, result: Any) -> None:
    """Warn, once for each `decorated`, that its function has handed back `result`, which has not run yet."""
    if decorated.warned_escaped:
        return
    decorated.warned_escaped = True
    what, fix = _ESCAPED[type(result).__name__]
    warn(
        f"{decorator} {decorated.name!r} is a plain function that returned {what}: what runs in it is out of reach "
        f"of {_OUT_OF_REACH[decorator]}. {fix} If a decorator hides what the function is, put @{decorator} "
        "directly on it, below that decorator"
    )


_OUT_OF_REACH: Final = {"task": "retries, timeouts and hooks", "workflow": "the session, which has been left"}
_ESCAPED: Final = {
    "coroutine": (
        "a coroutine",
        "Declare it with `async def` and await the call inside, or mark it with inspect.markcoroutinefunction.",
    ),
    "generator": ("a generator", "Write the `yield` in the task itself, or return a list."),
    "async_generator": ("an async generator", "Write the `yield` in the task itself."),
}
