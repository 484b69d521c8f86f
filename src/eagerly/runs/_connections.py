"""Connections to one database that wait to be used: each thread has one of its own while it uses it.

No connection survives a fork. SQLite keeps the locks of a process in one place, which a child has a copy of, and has
locks of its own around its memory, which a child would wait for in vain if a thread held one just then. So a fork waits
until no other thread is at work with a connection, and the child closes its copies before it opens any. Those to a
server must not be closed there: that would end the parent's.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Generator
from typing import Any, Final

from eagerly._forks import FORK_PATIENCE

__all__ = ["Connections", "at_work"]

_IDLE: Final = 8  # connections to keep

_gate = threading.RLock()  # re-entrant: the garbage collector may run code that uses a store in the middle of anything
_at_work: dict[int, int] = {}  # threads, and how many blocks each is in


@contextlib.contextmanager
def at_work() -> Generator[None]:
    """This thread may be within SQLite: no other one forks meanwhile, and it does not begin while one forks."""
    me = threading.get_ident()
    depth = _at_work.get(me, 0)
    try:
        if depth:  # a fork that waits for this thread lets it go on
            _at_work[me] = depth + 1
        else:
            with _gate:
                _at_work[me] = 1
        yield
    finally:
        if depth:
            _at_work[me] = depth
        else:
            _at_work.pop(me, None)


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
        self._generation = object()
        self._apart: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.RLock()  # for the reason that `_gate` is re-entrant; taken only by threads at work
        _all.add(self)

    def __del__(self) -> None:
        with at_work():
            for connection in self._idle:
                connection.close()

    @contextlib.contextmanager
    def lent(self) -> Generator[Any]:
        """A connection for the block. After an error it is closed, whatever state it is in."""
        with at_work():
            with self._lock:
                generation = self._generation
                connection = self._idle.pop() if self._idle else self._connect()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            self._give_back(connection, generation)

    def apart(self) -> Any:
        """A connection for as long as the caller wants to have it, who closes it, and uses it `at_work`."""
        with at_work(), self._lock:
            connection = self._connect()
            self._apart.add(connection)
            return connection

    def _give_back(self, connection: Any, generation: object) -> None:
        with self._lock:
            # After `close` it may be to another file, and in a child it is the parent's.
            if generation is self._generation and len(self._idle) < _IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close what is idle now, and what comes back later."""
        with at_work():
            with self._lock:
                idle, self._idle = self._idle, []
                self._generation = object()
            for connection in idle:
                connection.close()

    def after_fork_in_child(self) -> None:
        """None of the connections are this process's."""
        inherited = [*self._idle, *self._apart]
        self._idle, self._apart = [], weakref.WeakSet()
        self._generation = object()
        self._lock = threading.RLock()
        if self._closed_in_child:
            for connection in inherited:
                connection.close()
        else:
            _never_closed.extend(inherited)


_all: weakref.WeakSet[Connections] = weakref.WeakSet()
_never_closed: list[Any] = []


def _before_fork() -> None:
    me = threading.get_ident()
    deadline = time.monotonic() + FORK_PATIENCE
    _gate.acquire()
    while _at_work.keys() - {me} and time.monotonic() < deadline:
        time.sleep(0.0002)


def _after_fork_in_parent() -> None:
    _gate.release()


def _after_fork_in_child() -> None:
    global _gate
    _gate = threading.RLock()
    _at_work.clear()
    for each in list(_all):
        each.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
