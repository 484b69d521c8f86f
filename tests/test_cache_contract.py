"""The contract of cache stores, run against every store of ours; and what the contract itself must do."""

from __future__ import annotations

import subprocess
import sys
import unittest
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eagerly.cache._disk import DiskStore
from eagerly.cache._memory import MemoryStore
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


class TestRemoteStoreOnS3(CacheStoreContract):
    lock_ends_within = 60.0

    @pytest.fixture(autouse=True)
    def _place(self, s3: S3Server) -> None:
        self.place, self.options = f"s3://bucket/{uuid.uuid4().hex}", s3.options

    def make_store(self) -> RemoteStore:
        return RemoteStore(self.place, signing_key=KEY, lease=3.0, storage_options=self.options)
