"""The Redis store beyond the contract: outages, locks of killed processes, foreign keys, secrets."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from eagerly import session, task
from eagerly._checks import Child
from eagerly.cache._redis import RedisStore
from eagerly.errors import CacheError, MissingExtraError, OptionTypeError, OptionValueError
from stand_ins import RedisServer, use_during_an_outage

KEY = bytes(range(20))
SECRET = b"known to these tests alone"


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One for the tests that leave it alone."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """One to be killed."""
    server = RedisServer(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def prefix() -> str:
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def store(shared_server: RedisServer, prefix: str) -> Iterator[RedisStore]:
    store = RedisStore(shared_server.url, signing_key=SECRET, prefix=prefix, lease=1.0)
    yield store
    store.close()


@pytest.fixture
def client(shared_server: RedisServer) -> Iterator[Any]:
    with redis.Redis.from_url(shared_server.url) as client:
        yield client


# Trust and secrets


def test_without_a_key_it_says_what_to_write() -> None:
    with pytest.raises(OptionValueError) as caught:
        RedisStore("redis://:hunter2@cache:6379/0")
    message = str(caught.value)
    assert "RedisStore('redis://:***@cache:6379/0', signing_key=...)" in message
    assert "RedisStore('redis://:***@cache:6379/0', safe=True)" in message
    assert "unpickling runs their code" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"signing_key": "text"}, OptionTypeError, "takes bytes, not str"),
        ({"signing_key": b""}, OptionValueError, r"RedisStore\(signing_key=\.\.\.\) has 0 bytes, which can be guessed"),
        ({"signing_key": b"k" * 15}, OptionValueError, "it takes 16 or more"),
        ({"signing_key": SECRET, "safe": 1}, OptionTypeError, "takes True or False, not 1"),
        ({"safe": True, "prefix": ""}, OptionValueError, "must not be empty"),
        ({"safe": True, "timeout": 0}, OptionValueError, "timeout"),
        ({"safe": True, "lease": -1}, OptionValueError, "lease"),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        RedisStore("redis://localhost", **options)


@pytest.mark.parametrize("url", ["http://localhost", "localhost:6379", "/tmp/redis", "redis+cluster://localhost"])
def test_a_url_for_something_else(url: str) -> None:
    with pytest.raises(OptionValueError, match=r"redis://host:6379/0.*rediss://.*unix://"):
        RedisStore(url, safe=True)


def test_a_url_is_a_str() -> None:
    with pytest.raises(OptionTypeError, match="not 6379"):
        RedisStore(6379, safe=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:hunter2@cache:6379/0", "redis://:***@cache:6379/0"),
        ("rediss://user:hunter2@cache/0?ssl_cert_reqs=none", "rediss://user:***@cache/0?ssl_cert_reqs=none"),
        ("redis://user:hun/ter2@x@cache/0", "redis://user:***@cache/0"),
        ("unix:///run/redis.sock?password=hunter2&db=1", "unix:///run/redis.sock?password=***&db=1"),
        ("redis://cache:6379", "redis://cache:6379"),
    ],
)
def test_no_secret_is_shown(url: str, shown: str) -> None:
    assert repr(RedisStore(url, signing_key=b"hunter2" * 3)) == f"RedisStore({shown!r}, signing_key=...)"
    assert repr(RedisStore(url, safe=True)) == f"RedisStore({shown!r}, safe=True)"


def test_a_wrong_password_is_not_shown_either(shared_server: RedisServer) -> None:
    store = RedisStore(f"redis://:hunter2@127.0.0.1:{shared_server.port}", safe=True)
    with pytest.raises(CacheError) as caught:
        store.get(KEY)
    assert "hunter2" not in str(caught.value)
    assert "cannot read" in str(caught.value)


def test_a_worker_gets_the_key_and_shows_it_to_nobody(store: RedisStore) -> None:
    store.get(KEY)
    copy = pickle.loads(pickle.dumps(store))
    assert (copy.signing_key, copy.safe, copy.namespace) == (SECRET, False, store.namespace)
    assert SECRET.decode() not in repr(copy)
    assert copy.stats().misses == 0


def test_the_prefix_is_part_of_the_signature() -> None:
    one, two = (RedisStore("redis://localhost", safe=True, prefix=prefix) for prefix in ("one", "two"))
    assert one.namespace != two.namespace


def test_without_redis_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(MissingExtraError) as caught:
        RedisStore("redis://localhost", safe=True)
    assert str(caught.value) == (
        "RedisStore needs the package 'redis', which is not installed: pip install 'eagerly[redis]'"
    )


def test_redis_is_imported_when_it_is_used() -> None:
    code = """
import sys
from eagerly.cache._redis import RedisStore
RedisStore("redis://localhost", safe=True)
assert "redis" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# What is on the server


def test_the_server_forgets_what_has_expired(store: RedisStore, client: Any, prefix: str) -> None:
    store.put(KEY, [b"x"], expires=time.time() + 100)
    assert 99_000 < client.pttl(f"{prefix}:v1:{KEY.hex()}") <= 100_001
    store.put(KEY, [b"x"])
    assert client.pttl(f"{prefix}:v1:{KEY.hex()}") == -1


def test_an_end_is_checked_when_reading(store: RedisStore, client: Any, prefix: str) -> None:
    """Somebody may have restored a dump, or set another end."""
    store.put(KEY, [b"x"], expires=time.time() + 0.05)
    name = f"{prefix}:v1:{KEY.hex()}"
    client.persist(name)
    while store.get(KEY) is not None:
        pass
    assert client.exists(name)
    assert list(store.entries()) == []


def test_clear_leaves_what_is_not_its_own(store: RedisStore, client: Any, prefix: str) -> None:
    longer = RedisStore(store._url, safe=True, prefix=f"{prefix}:v1")
    others = [f"{prefix}:v1:not hex", f"{prefix}:v1:{KEY.hex()}:more", f"{prefix}x:v1:{KEY.hex()}", f"{prefix}:other"]
    for name in others:
        client.set(name, "foreign")
    longer.put(KEY, [b"of the longer prefix"])
    store.put(KEY, [b"own"])
    assert store.stats().entries == 1
    assert [entry.key for entry in store.entries()] == [KEY]
    assert store.clear() == 1
    assert [client.get(name) for name in others] == [b"foreign"] * 4
    assert bytes(longer.get(KEY) or b"") == b"of the longer prefix"
    longer.close()


def test_a_prefix_is_no_pattern(shared_server: RedisServer, client: Any, prefix: str) -> None:
    starred = RedisStore(shared_server.url, safe=True, prefix=f"{prefix}*[a-z]?\\")
    client.set(f"{prefix}-b-:v1:{KEY.hex()}", "foreign")
    starred.put(KEY, [b"own"])
    assert starred.clear() == 1
    assert client.exists(f"{prefix}-b-:v1:{KEY.hex()}")
    starred.close()


def test_many_entries_are_listed_and_cleared_in_batches(store: RedisStore) -> None:
    keys = {number.to_bytes(20, "big") for number in range(1203)}
    for key in keys:
        store.put(key, [b"value"], tag="f")
    assert {entry.key for entry in store.entries("f")} == keys
    assert store.stats().entries == 1203
    assert store.clear() == 1203


@pytest.mark.parametrize("damage", [b"", b"eag", b"not a head at all" * 10, b"eagH\x01\x00\xff\xff" + bytes(100)])
def test_what_is_damaged_is_passed_on_as_it_is(store: RedisStore, client: Any, prefix: str, damage: bytes) -> None:
    """The envelope inside says what is wrong with it."""
    store.put(KEY, [b"value"], tag="f")
    client.set(f"{prefix}:v1:{KEY.hex()}", damage)
    assert bytes(store.get(KEY) or b"") == damage
    assert list(store.entries()) == []


def test_a_flipped_bit_is_passed_on(store: RedisStore, client: Any, prefix: str) -> None:
    store.put(KEY, [b"value"])
    client.setrange(f"{prefix}:v1:{KEY.hex()}", 64 + 1, b"A")
    assert bytes(store.get(KEY) or b"") == b"vAlue"


def test_a_value_too_large_for_any_server_is_refused_here(store: RedisStore) -> None:
    half = memoryview(bytes(256 * 2**20))
    with pytest.raises(CacheError, match="more than a Redis server takes for one entry, 536870912 bytes"):
        store.put(KEY, [half, half])
    store.put(KEY, [b"small"])  # that was no outage


def test_a_foreign_type_of_key_is_an_error_and_no_outage(store: RedisStore, client: Any, prefix: str) -> None:
    client.lpush(f"{prefix}:v1:{KEY.hex()}", "x")
    with pytest.raises(CacheError, match="WRONGTYPE"):
        store.get(KEY)
    assert store.get(bytes(20)) is None
    assert list(store.entries()) == []
    assert store.stats()[2:] == (1, 0, 0)  # one error, no bytes, no entry


# Outages


def test_an_outage_in_the_middle(server: RedisServer) -> None:
    store = RedisStore(server.url, signing_key=SECRET, timeout=2.0)
    store.put(KEY, [b"before"])
    server.kill()
    calls: list[Any] = [
        lambda: store.get(KEY),
        lambda: store.put(KEY, [b"x"]),
        lambda: store.delete(KEY),
        lambda: store.clear(),
        lambda: store.stats(),
        lambda: list(store.entries()),
        lambda: store.try_lock(KEY),
        lambda: store.mark_waiting(KEY),
        lambda: store.is_waited_for(KEY),
    ]
    for call in calls:
        with pytest.raises(CacheError) as caught:
            call()
        assert server.password not in str(caught.value)
    with pytest.raises(CacheError, match="did not answer just now"):
        for _ in range(1000):  # at once, so that a thousand come within the second
            store.get(KEY)
    server.start()
    deadline = time.monotonic() + 30
    while True:
        try:
            store.put(KEY, [b"after"])
            break
        except CacheError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert bytes(store.get(KEY) or b"") == b"after"
    assert store.stats().errors >= len(calls)
    store.close()


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_tasks_go_on_without_their_server_and_use_it_again(is_async: bool, server: RedisServer) -> None:
    store = RedisStore(server.url, signing_key=SECRET, timeout=2.0)
    use_during_an_outage(store, server, server.start, is_async=is_async)
    store.close()


def test_a_restart_between_two_calls_is_not_noticed(server: RedisServer) -> None:
    store = RedisStore(server.url, signing_key=SECRET)
    assert store.get(KEY) is None
    server.kill()
    server.start()
    store.put(KEY, [b"value"])
    assert bytes(store.get(KEY) or b"") == b"value"
    store.close()


def test_a_server_that_does_not_answer_costs_its_timeout_once(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says anything
        store = RedisStore(f"redis://127.0.0.1:{silent.getsockname()[1]}", safe=True, timeout=0.1)
        with pytest.raises(CacheError, match="Timeout"):
            store.get(KEY)
        with pytest.raises(CacheError, match="did not answer just now"):
            store.get(KEY)
        store.close()


def test_only_one_of_many_threads_looks_whether_it_is_back(server: RedisServer, monkeypatch: Any) -> None:
    """After the pause, one caller pays for the attempt, and the others are told at once."""
    now = [0.0]
    monkeypatch.setattr("eagerly.cache._outside.time.monotonic", lambda: now[0])
    store = RedisStore(server.url, safe=True)
    server.kill()
    with pytest.raises(CacheError, match="failed"):
        store.get(KEY)
    now[0] += 1.5
    with pytest.raises(CacheError, match="failed"), store._asking("read"):
        with pytest.raises(CacheError, match="did not answer just now"):
            store.get(KEY)  # while the first one is trying
        raise redis.ConnectionError("still down")
    store.close()


# Locks


def test_many_processes_want_one_key(store: RedisStore) -> None:
    """Exactly one of them gets it."""
    gate, opened = os.pipe()

    def want(tell: Any) -> None:
        os.close(opened)
        os.read(gate, 1)  # returns for all of them when the parent closes its end
        if store.try_lock(KEY) is not None:
            tell()
            time.sleep(600)  # to be killed

    children = [Child(want) for _ in range(6)]
    os.close(gate)
    os.close(opened)
    try:
        winners = 0
        for child in children:
            with contextlib.suppress(AssertionError):  # those that do not get it end without telling
                child.wait_until_told()
                winners += 1
    finally:
        for child in children:
            child.kill()
    assert winners == 1


def test_a_lock_that_is_held_outlives_its_lease(store: RedisStore, client: Any, prefix: str) -> None:
    """It is renewed as long as it is held, by one thread for all of them."""
    before = threading.active_count()
    other = RedisStore(store._url, safe=True, prefix=prefix, lease=0.3)
    keys = [bytes([number]) * 20 for number in range(3)]
    locks = [other.try_lock(key) for key in keys]
    deadline = time.monotonic() + 1.0  # more than three leases
    while time.monotonic() < deadline:
        assert [store.try_lock(key) for key in keys] == [None] * 3
    assert threading.active_count() - before <= 1
    for lock in locks:
        assert lock is not None
        lock.release()
    assert client.keys(f"{prefix}:lock:*") == []
    other.close()


def test_a_lock_that_nobody_has_any_more_runs_out(store: RedisStore, prefix: str) -> None:
    other = RedisStore(store._url, safe=True, prefix=prefix, lease=0.2)
    assert other.try_lock(KEY) is not None  # and the lock is gone
    deadline = time.monotonic() + 30
    while (lock := store.try_lock(KEY)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lock.release()
    other.close()


def test_a_lock_that_was_lost_is_not_released_for_its_new_owner(store: RedisStore, client: Any, prefix: str) -> None:
    lock = store.try_lock(KEY)
    assert lock is not None
    client.delete(f"{prefix}:lock:{KEY.hex()}")  # as if the lease had run out
    other = store.try_lock(KEY)
    assert other is not None
    lock.release()
    assert store.try_lock(KEY) is None
    other.release()


def test_a_child_does_not_release_the_lock_of_its_parent(store: RedisStore) -> None:
    lock = store.try_lock(KEY)
    assert lock is not None

    def child(_tell: Any) -> None:
        lock.release()
        assert store.try_lock(KEY) is None
        second = store.try_lock(bytes(20))
        assert second is not None
        second.release()

    forked = Child(child)
    try:
        forked.join()
    finally:
        forked.kill()
    assert store.try_lock(KEY) is None
    lock.release()


def test_a_lock_is_released_quietly_when_the_server_has_gone(server: RedisServer) -> None:
    store = RedisStore(server.url, safe=True)
    lock = store.try_lock(KEY)
    assert lock is not None
    server.kill()
    lock.release()
    assert store._leases._held == {}
    store.close()


def test_a_mark_is_renewed_and_its_name_goes_with_it(store: RedisStore, client: Any, prefix: str) -> None:
    other = RedisStore(store._url, safe=True, prefix=prefix, lease=0.3)
    mark = other.mark_waiting(KEY)
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        assert store.is_waited_for(KEY)
    other.unmark_waiting(mark)
    assert not store.is_waited_for(KEY)
    assert client.keys(f"{prefix}:wait:*") == []
    other.close()


def test_two_stores_of_one_process_that_are_used_in_opposite_order_do_not_hang(
    shared_server: RedisServer, prefix: str
) -> None:
    both_hold_one = threading.Barrier(2)
    results: list[int] = []

    @task(cache=True, cache_ignore=("outermost",))
    def left(outermost: bool) -> int:
        if outermost:
            both_hold_one.wait(10)
            return right(False) + 1
        return 1

    @task(cache=True, cache_ignore=("outermost",))
    def right(outermost: bool) -> int:
        if outermost:
            both_hold_one.wait(10)
            return left(False) + 1
        return 1

    def run(call: Any) -> None:
        with session(cache_store=RedisStore(shared_server.url, signing_key=SECRET, prefix=prefix)):
            results.append(call(True))

    threads = [threading.Thread(target=run, args=(call,), daemon=True) for call in (left, right)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert len(results) == 2
    assert 2 in results  # who gives way computes it alone
