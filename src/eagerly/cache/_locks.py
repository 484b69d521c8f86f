"""One lock per key between processes: one byte of one file each, given back by the kernel when a process ends.

A POSIX lock belongs to the process and the file: closing any descriptor of the file drops all locks of the process on
it. Hence one descriptor per file and process, found here, and never closed while the file is there. Nothing in this
file waits: a blocking `lockf` reports deadlocks that are none, as it takes all threads of a process for one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import sys
import threading
from typing import TYPE_CHECKING

from eagerly.cache._trust import check_file, open_file

if TYPE_CHECKING or sys.platform != "win32":
    import fcntl

_LOCKS = sys.platform != "win32"

__all__ = ["HeldLock", "LockFile", "NoLock", "WaitingMark", "lock_file", "offset_of"]

_WAITING = 1 << 62
"""Where the bytes of those who wait begin; below are the bytes of those who compute."""

_TAKEN = (errno.EACCES, errno.EAGAIN)
_UNAVAILABLE = (errno.EBADF, errno.ENOLCK, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EROFS)

# struct flock: where its five fields are is the platform's choice.
_FLOCK = struct.Struct("hhqqi4x") if sys.platform == "linux" and struct.calcsize("P") == 8 else None


class NoLock:
    """Where processes cannot agree (no POSIX locks, a directory that cannot be written to), each computes by itself."""

    def release(self) -> None:
        """There is nothing to release."""


class HeldLock:
    """The lock on one key; of this process only, not of a child that was forked while it was held."""

    __slots__ = ("_file", "_offset", "_process")

    def __init__(self, file: LockFile, offset: int) -> None:
        self._file: LockFile | None = file
        self._offset = offset
        self._process = _process

    def release(self) -> None:
        """Let others have the key. A second time does nothing."""
        file, self._file = self._file, None
        if file is not None and self._process is _process:
            file.unlock(self._offset)

    __del__ = release  # a caller that is cancelled or interrupted may never have got it


class WaitingMark:
    """The note that this process waits for a key."""

    __slots__ = ("_file", "_offset", "_process")

    def __init__(self, file: LockFile, offset: int) -> None:
        self._file: LockFile | None = file
        self._offset = offset
        self._process = _process

    def remove(self) -> None:
        """A second time does nothing."""
        file, self._file = self._file, None
        if file is not None and self._process is _process:
            file.unmark(self._offset)

    __del__ = remove


class LockFile:
    """All locks of this process on one file."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._held: set[int] = set()
        self._marks: dict[int, int] = {}

    def try_lock(self, offset: int) -> HeldLock | NoLock | None:
        """Lock the byte; None if another process or another call of this one has it."""
        with _mutex:
            if offset in self._held:
                return None
            self._held.add(offset)
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
            except OSError as error:
                self._held.discard(offset)
                if error.errno in _TAKEN:
                    return None
                if error.errno in _UNAVAILABLE:
                    return NoLock()
                raise
        return HeldLock(self, offset)

    def unlock(self, offset: int) -> None:
        with _mutex:
            if offset in self._held:
                self._held.discard(offset)
                fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, offset)

    def mark(self, offset: int) -> WaitingMark:
        """Note that this process waits for the byte."""
        with _mutex:
            count = self._marks.get(offset, 0)
            if not count:
                with contextlib.suppress(OSError):  # an exclusive lock there is another process having a look
                    fcntl.lockf(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, offset + _WAITING)
            self._marks[offset] = count + 1
        return WaitingMark(self, offset)

    def unmark(self, offset: int) -> None:
        with _mutex:
            count = self._marks.pop(offset, 0)
            if count > 1:
                self._marks[offset] = count - 1
            elif count:
                fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, offset + _WAITING)

    def is_marked(self, offset: int) -> bool:
        """Whether another process waits for the byte. Asks the kernel, and takes no lock."""
        if _FLOCK is None:
            return False
        wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, offset + _WAITING, 1, 0)
        with _mutex:
            found: int = _FLOCK.unpack(fcntl.fcntl(self._fd, fcntl.F_GETLK, wanted))[0]
        return found != fcntl.F_UNLCK

    def close_if_gone(self) -> bool:
        """Close the descriptor if the file was deleted and nothing is locked in it; whether that was so."""
        gone = not self._held and not self._marks and os.fstat(self._fd).st_nlink == 0
        if gone:
            # Who still has this object locks nothing any more, instead of bytes of a file that got the same number.
            fd, self._fd = self._fd, -1
            os.close(fd)
        return gone

    def forget(self) -> None:
        """A forked child holds nothing of what its parent holds."""
        self._held.clear()
        self._marks.clear()


def offset_of(key: bytes) -> int:
    """The byte of `key`: 62 bits of it, so that no two keys share one and a nested call cannot wait for itself."""
    return int.from_bytes(key[:8], "big") >> 2


def lock_file(path: str, mode: int, *, signed: bool) -> LockFile | None:
    """The locks of this process on the file at `path`, which is created if need be; None where there can be none."""
    if not _LOCKS:
        return None
    with contextlib.suppress(FileNotFoundError):
        status = os.lstat(path)
        file = _files.get((status.st_dev, status.st_ino))
        if file is not None:
            check_file(path, status, signed=signed)
            return file
    with _mutex:
        try:
            return _open(path, mode, signed=signed)
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                return None
            raise


def _open(path: str, mode: int, *, signed: bool) -> LockFile:
    with contextlib.suppress(FileExistsError):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        os.fchmod(fd, mode)
        os.close(fd)
    fd, status = open_file(path, os.O_RDWR, signed=signed)
    place = (status.st_dev, status.st_ino)
    known = _files.get(place)
    if known is not None:
        _kept_open.append(fd)
        return known
    for other, file in list(_files.items()):
        if file.close_if_gone():
            del _files[other]
    file = _files[place] = LockFile(fd)
    return file


_files: dict[tuple[int, int], LockFile] = {}
"""By device and inode, so that two paths to one file do not get two descriptors."""

_kept_open: list[int] = []
"""Second descriptors of a file in `_files`, opened in a race: closing one would drop the locks."""

# Re-entrant: the garbage collector may run a task, and so lock a key, in the middle of locking one.
_mutex = threading.RLock()
_process = object()


def _after_fork() -> None:
    global _mutex, _process
    _mutex = threading.RLock()  # a thread that is not in the child may have held the old one
    _process = object()
    for file in _files.values():
        file.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
