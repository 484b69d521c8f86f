"""What maps are called with in the tests of their robustness, importable by every worker; and what looks at processes.

Nothing here asserts anything. Bodies wait for files and never for a time that matters.
"""

from __future__ import annotations

import contextvars
import ctypes
import logging
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

import eagerly
from eagerly import Retry, current_task, task
from eagerly.backends._process import ProcessBackend
from eagerly.backends._thread import ThreadBackend
from works import readable

PATIENCE = 30.0
"""Seconds after which something that should have happened is taken not to happen. Never waited for when all is well."""

# -- how to die ------------------------------------------------------------------------------------------------------


def _segmentation_fault() -> None:
    ctypes.string_at(0)


def exceed_memory() -> NoReturn:
    """Until `MemoryError`, or the end of the interpreter."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 26), limits[1]))
    try:
        kept = []
        while True:
            kept.append(bytearray(1 << 20))
    finally:
        kept = []
        resource.setrlimit(resource.RLIMIT_AS, limits)


DEATHS: dict[str, Callable[[], object]] = {
    "os._exit": lambda: os._exit(7),
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segmentation fault": _segmentation_fault,
    "abort": os.abort,
}

EXPECTED: dict[str, tuple[int | None, int | None]] = {
    "os._exit": (7, None),
    "SIGKILL": (None, signal.SIGKILL),
    "segmentation fault": (None, signal.SIGSEGV),
    "abort": (None, signal.SIGABRT),
}
"""Exit code and signal of each."""


def quiet_die(how: str) -> NoReturn:
    """Die without a word on stderr."""
    import faulthandler

    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    DEATHS[how]()
    raise AssertionError(how)


# -- bodies ----------------------------------------------------------------------------------------------------------


def index_of() -> int:
    call = current_task()
    assert call is not None
    assert call.map_index is not None
    return call.map_index


@task
def die_if(item: tuple[int, str | None]) -> int:
    number, how = item
    if how is not None:
        quiet_die(how)
    return number * 10


@task
def pid(_: object) -> int:
    return os.getpid()


@task
def double(number: int) -> int:
    return 2 * number


class RefusedError(Exception):
    """What `refuse_even` raises."""


@task
def refuse_even(number: int) -> int:
    if number % 2 == 0:
        raise RefusedError(number)
    return number


_noted: set[str] = set()


@task(retries=10)
def slowly(folder: str, number: int) -> int:
    """Takes half a millisecond. There is a file for each worker that has begun one."""
    if folder not in _noted:
        Path(folder, f"worker-{os.getpid()}").touch()
        _noted.add(folder)
    time.sleep(0.0005)
    return number + 1


def stuck_after(folder: Path, items: int) -> Iterator[int]:
    """An iterable that does not end after so many items, but gives no more."""
    yield from range(items)
    (folder / "at-source-0").touch()
    time.sleep(600)


def forever() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def note_attempt(folder: str, number: int) -> int:
    """One more line in a file for each attempt at an item; how many there are now."""
    with Path(folder, f"attempts-{number}").open("a") as file:
        file.write(f"{os.getpid()} {time.monotonic()!r}\n")
    return attempts_at(folder, number)


def attempts_at(folder: str | Path, number: int) -> int:
    path = Path(folder, f"attempts-{number}")
    return len(path.read_text().splitlines()) if path.exists() else 0


@task(retries=Retry(1, delay=0))
def busy_then_die(item: tuple[str, int]) -> int:
    """The second item takes longer than results are kept back, and the third kills its worker, the first time."""
    folder, number = item
    attempt = note_attempt(folder, number)
    end = time.monotonic() + 0.05
    while number == 1 and time.monotonic() < end:
        pass
    if number == 2 and attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@task
def fail_and_go_on(item: tuple[str, int]) -> int:
    """The second item fails, and the third goes on until that has been heard of."""
    folder, number = item
    if number == 1:
        raise RefusedError(number)
    if number == 2:
        call = current_task()
        assert call is not None
        try:
            until(call.should_stop)
        except TimeoutError:
            Path(folder, "never heard").touch()
    return number


@task
def talk_on(item: tuple[str, int]) -> int:
    """Some items leave a thread behind that goes on to tell something on their behalf."""
    folder, number = item
    with Path(folder, "bodies").open("a") as file:
        file.write(f"{number}\n")
    if number % 200 == 0:

        def talk() -> None:
            for _ in range(300):
                call = current_task()
                assert call is not None
                call.report("beat")
                time.sleep(0.0002)

        threading.Thread(target=contextvars.copy_context().run, args=(talk,), daemon=True).start()
    return number


@task
def report_and_wait(item: tuple[str, str]) -> str:
    """Tells something, which takes longer than telling is put off, and waits until somebody has heard it."""
    folder, how = item
    call = current_task()
    assert call is not None
    if how == "wait":
        wait_for(Path(folder, "heard"))
    elif how == "event":
        call.report("said")
    elif how == "log":
        logging.getLogger("mapped").warning("said")
    end = time.monotonic() + 0.05
    while time.monotonic() < end:
        pass
    return how


def wait_for(path: str | Path, patience: float = PATIENCE) -> None:
    """Until that file is there."""
    end = time.monotonic() + patience
    while not Path(path).exists():
        if time.monotonic() > end:
            raise TimeoutError(str(path))
        time.sleep(0.002)


def until(what: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """What `what` gives as soon as that is true."""
    end = time.monotonic() + patience
    while not (found := what()):
        if time.monotonic() > end:
            raise TimeoutError(repr(what))
        time.sleep(0.002)
    return found


def hold_the_interpreter(seconds: float = 600) -> None:
    """Sleep in C without letting any other thread run."""
    ctypes.PyDLL(None).usleep(1)  # resolved while that may still be interrupted
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ctypes.PyDLL(None).sleep(600)


def doze() -> NoReturn:
    """Wait for a signal, in the main thread, in slices: CPython sleeps through one that comes just before it sleeps."""
    while True:
        time.sleep(0.05)


def spin(seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


# -- engines ---------------------------------------------------------------------------------------------------------


def process_pool(workers: int = 2) -> Executor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def loky_pool(workers: int = 2) -> Executor:
    loky = pytest.importorskip("loky", reason="loky is not installed")
    executor: Executor = loky.ProcessPoolExecutor(workers)
    return executor


@contextmanager
def engine(kind: str, workers: int = 2) -> Iterator[Any]:
    """What maps take as their backend."""
    if kind == "inline":
        yield "inline"
    elif kind in ("thread", "process"):
        backend = ThreadBackend(workers) if kind == "thread" else ProcessBackend(workers)
        try:
            yield backend
        finally:
            backend.close()
    else:
        executor = process_pool(workers) if kind == "pool" else loky_pool(workers)
        try:
            yield executor
        finally:
            executor.shutdown(wait=True)


# -- processes -------------------------------------------------------------------------------------------------------


def gone(pid: int, within: float = PATIENCE) -> bool:
    """Whether that process ends within so many seconds."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return readable(descriptor, within)
    finally:
        os.close(descriptor)


def children(pid: int | str = "self") -> list[int]:
    """The processes, dead ones included, that a process has started and not yet buried."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += map(int, (thread / "children").read_text().split())
        except FileNotFoundError:  # it has ended
            continue
    return found


PRELUDE = """
import atexit, contextlib, ctypes, gc, itertools, os, signal, sys, threading, time
from pathlib import Path
from eagerly import current_task, iter_tasks, map_tasks, session, task
from eagerly.testing import RecordingHooks
from eagerly.backends._process import ProcessBackend
from eagerly.backends._thread import ThreadBackend
import map_bodies
from map_bodies import *

signal.signal(signal.SIGINT, signal.default_int_handler)
folder = Path(sys.argv[1])
"""


def start_script(folder: Path, source: str, *flags: str) -> subprocess.Popen[str]:
    """A program in a process group of its own, which may import what tests can."""
    path = folder / "program.py"
    path.write_text(PRELUDE + source)
    places = [str(Path(eagerly.__file__).parents[1]), str(Path(__file__).parent)]
    return subprocess.Popen(
        [sys.executable, "-u", *flags, str(path), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        start_new_session=True,
    )


def answers(program: subprocess.Popen[str], within: float = 2 * PATIENCE) -> tuple[str, str]:
    """What it says until it ends."""
    try:
        return program.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        program.kill()
        out, err = program.communicate()
        raise AssertionError(f"the program did not end; it said {out!r} and {err!r}") from None


def threads() -> set[str]:
    return {each.name for each in threading.enumerate()}
