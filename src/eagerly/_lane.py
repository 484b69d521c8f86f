"""`Lane`: the runs that wait for an engine. They are handed to it as it has room, so that until then they are pending.

What waits here can be cancelled, and can be taken out by a body that is about to wait for it.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eagerly._live_run import LiveRun
    from eagerly.backends._protocol import Backend

__all__ = ["Lane"]


class Lane:
    """The queue before one engine.

    Args:
        engine: An open backend.
    """

    def __init__(self, engine: Backend) -> None:
        self.engine = engine
        self._slots = engine.capabilities.workers
        self._queue: deque[LiveRun] = deque()
        self._active: set[LiveRun] = set()
        self._lock = threading.Lock()

    @property
    def empty(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._queue and not self._active

    def add(self, run: LiveRun) -> None:
        """Have it run, after those that came before."""
        with self._lock:
            self._queue.append(run)
        self._hand_out()

    def take(self, run: LiveRun) -> bool:
        """Take it out again; False if the engine has begun it, or somebody else has taken it."""
        with self._lock:
            if run in self._queue:
                self._queue.remove(run)
                return True
            given = run in self._active
        # The engine has it, though perhaps its workers are busy with something else.
        if given and self.engine.capabilities.in_process and self.engine.cancel(run, force=False):
            self.done(run)
            return True
        return False

    def done(self, run: LiveRun) -> None:
        """The engine has room for another one."""
        with self._lock:
            self._active.discard(run)
        self._hand_out()

    def _hand_out(self) -> None:
        while True:
            with self._lock:
                if not self._queue or len(self._active) >= self._slots:
                    return
                run = self._queue.popleft()
                self._active.add(run)
            run.start()
