"""`ExecutorBackend`: any executor of the kind that `concurrent.futures` defines, as a backend.

What the user has made is never shut down here. A pool of processes that has broken cannot be repaired by anybody; then
one of the same kind takes its place, which is ours and ends with us.
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from eagerly.backends._engine import words_of
from eagerly.backends._protocol import Capabilities, Crash, Work
from eagerly.errors import BackendError, OptionTypeError

if TYPE_CHECKING:
    from eagerly.cache._protocol import Buffer

__all__ = ["ExecutorBackend"]

IN_PROCESS_CHUNK: Final = 0.005
"""Seconds of work in a piece for a pool of threads, which costs some 20 us to hand over."""


class ExecutorBackend:
    """Runs tasks on an executor that you have made, and that you shut down.

    The workers of a `ThreadPoolExecutor` are in this process. Those of all others are spoken to in bytes, so that any
    executor will do, as long as eagerly can be imported where it runs.

    A worker of a `ProcessPoolExecutor` or of loky that dies takes the pool with it. A pool of the same kind (number of
    workers, start method, initializer) then does what is left; `close` ends it. ``backend="process"`` loses one worker
    and one item instead.

    Args:
        executor: A `concurrent.futures.Executor`, or anything with its ``submit``.

    Raises:
        OptionTypeError: It is no executor.
    """

    def __init__(self, executor: Executor) -> None:
        if isinstance(executor, type):
            raise OptionTypeError(
                f"ExecutorBackend takes an executor, not a class of them; write ExecutorBackend({executor.__name__}())"
            )
        if not callable(getattr(executor, "submit", None)):
            raise OptionTypeError(
                f"ExecutorBackend takes an executor, not {executor!r}; write ExecutorBackend(ThreadPoolExecutor())"
            )
        self._given = executor
        self._replacement: Executor | None = None
        self._futures: dict[int, Future[Any]] = {}  # by id of the work; who takes one out says how it ended
        self._files: set[str] = set()
        self._gone = False  # an executor that we cannot replace has broken
        self._lock = threading.Lock()
        self._in_process = _has_threads(executor)
        self._replaceable = isinstance(executor, ProcessPoolExecutor) or _is_loky(executor)

    def __repr__(self) -> str:
        return f"ExecutorBackend({self._given!r})"

    @property
    def workers_of(self) -> Executor:
        """What has the workers: backends of one executor share them."""
        return self._given

    @property
    def capabilities(self) -> Capabilities:
        """What it can do, as far as one can tell from the kind of the executor."""
        return Capabilities(
            name=type(self._given).__name__,
            workers=getattr(self._given, "_max_workers", None) or os.cpu_count() or 1,
            in_process=self._in_process,
            shared_fate=not self._in_process,
            soft_cancel=self._in_process,
            live_events=self._in_process,
            survives_crash=self._replaceable,
            chunk_seconds=IN_PROCESS_CHUNK if self._in_process else 0.05,
        )

    def open(self) -> None:
        """See that work would be taken.

        Raises:
            BackendError: The executor has been shut down, or has broken and cannot be replaced.
        """
        executor = self._executor
        if _is_broken(executor) or self._gone:
            self.recover()
        elif _is_shut_down(executor):
            raise BackendError(_shut_down(executor))

    def submit(self, work: Work) -> None:
        """Hand `work` to the executor; if that is a pool of processes that has just broken, to the one in its place.

        Raises:
            BackendError: It has been shut down, or has broken and cannot be replaced.
        """
        executor = self._executor
        try:
            try:
                future = self._hand(executor, work)
            except BrokenExecutor:  # the ends of what was in it may still be on their way
                self.recover()
                executor = self._executor
                future = self._hand(executor, work)
        except BrokenExecutor as error:
            raise BackendError(f"the {type(executor).__name__} takes no work any more, as it has broken") from error
        except BackendError:
            raise
        except RuntimeError as error:
            shut = _is_shut_down(executor) or "shutdown" in str(error)
            what = _shut_down(executor) if shut else f"the {type(executor).__name__} takes no work: {error}"
            raise BackendError(what) from error
        except OSError as error:  # no process or thread can be started
            raise BackendError(f"the {type(executor).__name__} takes no work: {words_of(error)}") from error
        self._futures[id(work)] = future
        future.add_done_callback(functools.partial(self._finished, work, executor))

    def _hand(self, executor: Executor, work: Work) -> Future[Any]:
        if self._in_process:
            return executor.submit(work.run)
        message, before = work.message, len(_processes(executor))
        future = executor.submit(message.function, message.key, message.spec, message.body, *message.shared)
        if len(_processes(executor)) > before:
            _look_again(executor)
        return future

    def cancel(self, work: Work, *, force: bool) -> bool:
        """Take `work` back if the executor has not begun it. What runs cannot be stopped."""
        future = self._futures.pop(id(work), None)
        return future is not None and future.cancel()

    def recover(self) -> None:
        """Put another pool in the place of one that has broken.

        Raises:
            BackendError: It is of a kind that we cannot make.
        """
        with self._lock:
            executor = self._executor
            if not (_is_broken(executor) or self._gone):
                return
            if not self._replaceable:
                raise BackendError(
                    f"the {type(executor).__name__} has broken and takes no work any more; make another one"
                    + ("" if self._in_process else ', or use backend="process", which a dying worker does not break')
                )
            broken, self._replacement = self._replacement, _another(self._given)
        if broken is not None:
            _end(broken)

    def share(self, parts: Sequence[Buffer]) -> Any:
        """A file, for pools of processes on this machine; for others the bytes, which travel with each piece."""
        if not self._replaceable:
            return b"".join(parts)
        handle, path = tempfile.mkstemp(prefix="eagerly-share-")
        self._files.add(path)
        with os.fdopen(handle, "wb") as file:
            for part in parts:
                file.write(part)
        return path

    def unshare(self, handle: Any) -> None:
        """Remove the file, if it is one."""
        if isinstance(handle, str) and handle in self._files:
            self._files.discard(handle)
            Path(handle).unlink(missing_ok=True)

    def close(self) -> None:
        """End what is ours: a pool that took the place of a broken one, and files. The executor itself goes on."""
        for future in list(self._futures.values()):
            future.cancel()
        with self._lock:
            replacement, self._replacement = self._replacement, None
        if replacement is not None:
            _end(replacement)
        for path in list(self._files):
            self.unshare(path)

    @property
    def _executor(self) -> Executor:
        return self._replacement or self._given

    def _finished(self, work: Work, executor: Executor, future: Future[Any]) -> None:
        ours = self._futures.pop(id(work), None) is not None
        if future.cancelled():
            if ours:  # not by `cancel`, which has taken it out: by a shutdown
                work.end(Crash(message=f"the {type(executor).__name__} was shut down before the work began"))
            return
        error = future.exception()
        if error is None:
            if not self._in_process:
                work.output(future.result())
                work.end()
        else:
            broken = isinstance(error, BrokenExecutor)
            self._gone = self._gone or (broken and not self._replaceable)
            work.end(_crash(error, _dead(executor) if broken else {}))


def _has_threads(executor: Executor) -> bool:
    # Since Python 3.14 there is a pool of interpreters, which is a kind of pool of threads, and shares no objects.
    interpreters = any(cls.__name__ == "InterpreterPoolExecutor" for cls in type(executor).__mro__)
    return isinstance(executor, ThreadPoolExecutor) and not interpreters


def _is_loky(executor: Executor) -> bool:
    return any(cls.__module__ == "loky.process_executor" for cls in type(executor).__mro__)


def _is_broken(executor: Executor) -> bool:
    # Those of the standard library have one attribute; loky has an object for what it knows of itself.
    return bool(getattr(executor, "_broken", False) or getattr(getattr(executor, "_flags", None), "broken", False))


def _is_shut_down(executor: Executor) -> bool:
    names = ("_shutdown", "_shutdown_thread")
    own = any(getattr(executor, name, False) is True for name in names)
    return own or getattr(getattr(executor, "_flags", None), "shutdown", False) is True


def _shut_down(executor: Executor) -> str:
    name = type(executor).__name__
    return f"the {name} has been shut down, and takes no work any more; make another one, or map before it is shut down"


def _another(executor: Executor) -> Executor:
    """A pool of processes of the same kind as `executor`."""
    old = cast("Any", executor)
    if _is_loky(executor):
        kind = next(cls for cls in type(executor).__mro__ if cls.__module__ == "loky.process_executor")
        return cast("Executor", kind(old._max_workers, timeout=old._timeout, context=old._context, **_start_of(old)))
    return ProcessPoolExecutor(
        old._max_workers,
        mp_context=old._mp_context,
        max_tasks_per_child=old._max_tasks_per_child,
        **_start_of(old),
    )


def _start_of(old: Any) -> dict[str, Any]:
    return {"initializer": old._initializer, "initargs": old._initargs}


def _end(executor: Executor) -> None:
    """End a pool of processes and what runs in it."""
    if _is_loky(executor):
        cast("Any", executor).shutdown(wait=True, kill_workers=True)
        return
    for process in list(_processes(executor).values()):
        process.kill()
    executor.shutdown(wait=True, cancel_futures=True)


def _processes(executor: Executor) -> Mapping[int, Any]:
    return getattr(executor, "_processes", None) or {}


def _look_again(executor: Executor) -> None:
    """Have the pool watch the process that it has just started.

    The thread of a `ProcessPoolExecutor` that watches is woken before the process is there, so it may not see it until
    something else happens. Should the process die first, nobody would ever hear of it (CPython 3.11 to 3.13).
    """
    wakeup = getattr(executor, "_executor_manager_thread_wakeup", None)
    if wakeup is not None:
        with cast("Any", executor)._shutdown_lock:
            wakeup.wakeup()


def _dead(executor: Executor) -> Mapping[int, int]:
    """Exit codes of the workers that have ended, by process. When a pool breaks, the others are still there."""
    with contextlib.suppress(RuntimeError, OSError):  # the pool has changed meanwhile
        processes = {process.sentinel: (pid, process) for pid, process in list(_processes(executor).items())}
        ended = [processes[sentinel] for sentinel in connection.wait(list(processes), timeout=0)]
        for _, process in ended:
            process.join(1.0)  # it has closed its files, but may not have been reaped
        return {pid: process.exitcode for pid, process in ended if process.exitcode is not None}
    return {}


def _crash(error: BaseException, dead: Mapping[int, int]) -> Crash:
    if len(dead) != 1:
        return Crash(message=words_of(error))
    ((pid, code),) = dead.items()
    if code < 0:
        return Crash(message=words_of(error), pid=pid, signal=-code)
    return Crash(message=words_of(error), pid=pid, exitcode=code)
