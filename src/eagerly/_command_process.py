"""`CommandProcess`: the process of a command as we see it: started, listened to, signalled, killed.

Nothing here knows of runs. It ends with the object, and with this process however that ends: the guard, its parent,
holds a pipe of which only we have the other end.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import BinaryIO, Final, NamedTuple, cast

from eagerly.errors import CommandError

__all__ = ["CommandProcess", "Ended", "Tail"]

GUARD: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_command_guard.py")
READ_SIZE: Final = 1 << 16
LEFT: Final = 64
"""Reads that are made after the end: more than a pipe holds. What a daemon goes on writing is nobody's."""

PATIENCE: Final = 1.0
"""Seconds that the guard gets to kill the command before it is killed itself, with all of the group."""


class Ended(NamedTuple):
    """How a command has ended; one of them.

    Attributes:
        code: Its exit code.
        signal: The signal that has killed it.
        errno: Why it could not be started.
    """

    code: int | None = None
    signal: int | None = None
    errno: int | None = None


class Tail:
    """The last bytes of a stream, however long it is.

    Args:
        size: How many.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept = bytearray()
        self.total = 0

    def add(self, data: bytes) -> None:
        """What has come next."""
        self.total += len(data)
        self._kept += data
        if len(self._kept) > 2 * self._size:
            del self._kept[: -self._size]

    def text(self) -> str:
        """As text. If something is missing, a line in front says how much, and it starts with a whole line."""
        kept = bytes(self._kept[-self._size :])
        missing = self.total - len(kept)
        if not missing:
            return kept.decode(errors="replace")
        start = kept.find(b"\n") + 1
        if start < len(kept):
            kept, missing = kept[start:], missing + start
        return f"[{missing:,} bytes before this were not kept]\n{kept.decode(errors='replace')}"


class CommandProcess:
    """A command that has just been started.

    Args:
        program: The file that is executed.
        argv: Its arguments, from the name of the program on.
        environment: All of its variables.
        cwd: The folder that it starts in; None: that of this process.
        stdout: What keeps the end of its standard output.
        stderr: The same for its standard error.

    Raises:
        CommandError: Not even the guard can be started.
    """

    def __init__(
        self,
        program: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        cwd: str | None,
        *,
        stdout: Tail,
        stderr: Tail,
    ) -> None:
        if sys.platform == "win32" or not sys.executable:
            raise CommandError(f"the program {program!r} cannot be started: that needs a POSIX system and its Python")
        theirs, ours = _pipe()
        self._report, report = _pipe()
        self._woken, self._wake = _pipe()
        self._control = ours
        ctype = "1" if "LC_CTYPE" in environment else "0"
        line = [sys.executable, "-I", "-S", GUARD, str(report.fileno()), ctype, program, *argv]
        try:
            self._guard = subprocess.Popen(
                line,
                stdin=theirs,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd=cwd,
                env=environment,
                pass_fds=[report.fileno()],
                start_new_session=True,
            )
        except OSError as error:
            self._close_all(self._report, self._woken, self._wake, ours)
            raise CommandError(f"the program {program!r} cannot be started: {error}") from error
        finally:
            self._close_all(theirs, report)
        _running.add(self)
        self._said = b""
        self._tails = {
            cast("BinaryIO", self._guard.stdout).fileno(): stdout,
            cast("BinaryIO", self._guard.stderr).fileno(): stderr,
        }
        self._poll = select.poll()
        for fd in (*self._tails, self._report.fileno(), self._woken.fileno()):
            self._poll.register(fd, select.POLLIN)

    def wait(self, seconds: float) -> bool:
        """Take what it writes, until it has ended, `wake` was called or so much time has passed; whether it has."""
        for fd, _ in self._poll.poll(seconds * 1000):
            data = os.read(fd, READ_SIZE)
            if fd == self._report.fileno():
                self._said += data
                if not data:
                    return True
            elif fd in self._tails:
                self._tails[fd].add(data)
                if not data:
                    self._poll.unregister(fd)
        return False

    def wake(self) -> None:
        """Have `wait` return. In any thread."""
        with contextlib.suppress(OSError, ValueError):  # it is over
            self._wake.write(b"x")

    def signal(self, number: int) -> None:
        """Send a signal to all of its process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._guard.pid, number)  # nobody else can have that number before the guard is waited for

    def kill(self) -> None:
        """Kill it, and all of its process group. `wait` tells when that has happened."""
        self._control.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self._guard.pid, signal.SIGCONT)  # the guard may have been paused with all of its group

    def ended(self) -> Ended:
        """How it has ended, once `wait` has said that it has. What it has written is all there then."""
        for fd, tail in self._tails.items():
            os.set_blocking(fd, False)
            with contextlib.suppress(BlockingIOError):
                for _ in range(LEFT):
                    data = os.read(fd, READ_SIZE)
                    if not data:
                        break
                    tail.add(data)
        word, _, number = self._said.decode().partition(" ")
        match word:
            case "exit":
                return Ended(code=int(number))
            case "signal":
                return Ended(signal=int(number))
            case "error":
                return Ended(errno=int(number))
            case _:  # the guard was killed, and with it the command
                return Ended(signal=signal.SIGKILL)

    def close(self) -> None:
        """Kill what is left of it, and give back what this process holds of it."""
        self.kill()
        try:
            end = time.monotonic() + PATIENCE
            report = select.poll()
            report.register(self._report.fileno(), select.POLLIN)
            while report.poll(max(0.0, end - time.monotonic()) * 1000) and os.read(self._report.fileno(), READ_SIZE):
                pass
        finally:
            self.signal(signal.SIGKILL)  # if the guard has been killed, or stopped
            self._guard.wait()
            self._close_all(self._report, self._woken, self._wake, self._guard.stdout, self._guard.stderr)

    def forget(self) -> None:
        """In a forked child: its copy of the pipe must not keep the command alive when the parent has ended."""
        self._control.close()
        self._guard.returncode = 0  # the child is not its parent

    @staticmethod
    def _close_all(*files: object) -> None:
        for file in files:
            cast("BinaryIO", file).close()


def _pipe() -> tuple[BinaryIO, BinaryIO]:
    """Both ends, which are closed when nobody has them any more."""
    out, into = os.pipe()
    return cast("BinaryIO", open(out, "rb", buffering=0)), cast("BinaryIO", open(into, "wb", buffering=0))


_running: weakref.WeakSet[CommandProcess] = weakref.WeakSet()


def _after_fork() -> None:
    for each in list(_running):
        each.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
