"""Tests for what people write themselves: a cache store passes `CacheStoreContract`, a run store `RunStoreContract`, a
backend `BackendContract`, and eagerly can use it.

Each ``test_*`` method is one sentence of the protocol. It runs under pytest and under unittest, and imports neither.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import time
from array import array
from collections.abc import Callable
from typing import Any, cast

from eagerly._backend_contract import BackendContract
from eagerly._checks import check, equal, in_threads
from eagerly.cache._lock_contract import LockContract, got, key_of
from eagerly.cache._protocol import Buffer, CacheStats, CacheStore, ListsEntries
from eagerly.runs._contract import RunStoreContract

__all__ = ["BackendContract", "CacheStoreContract", "RunStoreContract"]


class CacheStoreContract(LockContract):
    """What must hold for every `CacheStore`.

    Subclass it, next to your other tests, and say how a store is made:

    Attributes:
        shared: Whether stores that `make_store` makes see one another's entries. A store that keeps them in its own
            process says False.
        across_processes: Whether that is so across processes as well.
        lock_ends_within: Seconds in which the lock of a killed process must be free.

    Example:
        >>> from eagerly.cache import MemoryStore
        >>> class TestMyStore(CacheStoreContract):
        ...     shared = False
        ...
        ...     def make_store(self):
        ...         return MemoryStore()
        >>> TestMyStore().test_what_was_put_is_what_get_returns()

        With unittest, write ``class TestMyStore(CacheStoreContract, unittest.TestCase)``.
    """

    # What is stored

    def test_it_has_the_methods_and_attributes_of_a_store(self) -> None:
        """It is a `CacheStore`, and says whether it blocks and whether others could have written to it."""
        with self._store() as store:
            check(isinstance(store, CacheStore), f"{store!r} lacks a method or an attribute of CacheStore")
            equal(type(store.blocking), bool, "the type of .blocking")
            equal(type(store.trusted), bool, "the type of .trusted")

    def test_what_was_put_is_what_get_returns(self) -> None:
        """`get` returns the bytes that were put, as often as one asks, and `put` returns None."""
        with self._store() as store:
            equal(cast(Any, store).put(key_of(1), [b"value"]), None, "what put() returns")
            equal(got(store, 1), b"value", "the first get()")
            equal(got(store, 1), b"value", "the second get()")

    def test_a_key_that_was_never_put_is_missing(self) -> None:
        """`get` of a key that was never put is None, before and after others were put."""
        with self._store() as store:
            equal(got(store, 1), None, "get() of an empty store")
            store.put(key_of(1), [b"value"])
            equal(got(store, 2), None, "get() of another key")

    def test_a_second_put_replaces_the_first(self) -> None:
        """`put` under a key that exists replaces the whole entry: nothing of a longer one stays, nor its end."""
        with self._store() as store:
            store.put(key_of(1), [b"a long first value" * 100], expires=time.time() - 1, tag="first")
            store.put(key_of(1), [b"second"])
            equal(got(store, 1), b"second", "get() after the second put()")

    def test_delete_removes_one_entry_and_says_whether_it_was_there(self) -> None:
        """`delete` is True if there was an entry, then False; other entries stay."""
        with self._store() as store:
            store.put(key_of(1), [b"one"])
            store.put(key_of(2), [b"two"])
            equal(store.delete(key_of(1)), True, "the first delete()")
            equal(store.delete(key_of(1)), False, "the second delete()")
            equal(got(store, 1), None, "get() of what was deleted")
            equal(got(store, 2), b"two", "get() of another key")

    def test_clear_removes_every_entry_and_counts_them(self) -> None:
        """`clear` returns how many entries there were; afterwards there are none, and new ones can be put."""
        with self._store() as store:
            for number in range(7):
                store.put(key_of(number), [b"value"])
            equal(store.clear(), 7, "clear()")
            equal([got(store, number) for number in range(7)], [None] * 7, "get() after clear()")
            equal(store.clear(), 0, "clear() of an empty store")
            store.put(key_of(1), [b"new"])
            equal(got(store, 1), b"new", "get() of what was put after clear()")

    def test_keys_are_any_twenty_bytes(self) -> None:
        """Keys are 20 bytes of any value, and keys that differ in one bit are different."""
        keys = [bytes([byte]) * 20 for byte in (0, 10, 32, 37, 42, 47, 65, 92, 97, 127, 128, 255)]
        keys += [b"\x00\n/%\xff\xfe*?\\:@.." + bytes(7), b"\x00\n/%\xff\xfe*?\\:@.." + bytes(6) + b"\x01"]
        with self._store() as store:
            for number, key in enumerate(keys):
                store.put(key, [b"%d" % number])
            for number, key in enumerate(keys):
                equal(bytes(store.get(key) or b""), b"%d" % number, f"get({key!r})")

    def test_an_empty_value_is_a_value(self) -> None:
        """No parts, or parts without bytes, are a value of no bytes, which is not the same as none."""
        with self._store() as store:
            store.put(key_of(1), [])
            store.put(key_of(2), [b"", b""])
            equal(got(store, 1), b"", "get() after put() of no parts")
            equal(got(store, 2), b"", "get() after put() of empty parts")

    def test_parts_are_joined_in_order(self) -> None:
        """A large value in several parts comes back as their concatenation."""
        parts = [os.urandom(64), bytes(5_000_000), b"", os.urandom(100_001)]
        with self._store() as store:
            store.put(key_of(1), parts)
            check(got(store, 1) == b"".join(parts), "a value of 5 MB in 4 parts came back changed")

    def test_parts_may_be_any_buffer(self) -> None:
        """Parts are bytes, bytearrays and memoryviews, also such whose items are larger than a byte."""
        numbers = array("d", [1.5, -2.5])
        parts: list[Buffer] = [
            *(b"bytes", bytearray(b"bytearray"), memoryview(b"view"), memoryview(bytearray(b"writable"))[2:5]),
            *(memoryview(numbers), memoryview(bytes(range(12))).cast("B", (3, 4))),
        ]
        with self._store() as store:
            store.put(key_of(1), parts)
            equal(got(store, 1), b"".join(bytes(part) for part in parts), "get() of mixed buffers")

    def test_a_stored_value_is_a_copy(self) -> None:
        """Whoever changes a buffer after `put` changes nothing that is stored."""
        part = bytearray(b"before" * 1000)
        with self._store() as store:
            store.put(key_of(1), [part])
            part[:] = b"after!" * 1000
            equal(got(store, 1), b"before" * 1000, "get() after the buffer was changed")

    # When entries end

    def test_an_entry_that_has_expired_is_missing(self) -> None:
        """`get` never returns an entry whose `expires` has passed."""
        with self._store() as store:
            store.put(key_of(1), [b"old"], expires=time.time() - 1)
            store.put(key_of(2), [b"ancient"], expires=1.0)
            equal(got(store, 1), None, "get() of an entry that expired a second ago")
            equal(got(store, 2), None, "get() of an entry that expired in 1970")

    def test_an_expired_put_replaces_what_was_there(self) -> None:
        """An entry that has already expired takes the place of the one before, which does not come back."""
        with self._store() as store:
            store.put(key_of(1), [b"first"])
            store.put(key_of(1), [b"second"], expires=time.time() - 1)
            equal(got(store, 1), None, "get() after an expired put()")

    def test_an_entry_lives_until_it_expires(self) -> None:
        """An entry whose `expires` is to come is returned, even if that is very far away."""
        with self._store() as store:
            for number, expires in enumerate((time.time() + 100, time.time() + 1e9, 1e12, None)):
                store.put(key_of(number), [b"value"], expires=expires)
                equal(got(store, number), b"value", f"get() of an entry that expires at {expires}")

    def test_an_entry_ends_by_itself(self) -> None:
        """An entry that is there is gone when its time has come, without anybody removing it."""
        with self._store() as store:
            end = time.time() + 0.05
            store.put(key_of(1), [b"value"], expires=end)
            while time.time() <= end:
                store.get(key_of(1))
            equal(got(store, 1), None, "get() after the entry's end")

    # Who uses it

    def test_two_stores_of_one_place_see_the_same(self) -> None:
        """What one store puts or deletes, another of the same place finds or misses, at once."""
        self._applies(self.shared, "its entries are not shared")
        with self._store() as one, self._store() as other:
            equal(got(other, 1), None, "get() before the other's put()")
            one.put(key_of(1), [b"value"])
            equal(got(other, 1), b"value", "get() after the other's put()")
            one.put(key_of(1), [b"replaced"])
            equal(got(other, 1), b"replaced", "get() after the other replaced it")
            other.delete(key_of(1))
            equal(got(one, 1), None, "get() after the other's delete()")

    def test_a_closed_store_opens_again(self) -> None:
        """After `close`, which may be called twice, the next call opens the store again, and its entries are there."""
        with self._store() as store:
            store.put(key_of(1), [b"value"])
            store.close()
            store.close()
            equal(got(store, 1), b"value", "get() after close()")
            store.close()
            store.put(key_of(2), [b"more"])
            equal(got(store, 2), b"more", "get() after put() after close()")

    def test_a_pickled_store_works_on_the_same_place(self) -> None:
        """A store can be pickled for a worker, also in use, and the copy works on the same place."""
        with self._store() as store:
            store.put(key_of(1), [b"value"])
            with contextlib.closing(pickle.loads(pickle.dumps(store))) as copy:
                equal(got(copy, 1), b"value" if self.shared else None, "get() of the copy")
                copy.put(key_of(2), [b"from the copy"])
                equal(got(copy, 2), b"from the copy", "get() of what the copy put")
                equal(got(store, 2), b"from the copy" if self.shared else None, "get() of what the copy put")

    def test_stats_add_up(self) -> None:
        """`stats` counts what `get` found and what it did not, and the entries there are with their bytes."""
        with self._store() as store:
            before = store.stats()
            equal(type(before), CacheStats, "the type of stats()")
            equal((before.entries, before.errors), (0, 0), "entries and errors of an empty store")
            store.put(key_of(1), [b"x" * 1000])
            store.put(key_of(2), [b"x" * 1000])
            store.put(key_of(2), [b"y" * 1000])
            for number in (1, 2, 2, 3):
                store.get(key_of(number))
            after = store.stats()
            equal((after.hits - before.hits, after.misses - before.misses), (3, 1), "hits and misses")
            equal((after.entries, after.errors), (2, 0), "entries and errors")
            check(after.bytes >= 2000, f"two entries of 1000 bytes take {after.bytes} bytes, it says")
            store.clear()
            equal(store.stats().entries, 0, "entries after clear()")

    def test_threads_see_whole_values(self) -> None:
        """Threads that put and get the same keys at once find whole values, and no call fails."""
        values = [bytes([letter]) * size for letter, size in zip(b"abcd", (10, 1000, 70_000, 300_000), strict=True)]
        writing = [*values]

        def write(mine: bytes) -> None:
            try:
                for turn in range(6):
                    store.put(key_of(turn % 2), [mine[:5], mine[5:]])
            finally:
                writing.remove(mine)

        def read(_mine: None) -> None:
            while writing:
                for number in range(2):
                    found = got(store, number)
                    check(found is None or found in values, "a thread found a value that nobody put")

        with self._store() as store:
            in_threads(lambda one: write(one) if one else read(one), [*values, None, None])
            for number in range(2):
                check(got(store, number) in values, "after the threads, a value is not one that was put")

    def test_it_works_after_a_fork(self) -> None:
        """A forked child can use the store that its parent has opened, and both go on working."""
        with self._store() as store:
            store.put(key_of(1), [b"parent"])

            def child(_tell: Callable[[], None]) -> None:
                equal(got(store, 1), b"parent", "get() in the child")
                store.put(key_of(2), [b"child"])
                equal(got(store, 2), b"child", "get() of what the child put")
                store.close()

            with self._forked(child) as forked:
                store.get(key_of(1))
                forked.join()
            seen = self.shared and self.across_processes
            equal(got(store, 2), b"child" if seen else None, "get() of what the child put")
            equal(got(store, 1), b"parent", "get() in the parent afterwards")

    # Stores that list their entries

    def test_entries_tell_what_was_put(self) -> None:
        """`entries` gives key, tag, size, time and end of each entry, the newest first; perhaps expired ones too."""
        with self._store() as store:
            listing = self._needs(store, ListsEntries)
            end = float(int(time.time()) + 1000)
            begun = time.time()
            store.put(key_of(1), [b"x" * 600, b"y" * 400], expires=end, tag="package.module.function")
            store.put(key_of(2), [b"z"], tag="other")
            store.put(key_of(3), [b"gone"], expires=time.time() - 1)
            everything = list(listing.entries())
            found = [entry for entry in everything if entry.expires is None or entry.expires > begun]
            equal({entry.key for entry in found}, {key_of(1), key_of(2)}, "the keys of entries()")
            check({entry.key for entry in everything} <= {key_of(1), key_of(2), key_of(3)}, "entries() gives others")
            one, two = sorted(found, key=lambda entry: entry.size, reverse=True)
            equal((one.tag, one.expires), ("package.module.function", end), "tag and end of the first")
            equal((two.tag, two.expires), ("other", None), "tag and end of the second")
            check(one.size >= 1000, f"an entry of 1000 bytes has the size {one.size}, it says")
            for entry in found:
                check(abs(entry.stored_at - begun) < 60, f"stored_at is {entry.stored_at}, and it was {begun}")
            times = [entry.stored_at for entry in found]
            equal(times, sorted(times, reverse=True), "the times of entries()")

    def test_entries_of_one_tag(self) -> None:
        """`entries(tag)` gives the entries that were put with just that tag."""
        with self._store() as store:
            listing = self._needs(store, ListsEntries)
            for number, tag in enumerate(("a.f", "a.f", "a.ff", "é.日本.<locals>.f", "")):
                store.put(key_of(number), [b"value"], tag=tag)
            for tag, expected in (("a.f", {0, 1}), ("é.日本.<locals>.f", {3}), ("", {4}), ("a", set[int]())):
                keys = {entry.key for entry in listing.entries(tag)}
                equal(keys, {key_of(number) for number in expected}, f"the keys of entries({tag!r})")
