"""Locks on files that the system takes back when their process ends, however it ends.

They keep threads apart as well as processes, as each locks a descriptor of its own.
"""

from __future__ import annotations

import os
import sys

__all__ = ["try_lock", "unlock", "wait_for_lock"]

if sys.platform == "win32":
    import msvcrt
    import time

    _BEYOND = 1 << 30  # a locked byte cannot be read there, so it is one that no file has

    def try_lock(fd: int) -> bool:
        os.lseek(fd, _BEYOND, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(fd, 0, os.SEEK_SET)
        return True

    def wait_for_lock(fd: int) -> None:
        while not try_lock(fd):
            time.sleep(0.001)

    def unlock(fd: int) -> None:
        os.lseek(fd, _BEYOND, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def try_lock(fd: int) -> bool:
        """Lock the file behind `fd`; False if another has it, or if its file system has no locks."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def wait_for_lock(fd: int) -> None:
        """Lock the file behind `fd`, once nobody else has it. Where there are no locks, do without."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError:
            return

    def unlock(fd: int) -> None:
        """Not left to closing: a child that was forked meanwhile has the descriptor too."""
        try:
            fcntl.flock(fd, fcntl.LOCK_UN)
        except OSError:
            return
