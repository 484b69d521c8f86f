"""Notes on exceptions: what is said of an error that is itself left as it is."""

from __future__ import annotations

import contextlib
from typing import Any

__all__ = ["add_note", "in_worker"]


def add_note(error: BaseException, subject: str, predicate: str) -> None:
    """Add a note, in the place of an older one on the same subject: some errors are raised again and again."""
    note = f"{subject} {predicate}"
    notes: list[Any] | None = getattr(error, "__notes__", None)
    if isinstance(notes, list):
        for index, old in enumerate(notes):
            if isinstance(old, str) and old.startswith(f"{subject} "):
                notes[index] = note
                return
    with contextlib.suppress(Exception):  # a class of errors may refuse notes; it goes without
        error.add_note(note)


def in_worker(text: str) -> str:
    """What a note adds of where an error was raised: lines with its traceback in another process; none without one."""
    return f"\nTraceback in the worker:\n{text.rstrip()}" if text else ""
