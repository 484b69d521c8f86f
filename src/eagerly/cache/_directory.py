"""The directory of a disk store: what is in it, who may write there, and whether it is still the one of a moment ago.

====================  ===========================================================================================
``cache.db``          the index, with ``-wal`` and ``-shm`` beside it while it is open
``ab/cdef....value``  the file of one large entry; ``.tmp`` while it is being written
``locks``             one byte per key, never written, only locked
``generation``        eight random bytes, others after each replacement or removal
``.gitignore``        so that no cache gets into a repository; only where nothing of others was before
``cache.db.corrupt-1`` an index that could not be read, until the store is cleared
====================  ===========================================================================================
"""
# ruff: noqa: PTH101, PTH102, PTH103, PTH104, PTH108, PTH112, PTH116, PTH118, PTH120, PTH208 (pathlib knows no open directories)

from __future__ import annotations

import contextlib
import itertools
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Generator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from eagerly.cache._generation import SIZE, Generation
from eagerly.cache._index import NAME, WrongSchema, create
from eagerly.cache._locks import LockFile, lock_file
from eagerly.cache._trust import check_directory, check_file, open_directory
from eagerly.errors import CacheError

if TYPE_CHECKING or sys.platform != "win32":
    import fcntl

_LOCKS = sys.platform != "win32"

__all__ = ["Directory"]

_UNFINISHED = re.compile(r"(generation|\.gitignore)\.[0-9a-f]+\.new")
_OURS = frozenset({"generation", "locks"})  # what may be in a new directory before there is an index
_SET_ASIDE = re.compile(re.escape(NAME) + r"\.corrupt-[0-9]+(-wal|-journal)?")


class Directory:
    """The directory of one store.

    Attributes:
        generation: What changes when an entry is replaced or removed, by any process.
        is_writable: Whether anything can be written here, as far as was seen last.
    """

    def __init__(self, path: str, timeout: float, lock: AbstractContextManager[Any], *, signed: bool) -> None:
        self._path = path
        self._timeout = timeout
        self._lock = lock
        self._signed = signed
        self._modes = (0o700, 0o600)
        self._fd = -1
        self._seen: int | None = None
        self._index: tuple[int, int] | None = None
        self.generation = Generation()
        self._locks: LockFile | None = None  # while the directory is current
        self.is_writable = True

    @property
    def modes(self) -> tuple[int, int]:
        """Of new directories and files. Where people share a signed store, what they share is the directory's mode."""
        return self._modes

    def is_current(self) -> bool:
        """Whether nothing was added, removed or renamed, and no owner or mode has changed, since `look`.

        In a directory that only this user can enter, others can change nothing without that. One that others can enter
        is never current. The descriptor costs half of what the path would; that the directory itself was renamed or
        removed shows in its times too.
        """
        try:
            return os.fstat(self._fd).st_ctime_ns == self._seen
        except OSError:
            return False

    def look(self) -> tuple[bool, bool]:
        """Whether there is an index, and whether it is another one than before.

        Raises:
            UntrustedEntryError: Somebody else can have written what is here.
        """
        with self._lock:
            return self._look()

    def _look(self) -> tuple[bool, bool]:
        before = self._index
        self._index = None
        self.forget()
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            # Another thread or process may be making it by now: whether one can write there is another moment's answer.
            self.generation.forget()
            return False, before is not None
        self._fd = fd
        status = os.fstat(fd)
        check_directory(self._path, status, signed=self._signed)
        if self._signed and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            self._modes = stat.S_IMODE(status.st_mode), status.st_mode & 0o666
        self._look_at_generation()
        found: dict[str, os.stat_result] = {}
        for name in (NAME, NAME + "-wal", NAME + "-shm", NAME + "-journal"):
            path = os.path.join(self._path, name)
            with contextlib.suppress(FileNotFoundError):
                found[name] = os.lstat(path)
                check_file(path, found[name], signed=self._signed)
        index = found.get(NAME)
        if index is None:
            return False, before is not None
        self._index = (index.st_dev, index.st_ino)
        if NAME + "-journal" in found:
            # We never write one. A planted one can name any file, which SQLite would delete.
            raise WrongSchema("there is a rollback journal beside it")
        was_writable, self.is_writable = self.is_writable, _is_writable(self._path)
        if self._signed or not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            self._seen = status.st_ctime_ns
        # An index that cannot be written to is read as if it never changed.
        return True, self._index != before or not (was_writable and self.is_writable)

    def create(self) -> None:
        """Make what is missing."""
        self._create_directory()
        with self._maintained():
            names = os.listdir(self._path)
            for name in [*filter(_UNFINISHED.fullmatch, names)]:  # of processes that were killed here
                os.unlink(os.path.join(self._path, name))
                names.remove(name)
            if _OURS.issuperset(names):  # a directory in which something else is was made by somebody else
                self._write_new(os.path.join(self._path, ".gitignore"), b"*\n")
            path = os.path.join(self._path, "generation")
            # A file that is too short is replaced, not filled: others may have it open.
            if not os.path.lexists(path) or os.lstat(path).st_size < SIZE:
                self._write_new(path, secrets.token_bytes(SIZE))
            path = os.path.join(self._path, NAME)
            if not os.path.lexists(path):
                # A log without its database would be taken for that of the new one.
                for name in (NAME, NAME + ".new"):
                    self._remove_index(os.path.join(self._path, name))
                create(path + ".new", self._modes[1])
                os.rename(path + ".new", path)

    def set_aside(self) -> str | None:
        """Give the index that was seen last another name; which, or None if another process was faster."""
        path = os.path.join(self._path, NAME)
        with self._maintained():
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                return None
            if (status.st_dev, status.st_ino) != self._index:
                return None
            names = (f"{path}.corrupt-{number}" for number in itertools.count(1))
            name = next(name for name in names if not os.path.lexists(name))
            os.rename(path, name)
            for suffix in ("-wal", "-journal"):
                with contextlib.suppress(FileNotFoundError):
                    os.rename(path + suffix, name + suffix)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path + "-shm")
            self.change_generation()  # whoever replaces what was in it does not know that he does
            self.forget()
            return name

    def discard_index(self) -> None:
        """Remove the index, when there is no room to remove its rows."""
        with self._maintained():
            self._remove_index(os.path.join(self._path, NAME))
        self.forget()

    def remove_set_aside(self) -> None:
        for name in os.listdir(self._path):
            if _SET_ASIDE.fullmatch(name):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self._path, name))

    def locks(self) -> LockFile | None:
        """The locks of this process in this directory; None where there can be none.

        Raises:
            UntrustedEntryError: Somebody else can write here.
        """
        if self.is_current():
            if self._locks is not None:
                return self._locks
        else:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                check_directory(self._path, os.stat(self._path), signed=self._signed)
        path = os.path.join(self._path, "locks")
        for _ in range(2):
            try:
                self._locks = lock_file(path, self._modes[1], signed=self._signed)
            except FileNotFoundError:
                try:
                    self._create_directory()
                except OSError:
                    return None
            except OSError:
                return None
            else:
                return self._locks
        return None

    def change_generation(self) -> None:
        """Tell all processes that entries which they have in memory may be out of date."""
        if self.is_writable and not self.generation.change():
            with contextlib.suppress(OSError):
                self._look_at_generation()
                self.generation.change()

    def forget(self) -> None:
        """Look again at the next occasion."""
        with self._lock:
            fd, self._fd, self._seen, self._locks = self._fd, -1, None, None
            if fd >= 0:
                os.close(fd)

    def __del__(self) -> None:
        self.forget()

    def _look_at_generation(self) -> None:
        path = os.path.join(self._path, "generation")
        self.generation.look(path, writable=_is_writable(self._path), signed=self._signed)

    def _create_directory(self) -> None:
        if os.path.isdir(self._path):
            check_directory(self._path, os.stat(self._path), signed=self._signed)
            return
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._path, 0o700)

    def _write_new(self, path: str, content: bytes) -> None:
        """Write a file that appears with its content."""
        temporary = f"{path}.{secrets.token_hex(4)}.new"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, self._modes[1])
        try:
            try:
                os.write(fd, content)
                os.chmod(temporary, self._modes[1])
            finally:
                os.close(fd)
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise

    def _remove_index(self, path: str) -> None:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path + suffix)

    @contextlib.contextmanager
    def _maintained(self) -> Generator[None]:
        """One process at a time makes, moves or removes an index."""
        fd = open_directory(os.path.realpath(self._path), signed=self._signed)
        try:
            deadline = time.monotonic() + self._timeout
            while _LOCKS:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise CacheError(
                            f"another process has been making or repairing the index in {self._path!r} for more"
                            f" than {self._timeout:g} s"
                        ) from None
                    time.sleep(0.005)
                except OSError:
                    break  # a file system without locks
            yield
        finally:
            os.close(fd)


def _is_writable(directory: str) -> bool:
    return os.access(directory, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
