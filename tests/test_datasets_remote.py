"""Stores with a URL: in memory, on S3 (a local stand-in), and on a file system that has folders."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from moto.server import ThreadedMotoServer

from eagerly.datasets._remote import RemotePlace
from eagerly.datasets._store import DatasetStore
from eagerly.errors import DatasetError, DatasetKeyError, DatasetNotFoundError, MissingExtraError, OptionValueError


class Folders(LocalFileSystem):  # type: ignore[misc]
    """A local folder that is treated as what it might be elsewhere: with folders and moves, without locks."""

    protocol = ("folders",)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return LocalFileSystem._strip_protocol(str(path).removeprefix("folders://"))


fsspec.register_implementation("folders", Folders, clobber=True)


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, Any]]:
    """Options for an S3 that runs in this process, with one bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {
        "key": "test",
        "secret": "test",
        "client_kwargs": {"endpoint_url": f"http://{host}:{port}"},
    }
    fsspec.filesystem("s3", **options).mkdir("bucket")
    yield options
    server.stop()


@pytest.fixture(params=["memory", "s3", "folders"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """A base of its own, and its options."""
    match request.param:
        case "s3":
            return f"s3://bucket/{uuid4().hex}", request.getfixturevalue("s3")
        case "folders":
            return f"folders://{tmp_path}/base", {}
        case _:
            return f"memory://{uuid4().hex}/base", {}


@pytest.fixture
def store(place: tuple[str, dict[str, Any]]) -> DatasetStore:
    base, options = place
    return DatasetStore(base, storage_options=options)


@pytest.fixture
def keeping(place: tuple[str, dict[str, Any]]) -> DatasetStore:
    base, options = place
    return DatasetStore(base, versions=True, storage_options=options)


def test_saving_and_loading(store: DatasetStore) -> None:
    assert store.list() == []
    assert not store.exists("r/x.json")
    with pytest.raises(DatasetNotFoundError):
        store.load("r/x.json")
    saved = store.save("r/x.json", {"a": 1}, provenance={"task": "t"})
    assert saved.path == store.path("r/x.json")
    assert saved.path.endswith("/r/x.json")
    assert store.load("r/x.json") == {"a": 1}
    assert store.exists("r/x.json")
    assert not store.exists("r")
    assert store.manifest("r/x.json") == saved
    store.save("r/y", {1}, format="pickle")
    store.save("z.txt", "text")
    assert store.load("r/y") == {1}
    assert [dataset.key for dataset in store.list()] == ["r/x.json", "r/y", "z.txt"]
    assert [dataset.key for dataset in store.list("r/")] == ["r/x.json", "r/y"]
    assert store.verify() == []
    with pytest.raises(DatasetNotFoundError, match=r"did you mean 'r/x\.json'"):
        store.load("r/x.jso")
    assert store.delete("r/x.json")
    assert not store.delete("r/x.json")
    assert not store.exists("r/x.json")


def test_versions_and_lineage(keeping: DatasetStore) -> None:
    saves = [keeping.save("r/x.json", number) for number in range(3)]
    child = keeping.save("child.json", 1, provenance={"sources": [saves[0].as_source()]})
    assert keeping.load("r/x.json") == 2
    assert [keeping.load("r/x.json", version=save.version) for save in keeping.history("r/x.json")] == [2, 1, 0]
    assert keeping.lineage("child.json").sources[0].version == saves[0].version
    assert keeping.load("child.json", version=child.version) == 1
    assert keeping.verify() == []
    assert keeping.delete("r/x.json")
    assert keeping.history("r/x.json") == []


def test_large_values_and_streams(keeping: DatasetStore) -> None:
    value = os.urandom(1 << 20) * 20
    saved = keeping.save("big", value)
    assert saved.size == len(value)
    assert keeping.load("big") == value
    with keeping.writer("s.jsonl") as writer:
        for number in range(1000):
            writer.write({"n": number})
        assert not keeping.exists("s.jsonl")
    assert len(keeping.load("s.jsonl")) == 1000
    assert keeping.verify() == []


def test_a_failed_save_leaves_the_old(store: DatasetStore) -> None:
    store.save("x.json", "old")
    known = store.manifest("x.json")
    result = {"a": {1}}
    with pytest.raises(DatasetError) as caught:
        store.save("x.json", result)
    assert caught.value.result is result
    with pytest.raises(ZeroDivisionError), store.writer("x.json", format="jsonl") as writer:
        writer.write(1)
        1 / 0
    assert store.load("x.json") == "old"
    assert store.manifest("x.json") == known


def test_what_is_wrong_is_found(store: DatasetStore, place: tuple[str, dict[str, Any]]) -> None:
    for name in "abc":
        store.save(f"x/{name}.json", 1)
    fs, root = fsspec.core.url_to_fs(place[0], **place[1])
    fs.rm_file(f"{root}/x/a.json")
    fs.pipe_file(f"{root}/x/b.json", b"2\n")
    fs.pipe_file(f"{root}/x/new.json", b"3")
    assert {(problem.key, problem.kind) for problem in store.verify()} == {
        ("x/a.json", "missing"),
        ("x/b.json", "altered"),
        ("x/new.json", "foreign"),
    }


def test_names_that_are_patterns_elsewhere(store: DatasetStore) -> None:
    for key in ("a*.json", "a?.json", "[a].json", "a b#c%41.json", "ü.json", "a.json"):
        store.save(key, key)
    for key in ("a*.json", "a?.json", "[a].json", "a b#c%41.json", "ü.json", "a.json"):
        assert store.load(key) == key
    assert store.delete("a*.json")
    assert len(store.list()) == 5
    assert store.load("a.json") == "a.json"


def test_keys_cannot_leave_the_base_here_either(store: DatasetStore) -> None:
    for key in ("../x", "/x", "a/../../x", "s3://bucket/x", "memory://x"):
        with pytest.raises(DatasetKeyError):
            store.save(key, 1)


def test_the_format_is_that_of_the_file_where_sizes_are_equal(
    store: DatasetStore, place: tuple[str, dict[str, Any]]
) -> None:
    """A crash after the manifest and before the file: the manifest has two saves, and the content says which it is."""
    store.save("x", "1234", format="text")
    fs, root = fsspec.core.url_to_fs(place[0], **place[1])
    old = fs.cat_file(f"{root}/x")
    store.save("x", b"abcd", format="bytes")
    fs.pipe_file(f"{root}/x", old)
    assert store.load("x") == "1234"
    assert store.verify() == []


def test_threads_that_save_one_key(keeping: DatasetStore) -> None:
    def work(name: int) -> None:
        for number in range(2):
            keeping.save("shared", {"by": name, "number": number}, provenance={"by": name, "number": number})
            assert set(keeping.load("shared")) == {"by", "number"}

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    assert len(keeping.history("shared")) == 6
    assert keeping.verify() == []


WRITER = """
import json, sys
from eagerly.datasets._store import DatasetStore
base, options, name = sys.argv[1:]
store = DatasetStore(base, storage_options=json.loads(options))
for number in range(4):
    store.save("shared", {"by": name, "number": number, "filling": "x" * (number * 7)})
    assert set(store.load("shared")) == {"by", "number", "filling"}
"""


@pytest.mark.parametrize("place", ["s3"], indirect=True)
def test_processes_that_save_one_key(place: tuple[str, dict[str, Any]]) -> None:
    import json

    base, options = place
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, base, json.dumps(options), str(name)], stderr=subprocess.PIPE)
        for name in range(2)
    ]
    for process in processes:
        _, said = process.communicate()
        assert (process.returncode, said) == (0, b"")
    store = DatasetStore(base, storage_options=options)
    assert store.load("shared")["number"] == 3
    assert store.verify() == []


def test_pickled_stores_connect_anew(store: DatasetStore) -> None:
    store.save("x.json", 1)
    other = pickle.loads(pickle.dumps(store))
    assert other.load("x.json") == 1
    assert other.base == store.base
    assert store.shared == (not store.base.startswith("memory"))


def test_a_forked_child_connects_anew(s3: dict[str, Any]) -> None:
    script = """
import json, os, sys
from eagerly.datasets._store import DatasetStore
store = DatasetStore("s3://bucket/forked", storage_options=json.loads(sys.argv[1]))
store.save("x.json", "parent")
child = os.fork()
if child == 0:
    assert store.load("x.json") == "parent"
    store.save("x.json", "child")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert store.load("x.json") == "child"
"""
    import json

    done = subprocess.run([sys.executable, "-c", script, json.dumps(s3)], capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()


def test_a_server_that_is_gone_is_an_error_with_the_result() -> None:
    options = {
        "key": "k",
        "secret": "s",
        "client_kwargs": {"endpoint_url": "http://127.0.0.1:9", "region_name": "us-east-1"},
        "config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 1},
    }
    store = DatasetStore("s3://bucket/x", storage_options=options)
    with pytest.raises(DatasetError) as caught:
        store.save("x.json", "value")
    assert caught.value.result == "value"
    with pytest.raises(DatasetError):
        store.load("x.json")


def test_protocols_that_do_not_exist() -> None:
    with pytest.raises(
        OptionValueError, match=r"DatasetStore\('nonsense://x'\): fsspec knows no nonsense://; write s3:"
    ):
        DatasetStore("nonsense://x")


@pytest.mark.parametrize(
    ("package", "url", "command"),
    [
        ("fsspec", "memory://x", "pip install 'eagerly[fsspec]'"),
        ("fsspec", "s3://bucket/x", "pip install 'eagerly[s3]'"),
        ("s3fs", "s3a://bucket/x", "pip install 'eagerly[s3]'"),
        ("s3fs", "simplecache::s3://bucket/x", "pip install 'eagerly[s3]'"),
        ("gcsfs", "gs://bucket/x", "pip install gcsfs"),
    ],
)
def test_a_missing_package_is_named_with_its_command(
    package: str, url: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError) as caught:
        DatasetStore(url)
    said = f"DatasetStore({url!r}) needs the package {package!r}, which is not installed: {command}"
    assert str(caught.value) == said


def test_the_base_may_end_with_a_slash() -> None:
    name = uuid4().hex
    DatasetStore(f"memory://{name}/").save("x.json", 1)
    assert DatasetStore(f"memory://{name}").load("x.json") == 1
    assert RemotePlace(f"memory://{name}/", {}).locate("x") == f"memory://{name}/x"


def test_nothing_connects_before_it_must(tmp_path: Path) -> None:
    script = """
import sys
from eagerly.datasets._store import DatasetStore
DatasetStore(sys.argv[1]).save("x.json", 1)
assert "fsspec" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)


@pytest.mark.parametrize("chain", ["", "simplecache::"])
def test_a_password_in_the_url_is_used_and_not_shown(chain: str) -> None:
    where = uuid4().hex
    store = DatasetStore(f"{chain}memory://user:s3cret@{where}/x")
    saved = store.save("a.json", {"a": 1})
    copy = pickle.loads(pickle.dumps(store))
    assert copy.load("a.json") == {"a": 1}
    assert any(f"user:s3cret@{where}" in path for path in fsspec.filesystem("memory").find("/"))
    with pytest.raises(DatasetNotFoundError) as caught:
        store.load("b.json")
    shown = [repr(copy), store.base, store.path("a.json"), repr(saved), repr(saved.as_source()), str(caught.value)]
    assert store.base == f"{chain}memory://user:***@{where}/x"
    assert not [text for text in shown if "s3cret" in text]
