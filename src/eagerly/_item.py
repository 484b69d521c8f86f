"""Where the one call of an item of a map is made: which item it is, of which map, and who may ask it to stop."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from eagerly._context import TaskContext
    from eagerly._run_port import RunPort
    from eagerly._scope import Scope, SessionContext

__all__ = ["ItemScope", "MapScope"]

_INDEXES = 2**48 - 1
_SPREAD = 0x9E3779B97F4B  # odd, so that no two indices become one
_BEHIND = 80  # bits of an id behind those that say which item it is; its version is among them


class MapScope:
    """What all items of a map have in common, in the process in which they run.

    Attributes:
        session: The session that the map belongs to.
        call: The call on whose behalf the map is made, or None.
        base: A random number from which the ids of the items' calls are made, so that they need not travel.
        backend: The name of the backend.
        engine: The backend itself, where the map was called.
        wanted: As what it was asked for.
        around: What the map was called in, where that is in this process.
        deadline: `time.monotonic` reading at which the first timeout around the map is up, or None.
        run: For what is no map but one submitted call: the run that it is; else None.
        root: In a worker: the id of the run at the top of what the map was called in, if that is recorded.
    """

    __slots__ = ("_stop", "around", "backend", "base", "call", "deadline", "engine", "root", "run", "session", "wanted")

    def __init__(
        self,
        session: SessionContext,
        call: TaskContext | None,
        *,
        base: int,
        backend: str,
        engine: object = None,
        wanted: object = None,
        around: Scope | None = None,
        deadline: float | None = None,
        run: RunPort | None = None,
    ) -> None:
        self.session = session
        self.around: Scope = around or call or session
        self.call = call
        self.base = base
        self.backend = backend
        self.engine = engine
        self.wanted = wanted
        self.deadline = deadline
        self.run = run
        self.root: str | None = None
        self._stop = False

    @property
    def stopping(self) -> bool:
        """Whether the items that run are asked to end."""
        return self._stop or (self.deadline is not None and time.monotonic() >= self.deadline)

    def told(self, item: ItemScope) -> None:
        """Something has happened that people may want to hear of before the item has ended."""

    def stop(self) -> None:
        """Ask the items that run to end."""
        self._stop = True


class ItemScope:
    """The place of one item: what the context variable holds when its call is made.

    Attributes:
        map_index: Position in the map, from 0.
        events: What has happened so far that somebody elsewhere is to hear of; None where hooks are called at once.
        rich: Whether there is something among it that pickle may refuse.
        resume: The attempt that is about to be made and the seconds since the first, where the item goes on after a
            worker has died; else None.
    """

    closed = False
    events: list[tuple[Any, ...]] | None = None
    resume: tuple[int, float] | None = None
    rich = False

    def __init__(self, scope: MapScope, map_index: int) -> None:
        self.map = scope
        self.map_index = map_index
        self._session = scope.session
        self._call = scope.call

    @property
    def _item(self) -> ItemScope:
        return self

    @property
    def outer(self) -> Scope:
        return self.map.around

    @property
    def _entry(self) -> Any:
        return self.map.around._entry if self.map.run is None else self.map.run

    @property
    def _stopping(self) -> bool:
        return self.map.stopping

    @property
    def _deadline(self) -> float | None:
        return self.map.deadline

    def call_id(self) -> UUID:
        """The id of the item's call: the same in every process, and whenever it is asked for."""
        # Into the digits at the front, and far apart, so that the beginning of an id says which item is meant.
        return UUID(int=self.map.base ^ ((self.map_index * _SPREAD & _INDEXES) << _BEHIND), version=4)

    @property
    def numbers(self) -> Iterator[int]:
        """Numbers for the calls within the item's own, in the order in which they are heard of, in whatever threads."""
        return vars(self).setdefault("_numbers", itertools.count(1))  # type: ignore[no-any-return]  # of numbers

    def __repr__(self) -> str:
        if self.map.run is not None:
            return f"<run {self.map.run.id}>"
        return f"<item {self.map_index} of a map>"
