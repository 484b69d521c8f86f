"""Who can have written a file: this user alone, or somebody else too.

A cached result is unpickled, and a pickle is a program. So a directory or a file counts as ours only if it belongs to
this user and nobody else may write to it. Nothing in this file reads what is in a file.
"""
# ruff: noqa: PTH119 (pathlib knows no open directories)

from __future__ import annotations

import errno
import os
import stat

from eagerly.errors import UntrustedEntryError

__all__ = ["check_directory", "check_file", "open_directory", "open_file"]

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
_CLOEXEC: int = getattr(os, "O_CLOEXEC", 0)
_BINARY: int = getattr(os, "O_BINARY", 0)
# A named pipe in the place of a file must not hold up the call that opens it.
_NONBLOCK: int = getattr(os, "O_NONBLOCK", 0)
_DIRECTORY: int = getattr(os, "O_DIRECTORY", 0)
_KNOWS_OWNERS = hasattr(os, "geteuid")


def check_directory(path: str, status: os.stat_result, *, signed: bool) -> None:
    """Refuse a directory in which somebody else can put files; `signed`: whatever comes from it is verified anyway."""
    if not stat.S_ISDIR(status.st_mode):
        raise UntrustedEntryError(f"{path!r} is {_kind(status)}, not a directory; give the cache store another path")
    if not signed:
        _check_owner(path, status)


def check_file(path: str, status: os.stat_result, *, signed: bool) -> None:
    """Refuse what is no regular file, or what somebody else can have written."""
    if not stat.S_ISREG(status.st_mode):
        raise UntrustedEntryError(f"{path!r} is {_kind(status)}, not a file that the cache store wrote; remove it")
    if not signed:
        _check_owner(path, status)


def open_directory(path: str, *, signed: bool) -> int:
    """A descriptor of the directory at `path`, which may not be a link."""
    fd = _open(path, os.O_RDONLY | _DIRECTORY, None)
    try:
        check_directory(path, os.fstat(fd), signed=signed)
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_file(path: str, flags: int, *, signed: bool, within: int | None = None) -> tuple[int, os.stat_result]:
    """A descriptor of the file at `path`, and its status; `within`: a descriptor of its directory."""
    fd = _open(path, flags, within)
    try:
        status = os.fstat(fd)
        check_file(path, status, signed=signed)
    except BaseException:
        os.close(fd)
        raise
    return fd, status


def _open(path: str, flags: int, within: int | None) -> int:
    name = path if within is None else os.path.basename(path)
    try:
        return os.open(name, flags | _NOFOLLOW | _CLOEXEC | _NONBLOCK | _BINARY, dir_fd=within)
    except OSError as error:
        # A link in the place of a directory is ENOTDIR on Linux.
        if error.errno not in (errno.ELOOP, errno.EMLINK, errno.ENOTDIR, errno.ENXIO, errno.EISDIR):
            raise
        raise UntrustedEntryError(
            f"{path!r} is not what the cache store wrote there, but perhaps a link ({error.strerror}); remove it"
        ) from error


def _check_owner(path: str, status: os.stat_result) -> None:
    if not _KNOWS_OWNERS:
        return
    me = os.geteuid()
    if status.st_uid != me:
        raise UntrustedEntryError(
            f"{path!r} belongs to user {status.st_uid}, and this process runs as user {me}: unpickling what another"
            f" user wrote can run that user's code. Use a directory of your own, or a signing_key"
        )
    if status.st_mode & _OTHERS_WRITE:
        mode = stat.S_IMODE(status.st_mode)
        raise UntrustedEntryError(
            f"{path!r} has mode {mode:04o}, so that others can write to it: unpickling what they wrote can run their"
            f" code. Run `chmod go-w {path}` if nobody has, or use a signing_key"
        )


def _kind(status: os.stat_result) -> str:
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a directory", stat.S_IFREG: "a file", stat.S_IFIFO: "a named pipe"}
    return kinds.get(stat.S_IFMT(status.st_mode), "a special file")
