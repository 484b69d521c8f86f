"""`RunPort`: what the body of a run can do about its run, in whichever process it is; and how one finds its run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from eagerly._scope import items_around

if TYPE_CHECKING:
    from eagerly._item import ItemScope
    from eagerly._scope import Scope
    from eagerly.runs._protocol import RunStore

__all__ = ["Above", "RunPort", "recorded_above", "run_around"]


class RunPort(Protocol):
    """A run, as the code sees it that runs on its behalf. May be called in any thread.

    Attributes:
        id: The id of the run.
        root_id: That of the run at the top of its tree.
        stopping: Whether it is asked to stop.
    """

    id: str
    root_id: str

    @property
    def stopping(self) -> bool: ...

    def progress(self, values: dict[str, Any]) -> None:
        """Note fields of the record that say how far it is. Only what was said last need be kept."""
        ...

    def become(self, status: str) -> None:
        """Make it ``"paused"`` or ``"running"``."""
        ...

    def ask_to_stop(self) -> None:
        """Ask it to stop, and all that it has made."""
        ...

    def give(self, value: Any, summary: str | None) -> None:
        """Keep an output.

        Raises:
            OutputNotSerializable: That is not possible with this value.
        """
        ...

    def item(self, value: Any) -> None:
        """A stream has given an item."""
        ...

    def wait(self, seconds: float) -> None:
        """Let so much time pass, or less if it is asked to stop meanwhile."""
        ...

    def when_asked(self, tell: Callable[[], object]) -> Callable[[], object] | None:
        """Call `tell` when it is asked to stop; returns what ends that. None: nobody can tell, so ask again."""
        ...

    def attach(self, cancel: Callable[[], object] | None) -> None:
        """What cancels the asyncio task that the body is; None when it has ended."""
        ...


def run_around(scope: Scope | None) -> RunPort | None:
    """The run on whose behalf code in `scope` runs; the innermost one, or None."""
    for item in items_around(scope):
        if item.map.run is not None:
            return item.map.run
    return None


class Above(NamedTuple):
    """What a run was made by: a run, or a call that is recorded.

    Attributes:
        id: The id of its record.
        root_id: That of the record at the top of its tree.
    """

    id: str
    root_id: str


def recorded_above(scope: Any, store: RunStore) -> Above | None:
    """The innermost that code in `scope` runs on behalf of and that is in that store, or None."""
    while scope is not None:
        entry = getattr(scope, "_entry", None)
        if entry is not None and (entry.store is None or entry.store.place == store.place):
            return Above(entry.id, entry.root_id)
        if entry is None and (told := _told_elsewhere(scope)) is not None:
            return told
        scope = scope.outer
    return None


def _told_elsewhere(scope: Any) -> Above | None:
    """A call that is made in a worker, and recorded by the coordinator."""
    item: ItemScope | None = next((each for each in items_around(scope) if each.events is not None), None)
    if item is None or scope._call is not scope or not hasattr(scope, "_session"):
        return None
    session = scope._session
    if scope._outer is item and item.map.run is not None:
        return None  # the run itself, which is found further out
    if session.recording or session.run_place is None or session.run_place != item._session.run_place:
        return None
    run = item.map.run
    root = item.map.root if run is None else run.root_id
    return Above(f"run_{scope.id.hex[:24]}", root or f"run_{item.call_id().hex[:24]}")
