"""Code versions: what an edit of real files does to them, seen by fresh processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from code_edits import BLIND, CHANGES, KEEPS, Edit, files_of
from eagerly.cache._code import BLIND_SPOTS

SRC = str(Path(__file__).parent.parent / "src")
ALL = [*CHANGES, *KEEPS, *(edit for edits in BLIND.values() for edit in edits)]

LOOK = """
import importlib, json, os, shutil, sys
from eagerly.cache._code import code_version

root, order = sys.argv[1:]
LATE = ("__init__", "broken", "effect", "one", "two", "three", "four", "five", "six", "other")
sys.dont_write_bytecode = True
sys.path[:0] = [root, os.path.join(root, "site-packages")]
packages = sorted(each for each in os.listdir(root) if each.startswith("case_"))
if order == "backwards":
    packages.reverse()
found = {}
for package in packages:
    if order == "backwards":  # modules that others import late or after their own functions
        for file in sorted(os.listdir(os.path.join(root, package)), reverse=True):
            if file[:-3] not in LATE:
                importlib.import_module(f"{package}.{file[:-3]}")
    f = importlib.import_module(f"{package}.main").f
    version = code_version(f)
    for late in LATE[3:]:
        if os.path.exists(os.path.join(root, package, f"{late}.py")):
            importlib.import_module(f"{package}.{late}")
    again = code_version(f)
    assert (version.parts, version.skipped) == (again.parts, again.skipped), (package, version, again)
    found[package] = version.digest, dict(version.parts), dict(version.skipped)
print(json.dumps(found))
"""


def write_project(root: Path, number: int, edit: Edit, *, edited: bool) -> None:
    package, installed = f"case_{number:03}", f"installed_{number:03}"
    (root / package).mkdir(parents=True)
    (root / "site-packages").mkdir(exist_ok=True)
    for name, source in files_of(edit, edited=edited).items():
        text = source.replace("PACKAGE", package).replace("INSTALLED", installed)
        path = root / "site-packages" / f"{installed}.py" if name == "site" else root / package / f"{name}.py"
        path.write_text(text, encoding="utf-8")


def run_python(*arguments: str, seed: int = 0, cwd: Path | None = None) -> str:
    environment = {**os.environ, "PYTHONPATH": SRC, "PYTHONHASHSEED": str(seed), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What four processes with different hash seeds see: the projects before and after, in another order, elsewhere."""
    root = tmp_path_factory.mktemp("projects")
    for number, edit in enumerate(ALL):
        write_project(root / "before", number, edit, edited=False)
        write_project(root / "after", number, edit, edited=True)
    look = root / "look.py"
    look.write_text(LOOK, encoding="utf-8")
    shutil.copytree(root / "before", root / "elsewhere" / "deeper")
    runs = {
        "before": ("before", "forwards", 0),
        "again": ("before", "backwards", 1),
        "after": ("after", "forwards", 2),
        "moved": ("elsewhere/deeper", "forwards", 3),
    }
    return {
        name: json.loads(run_python(str(look), str(root / directory), order, seed=seed))
        for name, (directory, order, seed) in runs.items()
    }


def case(edit: Edit) -> str:
    return f"case_{next(number for number, each in enumerate(ALL) if each is edit):03}"


def changed_parts(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_names_of_edits_are_unique() -> None:
    assert len({edit.name for edit in ALL}) == len(ALL) > 200


@pytest.mark.parametrize("edit", CHANGES, ids=lambda edit: edit.name)
def test_an_edit_that_changes_the_version(seen: dict[str, dict[str, Any]], edit: Edit) -> None:
    (before, parts, _), (after, new_parts, _) = (seen[run][case(edit)] for run in ("before", "after"))
    assert before != after
    changed = changed_parts(parts, new_parts)
    assert changed
    if edit.part is not None:
        assert f"{case(edit)}.{edit.part}" in changed
        # A helper whose own code is as before is not blamed.
        assert edit.part == "main.f" or f"{case(edit)}.main.f" not in changed


@pytest.mark.parametrize("edit", KEEPS, ids=lambda edit: edit.name)
def test_an_edit_that_keeps_the_version(seen: dict[str, dict[str, Any]], edit: Edit) -> None:
    (before, parts, _), (after, new_parts, _) = (seen[run][case(edit)] for run in ("before", "after"))
    assert changed_parts(parts, new_parts) == set()
    assert before == after


@pytest.mark.parametrize(
    ("spot", "edit"),
    [(spot, edit) for spot, edits in BLIND.items() for edit in edits],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_blind_spot_is_one(seen: dict[str, dict[str, Any]], spot: str, edit: Edit) -> None:
    assert spot in BLIND_SPOTS
    assert seen["before"][case(edit)][0] == seen["after"][case(edit)][0]


@pytest.mark.parametrize("edit", ALL, ids=lambda edit: edit.name)
def test_the_version_depends_on_nothing_but_the_code(seen: dict[str, dict[str, Any]], edit: Edit) -> None:
    """Not on the hash seed, the order of imports, the directory, or what else the process has imported."""
    assert seen["again"][case(edit)] == seen["before"][case(edit)]
    assert seen["moved"][case(edit)] == seen["before"][case(edit)]


def test_nothing_is_skipped_because_looking_at_it_failed(seen: dict[str, dict[str, Any]]) -> None:
    reasons = [reason for _, _, skipped in seen["before"].values() for reason in skipped.values()]
    assert any("UPPER_CASE" in reason for reason in reasons)
    assert [reason for reason in reasons if "looking at it failed" in reason] == []


def test_every_blind_spot_is_tested() -> None:
    assert {*BLIND, "monkeypatching", "mutated closure", "late import", "C code"} == set(BLIND_SPOTS)
