"""Owners on other machines: each process renews a row, and has ended when that has run out by the server's clock."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from typing import Final

from eagerly.errors import RunsError
from eagerly.runs._record import new_id
from eagerly.runs._sql import SqlRunStore

__all__ = ["Lease", "lease_of", "leave"]

_RENEWALS: Final = 3
"""How often a lease is renewed while it lasts."""


class Lease:
    """What says that this process has not ended. It is renewed while there is a store of its place.

    Args:
        store: One of them.
        seconds: How long it lasts if it is not renewed.

    Attributes:
        owner: The id of this process. Another one after the lease has run out, as its runs are lost then.
        stores: Those of its place that there are.
    """

    def __init__(self, store: SqlRunStore, seconds: float) -> None:
        self._seconds = seconds
        self.stores = weakref.WeakSet([store])
        self.owner = self._registered(store)

    def start(self, place: str) -> None:
        """Renew it from now on."""
        threading.Thread(target=self._keep_renewing, args=(place,), name="eagerly-runs-lease", daemon=True).start()

    def _registered(self, store: SqlRunStore) -> str:
        owner = new_id("own")
        statement = "INSERT INTO run_owners VALUES (?, now() + make_interval(secs => ?))"
        store._write(lambda sql: sql.execute(statement, (owner, self._seconds)))
        return owner

    def _keep_renewing(self, place: str) -> None:
        while True:
            time.sleep(self._seconds / _RENEWALS)
            with _lock:
                store = next(iter(self.stores), None)
                if store is None:  # nobody can run anything with it any more
                    _leases.pop(place, None)
                    return
            with contextlib.suppress(RunsError):  # the server may be back before the lease runs out
                self._renew(store)
            del store

    def _renew(self, store: SqlRunStore) -> None:
        statement = "UPDATE run_owners SET expires_at = now() + make_interval(secs => ?) WHERE id = ?"
        if not store._write(lambda sql: sql.execute(statement, (self._seconds, self.owner)).rowcount):
            self.owner = self._registered(store)


_leases: dict[str, Lease] = {}
_making: dict[str, threading.Lock] = {}
_lock = threading.Lock()
"""For these two. Nobody asks a server while it is held, as others have to renew their leases elsewhere."""


def lease_of(place: str, store: SqlRunStore, seconds: float) -> Lease:
    """The lease of this process at `place`, which the first call makes."""
    with _lock:
        making = _making.setdefault(place, threading.Lock())
    with making:
        lease = _known(place, store)
        if lease is None:
            lease = Lease(store, seconds)
            lease.start(place)
            with _lock:
                _leases[place] = lease
        return lease


def _known(place: str, store: SqlRunStore) -> Lease | None:
    with _lock:
        lease = _leases.get(place)
        if lease is not None:
            lease.stores.add(store)
        return lease


def leave(place: str, store: SqlRunStore) -> None:
    """Renew the lease at `place` for other stores only."""
    with _lock:
        lease = _leases.get(place)
        if lease is not None:
            lease.stores.discard(store)


def _after_fork() -> None:
    """A child is an owner of its own."""
    global _lock
    _lock = threading.Lock()
    _leases.clear()
    _making.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
