"""Protocols: the shapes that eagerly accepts, for the type checkers of people who write their own."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

__all__ = ["AsyncSleep", "Now", "Reporter", "Sleep"]


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
