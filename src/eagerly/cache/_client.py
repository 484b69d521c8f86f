"""A store as tasks use it: values instead of bytes, a memory tier in front, and one computation of a key at a time.

Nothing here calls hooks or warns; what goes wrong is raised, and the one who asked decides.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from eagerly.cache._codec import STREAM, size_of
from eagerly.cache._envelope import Envelopes
from eagerly.cache._flight import Flight
from eagerly.cache._open import open_store
from eagerly.cache._protocol import MISSING, LocksKeys
from eagerly.errors import CorruptEntryError, UntrustedEntryError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eagerly.cache._envelope import Header
    from eagerly.cache._memory import MemoryTier
    from eagerly.cache._protocol import Buffer, CacheStore, KeyLock

__all__ = ["CacheClient", "Claim", "client_of"]


class Claim(NamedTuple):
    """What came of trying to be the one process that computes a key.

    Attributes:
        granted: Whether nobody else computes it.
        lock: To be released afterwards; None where the store has no locks.
        value: What was found in the meantime, or MISSING.
        error: Why looking failed, or None.
    """

    granted: bool
    lock: KeyLock | None
    value: Any
    error: Exception | None


class CacheClient:
    """What this process does with one store.

    Attributes:
        store: The store.
        blocking: Whether using it may wait for a disk or a network.
        safe: Whether only formats that cannot run code are read and written.
        locks: The same store, if its processes can agree on who computes a key.
        flights: What is being computed here, by key.
        warned: What has been warned of already.
    """

    def __init__(self, store: CacheStore) -> None:
        self.store = store
        self.blocking = bool(store.blocking)
        self.locks = store if isinstance(store, LocksKeys) else None
        place = getattr(store, "path", None)  # of a directory; its other store objects here are the same to us
        self.flights: dict[bytes, Flight] = {} if place is None else _by_directory.setdefault(str(place), {})
        self.warned: set[str] = set()
        signing_key: bytes | None = getattr(store, "signing_key", None)
        self.safe: bool = getattr(store, "safe", False)
        self._look_again: Callable[[bytes], Buffer | None] = getattr(store, "look_again", store.get)
        self._believed = store.trusted or signing_key is not None or self.safe
        self._envelopes = Envelopes(
            signing_key=signing_key,
            safe=self.safe,
            verify=getattr(store, "verify", False),
            namespace=getattr(store, "namespace", ""),
        )
        # Only a store that tells when another process has changed something can have values kept in front of it.
        self._ask_generation: Callable[[], bytes] = getattr(store, "generation", bytes)
        self._change_generation: Callable[[], object] = getattr(store, "change_generation", bytes)
        # As read last, by whatever thread: what is taken from the store or put there after that may be held under it.
        self._seen = b""
        self._tier: MemoryTier | None = getattr(store, "memory", None) if hasattr(store, "generation") else None
        if self._tier is not None:
            self._tier.decode = self._decode
        _clients.add(self)

    def __reduce__(self) -> Any:
        return _nothing, ()  # another process makes a client of its own

    def recall(self, key: bytes, now: float) -> Any:
        """The value from memory, or MISSING. Never waits."""
        tier = self._tier
        if tier is None:
            return MISSING
        try:  # what `_generation` does: a hit is worth more than these lines
            generation = self._ask_generation()
        except Exception:
            generation = b""
        self._seen = generation
        return tier.get(key + generation, now) if generation else MISSING  # without, nobody knows what is out of date

    def _generation(self) -> bytes:
        try:
            return self._ask_generation()
        except Exception:  # it is not known
            return b""

    def fetch(self, key: bytes, now: float, get: Callable[[bytes], Buffer | None] | None = None) -> Any:
        """The value from the store, or MISSING.

        Raises:
            CacheError: There is something, but it cannot be read or believed.
        """
        generation = self._seen
        data = self.store.get(key) if get is None else get(key)
        if data is None:
            return MISSING
        self._check_trust()
        found = self._envelopes.unpack(key, data, now=now)
        if found is None:
            return MISSING
        if found.codec == STREAM:
            raise CorruptEntryError("the entry holds the items of a stream, and this is a value")
        tier = self._tier
        if generation and tier is not None and len(data) <= tier.max_bytes // 8:
            tier.put(key + generation, found.value, lambda: bytes(data), found.expires)
        return found.value

    def holds(self, key: bytes, now: float) -> bool:
        """Whether there is something that could be used.

        Raises:
            CacheError: As for `fetch`.
        """
        data = self.store.get(key)
        return data is not None and self.is_usable(key, data, now)

    def is_usable(self, key: bytes, data: Buffer, now: float) -> bool:
        """Whether what the store has given for `key` has not expired.

        Raises:
            CacheError: It is not to be used at all.
        """
        self._check_trust()
        return self._envelopes.unpack(key, data, now=now) is not None

    def peek(self, data: Buffer) -> Header:
        """What stands around the value of an entry, which is not looked at.

        Raises:
            CacheError: It is no entry.
        """
        return self._envelopes.peek(data)

    def fetch_frames(self, key: bytes, now: float) -> Buffer | None:
        """The recorded items of a stream, for `iter_frames`, or None.

        Raises:
            CacheError: As for `fetch`.
        """
        data = self.store.get(key)
        if data is None:
            return None
        self._check_trust()
        found = self._envelopes.unpack(key, data, now=now)
        if found is None:
            return None
        if found.codec != STREAM:
            raise CorruptEntryError("the entry holds a value, and this is a stream")
        return found.value  # type: ignore[no-any-return]  # a view of frames

    def pack(self, key: bytes, value: Any, *, expires: float | None, meta: bytes) -> list[Buffer]:
        """The bytes to store for `value`.

        Raises:
            Exception: Whatever its pickling raises.
        """
        return self._envelopes.pack(key, value, expires=expires, meta=meta)

    def pack_frames(self, key: bytes, frames: Sequence[Buffer], *, expires: float | None, meta: bytes) -> list[Buffer]:
        """The bytes to store for the recorded items of a stream."""
        return self._envelopes.pack_frames(key, frames, expires=expires, meta=meta)

    def publish(
        self, key: bytes, parts: list[Buffer], value: Any, *, expires: float | None, tag: str, anew: bool = False
    ) -> None:
        """Store what `pack` made of `value`; of a stream, whose items are not kept in memory, MISSING.

        Args:
            key: The key of the call.
            parts: What `pack` or `pack_frames` made.
            value: The value, or MISSING.
            expires: When it ends, in Unix seconds, or None.
            tag: The qualified name of the function.
            anew: Whether nobody has looked for an older one. It may be in the memory of others, and nowhere else.

        Raises:
            Exception: Whatever the store raises.
        """
        generation = self._seen
        self.store.put(key, parts, expires=expires, tag=tag)
        if anew:
            self._change_generation()
        if self._tier is None or value is MISSING or size_of(parts) > self._tier.max_bytes // 8:
            return
        if generation and self._generation() == generation:  # or something was replaced, perhaps this
            self._tier.put(key + generation, value, lambda: b"".join(parts), expires)

    def unpack(self, key: bytes, data: Buffer, now: float) -> Any:
        """The value that was packed here a moment ago, as a copy of one's own."""
        found = self._envelopes.unpack(key, data, now=now)
        return MISSING if found is None else found.value

    def claim(self, key: bytes, now: float) -> Claim:
        """Try to be the one process that computes `key`, and look again whether it is there by now.

        Raises:
            Exception: Whatever the store raises when it locks.
        """
        lock = None if self.locks is None else self.locks.try_lock(key)
        granted = lock is not None or self.locks is None
        value: Any = MISSING
        error: Exception | None = None
        try:
            value = self.fetch(key, now, self._look_again)
        except Exception as problem:
            error = problem
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        if value is not MISSING and lock is not None:  # there is nothing to compute
            lock.release()
            lock = None
        return Claim(granted, lock, value, error)

    def discard(self, key: bytes) -> bool:
        """Forget the value of `key`; whether there was one."""
        if self._tier is not None:
            self._tier.discard(key + self._generation())
        return self.store.delete(key)

    def _decode(self, key: bytes, data: bytes) -> Any:
        found = self._envelopes.unpack(key[:20], data, now=0.0)
        return MISSING if found is None else found.value

    def _check_trust(self) -> None:
        if not self._believed:
            raise UntrustedEntryError(
                f"{self.store!r} may be written by others, so nothing of it is unpickled; give it a signing_key"
            )


_by_directory: Final[dict[str, dict[bytes, Flight]]] = {}
_clients: weakref.WeakSet[CacheClient] = weakref.WeakSet()
_making = threading.RLock()
_by_place: Final[dict[tuple[str, str | None], CacheClient]] = {}
_by_store: Final[dict[Any, CacheClient]] = {}
"""Those of stores without a ``__dict__``, which stay for ever. Others have theirs in it: it goes when they go."""


def client_of(spec: str | CacheStore, signing_key: str | None) -> CacheClient:
    """The one client that this process has for a store.

    Args:
        spec: An absolute path, a URL or a store.
        signing_key: For stores that are given by URL.

    Raises:
        MissingExtraError, OptionValueError: The store that a URL stands for cannot be opened.
    """
    if isinstance(spec, str):
        place = (spec, signing_key)
        known = _by_place.get(place)
        if known is None:
            made = CacheClient(open_store(spec, signing_key))
            known = _by_place.setdefault(place, made)  # another thread may have been faster
            if known is made:
                atexit.register(made.store.close)
        return known
    clients: dict[Any, Any] = getattr(spec, "__dict__", _by_store)
    name = id(spec) if clients is _by_store else "_eagerly_client"
    client: CacheClient | None = clients.get(name)
    if client is None or client.store is not spec:
        with _making:
            client = clients.get(name)
            if client is None or client.store is not spec:  # that of what this is a copy of
                client = clients[name] = CacheClient(spec)
    return client


def _nothing() -> None:
    """What a client is in another process."""


def _after_fork() -> None:
    """Nobody in a forked child computes what was being computed in its parent."""
    global _making
    _making = threading.RLock()
    for client in _clients:
        client.flights.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
