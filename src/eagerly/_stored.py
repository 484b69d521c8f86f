"""Calls whose results are stored: looked up before the function runs, saved after it has returned.

Plans for both colours (see `_steps`). Nothing here calls the task's function, and nothing that a cache does can fail a
call or repeat it: trouble with it is a miss, a warning once per store, and a hook.
"""

from __future__ import annotations

import contextvars
import functools
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from eagerly._dataset_saving import ensure_dataset, prepare_dataset, save_result
from eagerly._scope import OUTSIDE
from eagerly._settings import resolve_settings
from eagerly._steps import Access, Pause, Plan, Until
from eagerly._stores import cache_client, key_maker, replay_frames
from eagerly._threads import Job, start_on_helper
from eagerly._warnings import warn
from eagerly.cache._flight import Flight, Outcome, leads_to
from eagerly.cache._protocol import MISSING
from eagerly.errors import CacheError, CacheRecursionError, EagerlyWarning

if TYPE_CHECKING:
    from collections.abc import Callable

    from eagerly._cache_options import CacheOptions
    from eagerly._context import TaskContext
    from eagerly._declaration import Declaration
    from eagerly._scope import SessionContext
    from eagerly.cache._client import CacheClient
    from eagerly.cache._key import CallKey, KeyMaker
    from eagerly.datasets._store import DatasetStore

__all__ = ["Found", "StoredCall", "cache_of", "expires_at", "keep", "keys_of", "look_up", "report"]

POLL: Final = (0.001, 0.05)
"""Seconds between two questions whether another process is done: at first, and at most."""

PATIENCE: Final = 0.5
"""Seconds that a call which keeps others waiting waits itself, when somebody waits for what it holds."""

_SMALL: Final = frozenset({int, float, bool, type(None), complex})


class Found(NamedTuple):
    """What a lookup has found: the result, or for a stream the function that gives its items."""

    value: Any


class StoredCall:
    """What one call has to do with stores.

    Attributes:
        client: The cache, or None where nothing is cached.
        key: The key of the call in it.
        mode: ``"on"``, ``"read"`` or ``"refresh"``.
        flight: The computation that this call carries out for everybody, or None.
        recording: The items of a stream so far; None if they are not kept.
        dataset: The dataset store and the key in it, or None where nothing is saved.
        writer: Writes the items of a stream into its dataset, or None.
        sources: The datasets that the body has loaded.
    """

    __slots__ = ("client", "dataset", "flight", "is_async", "key", "mode", "recording", "sources", "writer")

    def __init__(self, is_async: bool) -> None:
        self.is_async = is_async
        self.client: CacheClient | None = None
        self.key: CallKey | None = None
        self.mode = "on"
        self.flight: Flight | None = None
        self.recording: Any = None
        self.dataset: tuple[DatasetStore, str] | None = None
        self.sources: list[dict[str, Any]] = []
        self.writer: Any = None

    def give_up(self, error: BaseException | None) -> None:
        """The call ends without a result: those who waited for one get the error, or try themselves."""
        flight, self.flight = self.flight, None
        if flight is not None:
            failed = isinstance(error, Exception) and not isinstance(error, CacheRecursionError)
            flight.land(Outcome("failed", error) if failed else Outcome("gone"))
            if flight.lock is not None and self.is_async:  # that may take a while
                start_on_helper(Job(flight.release, contextvars.copy_context()))
            else:
                flight.release()
        self.recording = None
        writer, self.writer = self.writer, None
        if writer is not None:
            writer.abort()

    def __del__(self) -> None:
        # A signal may end a call between any two bytecodes of its driver; nobody must wait for it for ever.
        if getattr(self, "flight", None) is not None or getattr(self, "writer", None) is not None:
            self.give_up(None)


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


def keys_of(declaration: Declaration) -> KeyMaker:
    """What makes the keys of a task's calls; made at the first one."""
    if declaration.keys is None:
        declaration.keys = key_maker(declaration)
    return declaration.keys  # type: ignore[no-any-return]  # a KeyMaker


# Before the function runs


def look_up(call: TaskContext) -> Plan[Found | None]:
    """What is stored for this call, or None if the function has to run.

    Raises:
        TypeError: The arguments are wrong.
        UnkeyableArgument: One of them cannot be part of a key.
        CacheRecursionError: The result is being computed by a call that this one was made on behalf of.
        DatasetKeyError: The result could not be saved, as another call has saved its own there.
        Exception: What another call has raised that computed the same.
    """
    declaration = call._task.declaration
    stored = call._stored = StoredCall(declaration.is_async)
    if declaration.caching is not None:
        found = yield from _look_in_cache(call, stored, declaration.caching)
        if found is not None:
            return found
    if declaration.dataset is not None:
        yield from prepare_dataset(call, stored)
    return None


def _look_in_cache(call: TaskContext, stored: StoredCall, options: CacheOptions) -> Plan[Found | None]:
    declaration, session = call._task.declaration, call._session
    mode = options.mode or session.cache_mode
    if mode == "off":
        return None
    client = cache_of(declaration, session)
    if client is None:
        return None
    inputs = call.inputs
    # To encode a large argument takes time, and so does the first look at the code of the task.
    quick = declaration.keys is not None and all(type(value) in _SMALL for value in inputs.values())
    key = yield Access(lambda: keys_of(declaration).key(inputs), blocking=not quick)
    stored.client, stored.key, stored.mode = client, key, mode
    if mode != "refresh":
        found = yield from _find(call, client, key)
        if found is None and mode == "on" and not declaration.is_generator:
            found = yield from _lead_or_follow(call, stored, client, key)
        if found is not None:
            yield from ensure_dataset(call, found.value)
            call.hit(key.text, None if declaration.is_generator else found.value)
            return found
    call.miss(key.text)
    return None


def _find(call: TaskContext, client: CacheClient, key: CallKey) -> Plan[Found | None]:
    now = call.clock.time()
    try:
        if call._task.declaration.is_generator:
            frames = yield Access(lambda: client.fetch_frames(key.digest, now), client.blocking)
            return None if frames is None else Found(replay_frames(frames, client.safe))
        value = client.recall(key.digest, now)
        if value is MISSING:
            value = yield Access(lambda: client.fetch(key.digest, now), client.blocking)
    except Exception as error:
        report(call, client, key, error)
        return None
    return None if value is MISSING else Found(value)


def _lead_or_follow(
    call: TaskContext, stored: StoredCall, client: CacheClient, key: CallKey
) -> Plan[Found | None]:
    """Become the one call that computes this key, or wait for the one that does."""
    above = _flights_above(call)
    while True:
        flight = Flight(key.digest, client.flights)
        leader = client.flights.setdefault(key.digest, flight)
        if leader is flight:
            stored.flight = flight
            return (yield from _agree_with_other_processes(call, stored, client, key, above))
        if any(leader is each for each in above):
            raise CacheRecursionError(
                f"task {call.name!r} was called, with the same arguments, by what it calls itself: its result depends "
                "on itself. Leave caching off, or pass what differs as an argument"
            )
        if leader.thread == threading.get_ident() and not stored.is_async:
            return None  # to wait here would be to wait for oneself
        for each in above:
            each.waits_for.append(leader)
        try:
            if above and leads_to(leader, above):
                return None  # each would wait for the other
            yield Until(leader.when_landed)
        finally:
            for each in above:
                each.waits_for.remove(leader)
        outcome = leader.outcome
        assert outcome is not None
        if outcome.kind == "failed":
            call.miss(key.text)
            call.start()
            call.fail_for_good(outcome.value)
            raise outcome.value
        found = yield from _take_over(call, client, key, outcome)
        if found is not None:
            return found


def _take_over(call: TaskContext, client: CacheClient, key: CallKey, outcome: Outcome) -> Plan[Found | None]:
    if outcome.kind == "stored":
        return (yield from _find(call, client, key))
    if outcome.kind == "packed":
        now = call.clock.time()
        value = yield Access(lambda: client.unpack(key.digest, outcome.value, now))
        return None if value is MISSING else Found(value)
    return None


def _agree_with_other_processes(
    call: TaskContext, stored: StoredCall, client: CacheClient, key: CallKey, above: list[Flight]
) -> Plan[Found | None]:
    """Become the one process that computes this key, or find what another has computed."""
    flight = stored.flight
    assert flight is not None
    now = call.clock.time()
    delay, longest = POLL
    held = [each.key for each in above if each.lock is not None]
    mark, patience = None, PATIENCE
    locks = client.locks
    try:
        while True:
            claim = yield Access(lambda: client.claim(key.digest, now), client.blocking)
            if claim.value is not MISSING:
                found = Found(claim.value)
                flight.land(Outcome("stored"))
                return found
            if claim.granted:
                flight.lock = claim.lock
                if claim.error is not None:
                    report(call, client, key, claim.error)
                return None
            assert locks is not None  # or it would have been granted
            if held and mark is None:
                mark = yield Access(functools.partial(locks.mark_waiting, key.digest), client.blocking)
            yield Pause(delay)
            # Who waits and keeps others waiting gives way, as they may be waiting for each other.
            if held and (yield Access(functools.partial(_any, locks.is_waited_for, held), client.blocking)):
                patience -= delay
                if patience <= 0:
                    return None
            delay = min(2 * delay, longest)
    except Exception as error:
        report(call, client, key, error)
        return None
    finally:
        if mark is not None:
            assert locks is not None
            locks.unmark_waiting(mark)


def _any(question: Callable[[bytes], bool], keys: list[bytes]) -> bool:
    return any(map(question, keys))


def _flights_above(call: TaskContext) -> list[Flight]:
    """The computations on whose behalf this call is made, from the inside out."""
    flights: list[Flight] = []
    outer = call.parent
    while outer is not None:
        if outer._stored is not None and outer._stored.flight is not None:
            flights.append(outer._stored.flight)
        outer = outer.parent
    return flights


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


def _publish(call: TaskContext, stored: StoredCall, client: CacheClient, result: Any) -> Plan[None]:
    key, keys = stored.key, keys_of(call._task.declaration)
    assert key is not None
    expires = expires_at(call)
    flight = stored.flight
    parts: list[Any] | None = None
    outcome = Outcome("gone")

    def publish() -> None:
        nonlocal parts, outcome
        try:
            parts = client.pack(key.digest, result, expires=expires, meta=keys.describe(key))
            client.publish(key.digest, parts, result, expires=expires, tag=keys.tag)
            outcome = Outcome("stored")
        finally:
            if flight is not None:
                flight.land(outcome if parts is None or outcome.kind == "stored" else Outcome("packed", b"".join(parts)))
                flight.release()

    try:
        yield Access(publish, client.blocking)
    except Exception as error:
        report(call, client, key, error)
    stored.flight = None


def expires_at(call: TaskContext) -> float | None:
    """When what this call stores now ends, in Unix seconds, or None."""
    options = call._task.declaration.caching
    assert options is not None
    return None if options.ttl is None else call.clock.time() + options.ttl


def report(call: TaskContext, client: CacheClient, key: CallKey, error: Exception) -> None:
    """Say that the cache has failed: to the hooks always, and to people once per store and sort of trouble."""
    sort = f"{type(error).__name__}" if isinstance(error, CacheError) else call._task.declaration.qualified_name
    if sort not in client.warned:
        client.warned.add(sort)
        try:
            warn(
                f"the cache failed for task {call._task.declaration.name!r}, which goes on without it: "
                f"{type(error).__name__}: {error}"
            )
        except EagerlyWarning:  # warnings are errors here, but what a cache does never fails a call
            pass
    call.cache_failed(key.text, error)
