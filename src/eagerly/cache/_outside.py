"""What all stores on other machines have in common: whom they trust, how they fail, and what they show of a URL.

Nothing here talks to a server.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import sys
import time
from collections.abc import Generator
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from eagerly.cache._protocol import Buffer
from eagerly.cache._record import head_of
from eagerly.errors import CacheError, MissingExtraError, OptionTypeError, OptionValueError

__all__ = ["OutsideStore", "demand_package", "masked"]

PAUSE: Final = 1.0
"""Seconds for which a server that did not answer is not asked again, so that it does not cost its timeout each time."""


class _Outage(NamedTuple):
    until: float
    reason: str


class OutsideStore:
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
    _hits: int
    _misses: int
    _errors: int

    def __init__(self, place: str, signing_key: bytes | None, safe: bool, namespace: str) -> None:
        _demand_trust(type(self).__name__, place, signing_key, safe)
        self.signing_key = signing_key
        self.safe = safe
        self.namespace = namespace
        self._place = masked(place)
        self._secrets = _passwords(place)
        self._forget_what_happened()

    def __repr__(self) -> str:
        how = "safe=True" if self.signing_key is None else "signing_key=..."
        return f"{type(self).__name__}({self._place!r}, {how})"

    def __getstate__(self) -> dict[str, Any]:
        """For a worker: how to reach the place and what to sign with, no connection and no count."""
        raise NotImplementedError

    def _forget_what_happened(self) -> None:
        self._hits = 0
        self._misses = 0
        self._errors = 0
        self._outage: _Outage | None = None

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

    def _is_outage(self, error: Exception) -> bool:
        """Whether `error` says that the server cannot be reached, rather than that it refuses something."""
        raise NotImplementedError

    def _unwrap(self, data: bytes) -> Buffer | None:
        """The entry in what was stored, or None if it has expired. Something damaged is returned as it is."""
        head = head_of(data)
        if head is not None and head.end <= time.time():
            self._misses += 1
            return None
        self._hits += 1
        return data if head is None else memoryview(data)[head.length :]


def masked(url: str) -> str:
    """`url` without its passwords."""
    scheme, separator, rest = url.partition("://")
    account, at, address = rest.rpartition("@")
    if separator and at and ":" in account:
        rest = f"{account.partition(':')[0]}:***{at}{address}"
    return re.sub(r"(?i)([?&](?:\w*password|secret|token|key)=)[^&#]+", r"\1***", scheme + separator + rest)


def _passwords(url: str) -> list[str]:
    """The passwords that `masked` hides, as they are written and as they are meant."""
    rest = url.partition("://")[2]
    account, at, _ = rest.rpartition("@")
    secret = account.partition(":")[2] if at else ""
    return [each for each in {secret, unquote(secret)} if each]


def demand_package(package: str, command: str, what: str) -> None:
    """Refuse early what needs a package that is not there, without importing it.

    Raises:
        MissingExtraError: With `command`, which installs it.
    """
    if sys.modules.get(package) is None and importlib.util.find_spec(package) is None:
        raise MissingExtraError(f"{what} needs the package {package!r}, which is not installed: {command}")


def _demand_trust(kind: str, place: str, signing_key: object, safe: object) -> None:
    if signing_key is not None and not isinstance(signing_key, bytes):
        raise OptionTypeError(
            f"{kind}(signing_key=...) takes bytes, not {type(signing_key).__name__}; write key.encode()"
        )
    if not isinstance(safe, bool):
        raise OptionTypeError(f"{kind}(safe=...) takes True or False, not {safe!r}")
    if signing_key == b"":
        raise OptionValueError(f"{kind}(signing_key=...) is empty, so everybody could sign; take 32 random bytes")
    if signing_key is None and not safe:
        place = masked(place)
        raise OptionValueError(
            f"{kind}({place!r}) would unpickle what others can write there, and unpickling runs their code. Write "
            f"{kind}({place!r}, signing_key=...) with bytes that only your processes know, so that entries of others "
            f"are refused, or {kind}({place!r}, safe=True), which uses only formats that cannot run code"
        )
