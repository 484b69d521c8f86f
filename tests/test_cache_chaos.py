"""Tasks whose stores are killed, damaged, full, read-only or gone: callers get the right value, and hear of it.

What stores do by themselves is tested beside them (test_cache_disk_failures.py and others); here, what a call does.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eagerly import Clock, session, task
from eagerly.cache import DiskStore
from eagerly.errors import CorruptEntryError, EagerlyWarning
from flights import calling
from kinds import Kind, all_kinds
from watched_calls import LARGE, SMALL, Calls, Entries, both_sizes

HERE = Path(__file__).parent
two_kinds = pytest.mark.parametrize("kind", [Kind.ASYNC, Kind.STREAM], ids=lambda kind: kind.value)
both_open = pytest.mark.parametrize("is_open", [True, False], ids=["open", "closed"])


NOTHING = {"wrong": 0, "lost": 0, "lost_datasets": 0, "damaged_datasets": [], "orphans": [], "errors": []}


class TestKills:
    def run(self, what: str, folder: Path, kills: int, seed: int) -> dict[str, Any]:
        command = [sys.executable, str(HERE / "chaos_workload.py"), what, str(folder), str(kills), str(seed)]
        found: dict[str, Any] = json.loads(
            subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=900).stdout
        )
        assert found.pop("kills") == kills
        return found

    def campaign(self, folder: Path, kills: int, seed: int) -> dict[str, Any]:
        found = self.run("campaign", folder, kills, seed)
        assert found.pop("cut_short") > kills // 3, "they were killed at idle"
        assert found.pop("acknowledged") > kills
        found.pop("left")
        return found

    def test_nothing_is_wrong_lost_or_left(self, tmp_path: Path) -> None:
        assert self.campaign(tmp_path, 60, 1) == NOTHING

    @pytest.mark.parametrize("kills", [60, pytest.param(400, marks=pytest.mark.slow)])
    def test_while_the_store_is_being_made(self, tmp_path: Path, kills: int) -> None:
        found = self.run("births", tmp_path, kills, 1)
        assert found.pop("unmade") > kills // 10
        assert found == {"orphans": [], "errors": []}

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", range(11, 15))
    def test_nor_after_hundreds(self, tmp_path: Path, seed: int) -> None:
        assert self.campaign(tmp_path, 400, seed) == NOTHING


def flip(at: float) -> Callable[[bytes], bytes]:
    def flipped(content: bytes) -> bytes:
        changed = bytearray(content)
        changed[int(at * (len(content) - 1))] ^= 0x10
        return bytes(changed)

    return flipped


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda content: b"",
    "one byte": lambda content: content[:1],
    "truncated in the header": lambda content: content[:30],
    "truncated by half": lambda content: content[: len(content) // 2],
    "truncated by one": lambda content: content[:-1],
    "lengthened": lambda content: content + b"\0",
    **{f"flipped at {at}": flip(at) for at in (0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)},
    "zeros": lambda content: bytes(len(content)),
    "foreign bytes": lambda content: b"PK\x03\x04 hello" * 10,
    "a pickle": lambda content: pickle.dumps(["00000001", "y" * 40]),
    "an older format": lambda content: content[:7] + b"\0" + content[8:],
    "a newer format": lambda content: content[:7] + b"\x02" + content[8:],
    "twice": lambda content: content * 2,
}


class TestDamagedEntries:
    """A miss, one warning, one hook; then a hit."""

    @both_sizes
    @all_kinds
    def test_the_entry_is_replaced(self, kind: Kind, size: int, tmp_path: Path) -> None:
        calls = Calls(kind, tmp_path / "cache", size=size)
        calls(1)
        for name, damage in DAMAGES.items():
            calls.store.close()
            assert Entries(calls.path).change(damage) == 1
            calls.reopen()
            assert [calls(1), calls(1)] == ["miss", "hit"], name
            assert isinstance(calls.errors[0], CorruptEntryError), name
            assert calls.said() == (1, 1), name
            calls.reopen()
            assert calls(1) == "hit", name
            assert calls.said() == (0, 0), name
        assert Entries(calls.path).strangers() == []

    @both_sizes
    def test_an_entry_that_was_moved_to_another_key(self, size: int, tmp_path: Path) -> None:
        calls = Calls(Kind.SYNC, tmp_path / "cache", size=size)
        contents: list[bytes] = []
        calls(1)
        Entries(calls.path).change(lambda content: contents.append(content) or content)
        calls.store.clear()
        calls(2)
        calls.store.close()
        assert Entries(calls.path).change(lambda _: contents[0]) == 1
        calls.reopen()
        assert [calls(2), calls(2)] == ["miss", "hit"]
        assert calls.said() == (1, 1)

    def test_a_result_of_megabytes_has_a_checksum_on_request(self, tmp_path: Path) -> None:
        numpy = pytest.importorskip("numpy")
        expected = numpy.arange(400_000)
        with session(cache_store=tmp_path / "cache"):
            array(400_000)
        Entries(tmp_path / "cache").change(flip(0.5))
        with session(cache_store=DiskStore(tmp_path / "cache")):
            assert (array(400_000) != expected).sum() == 1  # as documented: found by nobody
        with session(cache_store=DiskStore(tmp_path / "cache", verify=True)), pytest.warns(EagerlyWarning, match="sum"):
            assert (array(400_000) == expected).all()


@task(cache=True)
def array(n: int) -> Any:
    import numpy

    return numpy.arange(n)


def garbage(index: Path) -> None:
    index.write_bytes(b"not a database at all " * 500)


def with_bytes(content: bytes, suffix: str = "") -> Callable[[Path], None]:
    def write(index: Path) -> None:
        index.with_name(index.name + suffix).write_bytes(content)

    return write


def other_tables(index: Path) -> None:
    index.unlink()
    connection = sqlite3.connect(index)
    connection.executescript("CREATE TABLE Cache (rowid INTEGER PRIMARY KEY, key BLOB, value BLOB)")
    connection.close()


def another_schema(index: Path) -> None:
    connection = sqlite3.connect(index)
    connection.executescript("DROP INDEX Cache_filename; ALTER TABLE Cache DROP COLUMN filename")
    connection.close()


def log_of_another(index: Path) -> None:
    """The write-ahead log of a database that was in use, beside one that it does not belong to."""
    other = index.with_name("other.db")
    connection = sqlite3.connect(other)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.executescript("CREATE TABLE Other (x); INSERT INTO Other VALUES (zeroblob(20000))")
    for suffix in ("-wal", "-shm"):
        shutil.copy(f"{other}{suffix}", f"{index}{suffix}")
    connection.close()
    for each in index.parent.glob("other.db*"):
        each.unlink()


def folder_instead(index: Path) -> None:
    index.unlink()
    index.mkdir()


def link_instead(index: Path) -> None:
    index.rename(index.with_name("elsewhere"))
    index.symlink_to("elsewhere")


ASIDE, QUIET, REFUSED = "set aside, with one warning of the store", "nothing to say", "refused until it is removed"

INDEX_DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "deleted": (Path.unlink, QUIET),
    "garbage": (garbage, ASIDE),
    "emptied": (with_bytes(b""), ASIDE),
    "zeros": (with_bytes(bytes(8192)), ASIDE),
    "truncated": (lambda index: os.truncate(index, 3000), ASIDE),
    "cut in the header": (lambda index: os.truncate(index, 40), ASIDE),
    "other tables": (other_tables, ASIDE),
    "another schema": (another_schema, ASIDE),
    "garbage as its log": (with_bytes(b"garbage" * 1000, "-wal"), QUIET),
    "the log of another": (log_of_another, ASIDE),
    "garbage as its shared memory": (with_bytes(b"garbage" * 9000, "-shm"), QUIET),
    "a planted journal": (with_bytes(b"garbage", "-journal"), ASIDE),
    "a folder instead": (folder_instead, REFUSED),
    "a link instead": (link_instead, REFUSED),
}
index_damages = pytest.mark.parametrize(("damage", "what"), INDEX_DAMAGES.values(), ids=INDEX_DAMAGES)


class TestDamagedIndex:
    @pytest.mark.parametrize("kind", [Kind.SYNC, Kind.ASYNC, Kind.STREAM], ids=lambda kind: kind.value)
    def test_of_a_store_that_is_closed(self, kind: Kind, tmp_path: Path) -> None:
        for number, (name, (damage, what)) in enumerate(INDEX_DAMAGES.items()):
            calls = Calls(kind, tmp_path / str(number))
            calls(1)
            calls.store.close()
            damage(calls.path / "cache.db")
            calls.reopen()
            found = calls(1), calls(1)
            if what is REFUSED:
                assert found == ("miss", "miss"), name
                assert len(calls.warned) == 1, name
                assert calls.warned[0].endswith("remove it"), name
                assert len(calls.errors) >= 2, name
            else:
                assert found == ("hit" if "garbage as" in name else "miss", "hit"), name
                assert [" starts anew" in each for each in calls.warned] == [True] * (what is ASIDE), name
                assert calls.errors == [], name

    @index_damages
    def test_of_a_store_that_is_open(self, damage: Callable[[Path], object], what: str, tmp_path: Path) -> None:
        calls = Calls(Kind.SYNC, tmp_path / "cache", memory_limit=0)
        calls(1)
        damage(calls.path / "cache.db")
        for _ in range(3):
            calls(1), calls(2)
        assert len(calls.warned) <= 2  # at most one for what the open one meets, and one for starting anew
        if what is REFUSED:
            assert [calls(1), calls(2)] == ["miss", "miss"]
            return
        calls.said()
        assert [calls(1), calls(2)] == ["hit", "hit"]
        assert calls.said() == (0, 0)
        calls.store.close()
        calls.reopen()
        for _ in range(2):
            calls(1), calls(2)
        assert calls.errors == []
        assert [calls(1), calls(2)] == ["hit", "hit"]

    def test_where_warnings_are_errors(self, tmp_path: Path) -> None:
        calls = Calls(Kind.SYNC, tmp_path / "cache")
        calls(1)
        calls.store.close()
        garbage(calls.path / "cache.db")
        with warnings.catch_warnings(), session(cache_store=DiskStore(calls.path)):
            warnings.simplefilter("error")
            assert [calls.task(1), calls.task(1)] == [calls.expected(1)] * 2
        calls.runs = 0
        assert calls(1) == "hit"


def nothing(path: Path) -> None:
    shutil.rmtree(path)


def renamed(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def an_empty_folder(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir(mode=0o700)


def a_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("theirs")


def a_loose_folder(path: Path) -> None:
    an_empty_folder(path)
    path.chmod(0o777)


def a_link_to_nowhere(path: Path) -> None:
    shutil.rmtree(path)
    path.symlink_to(path.with_name("nowhere"))


class TestPlace:
    """What may be in the place of the folder."""

    @pytest.mark.parametrize("what", [nothing, renamed, an_empty_folder, lambda path: shutil.rmtree(path.parent)])
    @both_open
    @two_kinds
    def test_it_is_made_anew(self, kind: Kind, is_open: bool, what: Callable[[Path], None], tmp_path: Path) -> None:
        calls = Calls(kind, tmp_path / "parent" / "cache", memory_limit=0)
        calls(1)
        if not is_open:
            calls.store.close()
        what(calls.path)
        assert [calls(1), calls(1), calls(2), calls(2)] == ["miss", "hit", "miss", "hit"]
        assert calls.said() == (0, 0)

    @pytest.mark.parametrize("what", [a_file, a_loose_folder, a_link_to_nowhere])
    @both_open
    @two_kinds
    def test_it_is_refused(self, kind: Kind, is_open: bool, what: Callable[[Path], None], tmp_path: Path) -> None:
        calls = Calls(kind, tmp_path / "cache", memory_limit=0)
        calls(1)
        if not is_open:
            calls.store.close()
        what(calls.path)
        assert [calls(1), calls(2), calls(1)] == ["miss"] * 3
        assert len(calls.warned) == 1
        assert len(calls.errors) >= 3
        assert what is not a_file or calls.path.read_text() == "theirs"
        if calls.path.is_dir():
            calls.path.rmdir()
        else:
            calls.path.unlink()
        calls.said()
        assert [calls(1), calls(1)] == ["miss", "hit"]
        assert calls.said() == (0, 0)

    def test_a_link_to_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir(mode=0o700)
        (tmp_path / "link").symlink_to("real")
        calls = Calls(Kind.SYNC, tmp_path / "link")
        assert [calls(1), calls(1)] == ["miss", "hit"]
        calls.path = tmp_path / "real"
        calls.reopen()
        assert calls(1) == "hit"
        (tmp_path / "real").chmod(0o777)
        calls.path = tmp_path / "link"
        calls.reopen()
        assert calls(1) == "miss"
        assert "chmod go-w" in calls.warned[0]
        assert calls.said()[0] == 1

    def test_a_working_directory_that_is_gone(self, tmp_path: Path) -> None:
        found = run(
            """
            import os, warnings
            from eagerly import session, task
            from eagerly.errors import EagerlyWarning

            @task(cache=True, cache_version="1")
            def f(n):
                return n + 1

            os.mkdir("gone")
            os.chdir("gone")
            os.rmdir("../gone")
            with warnings.catch_warnings(record=True) as caught, session():
                warnings.simplefilter("always")
                print([f(n) for n in (1, 1, 2)], len(caught), [each.category.__name__ for each in caught][:1])
            """,
            tmp_path,
        )
        assert found == "[2, 2, 3] 1 ['EagerlyWarning']"

    def test_a_home_that_is_read_only(self, tmp_path: Path, read_only: Callable[[Path], None]) -> None:
        (tmp_path / "home").mkdir()
        read_only(tmp_path / "home")
        found = run(
            """
            import warnings
            from eagerly import session, task

            @task(cache=True, cache_version="1")
            def f(n):
                return n + 1

            with warnings.catch_warnings(record=True) as caught, session(cache_store="~/.cache/eagerly"):
                warnings.simplefilter("always")
                print([f(n) for n in (1, 1, 2)], len(caught), "home/.cache" in str(caught[0].message))
            """,
            tmp_path,
            HOME=str(tmp_path / "home"),
        )
        assert found == "[2, 2, 3] 1 True"


def run(code: str, folder: Path, *arguments: object, **environment: str) -> str:
    """What a program prints, which must end well and say nothing else."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.strip()


@pytest.fixture
def read_only() -> Iterator[Callable[[Path], None]]:
    """Makes folders read-only, for root as well."""
    mounted: list[Path] = []

    def make(path: Path) -> None:
        if os.geteuid():
            path.chmod(0o500)
            mounted.append(path)
            return
        if subprocess.run(["mount", "--bind", str(path), str(path)], capture_output=True).returncode:
            pytest.skip("is root, who may write everywhere, and may not mount")
        mounted.append(path)
        subprocess.run(["mount", "-o", "remount,ro,bind", str(path)], check=True)

    yield make
    for path in mounted:
        if os.geteuid():
            path.chmod(0o700)
        else:
            subprocess.run(["umount", "-l", str(path)], check=True)


class TestReadOnly:
    @both_open
    @both_sizes
    @two_kinds
    def test_what_is_there_is_served(
        self, kind: Kind, size: int, is_open: bool, tmp_path: Path, read_only: Callable[[Path], None]
    ) -> None:
        calls = Calls(kind, tmp_path / "cache", size=size, memory_limit=0)
        calls(1)
        if not is_open:
            calls.store.close()
        read_only(calls.path)
        assert [calls(n) for n in (1, 2, 2, 3)] == ["hit", "miss", "miss", "miss"]
        assert calls.said() == (1, 3)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("may not mount a small file system; the file size limit is tested instead")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


class TestFullDisk:
    @pytest.mark.parametrize("size", [20_000, LARGE], ids=["row", "file"])
    @all_kinds
    def test_old_results_stay_and_new_ones_are_computed(self, kind: Kind, size: int, small_disk: Path) -> None:
        calls = Calls(kind, small_disk / "cache", size=size, memory_limit=0)
        assert {calls(n) for n in range(50)} == {"miss"}
        assert calls.errors
        assert len(calls.warned) == 1
        assert "full" in calls.warned[0] or "No space" in calls.warned[0]
        stored = calls.store.stats().entries
        assert Entries(calls.path).strangers() == []
        calls.reopen()
        assert sum(calls(n) == "hit" for n in range(50)) == stored > 10
        assert calls.store.clear() == stored
        calls.said()
        assert [calls(1), calls(1)] == ["miss", "hit"]
        assert calls.said() == (0, 0)

    def test_there_was_never_room(self, small_disk: Path) -> None:
        with contextlib.suppress(OSError), (small_disk / "filler").open("wb") as file:
            while True:
                file.write(bytes(4096))
        calls = Calls(Kind.SYNC, small_disk / "cache")
        assert [calls(1), calls(1)] == ["miss", "miss"]
        assert calls.said() == (1, 2)
        (small_disk / "filler").unlink()
        assert [calls(1), calls(1)] == ["miss", "hit"]
        assert calls.said() == (0, 0)

    def test_a_limit_on_the_size_of_files(self, tmp_path: Path) -> None:
        found = run(
            """
            import resource, signal, sys
            from pathlib import Path
            from kinds import Kind
            from watched_calls import Calls, Entries

            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            calls = Calls(Kind.SYNC, Path("cache"), size=300_000)
            stream = Calls(Kind.STREAM, Path("cache"), size=300_000)
            calls(1)
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
            print(calls(1), calls(2), calls(2), calls.said(), stream(3), stream(3), stream.said())
            print(Entries(Path("cache")).strangers())
            """,
            tmp_path,
        )
        assert found == "hit miss miss (1, 2) miss miss (1, 2)\n[]"


OPEN_FILES = """
    import os, resource, sys
    from pathlib import Path
    from kinds import Kind
    from watched_calls import Calls

    kind, size, known = Kind(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "open"
    calls = Calls(kind, Path("cache"), size=size, memory_limit=0)
    calls(1)
    if not known:
        calls.store.close()
    taken = []

    def take_all():
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass

    expected, calls.expected = calls.expected, lambda n: take_all() or expected(n)  # in the body, and afterwards
    if not kind.is_async:
        take_all()
    calls(2)
    while taken:
        os.close(taken.pop())
    calls.expected = expected
    print(len(calls.warned) <= 1, bool(calls.errors) or known)
    calls.said()
    calls(2)
    print(calls(1), calls(2), calls.said())
"""


class TestOpenFiles:
    @pytest.mark.parametrize(("kind", "size", "known"), [
        (Kind.SYNC, LARGE, True), (Kind.SYNC, SMALL, False), (Kind.STREAM, LARGE, False), (Kind.ASYNC, LARGE, True),
    ])  # fmt: skip
    def test_none_is_left(self, kind: Kind, size: int, known: bool, tmp_path: Path) -> None:
        found = run(OPEN_FILES, tmp_path, kind.value, size, "open" if known else "closed")
        assert found == "True True\nhit hit (0, 0)"


class TestGeneration:
    """The file by which processes tell each other that something was replaced."""

    STALE = """
        import os, subprocess, sys
        from eagerly import session, task
        from flights import until

        @task(cache=True, cache_version="1")
        def who(n):
            return os.getpid()

        damage, action = sys.argv[1:]
        with session(cache_store="cache"):
            if action:
                first = who(1)
                assert who(1) == first
                if damage != "none":
                    os.unlink("cache/generation")
                if damage == "short":
                    open("cache/generation", "wb").write(b"abc")
                assert who(1) == first
                subprocess.run([sys.executable, "-c", sys.orig_argv[2], action, ""], check=True)
                until(lambda: who(1) != first, "it is seen")  # at once, or within a second if the file is another one
                print("seen")
            else:
                getattr(who, damage)(1)
    """

    @pytest.mark.parametrize("damage", ["none", "gone", "short"])
    def test_what_others_replace_is_seen(self, damage: str, tmp_path: Path) -> None:
        assert run(self.STALE, tmp_path, damage, "refresh") == "seen"

    def test_a_truncated_one(self, tmp_path: Path) -> None:
        found = run(
            """
            import os
            from pathlib import Path
            from kinds import Kind
            from watched_calls import Calls

            calls = Calls(Kind.SYNC, Path("cache"))
            calls(1)
            os.truncate("cache/generation", 0)
            print(calls(1), calls(2), calls(2), calls.said())
            """,
            tmp_path,
        )
        assert found.endswith("miss hit (0, 0)")


class TestClock:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        clock = [time.time()]
        monkeypatch.setattr(time, "time", lambda: clock[0])
        return clock

    def test_that_jumps_back(self, tmp_path: Path, clock: list[float]) -> None:
        calls = Calls(Kind.SYNC, tmp_path / "cache", memory_limit=0, clock=Clock(time=lambda: clock[0]))
        calls.task = calls.task.options(cache_ttl=100)
        start = clock[0]
        clock[0] += 1000
        assert [calls(1), calls(1)] == ["miss", "hit"]
        clock[0] = start - 10_000
        assert [calls(1), calls(2), calls(2)] == ["hit", "miss", "hit"]
        clock[0] = start
        assert [calls(1), calls(2), calls(2)] == ["hit", "miss", "hit"]  # the second had ended
        clock[0] = start + 1101
        assert [calls(1), calls(2)] == ["miss", "miss"]
        assert calls.said() == (0, 0)

    def test_that_jumps_back_where_the_store_is_full(self, tmp_path: Path, clock: list[float]) -> None:
        calls = Calls(Kind.SYNC, tmp_path / "cache", size=LARGE, memory_limit=0, size_limit=10 * LARGE)
        for n in range(40):
            clock[0] -= 100
            assert [calls(n), calls(n)] == ["miss", "hit"]
        assert calls.store.stats().bytes <= 20 * LARGE
        assert calls.said() == (0, 0)


class TestInterruptions:
    """What comes from outside in the middle of a call that stores its result."""

    BEGIN = """
        import asyncio, os, signal, sys, threading
        from eagerly import session, task
        from eagerly.cache import DiskStore
        from flights import Gate, GatedStore

        @task(cache=True, cache_version="1")
        def f(n):
            return [n] * 20_000

        @task(cache=True, cache_version="1")
        async def g(n):
            return [n] * 20_000

        class Interrupted(GatedStore):
            '''A signal comes while the file of a result is being written.'''

            def put(self, key, parts, /, **options):
                def interrupting():
                    for part in parts:
                        yield part
                        os.kill(os.getpid(), SIGNAL)

                class Parts(list):
                    asked = 0

                    def __iter__(self):  # first for the sizes
                        self.asked += 1
                        return iter(parts) if self.asked == 1 else interrupting()

                super().put(key, Parts(parts), **options)
    """
    AFTER = """
        from pathlib import Path
        from watched_calls import Entries

        with session(cache_store="cache"):
            print(f.is_cached(1), f(1) == [1] * 20_000, f.is_cached(1), g.is_cached(1))
        print(Entries(Path("cache")).strangers())
    """

    def after(self, folder: Path) -> str:
        return run(textwrap.dedent(self.BEGIN) + textwrap.dedent(self.AFTER), folder)

    def test_ctrl_c_while_a_result_is_being_stored(self, tmp_path: Path) -> None:
        found = run(
            textwrap.dedent(self.BEGIN)
            + textwrap.dedent(
                """
                SIGNAL = signal.SIGINT
                with session(cache_store=Interrupted("cache")):
                    try:
                        f(1)
                    except KeyboardInterrupt:
                        print("interrupted")
                SIGNAL = 0
                with session(cache_store="cache"):
                    print(f.is_cached(1), f(1) == [1] * 20_000, f.is_cached(1))
                """
            ),
            tmp_path,
        )
        assert found == "interrupted\nFalse True True"
        assert self.after(tmp_path) == "True True True False\n[]"

    def test_sigterm(self, tmp_path: Path) -> None:
        code = textwrap.dedent(self.BEGIN) + textwrap.dedent(
            """
            SIGNAL = signal.SIGTERM
            with session(cache_store=Interrupted("cache")):
                f(1)
            """
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        )
        assert done.returncode == -15
        assert list((tmp_path / "cache").glob("??/*.tmp"))  # killed in the middle
        assert self.after(tmp_path) == "False True True False\n[]"

    def test_the_end_of_the_interpreter_while_a_result_is_being_stored(self, tmp_path: Path) -> None:
        found = run(
            textwrap.dedent(self.BEGIN)
            + textwrap.dedent(
                """
                async def main():
                    gate = Gate()
                    store = GatedStore("cache")
                    store.gates["put"] = gate
                    with session(cache_store=store):
                        call = asyncio.ensure_future(g(1))
                        await asyncio.to_thread(gate.reached.wait)
                        threading.Timer(0.2, gate.open.set).start()
                    print("left")  # with the call under way: asyncio.run cancels it

                asyncio.run(main())
                """
            ),
            tmp_path,
        )
        assert found == "left"
        assert self.after(tmp_path).splitlines()[1] == "[]"

    def test_fork_in_the_middle_of_a_body(self, tmp_path: Path) -> None:
        found = run(
            """
            import os
            from pathlib import Path
            from eagerly import session, task
            from watched_calls import Entries

            @task(cache=True, cache_version="1")
            def inner(n):
                return [n] * 20_000

            @task(cache=True, cache_version="1")
            def outer(n):
                global child
                inner(n)
                if n == 1:
                    child = os.fork()
                inner(n + 1)
                return ["parent" if child else "child"] * 20_000

            with session(cache_store="cache"):
                result = outer(1)
                if not child:
                    right = inner(2) == [2] * 20_000, outer(5)[0] == "child", outer(1)[0] in ("child", "parent")
                    os._exit(not all(right))
                print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), result[0])
                print(outer(5)[0], inner.is_cached(1), inner.is_cached(2), outer.is_cached(1))
            print(Entries(Path("cache")).strangers())
            """,
            tmp_path,
        )
        assert found == "0 parent\nchild True True True\n[]"

    def test_a_thread_that_ends_in_the_middle(self, tmp_path: Path) -> None:
        """SystemExit in a body ends a thread and nothing else; others compute what it did not."""
        calls = Calls(Kind.SYNC, tmp_path / "cache")
        expected, calls.expected = calls.expected, lambda n: sys.exit()
        with session(cache_store=calls.store):
            threads = calling(4, calls.task, 1)
        assert {type(thread.outcome()) for thread in threads} == {SystemExit}
        assert calls.runs == 4
        calls.expected = expected
        assert [calls(1), calls(1)] == ["miss", "hit"]

    def test_a_daemon_thread_at_the_end_of_the_interpreter(self, tmp_path: Path) -> None:
        found = run(
            textwrap.dedent(self.BEGIN)
            + textwrap.dedent(
                """
                import contextvars

                def forever():
                    n = 1000
                    while True:
                        n += 1
                        f(n)
                        if n == 1010:
                            going.set()

                going = threading.Event()
                with session(cache_store="cache"):
                    thread = threading.Thread(target=contextvars.copy_context().run, args=(forever,), daemon=True)
                    thread.start()
                    going.wait()
                    print("end")
                    sys.stdout.flush()
                    raise SystemExit
                """
            ),
            tmp_path,
        )
        assert found == "end"
        assert self.after(tmp_path) == "False True True False\n[]"
