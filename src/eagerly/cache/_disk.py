"""The default store: small entries in an index, large ones in files, for all processes of one user on one machine.

What is on the disk decides nothing but which bytes belong to which key. Whether anybody else can have put them there
is asked before they are returned; no lock is taken for a hit, and nothing is written.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from eagerly._numbers import count, seconds
from eagerly._warnings import warn
from eagerly.cache._directory import Directory
from eagerly.cache._disk_options import checked_directory
from eagerly.cache._envelope import check_signing_key
from eagerly.cache._files import ValueFiles, name_of
from eagerly.cache._index import GET, TROUBLE, Index, is_corrupt
from eagerly.cache._locks import HeldLock, NoLock, WaitingMark, offset_of
from eagerly.cache._memory import MemoryTier
from eagerly.cache._payload import size_of
from eagerly.cache._pool import Pool
from eagerly.cache._protocol import Buffer, CacheStats, StoredEntry
from eagerly.cache._upkeep import clear, remove_unclaimed, sweep
from eagerly.errors import CacheError, CorruptEntryError

__all__ = ["DiskStore"]

MAX_IN_MEMORY = 100_000  # results, however small

_T = TypeVar("_T")

_SMALL = 32 * 1024  # bytes; what is larger gets a file
_TOUCHED = 16384  # hits to remember before they are written
_TOUCH_INTERVAL = 60.0  # seconds for which they may stay unwritten


class DiskStore:
    """Keeps results in a directory, which is created at the first write.

    Small entries are in an SQLite database, large ones in files that are mapped into memory. Any number of threads and
    processes of one user may use one directory. When `size_limit` is reached, the least recently used entries go.

    Args:
        path: The directory. A leading ``~`` is the home directory; a relative path is taken from here and now.
        size_limit: How many bytes the entries may take.
        signing_key: Sign entries, and return those of other users too, as the signature is what counts. Without it,
            only what nobody else can have written is returned.
        safe: Use only formats that cannot run code.
        namespace: What keeps signatures of different stores apart; the path, unless given.
        verify: Compare the checksums of large entries too.
        timeout: Seconds to wait for another process that writes.
        memory_limit: How many bytes of results tasks may keep in the memory of each process, in front of the directory.
            0: none.

    Attributes:
        memory: The memory tier that tasks use, or None. `get` and `put` know nothing of it.

    Raises:
        OptionTypeError, OptionValueError: An argument cannot work.

    Example:
        >>> store = DiskStore("~/.cache/reports", size_limit=10 * 2**30)
    """

    blocking = True
    trusted = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        size_limit: int = 2**30,
        signing_key: bytes | None = None,
        safe: bool = False,
        namespace: str | None = None,
        verify: bool = False,
        timeout: float = 5.0,
        memory_limit: int = 2**26,
    ) -> None:
        self.path = checked_directory(path, safe=safe, verify=verify, namespace=namespace)
        self.size_limit = count("DiskStore(size_limit=...)", size_limit, alternative="a number of bytes")
        check_signing_key("DiskStore(signing_key=...)", signing_key)
        self.signing_key = signing_key
        self.safe = safe
        self.namespace = self.path if namespace is None else namespace
        self.verify = verify
        self.timeout = seconds("DiskStore(timeout=...)", timeout)
        self.memory_limit = count("DiskStore(memory_limit=...)", memory_limit, alternative="a number of bytes")
        self.memory = MemoryTier(memory_limit, MAX_IN_MEMORY) if memory_limit else None
        self._signed = signing_key is not None
        self._pool = Pool(self.path, timeout)
        self._directory = Directory(self.path, timeout, self._pool.lock, signed=self._signed)
        self._files = ValueFiles(self.path, signed=self._signed)
        self._index = Index(self.path, timeout, size_limit)
        self._swept = False
        self._hits = self._misses = self._errors = 0
        self._next_touch = time.time() + _TOUCH_INTERVAL

    def __repr__(self) -> str:
        signed = ", signing_key=..." if self._signed else ""
        return f"{type(self).__name__}({self.path!r}{signed})"

    def __reduce__(self) -> tuple[Callable[[dict[str, Any]], DiskStore], tuple[dict[str, Any]]]:
        names = ("path", "size_limit", "signing_key", "safe", "namespace", "verify", "timeout", "memory_limit")
        return _rebuild, ({name: getattr(self, name) for name in names},)

    def get(self, key: bytes, /) -> Buffer | None:
        """The bytes stored under `key`, or None if there are none or they have expired.

        Raises:
            UntrustedEntryError: Somebody else can have written them.
            CacheError: They cannot be read.
        """
        try:
            value = self._find(key)
        except TROUBLE as error:
            self._errors += 1
            self._recover(error, "read")
            return None
        except CacheError:
            self._errors += 1
            raise
        # Counters: no other thread runs between the reading and the writing of an attribute.
        if value is None:
            self._misses += 1
        else:
            self._hits += 1
        return value

    def look_again(self, key: bytes, /) -> Buffer | None:
        """As `get`, by who has just been told that there is nothing: a second miss is none."""
        found = self.get(key)
        if found is None:
            self._misses -= 1
        return found

    def put(self, key: bytes, parts: Sequence[Buffer], /, *, expires: float | None = None, tag: str = "") -> None:
        """Store the concatenation of `parts` under `key`, at once or not at all.

        Raises:
            CacheError: It cannot be stored: the disk is full, the entry is larger than the store, another process
                writes for longer than `timeout`, or the directory cannot be written to.
        """
        size = size_of(parts)
        if size > self.size_limit:
            raise CacheError(
                f"an entry of {size} bytes does not fit into {self!r}, whose size_limit is {self.size_limit} bytes;"
                f" raise the limit, or do not cache {tag or 'this'}"
            )
        if size <= _SMALL:
            value = (size, None, b"".join(parts))
            if self._add(key, value[2], size, expires, tag):
                return
            replaced = self._write(lambda index: index.save(key, value, expires, tag))
        else:
            replaced = self._write(lambda index: self._put_file(index, key, parts, size, expires, tag))
        if replaced:
            self._directory.change_generation()

    def delete(self, key: bytes, /) -> bool:
        """Remove the entry; whether there was one."""
        if not self._exists():
            return False
        found = self._write(lambda index: index.delete(key))
        self._directory.change_generation()  # also if there was none: it may be in somebody's memory
        return found

    def clear(self) -> int:
        """Remove every entry, and nothing else; how many there were. Works on a full disk too."""
        if not self._exists():
            return 0
        self._index.touched.clear()
        if self.memory is not None:
            self.memory.clear()
        cleared = self._write(lambda index: clear(index, self._files, self._directory))
        if not self._directory.is_current():
            self._pool.close_everywhere()
        self._directory.remove_set_aside()
        self._files.remove_empty_shards()
        self._directory.change_generation()
        return cleared

    def stats(self) -> CacheStats:
        """Hits, misses and errors of this object; bytes and entries of all processes."""
        rows = self._read("SELECT COUNT(*), CAST(TOTAL(size) AS INTEGER) FROM Cache")
        entries, size = rows[0] if rows else (0, 0)
        in_memory = 0 if self.memory is None else self.memory.hits
        return CacheStats(self._hits + in_memory, self._misses, self._errors, size, entries)

    def entries(self, tag: str | None = None) -> Iterator[StoredEntry]:
        """The entries, newest first; only those with `tag` if it is given. Expired ones stay until they make room."""
        rows = self._read(
            "SELECT key, tag, size, store_time, expire_time FROM Cache WHERE (:tag IS NULL OR tag = :tag)"
            " ORDER BY store_time DESC, rowid DESC",
            {"tag": tag},
        )
        for row in rows:
            key, name, size, stored_at, _ = row
            # Of what others planted, nothing of another type gets out.
            types = isinstance(key, bytes), isinstance(name, str), isinstance(size, int), isinstance(stored_at, float)
            if all(types) and isinstance(row[4], float | None):
                yield StoredEntry(*row)

    def close(self) -> None:
        """Let go of connections. The store may be used again, which opens them anew."""
        with contextlib.suppress(CacheError):  # when what was used last cannot be noted, nothing is lost
            if self._index.touched and self._exists():
                self._flush_touched(time.time())
        self._pool.close()
        self._directory.forget()

    def try_lock(self, key: bytes, /) -> HeldLock | NoLock | None:
        """Lock `key` against other processes; None if another one has it. Never waits.

        Where processes cannot agree (no POSIX locks, a directory without write access), the lock keeps nobody out.
        """
        file = self._directory.locks()
        return NoLock() if file is None else file.try_lock(offset_of(key))

    def mark_waiting(self, key: bytes, /) -> WaitingMark | None:
        """Note that this process waits for `key` while it holds a lock itself."""
        file = self._directory.locks()
        return None if file is None else file.mark(offset_of(key))

    def unmark_waiting(self, mark: WaitingMark | None, /) -> None:
        """Take that back."""
        if mark is not None:
            mark.remove()

    def is_waited_for(self, key: bytes, /) -> bool:
        """Whether another process has marked that it waits for `key`."""
        file = self._directory.locks()
        return file is not None and file.is_marked(offset_of(key))

    def generation(self) -> bytes:
        """Eight bytes, others once any process has replaced, removed or refreshed an entry; ``b""`` if unknown."""
        return self._directory.generation.read()

    def change_generation(self) -> None:
        """Make it another one: for who knows of something newer than what others may have in memory."""
        self._directory.change_generation()

    def _find(self, key: bytes) -> Buffer | None:
        if not self._directory.is_current() and not self._attach():
            return None
        # Not `lent`: that takes as long as the query. A connection that is lost closes itself.
        connection = self._pool.take()
        row = connection.execute(GET, (key,)).fetchone()
        self._pool.give_back(connection)
        if row is None:
            return None
        value: Buffer | None
        value, expires = row
        now = time.time()
        if expires is not None and not (isinstance(expires, float) and expires > now):
            return None
        if value is None:
            value = self._files.read(key)
            if value is None:
                return None
        elif type(value) is not bytes:
            raise CorruptEntryError(f"an entry of {self!r} is a {type(value).__name__} instead of bytes")
        touched = self._index.touched
        touched[key] = now
        if now > self._next_touch or len(touched) > _TOUCHED:
            self._flush_touched(now)
        return value

    def _exists(self) -> bool:
        try:
            return self._directory.is_current() or self._attach()
        except TROUBLE as error:
            self._recover(error, "read")
            return False

    def _attach(self) -> bool:
        """Look at the directory; whether there is an index."""
        found, changed = self._directory.look()
        if changed:
            self._pool.reset(writable=self._directory.is_writable)
        return found

    def _read(self, statement: str, arguments: dict[str, Any] | None = None) -> list[Any]:
        """The rows; none if there is no index, or one that is corrupt."""
        try:
            if not self._directory.is_current() and not self._attach():
                return []
            with self._pool.lent() as connection:
                return connection.execute(statement, arguments or {}).fetchall()
        except TROUBLE as error:
            self._errors += 1
            self._recover(error, "read")
            return []

    def _add(self, key: bytes, blob: bytes, size: int, expires: float | None, tag: str) -> bool:
        """Store a small entry in the short way, if nothing has to be made, replaced or removed for it."""
        directory = self._directory
        if not (self._swept and directory.generation.is_open and directory.is_current()):
            return False
        try:
            connection = self._pool.take()
            try:
                added = self._index.add(connection, key, blob, size, expires, tag)
            except BaseException:  # the error would keep it open
                connection.close()
                raise
            self._pool.give_back(connection)
        except TROUBLE as error:
            self._errors += 1
            self._recover(error, "written to")
            return False
        return added

    def _write(self, action: Callable[[Index], _T]) -> _T:
        """Run `action` on the index, which is made if need be, and once more if that turns out to be corrupt."""
        while True:
            try:
                attached = self._directory.is_current() or self._attach()
                if not attached or not self._directory.generation.is_there:
                    self._directory.create()
                    self._attach()
                if not self._swept:
                    self._swept = True
                    self._transact(lambda index: sweep(index, self._files))
                return self._transact(action)
            except TROUBLE as error:
                self._errors += 1
                self._recover(error, "written to")
            except CacheError:
                self._errors += 1
                raise

    def _transact(self, action: Callable[[Index], _T]) -> _T:
        connection, index = self._pool.take(), self._index
        before = index.bind(connection)
        try:
            result = action(index)
            if index.removed:
                remove_unclaimed(index, self._files, index.removed)
        except BaseException:
            connection.close()
            raise
        finally:
            index.unbind(before)
        self._pool.give_back(connection)
        return result

    def _put_file(
        self, index: Index, key: bytes, parts: Sequence[Buffer], size: int, expires: float | None, tag: str
    ) -> bool:
        name = name_of(key)
        directory_mode, mode = self._directory.modes
        with self._files.written(key, parts, directory_mode, mode) as written:
            try:
                with index.transact():
                    written.publish()
                    return index.save(key, (size, name, None), expires, tag)
            except BaseException:
                if written.published:
                    with contextlib.suppress(*TROUBLE):
                        remove_unclaimed(index, self._files, [name])
                raise

    def _flush_touched(self, now: float) -> None:
        """Write for other processes when entries were last used; if that fails, it is forgotten."""
        self._next_touch = now + _TOUCH_INTERVAL
        with contextlib.suppress(*TROUBLE, CacheError):
            self._transact(Index.write_touched)

    def _recover(self, error: Exception, done: str) -> None:
        """Set a corrupt index aside. Every other error becomes a `CacheError`."""
        self._directory.forget()
        if not is_corrupt(error):
            why = str(error)
            if "locked" in why:
                why = f"another process has been writing to it for more than {self.timeout:g} s"
            raise CacheError(f"{self!r} cannot be {done}: {why}") from error
        self._pool.reset(writable=True)
        try:
            name = self._directory.set_aside()
        except OSError as problem:
            raise CacheError(f"the index of {self!r} is corrupt ({error}) and cannot be moved: {problem}") from error
        self._swept = False
        if name is not None:
            warn(
                f"the index of {self!r} is corrupt ({error}). The store starts anew; the old index is {name!r} until"
                f" the store is cleared"
            )


def _rebuild(options: dict[str, Any]) -> DiskStore:
    return DiskStore(**options)
