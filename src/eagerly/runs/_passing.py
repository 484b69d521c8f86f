"""Trouble with a store that passes by itself, such as a server that is restarted, and writing in spite of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from eagerly.errors import RunsError

if TYPE_CHECKING:
    from eagerly.runs._protocol import Outcome, RunStore, Write

__all__ = ["AGAIN", "PATIENCE", "is_passing", "write_patiently"]

PATIENCE: Final = 30.0
"""Seconds for which a store may be out of reach before those who wait are told."""

AGAIN: Final = 0.25
"""Seconds between two attempts to reach it."""


def is_passing(error: Exception) -> bool:
    """Whether the store may be there again by itself: it is out of reach, rather than damaged or none of ours."""
    return getattr(error, "passing", False)


def write_patiently(store: RunStore, batch: Sequence[Write]) -> list[Outcome]:
    """`RunStore.write`, again and again while the store is out of reach: of what has happened nothing is to be lost.

    An attempt that was cut off may have been carried out. Then records are there already, which adds nothing, and
    changes that end or begin a run are refused: whoever makes them looks at what the run is.

    Raises:
        RunsError: It was out of reach for `PATIENCE` seconds, or the trouble is of another sort.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return store.write(batch)
        except RunsError as error:
            if not is_passing(error) or time.monotonic() > end:
                raise
        time.sleep(AGAIN)
