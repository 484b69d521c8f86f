"""Connections that wait to be used: any thread may take one, so threads that end leave nothing open.

SQLite keeps the locks of all connections of a process in one place and copies of them do not survive a fork. So a fork
waits until the connections are back, and the child closes its copies before it opens any.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Generator

from eagerly._forks import FORK_PATIENCE
from eagerly.cache._index import Connection, connect

__all__ = ["Pool"]

_IDLE = 8  # connections to keep


class _Idle(list[Connection]):
    """Connections to one and the same file, which have its mark."""

    __slots__ = ("mark",)

    def __init__(self) -> None:
        self.mark = object()


class Pool:
    """Connections to the index in one directory.

    Attributes:
        lock: Held while a connection is opened, and during a fork.
        writable: Whether new connections can write.
    """

    def __init__(self, directory: str, timeout: float) -> None:
        self._directory = directory
        self._timeout = timeout
        self._idle = _Idle()
        self._opened: weakref.WeakSet[Connection] = weakref.WeakSet()
        # Re-entrant: the garbage collector may run a task, and so open another connection, while one is opened.
        self.lock = threading.RLock()
        self.writable = True
        _pools.add(self)

    def __del__(self) -> None:
        # A connection and its statements refer to each other, and would stay open until the next garbage collection.
        for connection in self._idle:
            connection.close()

    def take(self) -> Connection:
        """A connection for one operation; who does not give it back closes it."""
        try:
            return self._idle.pop()
        except IndexError:
            pass
        with self.lock:
            connection = connect(self._directory, self._timeout, writable=self.writable)
            connection.mark = self._idle.mark
            self._opened.add(connection)
            return connection

    def give_back(self, connection: Connection) -> None:
        idle = self._idle
        # After a reset, connections of before are of no use.
        if connection.mark is idle.mark and len(idle) < _IDLE:
            idle.append(connection)
        else:
            connection.close()

    @contextlib.contextmanager
    def lent(self) -> Generator[Connection]:
        """A connection for the block. After an error it is closed, whatever state it is in."""
        connection = self.take()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self.give_back(connection)

    def reset(self, *, writable: bool) -> None:
        """Close what is idle now and what comes back later: the index is another file."""
        self.writable = writable
        self.close()

    def close(self) -> None:
        with self.lock:
            idle, self._idle = self._idle, _Idle()
        for connection in idle:
            connection.close()

    def close_everywhere(self) -> None:
        """Also for other stores of this process on the same directory: till then, a removed index takes room."""
        for pool in list(_pools):
            if pool._directory == self._directory:
                pool.close()

    def before_fork(self) -> None:
        self.lock.acquire()
        # From here on nobody gets a connection, and those that come back are closed.
        self._kept, self._idle = self._idle, _Idle()
        deadline = time.monotonic() + FORK_PATIENCE
        while sum(each.is_open for each in self._opened) > len(self._kept) and time.monotonic() < deadline:
            time.sleep(0.0002)

    def after_fork_in_parent(self) -> None:
        self._idle = self._kept
        self.lock.release()

    def after_fork_in_child(self) -> None:
        for connection in self._kept:
            connection.close()
        # What other threads were in the middle of is never closed here.
        _never_closed.extend(each for each in self._opened if each.is_open)
        self._opened = weakref.WeakSet()
        self.lock.release()


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
_forking: list[Pool] = []
_never_closed: list[Connection] = []


def _before_fork() -> None:
    _forking[:] = sorted(_pools, key=id)
    for pool in _forking:
        pool.before_fork()


def _after_fork_in_parent() -> None:
    for pool in _forking:
        pool.after_fork_in_parent()
    _forking.clear()


def _after_fork_in_child() -> None:
    for pool in _forking:
        pool.after_fork_in_child()
    _forking.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
