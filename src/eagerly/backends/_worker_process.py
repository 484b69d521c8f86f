"""One worker process as the coordinator sees it: started, given work, listened to, killed, buried.

Nothing here waits, but for a process that has ended. All of it is done by one thread, which lives as long as the
worker: the kernel kills a worker when the thread that started it ends.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import socket
import subprocess
import sys
from collections import deque
from typing import TYPE_CHECKING, Final

from eagerly._settings import OF_RUNS
from eagerly.backends._marker import Marker, marker_file
from eagerly.backends._protocol import SPECS_KEPT, Crash, Work
from eagerly.backends._wire import (
    HEADER,
    WORK,
    WORK_AGAIN,
    Inlet,
    Outlet,
    Surroundings,
    current_folder,
    search_path,
    surroundings,
)

if TYPE_CHECKING or sys.platform != "win32":
    import fcntl

__all__ = ["Piece", "WorkerProcess"]

BOOT: Final = "import sys; sys.path[:] = sys.argv[4:]; from eagerly._worker import main; main(sys.argv[1:4])"
"""Not ``-m eagerly._worker``: that would look for this library, and for all that it imports, in the current folder
first, and would not find it where only the coordinator's `sys.path` has it."""


class Piece:
    """A work with what is to be sent for it, made in the thread that hands it in."""

    __slots__ = ("_head", "lost", "message", "number", "surroundings", "timed", "work")

    def __init__(self, work: Work, number: int) -> None:
        self.work = work
        self.number = number
        self.message = message = work.message
        function = f"{message.function.__module__}:{message.function.__qualname__}"
        self._head = marshal.dumps((function, message.key, len(message.spec), len(message.body), message.shared))
        self.surroundings = surroundings()
        self.timed = work.timed
        self.lost = 0
        """How many workers have died before they began it."""

    def encode(self, *, spec: bool) -> list[bytes]:
        """The frame, with or without the spec."""
        header = HEADER.pack(WORK if spec else WORK_AGAIN, self.number, len(self._head))
        rest = [self.message.spec, self.message.body] if spec else [self.message.body]
        return [header + self._head, *rest]


class WorkerProcess:
    """A process that has just been started.

    Args:
        scratch: A buffer of `eagerly.backends._wire.READ_SIZE` bytes for what it says.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, scratch: memoryview) -> None:
        self.piece: Piece | None = None
        """What it is doing."""
        self.awake = False
        """Whether it has said that it has started."""
        self.leaving = 0.0
        """If it is to end by itself: when it is killed for not having done so."""
        self.overdue = self.asked = False
        """Why it was killed."""
        self._surroundings: Surroundings | None = None
        self._specs: deque[bytes] = deque(maxlen=SPECS_KEPT)
        self._socket, theirs = socket.socketpair()
        memory = marker_file()
        try:
            self.marker = Marker(memory)
            self._process = _start(theirs, memory)
        except BaseException:
            self._socket.close()
            raise
        finally:
            theirs.close()
            os.close(memory)
        self._socket.setblocking(False)
        self._inlet = Inlet(self._socket, scratch)
        self.outlet = Outlet(self._socket)
        self.read = self._inlet.read
        self.pid = self._process.pid
        self.descriptors: Final = [self._socket.fileno()]
        """What becomes readable when it says something or has ended: first the connection."""
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):  # forbidden in some containers; then the closed connection has to do
                # Something that the body has started may hold the connection open.
                self.descriptors.append(os.pidfd_open(self.pid))

    @property
    def silent(self) -> bool:
        """Whether nothing more will come from it."""
        return self._inlet.closed

    def give(self, piece: Piece) -> None:
        """Have it do `piece`."""
        self.piece = piece
        if piece.surroundings is not self._surroundings:
            self._surroundings = piece.surroundings
            self.outlet.write(piece.surroundings.frame)
        key = piece.message.key
        known = key in self._specs
        if not known:
            self._specs.append(key)
        self.outlet.write(*piece.encode(spec=not known))

    def dismiss(self) -> None:
        """Have it end by itself, when it has nothing to do."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """End it at once, whatever it does."""
        self._process.kill()

    def began(self, piece: Piece) -> bool:
        """Whether the body of `piece` may have run."""
        return self.marker.read().number == piece.number

    def bury(self) -> Crash:
        """Wait for its end, which is near, give back what it held, and say how it died."""
        self._process.kill()  # if it has only closed the connection; changes nothing for one that is ending
        status = self._process.wait()
        mark = self.marker.read()
        mine = self.piece is not None and mark.number == self.piece.number and mark.item >= 0
        self.forget()
        return Crash(
            pid=self.pid,
            exitcode=status if status >= 0 else None,
            signal=-status if status < 0 else None,
            item=mark.item if mine else None,
            attempt=mark.attempt if mine else None,
            overdue=self.overdue,
            asked=self.asked,
        )

    def forget(self) -> None:
        """Give back what this process holds of it."""
        if self._process.returncode is None:  # in a forked child, which is not its parent
            self._process.returncode = 0
        self._socket.close()
        for descriptor in self.descriptors[1:]:
            os.close(descriptor)
        self.marker.close()


def _environment() -> dict[str, str] | None:
    """That of a worker: what it does is part of its coordinator, which alone is what a run was made for."""
    if not any(name in os.environ for name in OF_RUNS):
        return None
    return {name: value for name, value in os.environ.items() if name not in OF_RUNS}


def _start(theirs: socket.socket, memory: int) -> subprocess.Popen[bytes]:
    theirs.setblocking(True)  # whatever socket.setdefaulttimeout() says
    # Above 2, which they may not be where a daemon has closed its standard streams.
    passed = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 3) for each in (theirs.fileno(), memory)]
    flags: list[str] = vars(subprocess)["_args_from_interpreter_flags"]()
    command = [sys.executable, *flags, "-c", BOOT, *map(str, passed), str(os.getpid()), *search_path()]
    # Python itself does not start well in a folder that was removed.
    folder = None if current_folder() else "/"
    try:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, close_fds=True, pass_fds=passed, cwd=folder, env=_environment()
        )
    finally:
        for each in passed:
            os.close(each)
