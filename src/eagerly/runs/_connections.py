"""Connections to one database that wait to be used: each thread has one of its own while it uses it.

No connection survives a fork. SQLite keeps the locks of a process in one place, which a child has a copy of, so a fork
waits until the connections are back, and the child closes its copies before it opens any. Those to a server must not
be closed there: that would end the parent's.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Generator
from typing import Any, Final

__all__ = ["Connections"]

_IDLE: Final = 8  # connections to keep
_FORK_PATIENCE: Final = 1.0  # seconds that a fork waits for connections in use


class Connections:
    """The connections of one store in this process.

    Args:
        connect: Makes a new one, which has a method ``close``.
        closed_in_child: Whether a forked child closes its copies.
    """

    def __init__(self, connect: Callable[[], Any], *, closed_in_child: bool) -> None:
        self._connect = connect
        self._closed_in_child = closed_in_child
        self._idle: list[Any] = []
        self._lent = 0
        self._generation = object()
        self._apart: weakref.WeakSet[Any] = weakref.WeakSet()
        # Re-entrant: the garbage collector may run code that uses the store while a connection is made.
        self._lock = threading.RLock()
        _all.add(self)

    def __del__(self) -> None:
        for connection in self._idle:
            connection.close()

    @contextlib.contextmanager
    def lent(self) -> Generator[Any]:
        """A connection for the block. After an error it is closed, whatever state it is in."""
        with self._lock:
            generation = self._generation
            connection = self._idle.pop() if self._idle else self._connect()
            self._lent += 1
        try:
            yield connection
        except BaseException:
            self._give_back(connection, generation, keep=False)
            raise
        self._give_back(connection, generation, keep=True)

    def apart(self) -> Any:
        """A connection for as long as the caller wants to have it, who closes it."""
        with self._lock:
            connection = self._connect()
            self._apart.add(connection)
            return connection

    def _give_back(self, connection: Any, generation: object, *, keep: bool) -> None:
        with self._lock:
            if generation is not self._generation:
                keep = False  # it is to another file, or that of the parent
            else:
                self._lent -= 1
            if keep and len(self._idle) < _IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close what is idle now, and what comes back later."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._lent, self._generation = 0, object()
        for connection in idle:
            connection.close()

    def before_fork(self) -> None:
        self._lock.acquire()
        deadline = time.monotonic() + _FORK_PATIENCE
        while self._lent and time.monotonic() < deadline:
            self._lock.release()
            time.sleep(0.0002)
            self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        self._lock.release()

    def after_fork_in_child(self) -> None:
        inherited = [*self._idle, *self._apart]
        self._idle, self._apart = [], weakref.WeakSet()
        self._lent, self._generation = 0, object()
        if self._closed_in_child:
            for connection in inherited:
                connection.close()
        else:
            _never_closed.extend(inherited)
        self._lock = threading.RLock()


_all: weakref.WeakSet[Connections] = weakref.WeakSet()
_forking: list[Connections] = []
_never_closed: list[Any] = []


def _before_fork() -> None:
    _forking[:] = sorted(_all, key=id)
    for each in _forking:
        each.before_fork()


def _after_fork_in_parent() -> None:
    for each in _forking:
        each.after_fork_in_parent()
    _forking.clear()


def _after_fork_in_child() -> None:
    for each in _forking:
        each.after_fork_in_child()
    _forking.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
