"""`RunHost`: who executes the runs of one store in this process. It hands them to engines; bodies run elsewhere."""

from __future__ import annotations

import atexit
import contextvars
import os
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from eagerly._clerk import clerk_of
from eagerly._engines import Engines
from eagerly._lane import Lane
from eagerly._relay import noted_around
from eagerly._replica import is_reachable
from eagerly._scope import OUTSIDE, here
from eagerly.errors import EagerlyError, RunLost
from eagerly.runs._change import Change
from eagerly.runs._record import now
from eagerly.runs._run import Run

if TYPE_CHECKING:
    from eagerly._item import MapScope
    from eagerly._live_run import LiveRun
    from eagerly.backends._protocol import Backend
    from eagerly.runs._protocol import RunStore
    from eagerly.runs._record import RunRecord
    from eagerly.runs._status import RunStatus

__all__ = ["OUTSIDE_ENGINES", "RunHost", "host_of"]

EXIT_GRACE: Final = 1.0
"""Seconds that bodies get to end when the interpreter is left."""

END_AGAIN: Final = 1.0
"""Seconds after which it is tried again to write what became of a run."""

KEPT: Final = 8
"""How many hosts are kept that have nothing to do."""


class RunHost:
    """Who executes the runs of one store in this process.

    Args:
        store: Where they are.

    Attributes:
        live: The runs whose code has not ended.
        tasks: The asyncio tasks of those that run on an event loop, which nobody else refers to.
    """

    def __init__(self, store: RunStore) -> None:
        self.store = store
        self.clerk = clerk_of(store)
        self.live: set[LiveRun] = set()
        self.tasks: set[Any] = set()
        self._unended: set[LiveRun] = set()
        self._lanes: dict[int, Lane] = {}
        self._lock = threading.Lock()

    def lane_of(self, engine: Backend) -> Lane:
        """The queue before an engine."""
        with self._lock:
            lane = self._lanes.get(id(engine))
            if lane is None:
                self._lanes = {key: each for key, each in self._lanes.items() if not each.empty}
                lane = self._lanes[id(engine)] = Lane(engine)
            return lane

    def tell(self, scope: MapScope, record: RunRecord, previous: RunStatus | None) -> None:
        """The status of a run has changed: who listens hears of it, from the clerk, in order.

        In a worker that is noted, at once, at the item that has submitted the run, and travels with what it gives.
        """
        hook = scope.session.hooks.on_run_status
        if hook is None:
            return
        told = partial(hook, Run(self.store, record), previous)
        call = scope.call
        if call is None or (item := noted_around(call)) is None or not is_reachable(self.store):
            self.clerk.do(told)
            return
        vars(item).setdefault("_runs", {})[record.id] = None
        context = contextvars.Context()
        context.run(here.set, call)
        context.run(told)

    def end_later(self, run: LiveRun) -> None:
        """The end of a run could not be written, and is to be."""
        self._unended.add(run)
        self.clerk.do_later(END_AGAIN, self._end_again)

    def _end_again(self) -> None:
        for run in list(self._unended):
            if run.end_again():
                self._unended.discard(run)
        if self._unended:
            self.clerk.do_later(END_AGAIN, self._end_again)

    def settled(self, run: LiveRun) -> None:
        """The code of a run has ended."""
        self.live.discard(run)
        session = run.scope.session
        if session is not OUTSIDE and session.engines is not None:
            session.engines.runs.discard(run)

    def leave(self, deadline: float) -> None:
        """The interpreter is left: ask all to stop, and call lost what has not by `deadline`."""
        self._end_again()
        live = [run for run in list(self.live) if not run.over]
        if not live:
            return
        asked = [Change(run.id, now(), stop=True) for run in live]
        for run, outcome in zip(live, self.store.write(asked), strict=True):
            if not isinstance(outcome, EagerlyError):
                run.heard(outcome.after)
        for run in live:
            run.wait_until(deadline)
        for run in live:
            if not run.over:
                run.lose(RunLost("the interpreter was left while it ran", run_id=run.id))


def host_of(store: RunStore) -> RunHost:
    """Who executes the runs of `store`."""
    with _lock:
        host = _hosts.get(id(store))
        if host is None:
            idle = [key for key, each in _hosts.items() if not each.live and not each._unended and each.clerk.idle]
            for key in idle[: max(0, len(idle) - KEPT)]:
                del _hosts[key]
            host = _hosts[id(store)] = RunHost(store)
        return host


_hosts: dict[int, RunHost] = {}
_lock = threading.Lock()

OUTSIDE_ENGINES: Final = Engines()
"""The backends that runs have opened outside of a session. They end with the interpreter."""


def _leave_all() -> None:
    deadline = time.monotonic() + EXIT_GRACE
    for host in list(_hosts.values()):
        try:
            host.leave(deadline)
        except Exception:
            import logging

            logging.getLogger("eagerly.runs").exception("the runs in %s could not be ended", host.store.place)


def _after_fork() -> None:
    """The runs of the parent are not the child's."""
    global _lock
    _lock = threading.Lock()
    _hosts.clear()
    OUTSIDE_ENGINES.opened.clear()


atexit.register(_leave_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
