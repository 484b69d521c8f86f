"""Two things about async generators that Python leaves to whoever drives one: its beginning, and its end."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eagerly._context import TaskContext

__all__ = ["EndingOf", "first_step"]


def first_step(source: AsyncGenerator[Any, Any]) -> Any:
    """The first step of the user's async generator, without telling the event loop of it.

    A loop that ends closes all generators it knows of, in any order. It knows the driver, and that closes its source.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return source.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)


class EndingOf:
    """Ends the call when the frame that holds this goes away.

    An async generator that is dropped when no event loop can close it is cleared away without being resumed.
    """

    __slots__ = ("_call",)

    def __init__(self, call: TaskContext) -> None:
        self._call = call

    def __del__(self) -> None:
        call = getattr(self, "_call", None)  # None if a signal arrived in __init__
        if call is not None:
            call.cancel("closed")
