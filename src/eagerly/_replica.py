"""What a worker in another process knows of the session and the call that a map belongs to: facts, and a replica."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from eagerly._clock import SYSTEM_CLOCK, Clock
from eagerly._metadata import FACTS, MetadataSnapshot
from eagerly._scope import OUTSIDE, SessionContext, first_deadline
from eagerly._settings import Settings
from eagerly._stored import StoredCall
from eagerly._wire import dump, shown_shortly
from eagerly.cache._flight import Flight
from eagerly.cache._memory import MemoryStore

if TYPE_CHECKING:
    from uuid import UUID

    from eagerly._context import TaskContext
    from eagerly._scope import Scope
    from eagerly.hooks._compile import CompiledHooks

__all__ = [
    "CallFacts",
    "SessionFacts",
    "calls_around",
    "distant",
    "is_reachable",
    "log_levels",
    "monotonic_deadline",
    "unix_deadline",
]


class SessionFacts(NamedTuple):
    """A session as it travels: what calls inherit from it, but for its plugins."""

    id: UUID
    name: str | None
    clock: Clock
    settings: Settings
    explicit: dict[str, Any]
    cache_place: Any
    cache_mode: Any
    dataset_place: Any
    run_place: Any

    @classmethod
    def of(cls, session: SessionContext) -> Self | None:
        """Those of `session`; None outside of one.

        A store that lives in this process is left out: a task that needs it has been refused before, or is saved here.
        """
        if session is OUTSIDE:
            return None
        return cls(
            session.session_id,
            session.name,
            session.clock if _travels(session.clock) else SYSTEM_CLOCK,
            session.settings,
            session.explicit,
            session.cache_place if is_reachable(session.cache_place) else None,
            session.cache_mode,
            session.dataset_place if is_reachable(session.dataset_place) else None,
            session.run_place if is_reachable(session.run_place) else None,
        )

    def replica(self, hooks: CompiledHooks, plugins: tuple[object, ...]) -> SessionContext:
        """A session like it in this process."""
        session = SessionContext(
            outer=OUTSIDE,
            name=self.name,
            clock=self.clock,
            plugins=plugins,
            hooks=hooks,
            settings=self.settings,
            explicit=self.explicit,
            cache_place=self.cache_place,
            cache_mode=self.cache_mode,
            dataset_place=self.dataset_place,
            run_place=self.run_place,
            is_replica=True,
        )
        vars(session)["_id"] = self.id
        return session


def is_reachable(place: object) -> bool:
    """Whether a store can be used from another process: it has an address, or travels."""
    if place is None:
        return True
    if isinstance(place, str):
        return not place.startswith("memory://")
    return not isinstance(place, MemoryStore) and _travels(place)


def _travels(value: object) -> bool:
    try:
        dump(value)
    except Exception:  # locks, connections, lambdas of `__main__`: whatever a store has
        return False
    return True


class DistantCall(MetadataSnapshot):
    """A call around a map, as the items in another process see it: the facts, and which result it is computing."""

    __slots__ = ("_stored", "parent")

    _stopping = False
    _deadline: float | None = None
    _item = None
    _entry = None

    def __init__(self, facts: dict[str, Any], key: bytes | None, parent: DistantCall | None) -> None:
        super().__init__(facts)
        self.parent = parent
        self._stored: StoredCall | None = None
        if key is not None:  # an item that asks for that result must not wait for a call that waits for the item
            self._stored = StoredCall(is_async=False)
            self._stored.flight = Flight(key, {})

    @property
    def _call(self) -> DistantCall:
        return self

    @property
    def outer(self) -> DistantCall | None:
        return self.parent

    @property
    def session(self) -> None:
        return None


CallFacts = tuple[dict[str, Any], bytes | None]
"""The facts about a call, with its arguments as they are shown, and the key of the result that it is computing."""


def calls_around(call: TaskContext | None) -> list[CallFacts]:
    """The calls on whose behalf a map is made, the innermost first, so that they can travel."""
    calls: list[CallFacts] = []
    while call is not None:
        facts = {name: getattr(call, name) for name in FACTS if name != "inputs"}
        facts["inputs"] = {name: shown_shortly(value) for name, value in call.inputs.items()}
        flight = None if call._stored is None else call._stored.flight
        calls.append((facts, None if flight is None else flight.key))
        call = call.parent
    return calls


def distant(calls: list[CallFacts]) -> DistantCall | None:
    """The innermost of `calls` in this process, with the others around it."""
    call = None
    for facts, key in reversed(calls):
        call = DistantCall(facts, key, call)
    return call


def log_levels() -> dict[str, int]:
    """The level of each logger that has one, so that what nobody wants to read does not travel."""
    levels = {"": logging.root.level}
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and logger.level != logging.NOTSET:
            levels[name] = logger.level
    return levels


def unix_deadline(scope: Scope) -> float | None:
    """When the first of the timeouts around `scope` is up, in Unix seconds, which other machines share."""
    deadline = first_deadline(scope)
    return None if deadline is None else deadline - time.monotonic() + time.time()


def monotonic_deadline(deadline: float | None) -> float | None:
    """The same, by the monotonic clock of this process."""
    return None if deadline is None else deadline - time.time() + time.monotonic()
