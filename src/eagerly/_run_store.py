"""Which store the runs are in that code here makes or asks about, and who hears of what it does to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eagerly._paths import absolute
from eagerly._scope import current_session
from eagerly._settings import resolve_settings
from eagerly._stores import memory_runs, run_store
from eagerly.runs._actions import listeners
from eagerly.runs._live import LIVE, wait_until_written
from eagerly.runs._recorder import recorder_of
from eagerly.runs._run import Run

if TYPE_CHECKING:
    from eagerly.runs._change import Moved
    from eagerly.runs._protocol import RunStore

__all__ = ["active_run_store", "settled_run_store"]


def active_run_store() -> RunStore:
    """That of the session; outside of one, that of the settings; where there is none, the memory of this process."""
    session = current_session()
    if session is not None:
        return session.run_store or memory_runs()
    place = resolve_settings()[0].run_store
    return memory_runs() if place is None else run_store(absolute(place))


def settled_run_store() -> RunStore:
    """The same, once it has all that was called and submitted so far: a program sees what it has done. May block."""
    store = active_run_store()
    recorder = recorder_of(store, make=False)
    if recorder is not None:
        recorder.flush()
    wait_until_written()
    return store


def _tell(store: RunStore, moved: Moved) -> None:
    """Tell the session; of runs that this process executes, who executes them does."""
    session = current_session()
    if session is None or moved.after.id in LIVE or (hook := session.hooks.on_run_status) is None:
        return
    told = Run[Any](store, moved.after), None if moved.before is None else moved.before.status
    if session.engines is not None and session.engines.has_heard_of(moved.after.id):
        session.engines.hear(hook, *told, session.run_store)
    else:
        hook(*told)


listeners.append(_tell)
