"""How the coordinator and a worker process talk: frames over a socket, and settings that travel ahead of work.

A frame is its kind, the number of the work it belongs to, and the length of what follows. Nothing here pickles, waits
for the other side, or copies what is large.
"""

from __future__ import annotations

import io
import marshal
import os
import struct
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import socket  # imported by the coordinator, and not by workers, where it would take longer than all of this

__all__ = [
    "AWAKE",
    "HEADER",
    "LAST",
    "PART",
    "RETIRED",
    "SURROUNDINGS",
    "WORK",
    "WORK_AGAIN",
    "Inlet",
    "Outlet",
    "Surroundings",
    "current_folder",
    "search_path",
    "surroundings",
]

HEADER: Final = struct.Struct("=BQQ")
"""Kind of the frame, number of the work, length of what follows."""

WORK: Final = 1
"""To the worker: marshalled ``(function, key, size of the spec, size of the body, shared)``; then, outside of the
frame, the spec and the body."""
WORK_AGAIN: Final = 2
"""To the worker: the same without the spec, which it has had."""
SURROUNDINGS: Final = 3
"""To the worker, ahead of work: what is different here from where it was started, or from what it was told before."""
AWAKE: Final = 4
"""To the coordinator: the worker has started."""
PART: Final = 5
"""To the coordinator: a part of what the work returns."""
LAST: Final = 6
"""To the coordinator: the rest of it. The worker is free."""
RETIRED: Final = 7
"""To the coordinator: the rest of it. The worker ends."""

READ_SIZE: Final = 1 << 18
"""Bytes that are read at a time; a little more than a socket holds."""


class Inlet:
    """The coordinator's end, read without waiting.

    Args:
        connection: A socket that does not block.
        scratch: `READ_SIZE` bytes, which all inlets that one thread reads may share.
    """

    __slots__ = ("_filled", "_large", "_rest", "_scratch", "_socket", "_view", "closed")

    def __init__(self, connection: socket.socket, scratch: memoryview) -> None:
        self._socket = connection
        self._scratch = scratch
        self._rest = b""
        self._large: tuple[int, int, io.BytesIO] | None = None
        self._view = memoryview(b"")
        self._filled = 0
        self.closed = False
        """Whether the other end is closed and everything has been read."""

    def read(self) -> list[tuple[int, int, bytes]] | None:
        """The frames that one reading completes: kind, number and content of each. None if there is nothing to read."""
        try:
            if self._large is not None:
                size = self._socket.recv_into(self._view[self._filled :])
            else:
                size = self._socket.recv_into(self._scratch)
        except BlockingIOError:
            return None
        except OSError:  # a reset: it has died with something unread
            size = 0
        if size == 0:
            self.closed = True
            self._drop()
            return None
        if self._large is not None:
            self._filled += size
            return [self._completed(*self._large)] if self._filled == len(self._view) else []
        return self._frames(self._scratch[:size])

    def _frames(self, data: memoryview) -> list[tuple[int, int, bytes]]:
        found: list[tuple[int, int, bytes]] = []
        if self._rest:
            data, self._rest = memoryview(self._rest + data), b""
        at = 0
        while len(data) - at >= HEADER.size:
            kind, number, length = HEADER.unpack_from(data, at)
            end = at + HEADER.size + length
            if end <= len(data):
                found.append((kind, number, bytes(data[at + HEADER.size : end])))
                at = end
            elif length > READ_SIZE // 2:
                self._expect(kind, number, length, data[at + HEADER.size :])
                return found
            else:
                break
        self._rest = bytes(data[at:])
        return found

    def _expect(self, kind: int, number: int, length: int, begun: memoryview) -> None:
        """Have the rest of a large frame read to where it stays: `io.BytesIO` gives its own buffer away as bytes."""
        buffer = io.BytesIO()
        buffer.seek(length - 1)
        buffer.write(b"\0")
        self._large = (kind, number, buffer)
        self._view = buffer.getbuffer()
        self._view[: len(begun)] = begun
        self._filled = len(begun)

    def _completed(self, kind: int, number: int, buffer: io.BytesIO) -> tuple[int, int, bytes]:
        self._drop()
        return kind, number, buffer.getvalue()

    def _drop(self) -> None:
        self._large = None
        self._view.release()
        self._view = memoryview(b"")


class Outlet:
    """The coordinator's end, written without waiting: what does not fit is kept until there is room."""

    __slots__ = ("_socket", "_waiting")

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._waiting: list[memoryview] = []

    @property
    def full(self) -> bool:
        """Whether something waits for room."""
        return bool(self._waiting)

    def write(self, *parts: bytes) -> None:
        """Send `parts`, as far as there is room now."""
        self._waiting.extend([memoryview(part) for part in parts])
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as there is room now."""
        waiting = self._waiting
        while waiting:
            try:
                sent = self._socket.sendmsg(waiting)
            except BlockingIOError:
                return
            except OSError:  # it has died; whoever reads finds out
                waiting.clear()
                return
            while waiting and sent >= len(waiting[0]):
                sent -= len(waiting.pop(0))
            if sent:
                waiting[0] = waiting[0][sent:]


class Surroundings:
    """What a body may rely on to be as in the coordinator when the work was handed in."""

    __slots__ = ("_directory", "_environment", "_path", "frame")

    def __init__(self, directory: str | None, path: list[str], environment: dict[Any, Any]) -> None:
        self._directory = directory
        self._path = path.copy()
        self._environment = environment.copy()
        names = {os.fsdecode(name): os.fsdecode(value) for name, value in self._environment.items()}
        content = marshal.dumps((directory, list(filter(_is_text, self._path)), names))
        self.frame: Final = HEADER.pack(SURROUNDINGS, 0, len(content)) + content

    def are(self, directory: str | None, path: list[str], environment: dict[Any, Any]) -> bool:
        """Whether nothing has changed."""
        return directory == self._directory and path == self._path and environment == self._environment


def _is_text(entry: object) -> bool:
    """Import ignores all else in `sys.path`, where careless programs leave paths of `pathlib`."""
    return isinstance(entry, str)


def search_path() -> list[str]:
    """Where modules are imported from."""
    return list(filter(_is_text, sys.path))


def current_folder() -> str | None:
    """None if somebody has removed it."""
    try:
        return os.getcwd()  # noqa: PTH109 - two microseconds less
    except OSError:
        return None


_latest: Surroundings | None = None


def surroundings() -> Surroundings:
    """Those of now: the same object as long as they are the same."""
    global _latest
    directory = current_folder()
    environment: dict[Any, Any] = vars(os.environ)["_data"]  # to read it by its methods takes 20 us
    known = _latest
    if known is None or not known.are(directory, sys.path, environment):
        _latest = known = Surroundings(directory, sys.path, environment)
    return known
