"""The runs that this process executes, so that a handle on one of them can do more than look at its record.

Who executes them registers them here. Nothing here does.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol

from eagerly.errors import EagerlyError

if TYPE_CHECKING:
    from eagerly.runs._payload import Payload
    from eagerly.runs._record import RunRecord

__all__ = ["LIVE", "UNWRITTEN", "Live", "wait_until_written"]


class Live(Protocol):
    """A run that this process executes, or has executed.

    Attributes:
        record: What is known of it.
        settled: Whether its code has really ended.
        error: What it has raised, or None.
        kept: What it has given at its end, if that is small; else None.
    """

    record: RunRecord
    error: BaseException | None
    kept: Payload | None

    @property
    def settled(self) -> bool: ...

    def heard(self, record: RunRecord) -> None:
        """Somebody in this process has changed it, or asks something of it. Must not block."""
        ...

    def ready(self, timeout: float | None = None) -> bool:
        """Wait until its record is written, so long at most; whether it is.

        Raises:
            EagerlyError: It could not be.
        """
        ...

    def when_ready(self, tell: Callable[[], object]) -> None:
        """Call `tell` when the record is written, or could not be."""
        ...

    def help(self, *, waits: bool) -> None:
        """Whoever calls this is about to wait for the run, without an end if `waits`, and may be what it waits for."""
        ...

    def wait_briefly(self, seconds: float | None) -> float | None:
        """Wait for its end for a moment, no longer than `seconds`; what is left of them, or None if it has ended."""
        ...

    def items(self) -> Iterator[Any]:
        """The items of a stream, as they come."""
        ...

    def items_async(self) -> AsyncIterator[Any]:
        """The same for ``async for``."""
        ...


LIVE: Final[weakref.WeakValueDictionary[str, Live]] = weakref.WeakValueDictionary()
"""By the id of the run."""

UNWRITTEN: Final[set[Live]] = set()
"""Those whose records are about to be written, by another thread than the one that has submitted them."""


def wait_until_written() -> None:
    """Until the records of all runs that were submitted so far are there, or could not be made. May block."""
    for run in [*UNWRITTEN]:
        with contextlib.suppress(EagerlyError):  # which is told to whoever has submitted it
            run.ready()


def _after_fork() -> None:
    """The runs of the parent are not the child's."""
    LIVE.clear()
    UNWRITTEN.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
