"""What people see when their code fails: their traceback, without the frames that got there through us."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Final

import eagerly

__all__ = ["ModuleFailedError", "in_user_code", "user_traceback"]

_PACKAGE: Final = f"{Path(eagerly.__file__).parent}{os.sep}"
_DEMO: Final = f"{_PACKAGE}demo{os.sep}"  # written as a user would write it, and shown as such
_LIBRARY: Final = f"{Path(os.__file__).parent}{os.sep}"
_INSTALLED: Final = tuple(f"{_LIBRARY}{part}{os.sep}" for part in ("site-packages", "dist-packages"))
_ON_THE_WAY: Final = tuple(f"{_LIBRARY}{part}" for part in (f"asyncio{os.sep}", f"importlib{os.sep}", "runpy.py"))


class ModuleFailedError(Exception):
    """A user's module raised something while it was imported."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.traceback = user_traceback(error)


def user_traceback(error: BaseException) -> str:
    """The traceback of `error` as Python prints it, causes, contexts, groups and notes included, without our frames.

    Frames of the standard library are left out where we have called it, and those of asyncio and of the import system
    where they lead to the user's code; they are kept where the user's code leads to them.
    """
    report = traceback.TracebackException.from_exception(error, compact=True)
    waiting: list[traceback.TracebackException | None] = [report]
    while waiting:
        part = waiting.pop()
        if part is not None:
            part.stack = _users(part.stack)
            waiting += [part.__cause__, part.__context__, *(part.exceptions or ())]
    return "".join(report.format())


def in_user_code(error: BaseException) -> bool:
    """Whether `error` was raised in the user's code, or in what that called."""
    return bool(_users(traceback.extract_tb(error.__traceback__)))


def _users(stack: traceback.StackSummary) -> traceback.StackSummary:
    frames: list[traceback.FrameSummary] = []
    through_us = False
    for frame in stack:
        if _is_ours(frame.filename):
            through_us = True
        elif not (through_us and _is_standard(frame.filename)):
            through_us = False
            frames.append(frame)
    while frames and frames[0].filename.startswith(_ON_THE_WAY):
        del frames[0]
    return traceback.StackSummary.from_list(frames)


def _is_ours(filename: str) -> bool:
    if filename.startswith("<frozen importlib"):
        return True
    return filename.startswith(_PACKAGE) and not filename.startswith(_DEMO)


def _is_standard(filename: str) -> bool:
    return filename.startswith((_LIBRARY, "<frozen ")) and not filename.startswith(_INSTALLED)
