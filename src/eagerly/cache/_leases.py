"""Locks and marks on other machines, which lapse unless they are renewed; one thread per store renews them.

A process that is killed renews nothing, so what it held is free when the lease has run out. Nothing here waits for a
lock: what the garbage collector runs may take or release a lease at any moment.
"""

from __future__ import annotations

import _thread
import contextlib
import itertools
import os
import time
import weakref
from collections.abc import Callable

from eagerly.errors import CacheError

__all__ = ["Lease", "Leases"]


class Lease:
    """A lock or a mark that this process holds. It is renewed until it is released or nobody has it any more."""

    __slots__ = ("__weakref__", "_end", "_leases", "_number", "_pid", "_renew")

    def __init__(self, leases: Leases, number: int, renew: Callable[[], bool], end: Callable[[], object]) -> None:
        self._leases = leases
        self._number = number
        self._renew = renew
        self._end = end
        self._pid = os.getpid()

    def release(self) -> None:
        """End it. Raises nothing: if the server cannot be told, the lease runs out."""
        # In a forked child it is still the parent that holds it.
        if self._pid == os.getpid() and self._leases.forget(self._number):
            self.end()

    def renew(self) -> bool:
        """Whether it is still held."""
        return self._renew()

    def end(self) -> None:
        with contextlib.suppress(CacheError):
            self._end()


class Leases:
    """The leases of one store in this process.

    Args:
        seconds: How long one lasts if it is not renewed. They are renewed three times as often.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._held: dict[int, weakref.ref[Lease]] = {}
        self._renewing = False
        self._pid = os.getpid()

    def hold(self, renew: Callable[[], bool], end: Callable[[], object]) -> Lease:
        """Renew a lease that has just been granted until it is released.

        Args:
            renew: Prolongs it; False if it has been lost. May raise `CacheError`, after which it is tried again.
            end: Gives it back.

        Raises:
            CacheError: No thread can be started to renew it; it has been given back.
        """
        if self._pid != os.getpid():  # threads and leases stay behind in a fork
            self._held, self._renewing, self._pid = {}, False, os.getpid()
        lease = Lease(self, next(_numbers), renew, end)
        self._held[lease._number] = weakref.ref(lease)
        # The renewing thread says that it ends, and then looks whether there is a lease: one of the two sees the other.
        if not self._renewing:
            self._renewing = True
            try:
                _thread.start_new_thread(self._keep_renewing, ())
            except RuntimeError as error:
                self._renewing = False
                lease.release()
                raise CacheError(f"nothing can renew the lock: {error}") from error
        return lease

    def forget(self, number: int) -> bool:
        """Renew it no longer; whether it was being renewed."""
        return self._held.pop(number, None) is not None

    def _keep_renewing(self) -> None:
        while True:
            time.sleep(self.seconds / 3)
            self._renew_all()
            if not self._held:
                self._renewing = False
                if not self._held:
                    return
                self._renewing = True

    def _renew_all(self) -> None:
        for number in list(self._held):
            reference = self._held.get(number)
            lease = None if reference is None else reference()
            if lease is None:
                self.forget(number)
                continue
            try:
                kept = lease.renew()
            except Exception:  # the server may be back before the lease runs out
                continue
            if not kept:
                self.forget(number)
            elif number not in self._held:  # released meanwhile, so perhaps brought back by renewing it
                lease.end()


_numbers = itertools.count(1)
