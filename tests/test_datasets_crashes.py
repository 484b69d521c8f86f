"""Datasets and processes: killed in the middle of a save, writing one key at the same time, on a disk that is full."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from eagerly.datasets._store import DatasetStore

SAVER = """
import sys, random
from eagerly.datasets._store import DatasetStore

base, name, versions, size = sys.argv[1:]
store = DatasetStore(base, versions=versions == "True")
print("ready", flush=True)
number = 0
while True:
    number += 1
    key = f"d/{random.randrange(3)}"
    # Each format in turn, so that a manifest of another save would load wrongly.
    value = {"by": name, "number": number, "filling": "x" * random.randrange(int(size))}
    store.save(key, value, format=("json", "pickle")[number % 2], provenance={"number": number, "by": name})
    if number % 5 == 0:
        writer = store.writer("d/stream.jsonl")
        for item in range(3):
            writer.write({"number": number, "item": item})
        writer.commit()
"""


def start(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def end(process: subprocess.Popen[bytes]) -> bytes:
    """Kill it; what it had to say."""
    process.kill()
    _, said = process.communicate()
    return said


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    """For processes that are waited for also if the test fails."""
    with ExitStack() as stack:
        yield stack


def temporary_files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and (path.name.endswith(".tmp") or path.parent.name == "writing")
    )


def check_all(store: DatasetStore) -> int:
    """Every dataset is whole, and its manifest is its own; how many there are."""
    assert store.verify() == []
    datasets = store.list()
    for dataset in datasets:
        value = store.load(dataset.key)
        assert dataset.sha256 == hashlib.sha256(Path(dataset.path).read_bytes()).hexdigest()
        if dataset.key == "d/stream.jsonl":
            assert [item["item"] for item in value] == [0, 1, 2]
            assert len({item["number"] for item in value}) == 1
        else:
            assert {"by": value["by"], "number": value["number"]} == dataset.provenance
            for save in store.history(dataset.key)[:3] if store.versions else ():
                old = store.load(dataset.key, version=save.version)
                assert old["number"] == save.provenance["number"]
    return len(datasets)


def kill_savers(tmp_path: Path, versions: bool, kills: int, seed: int) -> int:
    """Kill processes that do nothing but save, at random moments; how many files they left for the next save."""
    chance = random.Random(seed)
    store = DatasetStore(tmp_path, versions=versions)
    orphans = 0
    for number in range(kills):
        processes = [start(SAVER, tmp_path, f"{number}-{which}", versions, 200_000) for which in range(2)]
        threading.Event().wait(chance.uniform(0.0, 0.06))  # the moment is what is tested, not an event
        for process in processes:
            assert end(process) == b""
        orphans += len(temporary_files(tmp_path))
        check_all(store)  # also before anything is swept: verify() sweeps, so list() goes first there
        store.save("d/after", {"by": "test", "number": number}, provenance={"by": "test", "number": number})
        assert temporary_files(tmp_path) == []
        assert store.load("d/after")["number"] == number
        check_versions(store)
    return orphans


def check_versions(store: DatasetStore) -> None:
    """Every version has a manifest, once its key is saved or swept again."""
    if not store.versions:
        return
    for dataset in store.list("d/after"):
        folder = Path(store.base, ".eagerly/datasets/versions/d.d/after.v")
        names = {path.name for path in folder.iterdir()}
        assert {name for name in names if not name.endswith(".json")} == {
            name.removesuffix(".json") for name in names if name.endswith(".json")
        }
        assert dataset.version in names


@pytest.mark.parametrize("versions", [False, True])
def test_a_killed_save_leaves_the_old_or_the_new(tmp_path: Path, versions: bool) -> None:
    kill_savers(tmp_path, versions, kills=3, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("versions", [False, True])
def test_four_hundred_kills(tmp_path: Path, versions: bool) -> None:
    assert kill_savers(tmp_path, versions, kills=100, seed=2), "some were killed in the middle"


STOPPED = """
import os, sys
from eagerly.datasets._store import DatasetStore

base, versions, where, count = sys.argv[1:]
store = DatasetStore(base, versions=versions == "True")
real = getattr(os, where)
calls = 0

def counted(*args, **kwargs):
    global calls
    calls += 1
    if calls == int(count):
        os.kill(os.getpid(), 9)
    return real(*args, **kwargs)

setattr(os, where, counted)
store.save("new", {"state": "new"}, format="pickle")
store.save("old", {"state": "new"}, format="pickle")
print("done", flush=True)
"""


@pytest.mark.parametrize("versions", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize(
    "calls", [("replace", "unlink"), pytest.param(("open", "write", "fsync", "mkdir", "close"), marks=pytest.mark.slow)]
)
def test_killed_before_each_system_call(tmp_path: Path, versions: bool, calls: tuple[str, ...]) -> None:
    """There is no moment at which a kill leaves anything but the old or the new dataset."""
    moments = 0
    for where in calls:
        for count in range(1, 1000):
            base = tmp_path / f"{where}-{count}"
            store = DatasetStore(base, versions=versions)
            before = store.save("old", {"state": "old"}, format="json")
            with start(STOPPED, base, versions, where, count) as process:
                _, said = process.communicate()
            assert said == b""
            if process.returncode == 0:
                break
            assert process.returncode == -signal.SIGKILL
            moments += 1
            known = store.manifest("old")
            assert known is not None
            state = store.load("old")["state"]
            assert (state == "old") == (known == before), f"before {where} number {count}"
            assert known.format == {"old": "json", "new": "pickle"}[state]
            assert store.history("old")[0].version == known.version
            if store.exists("new"):
                assert store.load("new") == {"state": "new"}
            assert {dataset.key for dataset in store.list()} == ({"old", "new"} if store.exists("new") else {"old"})
            assert store.verify() == []
            assert temporary_files(base) == []
            store.save("new", "again")
            if versions:
                assert store.load("old", version=before.version) == {"state": "old"}
                assert len(store.history("new")) in (1, 2)
        else:
            pytest.fail("it never came to an end")
    assert moments > 4


def test_the_next_save_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    script = """
import sys
from eagerly.datasets._store import DatasetStore
writers = [DatasetStore(sys.argv[1]).writer(f"{folder}/x.jsonl") for folder in "abc"]
for writer in writers:
    writer.write({"n": 1})
print("ready", flush=True)
sys.stdin.read()
"""
    process = start(script, tmp_path)
    assert len(temporary_files(tmp_path)) == 6, "three drafts and three notes"
    store = DatasetStore(tmp_path)
    store.save("other/y", "1")
    assert len(temporary_files(tmp_path)) == 6, "those of a live process stay"
    end(process)
    assert not store.exists("a/x.jsonl")
    store.save("other/y", "2")
    assert temporary_files(tmp_path) == [], "also those in other folders"


def test_a_note_cannot_have_other_files_removed(tmp_path: Path) -> None:
    store = DatasetStore(tmp_path / "root")
    store.save("x", "1")
    (tmp_path / "root/.eagerly-precious.tmp").mkdir()
    (tmp_path / "outside.tmp").write_text("precious")
    notes = tmp_path / "root/.eagerly/datasets/writing"
    for number, note in enumerate(
        [
            "x\nx",
            "x\n../outside.tmp",
            "../x\n.eagerly-../../outside.tmp",
            "../y\noutside.tmp",
            "x\n.eagerly-precious.tmp",
            "\0\n\0",
            "",
            "x",
        ]
    ):
        (notes / f"planted{number}").write_text(note)
    store.save("y", "2")
    assert store.load("x") == "1"
    assert (tmp_path / "outside.tmp").read_text() == "precious"
    assert store.manifest("x") is not None


WRITER = """
import sys
from eagerly.datasets._store import DatasetStore

base, name, saves, versions = sys.argv[1:]
store = DatasetStore(base, versions=versions == "True")
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(saves)):
    value = {"by": name, "number": number, "filling": "x" * (number * 37 % 500)}
    store.save("shared", value, format=("json", "pickle")[number % 2], provenance={"by": name, "number": number})
    store.load("shared")["by"]
print("done", flush=True)
"""


@pytest.mark.parametrize("versions", [False, True])
def test_writers_of_one_key_in_four_processes_and_a_reader(tmp_path: Path, versions: bool, ends: ExitStack) -> None:
    saves = 25
    processes = [
        ends.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(tmp_path), str(name), str(saves), str(versions)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
        for name in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
    for process in processes:
        process.stdin.write(b"go\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
    store = DatasetStore(tmp_path, versions=versions)
    while any(process.poll() is None for process in processes):
        if store.exists("shared"):
            assert set(store.load("shared")) == {"by", "number", "filling"}
            assert store.verify("shared") == []
    for process in processes:
        _, said = process.communicate()
        assert (process.returncode, said) == (0, b"")
    last = store.manifest("shared")
    assert last is not None
    value = store.load("shared")
    assert {"by": value["by"], "number": value["number"]} == last.provenance
    assert store.verify() == []
    assert temporary_files(tmp_path) == []
    if versions:
        history = store.history("shared")
        assert len(history) == 4 * saves, "none is lost"
        assert len({json.dumps(save.provenance) for save in history}) == 4 * saves
        for save in history[::17]:
            old = store.load("shared", version=save.version)
            assert {"by": old["by"], "number": old["number"]} == save.provenance
    assert last.provenance["number"] == saves - 1


@pytest.mark.parametrize("versions", [False, True])
def test_writers_of_one_key_in_eight_threads(tmp_path: Path, versions: bool) -> None:
    store = DatasetStore(tmp_path, versions=versions)

    def work(name: int) -> None:
        for number in range(10):
            store.save("shared", {"by": name, "number": number}, provenance={"by": name, "number": number})
            assert set(store.load("shared")) == {"by", "number"}
            store.save(f"own/{name}", number, format="json")
            assert store.load(f"own/{name}") == number

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    known = store.manifest("shared")
    assert known is not None
    assert store.load("shared") == known.provenance
    assert store.verify() == []
    assert temporary_files(tmp_path) == []
    assert len(store.list()) == 9
    assert len(store.history("shared")) == (80 if versions else 1)


def test_a_forked_child_does_not_end_the_writer_of_its_parent(tmp_path: Path) -> None:
    script = """
import os, sys
from eagerly.datasets._store import DatasetStore
writer = DatasetStore(sys.argv[1]).writer("x.jsonl")
writer.write({"n": 1})
child = os.fork()
if child == 0:
    writer.abort()
    DatasetStore(sys.argv[1]).save("y", "from the child")
    os._exit(0)
os.waitpid(child, 0)
writer.write({"n": 2})
writer.commit()
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path)], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert DatasetStore(tmp_path).load("x.jsonl") == [{"n": 1}, {"n": 2}]
    assert temporary_files(tmp_path) == []


FULL = """
import pickle, resource, sys
from eagerly.datasets._store import DatasetStore
from eagerly.errors import DatasetError

store = DatasetStore(sys.argv[1], versions=sys.argv[2] == "True")
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
value = "x" * 500_000
try:
    store.save("x", value)
except DatasetError as error:
    assert error.result is value
    assert "File too large" in str(error), error
else:
    sys.exit("it was saved")
writer = store.writer("s.jsonl")
try:
    while True:
        writer.write({"n": "y" * 1000})
except DatasetError as error:
    assert "File too large" in str(error), error
    assert error.result == {"n": "y" * 1000}
store.save("small", "1")
assert store.load("small") == "1"
"""


@pytest.mark.parametrize("versions", [False, True])
def test_a_full_disk(tmp_path: Path, versions: bool) -> None:
    store = DatasetStore(tmp_path, versions=versions)
    store.save("x", "old")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FULL, str(tmp_path), str(versions)], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert store.load("x") == "old"
    assert store.verify() == []
    assert temporary_files(tmp_path) == []
    assert not store.exists("s.jsonl")


def test_a_save_between_opening_and_the_manifest_is_noticed(tmp_path: Path) -> None:
    """The reader gets the file it opened with the format of that very file, or a later one with its own."""
    store = DatasetStore(tmp_path)
    place = store._place
    real = place.read
    queue: list[tuple[Any, str]] = [("text", "text"), ({1}, "pickle"), (b"bytes", "bytes"), ([1], "json")]

    def read(path: str) -> bytes | None:
        for _ in range(2 if queue and threading.current_thread() is threading.main_thread() else 0):
            value, name = queue.pop()
            saver = threading.Thread(target=store.save, args=("x", value), kwargs={"format": name})
            saver.start()
            saver.join()
        return real(path)

    store.save("x", {"first": True}, format="json")
    place.read = read  # type: ignore[method-assign]
    assert store.load("x") == "text"
    assert queue == []
