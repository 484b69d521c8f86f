"""Work for backends at the level of bytes: pieces that note what becomes of them, and worker functions that do as told.

The functions are imported by workers, so this module imports nothing of the library that they would not need.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from eagerly.backends import Backend, Crash, Message

KEY = bytes(range(16))
PATIENCE = 60.0
"""Seconds after which something that was to happen counts as not happening."""


def echo(key: bytes, spec: bytes, body: bytes, *shared: Any) -> bytes:
    """All that was given, the parts separated."""
    return b"|".join([spec, body, *(contents(each) for each in shared)])


def sizes(key: bytes, spec: bytes, body: bytes, *shared: Any) -> bytes:
    """How long each of them is."""
    return b" ".join(b"%d" % len(each) for each in (spec, body, *(contents(each) for each in shared)))


def inflate(key: bytes, spec: bytes, body: bytes) -> bytes:
    """So many bytes."""
    return bytes(int(body))


def own_pid(key: bytes, spec: bytes, body: bytes) -> bytes:
    return b"%d" % os.getpid()


def exit_at_once(key: bytes, spec: bytes, body: bytes) -> bytes:
    """Ends the worker, with the code in the body."""
    os._exit(int(body))


def kill_self(key: bytes, spec: bytes, body: bytes) -> bytes:
    os.kill(os.getpid(), int(body))
    return b"still here"


def fail(key: bytes, spec: bytes, body: bytes) -> bytes:
    raise SystemExit(3)  # a worker function raises nothing else


def pass_gate(key: bytes, spec: bytes, body: bytes) -> bytes:
    """Tell that it has begun, wait until it may go on, and give its process and what it was told."""
    begun, go = (os.open(f"{body.decode()}/{name}", flags) for name, flags in GATE)
    os.write(begun, b"!")
    told = os.read(go, 100)
    os.close(begun)
    os.close(go)
    return b"%d %s" % (os.getpid(), told)


def readable(descriptor: int, within: float) -> bool:
    """Whether there is something to read within so many seconds. `select` knows only the first thousand open files."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(within * 1000))


GATE = (("begun", os.O_WRONLY), ("go", os.O_RDONLY))


class Gate:
    """Where `pass_gate` waits, in whatever process it runs."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.body = str(folder).encode()
        for name, _ in GATE:
            os.mkfifo(folder / name)
        # Open at both ends, so that neither side waits for the other to open its own.
        self._begun, self._go = (os.open(folder / name, os.O_RDWR) for name, _ in GATE)

    def wait_until_begun(self) -> None:
        assert readable(self._begun, PATIENCE), "the work has not begun"
        assert os.read(self._begun, 1) == b"!"

    def has_begun(self) -> bool:
        return readable(self._begun, 0)

    def let_through(self, message: bytes = b"go") -> None:
        os.write(self._go, message)

    def close(self) -> None:
        os.close(self._begun)
        os.close(self._go)


class Piece:
    """A `Work` that notes what becomes of it."""

    def __init__(
        self,
        function: Any = echo,
        body: bytes = b"",
        *,
        spec: bytes = b"spec",
        key: bytes = KEY,
        shared: tuple[Any, ...] = (),
    ) -> None:
        self.size = 1
        self.timed = False
        self.message = Message(function, key, spec, body, shared)
        self.outputs: list[bytes] = []
        self.ends: list[Crash | None] = []
        self.thread: threading.Thread | None = None
        self._ended = threading.Event()

    def run(self) -> None:
        self.thread = threading.current_thread()
        message = self.message
        self.output(message.function(message.key, message.spec, message.body, *message.shared))
        self.end()

    def output(self, data: bytes) -> None:
        self.outputs.append(data)

    def end(self, crash: Crash | None = None) -> None:
        self.ends.append(crash)
        self._ended.set()

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def wait(self) -> Piece:
        """Until it has ended."""
        assert self._ended.wait(PATIENCE), f"{self.message.function.__name__} has not ended"
        assert len(self.ends) == 1
        return self

    @property
    def data(self) -> bytes:
        """What it gave, when it has ended well."""
        assert self.wait().ends == [None], str(self.ends[0])
        return b"".join(self.outputs)

    @property
    def crash(self) -> Crash:
        """How its worker died."""
        (crash,) = self.wait().ends
        assert crash is not None, self.outputs
        assert self.outputs == []
        return crash


def submitted(backend: Backend, *pieces: Piece) -> list[Piece]:
    """Hand all of them to the backend."""
    for piece in pieces:
        backend.submit(piece)
    return list(pieces)


def data_of(pieces: Iterable[Piece]) -> list[bytes]:
    return [piece.data for piece in pieces]


def contents(shared: Any) -> bytes:
    """What was shared, as a worker gets it: the bytes, or the name of a file with them."""
    return Path(shared).read_bytes() if isinstance(shared, str) else bytes(shared)
