"""Code versions of what functions import, which is never imported to look, and of tasks that were installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eagerly.cache._code import BLIND_SPOTS, CodeVersion, code_version

SRC = str(Path(__file__).parent.parent / "src")
MAIN = """
def helper(x):
    if x == "reset":
        import {late}
    return x
def f(x):
    return helper(x)
def use():
    from {late} import work
    return work()
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of modules, all of which are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def write(path: Path, source: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")


def main(name: str, source: str) -> Any:
    namespace: dict[str, Any] = {"__name__": name}
    exec(compile(source, "<cell>", "exec", dont_inherit=True), namespace)
    return namespace


def test_looking_imports_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(project / "wipe_db.py", "print('all rows deleted')\nraise SystemExit\n")
    f = main("wiper", MAIN.format(late="wipe_db"))["f"]
    before = code_version(f)
    assert capsys.readouterr().out == ""
    assert "wipe_db" not in sys.modules
    assert "module wipe_db (not imported)" in before.parts
    assert before.skipped == {}
    write(project / "wipe_db.py", "print('ALL rows deleted')\nraise SystemExit\n")
    assert code_version(f).digest != before.digest


def test_packages_around_a_module_are_not_imported_either(project: Path) -> None:
    for name in ("__init__", "deep/__init__"):
        write(project / "around" / f"{name}.py", "raise RuntimeError('imported')")
    write(project / "around/deep/late.py", "from . import other\nfrom ..top import thing\nx = 1")
    write(project / "around/deep/other.py", "x = 2")
    write(project / "around/top.py", "thing = [3]")
    f = main("packages", "def f(x):\n    import around.deep.late")["f"]
    before = code_version(f)
    expected = ["around", "around.deep", "around.deep.late", "around.deep.other", "around.top"]
    assert [each for each in before.parts if each.startswith("module")] == [
        f"module {each} (not imported)" for each in expected
    ]
    seen = {before.digest}
    for file, text in (("deep/other.py", "x = 3"), ("top.py", "thing = [4]"), ("deep/__init__.py", "x = 5")):
        write(project / "around" / file, text)
        seen.add(code_version(f).digest)
    assert len(seen) == 4
    assert not [name for name in sys.modules if name.startswith("around")]


def test_a_namespace_package(project: Path) -> None:
    write(project / "spread/inner/late.py", "x = 1")
    f = main("spreading", "def f(x):\n    from spread.inner import late\n    return late.x")["f"]
    before = code_version(f)
    assert "module spread.inner.late (not imported)" in before.parts
    write(project / "spread/inner/late.py", "x = 22")
    assert code_version(f).digest != before.digest


def test_importing_it_later_changes_nothing(project: Path) -> None:
    write(project / "late_same.py", "import functools\nRATE = 2\ndef work(): return RATE\nclass A:\n    n = 1\n")
    use = main("later", MAIN.format(late="late_same"))["use"]
    before = code_version(use)
    assert use() == 2
    assert code_version(use) == before


@pytest.mark.parametrize("change", ["work", "RATE", "A.n", "A.run", "file"])
def test_what_is_in_memory_counts_once_it_is_something_else(
    project: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    name = f"late_{change.replace('.', '_')}"
    source = "RATE = 2\ndef work(): return RATE, A().run()\nclass A:\n    n = 1\n    def run(self): return self.n\n"
    write(project / f"{name}.py", source)
    use = main("patched", MAIN.format(late=name))["use"]
    before: CodeVersion = code_version(use)
    assert use() == (2, 1)
    module = sys.modules[name]
    if change == "file":
        write(project / f"{name}.py", source.replace("RATE = 2", "RATE = 200"))
    else:
        owner: Any = module.A if change.startswith("A.") else module
        monkeypatch.setattr(owner, change.split(".")[-1], 7 if change in ("RATE", "A.n") else lambda *_: (7, 7))
    after = code_version(use)
    assert after.digest != before.digest
    assert f"{name}.RATE" in after.parts or change == "work"  # it is looked at as it is in memory


def test_the_blind_spot_late_import(project: Path) -> None:
    assert "late import" in BLIND_SPOTS
    write(project / "late_blind.py", "def work(): return 1")
    use = main("blind", MAIN.format(late="late_blind"))["use"]
    before = code_version(use)  # which a task keeps
    write(project / "late_blind.py", "def work(): return 22")
    assert use() == 22
    assert code_version(use).digest != before.digest  # only who looks again sees it


def test_code_that_cannot_be_read_is_reported(project: Path) -> None:
    write(project / "late_wrong.py", "def work(: return 1")
    found = code_version(main("wrong", MAIN.format(late="late_wrong"))["use"])
    assert found.skipped == {"module late_wrong (not imported)": "its code cannot be read: SyntaxError"}


INSTALLED = """
from .helper import double, LIMITS
from eagerly import task

class Base:
    def run(self): return 1

@task(cache=True)
def work(x):
    return double(x) + len(LIMITS) + Base().run()
"""
LOOK = """
import sys
sys.path.insert(0, sys.argv[1])
import {imports}
import shopkit
from eagerly.cache._code import code_version
def mine(x): return shopkit.double(x)
looked = [shopkit.work, mine]
if "backwards" in sys.argv:
    code_version(mine)
print(*(code_version(each).digest for each in looked))
"""


def look(site: Path, *arguments: str) -> tuple[str, str]:
    environment = {**os.environ, "PYTHONPATH": SRC, "PYTHONDONTWRITEBYTECODE": "1"}
    code = LOOK.format(imports="json")
    done = subprocess.run(
        [sys.executable, "-c", code, str(site), *arguments], env=environment, capture_output=True, text=True, check=True
    )
    work, mine = done.stdout.split()
    return work, mine


def test_the_package_of_a_task_that_was_installed_counts(project: Path) -> None:
    site = project / "site-packages"
    sources = {
        "shopkit/__init__.py": INSTALLED,
        "shopkit/helper.py": "import otherkit\nLIMITS = [1]\ndef double(x): return otherkit.twice(x) * 2\n",
        "otherkit.py": "def twice(x): return x + x\n",
    }
    for file, source in sources.items():
        write(site / file, source)
    before = look(site)
    assert look(site) == look(site, "backwards") == before
    for file, old, new, counts in (
        ("shopkit/__init__.py", "double(x) + len", "double(x) - len", True),
        ("shopkit/__init__.py", "return 1", "return 2", True),
        ("shopkit/helper.py", "* 2", "* 30", True),
        ("shopkit/helper.py", "[1]", "[1, 2]", True),
        ("otherkit.py", "x + x", "x * x", False),
    ):
        write(site / file, sources[file].replace(old, new))
        work, mine = look(site)
        assert (work != before[0]) is counts, (file, new)
        assert mine == before[1]  # to which the same package is somebody else's
        write(site / file, sources[file])
