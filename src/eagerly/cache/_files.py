"""The files of large entries: one per key, under a name that is made of the key and of nothing else.

A file appears complete or not at all, is never changed afterwards, and can be mapped while others read, replace or
remove it. Which files count is the index's business. No path here comes from a file or a database.
"""
# ruff: noqa: PTH101, PTH102, PTH106, PTH118, PTH119, PTH208 (pathlib knows no open directories)

from __future__ import annotations

import contextlib
import mmap
import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING

from eagerly.cache._protocol import Buffer
from eagerly.cache._trust import open_directory, open_file

if TYPE_CHECKING or sys.platform != "win32":
    import fcntl

_LOCKS = sys.platform != "win32"

__all__ = ["ValueFiles", "key_of", "name_of"]

_SLICE = 2**20  # bytes to write at a time
_PAUSE = 0.0001  # seconds

_SHARD = re.compile(r"[0-9a-f]{2}")
_VALUE = re.compile(r"([0-9a-f]*)\.value")
_TEMPORARY = re.compile(r"[0-9a-f]*\.[0-9]+-[0-9a-f]+\.tmp")


def name_of(key: bytes) -> str:
    """Where the file of `key` is, relative to the store."""
    digits = key.hex()
    return f"{digits[:2]}/{digits[2:]}.value"


def key_of(name: object) -> bytes | None:
    """The key of which `name_of` makes `name`, or None."""
    shard, _, rest = name.partition("/") if isinstance(name, str) else ("", "", "")
    found = _VALUE.fullmatch(rest)
    if not _SHARD.fullmatch(shard) or found is None or len(found[1]) % 2:
        return None
    return bytes.fromhex(shard + found[1])


class ValueFiles:
    """The files of one store.

    Args:
        directory: Of the store.
        signed: Whether entries are verified by signature, so that others may have written them.
    """

    def __init__(self, directory: str, *, signed: bool) -> None:
        self._directory = directory
        self._signed = signed

    def read(self, key: bytes) -> Buffer | None:
        """The content as a writable view whose changes stay in memory, or None if there is no such file.

        Signed entries are copied: what is mapped can still be changed by others between verification and use.
        """
        try:
            with self._shard(key.hex()[:2]) as shard:
                name = os.path.join(self._directory, name_of(key))
                fd, status = open_file(name, os.O_RDONLY, signed=self._signed, within=shard)
        except FileNotFoundError:
            return None
        try:
            size = status.st_size
            if not size:
                return b""
            if not self._signed:
                return memoryview(mmap.mmap(fd, size, access=mmap.ACCESS_COPY))
            content = memoryview(bytearray(size))
            done = 0
            while done < size and (count := os.readv(fd, [content[done:]])):
                done += count
            return content[:done]
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def written(self, key: bytes, parts: Sequence[Buffer], directory_mode: int, mode: int) -> Generator[_Written]:
        """Write the parts to a temporary file, which goes away at the end unless it was published."""
        shard = key.hex()[:2]
        with contextlib.suppress(FileExistsError):
            path = os.path.join(self._directory, shard)
            os.mkdir(path, directory_mode)
            os.chmod(path, directory_mode)
        with self._shard(shard) as within:
            name, fd = _open_temporary(within, os.path.basename(name_of(key)), mode)
            written = _Written(within, name, os.path.basename(name_of(key)))
            try:
                for part in parts:
                    _write(fd, memoryview(part).cast("B"))
                yield written
            finally:
                # The lock on the temporary file ends with its descriptor.
                try:
                    if not written.published:
                        os.unlink(name, dir_fd=within)
                finally:
                    os.close(fd)

    def remove(self, key: bytes) -> None:
        """Remove the file of `key`, if there is one."""
        with contextlib.suppress(FileNotFoundError), self._shard(key.hex()[:2]) as shard:
            os.unlink(os.path.basename(name_of(key)), dir_fd=shard)

    def found(self) -> Iterator[bytes]:
        """The keys that have a file."""
        for shard, _, names in self._shards():
            for name in names:
                key = key_of(f"{shard}/{name}")
                if key is not None:
                    yield key

    def exists(self, key: bytes) -> bool:
        return os.path.lexists(os.path.join(self._directory, name_of(key)))

    def remove_abandoned(self) -> None:
        """Remove temporary files whose writers do not live any more, on this machine or in another container."""
        for _, within, names in self._shards():
            for name in names:
                if _TEMPORARY.fullmatch(name):
                    _remove_if_abandoned(within, name)

    def remove_empty_shards(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            for shard in os.listdir(self._directory):
                if _SHARD.fullmatch(shard):
                    with contextlib.suppress(OSError):  # not empty, or no directory
                        os.rmdir(os.path.join(self._directory, shard))

    def _shards(self) -> Iterator[tuple[str, int, list[str]]]:
        for shard in os.listdir(self._directory):
            if _SHARD.fullmatch(shard):
                # A link in the place of a shard leads to what is not ours.
                with contextlib.suppress(OSError, RuntimeError), self._shard(shard) as within:
                    yield shard, within, os.listdir(within)

    @contextlib.contextmanager
    def _shard(self, shard: str) -> Generator[int]:
        fd = open_directory(os.path.join(self._directory, shard), signed=self._signed)
        try:
            yield fd
        finally:
            os.close(fd)


class _Written:
    """A complete file that nobody finds yet."""

    def __init__(self, within: int, temporary: str, name: str) -> None:
        self._within = within
        self._temporary = temporary
        self._name = name
        self.published = False

    def publish(self) -> None:
        """Put it in the place of what was there before. Call this in the transaction that claims the file."""
        os.replace(self._temporary, self._name, src_dir_fd=self._within, dst_dir_fd=self._within)
        self.published = True


def _write(fd: int, rest: memoryview) -> None:
    """Write all of it, off the main thread with pauses, so that an event loop keeps its turns.

    In one piece, it has to wait until the kernel has copied everything, where processors are scarce. In slices without
    pauses it waits too: this thread takes the lock of the interpreter back before the other one has woken up.
    """
    gently = threading.get_ident() != threading.main_thread().ident
    while rest:
        rest = rest[os.write(fd, rest[:_SLICE]) :]
        if gently and rest:
            time.sleep(_PAUSE)


def _open_temporary(within: int, name: str, mode: int) -> tuple[str, int]:
    """A new file that is locked for as long as it is open: so others see that its writer lives."""
    while True:
        temporary = f"{name.removesuffix('.value')}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=within)
        try:
            os.fchmod(fd, mode)
            if _LOCKS:
                with contextlib.suppress(OSError):  # a file system without locks, or somebody is removing it
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink:
                return temporary, fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _remove_if_abandoned(within: int, name: str) -> None:
    if not _LOCKS:  # nobody can tell
        return
    with contextlib.suppress(OSError):
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=within)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name, dir_fd=within)
        finally:
            os.close(fd)
