"""The SQLite run store in trouble: corrupt, newer, foreign, full, read-only, killed, forked; and its large outputs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eagerly import runs, session
from eagerly._file_locks import try_lock
from eagerly.errors import OutputCorrupt, OutputMissing, RunsError
from eagerly.runs import Query, SqliteRunStore
from eagerly.runs._schema import MIGRATIONS
from eagerly.runs._sqlite_file import prepare
from map_bodies import gone

LARGE = "x" * 100_000
TESTS = Path(__file__).parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "place" / "runs.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteRunStore]:
    made = SqliteRunStore(path)
    with session(run_store=made):
        yield made
    made.close()


def content(path: Path) -> bytes:
    return path.read_bytes()


def blobs(path: Path) -> list[Path]:
    return sorted(Path(f"{path}.blobs").glob("*"))


# Files


def test_nothing_is_made_before_something_is_written(store: SqliteRunStore, path: Path) -> None:
    assert [*runs.list()] == []
    assert store.get("run_x") is None
    assert store.recover() == []
    assert not path.parent.exists()
    runs.create("import")
    assert path.exists()


def test_only_this_user_can_read_it(store: SqliteRunStore, path: Path) -> None:
    run = runs.create("import")
    runs.update(run, status="completed", output=LARGE)
    store.owner()
    for each in [path.parent, *path.parent.rglob("*")]:
        mode = stat.S_IMODE(each.stat().st_mode)
        assert mode == (0o700 if each.is_dir() else 0o600), each
    assert store.trusted
    path.chmod(0o622)
    assert not store.trusted


def test_a_folder_means_a_file_in_it(tmp_path: Path) -> None:
    assert SqliteRunStore(tmp_path).place == str(tmp_path / "runs.db")
    assert SqliteRunStore(f"{tmp_path}/new/").place == str(tmp_path / "new" / "runs.db")


def test_a_file_that_is_removed_is_made_anew(store: SqliteRunStore, path: Path) -> None:
    runs.create("import")
    for each in path.parent.glob("runs.db*"):
        if each.is_file():
            each.unlink()
    assert [*runs.list()] == []
    run = runs.create("again")
    assert [*runs.list()] == [run]


def test_who_waits_while_the_file_is_replaced(store: SqliteRunStore, path: Path) -> None:
    """They hear that their run is gone, and of runs in the file that is there then."""
    news: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def tell(found: Any) -> bool:
        news.put(found)
        return False

    run = runs.create("import")
    ends = [store.watch(run.id, tell)]
    assert news.get(timeout=60).id == run.id  # it is looked at now
    for each in path.parent.glob("runs.db*"):
        if each.is_file():
            each.unlink()
    while news.get(timeout=60) is not None:
        pass
    code = (
        "import sys\nfrom eagerly import runs, session\nwith session(run_store=sys.argv[1]):\n"
        "    run = runs.create('again')\n    print(run.id, flush=True)\n"
        "    input()\n    runs.update(run, status='completed')\n"
    )
    words = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        again = other.stdout.readline().strip()
        ends.append(store.watch(again, tell))
        while (found := news.get(timeout=60)) is None:
            pass
        assert (found.id, found.status) == (again, "pending")
        other.communicate("\n")
    while (found := news.get(timeout=60)) is None or found.status != "completed":
        pass
    for end in ends:
        end()


def test_a_new_owner_that_another_process_looks_at(store: SqliteRunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has locked the file just then, to see whether somebody else has."""
    from eagerly.runs import _owners

    looked: list[int] = []

    def busy_once(fd: int) -> bool:
        looked.append(fd)
        return len(looked) > 1 and try_lock(fd)

    monkeypatch.setattr(_owners, "try_lock", busy_once)
    assert store.owner() in {each.name for each in Path(f"{store.place}.owners").iterdir()}
    assert len(looked) == 2


def test_a_file_system_without_locks(store: SqliteRunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eagerly.runs._owners.try_lock", lambda fd: False)
    with pytest.raises(RunsError, match="a file system without locks"):
        store.owner()
    assert [*Path(f"{store.place}.owners").glob("own_*")] == []


# Databases that are not used


def damaged(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)


def cut_short(path: Path) -> None:
    with session(run_store=SqliteRunStore(path)) as here:
        for _ in range(300):
            runs.create("import", {"x": "y" * 500})
        here.run_store.close()  # type: ignore[union-attr]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def newer(path: Path) -> None:
    with session(run_store=SqliteRunStore(path)) as here:
        runs.create("import")
        here.run_store.close()  # type: ignore[union-attr]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=99")


def foreign(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE contacts (name)")
        connection.execute("INSERT INTO contacts VALUES ('Ada')")
        connection.commit()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (damaged, r"is damaged or no SQLite database .*`mv .*runs\.db .*runs\.db\.damaged`"),
        (cut_short, "is damaged or no SQLite database"),
        (
            newer,
            r"newer eagerly \(its schema has version 99, and this one knows 2\).*pip install --upgrade",
        ),
        (
            foreign,
            "database of another program, and is left as it is; give the run store a path of its own",
        ),
    ],
)
def test_what_is_refused_is_left_as_it_is(make: Any, message: str, path: Path) -> None:
    path.parent.mkdir()
    make(path)
    before = content(path)
    store = SqliteRunStore(path)
    with session(run_store=store):
        for use in (runs.list, lambda: runs.create("import"), lambda: runs.prune(keep=0), store.owner):
            with pytest.raises(RunsError, match=message):
                use()
    store.close()
    assert content(path) == before


def test_an_earlier_version_is_brought_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first version had no kinds."""
    with monkeypatch.context() as patch:
        patch.setattr("eagerly.runs._sqlite_file.VERSION", 1)
        patch.setattr("eagerly.runs._schema.MIGRATIONS", MIGRATIONS[:1])
        prepare(str(path), 1.0)
    columns = "id, task, status, created_at, updated_at, root_id, progress, attempt, cached, tags"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(
            f"INSERT INTO runs ({columns}) VALUES ('run_a', 'a', 'pending', 1, 1, 'run_a', 0, 0, 0, '[]')"
        )
        connection.commit()
    for _ in range(2):
        prepare(str(path), 1.0)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT id, kind FROM runs").fetchall() == [("run_a", "run")]
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    store = SqliteRunStore(path)
    with session(run_store=store):
        assert runs.get("run_a").kind == "run"
    store.close()


# No room, no right to write, others that write


def can_mount(path: Path, *options: str) -> bool:
    return subprocess.run(["mount", *options, str(path)], capture_output=True, check=False).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    if not can_mount(place, "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs"):
        pytest.skip("may not mount a small file system; the file size limit is tested instead")
    yield place / "runs.db"
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("size", [1000, 500_000])
def test_a_full_disk(small_disk: Path, size: int) -> None:
    store = SqliteRunStore(small_disk)
    acknowledged = []
    with session(run_store=store):
        with pytest.raises(RunsError, match=r"room|full"):
            for _ in range(10_000):
                run = runs.create("import")
                acknowledged.append(run.id)
                runs.update(run, status="completed", output=os.urandom(size // 2).hex())
        for reader in (store, SqliteRunStore(small_disk)):
            assert {run.id for run in reader.find(Query(limit=1000))} == set(acknowledged)
            reader.close()
        assert not [each for each in blobs(small_disk) if each.suffix != ".gz"]
    store.close()


LIMITED = """
import resource, signal, sys
from eagerly import runs, session
from eagerly.errors import RunsError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with session(run_store=sys.argv[1]):
    made = [runs.create("import").id]
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
    try:
        while True:
            made.append(runs.create("import", {"x": "y" * 5000}).id)
    except RunsError as error:
        assert "room" in str(error) or "full" in str(error), error
    assert {run.id for run in runs.iter()} == set(made)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs file size limits")
def test_a_limit_on_the_size_of_files(path: Path) -> None:
    subprocess.run([sys.executable, "-c", LIMITED, str(path)], check=True, timeout=60)


@pytest.mark.parametrize("closed", [True, False])
def test_a_store_that_can_only_be_read(closed: bool, store: SqliteRunStore, path: Path) -> None:
    run = runs.update(runs.create("import"), status="completed", output=LARGE)
    if closed:
        store.close()
    if not can_mount(path.parent, "--bind", str(path.parent)):
        pytest.skip("may not mount")
    assert can_mount(path.parent, "-o", "remount,ro,bind")
    reader = SqliteRunStore(path)
    try:
        with session(run_store=reader):
            assert runs.get(run.id).result() == LARGE
            assert [*runs.list()] == [run]
            for write in (lambda: runs.create("import"), lambda: runs.prune(keep=0), reader.owner):
                with pytest.raises(RunsError, match=r"cannot be (opened or written to|used)"):
                    write()
    finally:
        reader.close()
        subprocess.run(["umount", "-l", str(path.parent)], check=True)
    assert [*runs.list()] == [run]


def test_another_writer(store: SqliteRunStore, path: Path) -> None:
    runs.create("import")
    impatient = SqliteRunStore(path, timeout=0.05)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with (
            session(run_store=impatient),
            pytest.raises(RunsError, match=r"locked by another process for more than 0\.05 s"),
        ):
            runs.create("late")
        assert len(runs.list()) == 1
        waiting = threading.Thread(target=store.owner)
        waiting.start()
        writer.execute("COMMIT")
        waiting.join()
    impatient.close()


# Large outputs


def test_a_large_output_is_a_file_named_by_its_content(store: SqliteRunStore, path: Path) -> None:
    first, second = (runs.update(runs.create("import"), status="completed", output=LARGE) for _ in range(2))
    [file] = blobs(path)
    assert file.suffix == ".gz"
    assert len(file.stem) == 64
    assert first.result() == second.result() == LARGE
    runs.prune(keep=1)
    assert blobs(path) == [file]
    assert second.output() == LARGE
    runs.prune(keep=0)
    assert blobs(path) == []


def test_what_others_have_put_there_stays(store: SqliteRunStore, path: Path) -> None:
    runs.update(runs.create("import"), status="completed", output=LARGE)
    folder = Path(f"{path}.blobs")
    foreign, fresh, old = (folder / name for name in ("README", f"{'a' * 16}.new", f"{'b' * 16}.new"))
    orphan = folder / f"{'c' * 64}.gz"
    for each in (foreign, fresh, old, orphan):
        each.write_bytes(b"x")
    os.utime(old, (1, 1))
    runs.prune(keep=5)
    assert [each.exists() for each in (foreign, fresh, old, orphan)] == [True, True, False, False]


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def flipped(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def exchanged(file: Path) -> None:
    import gzip

    file.write_bytes(gzip.compress(b'"something else"'))


@pytest.mark.parametrize("harm", [truncated, emptied, flipped, exchanged])
def test_an_output_that_was_altered(harm: Any, store: SqliteRunStore, path: Path) -> None:
    run = runs.update(runs.create("import"), status="completed", output=LARGE)
    harm(blobs(path)[0])
    for read in (run.output, run.result, lambda: runs.output(run.id)):
        with pytest.raises(OutputCorrupt, match=run.id) as caught:
            read()
        assert caught.value.run_id == run.id
    runs.update(runs.create("import"), status="completed", output=LARGE)
    assert run.output() == LARGE  # the same output, written again


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
async def test_reading_a_large_output_does_not_block_the_loop(store: SqliteRunStore, path: Path) -> None:
    run = await runs.aio.update(await runs.aio.create("import"), status="completed", output=LARGE)
    [blob] = blobs(path)
    packed = blob.read_bytes()
    blob.unlink()
    os.mkfifo(blob)  # whoever reads it waits for somebody who writes
    reading = asyncio.ensure_future(run.aio.output())
    for _ in range(100):
        await asyncio.sleep(0)
    assert not reading.done()
    writing = os.open(blob, os.O_WRONLY)
    await asyncio.to_thread(os.write, writing, packed)
    os.close(writing)
    assert await reading == LARGE


def test_an_output_that_is_gone(store: SqliteRunStore, path: Path) -> None:
    run = runs.update(runs.create("import"), status="completed", output=LARGE)
    [file] = blobs(path)
    file.unlink()
    with pytest.raises(OutputMissing, match=f"there is no file {file}"):
        run.result()


# Processes


def python(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=True, timeout=120
    )


def test_eight_processes_that_open_it_at_once(path: Path) -> None:
    code = "import sys\nfrom eagerly import runs, session\nsys.stdin.readline()\nwith session(run_store=sys.argv[1]):"
    code += "\n    for _ in range(20): runs.create('import')"
    children = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", code, str(path)], stdin=subprocess.PIPE)
        for _ in range(8)
    ]
    for child in children:
        child.communicate(b"go\n", timeout=120)
    assert [child.returncode for child in children] == [0] * 8
    store = SqliteRunStore(path)
    assert store.count(Query()) == 160
    store.close()


RACE = """
import sys
from eagerly import runs, session
from eagerly.errors import InvalidTransition
sys.stdin.readline()
won = []
with session(run_store=sys.argv[1]):
    for run_id in sys.argv[3:]:
        try:
            if sys.argv[2] == "cancel": runs.cancel(run_id)
            else: runs.update(run_id, status="completed", output="done")
            won.append(run_id)
        except InvalidTransition:
            pass
print(*won)
"""


def test_of_cancel_and_complete_in_two_processes_one_wins(store: SqliteRunStore, path: Path) -> None:
    made = [runs.update(runs.create("import"), status="running").id for _ in range(500)]
    pipe = subprocess.PIPE
    children = [
        subprocess.Popen([sys.executable, "-c", RACE, str(path), how, *made], stdin=pipe, stdout=pipe, text=True)
        for how in ("cancel", "complete")
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    cancelled, completed = (set(child.communicate(timeout=120)[0].split()) for child in children)
    assert cancelled | completed == set(made)
    assert not cancelled & completed
    for run in runs.iter():
        assert run.status == ("cancelled" if run.id in cancelled else "completed")
        assert run.has_output == (run.id in completed)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    ("kills", "seed", "writers"),
    [(20, 0, 4), (20, 1, 8), *(pytest.param(200, seed, 8, marks=pytest.mark.slow) for seed in (2, 3, 4))],
)
def test_writers_that_are_killed(kills: int, seed: int, writers: int, path: Path) -> None:
    """Also eight that open it at once: none of them makes it beforehand."""
    words = [sys.executable, str(TESTS / "run_writers.py"), str(path), *map(str, (kills, seed, writers))]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found.pop("kills") >= kills
    assert found.pop("acknowledged") >= 10
    assert found.pop("lost") > 0
    assert found == dict.fromkeys(("missing", "not completed", "still live", "two endings", "reported twice"), 0)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert done.stderr.count(" is lost: its process") >= 1


def test_a_living_owner_keeps_its_runs(store: SqliteRunStore, path: Path) -> None:
    code = "import sys\nfrom eagerly.runs import SqliteRunStore\nstore = SqliteRunStore(sys.argv[1])\n"
    code += "print(store.owner(), flush=True)\nsys.stdin.readline()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        owner = child.stdout.readline().strip()
        run = runs.create("import")
        from eagerly.runs import Change, RunStatus
        from eagerly.runs._record import now

        store.write([Change(run.id, now(), RunStatus.RUNNING, {"owner": owner})])
        assert store.recover() == []
        child.send_signal(signal.SIGKILL)
        child.wait()
        [lost] = store.recover()
    assert (lost.id, lost.status) == (run.id, "failed")
    assert lost.error is not None
    assert lost.error.kind == "lost"
    assert not Path(f"{path}.owners", owner).exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # 3.12+: fork with threads
def test_it_works_on_both_sides_of_a_fork(store: SqliteRunStore, path: Path) -> None:
    run = runs.create("import")
    mine = store.owner()
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):
            assert runs.get(run.id).id == run.id
            assert store.owner() != mine
            runs.update(run, status="running")
            code = 0
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert runs.get(run.id).status == "running"
    assert store.owner() == mine
    assert store.recover() == []


def test_a_store_that_another_process_makes_while_it_is_looked_at(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is none of another program, only because it has tables by now."""
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")  # so far the other one has come
    making: list[str] = []

    def make(statement: str) -> None:
        if "sqlite_master" in statement and not making:
            making.append(statement)
            prepare(str(path), 5)

    def watched(*args: Any, **options: Any) -> sqlite3.Connection:
        connection = CONNECT(*args, **options)
        connection.set_trace_callback(make)
        return connection

    monkeypatch.setattr("eagerly.runs._sqlite_file.sqlite3.connect", watched)
    made = SqliteRunStore(path)
    with session(run_store=made):
        assert runs.get(runs.create("import").id).task == "import"
    made.close()
    assert making


class Lingering:
    """Stays within SQLite for a while in all that other threads do there.

    Attributes:
        within: How many of them are there now.
        looks: How often one was.
        entered: Set when one comes.
    """

    def __init__(self, marked: str) -> None:
        self.within = self.looks = 0
        self.entered = threading.Event()
        self._marked = marked
        self._main = threading.get_ident()

    def connect(self, *args: Any, **options: Any) -> sqlite3.Connection:
        connection = CONNECT(*args, **options)
        connection.set_trace_callback(self._linger)
        return connection

    def _linger(self, statement: str) -> None:
        if threading.get_ident() != self._main and self._marked in statement:
            self.within += 1
            self.entered.set()
            for _ in range(20):
                time.sleep(0.0005)
            self.looks += 1
            self.within -= 1


CONNECT = sqlite3.connect


@contextlib.contextmanager
def reading(store: SqliteRunStore, run_id: str, *, closing: bool) -> Iterator[None]:
    """Another thread reads the run, over and over."""
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            store.get(run_id)
            if closing:
                store.close()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield
    finally:
        over.set()
        reader.join()


@contextlib.contextmanager
def watching(store: SqliteRunStore, run_id: str) -> Iterator[None]:
    """Somebody waits for the run."""
    end = store.watch(run_id, lambda _news: False)
    try:
        yield
    finally:
        end()


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for processes with a bound")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # 3.12+: fork with threads
@pytest.mark.parametrize("what", ["watches", "reads", "closes"])
def test_no_fork_while_another_thread_is_within_sqlite(what: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite has locks around what it has in memory, which the child would wait for in vain if that thread held one."""
    lingering = Lingering("data_version" if what == "watches" else "SELECT")
    monkeypatch.setattr("eagerly.runs._sqlite_file.sqlite3.connect", lingering.connect)
    store = SqliteRunStore(path)
    with session(run_store=store):
        run = runs.create("import")
        other = watching(store, run.id) if what == "watches" else reading(store, run.id, closing=what == "closes")
        with other:
            for _ in range(20):
                lingering.entered.clear()
                assert lingering.entered.wait(60)
                child = os.fork()
                if child == 0:
                    os._exit(lingering.within)
                ended = gone(child, within=30)
                if not ended:
                    os.kill(child, signal.SIGKILL)
                assert (ended, os.waitpid(child, 0)[1]) == (True, 0)
        store.close()
    assert lingering.looks >= 10
