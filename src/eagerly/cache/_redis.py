"""`RedisStore`: entries on a Redis server, for several machines. Only this module talks to redis-py.

The keys of one store begin with its prefix. ``<prefix>:v1:<key in hex>`` holds a head and the entry,
``<prefix>:lock:<hex>`` the token of the process that computes it, ``<prefix>:wait:<hex>`` a sorted set of those that
wait for it. The server's clock decides when locks end. ``KEYS``, which stops the server, is never used.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, Final

from eagerly._lazy import demand_package
from eagerly._numbers import seconds
from eagerly._paths import masked
from eagerly.cache._head import PREVIEW, make_head
from eagerly.cache._leases import Lease
from eagerly.cache._outside import OutsideStore
from eagerly.cache._payload import size_of
from eagerly.cache._protocol import Buffer, CacheStats, StoredEntry
from eagerly.errors import CacheError, OptionTypeError, OptionValueError

__all__ = ["RedisStore"]

LARGEST: Final = 512 * 2**20
"""Bytes that one value can have on a Redis server."""

_BATCH: Final = 500
_FOREVER: Final = 2**42  # milliseconds; the server refuses ends that are much later

_RENEW: Final = "return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('pexpire', KEYS[1], ARGV[2]) or 0"
_RELEASE: Final = "return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('del', KEYS[1]) or 0"
_NOW: Final = "local t = redis.call('time') local now = t[1] * 1000 + math.floor(t[2] / 1000) "
_MARK: Final = (
    f"{_NOW} redis.call('zadd', KEYS[1], now + ARGV[2], ARGV[1]) "
    "if redis.call('pttl', KEYS[1]) < tonumber(ARGV[2]) then redis.call('pexpire', KEYS[1], ARGV[2]) end return 1"
)
_WAITING: Final = f"{_NOW} return redis.call('zrangebyscore', KEYS[1], now, '+inf')"


class RedisStore(OutsideStore):
    """A `CacheStore` on a Redis server, which several machines can share. Needs ``pip install 'eagerly[redis]'``.

    Whoever can write to the server could plant an entry, so it takes a `signing_key` or ``safe=True``. While the server
    is down, calls raise `CacheError` at once, except one a second, which looks whether it is back.

    A process that computes a key holds a lock that lasts `lease` seconds and is renewed three times as often. If it is
    killed, the next one proceeds when the lease has run out: after `lease` seconds at most.

    How much is kept is up to the server: give it ``maxmemory`` and the policy ``allkeys-lru`` or ``volatile-lru``.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, with the options of redis-py in its query.
        signing_key: Secret bytes that all who share the entries know, 32 random ones for example.
        safe: Use only formats that cannot run code, so that no key is needed.
        prefix: What the names of all its keys begin with; `clear` removes these alone.
        timeout: Seconds to wait for a connection and for each answer.
        lease: Seconds for which a lock outlives a process that is killed.

    Raises:
        MissingExtraError: redis-py is not installed.
        OptionTypeError, OptionValueError: The URL is for something else, or there is neither a key nor ``safe=True``.

    Example:
        >>> store = RedisStore("redis://cache.internal:6379/0", signing_key=secret)  # doctest: +SKIP
        >>> with session(cache_store=store):  # doctest: +SKIP
        ...     report("2024-05")
    """

    def __init__(
        self,
        url: str,
        *,
        signing_key: bytes | None = None,
        safe: bool = False,
        prefix: str = "eagerly",
        timeout: float = 3.0,
        lease: float = 10.0,
    ) -> None:
        if not isinstance(url, str):
            raise OptionTypeError(f"RedisStore(url) takes a str such as 'redis://localhost:6379/0', not {url!r}")
        if url.partition("://")[0] not in ("redis", "rediss", "unix"):
            raise OptionValueError(
                f"RedisStore({masked(url)!r}) is no address of a Redis server; write 'redis://host:6379/0', "
                "'rediss://host:6379/0' for TLS, or 'unix:///path/to/redis.sock'"
            )
        if not prefix:
            raise OptionValueError("RedisStore(prefix=...) must not be empty: clear() would not know its own keys")
        super().__init__(url, signing_key, safe, f"redis:{prefix}", lease)
        demand_package("redis", "pip install 'eagerly[redis]'", "RedisStore")
        self._url = url
        self.prefix = prefix
        self._timeout = seconds("RedisStore(timeout=...)", timeout, positive=True)

    def get(self, key: bytes, /) -> Buffer | None:
        """The bytes stored under `key`, or None if there are none or they have expired."""
        with self._asking("read"):
            data: bytes | None = self._client().get(self._name(key))
        if data is None:
            self._misses += 1
            return None
        return self._unwrap(data)

    def put(self, key: bytes, parts: Sequence[Buffer], /, *, expires: float | None = None, tag: str = "") -> None:
        """Store the concatenation of `parts` under `key`.

        Raises:
            CacheError: It is larger than 512 MiB, which no Redis server takes, or the server cannot be reached.
        """
        now = time.time()
        head = make_head(tag, now, expires)
        left = _FOREVER if expires is None else min((expires - now) * 1000, _FOREVER)
        with self._asking("write"):
            size = size_of(parts) + len(head)
            if size > LARGEST:
                raise CacheError(f"{size} bytes are more than a Redis server takes for one entry, {LARGEST} bytes")
            if left <= 0:
                self._client().unlink(self._name(key))
            else:
                ends = None if left >= _FOREVER else math.ceil(left)
                self._client().set(self._name(key), b"".join((head, *parts)), px=ends)

    def delete(self, key: bytes, /) -> bool:
        """Remove the entry; whether there was one."""
        with self._asking("delete"):
            return bool(self._client().unlink(self._name(key)))

    def clear(self) -> int:
        """Remove every entry of this prefix, and nothing else; how many there were."""
        removed = 0
        with self._asking("clear"):
            for names in self._batches():
                removed += self._client().unlink(*names)
        return removed

    def stats(self) -> CacheStats:
        """What the store has seen in this process, and what all processes have stored. Looks at every key of the
        database, a batch at a time."""
        sizes: list[int] = []
        with self._asking("count"):
            for names in self._batches():
                with self._client().pipeline(transaction=False) as pipeline:
                    for name in names:
                        pipeline.strlen(name)
                    answers = pipeline.execute(raise_on_error=False)  # a name of ours may hold something else
                sizes.extend(size for size in answers if isinstance(size, int) and size)  # or have gone since
        return CacheStats(self._hits, self._misses, self._errors, sum(sizes), len(sizes))

    def close(self) -> None:
        """Close the connections. The next use opens new ones."""
        opened, self._opened = self._opened, None
        if opened is not None and opened[0] == os.getpid():
            opened[1].close()

    def entries(self, tag: str | None = None) -> Iterator[StoredEntry]:
        """The entries, newest first; only those with `tag` if it is given. Looks at every key of the database, a batch
        at a time."""
        found: list[tuple[bytes, bytes, int]] = []
        with self._asking("list"):
            for names in self._batches():
                with self._client().pipeline(transaction=False) as pipeline:
                    for name in names:
                        pipeline.getrange(name, 0, PREVIEW - 1)
                        pipeline.strlen(name)
                    answers = pipeline.execute(raise_on_error=False)
                for name, beginning, size in zip(names, answers[::2], answers[1::2], strict=True):
                    if isinstance(beginning, bytes):
                        found.append((bytes.fromhex(name.rpartition(b":")[2].decode()), beginning, size))
        return self._listed(found, tag)

    def try_lock(self, key: bytes, /) -> Lease | None:
        """Lock `key` against other processes; None if another one has it. Never waits for it."""
        name, token = self._name(key, "lock"), secrets.token_hex(16)
        with self._asking("lock"):
            if not self._client().set(name, token, nx=True, px=self._milliseconds()):
                return None
        return self._leases.hold(
            lambda: bool(self._run("renew a lock", _RENEW, name, token, self._milliseconds())),
            lambda: self._run("release a lock", _RELEASE, name, token),
        )

    def mark_waiting(self, key: bytes, /) -> Lease:
        """Note that this process waits for `key` while it holds a lock itself; returns what `unmark_waiting` takes."""
        name, mark = self._name(key, "wait"), f"{self._owner()}:{next(_marks)}"

        def note() -> bool:
            return bool(self._run("mark", _MARK, name, mark, self._milliseconds()))

        def forget() -> None:
            with self._asking("unmark"):
                self._client().zrem(name, mark)

        note()
        return self._leases.hold(note, forget)

    def is_waited_for(self, key: bytes, /) -> bool:
        """Whether another process has marked that it waits for `key`."""
        mine = f"{self._owner()}:".encode()
        return any(not mark.startswith(mine) for mark in self._run("ask", _WAITING, self._name(key, "wait")))

    def _run(self, what: str, script: str, name: bytes, *arguments: str | int) -> Any:
        with self._asking(what):
            return self._client().eval(script, 1, name, *arguments)

    def _name(self, key: bytes, sort: str = "v1") -> bytes:
        return f"{self.prefix}:{sort}:{key.hex()}".encode()

    def _milliseconds(self) -> int:
        return math.ceil(self._lease * 1000)

    def _batches(self) -> Iterator[list[bytes]]:
        """The names of all entries, without those of a prefix that only begins like this one."""
        beginning = f"{self.prefix}:v1:"
        own = re.compile(re.escape(beginning.encode()) + rb"(?:[0-9a-f]{2})*")
        pattern = re.sub(r"([*?\[\]\\^-])", r"\\\1", beginning) + "*"
        found = self._client().scan_iter(match=pattern, count=_BATCH)
        names = iter({name for name in found if own.fullmatch(name)})  # a set: the server may give a name twice
        while batch := list(itertools.islice(names, _BATCH)):
            yield batch

    def _client(self) -> Any:
        """The client of this process. It opens connections as it needs them, and again after they have broken."""
        return self._connection()

    def _connect(self) -> Any:
        redis: Any = import_module("redis")  # untyped: its own types and the stubs that exist contradict each other
        again = redis.retry.Retry(redis.backoff.NoBackoff(), 1, (redis.ConnectionError,))
        return redis.Redis.from_url(
            self._url,
            socket_timeout=self._timeout,
            socket_connect_timeout=self._timeout,
            retry=again,  # once, for a connection that the server has dropped
            protocol=2,
        )

    def _is_outage(self, error: Exception) -> bool:
        redis: Any = import_module("redis")
        return isinstance(error, redis.ConnectionError | redis.TimeoutError | OSError)


_marks = itertools.count(1)
