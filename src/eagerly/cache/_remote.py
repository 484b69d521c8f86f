"""`RemoteStore`: entries as objects of any file system that fsspec knows. How they are written is told in `_objects`.

Below the root, ``v1/ab/abcd...`` is an entry, named by its key in hex, with a head in front; ``v1-locks/abcd...`` is
the lock of a key, and ``v1-waits/abcd.../...`` are marks of those that wait for it. Nothing else is written or removed.
"""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from eagerly.cache._head import PREVIEW, make_head
from eagerly.cache._leases import Lease
from eagerly.cache._objects import TEMPORARY, Objects, open_root
from eagerly.cache._outside import OutsideStore
from eagerly.cache._protocol import Buffer, CacheStats, StoredEntry

__all__ = ["RemoteStore"]

_ENTRY: Final = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]*)")
_ABANDONED: Final = 3600.0
"""Seconds after which what a killed process left behind is cleared away: temporary files, locks, marks."""


class RemoteStore(OutsideStore):
    """A `CacheStore` of objects on S3, Google Cloud Storage, Azure, a shared directory or whatever else fsspec knows.

    Needs ``pip install 'eagerly[s3]'`` for ``s3://``; else ``pip install 'eagerly[fsspec]'`` and the package of the
    file system.

    Whoever can write there could plant an entry, so it takes a `signing_key` or ``safe=True``. While the service is
    down, calls raise `CacheError` at once, except one a second, which looks whether it is back.

    A process that computes a key holds a lock: an object that only one process can create, renewed three times every
    `lease` seconds. If it is killed, the next one proceeds once the object is older than `lease` seconds, so the clocks
    of machines and service should agree within that time. Where a file system cannot create exclusively (other than
    local ones, memory, S3, Google Cloud Storage and Azure), everybody is granted the lock, and a key may be computed
    twice.

    Entries that have expired stay until they are replaced, or `clear` or the service removes them: give the bucket a
    lifecycle rule.

    Args:
        url: An fsspec URL (``s3://bucket/prefix``, ``gs://...``, ``file:///shared``), a path, or an fsspec file system.
        root: The directory in a file system that is given as such.
        signing_key: Secret bytes that all who share the entries know, 32 random ones for example.
        safe: Use only formats that cannot run code, so that no key is needed.
        namespace: Part of each signature; an entry of another namespace is refused. By default bucket and prefix, or
            the path. Machines that reach one place by different paths give it one name.
        storage_options: For fsspec: credentials, endpoint. S3 is given shorter timeouts than its own if there are no
            ``config_kwargs``.
        lease: Seconds for which a lock outlives a process that is killed.

    Raises:
        MissingExtraError: fsspec or the package of the file system is not installed.
        OptionTypeError, OptionValueError: There is no such file system, or there is neither a key nor ``safe=True``.

    Example:
        >>> store = RemoteStore("s3://bucket/cache", signing_key=secret)  # doctest: +SKIP
        >>> with session(cache_store=store):  # doctest: +SKIP
        ...     report("2024-05")
    """

    def __init__(
        self,
        url: Any,
        root: str | None = None,
        *,
        signing_key: bytes | None = None,
        safe: bool = False,
        namespace: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
        lease: float = 10.0,
    ) -> None:
        self._root = open_root(url, root, storage_options or {})
        super().__init__(self._root.place, signing_key, safe, namespace or f"remote:{self._root.place}", lease)

    def get(self, key: bytes, /) -> Buffer | None:
        """The bytes stored under `key`, or None if there are none or they have expired."""
        with self._asking("read"):
            data = self._objects().read(_entry(key))
        if data is None:
            self._misses += 1
            return None
        return self._unwrap(data)

    def put(self, key: bytes, parts: Sequence[Buffer], /, *, expires: float | None = None, tag: str = "") -> None:
        """Store the concatenation of `parts` under `key`."""
        head = make_head(tag, time.time(), expires)
        with self._asking("write"):
            self._objects().write(_entry(key), (head, *parts))

    def delete(self, key: bytes, /) -> bool:
        """Remove the entry; whether there was one."""
        with self._asking("delete"):
            return self._objects().remove(_entry(key))

    def clear(self) -> int:
        """Remove every entry, and nothing else but what killed processes have left; how many entries there were."""
        with self._asking("clear"):
            objects = self._objects()
            entries = [name for name, _ in self._found(objects)]
            objects.remove_all(f"v1/{name}" for name in entries)
            objects.remove_older("v1", _ABANDONED, TEMPORARY)
            for directory in ("v1-locks", "v1-waits"):
                objects.remove_older(directory, _ABANDONED)
        return len(entries)

    def stats(self) -> CacheStats:
        """What the store has seen in this process, and what all processes have stored, expired entries included."""
        with self._asking("count"):
            sizes = [size for _, size in self._found(self._objects())]
        return CacheStats(self._hits, self._misses, self._errors, sum(sizes), len(sizes))

    def close(self) -> None:
        """Let go of the connections. The next use opens new ones."""
        self._opened = None

    def entries(self, tag: str | None = None) -> Iterator[StoredEntry]:
        """The entries, newest first; only those with `tag` if it is given. Reads the beginning of every object."""
        with self._asking("list"):
            objects = self._objects()
            found = list(self._found(objects))
            beginnings = objects.read_beginnings([f"v1/{name}" for name, _ in found], PREVIEW)
        keys = [bytes.fromhex(name.rpartition("/")[2]) for name, _ in found]
        return self._listed(zip(keys, beginnings, [size for _, size in found], strict=True), tag)

    def try_lock(self, key: bytes, /) -> Lease | None:
        """Lock `key` against other processes; None if another one has it. Never waits for it."""
        name, token = f"v1-locks/{key.hex()}", secrets.token_hex(16).encode()
        with self._asking("lock"):
            objects = self._objects()
            if objects.exclusive and not objects.claim(name, token, self._lease):
                return None

        def renew() -> bool:
            with self._asking("renew a lock"):
                objects = self._objects()
                if not objects.exclusive:
                    return True
                if objects.read(name) != token:
                    return False
                objects.write(name, (token,))
                return True

        def end() -> None:
            with self._asking("release a lock"):
                objects = self._objects()
                if objects.exclusive and objects.read(name) == token:
                    objects.drop(name)

        return self._leases.hold(renew, end)

    def mark_waiting(self, key: bytes, /) -> Lease:
        """Note that this process waits for `key` while it holds a lock itself; returns what `unmark_waiting` takes."""
        name = f"v1-waits/{key.hex()}/{self._owner()}-{next(_marks)}"

        def note() -> bool:
            with self._asking("mark"):
                self._objects().write(name, (b"waiting",))
            return True

        def forget() -> None:
            with self._asking("unmark"):
                self._objects().drop(name)

        note()
        return self._leases.hold(note, forget)

    def is_waited_for(self, key: bytes, /) -> bool:
        """Whether another process has marked that it waits for `key`."""
        with self._asking("ask"):
            objects = self._objects()
            return any(
                not mark.name.startswith(f"{self._owner()}-") and objects.age(mark.path) <= self._lease
                for mark in objects.list(f"v1-waits/{key.hex()}")
            )

    def _found(self, objects: Objects) -> Iterator[tuple[str, int]]:
        """The names below ``v1`` that are those of entries, and their sizes."""
        for each in objects.list("v1"):
            if _ENTRY.fullmatch(each.name):
                yield each.name, each.size

    def _objects(self) -> Objects:
        objects: Objects = self._connection()
        return objects

    def _connect(self) -> Objects:
        return self._root.open()

    def _is_outage(self, error: Exception) -> bool:
        return not self._root.local and any(_UNREACHABLE.search(cls.__name__) for cls in type(error).__mro__)


_UNREACHABLE: Final = re.compile("Connect|Timeout|gaierror|ServiceRequest")
"""In the names of the errors that say so. Each file system has its own, and most of its packages are not installed."""

_marks = itertools.count(1)


def _entry(key: bytes) -> str:
    name = key.hex()
    return f"v1/{name[:2]}/{name}"
