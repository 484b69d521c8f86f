"""Calls whose results are stored: looked up before the function runs, saved after it has returned.

Plans for both colours (see `_steps`). Nothing here calls the task's function, and nothing that a cache does can fail a
call or repeat it: trouble with it is a miss, a warning once per store, and a hook.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeAlias

from eagerly._crew import hand_in
from eagerly._dataset_saving import claim_dataset, save_result, store_of
from eagerly._scope import OUTSIDE
from eagerly._settings import mode_outside, resolve_settings
from eagerly._steps import Access, Plan, carry_out
from eagerly._stores import cache_client, key_maker, replay_frames
from eagerly._warnings import warn
from eagerly.cache._flight import Flight, Outcome
from eagerly.cache._protocol import MISSING
from eagerly.errors import EagerlyWarning
from eagerly.hooks._compile import is_from_hook

if TYPE_CHECKING:
    from collections.abc import Callable

    from eagerly._cache_options import CacheMode, CacheOptions
    from eagerly._context import TaskContext
    from eagerly._declaration import Declaration
    from eagerly._scope import SessionContext
    from eagerly.cache._client import CacheClient
    from eagerly.cache._key import CallKey, KeyMaker
    from eagerly.datasets._store import DatasetStore

__all__ = [
    "Found",
    "StoredCall",
    "aside",
    "cache_of",
    "claim_for",
    "expires_at",
    "find",
    "keep",
    "keep_here",
    "keys_of",
    "mode_of",
    "report",
]


Found: TypeAlias = "tuple[Any]"
"""What a lookup has found: the result, or for a stream the function that gives its items. None is a result too."""


class StoredCall:
    """What one call has to do with stores.

    Attributes:
        client: The cache, or None where nothing is cached.
        key: The key of the call in it.
        looked: Whether the cache has been looked into, in vain.
        unreadable: Whether that has failed, and has been reported.
        mode: ``"on"``, ``"read"`` or ``"refresh"``.
        flight: The computation that this call carries out for everybody, or None.
        recording: The items of a stream so far; None if they are not kept.
        dataset: The dataset store and the key in it, or None where nothing is saved.
        writer: Writes the items of a stream into its dataset, or None.
        sources: The datasets that the body has loaded.
        unclaim: Gives the key of the dataset free again if nothing is saved, or None.
    """

    __slots__ = (
        *("client", "dataset", "flight", "is_async", "key", "looked", "mode"),
        *("recording", "sources", "unclaim", "unreadable", "writer"),
    )

    def __init__(
        self, is_async: bool, client: CacheClient | None = None, key: CallKey | None = None, mode: CacheMode = "on"
    ) -> None:
        self.is_async = is_async
        self.client = client
        self.key = key
        self.mode = mode
        self.looked = self.unreadable = False
        self.flight: Flight | None = None
        self.recording: Any = None
        self.dataset: tuple[DatasetStore, str] | None = None
        self.unclaim: Callable[[], object] | None = None
        self.sources: list[dict[str, Any]] = []
        self.writer: Any = None

    def give_up(self, error: BaseException | None) -> None:
        """The call ends without a result. Those who wait for one get the error of the function, or try themselves."""
        flight, self.flight = self.flight, None
        if flight is not None:
            failed = isinstance(error, Exception) and not is_from_hook(error)
            flight.land(Outcome("failed", error) if failed else Outcome("gone"))
            if flight.lock is not None:
                aside(flight.release, blocking=self.is_async)
        self.recording = None
        unclaim, self.unclaim = self.unclaim, None
        if unclaim is not None:
            unclaim()
        writer, self.writer = self.writer, None
        if writer is not None:
            writer.abort()

    def __del__(self) -> None:
        # A signal may end a call between any two bytecodes of its driver; nobody must wait for it for ever.
        if getattr(self, "flight", None) is not None or getattr(self, "writer", None) is not None:
            self.give_up(None)


def aside(run: Callable[[], object], *, blocking: bool) -> None:
    """Tidy up, without a word if that fails; on a helper thread if this one must not wait for it and there is one."""
    if blocking:
        with contextlib.suppress(RuntimeError):  # no thread can be started
            hand_in(run)
            return
    with contextlib.suppress(Exception):
        run()


# Which cache, which key


def cache_of(declaration: Declaration, session: SessionContext) -> CacheClient | None:
    """The cache that the calls of a task use in a session, or None."""
    options = declaration.caching
    if options is None:
        return None
    if options.store is None:
        return session.cache_client
    settings = session.settings if session is not OUTSIDE else None
    key = (settings or resolve_settings()[0]).cache_signing_key if isinstance(options.store, str) else None
    return cache_client(options.store, key)


def mode_of(options: CacheOptions, session: SessionContext) -> CacheMode:
    """How the calls of a task use their cache."""
    return options.mode or (mode_outside() if session is OUTSIDE else session.cache_mode)


def keys_of(declaration: Declaration) -> KeyMaker:
    """What makes the keys of a task's calls; made at the first one."""
    if declaration.keys is None:  # two first calls at once get the same: setdefault is one step
        declaration.keys = declaration.once.setdefault("keys", key_maker(declaration))
    return declaration.keys  # type: ignore[no-any-return]  # a KeyMaker


def find(call: TaskContext, client: CacheClient, key: CallKey) -> Plan[Found | None]:
    """What the cache holds for a call; None if that is nothing, or cannot be read."""
    now = call.clock.time()
    try:
        if call._task.declaration.is_generator:
            frames = yield Access(lambda: client.fetch_frames(key.digest, now), client.blocking)
            return None if frames is None else (replay_frames(frames, client.safe),)
        value = client.recall(key.digest, now)
        if value is MISSING:
            value = yield Access(lambda: client.fetch(key.digest, now), client.blocking)
    except Exception as error:
        assert call._stored is not None
        call._stored.unreadable = True
        report(call, client, key, error)
        return None
    return None if value is MISSING else (value,)


def claim_for(call: TaskContext) -> Callable[[], object] | None:
    """Claim the dataset of a call that is to be made in another process, where nobody knows of the claims of this one.

    Returns:
        What gives it free again if nothing is saved; None if nothing was claimed.

    Raises:
        DatasetKeyError: The key cannot be one, or another call of this session has saved its own result there.
        UnkeyableArgument: An argument cannot be part of the cache key.
    """
    declaration, session = call._task.declaration, call._session
    options, store = declaration.dataset, store_of(call)
    if options is None or store is None:
        return None
    if declaration.caching is not None and mode_of(declaration.caching, session) != "off":
        key = keys_of(declaration).key(call.inputs)
        call._stored = StoredCall(declaration.is_async, key=key)  # by which the same call is known
    return claim_dataset(call, store, options.key.render(call.inputs, call.map_index))


# After it has returned


def keep(call: TaskContext, result: Any) -> Plan[None]:
    """Store the result in the cache, and save it as a dataset.

    Raises:
        DatasetError: It could not be saved.
    """
    stored = call._stored
    assert stored is not None
    if stored.client is not None and stored.mode != "read":
        yield from _publish(call, stored, stored.client, result)
    yield from save_result(call, stored, result)


def keep_here(call: TaskContext, result: Any) -> None:
    """`keep`, in this thread."""
    stored = call._stored
    assert stored is not None
    if stored.client is not None and stored.mode != "read":
        publication = _Publication(call, stored, stored.client, result)
        try:
            publication.make()
        except Exception as error:
            publication.failed(error)
        publication.end()
    if stored.dataset is not None:
        carry_out(save_result(call, stored, result))


def _publish(call: TaskContext, stored: StoredCall, client: CacheClient, result: Any) -> Plan[None]:
    publication = _Publication(call, stored, client, result)
    try:
        yield Access(publication.make, client.blocking)
    except Exception as error:
        publication.failed(error)
    publication.end()


class _Publication:
    """A result on its way into the cache."""

    __slots__ = ("_call", "_client", "_expires", "_flight", "_key", "_packed", "_result", "_stored")

    def __init__(self, call: TaskContext, stored: StoredCall, client: CacheClient, result: Any) -> None:
        assert stored.key is not None
        self._call, self._stored, self._client, self._result = call, stored, client, result
        self._key = stored.key
        self._expires = expires_at(call)
        self._flight = stored.flight
        self._packed = False

    def make(self) -> None:
        """Store it, and tell those who wait for it."""
        call, client, key, result, expires = self._call, self._client, self._key, self._result, self._expires
        keys = keys_of(call._task.declaration)
        outcome = Outcome("alone")
        try:
            self._stored.flight = None  # it lands here now, even if the caller does not wait for that
            parts = client.pack(key.digest, result, expires=expires, meta=keys.describe(key))
            self._packed = True
            try:
                anew = self._stored.mode == "refresh"
                client.publish(key.digest, parts, result, expires=expires, tag=keys.tag, anew=anew)
                outcome = STORED
            except Exception:
                outcome = Outcome("packed", b"".join(parts))
                raise
        finally:
            flight = self._flight
            if flight is not None:
                flight.land(outcome)
                flight.release()

    def failed(self, error: Exception) -> None:
        report(self._call, self._client, self._key, error, of_result=not self._packed)

    def end(self) -> None:
        flight, self._stored.flight = self._stored.flight, None
        if flight is not None:  # not even a thread could be started
            flight.land(Outcome("gone"))
            flight.release()


STORED = Outcome("stored")


def expires_at(call: TaskContext) -> float | None:
    """When what this call stores now ends, in Unix seconds, or None."""
    options = call._task.declaration.caching
    assert options is not None
    return None if options.ttl is None else call.clock.time() + options.ttl


def report(call: TaskContext, client: CacheClient, key: CallKey, error: Exception, *, of_result: bool = False) -> None:
    """Say that the cache has failed: to the hooks always, and to people once per store and sort of trouble.

    Args:
        of_result: Whether it is the result that cannot be stored. Then the trouble is one of this task.
    """
    sort = f"{type(error).__name__} {call.qualified_name if of_result else ''}"
    if sort not in client.warned:
        client.warned.add(sort)
        with contextlib.suppress(EagerlyWarning):  # warnings may be errors, but what a cache does never fails a call
            warn(
                f"the cache failed for task {call._task.declaration.name!r}, which goes on without it: "
                f"{type(error).__name__}: {error}"
            )
    call.cache_failed(key.text, error)
