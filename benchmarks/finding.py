"""What is found out several times, rather than timed in turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Finding", "find"]


@dataclass(frozen=True)
class Finding:
    """Something that is found out several times, and the worst of it.

    Attributes:
        key: What ``--only`` selects by.
        title: What the table says.
        unit: Of the numbers.
        most: What it may be.
        find: Finds it out once.
    """

    key: str
    title: str
    unit: str
    most: float
    find: Callable[[], float]


def find(finding: Finding, times: int) -> list[float]:
    """What came out, sorted."""
    return sorted(finding.find() for _ in range(times))
