"""A file that is hashed while it is written, and the hash of one that is there."""

from __future__ import annotations

import io
import os
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["HashedFile", "digest_of"]

_BUFFER = 1 << 18


class HashedFile(io.BufferedRandom):
    """Buffered writing and reading of a descriptor, which stays the caller's to close.

    What is written from front to back is hashed on the way. Who goes back to change something has it read once more.
    """

    def __init__(self, fd: int) -> None:
        self._hashing = _Raw(fd)
        super().__init__(self._hashing, _BUFFER)

    def digest(self) -> str:
        """The SHA-256 of all there is, in hex."""
        if not self.closed:
            self.flush()
        return self._hashing.digest()

    def drop(self) -> None:
        """Close it, and forget what is not written yet."""
        self._hashing.dropped = True
        self.close()

    def fileno(self) -> int:
        raise io.UnsupportedOperation("what is written past this object would not be hashed")


class _Raw(io.RawIOBase):
    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._hash = sha256()
        self._hashed = 0
        self._at = 0
        self._straight = True
        self._pid = os.getpid()
        self.dropped = False

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        view = memoryview(data)
        if self.dropped or self._pid != os.getpid():  # a forked child has a copy of the buffer, which is not its own
            return view.nbytes
        count = os.write(self._fd, view)
        if self._straight:
            if self._at == self._hashed:
                self._hash.update(view[:count])
                self._hashed += count
            else:
                self._straight = False
        self._at += count
        return count

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        data = os.read(self._fd, view.nbytes)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._at = os.lseek(self._fd, offset, whence)
        return self._at

    def tell(self) -> int:
        return self._at

    def truncate(self, size: int | None = None, /) -> int:
        size = self._at if size is None else size
        os.ftruncate(self._fd, size)
        self._straight = self._straight and size == self._hashed
        return size

    def digest(self) -> str:
        if self._straight:
            return self._hash.hexdigest()
        with open(self._fd, "rb", buffering=0, closefd=False) as file:
            file.seek(0)
            return digest_of(file)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes | None: ...


def digest_of(file: _Readable) -> str:
    """The SHA-256 of what is left to be read of `file`, in hex."""
    digest = sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()
