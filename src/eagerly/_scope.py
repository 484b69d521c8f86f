"""Where we are: `SessionContext`, and the one context variable that says in which session or call this code runs."""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from eagerly._clock import SYSTEM_CLOCK, Clock
from eagerly._injection import provide
from eagerly._metadata import Identity
from eagerly._settings import Settings, resolve_settings
from eagerly._stores import cache_client, dataset_store, run_store
from eagerly.hooks._compile import NO_HOOKS, CompiledHooks

if TYPE_CHECKING:
    from uuid import UUID

    from eagerly._backend_options import BackendSpec
    from eagerly._cache_options import CacheMode
    from eagerly._context import TaskContext
    from eagerly._item import ItemScope
    from eagerly.cache._client import CacheClient
    from eagerly.cache._protocol import CacheStore
    from eagerly.datasets._store import DatasetStore
    from eagerly.runs._protocol import RunStore
    from eagerly.runs._recording import CallRecording
    from eagerly.typing import Now

__all__ = [
    "OUTSIDE",
    "Scope",
    "SessionContext",
    "current_session",
    "current_task",
    "first_deadline",
    "here",
    "is_stopping",
    "item_around",
    "items_around",
    "open_session",
    "without_closed",
]

Scope: TypeAlias = "SessionContext | TaskContext | ItemScope"
"""Where code can be: in a session, in a call, or where an item of a map is called. Each has an `outer` one."""


class SessionContext(Identity):
    """What calls inherit from ``with session()``: hooks, settings, clock, stores.

    Attributes:
        name: As given to `session`, or None.
        settings: The `Settings` that hold in this session.
        clock: The `Clock` that measures and sleeps.
        plugins: The plugins that listen, those of enclosing sessions included.
        backend: What maps run on that are told nothing else: a name, a backend, an executor; None: as settings say.
        cache_mode: ``"on"``, ``"off"``, ``"read"`` or ``"refresh"``; see `Settings`.
        closed: Whether the session has been left.
    """

    is_outside = False
    """Whether it is what holds where no session is open."""

    # As of a call and of an item of a map
    _item: ItemScope | None = None
    _stopping = False
    _deadline: float | None = None
    _entry: Any = None  # of the workflow whose session it is, where that is recorded

    def __init__(
        self,
        *,
        outer: Scope | None = None,
        name: str | None = None,
        clock: Clock = SYSTEM_CLOCK,
        plugins: tuple[object, ...] = (),
        hooks: CompiledHooks = NO_HOOKS,
        settings: Settings | None = None,
        explicit: dict[str, Any] | None = None,
        cache_place: str | CacheStore | None = None,
        cache_mode: CacheMode = "on",
        dataset_place: str | DatasetStore | None = None,
        backend: BackendSpec | None = None,
        is_replica: bool = False,
        run_place: str | RunStore | None = None,
        recording: tuple[CallRecording, ...] = (),
    ) -> None:
        self.name: str | None = name
        self.clock: Clock = clock
        self.now: Now = clock.now
        self.plugins: tuple[object, ...] = plugins
        self.hooks = hooks
        self.closed: bool = False
        self.explicit: dict[str, Any] = explicit or {}
        self.outer = outer
        self.cache_place = cache_place
        self.cache_mode: CacheMode = cache_mode
        self.dataset_place = dataset_place
        self.backend = backend
        self.is_replica = is_replica
        self.engines: Any = None  # `Engines`, once there has been a map
        self.run_place = run_place
        self.recording = recording  # what records calls, as a plugin that nobody sees
        self.claims: dict[tuple[Any, str], object] = {}  # dataset -> who has written it in this session
        self._settings = settings
        # The two questions that a session and a call answer alike: what session do calls made here belong to (this one;
        # once it has been left, the one around it), and on whose behalf are they made?
        self._session = self
        self._call: TaskContext | None = None if outer is None else outer._call
        self.started: float = clock.now()

    @property
    def settings(self) -> Settings:
        # Where no session is open they are looked up afresh, and only when one matters.
        return resolve_settings()[0] if self._settings is None else self._settings

    @property
    def cache_store(self) -> CacheStore | None:
        """Where the results of cached tasks go, or None where caching is switched off."""
        client = self.cache_client
        return None if client is None else client.store

    @functools.cached_property
    def cache_client(self) -> CacheClient | None:
        return None if self.cache_place is None else cache_client(self.cache_place, self.settings.cache_signing_key)

    @functools.cached_property
    def dataset_store(self) -> DatasetStore | None:
        """Where datasets are saved, or None where that is switched off."""
        return None if self.dataset_place is None else dataset_store(self.dataset_place)

    @functools.cached_property
    def run_store(self) -> RunStore | None:
        """Where runs are recorded, or None where they are in the memory of this process only."""
        return None if self.run_place is None else run_store(self.run_place)

    @property
    def session_id(self) -> UUID:
        """Identifies the session in hooks and records."""
        return self._identify()

    @functools.cached_property
    def id_text(self) -> str:
        """The same for records."""
        return str(self.session_id)

    @property
    def elapsed(self) -> float:
        """Seconds since the session was entered, by its clock."""
        return self.now() - self.started

    def close(self) -> None:
        """Mark the session as left: what still finds itself in it belongs to the session around it."""
        assert self.outer is not None  # only OUTSIDE has none, and nobody leaves that
        self.closed = True
        self._session = self.outer._session

    def __repr__(self) -> str:
        label = f" {self.name!r}" if self.name else ""
        return f"<SessionContext{label} {'closed' if self.closed else 'open'}, {len(self.plugins)} plugins>"


OUTSIDE: Final = SessionContext()
"""What holds where no session is open: nobody listens, and nothing is stored. In a process that was started for a run,
the call of that run is around it; see `_environment_run`."""
OUTSIDE.is_outside = True

here: Final[contextvars.ContextVar[Scope]] = contextvars.ContextVar("eagerly", default=OUTSIDE)
"""The innermost session or call that this thread, asyncio task or context is in. The only state there is."""


def current_session() -> SessionContext | None:
    """The session that calls made here would belong to, or None outside of one. Never raises."""
    session = open_session(here.get())
    return None if session is OUTSIDE else session


def current_task() -> TaskContext | None:
    """The call on whose behalf this code runs, or None outside of a task. Never raises."""
    return here.get()._call


provide(current_task)


def without_closed(scope: Scope) -> Scope:
    """`scope`, no longer inside of sessions that have been left: nobody is in those, and they must not pile up."""
    while isinstance(scope, SessionContext) and scope.closed and scope.outer is not None:
        scope = scope.outer
    inner = scope
    while isinstance(inner, SessionContext) and isinstance(inner.outer, SessionContext):
        if inner.outer.closed:
            inner.outer = inner.outer.outer
        else:
            inner = inner.outer
    return scope


def open_session(scope: Scope) -> SessionContext:
    """The nearest session around `scope` that has not been left."""
    session = scope._session
    while session.closed:
        session = session._session
    return session


def is_stopping(scope: Scope | None) -> bool:
    """Whether what runs in `scope` is asked to end, or what is around it."""
    while scope is not None:
        if scope._stopping:
            return True
        scope = scope.outer
    return False


def first_deadline(scope: Scope | None) -> float | None:
    """`time.monotonic` reading at which the first of the timeouts in and around `scope` is up, or None."""
    first: float | None = None
    while scope is not None:
        if scope._deadline is not None and (first is None or scope._deadline < first):
            first = scope._deadline
        scope = scope.outer
    return first


def item_around(scope: Scope | None) -> ItemScope | None:
    """The item of a map on whose behalf `scope` is there; the innermost one, or None."""
    return next(items_around(scope), None)


def items_around(scope: Scope | None) -> Iterator[ItemScope]:
    """The items of maps on whose behalf `scope` is there, the innermost first."""
    while scope is not None:
        item = scope._item
        if item is None:
            scope = scope.outer
        else:
            yield item
            scope = item.outer
