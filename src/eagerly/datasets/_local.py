"""A folder of this machine as the place of a store, with nothing but `os`.

Each draft lies beside the file it will replace, under a hidden name, and is noted in the store's own folder for as long
as its process lives. So what a killed process left is found without searching the folders of the user.
"""

# ruff: noqa: PTH118, PTH123 (keys are text, and pathlib cannot name a file relative to an open folder)

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import BinaryIO

from eagerly._file_locks import try_lock, unlock, wait_for_lock
from eagerly.datasets._hashing import HashedFile
from eagerly.datasets._key import HIDDEN, OWN
from eagerly.datasets._place import Stamp, Written
from eagerly.datasets._rooted import Folder, open_file, open_folder
from eagerly.errors import DatasetKeyError

__all__ = ["LocalPlace"]

_LOCKS = f"{OWN}/locks"
_NOTES = f"{OWN}/writing"
_COPY = 1 << 20


class LocalPlace:
    """See `Place`."""

    shared = True
    exclusive = True

    def __init__(self, root: str) -> None:
        self.url = root

    def locate(self, path: str) -> str:
        return os.path.join(self.url, *path.split("/"))

    def draft(self, path: str) -> LocalDraft:
        return LocalDraft(self, path)

    def open(self, path: str) -> tuple[BinaryIO, Stamp]:
        fd = open_file(self.url, path)
        return open(fd, "rb"), _stamp(os.fstat(fd))

    def read(self, path: str) -> bytes | None:
        try:
            fd = open_file(self.url, path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        with open(fd, "rb") as file:
            return file.read()

    def mode(self, path: str) -> int | None:
        """Who may do what with the file; None if there is none."""
        with self._parent(path) as folder:
            found = folder.stat(path.rpartition("/")[2])
        return stat.S_IMODE(found.st_mode) if found is not None and stat.S_ISREG(found.st_mode) else None

    def stamp(self, path: str) -> Stamp | None:
        try:
            fd = open_file(self.url, path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        try:
            return _stamp(os.fstat(fd))
        finally:
            os.close(fd)

    def write(self, path: str, data: bytes) -> None:
        parent, _, name = path.rpartition("/")
        temporary = f"{name}.tmp"  # always the same: the one that a killed process left is written over, or swept
        with open_folder(self.url, parent, create=True) as folder:
            try:
                fd = folder.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                try:
                    _write_all(fd, data)
                    os.fsync(fd)
                finally:
                    os.close(fd)
                folder.replace(temporary, name)
            except BaseException:
                folder.unlink(temporary)
                raise

    def remove(self, path: str) -> bool:
        parent, _, name = path.rpartition("/")
        try:
            with open_folder(self.url, parent) as folder:
                return folder.unlink(name)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def walk(self, folder: str, *, deep: bool = True) -> Iterator[str]:
        try:
            with open_folder(self.url, folder) as opened:
                entries = sorted(opened.scan())
        except (FileNotFoundError, NotADirectoryError):
            return
        for name, is_folder in entries:
            path = f"{folder}/{name}" if folder else name
            if is_folder:
                if deep:
                    yield from self.walk(path)
            elif not name.startswith(f"{HIDDEN}-"):
                yield path

    @contextmanager
    def lock(self, name: str) -> Generator[None]:
        # One of 256: what is done with a lock is short, and asks for no second one.
        with self._own(_LOCKS) as folder:
            fd = folder.open(sha256(name.encode()).hexdigest()[:2], os.O_RDWR | os.O_CREAT)
        try:
            wait_for_lock(fd)
            try:
                yield
            finally:
                unlock(fd)
        finally:
            os.close(fd)

    def sweep(self, tidy: Callable[[str], None]) -> None:
        try:
            with open_folder(self.url, _NOTES) as folder:
                for name, _ in list(folder.scan()):
                    with suppress(OSError):
                        self._sweep_note(folder, name, tidy)
        except OSError:
            return  # there is none yet, or nothing may be written here: what is to be done next will say so

    def note(self) -> Note:
        """The beginning of a draft, to be found by `sweep` when this process is dead."""
        with self._own(_NOTES) as folder:
            return Note(folder)

    def end(self, note: Note) -> None:
        with open_folder(self.url, _NOTES) as folder:
            folder.unlink(note.name)
        note.close()

    def _parent(self, path: str) -> Folder:
        return open_folder(self.url, path.rpartition("/")[0])

    def _own(self, path: str) -> Folder:
        try:
            return open_folder(self.url, path)
        except FileNotFoundError:
            with open_folder(self.url, OWN, create=True) as folder:
                if folder.stat(".gitignore") is None:
                    fd = folder.open(".gitignore", os.O_WRONLY | os.O_CREAT)
                    try:
                        _write_all(fd, b"*\n")
                    finally:
                        os.close(fd)
            return open_folder(self.url, path, create=True)

    def _sweep_note(self, notes: Folder, name: str, tidy: Callable[[str], None]) -> None:
        fd = notes.open(name, os.O_RDWR)
        try:
            if not try_lock(fd):
                return  # whoever wrote it lives
            try:
                path, _, temporary = os.read(fd, 1 << 16).decode(errors="replace").partition("\n")
                if path and temporary.startswith(f"{HIDDEN}-") and "/" not in temporary:
                    with suppress(FileNotFoundError, DatasetKeyError), self._parent(path) as folder:
                        folder.unlink(temporary)
                    tidy(path)
                notes.unlink(name)
            finally:
                unlock(fd)
        finally:
            os.close(fd)


class Note:
    """A file of the store's own that is locked as long as the draft lives that it tells of."""

    def __init__(self, folder: Folder) -> None:
        while True:
            self.name = secrets.token_hex(8)
            self._fd = folder.open(self.name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            wait_for_lock(self._fd)
            if os.fstat(self._fd).st_nlink:
                return
            os.close(self._fd)  # swept before it was locked

    def tell(self, path: str, temporary: str) -> None:
        _write_all(self._fd, f"{path}\n{temporary}".encode())

    def close(self) -> None:
        unlock(self._fd)
        os.close(self._fd)


class LocalDraft:
    """See `Draft`."""

    def __init__(self, place: LocalPlace, path: str) -> None:
        self._place = place
        self._path = path
        parent, _, self._name = path.rpartition("/")
        self._pid = os.getpid()
        self._note = place.note()
        self._temporary = f"{HIDDEN}-{self._note.name}.tmp"
        self._fd = -1
        self._folder: Folder | None = None
        try:
            self._folder = self._open_folder(parent)
            self._refuse_what_is_no_file(self._folder)
            self._note.tell(path, self._temporary)
            self._fd = self._folder.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        except BaseException:
            self._end()
            raise
        self.file = HashedFile(self._fd)

    def finish(self) -> Written:
        digest = self.file.digest()
        os.fsync(self._fd)
        return Written(digest, _stamp(os.fstat(self._fd)))

    def twin(self, path: str) -> LocalDraft:
        other = LocalDraft(self._place, path)
        try:
            _copy(self._fd, other._fd)
        except BaseException:
            other.discard()
            raise
        return other

    def publish(self, name: str | None = None, *, like: str | None = None) -> None:
        folder = self._folder
        assert folder is not None
        self._name = name or self._name
        self._refuse_what_is_no_file(folder)
        mode = self._place.mode(like or self._path)
        if mode is not None and hasattr(os, "fchmod"):
            os.fchmod(self._fd, mode)
        if os.name == "nt":
            self._close_file()  # an open file cannot be renamed there
        folder.replace(self._temporary, self._name)
        self._temporary = ""
        folder.sync()

    def discard(self) -> None:
        if self._folder is not None and self._pid == os.getpid():  # a forked child has no say in it
            self._end()

    def _open_folder(self, parent: str) -> Folder:
        try:
            return open_folder(self._place.url, parent, create=True)
        except (NotADirectoryError, FileExistsError):
            raise DatasetKeyError(
                f"dataset key {self._path!r}: a part of {parent!r} is a file, so that nothing can be put into it",
                key=self._path,
            ) from None

    def _refuse_what_is_no_file(self, folder: Folder) -> None:
        found = folder.stat(self._name)
        if found is None or stat.S_ISREG(found.st_mode):
            return
        what = "a link" if stat.S_ISLNK(found.st_mode) else "a folder" if stat.S_ISDIR(found.st_mode) else "no file"
        raise DatasetKeyError(
            f"dataset key {self._path!r}: {self._name!r} is {what}, and is not replaced; choose another key",
            key=self._path,
        )

    def _close_file(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self.file.drop()
            os.close(fd)

    def _end(self) -> None:
        """Let go of everything, the temporary file included if it still is one."""
        folder, self._folder = self._folder, None
        try:
            self._close_file()
            if folder is not None and self._temporary:
                folder.unlink(self._temporary)
        finally:
            if folder is not None:
                folder.close()
            self._place.end(self._note)


def _stamp(found: os.stat_result) -> Stamp:
    return Stamp(found.st_size, found.st_ino, found.st_mtime_ns)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _copy(source: int, target: int) -> None:
    """All bytes of one file into another, by the system where it can: some file systems then share the blocks."""
    os.lseek(source, 0, os.SEEK_SET)
    if hasattr(os, "copy_file_range"):
        try:
            while os.copy_file_range(source, target, 1 << 30):
                pass
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
                raise
        else:
            return
    os.lseek(source, 0, os.SEEK_SET)
    os.lseek(target, 0, os.SEEK_SET)
    while chunk := os.read(source, _COPY):
        _write_all(target, chunk)
