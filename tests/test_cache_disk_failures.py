"""The disk store in trouble: corrupt, locked, full, read-only, killed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import diskcache
import pytest

from eagerly.cache._disk import DiskStore
from eagerly.errors import CacheError, CorruptEntryError, EagerlyWarning, UntrustedEntryError

LARGE = 100_000
HERE = Path(__file__).parent


def key(name: object) -> bytes:
    return hashlib.sha1(repr(name).encode()).digest()


def files_in(path: Path) -> list[Path]:
    return sorted(each for each in path.glob("??/*") if each.is_file())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def store(path: Path) -> DiskStore:
    store = DiskStore(path)
    for number in range(20):
        store.put(key(number), [b"%d" % number * 500], tag="m.f")
    store.put(key("large"), [b"L" * LARGE], tag="m.f")
    return store


def overwrite(path: Path, content: bytes, at: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def other_tables(path: Path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE Theirs (a)")
        connection.commit()


def other_diskcache(path: Path) -> None:
    path.unlink()
    with diskcache.Cache(str(path.parent)) as cache:
        cache.set(key(1), b"theirs")


DAMAGES = {
    "garbage": lambda path: path.write_bytes(os.urandom(20_000)),
    "text": lambda path: path.write_text("hello"),
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: os.truncate(path, 5000),
    "cut in the header": lambda path: os.truncate(path, 50),
    "zeros in the schema": lambda path: overwrite(path, bytes(2000), 100),
    "zeros in the pages": lambda path: overwrite(path, bytes(path.stat().st_size - 2048), 2048),
    "newer file format": lambda path: overwrite(path, b"\x05\x05", 18),
    "other tables": other_tables,
    "another diskcache": other_diskcache,
}


class TestCorruptIndex:
    @pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
    def test_it_is_set_aside(self, store: DiskStore, path: Path, damage: object) -> None:
        store.close()
        assert callable(damage)
        damage(path / "cache.db")
        content = (path / "cache.db").read_bytes()
        store = DiskStore(path)
        with pytest.warns(EagerlyWarning, match=r"corrupt.*starts anew.*cache\.db\.corrupt-1") as caught:
            assert store.get(key(1)) is None or damage is DAMAGES["zeros in the pages"]
        store.put(key("new"), [b"new"])
        assert store.get(key("new")) == b"new"
        assert store.get(key(1)) is None
        assert len(caught) == 1
        assert caught[0].filename == __file__
        assert (path / "cache.db.corrupt-1").read_bytes() == content
        assert [entry.key for entry in store.entries()] == [key("new")]
        assert files_in(path) == []
        store.clear()
        assert not list(path.glob("*corrupt*"))

    @pytest.mark.parametrize("damage", ["garbage", "zeros in the pages"])
    @pytest.mark.parametrize("action", ["put", "delete", "clear", "stats", "entries"])
    def test_whatever_finds_it(self, store: DiskStore, path: Path, damage: str, action: str) -> None:
        store.close()
        DAMAGES[damage](path / "cache.db")
        actions = {
            "put": lambda: store.put(key("new"), [b"new"]),
            "delete": lambda: store.delete(key(1)),
            "clear": store.clear,
            "stats": lambda: store.stats()[3:],
            "entries": lambda: list(store.entries()),
        }
        with pytest.warns(EagerlyWarning, match="corrupt"):
            found = actions[action]()
        assert found == {"put": None, "delete": False, "clear": 0, "stats": (0, 0), "entries": []}[action]
        assert (store.get(key("new")) is not None) == (action == "put")
        store.put(key("newer"), [b"new"])
        assert store.get(key("newer")) == b"new"

    def test_while_it_is_open(self, store: DiskStore, path: Path) -> None:
        store.close()
        assert store.get(key(1)) is not None
        overwrite(path / "cache.db", os.urandom((path / "cache.db").stat().st_size))
        other, before = DiskStore(path), store.generation()
        with pytest.warns(EagerlyWarning, match="corrupt"):
            assert other.get(key(2)) is None
        assert store.generation() != before  # nobody knows what is going to replace something
        store.put(key("new"), [b"new"])
        assert store.get(key("new")) == b"new"
        assert other.get(key("new")) == b"new"

    def test_again_and_again(self, store: DiskStore, path: Path) -> None:
        for number in range(1, 4):
            store.close()
            DAMAGES["garbage"](path / "cache.db")
            with pytest.warns(EagerlyWarning, match=f"corrupt-{number}"):
                store.put(key("new"), [b"new"])

    def test_two_processes_find_it(self, store: DiskStore, path: Path) -> None:
        store.close()
        DAMAGES["garbage"](path / "cache.db")
        code = (
            "import sys; from eagerly.cache._disk import DiskStore; s = DiskStore(sys.argv[1]); input();"
            "k = sys.argv[2].encode() * 20; s.get(k); s.put(k, [k]); assert s.get(k) == k"
        )
        processes = [
            subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, str(path), name], stdin=subprocess.PIPE)
            for name in "abcd"
        ]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
        assert [process.wait(60) for process in processes] == [0] * 4
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        assert len(list(path.glob("*corrupt-?"))) == 1
        assert all(store.get(name * 20) for name in (b"a", b"b", b"c", b"d"))

    def test_any_damage_is_a_miss_or_an_error_of_ours(self, store: DiskStore, path: Path) -> None:
        store.close()
        whole = (path / "cache.db").read_bytes()
        rng = random.Random(1)
        for _ in range(60):
            content = bytearray(whole)
            for _ in range(rng.choice((1, 3, 100))):
                content[rng.randrange(len(content))] = rng.randrange(256)
            (path / "cache.db").write_bytes(content[: rng.choice((len(content), rng.randrange(len(content))))])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", EagerlyWarning)
                damaged = DiskStore(path)
                for number in (*range(20), "large"):
                    with contextlib.suppress(CacheError):
                        damaged.get(key(number))
                for _ in range(2):
                    with contextlib.suppress(CacheError):
                        damaged.put(key("new"), [b"new"])
                with contextlib.suppress(CacheError):
                    list(damaged.entries())
                damaged.close()


class TestCorruptFiles:
    def test_a_missing_file_is_a_miss(self, store: DiskStore, path: Path) -> None:
        files_in(path)[0].unlink()
        assert store.get(key("large")) is None
        store.put(key("large"), [b"x" * LARGE])
        assert store.get(key("large")) is not None

    @pytest.mark.parametrize("size", [0, 1, 5000])
    def test_a_truncated_file_is_what_it_is(self, store: DiskStore, path: Path, size: int) -> None:
        os.truncate(files_in(path)[0], size)
        found = store.get(key("large"))
        assert found is not None
        assert bytes(found) == b"L" * size

    @pytest.mark.parametrize("kind", [CorruptEntryError, UntrustedEntryError])
    def test_errors_are_counted(self, store: DiskStore, path: Path, kind: type[CacheError]) -> None:
        store.close()
        if kind is CorruptEntryError:
            with contextlib.closing(sqlite3.connect(path / "cache.db")) as connection:
                connection.execute("UPDATE Cache SET value = 'text' WHERE filename IS NULL")
                connection.commit()
        else:
            path.chmod(0o777)
        with pytest.raises(kind):
            store.get(key(1))
        path.chmod(0o700)
        assert store.stats()[:3] == (0, 0, 1)


def test_another_process_that_writes_for_long_is_waited_for_and_then_not(store: DiskStore, path: Path) -> None:
    impatient = DiskStore(path, timeout=0.05)
    impatient.put(key("before"), [b"x"])
    with contextlib.closing(sqlite3.connect(path / "cache.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        for size in (1, LARGE):
            with pytest.raises(CacheError, match=r"another process has been writing to it for more than 0\.05 s"):
                impatient.put(key("new"), [b"x" * size])
        assert impatient.get(key(1)) is not None
        assert impatient.get(key("new")) is None
        assert len(files_in(path)) == 1
        waiting = threading.Thread(target=store.put, args=(key("waited"), [b"x"]))
        waiting.start()
        writer.execute("COMMIT")
        waiting.join()
    impatient.put(key("new"), [b"x" * LARGE])
    assert impatient.get(key("new")) is not None
    assert store.get(key("waited")) == b"x"


def can_mount(path: Path, *options: str) -> bool:
    return subprocess.run(["mount", *options, str(path)], capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    if not can_mount(place, "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs"):
        pytest.skip("may not mount a small file system; the file size limit is tested instead")
    yield place / "cache"
    subprocess.run(["umount", "-l", str(place)], check=True)


class TestFullDisk:
    def fill(self, store: DiskStore, size: int) -> list[bytes]:
        stored: list[bytes] = []
        with pytest.raises(CacheError, match=r"cannot be written to: .*(full|space|I/O)"):
            for number in range(10_000):
                store.put(key((size, number)), [b"%04d" % number, b"x" * size])
                stored.append(key((size, number)))
        return stored

    @pytest.mark.parametrize("sizes", [(1000,), (20_000,), (LARGE,), (LARGE, 1000), (1000, LARGE)])
    def test_what_is_there_stays_and_can_be_cleared(self, small_disk: Path, sizes: tuple[int, ...]) -> None:
        store = DiskStore(small_disk)
        stored = [key_ for size in sizes for key_ in self.fill(store, size)]
        assert len(stored) > 10
        for reader in (store, DiskStore(small_disk)):
            assert sum(reader.get(each) is None for each in stored) == 0
        for each in stored[:3]:
            with contextlib.suppress(CacheError):
                store.put(each, [b"y" * 200_000])
            assert store.get(each) is not None
        assert not [each for each in files_in(small_disk) if each.suffix != ".value"]
        large = {entry.key for entry in store.entries() if entry.size > 32 * 1024}
        assert len(files_in(small_disk)) == len(large)
        lock = store.try_lock(key("lock"))
        assert lock is not None
        assert store.clear() == len(stored)
        assert files_in(small_disk) == []
        assert store.stats()[3:] == (0, 0)
        for size in (*sizes, *sizes):
            store.put(key(size), [b"z" * size])
            assert store.get(key(size)) is not None

    def test_a_new_store_on_a_full_disk(self, small_disk: Path) -> None:
        (small_disk.parent / "filler").write_bytes(b"")
        with contextlib.suppress(OSError), (small_disk.parent / "filler").open("wb") as file:
            while True:
                file.write(bytes(4096))
        store = DiskStore(small_disk)
        assert store.get(key(1)) is None
        with pytest.raises(CacheError):
            store.put(key(1), [b"x"])
        (small_disk.parent / "filler").unlink()
        store.put(key(1), [b"x"])
        assert store.get(key(1)) == b"x"

    LIMITED = """
import pathlib, resource, signal, sys
from eagerly.cache._disk import DiskStore
from eagerly.errors import CacheError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = DiskStore(sys.argv[1])
store.put(b"a" * 20, [b"old"])
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
try:
    store.put(b"b" * 20, [b"x" * 700_000])
except CacheError:
    pass
else:
    raise SystemExit("the large one was stored")
stored = 0
try:
    for stored in range(1000):
        store.put(stored.to_bytes(20, "big"), [b"x" * 1000])
except CacheError:
    pass
else:
    raise SystemExit("there was no limit")
assert stored > 10
large = 0
try:
    for large in range(1000):
        store.put(b"c" * 16 + large.to_bytes(4, "big"), [b"x" * 40_000])  # room for the file, at last not for its row
except CacheError:
    pass
else:
    raise SystemExit("there was no limit for rows")
files = list(pathlib.Path(store.path).glob("??/*"))
assert len(files) == large, (large, files)
assert store.get(b"a" * 20) == b"old"
assert all(store.get(n.to_bytes(20, "big")) for n in range(stored))
assert store.clear() == stored + large + 1
store.put(b"a" * 20, [b"new"])
assert store.get(b"a" * 20) == b"new"
"""

    @pytest.mark.skipif(sys.platform == "win32", reason="needs file size limits")
    def test_a_limit_on_the_size_of_files(self, path: Path) -> None:
        subprocess.run([sys.executable, "-c", self.LIMITED, str(path)], check=True, timeout=60)
        assert files_in(path) == []


class TestReadOnly:
    @pytest.fixture(params=["closed", "open"])
    def read_only(self, request: pytest.FixtureRequest, store: DiskStore, path: Path) -> Iterator[Path]:
        if request.param == "closed":
            store.close()
        if not can_mount(path, "--bind", str(path)):
            pytest.skip("may not mount")
        assert can_mount(path, "-o", "remount,ro,bind")
        yield path
        subprocess.run(["umount", "-l", str(path)], check=True)

    def test_what_is_there_can_be_read(self, read_only: Path) -> None:
        store = DiskStore(read_only)
        assert store.get(key(1)) == b"1" * 500
        assert bytes(store.get(key("large")) or b"") == b"L" * LARGE
        assert store.get(key("new")) is None
        assert store.stats().entries == 21
        assert len(list(store.entries())) == 21
        assert len(store.generation()) == 8
        for action in (
            lambda: store.put(key("new"), [b"x"]),
            lambda: store.put(key("new"), [b"x" * LARGE]),
            lambda: store.delete(key(1)),
            store.clear,
        ):
            with pytest.raises(CacheError):
                action()
        assert store.get(key(1)) == b"1" * 500
        one, two = store.try_lock(key(1)), store.try_lock(key(1))
        assert one is not None
        assert two is not None  # nobody can be kept out
        one.release()
        two.release()
        store.unmark_waiting(store.mark_waiting(key(1)))
        assert not store.is_waited_for(key(1))
        store.close()

    @pytest.mark.parametrize("is_new", [False, True], ids=["known before", "first seen read-only"])
    def test_it_notices_that_it_may_write_again(self, is_new: bool, store: DiskStore, path: Path) -> None:
        store.close()
        if not can_mount(path, "--bind", str(path)):
            pytest.skip("may not mount")
        try:
            assert can_mount(path, "-o", "remount,ro,bind")
            store = DiskStore(path) if is_new else store
            assert store.get(key(1)) is not None
            with pytest.raises(CacheError):
                store.put(key("new"), [b"x"])
        finally:
            subprocess.run(["umount", "-l", str(path)], check=True)
        store.close()
        before = store.generation()
        store.put(key("new"), [b"x"])
        store.put(key(1), [b"another"])
        assert (store.get(key("new")), store.get(key(1))) == (b"x", b"another")
        assert store.generation() != before


class TestKills:
    def campaign(self, path: Path, kills: int, seed: int) -> dict[str, int]:
        command = [sys.executable, str(HERE / "disk_crashes.py"), str(path), str(kills), str(seed)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=600).stdout)

    def test_nothing_is_corrupt_lost_or_left_over(self, path: Path) -> None:
        found = self.campaign(path, 40, 1)
        assert found["stored"] > 20
        assert (found["kills"], found["corrupt"], found["lost"], found["orphans"]) == (40, 0, 0, 0)

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", range(4))
    def test_nothing_is_after_hundreds(self, path: Path, seed: int) -> None:
        found = self.campaign(path, 400, seed)
        assert found["stored"] > 200
        assert (found["kills"], found["corrupt"], found["lost"], found["orphans"]) == (400, 0, 0, 0)

    def test_what_a_killed_writer_left_goes_at_the_next_write(self, store: DiskStore, path: Path) -> None:
        shard = files_in(path)[0].parent
        (shard / "abc.99999-00ff.tmp").write_bytes(b"x")  # nobody has it open
        (shard / f"{'0' * 38}.value").write_bytes(b"x" * LARGE)  # no row
        (shard / "mine.tmp").write_bytes(b"x")
        with contextlib.closing(sqlite3.connect(path / "cache.db", isolation_level=None)) as connection:
            connection.execute("UPDATE Cache SET key = ? WHERE key = ?", (key("no file"), key("large")))
            connection.execute("UPDATE Cache SET filename = 'x' WHERE key = ?", (key(1),))
        DiskStore(path).get(key(2))
        assert len(files_in(path)) == 4
        DiskStore(path).put(key(2), [b"x"])
        assert [each.name for each in files_in(path)] == ["mine.tmp"]
        assert key("no file") not in {entry.key for entry in store.entries()}

    def test_what_a_living_writer_has_open_stays(self, store: DiskStore, path: Path) -> None:
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            # Stopped in the middle of writing, by itself.
            def parts() -> Iterator[bytes]:
                yield b"x" * LARGE
                os.write(writing, b"!")
                signal.pause()

            class Parts(list[bytes]):
                """Asked for the sizes first, and then for the bytes, while the file is being written."""

                def __iter__(self) -> Iterator[bytes]:
                    first = not hasattr(self, "measured")
                    self.measured = True
                    return iter([b"x" * LARGE]) if first else parts()

            try:
                DiskStore(path).put(key("slow"), Parts())
            finally:
                os._exit(1)
        try:
            assert os.read(reading, 1) == b"!"
            DiskStore(path).put(key("other"), [b"x"])
            assert [each.suffix for each in files_in(path)].count(".tmp") == 1
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        DiskStore(path).put(key("other"), [b"x"])
        assert [each.suffix for each in files_in(path)] == [".value"]
