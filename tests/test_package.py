"""What is shipped: the wheel and the source distribution, built from this checkout and used from a new environment."""

from __future__ import annotations

import ast
import email
import email.message
import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import eagerly

ROOT = Path(__file__).parent.parent
DATA = "eagerly/demo/data/"
MOST_BYTES = 300_000

pytest.importorskip("build", reason="the test group of pyproject.toml has it")
pytest.importorskip("hatchling", reason="the test group of pyproject.toml has it")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command as a user would: with no trace of this checkout in the environment."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "EAGERLY_", "PYTEST_"))
    }
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


class Built(NamedTuple):
    wheel: Path
    sdist: Path

    @property
    def in_wheel(self) -> dict[str, int]:
        """Size of each file, as it counts in the archive."""
        with zipfile.ZipFile(self.wheel) as archive:
            return {info.filename: info.compress_size for info in archive.infolist()}

    @property
    def in_sdist(self) -> set[str]:
        with tarfile.open(self.sdist) as archive:
            return {name.partition("/")[2] for name in archive.getnames()}

    @property
    def metadata(self) -> email.message.Message:
        with zipfile.ZipFile(self.wheel) as archive:
            [name] = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
            return email.message_from_string(archive.read(name).decode("utf-8"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The wheel is built from the source distribution, so that this one is shown to be complete."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT)
    [wheel], [sdist] = out.glob("*.whl"), out.glob("*.tar.gz")
    return Built(wheel, sdist)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of a fresh environment that has the wheel.

    The dependencies are those of the environment in which the tests run, so nothing is downloaded.
    """
    home = tmp_path_factory.mktemp("env")
    venv.create(home, with_pip=False, symlinks=os.name != "nt")
    programs = home / ("Scripts" if os.name == "nt" else "bin")
    python = programs / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    site.joinpath("dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    run(
        *(sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"),
        *("install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", built.wheel),
    )
    return programs


def test_both_are_small(built: Built) -> None:
    code = sum(size for name, size in built.in_wheel.items() if not name.startswith(DATA))
    assert code < MOST_BYTES
    assert built.sdist.stat().st_size < 3 * MOST_BYTES


def test_the_wheel_has_what_it_needs(built: Built) -> None:
    wanted = {"eagerly/__init__.py", "eagerly/py.typed", "eagerly_pytest.py", f"{DATA}airports.csv"}
    assert wanted - built.in_wheel.keys() == set()
    assert [name for name in built.in_wheel if name.endswith("/licenses/LICENSE")] != []


def test_the_wheel_has_nothing_else(built: Built) -> None:
    info = f"eagerly-{eagerly.__version__}.dist-info/"
    strange = [name for name in built.in_wheel if not name.startswith(("eagerly/", "eagerly_pytest.py", info))]
    leftovers = [name for name in built.in_wheel if "__pycache__" in name or name.endswith((".pyc", "~"))]
    assert strange + leftovers == []


def test_the_wheel_has_every_module(built: Built) -> None:
    modules = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    assert modules - built.in_wheel.keys() == set()


@pytest.mark.parametrize(
    "name",
    [
        *("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "Makefile", "PKG-INFO"),
        *("docs/development.md", "tests/test_package.py", "benchmarks/README.md", "src/eagerly/py.typed"),
    ],
)
def test_the_source_distribution_has(built: Built, name: str) -> None:
    assert name in built.in_sdist


def test_metadata(built: Built) -> None:
    metadata = built.metadata
    assert metadata["Name"] == "eagerly"
    assert metadata["Version"] == eagerly.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")
    required = [each for each in metadata.get_all("Requires-Dist", []) if "extra ==" not in each]
    assert [each for each in required if "<" in each or "==" in each] == [], "a cap would be in the way of others"


def dependencies() -> list[str]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [each.partition(">=")[0] for each in project["dependencies"]]


@pytest.mark.parametrize("name", dependencies())
def test_a_dependency_is_used_and_explained(name: str) -> None:
    module = name.replace("-", "_")
    imported = {
        imported
        for path in (ROOT / "src" / "eagerly").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for imported in (
            [node.module]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }
    assert module in imported
    assert f"| {name} |" in (ROOT / "docs" / "development.md").read_text(encoding="utf-8")


def test_the_program_is_installed(installed: Path) -> None:
    assert run(installed / "eagerly", "--version").strip() == f"eagerly {eagerly.__version__}"


def test_it_is_the_wheel_that_runs(installed: Path) -> None:
    """Not this checkout, which may be installed in the environment of the tests."""
    where = run(installed / "python", "-c", "import eagerly; print(eagerly.__file__)")
    assert Path(where.strip()).is_relative_to(installed.parent)


def test_the_demo_finds_its_data(installed: Path, tmp_path: Path) -> None:
    assert "3,376" in run(installed / "eagerly", "demo", cwd=tmp_path)


def test_the_readme_works_from_the_wheel_alone(built: Built, installed: Path, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(str(built.metadata.get_payload()), encoding="utf-8")
    run(installed / "python", "-W", "error", ROOT / "docs" / "examples.py", readme, cwd=tmp_path)


def test_pytest_finds_the_fixtures(installed: Path, tmp_path: Path) -> None:
    test = tmp_path / "test_it.py"
    test.write_text("def test_it(eagerly_session, eagerly_hooks, eagerly_clock): pass\n", encoding="utf-8")
    assert "1 passed" in run(installed / "python", "-m", "pytest", "-p", "no:cacheprovider", test, cwd=tmp_path)


def test_the_pytest_plugin_does_not_import_the_library(installed: Path, tmp_path: Path) -> None:
    script = "import eagerly_pytest, sys; assert 'eagerly' not in sys.modules"
    run(installed / "python", "-c", script, cwd=tmp_path)
