"""What can go wrong with a SQLite file, in words that say what to do."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Generator
from typing import Final

from eagerly.errors import RunsError

__all__ = ["translated"]

_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)
_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_REFUSED: Final = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH)
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def translated(place: str, timeout: float) -> Generator[None]:
    """Make a `RunsError` of what SQLite and the file system raise in the block."""
    try:
        yield
    except sqlite3.Error as error:
        raise _explained(error, place, timeout) from error
    except OSError as error:
        if isinstance(error, RunsError):  # one that is an OSError too
            raise
        if error.errno in _NO_ROOM:
            raise _full(place, error) from error
        raise RunsError(f"the run store {place} cannot be used: {error}") from error


def _explained(error: sqlite3.Error, place: str, timeout: float) -> RunsError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _BUSY:
        found = RunsError(f"the run store {place} was locked by another process for more than {timeout:g} s")
        vars(found)["passing"] = True
        return found
    if code == sqlite3.SQLITE_FULL:
        return _full(place, error)
    if code in _DAMAGED:
        return RunsError(
            f"the run store {place} is damaged or no SQLite database ({error}), and is left as it is. Restore a copy;"
            f" or get out what can be read with `sqlite3 {place} .recover`; or begin a new one with"
            f" `mv {place} {place}.damaged`"
        )
    if code in _REFUSED:
        return RunsError(
            f"the run store {place} cannot be opened or written to ({error}); what is there is unchanged. Look at the"
            " permissions of the file and of its folder, in which SQLite has to make files"
        )
    if code == sqlite3.SQLITE_IOERR:
        return RunsError(f"the disk of the run store {place} fails, or is full ({error}); nothing was written")
    return RunsError(f"the run store {place} cannot be used: {error}")


def _full(place: str, error: Exception) -> RunsError:
    return RunsError(
        f"there is no room for the run store {place} ({error}): nothing of this was written, and everything from before"
        " is there. Make room, or remove old runs with `eagerly runs prune`"
    )
