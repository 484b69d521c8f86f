"""The process backend: each piece of work in one of a few processes of our own, any of which may be killed alone.

Nothing is inherited but what is sent, and nothing is forked. This module is the door; `_manager` has the thread that
does it all, so nothing here waits but `close`.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from eagerly._numbers import count
from eagerly.backends._manager import Manager
from eagerly.backends._protocol import Capabilities, Work, refuse_to_travel
from eagerly.backends._shared_files import SharedFiles
from eagerly.errors import BackendError, OptionValueError

if TYPE_CHECKING:
    from eagerly.cache._protocol import Buffer

__all__ = ["ProcessBackend"]

UNFIT: Final = ("win32", "emscripten", "wasi")
"""Systems on which a process cannot be handed a connection when it is started, or cannot be started."""


class ProcessBackend:
    """Runs work in processes of its own, started as needed and kept until `close`.

    A worker that dies takes down only what it was doing; it is replaced. Workers have the coordinator's folder,
    `sys.path` and environment of the moment at which the work was handed in, and nothing else of it.

    Args:
        workers: How many; by default as many as this process may use processors.

    Raises:
        OptionTypeError: Not an int.
        OptionValueError: Less than 1.
    """

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and count("ProcessBackend(workers=...)", workers) == 0:
            raise OptionValueError("ProcessBackend(workers=...) must be 1 or more, not 0; leave it out for one per CPU")
        self._workers = _processors() if workers is None else workers
        self._manager: Manager | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None
        self._files = SharedFiles()
        weakref.finalize(self, self._files.close)
        self._capabilities = Capabilities(
            name="process",
            workers=self._workers,
            kills=True,
            soft_cancel=True,
            live_events=True,
            survives_crash=True,
            chunk_seconds=0.1,
        )
        _backends.add(self)

    def __reduce__(self) -> NoReturn:
        refuse_to_travel(self)

    def __repr__(self) -> str:
        return f"ProcessBackend(workers={self._workers})"

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        return self._capabilities

    def open(self) -> None:
        """Get ready; the workers start with the first work.

        Raises:
            BackendError: Not on this system, or not from this program.
        """
        _check_system()
        manager = self._manager
        if manager is None or manager.closed:
            if manager is not None:
                manager.join()
            with _opening:
                manager = self._manager
                if manager is None or manager.closed:
                    self._detach()
                    manager = self._manager = Manager(self._workers)
                    self._finalizer = weakref.finalize(self, manager.close)
                    self._finalizer.atexit = False  # `_close_all` waits
        try:
            manager.start()
        except RuntimeError as error:  # Python 3.12 starts no thread when it is about to end
            raise BackendError(f"the process backend cannot be opened: {error}") from None

    def submit(self, work: Work) -> None:
        """Have `work` done. Its message is made here, in the caller's thread."""
        manager = self._manager
        if manager is None or not manager.submit(work):
            raise BackendError("the process backend is not open; call open() before submit()")

    def cancel(self, work: Work, *, force: bool) -> bool:
        """Take `work` back, or have it stopped; with `force` its worker is killed."""
        manager = self._manager
        if manager is None:
            return False
        if manager.take_back(work):
            return True
        manager.stop(work, force=force)
        return False

    def recover(self) -> None:
        """Nothing is to be done: a worker that has died has been replaced."""

    def share(self, parts: Sequence[Buffer]) -> str:
        """Write `parts` to a file in memory, where the system has that, and return its path."""
        return self._files.write(parts)

    def unshare(self, handle: Any) -> None:
        """Remove the file."""
        self._files.remove(handle)

    def close(self) -> None:
        """End the workers, killing those that are at work, and wait until they are gone."""
        manager = self._manager
        if manager is not None:
            manager.close()
            if manager.join():
                with _opening:
                    if self._manager is manager:
                        self._detach()
                        self._manager = None
        self._files.close()

    def _detach(self) -> None:
        """The manager that is closed need not be closed when this is collected, nor be kept until then."""
        if self._finalizer is not None:
            self._finalizer.detach()

    def _forget(self) -> None:
        self._detach()
        manager, self._manager = self._manager, None
        if manager is not None:
            manager.forget()
        self._files.forget()


def _processors() -> int:
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check_system() -> None:
    elsewhere = "use backend='inline', 'thread', 'dask' or 'ray', or pass any concurrent.futures.Executor"
    if sys.platform in UNFIT:
        raise BackendError(
            f"the process backend hands open connections to its workers, which {sys.platform} cannot do; {elsewhere}"
        )
    if not sys.executable or getattr(sys, "frozen", False):
        raise BackendError(
            "the process backend starts its workers with the Python interpreter, and this program has none of its own "
            f"(sys.executable is {sys.executable!r}); {elsewhere}"
        )


_opening = threading.RLock()  # re-entrant: the garbage collector may run a task in the middle of opening
_backends: weakref.WeakSet[ProcessBackend] = weakref.WeakSet()


def _close_all() -> None:
    for backend in list(_backends):
        with contextlib.suppress(Exception):
            backend.close()


def _after_fork() -> None:
    """A forked child has the connections of its parent's workers, but neither the thread nor the workers."""
    global _opening
    _opening = threading.RLock()
    for backend in list(_backends):
        backend._forget()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
