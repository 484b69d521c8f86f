"""Bodies on helper threads: begun, handed in, given up, interrupted; and the count of those that nobody waits for.

Nothing here knows how long a body may take.
"""

from __future__ import annotations

import contextlib
import contextvars
import importlib
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from eagerly.errors import StopRequested

__all__ = ["Job", "abandoned", "abandoned_bodies", "start_on_helper", "without_own_frame"]

IMPORT_GRACE: Final = 0.05
"""Seconds that a body whose time is up gets to finish an import before it is given up without an interruption."""

LATE: Final = ("logging", "random", "tomllib", "uuid")
"""What this library itself imports no earlier than in a call."""

MAX_IDLE: Final = 16
"""How many helper threads are kept for reuse; those above it end with their job."""

# Lists and sets without a lock: the garbage collector may run a hook, and so a task, at any allocation.
_idle: list[_Helper] = []
abandoned: Final[set[object]] = set()
"""The jobs and asyncio tasks whose callers have been released by a timeout."""
_numbers = itertools.count(1)
_starting = threading.RLock()
"""Held while a helper thread starts. Until it runs, CPython 3.11 takes it for the thread that starts it, and would
deliver an interruption of that one to it. Re-entrant, as the garbage collector may run a task here too."""


def abandoned_bodies() -> int:
    """How many bodies are running in this process although their callers have been released by a timeout."""
    return len(abandoned)


class Job:
    """A body on a helper thread. It begins, unless its caller has given it up before, and it is over at some time."""

    __slots__ = ("__weakref__", "begun", "context", "error", "given_up", "lock", "over", "ready", "result", "run")

    def __init__(self, body: Callable[[], Any], context: contextvars.Context) -> None:
        self.run: Any = body
        self.context: Any = context
        self.lock = threading.Lock()
        self.ready = threading.Lock()
        self.ready.acquire()
        self.begun = self.given_up = self.over = False
        self.result: Any = None
        self.error: BaseException | None = None

    def begin(self) -> bool:
        """Whether the body is to run; not when its caller has gone already."""
        with self.lock:
            self.begun = not self.given_up
        return self.begun

    def finish(self) -> None:
        """Hand in the outcome. May be cut short by an interruption and called again; the second call completes it."""
        with self.lock:
            self.run = self.context = None  # when the caller goes on, nothing here keeps its arguments
            self.over = True
            if self.given_up:
                self.result = self.error = None
                abandoned.discard(self)
        if self.ready.locked():
            self.ready.release()

    def give_up(self, thread: threading.Thread) -> bool:
        """Disown the body and interrupt it; False when it was over already and its outcome counts."""
        with self.lock:
            if self.over:
                return False
            self.given_up = True
            if self.begun:
                abandoned.add(self)
                _interrupt(thread)  # under the lock, so that it cannot hit the thread's next job
        return True


class _Helper:
    """A daemon thread that runs one job after another and waits in `_idle` in between."""

    __slots__ = ("_job", "_wake", "thread")

    def __init__(self) -> None:
        _prepare()
        self._job: Job | None = None
        self._wake = threading.Lock()
        self._wake.acquire()
        self.thread = threading.Thread(target=self._work, name=f"eagerly-timeout-{next(_numbers)}", daemon=True)
        with _starting:
            self.thread.start()

    def give(self, job: Job) -> None:
        self._job = job
        self._wake.release()

    def _work(self) -> None:
        while True:
            self._wake.acquire()
            job, self._job = self._job, None
            assert job is not None
            if not _run(job):
                return
            del job
            _idle.append(self)
            if len(_idle) > MAX_IDLE:
                with contextlib.suppress(ValueError):  # somebody has taken this one in between
                    _idle.remove(self)
                    return


def _run(job: Job) -> bool:
    """Run the job on this thread; False when the thread was interrupted and must not be used again.

    The one interruption that `give_up` sends may arrive at any bytecode from `begin` to the end of the outer `try`.
    """
    try:
        try:
            if job.begin():
                job.result = job.context.run(job.run)
        except BaseException as error:
            job.error = without_own_frame(error)
        finally:
            job.finish()
        if job.given_up:
            for _ in range(1_000):  # let an interruption that is still on its way arrive here
                pass
    except StopRequested:
        job.finish()
    return not (job.begun and job.given_up)


def without_own_frame(error: BaseException) -> BaseException:
    """The caller's traceback goes from its call straight into the user's function."""
    return error.with_traceback(None if error.__traceback__ is None else error.__traceback__.tb_next)


def start_on_helper(job: Job) -> threading.Thread:
    """Give `job` to a helper thread, a new one where none is idle, and return that thread."""
    try:
        helper = _idle.pop()
    except IndexError:
        helper = _Helper()
    helper.give(job)
    return helper.thread


_raise_in_thread: Callable[[int | None], object] | None = None
"""Makes `StopRequested` pending in the thread of that ident. None before the first helper thread exists, and where
Python was built without libffi."""


def _prepare() -> None:
    """Import what a call may import late, and what interrupts a thread, before there is one that could be interrupted.

    An import that is cut short may leave its module locked, and then it would block all others for ever.
    """
    global _raise_in_thread
    if _raise_in_thread is not None:
        return
    for name in LATE:
        importlib.import_module(name)
    with contextlib.suppress(ImportError):
        import ctypes

        set_async_exc = ctypes.pythonapi.PyThreadState_SetAsyncExc
        set_async_exc.argtypes = (ctypes.c_ulong, ctypes.py_object)

        def raise_in_thread(ident: int | None) -> object:
            return set_async_exc(ident, StopRequested)

        _raise_in_thread = raise_in_thread


def _interrupt(thread: threading.Thread) -> None:
    """Make `StopRequested` appear at the next bytecode of `thread`; a blocking C call has to return first.

    Where that is impossible the body is asked to stop, and no more.
    """
    if sys.version_info < (3, 12) and (sys.gettrace() is not None or sys.getprofile() is not None):
        # Under a debugger, profiler or coverage, CPython 3.11 would spin in every other thread until this one is
        # interrupted, which a blocking C call puts off.
        return
    if _raise_in_thread is None:
        return
    end = time.monotonic() + IMPORT_GRACE
    while _is_importing(thread):
        if time.monotonic() > end:
            return
        time.sleep(0.001)
    with _starting:
        _raise_in_thread(thread.ident)


def _is_importing(thread: threading.Thread) -> bool:
    """Whether `thread` is in the middle of an import; cut short, that may leave a module locked for everybody."""
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            return True
        frame = frame.f_back
    return False


def _after_fork() -> None:
    """A forked child has none of its parent's helper threads."""
    global _starting
    _starting = threading.RLock()
    _idle.clear()
    abandoned.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
