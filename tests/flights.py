"""Threads that call tasks, bodies that end when they are told to, and stores that can be stopped in between.

Helpers only; nothing here asserts what is right. `followers` is the one place where tests of compute-once look inside:
that somebody is waiting can be seen nowhere else, and no test may sleep in the hope of it.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eagerly.cache import CacheStore, DiskStore
from eagerly.cache._client import client_of

__all__ = [
    "PATIENCE",
    "Body",
    "Calling",
    "Gate",
    "GatedStore",
    "auntil",
    "calling",
    "flights",
    "followers",
    "until",
    "until_followed",
]

PATIENCE = 60.0
"""Seconds after which a test that waits for something gives up."""


def until(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Wait for a condition."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.002)


async def auntil(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """As `until`, and the loop goes on turning."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"waited in vain until {what}"
        await asyncio.sleep(0.002)


def followers(store: CacheStore) -> int:
    """How many calls of this process wait for another one to compute their result."""
    return sum(len(flight._callbacks) for flight in list(client_of(store, None).flights.values()))


def flights(store: CacheStore) -> int:
    """How many computations are under way in this process."""
    return len(client_of(store, None).flights)


def until_followed(store: CacheStore, by: int) -> None:
    until(lambda: followers(store) >= by, f"{by} calls wait")


class Calling(threading.Thread):
    """A call in a thread of its own, in a copy of the context of the test."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        super().__init__(daemon=True)  # a failed test must not keep the interpreter from ending
        self._run = contextvars.copy_context().run
        self._work = function, args
        self._outcome: tuple[Any, BaseException | None] | None = None
        self.start()

    def run(self) -> None:
        function, args = self._work
        try:
            self._outcome = self._run(function, *args), None
        except BaseException as error:
            self._outcome = None, error

    def outcome(self, patience: float = PATIENCE) -> Any:
        """What the call returned or raised."""
        self.join(patience)
        assert self._outcome is not None, "the call hangs"
        result, error = self._outcome
        return result if error is None else error

    def result(self, patience: float = PATIENCE) -> Any:
        outcome = self.outcome(patience)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def calling(count: int, function: Callable[..., Any], *args: Any) -> list[Calling]:
    return [Calling(function, *args) for _ in range(count)]


class Gate:
    """Where somebody stops until told to go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self.open.wait(PATIENCE)


class Body:
    """What a task of a test does: it says that it runs, and goes on when told to.

    Attributes:
        runs: The arguments with which it has run.
    """

    def __init__(self) -> None:
        self.runs: list[Any] = []
        self._entered = threading.Semaphore(0)
        self.go = threading.Event()

    def __call__(self, x: Any) -> list[Any]:
        self.enter(x)
        assert self.go.wait(PATIENCE)
        return [x]

    async def turn(self, x: Any) -> list[Any]:
        """The same for event loops."""
        self.enter(x)
        await auntil(self.go.is_set, "told to go on")
        return [x]

    def enter(self, x: Any = None) -> None:
        self.runs.append(x)
        self._entered.release()

    def wait_for_run(self) -> None:
        assert self._entered.acquire(timeout=PATIENCE), "nothing runs"

    async def await_run(self) -> None:
        await auntil(lambda: self._entered.acquire(blocking=False), "it runs")


class GatedStore(DiskStore):
    """A disk store whose methods can be made to stop, or to fail, and that counts how often it was asked.

    Attributes:
        gates: Name of a method -> where it stops before it does its work.
        afterwards: Name of a method -> what is called after it.
        fails: Name of a method -> what it raises.
        asked: Names of the methods that were called, in order, each with the thread.
        denied: How often a lock was held by another.
    """

    def __init__(self, path: Path | str, **options: Any) -> None:
        super().__init__(path, **options)
        self.gates: dict[str, Callable[[], None]] = {}
        self.afterwards: dict[str, Callable[[], object]] = {}
        self.fails: dict[str, BaseException] = {}
        self.asked: list[tuple[str, int]] = []
        self.denied = 0

    def count(self, what: str) -> int:
        return sum(asked == what for asked, _ in list(self.asked))

    def _before(self, what: str) -> None:
        self.asked.append((what, threading.get_ident()))
        if what in self.gates:
            self.gates[what]()
        if what in self.fails:
            raise self.fails[what]

    def _after(self, what: str) -> None:
        if what in self.afterwards:
            self.afterwards[what]()

    def get(self, key: bytes, /) -> Any:
        self._before("get")
        found = super().get(key)
        self._after("get")
        return found

    def put(self, key: bytes, parts: Sequence[Any], /, **options: Any) -> None:
        self._before("put")
        super().put(key, parts, **options)
        self._after("put")

    def try_lock(self, key: bytes, /) -> Any:
        self._before("try_lock")
        lock = super().try_lock(key)
        self._after("try_lock")
        self.denied += lock is None
        return lock

    def mark_waiting(self, key: bytes, /) -> Any:
        self._before("mark_waiting")
        return super().mark_waiting(key)

    def unmark_waiting(self, mark: Any, /) -> None:
        self._before("unmark_waiting")
        super().unmark_waiting(mark)

    def is_waited_for(self, key: bytes, /) -> bool:
        self._before("is_waited_for")
        return super().is_waited_for(key)
