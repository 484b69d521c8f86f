"""Folders and files below a root, opened so that no link leads out of it.

A path is walked part by part, each opened relative to the folder before it and never through a link. A link is read
and walked in the same way, so that at no moment somebody could put one between the check and the use. Where the system
has no such calls (Windows), paths are resolved and checked instead, which leaves that moment.
"""

# ruff: noqa: PTH103, PTH116, PTH117, PTH118 (keys are text, and pathlib cannot name a file relative to an open folder)

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType

from eagerly.errors import DatasetKeyError

__all__ = ["Folder", "open_file", "open_folder"]

_RELATIVE = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_FILE = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_MAX_LINKS = 40  # as Linux has it


class Folder:
    """An open folder. What is done in it is done in that very folder, wherever its path leads by now."""

    __slots__ = ("_fd", "_path")

    def __init__(self, fd: int | None, path: str) -> None:
        self._fd = fd
        self._path = path

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def open(self, name: str, flags: int, mode: int = 0o666) -> int:
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        return os.open(self._at(name), flags, mode, dir_fd=self._fd)

    def stat(self, name: str) -> os.stat_result | None:
        """Of the link itself, if it is one; None if there is nothing."""
        try:
            return os.stat(self._at(name), dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def replace(self, source: str, target: str) -> None:
        os.replace(self._at(source), self._at(target), src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def unlink(self, name: str) -> bool:
        try:
            os.unlink(self._at(name), dir_fd=self._fd)
        except FileNotFoundError:
            return False
        return True

    def scan(self) -> Iterator[tuple[str, bool]]:
        """The names of the files and folders in it, and whether each is a folder. Links are neither."""
        with os.scandir(self._path if self._fd is None else self._fd) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield entry.name, True
                elif entry.is_file(follow_symlinks=False):
                    yield entry.name, False

    def sync(self) -> None:
        """Bring the names in it to the disk."""
        if self._fd is not None:
            try:
                os.fsync(self._fd)
            except OSError:  # not every file system can
                return

    def _at(self, name: str) -> str:
        return name if self._fd is not None else os.path.join(self._path, name)


def open_folder(root: str, path: str, *, create: bool = False) -> Folder:
    """The folder `path` ("" is the root).

    Args:
        root: An absolute path; it may have links.
        path: Relative to it, with ``/``.
        create: Make it, and the folders above it, if it is not there.

    Raises:
        DatasetKeyError: A link on the way leads out of the root.
        FileNotFoundError, NotADirectoryError: As the system says.
    """
    if not _RELATIVE:
        found = _resolved(root, path)
        if create:
            os.makedirs(found, exist_ok=True)
        elif not stat.S_ISDIR(os.stat(found).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return Folder(None, found)
    try:
        walk = _Walk(root, path)
    except FileNotFoundError:
        if not create:
            raise
        os.makedirs(root, exist_ok=True)
        walk = _Walk(root, path)
    try:
        walk.enter(path.split("/"), create=create)
        return Folder(walk.take(), "")
    finally:
        walk.close()


def open_file(root: str, path: str) -> int:
    """A descriptor of the regular file `path`, for reading.

    Raises:
        DatasetKeyError: A link on the way, or the file itself, leads out of the root.
        FileNotFoundError, NotADirectoryError, IsADirectoryError: As the system says.
    """
    if _RELATIVE:
        walk = _Walk(root, path)
        try:
            fd = walk.open()
        finally:
            walk.close()
    else:
        fd = os.open(_resolved(root, path), _FILE)
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        os.close(fd)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return fd


class _Walk:
    """A walk that starts at the root and is never above it: ``..`` goes back the way that was walked."""

    def __init__(self, root: str, path: str) -> None:
        self.root = root
        self.path = path
        self.links = 0
        self.link = ""
        self.stack = [os.open(root, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))]

    def close(self) -> None:
        while self.stack:
            os.close(self.stack.pop())

    def take(self) -> int:
        """The folder that was reached; closing it is the caller's."""
        return self.stack.pop()

    def enter(self, names: list[str], *, create: bool) -> None:
        todo = names[::-1]
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            if name == "..":
                self._back()
                continue
            try:
                self.stack.append(self._open_folder(name, create=create))
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
                    raise
                target = self._follow(name)
                if target is None:
                    raise
                todo += target[::-1]

    def open(self) -> int:
        names = self.path.split("/")
        while True:
            self.enter(names[:-1], create=False)
            name = names[-1]
            if name in ("", ".", ".."):  # where a link ended
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self.path)
            try:
                return os.open(name, _FILE, dir_fd=self.stack[-1])
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.EMLINK):
                    raise
                target = self._follow(name)
                if target is None:
                    raise
                names = target

    def _open_folder(self, name: str, *, create: bool) -> int:
        try:
            return os.open(name, _FOLDER, dir_fd=self.stack[-1])
        except FileNotFoundError:
            if not create:
                raise
        with suppress(FileExistsError):  # somebody else was faster
            os.mkdir(name, dir_fd=self.stack[-1])
        return os.open(name, _FOLDER, dir_fd=self.stack[-1])

    def _follow(self, name: str) -> list[str] | None:
        """The parts that the link `name` stands for, to be walked from where the walk is now; None if it is no link."""
        try:
            target = os.readlink(name, dir_fd=self.stack[-1])
        except OSError:
            return None
        self.links += 1
        self.link = name
        if self.links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self.path)
        if not os.path.isabs(target):
            return target.split("/")
        for root in (self.root, os.path.realpath(self.root)):
            if target == root or target.startswith(root.rstrip("/") + "/"):
                while len(self.stack) > 1:
                    os.close(self.stack.pop())
                return target[len(root) :].split("/")
        raise _escape(self.path, name, target)

    def _back(self) -> None:
        if len(self.stack) == 1:
            raise _escape(self.path, self.link, "..")
        os.close(self.stack.pop())


def _escape(path: str, name: str, target: str) -> DatasetKeyError:
    return DatasetKeyError(
        f"dataset key {path!r}: a link on the way, {name!r}, leads out of the store, to {target!r}", key=path
    )


def _resolved(root: str, path: str) -> str:
    """The absolute path without links, for systems that cannot open relative to a folder."""
    real = os.path.realpath(root)
    target = os.path.realpath(os.path.join(real, *path.split("/")))
    if target != real and not target.startswith(real.rstrip(os.sep) + os.sep):
        raise _escape(path, path, target)
    return target
