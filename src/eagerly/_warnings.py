"""Warnings that point at the user's line, not at ours."""

from __future__ import annotations

import sys
import warnings
from types import FrameType

from eagerly.errors import EagerlyWarning

__all__ = ["user_frame", "warn"]

_PACKAGE = __name__.partition(".")[0]


def warn(message: str) -> None:
    """Give an `EagerlyWarning` at the nearest caller outside this package."""
    warnings.warn(message, EagerlyWarning, stacklevel=user_frame()[1])


def user_frame() -> tuple[FrameType | None, int]:
    """The nearest caller outside this package and `contextlib`, and its `stacklevel` for whoever asks."""
    level = 0
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in (_PACKAGE, "contextlib"):
        frame, level = frame.f_back, level + 1
    return frame, level
