"""What a dataset store does in a folder: saving, loading, listing, verifying, and what a failure leaves."""

from __future__ import annotations

import copy
import json
import os
import pickle
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from eagerly.datasets._store import DatasetStore
from eagerly.datasets.formats import Format, register_format, unregister_format
from eagerly.errors import (
    DatasetError,
    DatasetFormatError,
    DatasetKeyError,
    DatasetNotFoundError,
    OptionTypeError,
    OptionValueError,
)


def files(folder: Path) -> set[str]:
    """What people see."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and ".eagerly" not in path.relative_to(folder).parts
    }


def leftovers(folder: Path) -> list[str]:
    """Temporary files, and notes about them."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and (path.name.endswith(".tmp") or path.parent.name == "writing")
    )


class Failing(Format):
    """Writes half of it, and fails."""

    name = "failing"
    extensions = (".failing",)
    takes = "anything"
    unsafe = True  # so that it is chosen by name only
    error: BaseException = RuntimeError("disk on fire")

    def fits(self, value: Any, /) -> bool:
        return True

    def save(self, value: Any, file: BinaryIO, options: Mapping[str, Any], /) -> None:
        file.write(b"half")
        file.flush()
        raise self.error

    def load(self, file: BinaryIO, return_type: Any, options: Mapping[str, Any], /) -> Any:
        raise ValueError("cannot read this")


class Backwards(Format):
    """Goes back to write the head, as zip files do, and closes the file itself, as some libraries do."""

    name = "backwards"
    extensions = (".bw",)
    takes = "bytes"
    unsafe = True

    def fits(self, value: Any, /) -> bool:
        return type(value) is bytes

    def save(self, value: Any, file: BinaryIO, options: Mapping[str, Any], /) -> None:
        file.write(b"????" + value)
        file.seek(0)
        file.write(b"head")
        file.seek(0, os.SEEK_END)
        assert file.tell() == 4 + len(value)
        file.seek(2)
        assert file.read(3) == b"ad" + value[:1]
        file.close()

    def load(self, file: BinaryIO, return_type: Any, options: Mapping[str, Any], /) -> Any:
        return file.read()[4:]


@pytest.fixture(autouse=True)
def odd_formats() -> Iterator[None]:
    register_format(Failing)
    register_format(Backwards)
    yield
    unregister_format("failing")
    unregister_format("backwards")


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "store")


def test_nothing_is_touched_before_the_first_save(tmp_path: Path) -> None:
    store = DatasetStore(tmp_path / "a" / "b")
    assert store.list() == []
    assert store.history("x") == []
    assert store.manifest("x") is None
    assert store.verify() == []
    assert not store.exists("x")
    with pytest.raises(DatasetNotFoundError):
        store.load("x")
    assert list(tmp_path.iterdir()) == []


def test_people_see_their_files_and_nothing_else(store: DatasetStore, tmp_path: Path) -> None:
    saved = store.save("reports/day.json", {"a": 1})
    assert files(tmp_path / "store") == {"reports/day.json"}
    assert json.loads((tmp_path / "store/reports/day.json").read_text()) == {"a": 1}
    assert saved.path == str(tmp_path / "store/reports/day.json") == store.path("reports/day.json")
    assert {path.name for path in (tmp_path / "store").iterdir()} == {"reports", ".eagerly"}
    assert leftovers(tmp_path) == []


def test_a_dataset_is_described(store: DatasetStore, tmp_path: Path) -> None:
    before = datetime.now(UTC)
    saved = store.save("a.json", [1, 2], provenance={"task": "make", "inputs": {"day": 3}, "odd": {4}})
    content = (tmp_path / "store/a.json").read_bytes()
    assert (saved.key, saved.format, saved.python_type, saved.size) == ("a.json", "json", "list", len(content))
    assert saved.sha256 == __import__("hashlib").sha256(content).hexdigest()
    assert before - timedelta(seconds=1) < saved.saved_at < datetime.now(UTC) + timedelta(seconds=1)
    assert saved.software["python"] == sys.version.split()[0]
    assert saved.software["eagerly"]
    known = store.manifest("a.json")
    assert known is not None
    assert known.provenance == {"task": "make", "inputs": {"day": 3}, "odd": "{4}"}
    assert (known.sha256, known.version, known.saved_at) == (saved.sha256, saved.version, saved.saved_at)


def test_the_format_is_found_by_name_extension_and_type(store: DatasetStore) -> None:
    assert store.save("a", "text").format == "text"
    assert store.save("b", b"bytes").format == "bytes"
    assert store.save("c", {"x": 1}).format == "json"
    assert store.save("d.pkl", {1, 2}).format == "pickle"
    assert store.save("e", {1, 2}, format="pickle").format == "pickle"
    assert [store.load(key) for key in "abce"] == ["text", b"bytes", {"x": 1}, {1, 2}]
    assert store.load("d.pkl", set) == {1, 2}


def test_the_manifest_knows_the_format_also_after_it_has_changed(store: DatasetStore) -> None:
    store.save("x", {"a": 1}, format="pickle")
    assert store.load("x") == {"a": 1}
    store.save("x", "plain")
    assert store.load("x") == "plain"


def test_options_that_loading_needs_again_are_kept(store: DatasetStore) -> None:
    store.save("x.txt", "é", options={"encoding": "latin-1"})
    assert Path(store.path("x.txt")).read_bytes() == b"\xe9"
    assert store.load("x.txt") == "é"
    assert store.load("x.txt", options={"encoding": "cp1251"}) == "й"


def test_a_pickle_is_loaded_only_when_it_is_asked_for(store: DatasetStore, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    store.save("other.json", 1)
    for name in ("planted", "planted.json", "planted.txt", "planted.dat"):
        (tmp_path / "store" / name).write_bytes(pickle.dumps(Bomb()))
        for return_type in (None, dict, Bomb, object):
            with pytest.raises(DatasetError):
                store.load(name, return_type)
    assert not (tmp_path / "exploded").exists()
    with pytest.raises(DatasetError):  # asked for, and so it runs: the value is no dataset of the store, only a file
        store.load("planted", int, format="pickle")
    assert (tmp_path / "exploded").exists()


def test_files_of_others_can_be_loaded_by_extension(store: DatasetStore, tmp_path: Path) -> None:
    store.save("x.json", 1)
    (tmp_path / "store/by_hand.json").write_text("[1]")
    assert store.load("by_hand.json") == [1]
    assert store.exists("by_hand.json")
    assert store.manifest("by_hand.json") is None
    assert [dataset.key for dataset in store.list()] == ["x.json"]


def test_what_is_not_there_is_told_with_the_nearest(store: DatasetStore) -> None:
    store.save("reports/sales.json", 1)
    with pytest.raises(
        DatasetNotFoundError, match=r"'report/sale.json' in .*did you mean 'reports/sales.json'\?"
    ) as caught:
        store.load("report/sale.json")
    assert caught.value.key == "report/sale.json"
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(DatasetNotFoundError):
        store.load("reports")
    with pytest.raises(DatasetNotFoundError):
        store.load("reports/sales.json/x")


def test_listing(store: DatasetStore) -> None:
    keys = ["a", "a.json/b", "b/x", "b/y/z", "bc", "é/ü.json"]
    for key in keys:
        store.save(key, 1, format="json")
    assert [dataset.key for dataset in store.list()] == sorted(keys)
    assert [dataset.key for dataset in store.list("b")] == ["b/x", "b/y/z", "bc"]
    assert [dataset.key for dataset in store.list("b/")] == ["b/x", "b/y/z"]
    assert [dataset.key for dataset in store.list("b/y/z")] == ["b/y/z"]
    assert store.list("nothing/there") == []
    for prefix in ("../", "/etc", "b//"):
        with pytest.raises(DatasetKeyError):
            store.list(prefix)


def test_deleting(store: DatasetStore, tmp_path: Path) -> None:
    store.save("a/b.json", 1)
    store.save("a/c.json", 2)
    assert store.delete("a/b.json")
    assert not store.delete("a/b.json")
    assert not store.exists("a/b.json")
    assert store.manifest("a/b.json") is None
    assert files(tmp_path / "store") == {"a/c.json"}
    assert store.verify() == []


def test_what_is_wrong_is_found(store: DatasetStore, tmp_path: Path) -> None:
    root = tmp_path / "store"
    for name in "abcdef":
        store.save(f"x/{name}.json", 1)
    (root / "x/a.json").unlink()
    (root / "x/b.json").write_text("22")
    (root / "x/c.json").write_text("2\n")
    (root / "x/new.json").write_text("3")
    (root / ".eagerly/datasets/manifests/x.d/d.json.json").write_text("{")
    (root / "unrelated.txt").write_text("")
    os.utime(root / "x/e.json")
    found = {(problem.key, problem.kind) for problem in store.verify()}
    assert found == {
        ("x/a.json", "missing"),
        ("x/b.json", "altered"),
        ("x/c.json", "altered"),
        ("x/d.json", "unreadable"),
        ("x/new.json", "foreign"),
    }
    assert [problem.kind for problem in store.verify("x/c.json")] == ["altered"]
    assert [problem.kind for problem in store.verify("x/new.json")] == ["foreign"]
    assert [problem.kind for problem in store.verify("never")] == ["missing"]
    assert store.verify("x/e.json") == store.verify("x/f.json") == []
    assert store.load("x/c.json") == 2, "a file that was changed by hand is loaded as it is"
    assert store.load("x/d.json") == 1


@pytest.mark.parametrize(
    "damage", ["", "[]", "{}", '{"manifest": 2}', '{"manifest": 1, "key": "x", "saves": [3]}', "\xff", "[" * 5000]
)
def test_a_damaged_manifest_keeps_nobody_from_loading_and_saving(
    store: DatasetStore, tmp_path: Path, damage: str
) -> None:
    store.save("x.json", 1)
    (tmp_path / "store/.eagerly/datasets/manifests/x.json.json").write_bytes(damage.encode("latin-1"))
    assert store.load("x.json") == 1
    assert store.manifest("x.json") is None
    assert [problem.kind for problem in store.verify()] == ["unreadable"]
    store.save("x.json", 2)
    assert store.load("x.json") == 2
    assert store.verify() == []


def test_a_manifest_of_another_key_is_not_believed(store: DatasetStore, tmp_path: Path) -> None:
    store.save("x", {1}, format="pickle")
    store.save("y", "text")
    manifests = tmp_path / "store/.eagerly/datasets/manifests"
    (manifests / "y.json").write_bytes((manifests / "x.json").read_bytes())
    assert store.manifest("y") is None


def test_a_failed_save_has_the_result_and_changes_nothing(store: DatasetStore, tmp_path: Path) -> None:
    store.save("x.json", "old")
    manifest = store.manifest("x.json")
    result = {"precious": {1}}
    with pytest.raises(DatasetFormatError, match="pickle") as refused:
        store.save("x.json", {1})
    assert refused.value.result == {1}
    with pytest.raises(DatasetFormatError) as deep:
        store.save("x.json", result)
    assert deep.value.result is result
    with pytest.raises(
        DatasetError, match=r"dataset 'x\.json' could not be saved: RuntimeError: disk on fire"
    ) as failed:
        store.save("x.json", result, format="failing")
    assert failed.value.result is result
    assert failed.value.key == "x.json"
    assert isinstance(failed.value.__cause__, RuntimeError)
    with pytest.raises(DatasetKeyError) as bad:
        store.save("../x", result)
    assert bad.value.result is result
    assert store.load("x.json") == "old"
    assert store.manifest("x.json") == manifest
    assert leftovers(tmp_path) == []
    assert files(tmp_path) == {"store/x.json"}


def test_an_interrupted_save_leaves_nothing(
    store: DatasetStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Failing, "error", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        store.save("new.failing", 1)
    assert files(tmp_path) == set()
    assert leftovers(tmp_path) == []
    assert store.list() == []


@pytest.mark.parametrize("versions", [False, True])
def test_a_save_that_fails_at_the_very_end_takes_its_manifest_back(
    tmp_path: Path, versions: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DatasetStore(tmp_path, versions=versions)
    store.save("old", "old")
    known = store.manifest("old")
    real = os.replace

    def replace(source: Any, target: Any, **where: Any) -> None:
        if target in ("old", "new"):
            raise OSError(5, "Input/output error")
        real(source, target, **where)

    monkeypatch.setattr(os, "replace", replace)
    for key in ("old", "new"):
        with pytest.raises(DatasetError, match="Input/output error"):
            store.save(key, {1}, format="pickle")
    monkeypatch.undo()
    assert store.load("old") == "old"
    assert store.manifest("old") == known
    assert store.history("old") == [known]
    assert store.verify() == []
    assert leftovers(tmp_path) == []
    assert store.history("new") == []


def test_what_cannot_be_read_says_which_dataset(store: DatasetStore) -> None:
    Path(store.save("x.json", 1).path).write_text("{")
    with pytest.raises(DatasetError) as caught:
        store.load("x.json")
    assert caught.value.key == "x.json"
    with pytest.raises(DatasetError, match=r"dataset 'x\.json' could not be read .*ValueError: cannot read this"):
        store.load("x.json", format="failing")


def test_formats_may_go_back_and_close_the_file(store: DatasetStore) -> None:
    value = bytes(range(256)) * 3000
    store.save("x.bw", value)
    assert Path(store.path("x.bw")).read_bytes() == b"head" + value
    assert store.load("x.bw") == value
    assert store.verify() == []


def test_who_was_kept_out_stays_out(store: DatasetStore) -> None:
    path = Path(store.save("x", "1").path)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o600)
    store.save("x", "2")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    DatasetStore(store.base, versions=True).save("x", "3")
    assert {stat.S_IMODE(Path(save.path).stat().st_mode) for save in store.history("x")} == {0o600}


def test_a_relative_base_is_that_of_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").mkdir()
    monkeypatch.chdir(tmp_path / "one")
    store, relative = DatasetStore(), DatasetStore("sub")
    monkeypatch.chdir(tmp_path)
    store.save("x", "1")
    relative.save("y", "2")
    assert files(tmp_path) == {"one/x", "one/sub/y"}
    assert store.base == str(tmp_path / "one")


def test_bases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert DatasetStore("~/data").base == str(tmp_path / "data")
    assert DatasetStore(f"file://{tmp_path}/x").base == str(tmp_path / "x")
    with pytest.raises(OptionTypeError, match="takes a path or a URL, not 3"):
        DatasetStore(3)  # type: ignore[arg-type]
    with pytest.raises(OptionTypeError, match="not b'x'"):
        DatasetStore(b"x")  # type: ignore[arg-type]
    with pytest.raises(OptionValueError, match="must not be empty"):
        DatasetStore("")
    with pytest.raises(OptionValueError, match="options are for URLs"):
        DatasetStore("x", storage_options={"key": "y"})
    with pytest.raises(OptionTypeError, match=r"versions=\.\.\.\) takes True or False, not 'yes'"):
        DatasetStore("x", versions="yes")  # type: ignore[arg-type]


def test_a_base_that_is_a_file_is_an_error_with_the_result(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="NotADirectoryError") as caught:
        DatasetStore(tmp_path / "file").save("x", "value")
    assert caught.value.result == "value"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda store: pickle.loads(pickle.dumps(store))])
def test_stores_can_be_copied_and_pickled(tmp_path: Path, copied: Callable[[DatasetStore], DatasetStore]) -> None:
    store = DatasetStore(tmp_path, versions=True, overwrite=True)
    other = copied(store)
    store.save("x", "1")
    assert other.load("x") == "1"
    assert (other.versions, other.overwrite, other.base) == (True, True, store.base)
    assert repr(other) == f"DatasetStore({str(tmp_path)!r}, versions=True, overwrite=True)"
    assert other.shared


def test_a_copied_folder_is_a_store_with_all_it_knows(store: DatasetStore, tmp_path: Path) -> None:
    import shutil

    store.save("x", {1}, format="pickle")
    store.save("x", "text", format="text")
    shutil.copytree(tmp_path / "store", tmp_path / "copy", copy_function=shutil.copyfile)
    other = DatasetStore(tmp_path / "copy")
    assert other.load("x") == "text"
    assert other.verify() == []
    assert other.manifest("x") is not None


def test_the_store_does_not_show_up_in_git(store: DatasetStore, tmp_path: Path) -> None:
    store.save("x", "1")
    assert (tmp_path / "store/.eagerly/datasets/.gitignore").read_text() == "*\n"


@pytest.mark.parametrize("rows", [[["AK", "263"], ["TX", "209"]], [("AK", "263")]], ids=["lists", "tuples"])
def test_rows_without_names_come_back_as_rows(store: DatasetStore, rows: list[Any]) -> None:
    store.save("airports.csv", rows)
    assert store.load("airports.csv") == [list(row) for row in rows]
    with store.writer("streamed.csv") as writer:
        for row in rows:
            writer.write(row)
    assert store.load("streamed.csv") == [list(row) for row in rows]
