"""Warnings that point at the user's line, not at ours."""

from __future__ import annotations

import sys
import warnings

from eagerly.errors import EagerlyWarning

__all__ = ["warn"]

_PACKAGE = __name__.partition(".")[0]


def warn(message: str, category: type[Warning] = EagerlyWarning) -> None:
    """Warn at the nearest caller outside this package."""
    level, frame = 1, sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame, level = frame.f_back, level + 1  # type: ignore[assignment]  # None ends the loop
    warnings.warn(message, category, stacklevel=level)
