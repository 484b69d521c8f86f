"""Bytes that all worker processes read: files that they map into memory, in a folder that nobody else can enter.

The folder is locked as long as its owner lives. One that is not was left by a program that was killed, and is removed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from eagerly.cache._protocol import Buffer

if TYPE_CHECKING or sys.platform != "win32":
    import fcntl

__all__ = ["SharedFiles"]

MEMORY: Final = Path("/dev/shm")
"""A folder in memory, where there is one: what is written there is not written to a disk."""

PREFIX: Final = "eagerly-shared-"

SETTLED: Final = 60.0
"""Seconds after which a folder has been locked if it is ever to be."""

RESERVE: Final = 1 << 24
"""Bytes that are left free in it for others."""


class SharedFiles:
    """Files of one backend, removed with it."""

    def __init__(self) -> None:
        self._folders: dict[Path, tuple[Path, int]] = {}
        """By what they are in: the folder, and the descriptor that keeps it locked."""
        self._numbers = itertools.count(1)

    def write(self, parts: Sequence[Buffer]) -> str:
        """Make a file of `parts` and return its path."""
        size = sum(memoryview(part).nbytes for part in parts)
        path = self._folder(size) / str(next(self._numbers))
        try:
            with path.open("xb", buffering=0) as file:  # the folder lets nobody else in
                for part in parts:
                    rest = memoryview(part).cast("B")
                    while rest:
                        rest = rest[file.write(rest) :]
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return str(path)

    def remove(self, path: str) -> None:
        """Remove a file that `write` has made. Who has it mapped keeps what is in it."""
        Path(path).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove all files."""
        while self._folders:
            _, (folder, lock) = self._folders.popitem()
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)

    def forget(self) -> None:
        """In a forked child: the files are those of another process."""
        while self._folders:
            os.close(self._folders.popitem()[1][1])

    def _folder(self, size: int) -> Path:
        parent = MEMORY if _has_room(size) else Path(tempfile.gettempdir())
        if parent not in self._folders:
            _remove_abandoned(parent)
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
            lock = os.open(folder, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_SH)
            self._folders[parent] = (folder, lock)
        return self._folders[parent][0]


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # removed by somebody else, or theirs
            if folder.stat().st_uid != os.getuid() or time.time() - folder.stat().st_mtime < SETTLED:
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _has_room(size: int) -> bool:
    with contextlib.suppress(OSError):
        if _is_memory() and os.access(MEMORY, os.W_OK | os.X_OK):
            room = os.statvfs(MEMORY)
            return room.f_bavail * room.f_frsize >= size + RESERVE
    return False


def _is_memory() -> bool:
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    return any(line.split()[1:3] == [str(MEMORY), "tmpfs"] for line in mounts.splitlines())
