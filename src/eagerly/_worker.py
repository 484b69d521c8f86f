"""The main program of a worker process: takes work, calls the one function it names, sends back what that returns.

Work runs in the main thread, as signal handlers, asyncio and many C extensions expect, and there is no other thread.
The process ends with the coordinator: when the connection is closed, or at once when the coordinator is killed.
"""

from __future__ import annotations

# Not `socket`: importing that would take a fifth of the time in which a worker starts.
import _socket
import contextlib
import importlib
import marshal
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

from eagerly.backends._marker import Marker
from eagerly.backends._wire import AWAKE, HEADER, LAST, PART, RETIRED, SURROUNDINGS, WORK

__all__ = ["main"]

SMALL: Final = 1 << 14
"""Bytes that are rather copied than sent on their own."""

_PR_SET_PDEATHSIG: Final = 1

MAPS: Final = "eagerly._remote"
"""What the work of maps calls: imported while a worker is idle, as one that replaces another has to be quick."""


def main(arguments: Sequence[str]) -> None:
    """Work until the coordinator closes the connection.

    Args:
        arguments: The descriptors of the connection and of the marker, and the process id of the coordinator.
    """
    connection_fd, marker_fd, coordinator = map(int, arguments)
    _end_with(coordinator, connection_fd)
    # Ctrl-C in a terminal reaches all processes; what becomes of the work is up to the coordinator. A function and not
    # SIG_IGN, which the programs that a body starts would inherit, and so outlive the Ctrl-C.
    signal.signal(signal.SIGINT, _ignore)
    signal.siginterrupt(signal.SIGINT, False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    os.set_inheritable(connection_fd, False)
    connection = _Connection(_socket.socket(fileno=connection_fd))
    marker = Marker(marker_fd)
    os.close(marker_fd)
    # A child of a body must not keep the coordinator from seeing that this process is dead.
    os.register_at_fork(after_in_child=connection.close)
    connection.send(AWAKE, 0, b"")
    importlib.import_module(MAPS)
    try:
        while _serve(connection, marker):
            pass
    except EOFError:
        return
    except BaseException as error:
        _die_of(error)


def _ignore(*_: object) -> None:
    pass


class _Connection:
    """The way to the coordinator, of which several threads may make use."""

    __slots__ = ("_lock", "_socket", "close")

    def __init__(self, connection: _socket.socket) -> None:
        connection.setblocking(True)
        self._socket = connection
        self._lock = threading.Lock()
        self.close = connection.close

    def send(self, kind: int, number: int, data: bytes) -> None:
        header = HEADER.pack(kind, number, len(data))
        try:
            with self._lock:
                if len(data) <= SMALL:
                    self._socket.sendall(header + data)
                else:
                    # One call of C, so that a body that is interrupted in here does not leave half a frame behind.
                    any(map(self._socket.sendall, (header, data)))
        except OSError:
            os._exit(1)  # the coordinator is gone, and nobody is left to care

    def receive(self, size: int) -> bytes:
        """The next `size` bytes.

        Raises:
            EOFError: The coordinator has closed the connection.
        """
        data = self._socket.recv(size, _socket.MSG_WAITALL)
        if len(data) == size:
            return data
        parts = [data]
        missing = size - len(data)  # a signal has come in between
        while missing:
            data = self._socket.recv(missing, _socket.MSG_WAITALL)
            if not data:
                raise EOFError
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)


class _Line:
    """`eagerly.backends.Line`, for one piece of work."""

    __slots__ = ("_connection", "_marker", "_number", "begin", "over", "retiring")

    def __init__(self, connection: _Connection, marker: Marker, number: int) -> None:
        self._connection = connection
        self._marker = marker
        self._number = number
        self.begin = marker.begin
        self.over = self.retiring = False

    @property
    def stopping(self) -> bool:
        return self._marker.asked_to_stop(self._number)

    def output(self, data: bytes) -> None:
        if not self.over:  # or else from a body that was given up
            self._connection.send(PART, self._number, data)

    def retire(self) -> None:
        self.retiring = True


def _serve(connection: _Connection, marker: Marker) -> bool:
    """Take the next frame and act on it; False when this process is to end."""
    kind, number, size = HEADER.unpack(connection.receive(HEADER.size))
    content = connection.receive(size)
    if kind == SURROUNDINGS:
        _adapt_to(*marshal.loads(content))
        return True
    name, key, spec_size, body_size, shared = marshal.loads(content)
    spec = connection.receive(spec_size) if kind == WORK else None
    body = connection.receive(body_size)
    line = _Line(connection, marker, number)
    marker.take(number)
    result = _function(name)(key, spec, body, *shared, line=line)
    marker.begin(-1, 0, 0.0)
    line.over = True
    _flush()
    connection.send(RETIRED if line.retiring else LAST, number, result)
    return not line.retiring


_functions: dict[str, Callable[..., bytes]] = {}


def _function(name: str) -> Callable[..., bytes]:
    """The function of that name, ``module:qualname``."""
    if name not in _functions:
        module, _, qualname = name.partition(":")
        found: Any = importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
        _functions[name] = found
    return _functions[name]


_environment: dict[str, str] = dict(os.environ)
"""What the coordinator has said last. What a body has changed since then is left as it is."""


def _adapt_to(directory: str | None, path: list[str], environment: dict[str, str]) -> None:
    global _environment
    if directory is not None:
        with contextlib.suppress(OSError):  # removed in the meantime
            os.chdir(directory)
    sys.path[:] = path
    importlib.invalidate_caches()
    for name in _environment.keys() - environment.keys():
        os.environ.pop(name, None)
    os.environ.update({name: value for name, value in environment.items() if _environment.get(name) != value})
    _environment = environment


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, or replaced by something odd
            stream.flush()


def _die_of(error: BaseException) -> NoReturn:
    """End at once, with the status that Python would end with; its own end would wait for threads of bodies."""
    status = 1
    with contextlib.suppress(BaseException):  # there may be no memory left
        if isinstance(error, SystemExit):
            code = error.code
            status = 0 if code is None else code if isinstance(code, int) else 1
            if isinstance(code, str):
                sys.stderr.write(f"{code}\n")
        else:
            sys.excepthook(type(error), error, error.__traceback__)
    _flush()
    os._exit(status & 0xFF)


def _end_with(coordinator: int, connection: int) -> None:
    """See to it that this process does not outlive the coordinator, whatever it is doing then."""
    if sys.platform != "linux" or not _killed_with_parent():
        threading.Thread(target=_watch, args=(connection,), name="eagerly-watch", daemon=True).start()
    if os.getppid() != coordinator:  # it died before this could be set
        os._exit(1)


def _killed_with_parent() -> bool:
    """Have the kernel kill this process when the thread that started it ends."""
    try:
        import ctypes

        answer: int = ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    except (ImportError, OSError, AttributeError):  # built without libffi, or linked in an odd way
        return False
    return answer == 0


def _watch(connection: int) -> None:
    """Wait for the coordinator's end of the connection to be closed; no data wakes this up."""
    poll = select.poll()
    poll.register(connection, 0)
    poll.poll()
    os._exit(1)
