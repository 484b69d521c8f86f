"""The types of the public surface, under mypy --strict and pyright strict.

`tests/typing` holds what the checkers are asked about; nothing is asserted about types here. A checker that is not
installed is skipped, one that does not work is a failure.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
TYPING = ROOT / "tests" / "typing"
MISUSE = TYPING / "misuse.py"
STATEMENTS = sorted(path for path in TYPING.glob("*.py") if path != MISUSE)

CHECKERS = ("mypy", "pyright")
MARKER = re.compile(r"# E: mypy=\[(?P<mypy>[\w-]+)\] pyright=(?P<pyright>\w+)$")

Reports = dict[int, set[str]]
"""Line number -> the codes of what a checker reports there."""


class Run(NamedTuple):
    code: int
    output: str


def run(checker: str, *arguments: str, cwd: Path = ROOT) -> Run:
    if importlib.util.find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed; `pip install {checker}` to run this test")
    done = subprocess.run(
        [sys.executable, "-m", checker, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        # Without colours, and without advice on newer versions among the findings.
        env={**os.environ, "NO_COLOR": "1", "MYPY_FORCE_COLOR": "0", "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
    )
    # 0: nothing found, 1: errors found. Anything else is a checker that could not do its work.
    assert done.returncode in (0, 1), f"{checker} failed:\n{done.stdout}{done.stderr}"
    return Run(done.returncode, done.stdout)


def mypy_reports() -> Reports:
    output = run("mypy", "--no-pretty", "--no-error-summary", str(MISUSE.relative_to(ROOT))).output
    reports: Reports = defaultdict(set)
    for line in output.splitlines():
        if found := re.fullmatch(r".*misuse\.py:(\d+): error: .*\[([\w-]+)\]", line):
            reports[int(found[1])].add(found[2])
        else:
            assert ": error:" not in line, f"mypy reports something outside of misuse.py: {line}"
    return reports


def pyright_reports(folder: Path) -> Reports:
    # On a copy, as the configuration of the project leaves this file out and overrules the command line.
    (folder / MISUSE.name).write_text(MISUSE.read_text("utf-8"), "utf-8")
    settings = {"include": [MISUSE.name], "typeCheckingMode": "strict", "extraPaths": [str(ROOT / "src")]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), "utf-8")
    output = run("pyright", "--outputjson", "--pythonpath", sys.executable, cwd=folder).output
    reports: Reports = defaultdict(set)
    for found in json.loads(output)["generalDiagnostics"]:
        reports[found["range"]["start"]["line"] + 1].add(found["rule"])
    return reports


def markers(checker: str) -> dict[int, str]:
    """Line number -> the code that `checker` must report there."""
    lines = enumerate(MISUSE.read_text("utf-8").splitlines(), start=1)
    return {number: found[checker] for number, line in lines if (found := MARKER.search(line))}


@pytest.mark.parametrize("checker", CHECKERS)
def test_library_and_statements_about_its_types_hold(checker: str) -> None:
    found = run(checker, *(["--pythonpath", sys.executable] if checker == "pyright" else []))
    assert found.code == 0, found.output


@pytest.mark.parametrize("checker", CHECKERS)
def test_each_misuse_is_reported_and_nothing_else(checker: str, tmp_path: Path) -> None:
    reports = mypy_reports() if checker == "mypy" else pyright_reports(tmp_path)
    expected = markers(checker)
    silent = {line: code for line, code in expected.items() if code not in reports[line]}
    assert not silent, f"misuse.py, line -> what {checker} should have reported: {silent}"
    surprising = {line: codes for line, codes in reports.items() if codes and line not in expected}
    assert not surprising, f"misuse.py, line -> what {checker} reported without a marker: {surprising}"


def test_no_marker_is_misspelled() -> None:
    """A marker that the pattern does not match would go unnoticed where the line has no error either."""
    marked = [line for line in MISUSE.read_text("utf-8").splitlines() if "  # E" in line]
    assert marked
    assert [line for line in marked if not MARKER.search(line)] == []


@pytest.mark.parametrize("path", STATEMENTS, ids=lambda path: path.stem)
def test_what_is_typed_also_runs(path: Path) -> None:
    """The statements about types are programs: a form that checkers accept must not fail at run time."""
    search_path = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": search_path},
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr


def test_package_says_that_it_is_typed() -> None:
    assert (ROOT / "src" / "eagerly" / "py.typed").is_file()
