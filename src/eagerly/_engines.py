"""Which backend a map runs on, and for how long its workers are kept: as long as the session, or as the map."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Awaitable, Generator
from typing import TYPE_CHECKING, Any, Final, Protocol

from eagerly._clock import SLICE
from eagerly._scope import OUTSIDE, Scope, here, item_around, items_around, open_session
from eagerly._settings import resolve_settings
from eagerly._steps import Until
from eagerly._warnings import warn
from eagerly.backends._registry import resolve_backend

if TYPE_CHECKING:
    from eagerly._clerk import Clerk
    from eagerly._hearsay import Hearsay
    from eagerly._item import MapScope
    from eagerly._live_run import LiveRun
    from eagerly._scope import SessionContext
    from eagerly._task import Task
    from eagerly.backends._protocol import Backend
    from eagerly.hooks._compile import CompiledHook
    from eagerly.runs._protocol import RunStore
    from eagerly.runs._run import Run
    from eagerly.runs._status import RunStatus

__all__ = ["Engines", "engines_of", "interrupts", "open_engine", "under_way", "wanted_backend"]

INLINE = "inline"

GRACE: Final = 0.5
"""Seconds that the code of runs gets to end which have ended already, because they were cancelled."""

FLUSH: Final = 10.0
"""Seconds that a store gets to take what is left to be written."""

_opening = threading.RLock()  # re-entrant: to open one may run code of the user's, and the garbage collector


def wanted_backend(task: Task[..., Any], given: Any) -> Any:
    """What a map is to run on: what it was told, else its task, else the session, else the settings.

    Within an item of another map that is "inline", unless the map itself or its task says otherwise: all workers could
    wait for work that only they can do. So it is in the process of a worker.
    """
    if given is not None:
        return given
    if task.declaration.backend is not None:
        return task.declaration.backend
    scope = here.get()
    item = item_around(scope)
    if item is not None and (item.map.run is None or item.map.engine is None):
        return INLINE
    session = open_session(scope)
    if session is OUTSIDE:
        return resolve_settings()[0].backend
    return session.settings.backend if session.backend is None else session.backend


class Map(Protocol):
    """A map that is under way, as far as its session minds it."""

    scope: MapScope

    def give_up(self, *, at_once: bool) -> Awaitable[object] | None:
        """End it, as the session is left; what remains to be awaited, if it runs on an event loop.

        Args:
            at_once: The program is being ended: bodies get no time to do so by themselves.
        """


class Engines:
    """The backends that one session has opened for maps and runs, and those that are under way in it."""

    def __init__(self) -> None:
        self.opened: dict[Any, Backend] = {}
        self.maps: set[Map] = set()
        self.runs: set[LiveRun] = set()
        self._clerks: set[Clerk] = set()
        self._hearsay: dict[str, Hearsay] = {}

    def add_run(self, run: LiveRun) -> None:
        """A run was submitted in the session, which is not left before the run has ended."""
        self.runs.add(run)
        self._clerks.add(run.host.clerk)

    def hear(self, hook: CompiledHook, run: Run[Any], previous: RunStatus | None, mine: RunStore | None) -> None:
        """A worker has made a run, or changed it. Of those that are executed here, who does that tells.

        Args:
            hook: Who listens.
            run: The run as it is now.
            previous: What it was before.
            mine: The run store of the session.
        """
        from eagerly._hearsay import Hearsay

        if run.owner is None:
            hook(run, previous)
            return
        store = run._store
        if mine is not None and mine.place == store.place:
            store = mine
        if run.owner != store.owner():
            # Maps may be read in several threads: all of them get the one that came first.
            known = self._hearsay.get(store.place) or self._hearsay.setdefault(store.place, Hearsay(store))
            known.hear(hook, run._record)

    def has_heard_of(self, run_id: str) -> bool:
        """Whether a worker has told of it before."""
        return any(run_id in hearsay.known for hearsay in self._hearsay.values())

    def watch_runs(self, run_ids: list[str]) -> None:
        """The worker that has told of them says no more."""
        for hearsay in self._hearsay.values():
            for run_id in hearsay.known.intersection(run_ids):
                hearsay.watch(run_id)

    async def give_up_maps(self) -> None:
        """Give up the maps that nobody has read to the end, and wait until those on this event loop have ended."""
        waits = [each.give_up(at_once=False) for each in list(self.maps)]
        for wait in waits:
            if wait is not None:
                await wait

    def close(self, error: BaseException | None) -> None:
        """The session is left: maps that nobody has read to the end are given up, runs end, and workers.

        Args:
            error: With what the session is left. If that is to end the program, runs are cancelled.
        """
        in_a_hurry = interrupts(error)
        while self.maps:
            self.maps.pop().give_up(at_once=in_a_hurry)
        try:
            if not in_a_hurry:
                self._wait_for_runs()
        except BaseException:
            in_a_hurry = True
            raise
        finally:
            if in_a_hurry:
                self._cancel_runs(error)
            self._close_backends(in_a_hurry)

    async def end_runs(self, error: BaseException | None) -> None:
        """As in `close`, for runs only, without blocking the event loop that some of them may need."""
        try:
            if interrupts(error):
                self._cancel_runs(error)
            while left := [
                run for run in list(self.runs) if run.pending_end or (run.loop is not None and not run.gone)
            ]:
                await Until((left[0].over if left[0].loop is None else left[0].gone).when).do_async()
        except BaseException as cancelled:
            self._cancel_runs(cancelled)
            raise

    def _wait_for_runs(self) -> None:
        stranded = self._on_loop_of_this_thread()
        if stranded:
            warn(
                f"a session was left while {len(stranded)} of its runs need the event loop that this blocks; they go "
                "on, outside of the session. Write `async with session():`"
            )
        while left := [run for run in list(self.runs) if run.pending_end and run not in stranded]:
            left[0].over.wait(SLICE)

    def _cancel_runs(self, error: BaseException | None) -> None:
        reason = f"the session was left with {type(error).__name__}" if error is not None else "the session was left"
        for run in list(self.runs):
            run.cancel_because(reason)

    def _close_backends(self, in_a_hurry: bool) -> None:
        end = time.monotonic() + GRACE
        stuck = {id(run.scope.engine) for run in list(self.runs) if run.loop is None and not run.wait_until(end)}
        for clerk in self._clerks:
            clerk.flush(FLUSH)
        while self.opened:
            _, backend = self.opened.popitem()
            waits = backend.capabilities.in_process and (in_a_hurry or id(backend) in stuck)
            if not waits:  # for bodies that can only be waited for
                backend.close()
        for hearsay in self._hearsay.values():
            hearsay.close()

    def _on_loop_of_this_thread(self) -> list[LiveRun]:
        needing = [run for run in list(self.runs) if run.loop is not None and run.pending_end]
        if not needing:
            return []
        import asyncio

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return []
        return [run for run in needing if run.loop is loop]


def open_engine(wanted: Any) -> tuple[Backend, bool]:
    """The backend that was asked for, open, and whether it is to be closed after the map.

    What a session has opened is kept as long as the session is open, and what an item asks for that runs on the same is
    that of its map: its workers must know when they wait for one another. A backend that somebody made is theirs to
    close.
    """
    scope = here.get()
    session = open_session(scope)
    with _opening if session is not OUTSIDE else contextlib.nullcontext():  # threads share what they ask for at once
        kept = _of_a_map_around(scope, wanted) or (None if session is OUTSIDE else _kept(session, wanted))
        backend = resolve_backend(wanted) if kept is None else kept
        backend.open()
        if kept is None and backend is not wanted and session is not OUTSIDE:
            kept = engines_of(session).opened[_key(wanted)] = backend
    return backend, kept is None and backend is not wanted


def open_engine_for_run(wanted: Any, session: SessionContext, outside: Engines) -> Backend:
    """The backend that a run was asked to run on, open; kept by the session, or by `outside` where there is none."""
    with _opening:
        engines = outside if session is OUTSIDE else engines_of(session)
        kept = outside.opened.get(_key(wanted)) if session is OUTSIDE else _kept(session, wanted)
        backend = resolve_backend(wanted) if kept is None else kept
        backend.open()
        if kept is None and backend is not wanted:
            engines.opened[_key(wanted)] = backend
        return backend


@contextlib.contextmanager
def under_way(fan: Map) -> Generator[None]:
    """While this lasts, leaving the session ends the map."""
    session = fan.scope.session
    if session is OUTSIDE:
        yield
        return
    maps = engines_of(session).maps
    maps.add(fan)
    try:
        yield
    finally:
        maps.discard(fan)


def interrupts(error: BaseException | None) -> bool:
    """Whether a program that is left with `error` is being ended, and nobody is to wait for what cannot be ended."""
    return error is not None and not isinstance(error, Exception | GeneratorExit)


def engines_of(session: SessionContext) -> Engines:
    """Those of a session."""
    with _opening:
        if session.engines is None:
            session.engines = Engines()
    return session.engines  # type: ignore[no-any-return]  # Engines


def _of_a_map_around(scope: Scope, wanted: Any) -> Backend | None:
    for item in items_around(scope):
        if item.map.engine is not None and _key(item.map.wanted) == _key(wanted):
            return item.map.engine  # type: ignore[return-value]  # a Backend, as here
    return None


def _key(wanted: Any) -> Any:
    """What tells apart what was asked for: a backend need not be hashable, and those that are equal need not be one."""
    return wanted if isinstance(wanted, str) else id(wanted)


def _kept(session: SessionContext, wanted: Any) -> Backend | None:
    """One that this session or one around it has opened."""
    scope: Any = session
    while scope is not None:
        engines = getattr(scope, "engines", None)
        if engines is not None and not scope.closed and _key(wanted) in engines.opened:
            return engines.opened[_key(wanted)]  # type: ignore[no-any-return]  # a Backend
        scope = scope.outer
    return None


def _after_fork() -> None:
    """Another thread of the parent may have been opening something."""
    global _opening
    _opening = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
