"""The generation of a disk store: eight random bytes in a file, others after each replacement or removal.

It is read from a descriptor. A map of the file would be five times as fast, and would end the process with SIGBUS when
somebody cuts the file short.
"""

from __future__ import annotations

import os
import secrets
import time

from eagerly.cache._trust import open_file

__all__ = ["SIZE", "Generation"]

SIZE = 8  # bytes
_LOOK = 1.0  # seconds after which it is asked again whether the file is still the one in the directory


class _Descriptor:
    """Closed when nobody has it any more: no other thread can be reading from it then."""

    __slots__ = ("fd", "identity")

    def __init__(self, fd: int, identity: tuple[int, int, bool]) -> None:
        self.fd = fd
        self.identity = identity

    def status(self) -> os.stat_result | None:
        """That of the file; None if the program has closed all it had open, and another may have the number by now."""
        try:
            status = os.fstat(self.fd)
        except OSError:
            return None
        return status if (status.st_dev, status.st_ino) == self.identity[:2] else None

    def __del__(self) -> None:
        if self.status() is not None:
            os.close(self.fd)


class Generation:
    """The generation file that a process has open, if any."""

    __slots__ = ("_next_look", "_open")

    def __init__(self) -> None:
        self._open: _Descriptor | None = None
        self._next_look = 0.0

    @property
    def is_open(self) -> bool:
        """Whether there was one that could be read when it was looked at last: much cheaper than `is_there`."""
        return self._open is not None

    @property
    def is_there(self) -> bool:
        """Whether there is one that can be read."""
        return bool(self.read())

    def read(self) -> bytes:
        """The generation; ``b""`` if it cannot be known."""
        opened = self._open
        if opened is None:
            return b""
        now = time.monotonic()
        if now > self._next_look:
            self._next_look = now + _LOOK
            status = opened.status()
            if status is None or status.st_nlink == 0:  # the store was removed, and perhaps made anew
                self._open = None
                return b""
        try:
            found = os.pread(opened.fd, SIZE, 0)
        except OSError:  # as in `status`, or a server has lost the file
            self._open = None
            return b""
        return found if len(found) == SIZE else b""

    def change(self) -> bool:
        """Tell all processes that what they have in memory may be out of date; whether there was a file for it."""
        opened = self._open
        if opened is None:
            return False
        if opened.status() is not None:
            try:
                os.pwrite(opened.fd, secrets.token_bytes(SIZE), 0)
            except OSError:
                pass
            else:
                return True
        self._open = None
        return False

    def look(self, path: str, *, writable: bool, signed: bool) -> None:
        """Open the file at `path`, unless it is the one that is open, and for as much as is wanted."""
        try:
            status = os.lstat(path)
            opened, self._open = self._open, None
            if opened is not None and opened.identity == (status.st_dev, status.st_ino, writable) and opened.status():
                self._open = opened
                return
            fd, status = open_file(path, os.O_RDWR if writable else os.O_RDONLY, signed=signed)
        except (FileNotFoundError, NotADirectoryError):
            self._open = None
            return
        self._open = _Descriptor(fd, (status.st_dev, status.st_ino, writable))

    def forget(self) -> None:
        """There is none, until `look` finds one."""
        self._open = None
