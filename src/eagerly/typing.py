"""Protocols: the shapes that eagerly accepts, for the type checkers of people who write their own."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol, runtime_checkable

__all__ = ["AsyncSleep", "Now", "ProgressLine", "Reporter", "ShowsMaps", "Sleep"]


class Reporter(Protocol):
    """What a hook or a body uses to tell the session something of its own making."""

    def report(self, name: str, /, **data: Any) -> None:
        """Send the event `name` with its `data` to every ``on_event`` hook of the session."""
        ...


class Now(Protocol):
    """A clock reading in seconds that never goes backwards; only differences mean anything."""

    def __call__(self) -> float: ...


class Sleep(Protocol):
    """Block the calling thread for `seconds`."""

    def __call__(self, seconds: float, /) -> None: ...


class AsyncSleep(Protocol):
    """Suspend the calling coroutine for `seconds` without blocking its event loop."""

    def __call__(self, seconds: float, /) -> Awaitable[None]: ...


class ProgressLine(Protocol):
    """How far a map with ``progress=`` is, in one line. It changes as the map goes on."""

    def text(self, width: int | None = None, *, ascii: bool = False) -> str:  # noqa: A002 - as in builtins
        """The line as it is now.

        Args:
            width: Characters that it may have; None: any number, and no bar.
            ascii: Use no characters beyond ASCII.
        """
        ...


@runtime_checkable
class ShowsMaps(Protocol):
    """A plugin with a display of its own, on which maps with ``progress=`` are shown too."""

    def shows_maps(self) -> bool:
        """Whether it does so now; if not, they are shown as if there were no such plugin."""
        ...

    def map_started(self, line: ProgressLine, /) -> None:
        """From now on, `line` is to be shown."""
        ...

    def map_ended(self, line: ProgressLine, /) -> None:
        """`line` will not change any more. It should stay where people can read it."""
        ...
