"""The disk store: what it keeps, forgets, lists and counts; threads, forks and pickles."""

from __future__ import annotations

import functools
import gc
import hashlib
import itertools
import os
import pickle
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eagerly.cache._disk import DiskStore
from eagerly.cache._protocol import CacheStats, CacheStore, ListsEntries, LocksKeys
from eagerly.errors import CacheError, OptionTypeError, OptionValueError

LARGE = 100_000
"""Bytes; enough for a file of its own."""

FDS = Path("/proc/self/fd")


def key(name: object) -> bytes:
    return hashlib.sha1(repr(name).encode()).digest()


def files_in(path: Path) -> list[Path]:
    """The value files, and temporary ones."""
    return sorted(each for each in path.glob("??/*") if each.is_file())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def store(path: Path) -> DiskStore:
    return DiskStore(path)


def test_it_is_a_store_that_lists_and_locks(store: DiskStore) -> None:
    assert isinstance(store, CacheStore)
    assert isinstance(store, ListsEntries)
    assert isinstance(store, LocksKeys)
    assert store.blocking
    assert store.trusted


def test_constructing_and_asking_write_nothing(store: DiskStore, path: Path) -> None:
    assert store.get(key(1)) is None
    assert not store.delete(key(1))
    assert store.clear() == 0
    assert list(store.entries()) == []
    assert store.generation() == b""
    assert store.stats() == CacheStats(0, 1, 0, 0, 0)
    store.close()
    assert not path.exists()


@pytest.mark.parametrize("size", [0, 1, 32 * 1024, 32 * 1024 + 1, LARGE])
def test_what_is_put_can_be_got(store: DiskStore, path: Path, size: int) -> None:
    content = os.urandom(size)
    store.put(key(1), [content[:10], memoryview(content)[10:20], bytearray(content[20:])], tag="m.f")
    for reader in (store, DiskStore(path)):
        found = reader.get(key(1))
        assert found is not None
        assert bytes(found) == content


def test_a_new_small_entry_takes_one_statement(store: DiskStore) -> None:
    store.put(key(-1), [b"x"])
    store.put(key(0), [b"x"])  # which sees what the first one has made
    connection = store._pool.take()
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    store._pool.give_back(connection)
    for number in range(1, 10):
        store.put(key(number), [b"x"], tag="m.f")
    assert {each.split()[0] for each in statements} == {"INSERT"}  # those of its trigger are told under its name
    assert store.stats()[3:] == (11, 11)
    before = store.generation()
    store.put(key(1), [b"another"])  # which takes more, as others may have the old one in memory
    assert store.generation() != before
    assert store.get(key(1)) == b"another"


def test_parts_may_be_of_any_item_size(store: DiskStore) -> None:
    numbers = memoryview(bytearray(LARGE)).cast("d")
    store.put(key(1), [b"x", numbers])
    assert bytes(store.get(key(1)) or b"") == b"x" + bytes(LARGE)
    store.put(key(2), [b"x", numbers[:10]])
    assert store.get(key(2)) == b"x" + bytes(80)


def test_a_large_entry_is_a_writable_view_whose_changes_nobody_sees(store: DiskStore) -> None:
    store.put(key(1), [bytes(LARGE)])
    first = store.get(key(1))
    assert isinstance(first, memoryview)
    first[:3] = b"abc"
    second = store.get(key(1))
    assert second is not None
    assert bytes(second) == bytes(LARGE)


def test_a_view_outlives_its_entry(store: DiskStore) -> None:
    store.put(key(1), [b"a" * LARGE])
    view = store.get(key(1))
    store.put(key(1), [b"b" * LARGE])
    store.delete(key(1))
    store.close()
    assert view is not None
    assert bytes(view) == b"a" * LARGE


@pytest.mark.parametrize("old", [10, LARGE])
@pytest.mark.parametrize("new", [10, LARGE])
def test_an_entry_can_be_replaced(store: DiskStore, path: Path, old: int, new: int) -> None:
    store.put(key(1), [b"o" * old])
    store.put(key(1), [b"n" * new])
    found = store.get(key(1))
    assert found is not None
    assert bytes(found) == b"n" * new
    assert store.stats().bytes == new
    assert len(files_in(path)) == (new == LARGE)


@pytest.mark.parametrize("size", [10, LARGE])
def test_an_entry_can_be_deleted_once(store: DiskStore, path: Path, size: int) -> None:
    store.put(key(1), [b"x" * size])
    assert store.delete(key(1))
    assert not store.delete(key(1))
    assert store.get(key(1)) is None
    assert files_in(path) == []


def test_all_is_private(store: DiskStore, path: Path) -> None:
    old = os.umask(0)
    try:
        store.put(key(1), [b"x"])
        store.put(key(2), [b"x" * LARGE])
        lock = store.try_lock(key(3))
    finally:
        os.umask(old)
    assert lock is not None
    lock.release()
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    found = {each.relative_to(path): stat.S_IMODE(each.stat().st_mode) for each in path.rglob("*")}
    assert len(found) == 8
    for name, mode in found.items():
        assert mode == (0o700 if (path / name).is_dir() else 0o600), name
    assert (path / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize("first", ["put", "try_lock"])
def test_a_directory_in_which_something_is_gets_no_gitignore(tmp_path: Path, first: str) -> None:
    for name, ignored in (("full", False), ("empty", True)):
        (tmp_path / name).mkdir(mode=0o700)
        if not ignored:
            (tmp_path / name / "notes.txt").write_text("to be committed")
        store = DiskStore(tmp_path / name)
        if first == "try_lock":
            lock = store.try_lock(key(1))
            assert lock is not None
            lock.release()
        store.put(key(1), [b"x"])
        assert store.get(key(1)) == b"x"
        assert (tmp_path / name / ".gitignore").exists() is ignored


def test_an_entry_ends_when_it_expires(store: DiskStore) -> None:
    now = time.time()
    store.put(key("past"), [b"x"], expires=now - 1)
    store.put(key("future"), [b"x"], expires=now + 1000)
    store.put(key("file"), [b"x" * LARGE], expires=now - 1)
    assert store.get(key("past")) is None
    assert store.get(key("file")) is None
    assert store.get(key("future")) == b"x"
    assert [each.expires for each in store.entries() if each.expires > now] == [now + 1000]
    assert not store.delete(key("past"))


def test_expired_entries_make_room(path: Path) -> None:
    store = DiskStore(path)
    for number in range(5):
        store.put(key(number), [b"x" * LARGE], expires=time.time() - 1)
    DiskStore(path).put(key("new"), [b"x"])
    assert files_in(path) == []
    assert store.stats().entries == 1


def test_entries_are_listed_newest_first(store: DiskStore) -> None:
    before = time.time()
    store.put(key(1), [b"one"], tag="m.f")
    store.put(key(2), [b"x" * LARGE], tag="m.g", expires=before + 100)
    store.put(key(3), [b"three"], tag="m.f")
    entries = list(store.entries())
    assert [each.key for each in entries] == [key(3), key(2), key(1)]
    assert [each.tag for each in entries] == ["m.f", "m.g", "m.f"]
    assert [each.size for each in entries] == [5, LARGE, 3]
    assert [each.expires for each in entries] == [None, before + 100, None]
    assert all(before <= each.stored_at <= time.time() for each in entries)
    assert [each.key for each in store.entries("m.f")] == [key(3), key(1)]
    assert list(store.entries("m")) == []


def test_stats_count_what_was_seen_here_and_is_held_by_all(store: DiskStore, path: Path) -> None:
    store.put(key(1), [b"x" * 10])
    store.put(key(2), [b"x" * LARGE])
    store.get(key(1))
    store.get(key(2))
    store.get(key(3))
    assert store.stats() == CacheStats(2, 1, 0, LARGE + 10, 2)
    assert DiskStore(path).stats() == CacheStats(0, 0, 0, LARGE + 10, 2)


def test_clear_leaves_what_others_wrote(store: DiskStore, path: Path) -> None:
    store.put(key(1), [b"x"])
    store.put(key(2), [b"x" * LARGE])
    store.put(key(3), [b"x" * LARGE])
    shard = next(path.glob("??"))
    (shard / "README").write_text("mine")
    (path / "notes.txt").write_text("mine")
    (path / "zz").mkdir()
    assert store.clear() == 3
    assert store.clear() == 0
    assert store.stats()[3:] == (0, 0)
    assert [each.name for each in files_in(path)] == ["README"]
    assert (path / "notes.txt").read_text() == "mine"
    assert (path / "zz").is_dir()
    assert len(list(path.glob("??"))) == 2


class TestSize:
    def test_the_least_recently_used_go_first(self, path: Path) -> None:
        store = DiskStore(path, size_limit=5 * LARGE)
        for number in range(4):
            store.put(key(number), [b"x" * LARGE])
        store.get(key(0))
        store.put(key(4), [b"x" * LARGE])
        store.put(key(5), [b"x" * LARGE])
        assert {number for number in range(6) if store.get(key(number))} == {0, 3, 4, 5}
        assert len(files_in(path)) == 4

    def test_no_more_goes_than_must(self, path: Path) -> None:
        store = DiskStore(path, size_limit=10 * LARGE)
        for number in range(30):
            store.put(key(number), [b"x" * LARGE])
            assert store.stats().bytes <= 10 * LARGE
        assert store.stats().entries == 9

    def test_many_small_ones_are_bounded_too(self, path: Path) -> None:
        store = DiskStore(path, size_limit=200_000)
        for number in range(2000):
            store.put(key(number), [b"x" * 300])
        assert 300 < store.stats().entries < 400
        assert sum(each.stat().st_size for each in path.glob("cache.db")) < 400_000

    def test_what_another_store_used_counts_once_it_is_closed(self, path: Path) -> None:
        store = DiskStore(path, size_limit=5 * LARGE)
        for number in range(4):
            store.put(key(number), [b"x" * LARGE])
        reader = DiskStore(path, size_limit=5 * LARGE)
        reader.get(key(0))
        reader.close()
        store.put(key(4), [b"x" * LARGE])
        store.put(key(5), [b"x" * LARGE])
        assert {number for number in range(6) if store.get(key(number))} == {0, 3, 4, 5}

    def test_a_hit_writes_nothing(self, store: DiskStore, path: Path) -> None:
        store.put(key(1), [b"x"])
        log = path / "cache.db-wal"
        before = log.read_bytes()
        for _ in range(100):
            store.get(key(1))
        assert log.read_bytes() == before

    def test_an_entry_that_would_be_all_is_refused(self, path: Path) -> None:
        store = DiskStore(path, size_limit=1000)
        store.put(key(1), [b"x" * 500])
        with pytest.raises(CacheError, match=r"1001 bytes does not fit .* size_limit is 1000 .* m\.f"):
            store.put(key(2), [b"x" * 1001], tag="m.f")
        assert store.get(key(1)) is not None

    @pytest.mark.parametrize(("option", "value"), [("size_limit", -1), ("timeout", -1.0)])
    def test_nonsense_is_refused(self, path: Path, option: str, value: float) -> None:
        with pytest.raises(OptionValueError, match=option):
            DiskStore(path, **{option: value})
        with pytest.raises(OptionTypeError, match=option):
            DiskStore(path, **{option: "much"})

    @pytest.mark.parametrize(
        ("place", "error", "message"),
        [
            ("", OptionValueError, "must not be empty; write the name of a directory"),
            (" ", OptionValueError, "must not be empty"),
            ("a\0b", OptionValueError, r"has a NUL character in 'a\\x00b'"),
            ("redis://x", OptionValueError, r"takes a path, not a URL; write open_store\('redis://x'\)"),
            ("redis://me:hunter2@x", OptionValueError, r"write open_store\('redis://me:\*\*\*@x'\)"),
            (3, OptionTypeError, "takes a path, not 3"),
            (None, OptionTypeError, "takes a path, not None"),
            (b"x", OptionTypeError, "takes a path, not b'x'"),
            (Path, OptionTypeError, "Path is a class"),
        ],
    )
    def test_places_that_cannot_be(self, place: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            DiskStore(place)

    @pytest.mark.parametrize(
        ("option", "value", "message"),
        [
            ("safe", "no", "takes True or False, not 'no'"),
            ("verify", "no", "takes True or False, not 'no'"),
            ("namespace", 3, "takes a string, not 3"),
        ],
    )
    def test_values_of_another_type_are_refused(self, path: Path, option: str, value: Any, message: str) -> None:
        with pytest.raises(OptionTypeError, match=message) as caught:
            DiskStore(path, **{option: value})
        assert f"DiskStore({option}=...)" in str(caught.value)


class TestGeneration:
    def test_it_changes_when_something_is_replaced_or_goes(self, store: DiskStore) -> None:
        seen = {store.generation()}
        store.put(key(1), [b"1"])
        seen.add(first := store.generation())
        store.put(key(2), [b"2"])
        assert store.generation() == first
        for change in (
            lambda: store.put(key(1), [b"3"]),
            lambda: store.put(key(1), [b"3" * LARGE]),
            lambda: store.delete(key(2)),
            store.clear,
        ):
            change()
            seen.add(store.generation())
        assert len(seen) == 6
        assert not store.delete(key(2))
        assert store.generation() not in seen  # somebody may have it in memory although it was evicted here

    def test_other_stores_and_processes_see_it(self, store: DiskStore, path: Path) -> None:
        other = DiskStore(path)
        assert other.generation() == b""
        store.put(key(1), [b"1"])
        other.get(key(1))
        assert other.generation() == store.generation() != b""
        before = other.generation()
        code = f"from eagerly.cache._disk import DiskStore; DiskStore({str(path)!r}).put({key(1)!r}, [b'2'])"
        subprocess.run([sys.executable, "-c", code], check=True)
        assert other.generation() == store.generation() != before

    def test_the_directory_is_made_while_it_is_looked_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever a store asks first while another makes the directory, it can replace entries afterwards."""
        for turn in itertools.count():
            path = tmp_path / str(turn)
            store = DiskStore(path)
            rest = turn

            def ask(real: Callable[..., Any], path: Path, *args: Any, **options: Any) -> Any:
                nonlocal rest
                rest -= 1
                if rest == -1:
                    DiskStore(path).put(key(1), [b"1"])
                return real(*args, **options)

            with monkeypatch.context() as patch:
                for name in ("open", "access", "lstat", "stat", "fstat"):
                    patch.setattr(os, name, functools.partial(ask, getattr(os, name), path))
                assert store.get(key(1)) in (None, b"1")
            for value in (b"2", b"3"):
                store.put(key(1), [value])
                assert store.get(key(1)) == value
            if rest >= 0:
                break
        assert turn > 1

    def test_it_changes_when_the_directory_is_made_anew(self, store: DiskStore, path: Path, tmp_path: Path) -> None:
        store.put(key(1), [b"1"])
        before = store.generation()
        path.rename(tmp_path / "old")
        assert store.get(key(1)) is None
        assert store.generation() == b""
        DiskStore(path).put(key(1), [b"2"])
        assert store.get(key(1)) == b"2"
        assert store.generation() not in (b"", before)


class TestPlaces:
    def test_a_relative_path_is_taken_from_where_it_was_given(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        store = DiskStore("some/cache")
        monkeypatch.chdir("/")
        store.put(key(1), [b"x"])
        assert store.path == store.namespace == str(tmp_path / "some" / "cache")
        assert (tmp_path / "some" / "cache" / "cache.db").exists()

    def test_home_is_known_and_variables_are_not(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        assert DiskStore("~/x").path == str(tmp_path / "x")
        store = DiskStore(tmp_path / "$HOME" / "a?b#c%20")
        store.put(key(1), [b"x"])
        assert store.get(key(1)) == b"x"
        assert (tmp_path / "$HOME" / "a?b#c%20" / "cache.db").exists()

    def test_a_link_to_a_directory_of_ones_own_is_fine(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir(mode=0o700)
        (tmp_path / "link").symlink_to("real")
        store = DiskStore(tmp_path / "link")
        store.put(key(1), [b"x" * LARGE])
        assert DiskStore(tmp_path / "real").get(key(1)) is not None

    def test_the_directory_may_go_at_any_time(self, store: DiskStore, path: Path, tmp_path: Path) -> None:
        for number in range(3):
            store.put(key(1), [b"x" * LARGE])
            assert store.get(key(1)) is not None
            path.rename(tmp_path / f"old-{number}")
            assert store.get(key(1)) is None

    def test_two_stores_on_one_directory_agree(self, store: DiskStore, path: Path) -> None:
        other = DiskStore(path)
        store.put(key(1), [b"x"])
        assert other.get(key(1)) == b"x"
        assert other.delete(key(1))
        assert store.get(key(1)) is None

    def test_a_path_that_is_a_file_is_refused(self, path: Path) -> None:
        path.write_text("")
        store = DiskStore(path)
        with pytest.raises(CacheError, match="not a directory"):
            store.put(key(1), [b"x"])


def test_it_can_be_used_after_close(store: DiskStore, path: Path) -> None:
    store.put(key(1), [b"x"])
    store.close()
    store.close()
    assert sorted(each.name for each in path.iterdir()) == [".gitignore", "cache.db", "generation"]
    assert store.get(key(1)) == b"x"
    store.put(key(2), [b"x"])
    assert store.get(key(2)) == b"x"
    store.close()


def test_repr_shows_the_path_but_not_the_key(path: Path) -> None:
    assert repr(DiskStore(path)) == f"DiskStore({str(path)!r})"
    assert "secret" not in repr(DiskStore(path, signing_key=b"secret" * 3))


def test_a_pickle_is_a_store_for_the_same_place(path: Path) -> None:
    store = DiskStore(path, size_limit=12345, signing_key=b"k" * 16, safe=True, namespace="n", verify=True, timeout=2.5)
    store.put(key(1), [b"x"])
    copy = pickle.loads(pickle.dumps(store))
    assert copy.get(key(1)) == b"x"
    for name in ("path", "size_limit", "signing_key", "safe", "namespace", "verify", "timeout"):
        assert getattr(copy, name) == getattr(store, name)


def test_signed_entries_are_read_into_memory(path: Path) -> None:
    store = DiskStore(path, signing_key=b"k" * 16)
    store.put(key(1), [b"a" * LARGE])
    found = store.get(key(1))
    assert isinstance(found, memoryview)
    with files_in(path)[0].open("r+b") as file:
        file.write(b"evil")
    assert bytes(found) == b"a" * LARGE
    found[:1] = b"b"


def test_a_shared_signed_store_has_the_modes_of_its_directory(path: Path) -> None:
    path.mkdir()
    path.chmod(0o2770)
    store = DiskStore(path, signing_key=b"k" * 16)
    store.put(key(1), [b"a" * LARGE])
    assert store.try_lock(key(1)) is not None
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.rglob("*") if each.is_file()} == {0o660}
    assert {stat.S_IMODE(each.stat().st_mode) & 0o777 for each in path.rglob("*") if each.is_dir()} == {0o770}


class TestThreads:
    def test_threads_share_it(self, store: DiskStore) -> None:
        problems: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for round_ in range(40):
                    size = LARGE if round_ % 10 == 0 else 50
                    store.put(key((number, round_)), [b"%d" % number * size])
                    found = store.get(key((number, round_)))
                    assert found is not None
                    assert bytes(found) == b"%d" % number * size
            except BaseException as error:
                problems.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        assert store.stats() == CacheStats(320, 0, 0, 8 * (4 * LARGE + 36 * 50), 320)

    def test_threads_that_end_leave_no_connection(self, store: DiskStore) -> None:
        store.put(key(1), [b"x"])
        gc.collect()
        before = len(list(FDS.iterdir())) if FDS.is_dir() else None
        for _ in range(50):
            thread = threading.Thread(target=store.get, args=(key(1),))
            thread.start()
            thread.join()
        gc.collect()  # a connection that nobody closed would warn, which is an error
        if before is not None:
            assert len(list(FDS.iterdir())) == before

    def test_a_store_that_is_forgotten_closes_its_files(self, path: Path) -> None:
        DiskStore(path).put(key(1), [b"x"])
        if FDS.is_dir():
            links = [str(fd.readlink()) for fd in FDS.iterdir() if fd.exists()]
            assert not [link for link in links if link.startswith(str(path))]


FORK = """
import os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12+: fork with threads
from eagerly.cache._disk import DiskStore

store = DiskStore(sys.argv[1])
store.put(b"k" * 20, [b"parent"])
stop = threading.Event()
def spin():
    while not stop.is_set():
        store.put(b"t" * 20, [b"thread"])
        store.get(b"t" * 20)
threads = [threading.Thread(target=spin) for _ in range(2)]
for thread in threads:
    thread.start()
children = []
for number in range(20):
    pid = os.fork()
    if not pid:
        try:
            assert store.get(b"k" * 20) == b"parent"
            for turn in range(5):
                store.put(bytes([number]) * 19 + bytes([turn]), [b"child"])
                assert store.get(bytes([number]) * 19 + bytes([turn])) == b"child"
            os._exit(0)
        except BaseException:
            import traceback; traceback.print_exc()
            os._exit(1)
    children.append(pid)
    store.put(b"k" * 20, [b"parent"])
codes = [os.waitpid(pid, 0)[1] for pid in children]
stop.set()
for thread in threads:
    thread.join()
assert codes == [0] * 20, codes
assert store.stats().entries == 102, store.stats()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_it_works_on_both_sides_of_a_fork(path: Path) -> None:
    subprocess.run([sys.executable, "-c", FORK, str(path)], check=True, timeout=60)
    with sqlite3.connect(path / "cache.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
