"""What all stores on other machines have in common: whom they trust, how they fail, what each process has of its own.

Nothing here talks to a server.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote

from eagerly._numbers import seconds
from eagerly._paths import masked
from eagerly.cache._envelope import check_signing_key
from eagerly.cache._head import head_of, short
from eagerly.cache._leases import Lease, Leases
from eagerly.cache._protocol import Buffer, StoredEntry
from eagerly.errors import CacheError, OptionTypeError, OptionValueError

__all__ = ["OutsideStore"]

PAUSE: Final = 1.0
"""Seconds for which a server that did not answer is not asked again, so that it does not cost its timeout each time."""

_OF_ONE_PROCESS: Final = ("_leases", "_process", "_opened", "_inherited")


class _Outage(NamedTuple):
    until: float
    reason: str


class OutsideStore(ABC):
    """Base of the stores whose entries somebody else may have written.

    Attributes:
        blocking: True: every call may wait for a network.
        trusted: False: entries are only unpickled with a valid signature.
        signing_key: The key that entries are signed with, or None.
        safe: Whether only formats are used that cannot run code.
        namespace: Part of each signature, so that an entry of another store is refused.
    """

    blocking = True
    trusted = False

    if TYPE_CHECKING:

        def get(self, key: bytes, /) -> Buffer | None: ...

    def look_again(self, key: bytes, /) -> Buffer | None:
        """As `get`, by who has just been told that there is nothing: a second miss is none."""
        found = self.get(key)
        if found is None:
            self._misses -= 1
        return found

    def __init__(self, place: str, signing_key: bytes | None, safe: bool, namespace: str, lease: float) -> None:
        kind = type(self).__name__
        _demand_trust(kind, place, signing_key, safe)
        self.signing_key = signing_key
        self.safe = safe
        self.namespace = namespace
        self._place = masked(place)
        self._secrets = _passwords(place)
        self._lease = seconds(f"{kind}(lease=...)", lease, positive=True)
        self._begin()

    def __repr__(self) -> str:
        how = "safe=True" if self.signing_key is None else "signing_key=..."
        return f"{type(self).__name__}({self._place!r}, {how})"

    def __getstate__(self) -> dict[str, Any]:
        """For a worker: how to reach the place and what to sign with, no connection and no lease."""
        return {name: value for name, value in vars(self).items() if name not in _OF_ONE_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def unmark_waiting(self, mark: Lease, /) -> None:
        """This process does not wait any more."""
        mark.release()

    def _begin(self) -> None:
        """Nothing has happened yet, and nothing is open."""
        self._hits: int = 0
        self._misses: int = 0
        self._errors: int = 0
        self._outage: _Outage | None = None
        self._leases = Leases(self._lease)
        self._process = secrets.token_hex(8)
        self._opened: tuple[int, Any] | None = None
        self._inherited: list[Any] = []

    @abstractmethod
    def _connect(self) -> Any:
        """What talks to the place, anew."""

    def _connection(self) -> Any:
        """What talks to the place, for this process: none of them can be used after a fork."""
        opened, process = self._opened, os.getpid()
        if opened is not None:
            if opened[0] == process:
                return opened[1]
            self._inherited.append(opened)  # to close it would end connections, or need locks, that the parent has
        made = self._connect()
        self._opened = (process, made)
        return made

    def _owner(self) -> str:
        """What tells the marks of this process from those of others."""
        return f"{self._process}-{os.getpid()}"

    @contextlib.contextmanager
    def _asking(self, what: str) -> Generator[None]:
        """Around each conversation with the server: any trouble becomes a `CacheError`.

        Args:
            what: What it is asked for, for the message: "read", "write".

        Raises:
            CacheError: It did not go well, or the server did not answer less than `PAUSE` ago.
        """
        outage, now = self._outage, time.monotonic()
        if outage is not None:
            if now < outage.until:
                self._errors += 1
                raise CacheError(f"cannot {what}: {self!r} did not answer just now ({outage.reason})")
            self._outage = _Outage(now + PAUSE, outage.reason)  # one caller tries; the others are told at once
        try:
            yield
        except CacheError:
            self._errors += 1
            raise
        except Exception as error:
            self._errors += 1
            reason = f"{type(error).__name__}: {error}"
            for secret in self._secrets:
                reason = reason.replace(secret, "***")
            self._outage = _Outage(time.monotonic() + PAUSE, reason) if self._is_outage(error) else None
            raise CacheError(f"cannot {what}: {self!r} failed ({reason})") from error
        if outage is not None:
            self._outage = None

    @abstractmethod
    def _is_outage(self, error: Exception) -> bool:
        """Whether `error` says that the server cannot be reached, rather than that it refuses something."""

    def _unwrap(self, data: bytes) -> Buffer | None:
        """The entry in what was stored, or None if it has expired. Something damaged is returned as it is."""
        head = head_of(data)
        if head is not None and head.end <= time.time():
            self._misses += 1
            return None
        self._hits += 1
        return data if head is None else memoryview(data)[head.length :]

    def _listed(self, found: Iterable[tuple[bytes, bytes, int]], tag: str | None) -> Iterator[StoredEntry]:
        """The entries among `found`, which are keys, beginnings and sizes of what is stored; the newest first."""
        now = time.time()
        listed: list[StoredEntry] = []
        for key, beginning, size in found:
            head = head_of(beginning)
            if head is not None and head.end > now and (tag is None or short(tag) == head.tag):
                listed.append(StoredEntry(key, head.tag, size - head.length, head.stored_at, head.expires))
        listed.sort(key=lambda entry: entry.stored_at, reverse=True)
        return iter(listed)


def _passwords(url: str) -> list[str]:
    """The passwords that `masked` hides, as they are written and as they are meant."""
    rest = url.partition("://")[2]
    account, at, _ = rest.rpartition("@")
    secret = account.partition(":")[2] if at else ""
    return [each for each in {secret, unquote(secret)} if each]


def _demand_trust(kind: str, place: str, signing_key: object, safe: object) -> None:
    check_signing_key(f"{kind}(signing_key=...)", signing_key)
    if not isinstance(safe, bool):
        raise OptionTypeError(f"{kind}(safe=...) takes True or False, not {safe!r}")
    if signing_key is None and not safe:
        place = masked(place)
        raise OptionValueError(
            f"{kind}({place!r}) would unpickle what others can write there, and unpickling runs their code. Write "
            f"{kind}({place!r}, signing_key=...) with bytes that only your processes know, so that entries of others "
            f"are refused, or {kind}({place!r}, safe=True), which uses only formats that cannot run code. "
            f"Where a store is named by its URL alone, as on the command line, set EAGERLY_CACHE_SIGNING_KEY"
        )
