"""`Intake`: the arguments of a map's items, taken from the user's iterables no earlier than there is room for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

__all__ = ["Intake"]

PATIENCE: Final = 0.01
"""Seconds for which items are collected for one chunk at most."""


class Intake:
    """What is left to take.

    Args:
        rows: The arguments of each item.
        ready: Whether they are all there, so that taking them cannot take long.

    Attributes:
        rows: The arguments of each item.
        taken: How many have been taken.
        exhausted: Whether there are no more.
        error: What the iterable has raised in the place of more, or None.
    """

    def __init__(self, rows: Iterator[Any], *, ready: bool = False) -> None:
        self.rows = rows
        self._ready = ready
        self.taken = 0
        self.exhausted = False
        self.error: Exception | None = None

    def take(self, size: int) -> list[Any]:
        """Up to so many: fewer if they come slowly, or there are no more."""
        taken: list[Any]
        if self._ready:
            taken = list(islice(self.rows, size))
            self.exhausted = len(taken) < size
            self.taken += len(taken)
            return taken
        taken = []
        end = time.monotonic() + PATIENCE
        try:
            for row in self.rows:
                taken.append(row)
                if len(taken) == size or time.monotonic() > end:
                    break
            else:
                self.exhausted = True
        except Exception as error:  # raised when what was taken before has been done
            self.error = error
            self.exhausted = True
        self.taken += len(taken)
        return taken

    def close(self) -> None:
        """Take no more, and keep nothing of the user's."""
        self.exhausted = True
        self.rows = iter(())
        self.error = None
