"""What worker processes run in the tests of the process backend: functions in the form of the one worker function."""

from __future__ import annotations

import atexit
import ctypes
import json
import marshal
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from eagerly.backends import Line


def echo(key: bytes, spec: bytes | None, body: bytes, *shared: Any, line: Line) -> bytes:
    return body


def arguments(key: bytes, spec: bytes | None, body: bytes, *shared: Any, line: Line) -> bytes:
    return marshal.dumps((key, spec, body, shared))


def process(key: bytes, spec: bytes | None, body: bytes, *shared: Any, line: Line) -> bytes:
    return str(os.getpid()).encode()


def surroundings(key: bytes, spec: bytes | None, body: bytes, *shared: Any, line: Line) -> bytes:
    """What the process is like."""
    facts = {
        "directory": str(Path.cwd()),
        "environment": dict(os.environ),
        "path": sys.path,
        "in main thread": threading.current_thread() is threading.main_thread(),
        "threads": threading.active_count(),
        "stdin": sys.stdin.read(),
        "main": sorted(vars(sys.modules["__main__"])),
        "descriptors": [each for each in range(3, 100) if _is_inheritable(each)],
        "signals": subprocess.run(["cat", "/proc/self/status"], stdout=subprocess.PIPE, text=True).stdout,
    }
    return json.dumps(facts).encode()


def _is_inheritable(descriptor: int) -> bool:
    try:
        return os.get_inheritable(descriptor)
    except OSError:
        return False


def say(key: bytes, spec: bytes | None, body: bytes, *shared: Any, line: Line) -> bytes:
    sys.stdout.write(body.decode())
    sys.stderr.write(body.decode().upper())
    return b""


def read_shared(key: bytes, spec: bytes | None, body: bytes, *shared: str, line: Line) -> bytes:
    return b"|".join(Path(path).read_bytes() for path in shared)


def until_told(key: bytes, spec: bytes | None, body: bytes, *shared: Any, line: Line) -> bytes:
    """Say who it is, and go on until asked to stop."""
    line.output(str(os.getpid()).encode())
    while not line.stopping:
        time.sleep(0.001)
    return b"stopped"


def is_asked(key: bytes, spec: bytes | None, body: bytes, *shared: Any, line: Line) -> bytes:
    return str(line.stopping).encode()


def for_ever(key: bytes, spec: bytes | None, body: bytes, *shared: Any, line: Line) -> NoReturn:
    """Say who it is, and do not stop, nor let any other thread run."""
    line.begin(3, 2, 0.0)
    line.output(str(os.getpid()).encode())
    while True:
        ctypes.PyDLL(None).sleep(600)


def too_long(key: bytes, spec: bytes | None, body: bytes, *shared: Any, line: Line) -> bytes:
    """Do not end within the time that the body of the work says, in seconds."""
    line.begin(0, 5, time.monotonic() + float(body))
    line.output(str(os.getpid()).encode())
    ctypes.PyDLL(None).sleep(600)
    return b""


def in_time(key: bytes, spec: bytes | None, body: bytes, *shared: Any, line: Line) -> bytes:
    """Two attempts: the first fails, and what it was given is over before the second has ended."""
    end = time.monotonic() + 0.1
    line.begin(0, 1, end)
    line.begin(0, 2, end + 600)
    while time.monotonic() < end + 0.2:
        time.sleep(0.01)
    return b"done"


def late_result(key: bytes, spec: bytes | None, body: bytes, *shared: Any, line: Line) -> bytes:
    """Be done in time with a result that takes long to deliver."""
    line.begin(0, 1, time.monotonic() + 0.2)
    return bytes(1 << 26)


def spool(key: bytes, spec: bytes | None, body: bytes, *shared: Any, line: Line) -> bytes:
    """Parts of all sizes, in order."""
    for size in (0, 1, 1 << 14, (1 << 14) + 1, 1 << 17, (1 << 17) + 1, 1 << 18, 1 << 20):
        line.output(bytes([size.bit_length()]) * size)
    return b"last"


def write_at_exit(key: bytes, spec: bytes | None, body: bytes, *shared: Any, line: Line) -> bytes:
    """Have an empty file written when the process ends as it should."""
    atexit.register(Path(body.decode()).touch)
    return b""


def retire(key: bytes, spec: bytes | None, body: bytes, *shared: Any, line: Line) -> bytes:
    line.retire()
    return str(os.getpid()).encode()


def retire_badly(key: bytes, spec: bytes | None, body: bytes, *shared: Any, line: Line) -> bytes:
    """Leave a thread behind for which the end of the process would wait."""
    threading.Thread(target=time.sleep, args=(600,)).start()
    line.retire()
    return str(os.getpid()).encode()


_others: list[Callable[[], None]] = []


def leave_something(key: bytes, spec: bytes | None, body: bytes, *shared: Any, line: Line) -> bytes:
    _others.append(lambda: line.output(b"from a body that nobody waits for"))
    return b""


def find_something(key: bytes, spec: bytes | None, body: bytes, *shared: Any, line: Line) -> bytes:
    _others.pop()()
    return b"found"


def leave_a_child(key: bytes, spec: bytes | None, body: bytes, *shared: Any, line: Line) -> NoReturn:
    """Die and leave a process that has the connection open, as it was not forked in the way that Python knows of."""
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        ctypes.CDLL(None).sleep(120)
        os._exit(0)
    line.output(str(child).encode())
    os._exit(7)


# -- how to die ------------------------------------------------------------------------------------------------------


def die(key: bytes, spec: bytes | None, body: bytes, *shared: Any, line: Line) -> NoReturn:
    """Say something and end in the way that the body of the work names."""
    line.begin(3, 2, 0.0)
    line.output(b"last words")
    DEATHS[body.decode()]()
    raise AssertionError(body)


def die_unnoticed(key: bytes, spec: bytes | None, body: bytes, *shared: Any, line: Line) -> NoReturn:
    os._exit(7)


def _exceed_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 24), used + (1 << 24)))
    bytearray(1 << 28)


def _raise() -> None:
    raise ValueError("what a worker function does not do")


def _close_everything() -> None:
    os.closerange(3, 1000)
    time.sleep(600)


DEATHS: dict[str, Callable[[], object]] = {
    "os._exit": lambda: os._exit(7),
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "SIGTERM": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "segmentation fault": lambda: ctypes.string_at(0),
    "memory": _exceed_memory,
    "sys.exit(3)": lambda: sys.exit(3),
    "sys.exit()": lambda: sys.exit(),
    "sys.exit(text)": lambda: sys.exit("that is all"),
    "exception": _raise,
    "closed connection": _close_everything,
}
