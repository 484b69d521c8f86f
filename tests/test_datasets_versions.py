"""Versions, history, lineage: a store forgets nothing if it is told so, and says what came from what."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eagerly import load_dataset, save_dataset, session, task
from eagerly.datasets._manifest import is_version, next_version
from eagerly.datasets._store import DatasetStore
from eagerly.errors import DatasetNotFoundError


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path, versions=True)


def test_every_version_is_kept(store: DatasetStore, tmp_path: Path) -> None:
    saves = [store.save("r/x.json", number) for number in range(5)]
    assert store.load("r/x.json") == 4
    assert (tmp_path / "r/x.json").read_text() == "4\n"
    history = store.history("r/x.json")
    assert [save.version for save in history] == [save.version for save in reversed(saves)]
    assert [store.load("r/x.json", version=save.version) for save in history] == [4, 3, 2, 1, 0]
    assert [Path(save.path).read_text() for save in history] == ["4\n", "3\n", "2\n", "1\n", "0\n"]
    assert store.verify() == []
    assert [dataset.key for dataset in store.list()] == ["r/x.json"]


def test_formats_and_options_are_those_of_the_version(store: DatasetStore) -> None:
    first = store.save("x", "é", format="text", options={"encoding": "latin-1"})
    second = store.save("x", {1}, format="pickle")
    store.save("x", b"3")
    assert store.load("x", version=first.version) == "é"
    assert store.load("x", version=second.version) == {1}
    assert store.load("x") == b"3"


def test_a_version_does_not_change_with_the_file(store: DatasetStore, tmp_path: Path) -> None:
    saved = store.save("x.json", 1)
    with (tmp_path / "x.json").open("w") as file:  # in place, as notebooks and editors do
        file.write("666")
    assert store.load("x.json") == 666
    assert store.load("x.json", version=saved.version) == 1
    assert [problem.kind for problem in store.verify()] == ["altered"]
    store.save("x.json", 2)
    assert store.verify() == []
    assert [store.load("x.json", version=save.version) for save in store.history("x.json")] == [2, 1]


def test_what_was_saved_before_versions_were_kept_is_kept_too(tmp_path: Path) -> None:
    plain = DatasetStore(tmp_path)
    first = plain.save("x.json", 1)
    second = plain.save("x.json", 2)
    assert [save.version for save in plain.history("x.json")] == [second.version]
    assert plain.load("x.json", version=second.version) == 2
    with pytest.raises(
        DatasetNotFoundError, match=f"has no version '{first.version}'; the latest are '{second.version}'"
    ):
        plain.load("x.json", version=first.version)
    store = DatasetStore(tmp_path, versions=True)
    third = store.save("x.json", 3)
    assert [store.load("x.json", version=save.version) for save in (third, second)] == [3, 2]
    assert [save.version for save in store.history("x.json")] == [third.version, second.version]
    assert store.verify() == []


@pytest.mark.parametrize(
    "version", ["", "1", "../x", "/etc/passwd", "20240101T000000000000Z-00000000", None.__class__, 3]
)
def test_versions_that_do_not_exist(store: DatasetStore, version: object) -> None:
    saved = store.save("x.json", 1)
    with pytest.raises(DatasetNotFoundError, match=f"the latest are '{saved.version}'") as caught:
        store.load("x.json", version=version)  # type: ignore[call-overload]
    assert caught.value.key == "x.json"
    with pytest.raises(DatasetNotFoundError, match=r"there is no dataset 'y\.json'"):
        store.load("y.json", version=saved.version)


def test_a_version_whose_file_is_gone_or_altered_is_told(store: DatasetStore) -> None:
    first, second, _ = (store.save("x.json", number) for number in range(3))
    history = store.history("x.json")
    Path(history[2].path).unlink()
    Path(history[1].path).write_text("7\n")
    assert {(problem.kind, problem.version) for problem in store.verify()} == {
        ("missing", first.version),
        ("altered", second.version),
    }
    with pytest.raises(DatasetNotFoundError, match="is gone"):
        store.load("x.json", version=first.version)


def test_deleting_takes_the_versions_along(store: DatasetStore, tmp_path: Path) -> None:
    store.save("x.json", 1)
    store.save("x.json", 2)
    store.save("x.json.v", 3, format="json")
    assert store.delete("x.json")
    assert store.history("x.json") == []
    assert len(store.history("x.json.v")) == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and "x.json.v" not in str(path)] != []
    assert store.verify() == []


def test_versions_sort_in_the_order_of_saves_whatever_the_clock_says(
    store: DatasetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = datetime(2030, 1, 1, tzinfo=UTC)
    monkeypatch.setattr("eagerly.datasets._publication.now", lambda: clock)
    versions = []
    for number in range(4):
        versions.append(store.save("x.json", number).version)
        clock -= timedelta(days=1)
    assert versions == sorted(versions)
    assert [store.load("x.json", version=save.version) for save in store.history("x.json")] == [3, 2, 1, 0]


@settings(derandomize=True, max_examples=200, deadline=None)
@given(
    moment=st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 30), timezones=st.just(UTC)),
    other=st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 30), timezones=st.just(UTC)),
)
def test_the_next_version_is_later(moment: datetime, other: datetime) -> None:
    first = next_version(moment, ())
    second = next_version(other, [first])
    assert first < second
    assert is_version(first)
    assert is_version(second)


def test_a_clock_at_the_end_of_time_stops_no_save(tmp_path: Path) -> None:
    store = DatasetStore(tmp_path)
    version = store.save("x.json", 1).version
    manifest = tmp_path / ".eagerly/datasets/manifests/x.json.json"
    for planted in ("99991231T235959999999Z-00000000", "20241399T000000000000Z-00000000", "nonsense", "../../x"):
        manifest.write_text(manifest.read_text().replace(version, planted))
        version = store.save("x.json", 2).version
        assert store.load("x.json") == 2
        assert store.verify() == []


def source_of(*datasets: object) -> dict[str, object]:
    return {"sources": [dataset.as_source() for dataset in datasets]}  # type: ignore[attr-defined]


def test_lineage(store: DatasetStore) -> None:
    raw = store.save("raw.json", 1)
    clean = store.save("clean.json", 2, provenance=source_of(raw))
    other = store.save("other.json", 2, provenance=source_of(raw))
    store.save("raw.json", "newer")
    store.save("report.json", 3, provenance=source_of(clean, other))
    tree = store.lineage("report.json")
    assert [source.key for source in tree.sources] == ["clean.json", "other.json"]
    for source in tree.sources:
        assert [(each.key, each.version) for each in source.sources] == [("raw.json", raw.version)]
        assert source.sources[0].dataset is not None
    lines = str(tree).splitlines()
    assert [line.split(" 2")[0] for line in lines] == [
        "report.json",
        "  clean.json",
        "    raw.json",
        "  other.json",
        "    raw.json",
    ]
    assert store.lineage("raw.json").sources == ()
    with pytest.raises(DatasetNotFoundError):
        store.lineage("nothing")


@pytest.mark.parametrize("options", [{"dataset": "report.json"}, {}, {"dataset": "report.json", "cache": True}])
def test_what_an_attempt_has_loaded_that_failed_is_no_source(
    store: DatasetStore, tmp_path: Path, options: dict[str, Any]
) -> None:
    tries = iter(["wrong.json", "right.json"])

    @task(retries=1, **options)
    def report() -> int:
        loaded = load_dataset(key := next(tries))
        if key == "wrong.json":
            raise ValueError(key)
        if not options:
            save_dataset("report.json", loaded)
        return loaded  # type: ignore[no-any-return]  # an int

    with session(dataset_store=store, cache_store=tmp_path / "cache"):
        save_dataset("wrong.json", 1)
        save_dataset("right.json", 2)
        assert report() == 2
    assert [source.key for source in store.lineage("report.json").sources] == ["right.json"]


def test_lineage_knows_where_it_ends(tmp_path: Path) -> None:
    store = DatasetStore(tmp_path)
    old = store.save("x.json", 1)
    new = store.save("x.json", 2, provenance=source_of(old))
    tree = store.lineage("x.json")
    assert (tree.version, tree.sources[0].version, tree.sources[0].dataset) == (new.version, old.version, None)
    assert "nothing more is known" in str(tree)


def test_lineage_of_manifests_that_were_written_by_hand(store: DatasetStore) -> None:
    for sources in (3, "text", [3, None], [{}], [{"key": "../x", "version": "1"}], {"key": "x"}, [{"key": 5}]):
        store.save("x.json", 1, provenance={"sources": sources})
        assert store.lineage("x.json").key == "x.json"
        str(store.lineage("x.json"))


def test_long_and_wide_lineages_end(store: DatasetStore) -> None:
    """A hundred and twenty generations, each made twice of the one before: as a tree that would be 2**120 datasets."""
    last = store.save("x.json", 0)
    for number in range(120):
        last = store.save("x.json", number, provenance=source_of(last, last))
    tree = store.lineage("x.json")
    assert len(str(tree).splitlines()) < 500
    depth = 0
    while tree.sources:
        tree = tree.sources[0]
        depth += 1
    assert depth == 100


def test_random_saves_loads_and_deletes_against_a_model(tmp_path: Path) -> None:
    chance = random.Random(3)
    store = DatasetStore(tmp_path, versions=True)
    model: dict[str, list[tuple[str, int]]] = {}
    for number in range(150):
        key = chance.choice(["a.json", "b/c.json", "b/d.json"])
        match chance.randrange(4):
            case 0 | 1:
                model.setdefault(key, []).append((store.save(key, number).version, number))
            case 2 if chance.random() < 0.3:
                assert store.delete(key) == (key in model)
                model.pop(key, None)
            case _ if key in model:
                version, value = chance.choice(model[key])
                assert store.load(key, version=version) == value
                assert store.load(key) == model[key][-1][1]
    for key, saves in model.items():
        assert [save.version for save in reversed(store.history(key))] == [version for version, _ in saves]
    assert [dataset.key for dataset in store.list()] == sorted(model)
    assert store.verify() == []
