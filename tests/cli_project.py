"""The fixture `project`: a folder of a user's own, in which the command line is run."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from eagerly.cli import main

SRC = Path(__file__).parent.parent / "src"


class Outcome(NamedTuple):
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


class Project:
    """A folder with modules that a user could have written; it is the current folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys
        self.ending = ExitStack()

    def write(self, name: str, source: str) -> Path:
        """Add a file; a module gets the imports that nearly all need."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        head = "from eagerly import task, workflow\n" if name.endswith(".py") else ""
        path.write_text(head + textwrap.dedent(source), encoding="utf-8")
        return path

    def run(self, *words: str) -> Outcome:
        """Run the command line in this process."""
        self._capsys.readouterr()
        code = main(words)
        return Outcome(code, *self._capsys.readouterr())

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start the command line in a process of its own, with pipes; it ends with the test at the latest."""
        # Empty: a pipe is buffered, as it is by default.
        environment = {**os.environ, "PYTHONPATH": str(SRC), "PYTHONUNBUFFERED": "", **options.pop("env", {})}
        pipe = subprocess.PIPE
        process: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, "-m", "eagerly", *words],
            **{"stdout": pipe, "stderr": pipe, "text": True, "cwd": self.folder, "env": environment, **options},
        )
        self.ending.enter_context(process)
        self.ending.callback(process.kill)
        return process


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Project]:
    """An empty project; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("COLUMNS", "80")
    modules = sys.modules.copy()
    project = Project(tmp_path, capsys)
    with project.ending:
        yield project
    for name in sys.modules.keys() - modules.keys():
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
