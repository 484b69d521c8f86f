"""What an engine has to offer so that tasks can be mapped over it: `Backend`, what it says of itself, what it is given.

A backend moves work to workers and says how it ended. Order, window, chunks, errors, retries, crashes, hooks and logs
are the business of the one driver that all backends share; nothing here knows of tasks, results or exceptions.
"""

from __future__ import annotations

import signal as signals
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from eagerly.cache._protocol import Buffer

__all__ = [
    "SPECS_KEPT",
    "Backend",
    "Capabilities",
    "Crash",
    "FreesWorker",
    "Line",
    "Message",
    "Work",
    "WorkerFunction",
    "refuse_to_travel",
]

WorkerFunction: TypeAlias = "Callable[..., bytes]"
"""The one function that workers run: ``function(key, spec, body, *shared) -> bytes``, or with ``line=`` a `Line` where
there is one. Importable by name, as every Python has it that has eagerly."""


class Line(Protocol):
    """What connects the worker function with the coordinator while it runs, on engines that can do that."""

    @property
    def stopping(self) -> bool:
        """Whether the coordinator has asked this work to stop."""
        ...

    def output(self, data: bytes) -> None:
        """Hand in a part of what the function returns, now; it arrives even if the worker dies afterwards."""
        ...

    def begin(self, item: int, attempt: int, deadline: float) -> None:
        """Note, where it survives this process, what is about to run. Costs about 0.1 us.

        Args:
            item: Position of the item within the work.
            attempt: Number of the attempt, from 1.
            deadline: `time.monotonic` reading at which its timeout is up and a moment of grace has passed, so that the
                worker may be killed; 0.0 without a timeout.
        """
        ...

    def retire(self) -> None:
        """Have this worker replaced after this work: something still runs in it that cannot be ended."""
        ...


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What an engine can do. The driver acts on it, refuses what cannot be honoured, and the documentation shows it.

    Attributes:
        name: What people call the backend.
        workers: How many pieces of work run at a time, at least 1.
        in_process: Work runs in this process: `Work.run` is called, and nothing is pickled.
        shared_fate: A worker that dies may take the work of others with it, and nobody can tell who was at fault.
        kills: `Backend.cancel` with ``force=True`` ends one running piece of work, and no other.
        soft_cancel: `Backend.cancel` reaches a body that runs: ``should_stop()`` becomes true in it.
        live_events: What a body reports arrives while it runs, not only when it has ended.
        reruns: The engine may run a piece of work again on its own, so a body may run more often than once.
        survives_crash: A worker that dies leaves the engine usable, and the work it did is reported as crashed.
        chunk_seconds: How long the work of one piece should take, in seconds, so that handing it over costs little;
            0.0: pieces are one item each.
    """

    name: str
    workers: int
    in_process: bool = False
    shared_fate: bool = False
    kills: bool = False
    soft_cancel: bool = False
    live_events: bool = False
    reruns: bool = False
    survives_crash: bool = False
    chunk_seconds: float = 0.05


@dataclass(frozen=True, kw_only=True)
class Crash:
    """How a worker died, as far as the engine knows.

    Attributes:
        message: The engine's own words, where it has some.
        pid: The process.
        exitcode: What it passed to `os._exit`, or None.
        signal: The signal that ended it, or None.
        item: Position within the piece of work of the item that was running; None if that is not known.
        attempt: The attempt that was being made at that item, where known.
        overdue: It was killed because the timeout of that attempt had passed and the body could not be interrupted.
        asked: It was killed because `Backend.cancel` asked for it.
    """

    message: str = ""
    pid: int | None = None
    exitcode: int | None = None
    signal: int | None = None
    item: int | None = None
    attempt: int | None = None
    overdue: bool = False
    asked: bool = False

    def __str__(self) -> str:
        who = "the worker" if self.pid is None else f"the worker process {self.pid}"
        if self.signal is not None:
            return f"{who} was killed by signal {self.signal} ({_signal_name(self.signal)})"
        if self.exitcode is not None:
            return f"{who} exited with code {self.exitcode}"
        return f"{who} died{': ' if self.message else ''}{self.message}"


def refuse_to_travel(backend: object) -> NoReturn:
    """What pickles a backend would have its items use the workers that they run on, which may all wait for that.

    Raises:
        TypeError: It belongs to this process.
    """
    raise TypeError(
        f"{backend!r} belongs to the process that made it; in what runs on other workers, leave backend out, which maps"
        " in the worker itself, or name one that is opened there, such as backend='thread'"
    )


def _signal_name(number: int) -> str:
    try:
        return signals.Signals(number).name
    except ValueError:
        return "unknown"


SPECS_KEPT: Final = 16
"""How many specs a worker keeps at least."""


@dataclass(frozen=True)
class Message:
    """A piece of work as bytes, for a worker that is another process.

    Attributes:
        function: What the worker calls, as ``function(key, spec, body, *shared)``. It returns bytes for `Work.output`,
            and raises nothing but what ends processes.
        key: Identifies the spec: 16 bytes, the same for every piece of one map.
        spec: What all pieces of the map have in common. An engine that knows which worker it speaks to may pass None
            to one that has had it before, among the last `SPECS_KEPT` that it was given.
        body: The items.
        shared: What `Backend.share` gave for the objects that the map shares, as further arguments: an engine that
            resolves references among arguments resolves them.
    """

    function: WorkerFunction
    key: bytes
    spec: bytes
    body: bytes
    shared: tuple[Any, ...] = ()


class Work(Protocol):
    """Some items of a map, on their way to one worker.

    A backend that runs it in this process calls `run`, once, in the thread that is to do the work, and that is all. Any
    other hands `message` to a worker, what the worker returns to `output`, and calls `end`, once, when no more follows.
    These methods may be called in any thread, and do not block.
    """

    @property
    def size(self) -> int:
        """How many items it has."""
        ...

    @property
    def timed(self) -> bool:
        """Whether the task has a timeout. Then the size is 1."""
        ...

    @property
    def message(self) -> Message:
        """The work as bytes; made when first asked for."""
        ...

    def run(self) -> None:
        """Do the work in this thread. Raises nothing."""
        ...

    def output(self, data: bytes) -> None:
        """What the worker has returned: all of it, or the next part, if the engine passes on parts."""
        ...

    def end(self, crash: Crash | None = None) -> None:
        """No output follows: the worker is done, or has died."""
        ...


@runtime_checkable
class Backend(Protocol):
    """An engine that runs pieces of work on its workers.

    One backend may serve several maps at once, from several threads. It never calls, pickles or looks into an object of
    the user's: it moves bytes, or calls `Work.run`.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What it can do. Read after `open`, and the same until `close`."""
        ...

    def open(self) -> None:
        """Get ready to take work. Called before anything else; again for each map, and then costs nothing.

        Raises:
            BackendError: The engine cannot be used here; the message says why and what to do.
        """
        ...

    def submit(self, work: Work) -> None:
        """Have `work` done, soon. Does not wait for it; the driver hands in at most a few pieces per worker.

        Raises:
            BackendError: The engine takes no work any more. Then the work is not done.
        """
        ...

    def cancel(self, work: Work, *, force: bool) -> bool:
        """End `work` early.

        Work that no worker has begun is taken back: True, and `Work.end` is not called for it. Work that runs goes on:
        False. With ``force=False`` its bodies are asked to stop, where the engine can ask; with ``force=True`` the
        worker is killed, where the engine can do that without harm to others. `Work.end` follows, when it has ended.
        """
        ...

    def recover(self) -> None:
        """A worker has died: see to it that work is taken again. May block for as long as a start takes.

        Raises:
            BackendError: That is not possible.
        """
        ...

    def share(self, parts: Sequence[Buffer]) -> Any:
        """Put bytes where every worker can read them: what is passed among the arguments of the worker function.

        Args:
            parts: The bytes, in parts that belong together in this order.

        Returns:
            A path (`str`) of a file that workers can open, or a reference that the engine turns into bytes.
        """
        ...

    def unshare(self, handle: Any) -> None:
        """What `share` gave is needed no more."""
        ...

    def close(self) -> None:
        """End the workers, and with them what still runs. The backend may be opened again."""
        ...


@runtime_checkable
class FreesWorker(Protocol):
    """A backend whose workers may themselves map over it. One without this is taken to need no such thing.

    A task that waits for an inner map has a worker; and when tasks that wait have all workers, nobody does the work.
    """

    def waiting(self) -> AbstractContextManager[None]:
        """Around the whole of an inner map's wait, in the thread that waits: others have its worker meanwhile.

        Outside of the workers of this engine it does nothing. Leaving may block until a worker is free.
        """
        ...
