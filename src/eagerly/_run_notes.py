"""`RunNotes`: what a body has said about its run and nobody has written yet. Nothing here writes it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

from eagerly.errors import OptionValueError
from eagerly.runs._change import Change
from eagerly.runs._record import now

if TYPE_CHECKING:
    from eagerly.runs._payload import Payload
    from eagerly.runs._status import RunStatus

__all__ = ["INTERVAL", "RunNotes", "merged"]

INTERVAL: Final = 0.1
"""Seconds between two writes of how far a run is."""


class RunNotes:
    """What is to be written for one run, in order.

    Args:
        run_id: The run.

    Attributes:
        writing: Held by who writes what `take` gave, so that what ends the run comes after it.
        has_output: Whether the body has given an output.
    """

    def __init__(self, run_id: str) -> None:
        self._id = run_id
        self._lock = threading.Lock()
        self._said: list[tuple[RunStatus | None, dict[str, Any], Payload | None]] = []
        self._known: dict[str, Any] = {}
        self._due = self._stop = False
        self._last = float("-inf")
        self.writing = threading.RLock()  # a run may have several parts in one transaction
        self.has_output = False

    def progress(self, values: dict[str, Any]) -> float | None:
        """Note how far it is; the seconds after which that is to be written, or None if it will be anyway.

        Raises:
            OptionValueError: It would be at a step beyond the last.
        """
        with self._lock:
            self._known = checked_steps(self._known, values)
            if self._said and self._said[-1][0] is None and self._said[-1][2] is None:
                merged(self._said[-1][1], values)
            else:
                self._said.append((None, dict(values), None))
            at_once = "attempt" in values  # what the next one says may come from another process
            if self._due and not at_once:
                return None
            self._due = True
            return 0.0 if at_once else max(0.0, self._last + INTERVAL - time.monotonic())

    def add(self, status: RunStatus | None, values: dict[str, Any], payload: Payload | None = None) -> None:
        """Note something that is to be written as it is, and at once."""
        with self._lock:
            self._said.append((status, values, payload))
            self.has_output = self.has_output or payload is not None

    def ask_to_stop(self) -> None:
        """Note that its body asks it to stop."""
        with self._lock:
            self._stop = True

    def take(self, owner: str | None) -> list[Change]:
        """What has been noted, as changes; it is not noted any more. Call it with `writing` held."""
        with self._lock:
            said, self._said = self._said, []
            stop, self._stop = self._stop, False
            self._due = False
            self._last = time.monotonic()
        made = [Change(self._id, now(), status, values, payload, owner=owner) for status, values, payload in said]
        if stop:
            at = now()
            made.append(Change(self._id, at, stop=True, family=Change("", at, stop=True)))
        return made


def merged(values: dict[str, Any], later: dict[str, Any]) -> None:
    """Add to `values` what was said `later`: who counts steps afterwards means those."""
    counted = ("step" in later or "steps" in later) and "progress" not in later
    values.update(later)
    if counted and None not in (values.get("step", 0), values.get("steps", 0)):
        values.pop("progress", None)


def checked_steps(known: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """At which step the run is, and of how many, after `values`.

    Raises:
        OptionValueError: It would be at a step beyond the last.
    """
    steps = {name: values.get(name, known.get(name)) for name in ("step", "steps")}
    if steps["step"] is not None and steps["steps"] is not None and steps["step"] > steps["steps"]:
        raise OptionValueError(
            f"step {steps['step']} of {steps['steps']}: a step must not be greater than steps; write"
            " set_progress(step=..., steps=...)"
        )
    return steps
