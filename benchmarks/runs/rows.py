"""What is timed in turns, as data."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ROWS", "Row"]

MS, US = 1e-3, 1e-6


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        key: What ``--only`` selects by.
        title: What the table says.
        target: Seconds that eagerly may take, or add to `over`; None: there is none.
        over: The row that it is compared with, if the target is about what it adds to that.
    """

    key: str
    title: str
    target: float | None = None
    over: str | None = None


ROWS = (
    Row("one", "submit, execute, complete, wait: one run", 1 * MS),
    Row("one-first", "the same, the first one of a session"),
    Row("one-memory", "one run, recorded in memory"),
    Row("call", "a call in a session"),
    Row("call-recorded", "a call in a session with a run store", 15 * US, over="call"),
)
