"""What is kept in this process: `MemoryTier`, values in front of a slower store, and `MemoryStore`, a store by itself.

Nothing here waits for a lock. The garbage collector may run a hook, and so a task, at any allocation; that task would
wait for its own thread. Each step on the dictionary is atomic instead. Only the count of bytes can drift, when a thread
is interrupted between two steps, and a recount corrects it.
"""

from __future__ import annotations

import enum
import gc
import math
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any, Final, TypeAlias

from eagerly._numbers import count
from eagerly.cache._immutable import is_immutable
from eagerly.cache._payload import size_of
from eagerly.cache._protocol import MISSING, Buffer, CacheStats, StoredEntry
from eagerly.errors import CacheError, OptionValueError

__all__ = ["MISSING", "MemoryStore", "MemoryTier"]


OVERHEAD: Final = 320
"""Bytes that one entry takes besides its value: the places in the dictionary, the key and the entry itself."""

_RECOUNT_AFTER: Final = 256
_FLAT: Final = frozenset({bool, bytes, complex, float, int, str, type(None)})

Entry: TypeAlias = "tuple[Any, int, float, Any]"
"""What is held, the bytes it takes, when it ends (Unix seconds, or infinity), and what else its owner notes."""

_bytes_of = itemgetter(1)


class _Bounded:
    """Entries by key. Those that were not used for the longest time go when there are too many or they are too big."""

    def __init__(self, what: str, max_bytes: int, max_items: int) -> None:
        for name, value in (("max_bytes", max_bytes), ("max_items", max_items)):
            if count(f"{what}({name}=...)", value) == 0:
                raise OptionValueError(f"{what}({name}=...) must be 1 or more, not 0: nothing would ever be held")
        self.max_bytes = max_bytes
        self.max_items = max_items
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self.bytes = 0
        self._until_recount = _RECOUNT_AFTER

    def __len__(self) -> int:
        return len(self._entries)

    def _hold(self, key: bytes, entry: Entry) -> None:
        # Each entry gets in once and is taken out once, so the bytes of each are added and subtracted once.
        while self._entries.setdefault(key, entry) is not entry:
            self._drop(key)
        self.bytes += entry[1]
        self._until_recount -= 1
        if self._until_recount <= 0:
            self._recount()
        while self.bytes > self.max_bytes or len(self._entries) > self.max_items:
            try:
                _, oldest = self._entries.popitem(last=False)
            except KeyError:  # nothing is left, so nothing takes any bytes
                self._recount()
                return
            self.bytes -= oldest[1]

    def _drop(self, key: bytes) -> bool:
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        self.bytes -= entry[1]
        return True

    def _empty(self) -> int:
        found = len(self._entries)
        self._entries.clear()
        self._recount()
        return found

    def _recount(self) -> None:
        self._until_recount = max(_RECOUNT_AFTER, len(self._entries))
        # The list is made in one step. An iterator that is made in one step and used in the next would fail if another
        # thread got in between.
        self.bytes = sum(map(_bytes_of, list(self._entries.values())))


class MemoryTier(_Bounded):
    """Values in front of a store that is slower. Immutable ones are held as they are, the others as encoded bytes,
    of which each hit decodes a value of its own: no caller can change what the next one gets.

    A value that would take more than an eighth of `max_bytes` is not held. Ready for use after a fork.

    Args:
        max_bytes: What the values may take in all, with what they contain and what holding them costs.
        max_items: How many there may be.
        decode: Makes a value of a key and of what ``encoded()`` returned for it; MISSING if there is none. Without
            it, only immutable values are held.

    Attributes:
        hits: How often `get` found a value.
        bytes: How many bytes the values take.
        decode: As given.
    """

    def __init__(self, max_bytes: int, max_items: int, decode: Callable[[bytes, bytes], Any] | None = None) -> None:
        super().__init__("MemoryTier", max_bytes, max_items)
        self.decode = decode
        self.hits = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return MemoryTier, (self.max_bytes, self.max_items)

    def __repr__(self) -> str:
        return f"<MemoryTier with {self.items} items, {self.bytes} of {self.max_bytes} bytes>"

    @property
    def items(self) -> int:
        """How many values are held."""
        return len(self._entries)

    def get(self, key: bytes, now: float) -> Any:
        """The value held under `key`, or MISSING.

        Args:
            key: As given to `put`.
            now: Unix time in seconds.
        """
        entry = self._entries.get(key)
        if entry is None:
            return MISSING
        value, _, end, encoded = entry
        if end <= now:
            self._drop(key)
            return MISSING
        try:  # noqa: SIM105 - contextlib.suppress() costs more than all else here
            self._entries.move_to_end(key)
        except KeyError:  # another thread has just dropped it
            pass
        if encoded:
            value = self._decoded(key, value)
            if value is MISSING:
                return MISSING
        self.hits += 1
        return value

    def put(self, key: bytes, value: Any, encoded: Callable[[], Buffer], expires: float | None = None) -> None:
        """Hold `value`, if it is not too large, instead of what was held under `key`.

        Args:
            key: Any bytes.
            value: Any value.
            encoded: Called if `value` is mutable: the bytes from which `decode` can make an equal one.
            expires: Unix time in seconds after which `get` does not return it any more; None: never.
        """
        limit = self.max_bytes // 8
        immutable = is_immutable(value)
        if immutable:
            size: float = _footprint(value, limit)
        elif self.decode is None:
            size = math.inf
        else:
            value = encoded()
            size = size_of((value,))
        size += OVERHEAD
        if size > limit:
            self._drop(key)  # it is out of date
            return
        if not immutable and type(value) is not bytes:
            value = bytes(value)
        self._hold(key, (value, int(size), math.inf if expires is None else expires, not immutable))

    def discard(self, key: bytes) -> None:
        """Forget what is held under `key`, if anything is."""
        self._drop(key)

    def clear(self) -> None:
        """Forget everything."""
        self._empty()

    def _decoded(self, key: bytes, data: bytes) -> Any:
        if self.decode is not None:
            try:
                value = self.decode(key, data)
            except Exception:  # the store has the same bytes; reading it will say what is wrong with them
                value = MISSING
            if value is not MISSING:
                return value
        self._drop(key)
        return MISSING


class MemoryStore(_Bounded):
    """A `CacheStore` in this process alone: gone when it ends, seen by no other. The fastest there is, and good for
    tests.

    A pickled store arrives empty: it is another process that unpickles it.

    Args:
        max_bytes: What the entries may take in all. Those that were not used for the longest time go first.
        max_items: How many there may be.

    Raises:
        OptionTypeError, OptionValueError: A bound is not a whole number of 1 or more.

    Example:
        >>> from eagerly.cache import MemoryStore
        >>> store = MemoryStore(max_bytes=64 * 2**20)
        >>> store.put(b"k" * 20, [b"some ", b"bytes"])
        >>> store.get(b"k" * 20)
        b'some bytes'
    """

    blocking = False
    trusted = True

    def __init__(self, *, max_bytes: int = 256 * 2**20, max_items: int = 100_000) -> None:
        super().__init__("MemoryStore", max_bytes, max_items)
        self._hits = self._misses = self._errors = 0
        self._locked: dict[bytes, _MemoryLock] = {}
        self._pid = os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        return _new_store, (self.max_bytes, self.max_items)

    def __repr__(self) -> str:
        return f"MemoryStore(max_bytes={self.max_bytes}, max_items={self.max_items})"

    def get(self, key: bytes, /) -> Buffer | None:
        """The bytes stored under `key`, or None if there are none or they have expired."""
        entry = self._entries.get(key)
        if entry is not None and entry[2] <= time.time():
            self._drop(key)
            entry = None
        if entry is None:
            self._misses += 1
            return None
        try:  # noqa: SIM105 - contextlib.suppress() costs more than all else here
            self._entries.move_to_end(key)
        except KeyError:  # another thread has just dropped it
            pass
        self._hits += 1
        data: bytes = entry[0]
        return data

    def look_again(self, key: bytes, /) -> Buffer | None:
        """As `get`, by who has just been told that there is nothing: a second miss is none."""
        found = self.get(key)
        if found is None:
            self._misses -= 1
        return found

    def put(self, key: bytes, parts: Sequence[Buffer], /, *, expires: float | None = None, tag: str = "") -> None:
        """Store the concatenation of `parts` under `key`.

        Raises:
            CacheError: It is larger than the store may become.
        """
        size = size_of(parts) + OVERHEAD
        if size > self.max_bytes:
            self._drop(key)  # it is out of date
            self._errors += 1
            raise CacheError(f"{size} bytes do not fit into {self!r}; give it a larger max_bytes")
        self._hold(key, (b"".join(parts), size, math.inf if expires is None else expires, (tag, time.time())))

    def delete(self, key: bytes, /) -> bool:
        """Remove the entry; whether there was one."""
        return self._drop(key)

    def clear(self) -> int:
        """Remove every entry; how many there were."""
        return self._empty()

    def stats(self) -> CacheStats:
        """What the store has seen and holds."""
        return CacheStats(self._hits, self._misses, self._errors, self.bytes, len(self._entries))

    def close(self) -> None:
        """Nothing is to be let go of: the entries stay until the store itself goes."""

    def entries(self, tag: str | None = None) -> Iterator[StoredEntry]:
        """The entries, newest first; only those with `tag` if it is given."""
        now = time.time()
        found: list[StoredEntry] = []
        for key in list(self._entries):
            entry = self._entries.get(key)
            if entry is None or entry[2] <= now:
                continue
            data, _, end, (its_tag, stored_at) = entry
            if tag is None or tag == its_tag:
                found.append(StoredEntry(key, its_tag, len(data), stored_at, None if end == math.inf else end))
        found.sort(key=lambda entry: entry.stored_at, reverse=True)
        return iter(found)

    def try_lock(self, key: bytes, /) -> _MemoryLock | None:
        """Lock `key`; None if it is locked. Unlike those of other stores, this lock keeps threads apart as well."""
        if self._pid != os.getpid():  # whoever held a lock before the fork is not in this process
            self._locked, self._pid = {}, os.getpid()
        lock = _MemoryLock(self._locked, key)
        return lock if self._locked.setdefault(key, lock) is lock else None

    def mark_waiting(self, key: bytes, /) -> None:
        """Nothing to note: no other process uses this store."""

    def unmark_waiting(self, mark: None, /) -> None:
        """Nothing was noted."""

    def is_waited_for(self, key: bytes, /) -> bool:  # noqa: ARG002 - the protocol has it
        """No: no other process uses this store."""
        return False


class _MemoryLock:
    """A key of a `MemoryStore`, locked."""

    __slots__ = ("_key", "_locked")

    def __init__(self, locked: dict[bytes, _MemoryLock], key: bytes) -> None:
        self._locked = locked
        self._key = key

    def release(self) -> None:
        if self._locked.get(self._key) is self:
            self._locked.pop(self._key, None)


def _new_store(max_bytes: int, max_items: int) -> MemoryStore:
    return MemoryStore(max_bytes=max_bytes, max_items=max_items)


def _footprint(value: object, limit: int) -> int:
    """The bytes that an immutable value takes with all it contains; counting stops above `limit`."""
    total = 0
    seen: set[int] = set()
    pending = [value]
    while pending and total <= limit:
        each = pending.pop()
        cls = type(each)
        if cls in _FLAT:
            total += sys.getsizeof(each)
        elif id(each) not in seen and not isinstance(each, type | enum.Enum):  # members and classes exist anyway
            seen.add(id(each))
            total += sys.getsizeof(each)
            pending.extend(gc.get_referents(each))
    return total
