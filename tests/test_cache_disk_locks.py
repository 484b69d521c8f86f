"""Locks on keys between real processes: held, given back, killed, forked."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eagerly.cache._disk import DiskStore

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX locks")

CHILD = """
import sys
from eagerly.cache._disk import DiskStore
store = DiskStore(sys.argv[1])
locks, marks = {}, {}
for line in sys.stdin:
    verb, name = line.split()
    key = bytes.fromhex(name)
    if verb == "lock":
        lock = store.try_lock(key)
        answer = lock is not None
        if answer:
            locks[key] = lock
    elif verb == "unlock":
        locks.pop(key).release()
        answer = True
    elif verb == "mark":
        marks[key] = store.mark_waiting(key)
        answer = True
    elif verb == "unmark":
        store.unmark_waiting(marks.pop(key))
        answer = True
    elif verb == "asked":
        answer = store.is_waited_for(key)
    print(int(answer), flush=True)
"""


def key(name: object) -> bytes:
    return hashlib.sha1(repr(name).encode()).digest()


class Other:
    """Another process that locks on command."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def do(self, verb: str, key: bytes) -> bool:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{verb} {key.hex()}\n")
        self.process.stdin.flush()
        return bool(int(self.process.stdout.readline()))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.process.communicate()


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "cache")


@pytest.fixture
def start(store: DiskStore) -> Iterator[Callable[[], Other]]:
    others: list[Other] = []

    def start() -> Other:
        others.append(Other(Path(store.path)))
        return others[-1]

    yield start
    for other in others:
        other.close()


def test_a_key_is_locked_once(store: DiskStore) -> None:
    lock = store.try_lock(key(1))
    assert lock is not None
    assert store.try_lock(key(1)) is None
    assert DiskStore(store.path).try_lock(key(1)) is None
    other = store.try_lock(key(2))
    assert other is not None
    lock.release()
    again = store.try_lock(key(1))
    assert again is not None
    lock.release()  # a second time, which must not release the new one
    assert store.try_lock(key(1)) is None
    again.release()
    other.release()


def test_two_paths_to_one_directory_are_one(store: DiskStore, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("cache")
    lock = store.try_lock(key(1))
    assert lock is not None
    assert DiskStore(tmp_path / "link").try_lock(key(1)) is None
    lock.release()


def test_processes_keep_each_other_out(store: DiskStore, start: Callable[[], Other]) -> None:
    other = start()
    assert other.do("lock", key(1))
    assert store.try_lock(key(1)) is None
    free = store.try_lock(key(2))
    assert free is not None
    assert not other.do("lock", key(2))
    other.do("unlock", key(1))
    mine = store.try_lock(key(1))
    assert mine is not None
    assert not other.do("lock", key(1))
    free.release()
    mine.release()
    assert other.do("lock", key(1))
    assert other.do("lock", key(2))


def test_using_the_store_keeps_the_lock(store: DiskStore, start: Callable[[], Other]) -> None:
    """Any descriptor of the lock file that is closed would drop all locks."""
    lock = store.try_lock(key(1))
    assert lock is not None
    store.put(key(1), [b"x" * 100_000])
    DiskStore(store.path).try_lock(key(2))
    DiskStore(store.path).close()
    store.clear()
    store.close()
    subprocess.run([sys.executable, "-c", ""], check=True)
    assert not start().do("lock", key(1))
    lock.release()


def test_a_killed_holder_holds_nothing(store: DiskStore, start: Callable[[], Other]) -> None:
    other = start()
    for number in range(3):
        assert other.do("lock", key(number))
        assert store.try_lock(key(number)) is None
    other.kill()
    for number in range(3):
        assert store.try_lock(key(number)) is not None


def test_who_waits_can_be_seen_by_others(store: DiskStore, start: Callable[[], Other]) -> None:
    one, two = start(), start()
    assert not store.is_waited_for(key(1))
    one.do("mark", key(1))
    two.do("mark", key(1))
    assert store.is_waited_for(key(1))
    assert not store.is_waited_for(key(2))
    assert one.do("asked", key(1))
    lock = store.try_lock(key(1))
    assert lock is not None  # waiting is not having
    one.do("unmark", key(1))
    assert store.is_waited_for(key(1))
    assert not two.do("asked", key(1))  # one's own mark does not count
    two.kill()
    assert not store.is_waited_for(key(1))
    lock.release()


def test_marks_of_one_process_are_counted(store: DiskStore, start: Callable[[], Other]) -> None:
    other = start()
    first, second = store.mark_waiting(key(1)), store.mark_waiting(key(1))
    store.unmark_waiting(first)
    store.unmark_waiting(first)
    assert other.do("asked", key(1))
    store.unmark_waiting(second)
    assert not other.do("asked", key(1))


def test_a_lock_file_that_went_is_made_anew(store: DiskStore, start: Callable[[], Other], tmp_path: Path) -> None:
    old = store.try_lock(key(1))
    assert old is not None
    Path(store.path).rename(tmp_path / "old")
    new = store.try_lock(key(1))
    assert new is not None
    assert not start().do("lock", key(1))
    old.release()
    assert not start().do("lock", key(1))
    new.release()


@pytest.mark.parametrize("length", [8, 20, 32])
def test_the_ends_of_the_range_can_be_locked(store: DiskStore, start: Callable[[], Other], length: int) -> None:
    other = start()
    for name in (b"\x00" * length, b"\xff" * length):
        lock = store.try_lock(name)
        assert lock is not None
        assert not other.do("lock", name)
        other.do("mark", name)
        assert store.is_waited_for(name)
        lock.release()


def in_child(action: Callable[[], Any]) -> bool:
    pid = os.fork()
    if not pid:
        try:
            os._exit(0 if action() else 1)
        except BaseException:
            os._exit(2)
    return os.waitpid(pid, 0)[1] == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # 3.12+: fork with threads
class TestFork:
    def test_a_child_holds_nothing(self, store: DiskStore, start: Callable[[], Other]) -> None:
        lock = store.try_lock(key(1))
        mark = store.mark_waiting(key(2))
        assert lock is not None
        assert in_child(lambda: store.try_lock(key(1)) is None)
        assert in_child(lambda: store.is_waited_for(key(2)))
        assert in_child(lambda: [lock.release(), store.unmark_waiting(mark)])
        other = start()
        assert not other.do("lock", key(1))
        assert other.do("asked", key(2))
        lock.release()
        store.unmark_waiting(mark)

    def test_a_child_can_lock_what_the_parent_released(self, store: DiskStore) -> None:
        reading, writing = os.pipe()
        lock = store.try_lock(key(1))
        assert lock is not None

        def child() -> bool:
            os.close(writing)
            os.read(reading, 1)  # until the parent has released it
            mine = store.try_lock(key(1))
            lock.release()  # that of the parent
            return mine is not None and store.try_lock(key(1)) is None

        pid = os.fork()
        if not pid:
            os._exit(0 if child() else 1)
        lock.release()
        os.close(writing)
        os.close(reading)
        assert os.waitpid(pid, 0)[1] == 0
        assert store.try_lock(key(1)) is not None


def test_the_file_stays_empty(store: DiskStore) -> None:
    for number in range(100):
        lock = store.try_lock(key(number))
        assert lock is not None
        lock.release()
    assert (Path(store.path) / "locks").stat().st_size == 0
