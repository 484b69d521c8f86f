"""Runs the examples of Markdown pages: ``python docs/examples.py README.md docs/tutorial.md``.

Needs the standard library and an importable `eagerly`, nothing else, so that a page can be tried against an installed
wheel. Every fenced block of a page is one of these; all blocks of a page share a namespace and a fresh directory:

========== =========================================================================================================
python     Run. If its first line is a comment with a file name, ``# weather.py``, it is written to that file instead.
output     What the block before it prints; ``...`` stands for any text.
pycon      An interactive session, compared line by line.
console    ``$ command`` lines are run, and what stands below each is compared with what it prints.
toml       Parsed; written to a file like python.
text       Nothing is done. Likewise mermaid.
========== =========================================================================================================

``not-run="reason"`` behind the language keeps a block from being run. The tests list the blocks that have it.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib.metadata
import io
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["LANGUAGES", "Block", "blocks_of", "run_page"]

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]+)?(?P<rest>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
FILE_NAME = re.compile(r"# ([\w./-]+\.(?:py|toml|txt|csv))\n")
NOT_RUN = re.compile(r'not-run="([^"]+)"')
MATCHING = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
TEXT = ("text", "mermaid")
LANGUAGES = ("python", "output", "pycon", "console", "toml", *TEXT)


class Block(NamedTuple):
    page: str
    line: int
    language: str
    code: str
    not_run: str | None

    @property
    def file_name(self) -> str | None:
        found = FILE_NAME.match(self.code) if self.language in ("python", "toml") else None
        return found[1] if found else None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: str, text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    blocks = []
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        indent = len(found["indent"])
        code = "".join(each[indent:] if each.strip() else each for each in found["code"].splitlines(keepends=True))
        reason = NOT_RUN.search(found["rest"])
        blocks.append(Block(page, line, found["language"] or "", code, reason[1] if reason else None))
    return blocks


class ExampleError(Exception):
    """An example does not do what the page says."""


class _Page:
    """The namespace and the directory that the blocks of one page share."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.module = types.ModuleType("__main__")
        self.environment = environment
        self.printed: str | None = None

    def run(self, block: Block) -> None:
        if block.not_run is not None:
            return
        if block.file_name is not None:
            path = Path(block.file_name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code, encoding="utf-8")
        elif block.language not in TEXT:
            act = getattr(self, f"run_{block.language}", None)
            if act is None:
                raise ExampleError(
                    f"a block is one of python, output, pycon, console, toml, text; not {block.language!r}"
                )
            act(block)

    def run_python(self, block: Block) -> None:
        code = compile("\n" * block.line + block.code, block.page, "exec", dont_inherit=True)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(code, vars(self.module))
        self.printed = out.getvalue()

    def run_output(self, block: Block) -> None:
        if self.printed is None:
            raise ExampleError("there is no python block before this output")
        _compare(block.code, self.printed)
        self.printed = None

    def run_pycon(self, block: Block) -> None:
        test = doctest.DocTestParser().get_doctest(block.code, vars(self.module), block.page, block.page, block.line)
        said = io.StringIO()
        runner = doctest.DocTestRunner(optionflags=MATCHING)
        failures, attempts = runner.run(test, out=said.write, clear_globs=False)
        vars(self.module).update(test.globs)
        if failures or not attempts:
            raise ExampleError(said.getvalue() or "there is no example in it")

    def run_console(self, block: Block) -> None:
        steps = re.split(r"^\$ ", block.code.replace("\\\n", " "), flags=re.MULTILINE)
        if steps[0] or len(steps) == 1:
            raise ExampleError("a console block starts with `$ `")
        for step in steps[1:]:
            command, _, shown = step.partition("\n")
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                env=self.environment,
                timeout=120,
                check=False,
            )
            if done.returncode:
                raise ExampleError(f"`{command}` ended with {done.returncode}:\n{done.stdout}")
            if shown.strip():
                _compare(shown, done.stdout)

    def run_toml(self, block: Block) -> None:
        tomllib.loads(block.code)


def _compare(shown: str, printed: str) -> None:
    checker = doctest.OutputChecker()
    if not checker.check_output(shown, printed, MATCHING):
        example = doctest.Example("", shown)
        raise ExampleError(checker.output_difference(example, printed, MATCHING))


def _is_source(entry: str) -> bool:
    """Whether `entry` of the module path is that of a checkout that is not installed."""
    return entry not in ("", str(Path(__file__).parent)) and Path(entry, "eagerly", "__init__.py").is_file()


@contextlib.contextmanager
def _commands() -> Iterator[dict[str, str]]:
    """An environment in which ``eagerly``, ``python`` and ``pytest`` are those of this interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        for name, command in (("eagerly", "-m eagerly"), ("pytest", "-m pytest -p no:cacheprovider"), ("python", "")):
            script = Path(folder, name)
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {command} "$@"\n', encoding="utf-8")
            script.chmod(0o755)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("EAGERLY_", "PYTEST_"))},
            "PATH": os.pathsep.join([folder, os.environ.get("PATH", os.defpath)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join(str(Path(each).resolve()) for each in sys.path if _is_source(each)),
            "COLUMNS": "100",
            "NO_COLOR": "1",
        }
        if not importlib.metadata.entry_points(group="pytest11", name="eagerly"):
            environment["PYTEST_PLUGINS"] = "eagerly_pytest"  # a checkout that is not installed
        yield environment


def run_page(path: Path) -> str | None:
    """Run all blocks of a page, top to bottom. None, or what is wrong with the first that fails."""
    blocks = blocks_of(path.name, path.read_text(encoding="utf-8"))
    before = Path.cwd()
    sys.dont_write_bytecode = True  # a page may edit a module within the second in which it was compiled
    with tempfile.TemporaryDirectory() as folder, _commands() as environment:
        page = _Page(environment)
        own, sys.modules["__main__"] = sys.modules["__main__"], page.module
        os.chdir(folder)
        sys.path.insert(0, folder)
        try:
            for block in blocks:
                try:
                    page.run(block)
                except ExampleError as failed:
                    return f"{block.place}: {failed}"
                except BaseException:
                    return f"{block.place}:\n{traceback.format_exc()}"
        finally:
            os.chdir(before)
            sys.path.remove(folder)
            sys.modules["__main__"] = own
    return None


def main(arguments: list[str]) -> int:
    for argument in arguments:
        problem = run_page(Path(argument).resolve())
        if problem is not None:
            print(problem, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
