"""Who runs something: each process has a file that it keeps locked, and the system takes the lock back when it ends.

A file that can be locked belongs to a process that has ended, however it ended, and so does one that is gone.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from typing import Final, NamedTuple

from eagerly._file_locks import try_lock, unlock
from eagerly.errors import RunsError
from eagerly.runs._record import new_id

__all__ = ["Owners"]

_TRIES: Final = 5
"""New files that cannot be locked before it is believed that none can: another process may be looking at one."""

_OWNER: Final = re.compile(r"own_[0-9a-f]{24}")


class _Mine(NamedTuple):
    owner: str
    fd: int


class Owners:
    """The owners of the runs of one store.

    Args:
        folder: Where their files are; made when it is needed.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def mine(self) -> str:
        """The id of this process, whose file it keeps locked until it ends.

        Raises:
            RunsError: There are no locks on this file system.
        """
        with _lock:
            if self._folder not in _mine:
                _mine[self._folder] = self._register()
            return _mine[self._folder].owner

    def _register(self) -> _Mine:
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        refused = 0
        for _ in range(100):
            owner = new_id("own")
            path = os.path.join(self._folder, owner)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            if not try_lock(fd):
                os.close(fd)
                self.bury(owner)
                refused += 1
                if refused < _TRIES:
                    continue
                raise RunsError(
                    f"{self._folder} is on a file system without locks, so that nobody could tell whether the process"
                    " of a run has ended; use a path on a local disk, or a postgresql:// URL"
                )
            if os.fstat(fd).st_nlink:
                os.write(fd, f"{os.getpid()}\n".encode())  # for people
                return _Mine(owner, fd)
            os.close(fd)  # another process has taken it for a left one, before it was locked
        raise RunsError(f"{self._folder}: files of new owners disappear at once")

    def is_dead(self, owner: str) -> bool:
        """Whether the process of that owner has ended."""
        if not _OWNER.fullmatch(owner):
            return False  # somebody else's, who knows what it means
        try:
            fd = os.open(os.path.join(self._folder, owner), os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            free = try_lock(fd)
            if free:
                unlock(fd)
            return free
        finally:
            os.close(fd)

    def bury(self, owner: str) -> None:
        """Remove the file of an owner that has ended."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._folder, owner))

    def left(self) -> list[str]:
        """The owners that have a file."""
        try:
            return [name for name in os.listdir(self._folder) if _OWNER.fullmatch(name)]
        except FileNotFoundError:
            return []


_mine: dict[str, _Mine] = {}
_lock = threading.Lock()


def _after_fork() -> None:
    """A child is an owner of its own. It closes its copies, or the locks would outlive the parent."""
    global _lock
    _lock = threading.Lock()
    for each in _mine.values():
        os.close(each.fd)
    _mine.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
