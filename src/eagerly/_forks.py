"""Forks: what a child must not find in the middle is waited for, though not for ever."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

__all__ = ["FORK_PATIENCE", "hold_while_forking"]

FORK_PATIENCE: Final = 1.0
"""Seconds that a fork waits for other threads."""


def hold_while_forking(locks: Callable[[], Iterable[Any]], anew: Callable[[], None]) -> None:
    """Have every fork of this process wait until nobody has certain locks.

    Args:
        locks: Gives those that there are.
        anew: Called in the child, to make new ones: it may be that one could not be had in time.
    """
    held: dict[int, list[Any]] = {}

    def before() -> None:
        held[threading.get_ident()] = [lock for lock in locks() if lock.acquire(timeout=FORK_PATIENCE)]

    def in_parent() -> None:
        for lock in held.pop(threading.get_ident(), ()):
            lock.release()

    def in_child() -> None:
        held.clear()
        anew()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)
