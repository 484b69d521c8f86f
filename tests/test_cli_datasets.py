"""``eagerly datasets``: what it shows of saved files, and how it notices that they are not what was saved."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli_project import Outcome, Project
from cli_project import project as project
from eagerly import load_dataset, save_dataset, session, task
from eagerly.datasets import DatasetStore


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("EAGERLY_")]:
        monkeypatch.delenv(name)


@task(dataset="raw/{day}.json")
def fetch(day: str) -> list[int]:
    return [len(day)]


@task
def summarise(day: str) -> None:
    save_dataset(f"reports/{day}.csv", [{"day": day, "count": load_dataset(f"raw/{day}.json")[0]}])


@pytest.fixture
def saved(project: Project) -> Project:
    """A project with two raw datasets and a report that was made of one of them."""
    with session():
        fetch("monday")
        fetch("tuesday")
        summarise("monday")
    return project


def rows(outcome: Outcome) -> list[list[str]]:
    return [re.split(r"  +", line.strip()) for line in outcome.out.splitlines()]


# What is there


def test_the_list(saved: Project) -> None:
    outcome = saved.run("datasets", "list")
    assert (outcome.code, outcome.err) == (0, "")
    head, *found = rows(outcome)
    assert head == ["saved", "size", "format", "key"]
    assert [row[1:] for row in found] == [
        ["4 B", "json", "raw/monday.json"],
        ["4 B", "json", "raw/tuesday.json"],
        ["21 B", "csv", "reports/monday.csv"],
    ]
    assert max(map(len, outcome.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("prefix", "keys"), [("raw/", ["raw/monday.json", "raw/tuesday.json"]), ("raw/t", ["raw/tuesday.json"])]
)
def test_the_list_of_some(saved: Project, prefix: str, keys: list[str]) -> None:
    assert [row[-1] for row in rows(saved.run("datasets", "list", prefix))[1:]] == keys


def test_the_list_for_programs(saved: Project) -> None:
    found = json.loads(saved.run("datasets", "list", "--json", "reports/").out)
    [report] = found
    assert (report["key"], report["format"], report["size"]) == ("reports/monday.csv", "csv", 21)
    assert report["path"] == str(saved.folder / "reports" / "monday.csv")
    assert datetime.fromisoformat(report["saved_at"]) <= datetime.now(UTC)
    assert report["provenance"]["task"] == "test_cli_datasets.summarise"
    assert [source["key"] for source in report["provenance"]["sources"]] == ["raw/monday.json"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("list", "nosuch/"), "no key in {folder} begins with 'nosuch/'"),
        (("list", "--store", "empty"), "nothing has been saved in {folder}/empty"),
        (("verify", "--store", "empty"), "nothing has been saved in {folder}/empty"),
        (("list", "--store", "memory://x"), "nothing has been saved in memory://x"),
    ],
)
def test_nothing_is_there(saved: Project, words: tuple[str, ...], message: str) -> None:
    outcome = saved.run("datasets", *words)
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err.splitlines()[-1] == f"eagerly: {message.format(folder=saved.folder)}"
    assert not (saved.folder / "empty").exists()
    assert json.loads(saved.run("datasets", *words, "--json").out) == []


# One of them


def test_what_is_known_of_a_dataset(saved: Project) -> None:
    outcome = saved.run("datasets", "show", "reports/monday.csv")
    assert outcome.code == 0
    about, sources = outcome.out.split("\n\nmade of\n")
    known = dict(re.split(r"  +", line, maxsplit=1) for line in about.splitlines())
    assert known["path"] == str(saved.folder / "reports" / "monday.csv")
    assert known["size"] == "21 bytes"
    assert known["task"] == "test_cli_datasets.summarise"
    assert known["inputs"] == "day='monday'"
    assert len(known["sha256"]) == 64
    assert re.fullmatch(r"  raw/monday\.json \d{8}T\d{12}Z-[0-9a-f]{8}\n", sources)


def test_what_was_made_of_nothing(saved: Project) -> None:
    assert "made of" not in saved.run("datasets", "show", "raw/monday.json").out


def test_what_is_known_for_programs(saved: Project) -> None:
    found = json.loads(saved.run("datasets", "show", "--json", "reports/monday.csv").out)
    assert found == json.loads(saved.run("datasets", "list", "--json", "reports/").out)[0]


def test_the_history(project: Project) -> None:
    store = DatasetStore(project.folder / "data", versions=True)
    saves = [store.save("a.json", number) for number in (10, 200, 3000)]
    head, *found = rows(project.run("datasets", "history", "a.json", "--store", "data"))
    assert head == ["version", "saved", "size", "sha256"]
    assert [row[0] for row in found] == [save.version for save in reversed(saves)]
    assert [row[2] for row in found] == ["5 B", "4 B", "3 B"]
    told = json.loads(project.run("datasets", "history", "--json", "a.json", "--store", "data").out)
    assert [save["version"] for save in told] == [row[0] for row in found]


@pytest.mark.parametrize("action", ["show", "history"])
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_no_such_dataset(saved: Project, action: str, options: tuple[str, ...]) -> None:
    outcome = saved.run("datasets", action, *options, "raw/mondai.json")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == (
        f"eagerly: error: there is no dataset 'raw/mondai.json' in {saved.folder}; did you mean 'raw/monday.json'?\n"
    )


@pytest.mark.parametrize("action", ["show", "history", "verify", "list"])
@pytest.mark.parametrize("key", ["../x.json", "/x.json"])
def test_keys_that_cannot_be_one(saved: Project, action: str, key: str) -> None:
    outcome = saved.run("datasets", action, key)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("eagerly: error: dataset key ")


# Whether they are what was saved


def test_all_is_well(saved: Project) -> None:
    outcome = saved.run("datasets", "verify")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "eagerly: 3 datasets are as saved\n")
    outcome = saved.run("datasets", "verify", "raw/monday.json")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "eagerly: 1 dataset is as saved\n")


def test_what_is_not_as_it_was(saved: Project) -> None:
    (saved.folder / "raw" / "monday.json").unlink()
    (saved.folder / "raw" / "tuesday.json").write_text("[8]\n")
    saved.write("raw/other.txt", "")
    outcome = saved.run("datasets", "verify")
    assert (outcome.code, outcome.err) == (1, "")
    assert [row[:2] for row in rows(outcome)] == [
        ["problem", "key"],
        ["missing", "raw/monday.json"],
        ["altered", "raw/tuesday.json"],
        ["foreign", "raw/other.txt"],
    ]
    told = json.loads(saved.run("datasets", "verify", "--json").out)
    assert [(each["kind"], each["key"]) for each in told] == [tuple(row[:2]) for row in rows(outcome)[1:]]
    assert saved.run("datasets", "verify", "reports/monday.csv").code == 0


def test_wide_keys_in_columns(saved: Project) -> None:
    saved.write("raw/数据.txt", "")
    head, problem = saved.run("datasets", "verify").out.splitlines()
    assert head == "problem  key           what"
    assert problem.startswith("foreign  raw/数据.txt  ")  # which takes 12 columns on a terminal


def test_a_version_that_is_not_as_it_was(project: Project) -> None:
    store = DatasetStore(project.folder, versions=True)
    first = store.save("a.json", 1)
    store.save("a.json", 2)
    [file] = project.folder.rglob(first.version)
    file.write_text("3\n")
    outcome = project.run("datasets", "verify")
    assert outcome.code == 1
    head, problem = rows(outcome)
    assert head == ["problem", "key", "version", "what"]
    assert problem[:3] == ["altered", "a.json", first.version]


# Which store


def test_the_place_of_the_settings(saved: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    assert saved.run("datasets", "list").out == ""
    monkeypatch.setenv("EAGERLY_DATASET_STORE", "..")
    assert "raw/monday.json" in saved.run("datasets", "list").out
    assert "raw/monday.json" in saved.run("datasets", "list", "--store", str(tmp_path)).out


@pytest.mark.parametrize(
    ("store", "message"),
    [
        ("", "--store must not be empty; leave it out for that of the settings"),
        ("nosuch://bucket", "nosuch"),
    ],
)
def test_stores_that_cannot_be_one(project: Project, store: str, message: str) -> None:
    outcome = project.run("datasets", "list", "--store", store)
    assert (outcome.code, outcome.out) == (2, "")
    assert re.fullmatch(rf"eagerly: error: .*{re.escape(message)}.*\n", outcome.err)


@pytest.mark.parametrize("words", [("list",), ("show", "a.json"), ("history", "a.json"), ("verify",)])
def test_a_store_that_does_not_answer(
    project: Project, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """A trouble of another library is told, and not taken for one of the output."""
    pytest.importorskip("fsspec")
    from fsspec.implementations.memory import MemoryFileSystem

    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    for method in ("find", "info", "open", "cat_file", "ls"):
        monkeypatch.setattr(MemoryFileSystem, method, fail)
    outcome = project.run("datasets", *words, "--store", "memory://x")
    assert (outcome.code, outcome.out) == (1, "")
    assert re.search("eagerly: error: .*no route to host", outcome.err)
    assert "output" not in outcome.err


def test_memory_is_not_shared(project: Project) -> None:
    outcome = project.run("datasets", "list", "--store", "memory://x")
    assert outcome.err.startswith("eagerly: memory://x is the memory of each process, so here it is empty\n")


# How it is written


def test_names_cannot_steer_the_terminal_and_fit_every_alphabet(project: Project) -> None:
    DatasetStore(project.folder).save("møte.json", 1)
    [manifest] = (project.folder / ".eagerly").rglob("*.json.json")
    manifest.write_text(manifest.read_text("utf-8").replace('"format": "json"', r'"format": "\u001b[2J"'), "utf-8")
    for words in (("list",), ("show", "møte.json")):
        outcome = project.run("datasets", *words)
        assert "[2J" in outcome.out
        assert "\x1b" not in outcome.out
        process = project.start("datasets", *words, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"})
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        assert r"m\xf8te" in out
    assert json.loads(project.run("datasets", "list", "--json").out)[0]["key"] == "møte.json"


def test_a_closed_pipe_is_no_traceback(project: Project) -> None:
    store = DatasetStore(project.folder)
    for number in range(400):
        store.save(f"a-rather-long-name-for-a-dataset-that-fills-the-buffers-of-a-pipe-{'x' * 120}-{number}.txt", "")
    process = project.start("datasets", "list")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith("saved ")
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 141


@pytest.mark.parametrize("words", [(), ("nosuch",), ("show",), ("list", "a", "b")])
def test_wrong_words(project: Project, words: tuple[str, ...]) -> None:
    outcome = project.run("datasets", *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("usage: eagerly")


def test_actions_have_their_own_names_in_help(project: Project) -> None:
    for action in ("list", "show", "history", "verify"):
        assert project.run("datasets", action, "--help").out.startswith(f"usage: eagerly datasets {action} [options]")
        assert f"    {action} " in project.run("datasets", "--help").out
    assert "eagerly datasets show: error:" in project.run("datasets", "show").err
