"""The part of `CacheStoreContract` that is about locks, and how all of its tests get at a store.

Nothing here knows a test framework.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Generator
from typing import Any, cast

from eagerly._checks import Child, check, equal, skip
from eagerly.cache._protocol import CacheStore, KeyLock, LocksKeys

__all__ = ["LockContract", "got", "key_of"]


class LockContract:
    """What must hold for every store that locks keys, where processes share it."""

    shared: bool = True
    across_processes: bool = True
    lock_ends_within: float = 15.0

    def make_store(self) -> CacheStore:
        """A store over one place, which is empty when a test begins. A test calls it once or several times, and means
        the same place each time. With pytest, a fixture that sets ``self.place`` does well."""
        raise NotImplementedError("a subclass of CacheStoreContract defines make_store(self), which returns the store")

    # Stores that lock keys

    def test_a_lock_can_be_taken_again_after_its_release(self) -> None:
        """A lock that was released is free, and other keys are free all along."""
        with self._store() as store:
            locking = self._needs(store, LocksKeys)
            for _ in range(3):
                lock = _granted(locking.try_lock(key_of(1)))
                other = _granted(locking.try_lock(key_of(2)))
                other.release()
                lock.release()

    def test_a_lock_excludes_other_processes(self) -> None:
        """While one process holds a lock, another gets None, at once; after the release it gets the lock."""
        self._applies(self.shared and self.across_processes, "processes do not share it")
        with self._store() as store:
            locking = self._needs(store, LocksKeys)

            def refused(_tell: Callable[[], None]) -> None:
                with self._store() as mine:
                    locks = cast("LocksKeys", mine)
                    equal(locks.try_lock(key_of(1)), None, "try_lock() while another process has the lock")
                    _granted(locks.try_lock(key_of(2))).release()

            def admitted(_tell: Callable[[], None]) -> None:
                with self._store() as mine:
                    _granted(cast("LocksKeys", mine).try_lock(key_of(1))).release()

            lock = _granted(locking.try_lock(key_of(1)))
            with self._forked(refused) as child:
                child.join()
            lock.release()
            with self._forked(admitted) as child:
                child.join()

    def test_the_lock_of_a_killed_process_becomes_free(self) -> None:
        """When the process that holds a lock is killed, the next one gets it within `lock_ends_within` seconds."""
        self._applies(self.shared and self.across_processes, "processes do not share it")
        with self._store() as store:
            locking = self._needs(store, LocksKeys)

            def hold(tell: Callable[[], None]) -> None:
                with self._store() as mine:
                    lock = _granted(cast("LocksKeys", mine).try_lock(key_of(1)))
                    tell()
                    time.sleep(600)  # to be killed
                    lock.release()

            with self._forked(hold) as child:
                child.wait_until_told()
                equal(locking.try_lock(key_of(1)), None, "try_lock() while another process has the lock")
                child.kill()
            deadline = time.monotonic() + self.lock_ends_within
            while (lock := locking.try_lock(key_of(1))) is None:
                check(time.monotonic() < deadline, f"the lock was not free {self.lock_ends_within} s after the kill")
                time.sleep(0.01)
            lock.release()

    def test_a_mark_says_that_another_process_waits(self) -> None:
        """`is_waited_for` is True while another process has marked the key; its own marks do not count."""
        self._applies(self.shared and self.across_processes, "processes do not share it")
        with self._store() as store:
            locking = self._needs(store, LocksKeys)

            def wait(tell: Callable[[], None]) -> None:
                with self._store() as mine:
                    locks = cast("LocksKeys", mine)
                    mark = locks.mark_waiting(key_of(1))
                    equal(locks.is_waited_for(key_of(1)), False, "is_waited_for() of one's own mark")
                    tell()
                    time.sleep(600)  # to be killed
                    locks.unmark_waiting(mark)

            def unwait(_tell: Callable[[], None]) -> None:
                with self._store() as mine:
                    locks = cast("LocksKeys", mine)
                    locks.unmark_waiting(locks.mark_waiting(key_of(2)))

            equal(locking.is_waited_for(key_of(1)), False, "is_waited_for() before anybody waits")
            with self._forked(wait) as child:
                child.wait_until_told()
                equal(locking.is_waited_for(key_of(1)), True, "is_waited_for() of another's mark")
                equal(locking.is_waited_for(key_of(2)), False, "is_waited_for() of another key")
                child.kill()
            with self._forked(unwait) as child:
                child.join()
            equal(locking.is_waited_for(key_of(2)), False, "is_waited_for() after the mark was taken back")

    # How the tests do it

    @contextlib.contextmanager
    def _store(self) -> Generator[CacheStore]:
        with contextlib.closing(self.make_store()) as store:
            yield store

    def _needs(self, store: CacheStore, protocol: type[Any]) -> Any:
        self._applies(isinstance(store, protocol), f"the store is no {protocol.__name__}")
        return store

    def _applies(self, condition: bool, reason: str) -> None:
        if not condition:
            skip(f"{type(self).__name__}: {reason}")

    @contextlib.contextmanager
    def _forked(self, body: Callable[[Callable[[], None]], None]) -> Generator[Child]:
        self._applies(hasattr(os, "fork"), "this system has no fork()")
        child = Child(body)
        try:
            yield child
        finally:
            child.kill()


def key_of(number: int) -> bytes:
    """A key as tasks make them: twenty bytes of a digest, all of which differ from those of the next."""
    return hashlib.sha256(number.to_bytes(8, "big")).digest()[:20]


def got(store: CacheStore, number: int) -> bytes | None:
    found = store.get(key_of(number))
    return None if found is None else bytes(found)


def _granted(lock: KeyLock | None) -> KeyLock:
    check(lock is not None, "try_lock() is None, and nobody has the lock")
    return cast("KeyLock", lock)
