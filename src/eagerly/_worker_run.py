"""`WorkerRun`: a run, as its body sees it that runs in a worker process. What it says is sent at once.

What happens to the record is the business of the coordinator.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from eagerly._run_notes import INTERVAL, checked_steps, merged
from eagerly._wire import dump
from eagerly.runs._payload import OBJECT, encode

if TYPE_CHECKING:
    from eagerly._item import MapScope
    from eagerly.runs._protocol import RunStore

__all__ = ["RunSpec", "WorkerRun"]

LOOK_AGAIN: Final = 0.02
"""Seconds after which a body that sleeps looks whether it is asked to stop: nobody can wake it here."""


class RunSpec(NamedTuple):
    """A run, as it travels.

    Attributes:
        id: Its id.
        root_id: The id of the run at the top of its tree.
        form: How its output is kept.
        store: Where its row is, if nothing else connects its body with the coordinator while it runs.
    """

    id: str
    root_id: str
    form: str
    store: RunStore | None = None


class WorkerRun:
    """A run, as its body sees it.

    Args:
        spec: What is known of it.
        scope: Where the call is made.
        send: Sends something to the coordinator, now.
    """

    def __init__(self, spec: RunSpec, scope: MapScope, send: Callable[..., None]) -> None:
        self.id = spec.id
        self.root_id = spec.root_id
        self.store = None  # the one of the coordinator
        self._form = spec.form
        self._scope = scope
        self._send = send
        self._lock = threading.Lock()
        self._values: dict[str, Any] = {}
        self._steps: dict[str, Any] = {}
        self._last = float("-inf")
        self._due = False

    @property
    def stopping(self) -> bool:
        return self._scope.stopping

    def progress(self, values: dict[str, Any]) -> None:
        with self._lock:
            self._steps = checked_steps(self._steps, values)
            merged(self._values, values)
            if self._due:
                return
            delay = self._last + INTERVAL - time.monotonic()
            self._due = delay > 0
        if delay <= 0:
            self._send_progress()
            return
        timer = threading.Timer(delay, self._send_progress)
        timer.daemon = True
        timer.start()

    def _send_progress(self) -> None:
        with self._lock:
            values, self._values = self._values, {}
            self._due = False
            self._last = time.monotonic()
            if values:
                self._send("progress", values)

    def become(self, status: str) -> None:
        self._send_progress()
        self._send("become", status)

    def ask_to_stop(self) -> None:
        self._send_progress()
        self._send("stop")

    def give(self, value: Any, summary: str | None) -> None:
        payload = dump(value) if self._form == OBJECT else tuple(encode(value, pickled=self._form == "pickle"))
        self._send("given", payload, summary)

    def item(self, value: Any) -> None:
        self._send("item", dump(value))

    def wait(self, seconds: float) -> None:
        time.sleep(min(seconds, LOOK_AGAIN))

    def when_asked(self, tell: Callable[[], object]) -> Callable[[], object] | None:  # noqa: ARG002 - nobody can tell
        return None

    def attach(self, cancel: Callable[[], object] | None) -> None:
        """Nobody here cancels it: the coordinator can only ask this process to stop, or end it."""

    def close(self) -> None:
        """Its body has ended."""
        self._send_progress()
