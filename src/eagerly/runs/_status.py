"""What a run can be, and what it can become: one table, which refusals, tests and the picture in the docs read."""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["FINAL", "LIVE", "TRANSITIONS", "RunStatus", "mermaid", "sources_of"]


class RunStatus(enum.StrEnum):
    """What a run is. Each is also its string: ``RunStatus.RUNNING == "running"``."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the run has ended, and never changes again."""
        return not TRANSITIONS[self]


_ENDINGS: Final = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED)

TRANSITIONS: Final[dict[RunStatus, tuple[RunStatus, ...]]] = {
    RunStatus.PENDING: (RunStatus.RUNNING, *_ENDINGS),  # endings at once: runs that another program drives
    RunStatus.RUNNING: (RunStatus.PAUSED, *_ENDINGS),
    RunStatus.PAUSED: (RunStatus.RUNNING, *_ENDINGS),
    RunStatus.COMPLETED: (),
    RunStatus.FAILED: (),
    RunStatus.CANCELLED: (),
}
"""Status -> what may come next."""

FINAL: Final = tuple(status for status, following in TRANSITIONS.items() if not following)
LIVE: Final = tuple(status for status, following in TRANSITIONS.items() if following)


def sources_of(status: RunStatus) -> tuple[RunStatus, ...]:
    """What a run may be that is to become `status`."""
    return tuple(source for source, following in TRANSITIONS.items() if status in following)


def mermaid() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {RunStatus.PENDING}"]
    for status, following in TRANSITIONS.items():
        lines += [f"    {status} --> {target}" for target in following]
        if status.final:
            lines.append(f"    {status} --> [*]")
    return "\n".join(lines)
