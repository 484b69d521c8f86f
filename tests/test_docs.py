"""The documentation is true: its examples run, what is generated is up to date, links lead somewhere."""

from __future__ import annotations

import doctest
import importlib.util
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import eagerly
import eagerly_pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]

NOT_RUN: dict[str, str] = {
    "README.md": "runs make, which needs the checkout and the package index",
    "docs/development.md": "runs make, which needs the checkout and the package index",
}
"""The blocks that are not run, by page, with the reason that the page gives too. At most one each."""


def tool(name: str) -> ModuleType:
    """A script of docs/, as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


examples = tool("examples")
generate = tool("generate")


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks_of(path: Path) -> list[Any]:
    return examples.blocks_of(path.name, path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_examples_of_a_page_run(page: Path) -> None:
    """In an interpreter of its own: plugins, logging and event loops of one page are nothing to the next."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EAGERLY_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", DOCS / "examples.py", page],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_blocks_that_are_not_run_are_listed_here(page: Path) -> None:
    reasons = [block.not_run for block in blocks_of(page) if block.not_run is not None]
    assert reasons == ([NOT_RUN[named(page)]] if named(page) in NOT_RUN else [])


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_block_says_what_it_is(page: Path) -> None:
    assert [block.place for block in blocks_of(page) if block.language not in examples.LANGUAGES] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_fence_is_seen(page: Path) -> None:
    """A fence that the parser does not recognise would be an example that nobody runs."""
    fences = re.findall(r"^\s*```", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(fences) == 2 * len(blocks_of(page))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_file_that_a_page_writes_is_used_below(page: Path) -> None:
    blocks = blocks_of(page)
    for position, block in enumerate(blocks):
        if block.file_name is not None and block.file_name.endswith(".py"):
            later = "".join(other.code for other in blocks[position + 1 :])
            assert Path(block.file_name).stem in later, f"{block.place} writes {block.file_name}, and nothing uses it"


# Docstrings


def all_modules() -> list[str]:
    found = [each.name for each in pkgutil.walk_packages(eagerly.__path__, "eagerly.")]
    return ["eagerly", *sorted(name for name in found if not name.endswith("__main__")), eagerly_pytest.__name__]


def test_the_entry_module_has_no_examples() -> None:
    """It is left out above, as importing it would run the command line."""
    assert ">>>" not in (ROOT / "src" / "eagerly" / "__main__.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", all_modules())
def test_the_examples_of_docstrings_run(name: str) -> None:
    module = importlib.import_module(name)
    tests = [test for test in doctest.DocTestFinder().find(module) if test.examples]
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    said: list[str] = []
    for test in tests:
        runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)
    assert module.__file__ is not None
    written = re.findall(r"^ *>>> ", Path(module.__file__).read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = sum(len(test.examples) for test in tests)
    assert found == len(written), "an example is written where doctest does not look"


# What is generated


@pytest.fixture(scope="module")
def generated() -> dict[Path, str]:
    return generate.pages()  # type: ignore[no-any-return]


def test_generated_pages_are_up_to_date(generated: dict[Path, str]) -> None:
    def plain(text: str) -> str:
        return " ".join(text.split())  # argparse folds lines differently from one Python to the next

    stale = [named(path) for path, text in generated.items() if plain(path.read_text("utf-8")) != plain(text)]
    assert stale == [], "run `make docs`"


def test_no_page_of_the_reference_is_left_over(generated: dict[Path, str]) -> None:
    assert set((DOCS / "reference").glob("*.md")) <= generated.keys()


@pytest.mark.parametrize("name", eagerly.__all__)
def test_every_public_name_is_in_the_reference(name: str, generated: dict[Path, str]) -> None:
    assert f"### `{name}`\n" in generated[DOCS / "reference" / "eagerly.md"]


# Links


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "", text)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        if not other.exists() or (anchor and anchor not in anchors(other)):
            broken.append(target)
    assert broken == []


def test_every_page_can_be_found() -> None:
    """From docs/README.md, by following links."""
    seen: set[Path] = set()
    waiting = [DOCS / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        text = page.read_text(encoding="utf-8")
        targets = re.findall(r"\]\(([^)\s#]+\.md)(?:#[^)\s]*)?\)", text)
        waiting += [(page.parent / target).resolve() for target in targets if not target.startswith("https://")]
    assert {named(page) for page in PAGES if DOCS in page.parents} - {named(page) for page in seen} == set()


def test_the_readme_has_no_relative_links() -> None:
    """It is shown by package indexes too, where nothing but the text itself is there."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    assert "<img" not in text


class TestTheRunnerItself:
    """docs/examples.py sees what is wrong."""

    @pytest.mark.parametrize(
        ("page", "complaint"),
        [
            ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
            ("```python\nprint(1)\n```\n```output\n2\n```\n", "Expected"),
            ("```pycon\n>>> 1 + 1\n3\n```\n", "Expected"),
            ("```pycon\nno example\n```\n", "no example"),
            ("```console\n$ false\n```\n", "ended with 1"),
            ("```console\n$ echo one\ntwo\n```\n", "Expected"),
            ("```console\necho\n```\n", "starts with"),
            ("```toml\n[\n```\n", "TOMLDecodeError"),
            ("```rust\n```\n", "not 'rust'"),
        ],
    )
    def test_a_wrong_page_is_refused(self, tmp_path: Path, page: str, complaint: str) -> None:
        path = tmp_path / "page.md"
        path.write_text(page, encoding="utf-8")
        assert complaint in (examples.run_page(path) or "")

    def test_a_right_page_is_not(self, tmp_path: Path) -> None:
        path = tmp_path / "page.md"
        path.write_text(
            "```python\n# one.py\nx = 1\n```\n"
            "```python\nimport one\nprint(one.x, 'and more')\n```\n```output\n1 ... more\n```\n"
            "```pycon\n>>> one.x\n1\n```\n"
            "```console\n$ python -c 'import one; print(one.x)'\n1\n```\n",
            encoding="utf-8",
        )
        before = Path.cwd()
        try:
            assert examples.run_page(path) is None
        finally:
            sys.modules.pop("one", None)
        assert Path.cwd() == before
