"""`ThreadBackend`: items run in threads of this process."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
import weakref
from collections.abc import Sequence
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from eagerly._numbers import count
from eagerly.backends._protocol import Capabilities, Crash, Work, refuse_to_travel
from eagerly.errors import BackendError, OptionValueError

if TYPE_CHECKING:
    from eagerly.cache._protocol import Buffer

__all__ = ["ThreadBackend"]

DEFAULT_WORKERS: Final = min(32, (os.cpu_count() or 1) + 4)
"""As many as the standard library's pool has: threads mostly wait."""

_numbers = itertools.count(1)


class ThreadBackend:
    """Daemon threads, started when there is work for them and kept until it is closed.

    Args:
        workers: How many threads. Default: four more than there are processors, 32 at most.

    Raises:
        OptionTypeError, OptionValueError: `workers` is no positive number.
    """

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and count("ThreadBackend(workers=...)", workers) == 0:
            raise OptionValueError("ThreadBackend(workers=...) must be 1 or more, not 0")
        self.capabilities = Capabilities(
            name="thread",
            workers=workers or DEFAULT_WORKERS,
            in_process=True,
            soft_cancel=True,
            live_events=True,
            chunk_seconds=0.02,
        )
        self._pool = _Pool()
        _backends.add(self)

    def open(self) -> None:
        """Threads are started by `submit`."""

    def submit(self, work: Work) -> None:
        """Give it to a thread; a new one if none is idle and there may be more."""
        pool = self._pool
        pool.pending.add(work)
        pool.queue.put(work)
        with pool.lock:
            if not pool.closed:
                if not pool.idle.acquire(blocking=False) and len(pool.threads) < self.capabilities.workers:
                    _hire(pool, work)
                return
        pool.give_up()

    def cancel(self, work: Work, *, force: bool) -> bool:
        """Take back what no thread has begun."""
        try:
            self._pool.pending.remove(work)  # one step, which either this or a thread does first
        except KeyError:
            return False
        return True

    def recover(self) -> None:
        """Never needed: a thread that dies takes the process with it."""

    def share(self, parts: Sequence[Buffer]) -> Any:
        """Never called: what runs in this process gets the objects themselves."""
        raise AssertionError("objects are not shared with threads of the process that has them")

    def unshare(self, handle: Any) -> None:
        """Never called."""

    def close(self) -> None:
        """Let the threads end, and wait until they have: bodies that run are not interrupted."""
        pool = self._pool
        with pool.lock:
            pool.closed = True
        pool.give_up()
        if self._pool is pool:  # and no other thread closes it too
            self._pool = _Pool()
        pool.dismiss()
        for thread in pool.threads:
            # When the interpreter ends, daemon threads stand still for ever.
            if thread is not threading.current_thread() and not sys.is_finalizing():
                thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        pool = getattr(self, "_pool", None)
        if pool is not None:
            pool.dismiss()

    def __reduce__(self) -> NoReturn:
        refuse_to_travel(self)

    def __repr__(self) -> str:
        return f"ThreadBackend(workers={self.capabilities.workers})"


class _Pool:
    """The threads of a backend from one closing to the next, and what they are to do."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[Work | None] = SimpleQueue()
        self.pending: set[Work] = set()
        self.idle = threading.Semaphore(0)
        self.threads: list[threading.Thread] = []
        self.lock = threading.RLock()  # re-entrant: the garbage collector may run a task in the middle of it
        self.closed = False

    def give_up(self) -> None:
        """End what has not begun."""
        with contextlib.suppress(KeyError):  # there is no more
            while True:
                self.pending.pop().end(Crash(message="the backend was closed", asked=True))

    def dismiss(self) -> None:
        """Have the threads end."""
        for _ in self.threads:
            self.queue.put(None)


def _hire(pool: _Pool, work: Work) -> None:
    thread = threading.Thread(target=_serve, args=(pool,), name=f"eagerly-map-{next(_numbers)}", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # Python 3.12 starts none when the main one has ended
        if not pool.threads:
            pool.pending.discard(work)
            raise BackendError(f"the thread backend cannot start a thread: {error}") from None
    else:
        pool.threads.append(thread)


def _serve(pool: _Pool) -> None:
    """What a thread does. It knows the pool and not the backend, which may go while the thread waits."""
    while (work := pool.queue.get()) is not None:
        try:
            pool.pending.remove(work)
        except KeyError:
            pass  # taken back
        else:
            work.run()
        del work
        pool.idle.release()


_backends: weakref.WeakSet[ThreadBackend] = weakref.WeakSet()


def _after_fork() -> None:
    """A forked child has none of its parent's threads."""
    for backend in list(_backends):
        backend._pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
