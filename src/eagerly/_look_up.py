"""Before a cached function runs: is its result there, and if not, who computes it? One call does, and others wait.

Threads and event loops of this process meet in a `Flight`; processes meet in the locks of the store. Plans for both
colours (see `_steps`); nothing here calls the task's function.
"""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any, Final

from eagerly._dataset_saving import ensure_dataset, lacks_dataset, prepare_dataset
from eagerly._scope import OUTSIDE
from eagerly._steps import Access, Pause, Plan, Until
from eagerly._stored import Found, StoredCall, aside, cache_of, find, keys_of, mode_of, report
from eagerly.cache._flight import Flight, Outcome, leads_to, under_way
from eagerly.cache._protocol import MISSING
from eagerly.errors import CacheRecursionError
from eagerly.hooks._compile import is_from_hook

if TYPE_CHECKING:
    from eagerly._cache_options import CacheOptions
    from eagerly._context import TaskContext
    from eagerly.cache._client import CacheClient, Claim
    from eagerly.cache._key import CallKey

__all__ = ["look_up", "recall"]

POLL: Final = (0.001, 0.05)
"""Seconds between two questions whether another process is done: at first, and at most."""

PATIENCE: Final = 0.5
"""Seconds that a call which keeps others waiting waits itself, when somebody waits for what it holds."""

RUN: Final = ()
"""In the place of a `Found`: there is nothing, and the function has to run."""


def recall(call: TaskContext) -> Found | Failed | tuple[()] | None:
    """What is stored for this call; `RUN` if that is nothing and this call computes it; None: `look_up` finds out.

    A shortcut for the usual: what an event loop must not wait for, and every rare case, is left to the plan.
    """
    # A hit is worth more than these lines: properties and functions that would say the same shorter take a tenth of it.
    task, session = call._task, call._session
    declaration = task.declaration
    options, keys = declaration.caching, declaration.keys
    if options is None or keys is None or not declaration.only_cached:
        return None
    client = session.cache_client if options.store is None else cache_of(declaration, session)
    outside = session is OUTSIDE or options.mode is not None
    if client is None or (mode_of(options, session) if outside else session.cache_mode) != "on":
        return None
    inputs = task.bind(*call._args, **call._kwargs)
    is_async = declaration.is_async
    if is_async and not keys.is_quick(inputs):
        return None
    key = keys.key(inputs)
    now = session.clock.time()
    value = client.recall(key.digest, now)
    if value is MISSING:
        looked = False
        if not (is_async and client.blocking):
            try:
                value = client.fetch(key.digest, now)
                looked = True
            except Exception:  # the plan will meet it too, and report it
                pass
        if value is MISSING:
            stored = call._stored = StoredCall(is_async, client, key)
            stored.looked = looked
            return _lead(call, stored, client, key, now) if looked and not is_async else None
    if session.hooks.on_cache_hit is None and call._outer._item is None:  # where nobody is to be told
        call.ended = True
    else:
        call.hit(key.text, value)
    return (value,)


def _lead(call: TaskContext, stored: StoredCall, client: CacheClient, key: CallKey, now: float) -> tuple[()] | None:
    """Become the one call that computes this key, if nobody has to be followed, nor asked twice: `RUN`, or None."""
    if call._outer._call is not None:
        return None
    flight = stored.flight = Flight(key.digest, client.flights)
    if not flight.begin():
        stored.flight = None
        return None
    try:
        claim = client.claim(key.digest, now)
        if claim.granted and claim.value is MISSING and claim.error is None:
            flight.lock = claim.lock
            call.miss(key.text)
            return RUN
    except BaseException as error:
        stored.give_up(None)
        if isinstance(error, Exception) and not is_from_hook(error):
            return None  # the plan will meet it too, and report it
        raise
    stored.give_up(None)
    stored.looked = False
    return None


def look_up(call: TaskContext) -> Plan[Found | Failed | None]:
    """What is stored for this call, or None if the function has to run.

    Raises:
        TypeError: The arguments are wrong.
        UnkeyableArgument: One of them cannot be part of a key.
        CacheRecursionError: The result is being computed by a call that this one was made on behalf of.
        DatasetKeyError: The result could not be saved, as another call has saved its own there.
        Exception: What another call has raised that computed the same.
    """
    declaration = call._task.declaration
    stored = call._stored
    if stored is None:
        stored = call._stored = StoredCall(declaration.is_async)
    try:
        if declaration.caching is not None:
            found = yield from _look_in_cache(call, stored, declaration.caching)
            if found is not None:
                return found
        if declaration.dataset is not None:
            prepare_dataset(call, stored)
    except BaseException:  # what goes wrong here concerns this call only
        stored.give_up(None)
        raise
    if stored.key is not None:
        call.miss(stored.key.text)  # last, as the function runs now
    return None


def _look_in_cache(call: TaskContext, stored: StoredCall, options: CacheOptions) -> Plan[Found | Failed | None]:
    declaration, session = call._task.declaration, call._session
    if stored.key is None:
        mode = mode_of(options, session)
        client = None if mode == "off" else cache_of(declaration, session)
        if client is None:
            return None
        inputs = call.inputs
        quick = declaration.keys is not None and declaration.keys.is_quick(inputs)
        stored.key = yield Access(lambda: keys_of(declaration).key(inputs), blocking=not quick)
        stored.client, stored.mode = client, mode
    client, key = stored.client, stored.key
    assert client is not None
    assert key is not None
    if stored.mode != "refresh":
        found: Found | Failed | None = None if stored.looked else (yield from find(call, client, key))
        if found is not None and declaration.is_generator and (yield from lacks_dataset(call)):
            found = None  # its items have to pass once more to be written
        if found is None and stored.mode == "on" and not declaration.is_generator:
            found = yield from _lead_or_follow(call, stored, client, key)
            if isinstance(found, Failed):
                return found
        if found is not None:
            if declaration.dataset is not None and not declaration.is_generator:
                yield from ensure_dataset(call, stored, found[0])
            call.hit(key.text, None if declaration.is_generator else found[0])
            return found
    return None


class Failed:
    """In the place of a `Found`: what another call has raised. A plan could not raise it, if it is a StopIteration."""

    __slots__ = ("_error", "_trace")

    def __init__(self, error: Exception, trace: Any) -> None:
        self._error = error
        self._trace = trace

    def __getitem__(self, _: object) -> Any:
        raise self._error.with_traceback(self._trace)  # which would grow with each that raises it


def _lead_or_follow(  # noqa: C901 - one loop, read from top to bottom
    call: TaskContext, stored: StoredCall, client: CacheClient, key: CallKey
) -> Plan[Found | Failed | None]:
    """Become the one call that computes this key, or wait for the one that does."""
    above = _flights_above(call)
    while True:
        leader = client.flights.get(key.digest)
        if leader is None:
            flight = stored.flight = Flight(key.digest, client.flights)
            if not flight.begin():
                stored.flight = None
                continue
            return (yield from _agree_with_other_processes(call, stored, client, key, above))
        if any(leader is each for each in above):
            raise CacheRecursionError(
                f"task {call.name!r} was called, with the same arguments, by what it calls itself: its result depends "
                "on itself. Leave caching off, or pass what differs as an argument"
            )
        stopped = _stopped_by(stored, above)
        for each in stopped:
            each.waits_for.append(leader)
        try:
            if stopped and leads_to(leader, stopped):
                return None  # each would wait for the other
            yield Until(leader.when_landed)
        finally:
            for each in stopped:
                each.waits_for.remove(leader)
        outcome = leader.outcome
        assert outcome is not None
        if outcome.kind == "failed":
            call.miss(key.text)
            call.start()
            error = call.fail_like(outcome.value)
            return Failed(error, outcome.trace if error is outcome.value else None)
        if outcome.kind == "alone":
            return None
        found = yield from _take_over(call, client, key, outcome)
        if found is not None:
            return found


def _take_over(call: TaskContext, client: CacheClient, key: CallKey, outcome: Outcome) -> Plan[Found | None]:
    if outcome.kind == "stored":
        return (yield from find(call, client, key))
    if outcome.kind == "packed":
        now = call.clock.time()
        try:
            value = yield Access(lambda: client.unpack(key.digest, outcome.value, now))
        except Exception as error:
            report(call, client, key, error)
            return None
        return None if value is MISSING else (value,)
    return None


def _agree_with_other_processes(  # noqa: C901 - as above
    call: TaskContext, stored: StoredCall, client: CacheClient, key: CallKey, above: list[Flight]
) -> Plan[Found | None]:
    """Become the one process that computes this key, or find what another has computed."""
    flight = stored.flight
    assert flight is not None
    now = call.clock.time()
    delay, longest = POLL
    mark, patience = None, PATIENCE
    locks = client.locks

    def claim_key() -> Claim:
        found = client.claim(key.digest, now)
        if found.granted:
            flight.lock, flight.locks = found.lock, locks
            if flight.outcome is not None:  # the call was cancelled meanwhile
                flight.release()
        return found

    try:
        while True:
            claim = yield Access(claim_key, client.blocking)
            if claim.value is not MISSING:
                found = (claim.value,)
                flight.land(Outcome("stored"))
                return found
            if claim.granted:
                if claim.error is not None and not stored.unreadable:
                    report(call, client, key, claim.error)
                return None
            assert locks is not None  # or it would have been granted
            if any(each.key == key.digest for each in above):
                return None  # a call above has it, through another store object or before a fork, and may wait for this
            held = _held_up_by(flight, stored, above)
            if held and mark is None:
                mark = yield Access(functools.partial(locks.mark_waiting, key.digest), client.blocking)
            yield Pause(delay)
            # Whoever waits and keeps others waiting gives way, as they may be waiting for each other.
            if held and (yield Access(functools.partial(_any_waited_for, held), client.blocking)):
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
            aside(functools.partial(locks.unmark_waiting, mark), blocking=stored.is_async and client.blocking)


def _any_waited_for(flights: list[Flight]) -> bool:
    return any(flight.is_waited_for() for flight in flights)


def _stopped_by(stored: StoredCall, above: list[Flight]) -> list[Flight]:
    """The computations that stand still while this call waits: those that it is made for, and if it blocks its thread,
    all of that thread, such as those of an event loop.
    """
    if stored.is_async:
        return above
    thread = threading.get_ident()
    return above + [each for each in under_way() if each.thread == thread and not any(each is one for one in above)]


def _held_up_by(flight: Flight, stored: StoredCall, above: list[Flight]) -> list[Flight]:
    """The computations that wait for this one, through others too, and keep their keys from other processes."""
    goals = [flight, *_stopped_by(stored, above)]
    return [each for each in (*above, *under_way()) if each.lock is not None and leads_to(each, goals)]


def _flights_above(call: TaskContext) -> list[Flight]:
    """The computations on whose behalf this call is made, from the inside out."""
    flights: list[Flight] = []
    outer = call.parent
    while outer is not None:
        if outer._stored is not None and outer._stored.flight is not None:
            flights.append(outer._stored.flight)
        outer = outer.parent
    return flights
