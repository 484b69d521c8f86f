"""The contract of cache stores, run against every store of ours; and what the contract itself must do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import eagerly
from eagerly.cache._disk import DiskStore
from eagerly.cache._memory import MemoryStore
from eagerly.cache._protocol import CacheStats, CacheStore
from eagerly.cache._redis import RedisStore
from eagerly.cache._remote import RemoteStore
from eagerly.contracts import CacheStoreContract
from stand_ins import S3Server

REDIS = "redis://127.0.0.1:6379/9"
KEY = b"a key for signatures that only these tests know"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    try:
        server.make_bucket("bucket")
        yield server
    finally:
        server.kill()


class TestMemoryStore(CacheStoreContract):
    shared = False

    def make_store(self) -> MemoryStore:
        return MemoryStore()


class TestDiskStore(CacheStoreContract):
    lock_ends_within = 30.0  # at once; this machine may be busy

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.place = tmp_path / "cache"

    def make_store(self) -> DiskStore:
        return DiskStore(self.place)


class TestRedisStore(CacheStoreContract):
    lock_ends_within = 30.0

    @pytest.fixture(autouse=True)
    def _place(self) -> Iterator[None]:
        self.prefix = f"test-{uuid.uuid4().hex}"
        store = RedisStore(REDIS, signing_key=KEY, prefix=self.prefix)
        try:
            store.stats()
        except Exception as error:
            pytest.skip(f"there is no Redis server at {REDIS}: {error}")
        yield
        store.clear()
        store.close()

    def make_store(self) -> RedisStore:
        return RedisStore(REDIS, signing_key=KEY, prefix=self.prefix, lease=1.0)


class TestRemoteStoreOnLocalFiles(CacheStoreContract):
    lock_ends_within = 30.0

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.place = tmp_path / "cache"

    def make_store(self) -> RemoteStore:
        return RemoteStore(f"file://{self.place}", signing_key=KEY, lease=1.0)


class TestRemoteStoreInMemory(CacheStoreContract):
    across_processes = False

    @pytest.fixture(autouse=True)
    def _place(self) -> None:
        self.place = f"memory://{uuid.uuid4().hex}/cache"

    def make_store(self) -> RemoteStore:
        return RemoteStore(self.place, signing_key=KEY, lease=1.0)


class _OnS3:
    lock_ends_within = 60.0

    @pytest.fixture(autouse=True)
    def _place(self, s3: S3Server) -> None:
        # moto fails now and then when threads read what others replace; S3 does not.
        self.options = {**s3.options, "config_kwargs": {"retries": {"max_attempts": 10}}}
        self.place = f"s3://bucket/{uuid.uuid4().hex}"

    def make_store(self) -> RemoteStore:
        return RemoteStore(self.place, signing_key=KEY, lease=3.0, storage_options=self.options)


@pytest.mark.slow
class TestRemoteStoreOnS3(_OnS3, CacheStoreContract):
    """Each test opens clients of its own, and botocore takes a third of a second for one."""


class TestRemoteStoreOnS3InShort(_OnS3, CacheStoreContract):
    """What depends on the service, without what depends on our own bytes only."""

    test_it_has_the_methods_and_attributes_of_a_store = None
    test_keys_are_any_twenty_bytes = None
    test_parts_may_be_any_buffer = None
    test_a_stored_value_is_a_copy = None
    test_an_entry_that_has_expired_is_missing = None
    test_an_expired_put_replaces_what_was_there = None
    test_an_entry_lives_until_it_expires = None
    test_an_entry_ends_by_itself = None
    test_a_closed_store_opens_again = None
    test_entries_of_one_tag = None
    test_a_lock_can_be_taken_again_after_its_release = None


# What the contract itself must do


def contract_of(store: type[CacheStore]) -> CacheStoreContract:
    class Contract(CacheStoreContract):
        shared = False

        def make_store(self) -> CacheStore:
            return store()

    return Contract()


class Forgets(MemoryStore):
    def put(self, key: bytes, parts: Any, /, *, expires: float | None = None, tag: str = "") -> None:
        pass


class NeverForgets(MemoryStore):
    def delete(self, key: bytes, /) -> bool:
        return self.get(key) is not None

    def clear(self) -> int:
        return self.stats().entries


class IgnoresTheEnd(MemoryStore):
    def put(self, key: bytes, parts: Any, /, *, expires: float | None = None, tag: str = "") -> None:
        super().put(key, parts, tag=tag)


class KeepsBuffers(MemoryStore):
    def put(self, key: bytes, parts: Any, /, *, expires: float | None = None, tag: str = "") -> None:
        super().put(key, [], expires=expires, tag=tag)
        self.__dict__.setdefault("kept", {})[key] = parts

    def get(self, key: bytes, /) -> Any:
        found = super().get(key)
        return found if found is None else b"".join(self.__dict__["kept"][key])


class CountsItems(MemoryStore):
    """Takes the length of a memoryview for its bytes."""

    def put(self, key: bytes, parts: Any, /, *, expires: float | None = None, tag: str = "") -> None:
        super().put(key, [bytes(part)[: len(part)] for part in parts], expires=expires, tag=tag)


class ShortensKeys(MemoryStore):
    def get(self, key: bytes, /) -> Any:
        return super().get(key.rstrip(b"\0\x01"))

    def put(self, key: bytes, parts: Any, /, *, expires: float | None = None, tag: str = "") -> None:
        super().put(key.rstrip(b"\0\x01"), parts, expires=expires, tag=tag)


class EmptyIsNothing(MemoryStore):
    def get(self, key: bytes, /) -> Any:
        return super().get(key) or None


class TornBetweenThreads(MemoryStore):
    def put(self, key: bytes, parts: Any, /, *, expires: float | None = None, tag: str = "") -> None:
        for end in range(1, len(parts) + 1):
            super().put(key, parts[:end], expires=expires, tag=tag)
            time.sleep(0.001)


class CannotBePickled(MemoryStore):
    def __reduce__(self) -> Any:
        raise TypeError("it holds a connection")


class CountsWrongly(MemoryStore):
    def stats(self) -> CacheStats:
        return super().stats()._replace(hits=0)


class ListsOldestFirst(MemoryStore):
    def entries(self, tag: str | None = None) -> Any:
        return reversed(list(super().entries(tag)))


class ListsByBeginning(MemoryStore):
    def entries(self, tag: str | None = None) -> Any:
        return (entry for entry in super().entries() if entry.tag.startswith(tag or ""))


class LocksForEver(MemoryStore):
    def try_lock(self, key: bytes, /) -> Any:
        super().try_lock(key)
        return super().try_lock(key)


class ClosesForGood(MemoryStore):
    def close(self) -> None:
        self.get = self.put = None  # type: ignore[assignment, method-assign]


class DoesNotSayWhetherItBlocks(MemoryStore):
    blocking = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("store", "test"),
    [
        (Forgets, "what_was_put_is_what_get_returns"),
        (NeverForgets, "delete_removes_one_entry_and_says_whether_it_was_there"),
        (NeverForgets, "clear_removes_every_entry_and_counts_them"),
        (IgnoresTheEnd, "an_entry_that_has_expired_is_missing"),
        (IgnoresTheEnd, "an_entry_ends_by_itself"),
        (IgnoresTheEnd, "an_expired_put_replaces_what_was_there"),
        (IgnoresTheEnd, "entries_tell_what_was_put"),
        (KeepsBuffers, "a_stored_value_is_a_copy"),
        (CountsItems, "parts_may_be_any_buffer"),
        (ShortensKeys, "keys_are_any_twenty_bytes"),
        (EmptyIsNothing, "an_empty_value_is_a_value"),
        (TornBetweenThreads, "threads_see_whole_values"),
        (CannotBePickled, "a_pickled_store_works_on_the_same_place"),
        (CountsWrongly, "stats_add_up"),
        (ListsOldestFirst, "entries_tell_what_was_put"),
        (ListsByBeginning, "entries_of_one_tag"),
        (LocksForEver, "a_lock_can_be_taken_again_after_its_release"),
        (ClosesForGood, "a_closed_store_opens_again"),
        (DoesNotSayWhetherItBlocks, "it_has_the_methods_and_attributes_of_a_store"),
    ],
)
def test_a_store_that_breaks_a_promise_fails_its_test(store: type[CacheStore], test: str) -> None:
    with pytest.raises((AssertionError, TypeError)):
        getattr(contract_of(store), f"test_{test}")()
    getattr(contract_of(MemoryStore), f"test_{test}")()


@pytest.mark.parametrize(
    "test",
    [
        "two_stores_of_one_place_see_the_same",
        "it_works_after_a_fork",
        "a_pickled_store_works_on_the_same_place",
        "a_lock_excludes_other_processes",
        "a_mark_says_that_another_process_waits",
        "the_lock_of_a_killed_process_becomes_free",
    ],
)
def test_a_store_of_one_process_is_no_shared_store(test: str) -> None:
    class Contract(CacheStoreContract):
        def make_store(self) -> CacheStore:
            return MemoryStore()

    with pytest.raises(AssertionError):
        getattr(Contract(), f"test_{test}")()


def test_it_says_what_a_subclass_must_define() -> None:
    with pytest.raises(NotImplementedError, match=r"defines make_store\(self\)"):
        CacheStoreContract().test_stats_add_up()


def test_it_runs_under_unittest_alone(tmp_path: Path) -> None:
    (tmp_path / "test_store.py").write_text(
        "import sys, unittest\n"
        "from eagerly.cache._memory import MemoryStore\n"
        "from eagerly.contracts import CacheStoreContract\n"
        "class TestStore(CacheStoreContract, unittest.TestCase):\n"
        "    shared = False\n"
        "    def make_store(self):\n"
        "        return MemoryStore()\n"
        "assert 'pytest' not in sys.modules\n"
    )
    command = [sys.executable, "-W", "error", "-m", "unittest", "-v", "test_store"]
    environment = {**os.environ, "PYTHONPATH": str(Path(eagerly.__file__).parent.parent)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "skipped 'TestStore: processes do not share it'" in done.stderr
