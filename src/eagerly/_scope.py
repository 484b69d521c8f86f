"""Where we are: `SessionContext`, and the one context variable that says in which session or call this code runs."""

from __future__ import annotations

import contextvars
import functools
from typing import TYPE_CHECKING, Any, Final

from eagerly._clock import SYSTEM_CLOCK, Clock
from eagerly._metadata import Identity
from eagerly._settings import Settings, resolve_settings
from eagerly._stores import cache_client, dataset_store
from eagerly.hooks._compile import NO_HOOKS, CompiledHooks

if TYPE_CHECKING:
    from uuid import UUID

    from eagerly._cache_options import CacheMode
    from eagerly._context import TaskContext
    from eagerly.cache._client import CacheClient
    from eagerly.cache._protocol import CacheStore
    from eagerly.datasets._store import DatasetStore
    from eagerly.typing import Now

__all__ = ["OUTSIDE", "SessionContext", "current_session", "current_task", "here", "open_session", "without_closed"]


class SessionContext(Identity):
    """What calls inherit from ``with session()``: hooks, settings, clock, stores.

    Attributes:
        name: As given to `session`, or None.
        settings: The `Settings` that hold in this session.
        clock: The `Clock` that measures and sleeps.
        plugins: The plugins that listen, those of enclosing sessions included.
        cache_mode: ``"on"``, ``"off"``, ``"read"`` or ``"refresh"``; see `Settings`.
        closed: Whether the session has been left.
    """

    def __init__(
        self,
        *,
        outer: SessionContext | TaskContext | None = None,
        name: str | None = None,
        clock: Clock = SYSTEM_CLOCK,
        plugins: tuple[object, ...] = (),
        hooks: CompiledHooks = NO_HOOKS,
        settings: Settings | None = None,
        explicit: dict[str, Any] | None = None,
        cache_place: str | CacheStore | None = None,
        cache_mode: CacheMode = "on",
        dataset_place: str | DatasetStore | None = None,
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

    @property
    def session_id(self) -> UUID:
        """Identifies the session in hooks and records."""
        return self._identify()

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
"""What holds where no session is open: nobody listens, and nothing is stored."""

here: Final[contextvars.ContextVar[SessionContext | TaskContext]] = contextvars.ContextVar("eagerly", default=OUTSIDE)
"""The innermost session or call that this thread, asyncio task or context is in. The only state there is."""


def current_session() -> SessionContext | None:
    """The session that calls made here would belong to, or None outside of one. Never raises."""
    session = open_session(here.get())
    return None if session is OUTSIDE else session


def current_task() -> TaskContext | None:
    """The call on whose behalf this code runs, or None outside of a task. Never raises."""
    return here.get()._call


def without_closed(scope: SessionContext | TaskContext) -> SessionContext | TaskContext:
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


def open_session(scope: SessionContext | TaskContext) -> SessionContext:
    """The nearest session around `scope` that has not been left."""
    session = scope._session
    while session.closed:
        session = session._session
    return session
