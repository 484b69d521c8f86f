"""What becomes of runs whose process has ended without a word, and how that is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from eagerly.runs._change import Change
from eagerly.runs._record import RunError, RunRecord
from eagerly.runs._status import RunStatus

__all__ = ["LOST", "lost", "report"]

LOST: Final = "lost"
"""The kind of error of such a run."""


def lost(record: RunRecord, at: int) -> Change:
    """The change that ends a run whose owner has ended."""
    message = f"its process ({record.owner}) has ended while the run was {record.status}"
    return Change(
        record.id, at, RunStatus.FAILED, {"error": RunError("RunLost", message, "", LOST)}, owner=record.owner
    )


def report(gone: Sequence[RunRecord], place: str) -> None:
    """Log each of these runs. Only the process that has made them failed does that."""
    if gone:
        import logging

        for record in gone:
            message = "" if record.error is None else record.error.message
            logging.getLogger("eagerly.runs").warning(
                "run %s of task %r in %s is lost: %s", record.id, record.task, place, message
            )
