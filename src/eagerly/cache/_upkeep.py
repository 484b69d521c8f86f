"""What keeps the index of a disk store and its files in step, also after processes were killed and disks were full.

A file is only ever removed in a transaction, and only if no row claims it: as a file is also put in place in the
transaction that claims it, nobody's result can go by mistake.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence

from eagerly.cache._directory import Directory
from eagerly.cache._files import ValueFiles, key_of, name_of
from eagerly.cache._index import Index, is_full

__all__ = ["clear", "remove_unclaimed", "sweep"]


def remove_unclaimed(index: Index, files: ValueFiles, names: Sequence[object]) -> None:
    """Remove the files of these names which no row claims. A name that we would not make names no file of ours."""
    with index.transact():
        for name in names:
            key = key_of(name)
            if key is not None and not index.claims(key):
                files.remove(key)


def sweep(index: Index, files: ValueFiles) -> None:
    """Remove what killed processes left behind: files without a row, rows without a file, temporary files."""
    files.remove_abandoned()
    unclaimed = [name_of(key) for key in files.found() if not index.claims(key)]
    if unclaimed:
        remove_unclaimed(index, files, unclaimed)
    index.drop_without_file(lambda key, name: name == name_of(key) and files.exists(key))


def clear(index: Index, files: ValueFiles, directory: Directory) -> int:
    """Remove all rows and files; how many rows there were."""
    try:
        cleared = index.clear()
    except sqlite3.OperationalError as error:
        if not is_full(error):
            raise
        return _clear_full_disk(index, files, directory)
    remove_unclaimed(index, files, [name_of(key) for key in files.found()])
    with contextlib.suppress(sqlite3.OperationalError):  # others are reading, or there is no room even for that
        index.shorten_log()
    return cleared


def _clear_full_disk(index: Index, files: ValueFiles, directory: Directory) -> int:
    """Removing rows needs room for SQLite's log. So first the files go, then, if need be, the index itself."""
    count = index.count()
    for key in files.found():
        files.remove(key)
    try:
        index.shorten_log()
        index.clear()
    except sqlite3.OperationalError as error:
        if not is_full(error):
            raise
        directory.discard_index()
    return count
