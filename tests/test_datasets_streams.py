"""Datasets that are written item by item: there when they are complete, and not before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eagerly.datasets._store import DatasetStore
from eagerly.errors import DatasetError, DatasetFormatError, DatasetKeyError


@pytest.fixture(params=["plain", "versions", "remote"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> DatasetStore:
    if request.param == "remote":
        return DatasetStore(f"memory://{tmp_path}", versions=True)
    return DatasetStore(tmp_path, versions=request.param == "versions")


def leftovers(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and (path.suffix == ".tmp" or path.parent.name == "writing")
    ]


def test_items_appear_when_they_are_complete(store: DatasetStore, tmp_path: Path) -> None:
    writer = store.writer("x.jsonl", provenance={"task": "t"})
    for number in range(100):
        writer.write({"n": number})
        assert not store.exists("x.jsonl")
    assert store.list() == []
    saved = writer.commit()
    assert writer.count == 100
    assert (saved.format, saved.python_type, saved.provenance) == ("jsonl", "Iterator[dict]", {"task": "t"})
    assert store.load("x.jsonl") == [{"n": number} for number in range(100)]
    assert store.verify() == []
    assert leftovers(tmp_path) == []


def test_an_abort_leaves_the_old(store: DatasetStore, tmp_path: Path) -> None:
    with store.writer("x.jsonl") as writer:
        writer.write("old")
    writer = store.writer("x.jsonl")
    writer.write("new")
    writer.abort()
    writer.abort()
    assert store.load("x.jsonl") == ["old"]
    assert leftovers(tmp_path) == []
    with pytest.raises(DatasetError, match="has ended"):
        writer.write("more")
    with pytest.raises(DatasetError, match="has ended"):
        writer.commit()


def test_a_block_that_fails_saves_nothing(store: DatasetStore, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), store.writer("x.jsonl") as writer:
        writer.write(1)
        1 / 0
    assert not store.exists("x.jsonl")
    assert leftovers(tmp_path) == []
    with store.writer("y.jsonl") as writer:
        writer.write(1)
        writer.abort()
    assert not store.exists("y.jsonl")


def test_no_items_are_a_dataset_too(store: DatasetStore) -> None:
    with store.writer("x.jsonl"):
        pass
    assert store.load("x.jsonl") == []
    with store.writer("x.txt") as writer:
        writer.commit()
    assert store.load("x.txt") == ""


@pytest.mark.parametrize(("item", "name"), [("a line\n", "text"), (b"\x00", "bytes"), ({"n": 1}, "jsonl")])
def test_the_first_item_decides_where_nothing_else_does(store: DatasetStore, item: Any, name: str) -> None:
    with store.writer("x") as writer:
        writer.write(item)
    known = store.manifest("x")
    assert known is not None
    assert known.format == name


def test_mistakes_are_told_before_the_first_item(store: DatasetStore) -> None:
    with pytest.raises(DatasetFormatError, match="cannot be written item by item"):
        store.writer("x.pkl")
    with pytest.raises(DatasetFormatError, match="there is no format 'nonsense'"):
        store.writer("x", format="nonsense")
    with pytest.raises(DatasetKeyError):
        store.writer("../x")
    assert store.list() == []


def test_an_item_that_does_not_fit_ends_it(store: DatasetStore, tmp_path: Path) -> None:
    writer = store.writer("x.jsonl")
    writer.write({"n": 1})
    item = {"n": {1}}
    with pytest.raises(DatasetFormatError) as caught:
        writer.write(item)
    assert caught.value.result is item
    assert caught.value.key == "x.jsonl"
    assert not store.exists("x.jsonl")
    assert leftovers(tmp_path) == []


def test_a_writer_that_is_forgotten_is_told(store: DatasetStore, tmp_path: Path) -> None:
    writer = store.writer("x.jsonl")
    writer.write(1)
    kept = [writer]
    del writer
    with pytest.warns(ResourceWarning, match=r"'x\.jsonl' was neither committed nor aborted"):
        kept.clear()
    assert not store.exists("x.jsonl")
    assert leftovers(tmp_path) == []


def test_two_writers_of_one_key(store: DatasetStore) -> None:
    first, second = store.writer("x.jsonl"), store.writer("x.jsonl")
    first.write("first")
    second.write("second")
    second.commit()
    assert store.load("x.jsonl") == ["second"]
    first.commit()
    assert store.load("x.jsonl") == ["first"]
    assert store.verify() == []
