"""What a cache store is: a mapping from bytes to bytes that forgets. What the bytes mean is not its business.

A store never sees a value, and never unpickles anything. Values become bytes in `_envelope`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

__all__ = ["MISSING", "Buffer", "CacheStats", "CacheStore", "KeyLock", "ListsEntries", "LocksKeys", "StoredEntry"]

Buffer: TypeAlias = "bytes | bytearray | memoryview"


class Missing(enum.Enum):
    """One member, so that type checkers can narrow ``x is MISSING``."""

    MISSING = "MISSING"


MISSING: Final = Missing.MISSING
"""What a lookup gives that has found nothing; a cached None is a value."""


class CacheStats(NamedTuple):
    """What a store has seen and holds.

    Attributes:
        hits: How often `get` found something, in this process.
        misses: How often it did not.
        errors: How often reading or writing failed.
        bytes: How many bytes the entries take, of all processes.
        entries: How many there are.
    """

    hits: int
    misses: int
    errors: int
    bytes: int
    entries: int


class StoredEntry(NamedTuple):
    """What a store knows of one entry without looking into it.

    Attributes:
        key: As given to `put`.
        tag: As given to `put`: the qualified name of the function.
        size: In bytes.
        stored_at: When, in Unix seconds.
        expires: When it ends, in Unix seconds, or None.
    """

    key: bytes
    tag: str
    size: int
    stored_at: float
    expires: float | None


@runtime_checkable
class CacheStore(Protocol):
    """A place for cached results: bytes by key. Synchronous; may be called from several threads at once.

    Any trouble is raised as an exception, which the task that is being called takes for a miss and reports.

    Attributes:
        blocking: Whether a call may wait for a disk or a network. Async tasks then call it from a helper thread.
        trusted: Whether nobody but this user can have written what `get` returns. What an untrusted store returns is
            only unpickled with a valid signature; `get` may also raise `UntrustedEntryError` for a single entry.
    """

    blocking: bool
    trusted: bool

    def get(self, key: bytes, /) -> Buffer | None:
        """The bytes stored under `key`, or None if there are none or they have expired."""
        ...

    def put(self, key: bytes, parts: Sequence[Buffer], /, *, expires: float | None = None, tag: str = "") -> None:
        """Store the concatenation of `parts` under `key`, at once or not at all.

        Args:
            key: 20 bytes.
            parts: Buffers in the order in which they are to be read back; large ones are not to be copied in vain.
            expires: Unix time in seconds after which `get` does not return it any more; None: never.
            tag: Groups entries for listing: the qualified name of the function.
        """
        ...

    def delete(self, key: bytes, /) -> bool:
        """Remove the entry; whether there was one."""
        ...

    def clear(self) -> int:
        """Remove every entry, and nothing else; how many there were."""
        ...

    def stats(self) -> CacheStats:
        """What the store has seen and holds."""
        ...

    def close(self) -> None:
        """Let go of files and connections. A closed store may be used again, which opens them anew."""
        ...


@runtime_checkable
class ListsEntries(Protocol):
    """A store that can tell what it holds."""

    def entries(self, tag: str | None = None) -> Iterator[StoredEntry]:
        """The entries, newest first; only those with `tag` if it is given. Expired ones may be among them."""
        ...


class KeyLock(Protocol):
    """A lock on one key, held by this process until it is released or the process ends."""

    def release(self) -> None:
        """Let others have the key. A second time does nothing, and neither does it in a forked child."""
        ...


@runtime_checkable
class LocksKeys(Protocol):
    """A store whose processes can agree on who computes a key.

    Where locks go away with the process that holds them, the next one proceeds at once when a holder is killed.
    """

    def try_lock(self, key: bytes, /) -> KeyLock | None:
        """Lock `key` against other processes; None if another one has it. Never waits.

        Two threads of one process are kept apart by the caller, which asks from one of them only.
        """
        ...

    def mark_waiting(self, key: bytes, /) -> Any:
        """Note that this process waits for `key` while it holds a lock itself; returns what `unmark_waiting` takes."""
        ...

    def unmark_waiting(self, mark: Any, /) -> None:
        """Take a mark back."""
        ...

    def is_waited_for(self, key: bytes, /) -> bool:
        """Whether another process has marked that it waits for `key`."""
        ...
