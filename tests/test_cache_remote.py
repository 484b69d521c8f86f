"""The remote store beyond the contract: outages, killed processes, foreign objects, many file systems, secrets."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from eagerly._checks import Child
from eagerly.cache._objects import open_root
from eagerly.cache._remote import RemoteStore
from eagerly.errors import CacheError, MissingExtraError, OptionTypeError, OptionValueError
from stand_ins import S3Server, use_during_an_outage

KEY = bytes(range(20))
SECRET = b"known to these tests alone"
ENTRY = f"v1/{KEY.hex()[:2]}/{KEY.hex()}"
LOCK = f"v1-locks/{KEY.hex()}"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def store(place: Path) -> RemoteStore:
    return RemoteStore(str(place), signing_key=SECRET, lease=1.0)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    try:
        server.start()
        server.make_bucket("bucket")
        yield server
    finally:
        server.kill()


def files(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())


# Trust, places and secrets


def test_without_a_key_it_says_what_to_write() -> None:
    with pytest.raises(OptionValueError) as caught:
        RemoteStore("memory://cache")
    message = str(caught.value)
    assert "RemoteStore('memory://cache', signing_key=...)" in message
    assert "RemoteStore('memory://cache', safe=True)" in message
    assert "unpickling runs their code" in message


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((12,), OptionTypeError, "takes a URL, a path or an fsspec file system, not 12"),
        (("",), OptionValueError, "must not be empty; write a URL such as 's3://bucket/cache', or a path"),
        (("nosuch://bucket",), OptionValueError, "fsspec knows no nosuch://"),
        (("simplecache::s3://bucket",), OptionValueError, "write the last URL alone"),
        (("memory://cache", "more"), OptionTypeError, "append 'more' to the URL"),
        ((MemoryFileSystem(),), OptionTypeError, "takes a directory in it"),
    ],
)
def test_places_that_cannot_be(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        RemoteStore(*arguments, safe=True)


def test_an_asynchronous_file_system_is_refused() -> None:
    filesystem = fsspec.filesystem("http", asynchronous=True, skip_instance_cache=True)
    with pytest.raises(OptionValueError, match="asynchronous=True; leave that out"):
        RemoteStore(filesystem, "cache", safe=True)


@pytest.mark.parametrize(
    ("package", "url", "command"),
    [
        ("fsspec", "memory://cache", "pip install 'eagerly[fsspec]'"),
        ("fsspec", "s3://bucket/cache", "pip install 'eagerly[s3]'"),
        ("s3fs", "s3a://bucket/cache", "pip install 'eagerly[s3]'"),
        ("s3fs", "s3://bucket/cache", "pip install 'eagerly[s3]'"),
        ("gcsfs", "gs://bucket/cache", "pip install gcsfs"),
    ],
)
def test_a_missing_package_is_named_with_its_command(
    package: str, url: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError) as caught:
        RemoteStore(url, safe=True)
    assert f"needs the package {package!r}, which is not installed: {command}" in str(caught.value)


def test_the_package_of_a_file_system_is_imported_when_it_is_used() -> None:
    code = """
import sys
from eagerly.cache._remote import RemoteStore
assert "fsspec" not in sys.modules
RemoteStore("s3://bucket/cache", safe=True)
assert "s3fs" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_secret_is_shown() -> None:
    store = RemoteStore("ftp://user:hunter2@host/cache", signing_key=b"hunter2" * 3)
    assert repr(store) == "RemoteStore('ftp://user:***@host/cache', signing_key=...)"
    assert "hunter2" not in store.namespace


def test_storage_options_are_not_shown() -> None:
    store = RemoteStore("memory://cache", safe=True, storage_options={"secret": "hunter2"})
    assert repr(store) == "RemoteStore('memory://cache', safe=True)"


def test_a_worker_gets_the_key_and_the_options(store: RemoteStore) -> None:
    store.put(KEY, [b"value"])
    lock = store.try_lock(KEY)
    copy = pickle.loads(pickle.dumps(store))
    assert (copy.signing_key, copy.safe, copy.namespace) == (SECRET, False, store.namespace)
    assert bytes(copy.get(KEY)) == b"value"
    assert SECRET.decode() not in repr(copy)
    assert lock is not None
    lock.release()


def test_the_place_is_part_of_the_signature_unless_it_is_given_a_name(tmp_path: Path) -> None:
    assert (
        RemoteStore(str(tmp_path / "a"), safe=True).namespace != RemoteStore(str(tmp_path / "b"), safe=True).namespace
    )
    assert RemoteStore(tmp_path / "a", safe=True, namespace="team").namespace == "team"


def test_a_path_is_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = RemoteStore("here/cache", safe=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.put(KEY, [b"value"])
    assert files(tmp_path) == [f"here/cache/{ENTRY}"]


# File systems


@pytest.mark.parametrize(
    "make",
    [
        lambda path: (LocalFileSystem(), str(path)),
        lambda path: (MemoryFileSystem(), f"/{path.name}-{uuid.uuid4().hex}"),
        lambda path: (DirFileSystem(path=str(path), fs=LocalFileSystem(auto_mkdir=True)), "below"),
    ],
    ids=["local", "memory", "dir"],
)
def test_a_file_system_may_be_given(make: Any, tmp_path: Path) -> None:
    filesystem, root = make(tmp_path)
    store = RemoteStore(filesystem, root, safe=True)
    store.put(KEY, [b"va", b"lue"], tag="f")
    other = pickle.loads(pickle.dumps(store))
    assert bytes(other.get(KEY)) == b"value"
    assert [(entry.key, entry.size) for entry in other.entries("f")] == [(KEY, 5)]
    assert other.delete(KEY)
    assert store.get(KEY) is None
    assert store.clear() == 0


def test_without_exclusive_creation_everybody_is_granted_the_lock(tmp_path: Path) -> None:
    filesystem = DirFileSystem(path=str(tmp_path), fs=LocalFileSystem(auto_mkdir=True))
    store = RemoteStore(filesystem, "below", safe=True)
    locks = [store.try_lock(KEY), store.try_lock(KEY)]
    for lock in locks:
        assert lock is not None
        lock.release()
    assert files(tmp_path) == []


def test_a_transaction_of_the_user_does_not_hold_entries_back(tmp_path: Path) -> None:
    filesystem = LocalFileSystem()
    store = RemoteStore(filesystem, str(tmp_path / "cache"), safe=True)
    with filesystem.transaction:
        store.put(KEY, [b"value"])
        assert bytes(store.get(KEY) or b"") == b"value"


def test_it_works_below_a_running_event_loop(store: RemoteStore, s3: S3Server) -> None:
    import asyncio

    remote = RemoteStore(f"s3://bucket/{uuid.uuid4().hex}", safe=True, storage_options=s3.options)

    async def use() -> bytes:
        remote.put(KEY, [b"value"])
        return bytes(await asyncio.to_thread(remote.get, KEY) or b"")

    assert asyncio.run(use()) == b"value"
    assert asyncio.run(use()) == b"value"
    remote.close()


# What is in the place


def test_entries_lie_in_shards_by_their_key(store: RemoteStore, place: Path) -> None:
    store.put(KEY, [b"value"], tag="package.f", expires=time.time() + 100)
    assert files(place) == [ENTRY]
    data = (place / ENTRY).read_bytes()
    assert data.startswith(b"eagH\x01")
    assert len(data) == 64 + len(b"value")
    assert data.endswith(b"value")


def test_clear_leaves_what_is_not_its_own(store: RemoteStore, place: Path) -> None:
    foreign = ["readme", "v1/readme", "v1/ab/readme", "v1/ab/cd00", "v1/00/00/00", "v2/00/0001", f"other/{ENTRY}"]
    for name in foreign:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("foreign")
    store.put(KEY, [b"own"])
    assert store.stats()[3:] == (67, 1)
    assert [entry.key for entry in store.entries()] == [KEY]
    assert store.clear() == 1
    assert files(place) == sorted(foreign)


def test_a_root_is_no_pattern(tmp_path: Path) -> None:
    for name in ("[ab]", "a", "b*", "bc"):
        RemoteStore(str(tmp_path / name), safe=True).put(KEY, [name.encode()])
    memory = [RemoteStore(f"memory://{tmp_path.name}/{name}", safe=True) for name in ("[ab]", "a")]
    for each in memory:
        each.put(KEY, [b"value"])
    assert RemoteStore(str(tmp_path / "[ab]"), safe=True).clear() == 1
    assert RemoteStore(str(tmp_path / "b*"), safe=True).clear() == 1
    assert files(tmp_path) == [f"a/{ENTRY}", f"bc/{ENTRY}"]
    assert memory[0].clear() == 1
    assert memory[0].get(KEY) is None
    assert memory[1].get(KEY) is not None


@pytest.mark.parametrize("damage", [b"", b"eag", b"not a head at all" * 10, b"eagH\x01\x00\xff\xff" + bytes(100)])
def test_what_is_damaged_is_passed_on_as_it_is(store: RemoteStore, place: Path, damage: bytes) -> None:
    """The envelope inside says what is wrong with it."""
    store.put(KEY, [b"value"])
    (place / ENTRY).write_bytes(damage)
    assert bytes(store.get(KEY) or b"") == damage
    assert list(store.entries()) == []


def test_what_cannot_be_read_is_an_error_and_can_be_replaced(store: RemoteStore, place: Path) -> None:
    (place / ENTRY).mkdir(parents=True)
    with pytest.raises(CacheError, match=r"cannot read: RemoteStore\(.*IsADirectoryError"):
        store.get(KEY)
    (place / ENTRY).rmdir()
    store.put(KEY, [b"value"])
    assert bytes(store.get(KEY) or b"") == b"value"
    assert store.stats().errors == 1


def test_a_failed_write_leaves_the_old_value_and_no_file(store: RemoteStore, place: Path) -> None:
    store.put(KEY, [b"old"])
    code = f"""
import resource, signal
from eagerly.cache._remote import RemoteStore
from eagerly.errors import CacheError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # as on a full disk
store = RemoteStore({str(place)!r}, safe=True)
try:
    store.put({KEY!r}, [bytes(200_000)])
except CacheError as error:
    print(error)
print(bytes(store.get({KEY!r})))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "File too large" in out
    assert out.endswith("b'old'\n")
    assert files(place) == [ENTRY]


@pytest.mark.parametrize("kills", [8, pytest.param(150, marks=pytest.mark.slow)])
def test_a_killed_writer_leaves_whole_values_only(place: Path, kills: int) -> None:
    store = RemoteStore(str(place), safe=True)
    store.put(KEY, [b"0" * 100_000, b"end"])

    def put_for_ever(tell: Any) -> None:
        tell()
        for number in range(10**9):
            store.put(KEY, [b"%d" % (number % 10) * 100_000, b"end"])

    for number in range(kills):
        writer = Child(put_for_ever)
        writer.wait_until_told()
        deadline = time.monotonic() + 0.002 * (number % 25)
        while time.monotonic() < deadline:
            found = bytes(store.get(KEY) or b"")
            assert len(found) == 100_003
            assert found.endswith(b"end")
        writer.kill()
        found = bytes(store.get(KEY) or b"")
        assert len(set(found[:-3])) == 1
        assert found.endswith(b"end")
    left = [place / name for name in files(place) if name != ENTRY]
    assert all(path.name.endswith(".eagerly-tmp") for path in left)
    for path in left:
        os.utime(path, (1, 1))
    assert store.clear() == 1
    assert files(place) == []


def test_clear_leaves_what_is_being_written_and_held(store: RemoteStore, place: Path) -> None:
    """Only what has not been touched for an hour was left behind."""
    lock, mark = store.try_lock(KEY), store.mark_waiting(KEY)
    temporary = place / "v1" / "00" / f".{KEY.hex()}-1234.eagerly-tmp"
    temporary.parent.mkdir(parents=True)
    temporary.write_bytes(b"half of a val")
    assert store.clear() == 0
    assert len(files(place)) == 3
    for name in files(place):
        os.utime(place / name, (1, 1))
    assert store.clear() == 0
    assert files(place) == []
    assert lock is not None
    lock.release()
    mark.release()


# Outages


def test_an_outage_in_the_middle(tmp_path: Path) -> None:
    server = S3Server(tmp_path)
    try:
        server.start()
        server.make_bucket("bucket")
        store = RemoteStore("s3://bucket/cache", signing_key=SECRET, storage_options=server.options)
        store.put(KEY, [b"before"])
        server.kill()
        with pytest.raises(CacheError, match=r"cannot write: .* failed"):
            store.put(KEY, [b"x"])
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
            with pytest.raises(CacheError):
                call()
        server.start()
        server.make_bucket("bucket")
        deadline = time.monotonic() + 60
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
    finally:
        server.kill()


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_tasks_go_on_without_their_server_and_use_it_again(is_async: bool, tmp_path: Path) -> None:
    server = S3Server(tmp_path)

    def start() -> None:
        server.start()
        server.make_bucket("bucket")  # it forgets

    try:
        start()
        store = RemoteStore("s3://bucket/cache", signing_key=SECRET, storage_options=server.options)
        use_during_an_outage(store, server, start, is_async=is_async)
        store.close()
    finally:
        server.kill()


def test_a_missing_bucket_is_an_error_and_no_outage(s3: S3Server) -> None:
    store = RemoteStore("s3://nosuch/cache", safe=True, storage_options=s3.options)
    for _ in range(2):
        assert store.get(KEY) is None
        with pytest.raises(CacheError, match=r"cannot write: .* failed .*bucket does not exist"):
            store.put(KEY, [b"x"])


def test_the_timeouts_of_s3_can_be_replaced() -> None:
    assert RemoteStore("s3://bucket/x", safe=True)._root.options["config_kwargs"]["connect_timeout"] < 10
    mine = {"config_kwargs": {"connect_timeout": 60}}
    assert RemoteStore("s3://bucket/x", safe=True, storage_options=mine)._root.options == mine


# Locks


def winners_among(processes: int, url: str, options: dict[str, Any]) -> int:
    """How many of so many processes get the lock that all of them try to get at the same moment, for a while."""
    gate, opened = os.pipe()

    def want(tell: Any) -> None:
        os.close(opened)
        store = RemoteStore(url, safe=True, storage_options=options)
        store.get(KEY)  # so that all are ready
        os.read(gate, 1)  # returns for all of them when the parent closes its end
        deadline = time.monotonic() + 0.3  # much less than the lease
        while time.monotonic() < deadline:
            if store.try_lock(KEY) is not None:
                tell()
                time.sleep(600)  # to be killed

    children = [Child(want) for _ in range(processes)]
    os.close(gate)
    os.close(opened)
    winners = 0
    try:
        for child in children:
            with contextlib.suppress(AssertionError):  # those that do not get it end without telling
                child.wait_until_told()
                winners += 1
    finally:
        for child in children:
            child.kill()
    return winners


def test_many_processes_want_one_key(place: Path) -> None:
    assert winners_among(6, str(place), {}) == 1


def test_many_processes_want_one_key_on_s3(s3: S3Server) -> None:
    assert winners_among(3, f"s3://bucket/{uuid.uuid4().hex}", s3.options) == 1


@pytest.mark.parametrize("rounds", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_one_of_many_takes_over_from_a_killed_process(place: Path, rounds: int) -> None:
    """A lock whose owner is dead is not given to two."""
    (place / "v1-locks").mkdir(parents=True)
    for _ in range(rounds):
        (place / LOCK).write_bytes(b"token of the dead")
        os.utime(place / LOCK, (1, 1))
        assert winners_among(4, str(place), {}) == 1


def test_only_one_replaces_a_dead_token(place: Path) -> None:
    """At the very moment in which one process takes over, another one tries."""
    objects = open_root(str(place), None, {}).open()
    (place / "v1-locks").mkdir(parents=True)
    (place / LOCK).write_bytes(b"token of the dead")
    os.utime(place / LOCK, (1, 1))
    write, granted = objects.write, []

    def write_with_company(path: str, parts: Any) -> None:
        granted.append(open_root(str(place), None, {}).open().claim(path, b"second", 10.0))
        write(path, parts)

    objects.write = write_with_company  # type: ignore[method-assign]
    assert objects.claim(LOCK, b"first", 10.0)
    assert granted == [False]
    assert (place / LOCK).read_bytes() == b"first"
    assert files(place) == [LOCK]


def test_a_claim_of_a_killed_process_does_not_block_for_ever(store: RemoteStore, place: Path) -> None:
    """Killed twice: while it held the lock, and while another took it over."""
    (place / "v1-locks").mkdir(parents=True)
    (place / LOCK).write_bytes(b"dead")
    claim = place / f"{LOCK}.after-{b'dead'.hex()}"
    claim.write_bytes(b"dead too")
    os.utime(place / LOCK, (1, 1))
    assert store.try_lock(KEY) is None  # the claim is young: somebody may be taking over
    os.utime(claim, (1, 1))
    assert store.try_lock(KEY) is None  # removes it
    lock = store.try_lock(KEY)
    assert lock is not None
    lock.release()
    assert files(place) == []


def test_a_lock_that_was_created_and_never_filled_runs_out(store: RemoteStore, place: Path) -> None:
    (place / "v1-locks").mkdir(parents=True)
    (place / LOCK).touch()
    assert store.try_lock(KEY) is None
    os.utime(place / LOCK, (1, 1))
    lock = store.try_lock(KEY)
    assert lock is not None
    lock.release()


def test_a_lock_that_is_held_outlives_its_lease(place: Path) -> None:
    store = RemoteStore(str(place), safe=True, lease=0.3)
    other = RemoteStore(str(place), safe=True, lease=0.3)
    lock, mark = store.try_lock(KEY), store.mark_waiting(KEY)
    deadline = time.monotonic() + 1.0  # more than three leases
    while time.monotonic() < deadline:
        assert other.try_lock(KEY) is None
        assert other.is_waited_for(KEY)
    assert lock is not None
    lock.release()
    mark.release()
    assert files(place) == []


def test_a_lock_that_was_lost_is_not_released_for_its_new_owner(store: RemoteStore, place: Path) -> None:
    lock = store.try_lock(KEY)
    assert lock is not None
    (place / LOCK).write_bytes(b"of another")
    lock.release()
    assert (place / LOCK).read_bytes() == b"of another"


def test_a_child_does_not_release_the_lock_of_its_parent(store: RemoteStore) -> None:
    lock = store.try_lock(KEY)
    assert lock is not None

    def child(_tell: Any) -> None:
        lock.release()
        assert store.try_lock(KEY) is None

    forked = Child(child)
    try:
        forked.join()
    finally:
        forked.kill()
    assert store.try_lock(KEY) is None
    lock.release()


def test_a_forked_child_talks_to_s3_by_itself(s3: S3Server) -> None:
    store = RemoteStore(f"s3://bucket/{uuid.uuid4().hex}", safe=True, storage_options=s3.options)
    store.put(KEY, [b"parent"])
    context = multiprocessing.get_context("fork")
    child = context.Process(target=store.put, args=(bytes(20), [b"child"]))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert bytes(store.get(bytes(20)) or b"") == b"child"
    assert bytes(store.get(KEY) or b"") == b"parent"
    store.close()


@pytest.mark.parametrize("name", ["plain", "a*b", "a[1]", "a?"])
def test_signs_of_patterns_in_the_root(name: str, tmp_path: Path) -> None:
    class Folders(LocalFileSystem):  # type: ignore[misc]
        protocol = ("folders",)  # neither known as local nor as whole, and with the move that all file systems inherit
        mv = fsspec.AbstractFileSystem.mv

    store = RemoteStore(Folders(), str(tmp_path / name), safe=True)
    store.put(bytes(20), [b"value"])
    assert bytes(store.get(bytes(20)) or b"") == b"value"
    assert store.clear() == 1
