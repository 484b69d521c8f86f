"""The value that means "nothing was said here", where ``None`` already means "switch it off".

Compare with ``is``. No instance shows it.
"""

from __future__ import annotations

import enum
from typing import Final, Literal, TypeAlias

__all__ = ["UNSET", "UnsetType"]


class Unset(enum.Enum):
    """One member, so that type checkers can narrow ``x is UNSET``."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"


UnsetType: TypeAlias = Literal[Unset.UNSET]
UNSET: Final[UnsetType] = Unset.UNSET
