"""What is shipped: the wheel and the source distribution, built from this checkout and used from a new environment."""

from __future__ import annotations

import ast
import email
import email.message
import importlib.metadata
import os
import re
import shutil
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
MOST_BYTES = 800_000

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


@pytest.fixture(scope="module")
def bare(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment that has the wheel and what it requires, and nothing else.

    The requirements are copied from the environment in which the tests run, so nothing is downloaded.
    """
    home = tmp_path_factory.mktemp("bare")
    venv.create(home, with_pip=False, symlinks=os.name != "nt")
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    for name in dependencies():
        copy_distribution(name, site)
    run(
        *(sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"),
        *("install", "--quiet", "--no-index", built.wheel),  # with dependencies: they have to be there
    )
    return python


def copy_distribution(name: str, site: Path) -> None:
    for file in importlib.metadata.files(name) or ():
        if ".." not in file.parts and file.suffix != ".pyc":
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file.locate(), target)


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


def project_table() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project


def dependencies() -> list[str]:
    return [each.partition(">=")[0] for each in project_table()["dependencies"]]


def test_what_the_wheel_requires(built: Built) -> None:
    required = [each for each in built.metadata.get_all("Requires-Dist", []) if "extra ==" not in each]
    assert {each.partition(">=")[0] for each in required} == {"cloudpickle", "diskcache", "pluggy"}
    assert set(built.metadata.get_all("Provides-Extra", [])) == project_table()["optional-dependencies"].keys()


# Extras

NAMED = re.compile(r"eagerly\[([\w, -]+)\]")


def named_in(*places: Path) -> set[str]:
    """The extras that people are told to install there."""
    texts = [path.read_text(encoding="utf-8") for path in places]
    return {extra.strip() for text in texts for found in NAMED.findall(text) for extra in found.split(",")}


def named_in_code() -> set[str]:
    """The extras that the package names, also those that a message takes from the table of libraries."""
    from eagerly.datasets.formats._library import LIBRARIES

    sources = list((ROOT / "src").rglob("*.py"))
    assert len(sources) > 100
    in_calls = {
        word.value.value
        for path in sources
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "load_library"
        for word in node.keywords
        if word.arg == "extra" and isinstance(word.value, ast.Constant)
    }
    return named_in(*sources) | in_calls | {library.extra for library in LIBRARIES.values()}


def test_every_extra_that_is_named_can_be_installed() -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    assert (named_in_code() | named_in(*documents)) - project_table()["optional-dependencies"].keys() == set()


def test_every_extra_is_named_somewhere() -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    assert project_table()["optional-dependencies"].keys() - (named_in_code() | named_in(*documents)) == set()


def test_an_extra_brings_the_library_that_is_missing() -> None:
    from eagerly.datasets.formats._library import LIBRARIES

    extras = project_table()["optional-dependencies"]
    for library in LIBRARIES.values():
        brought = {each.partition(">=")[0].lower() for each in extras[library.extra]}
        assert library.distribution.lower() in brought, library.extra


# Without any optional library


def test_the_bare_environment_is_bare(bare: Path) -> None:
    """Or else the tests that use it would show nothing."""
    there = run(bare, "-c", "import importlib.metadata as m; print(*sorted(d.name for d in m.distributions()))").split()
    assert set(there) - {"pip", "setuptools"} == {"cloudpickle", "diskcache", "eagerly", "pluggy"}


def test_caches_and_datasets_work_without_optional_libraries(bare: Path, tmp_path: Path) -> None:
    tmp_path.joinpath("program.py").write_text(
        """\
from eagerly import load_dataset, save_dataset, session, task

RUNS = []

@task(cache=True, dataset="{name}.json")
def work(name: str) -> dict:
    RUNS.append(name)
    return {"name": name}

with session():
    assert work("a") == work("a") == load_dataset("a.json") == {"name": "a"}
    assert RUNS == ["a"]
    for key, value in (("b.csv", [{"x": "1"}]), ("c.txt", "text"), ("d.bin", b"x"), ("e.pkl", {1}), ("f.jsonl", [1])):
        save_dataset(key, value)
        assert load_dataset(key) == value, key
""",
        encoding="utf-8",
    )
    run(bare, "-W", "error", "program.py", cwd=tmp_path)
    assert sorted(path.name for path in tmp_path.glob("?.*")) == [
        "a.json",
        "b.csv",
        "c.txt",
        "d.bin",
        "e.pkl",
        "f.jsonl",
    ]
    assert "program.work" in run(bare, "-m", "eagerly", "cache", "stats", cwd=tmp_path).replace("py.", "")
    assert "6 datasets are as saved" in run(bare, "-m", "eagerly", "datasets", "verify", cwd=tmp_path)


@pytest.mark.parametrize(
    ("attempt", "extra"),
    [
        ("DatasetStore('.').save('a.parquet', [{'x': 1}])", "parquet"),
        ("DatasetStore('.').save('a.feather', [{'x': 1}])", "feather"),
        ("DatasetStore('.').save('a.yaml', {'x': 1})", "yaml"),
        ("DatasetStore('.').save('a.toml', {'x': 1})", "toml"),
        ("DatasetStore('.').load('there.parquet')", "parquet"),
        ("DatasetStore('.').load('there.npy')", "numpy"),
        ("DatasetStore('.').load('there.png')", "image"),
        ("DatasetStore('s3://bucket/place').save('a.json', 1)", "fsspec|s3"),
        ("open_store('s3://bucket/place', 'a secret of many characters')", "fsspec|s3"),
        ("open_store('redis://localhost', 'a secret of many characters')", "redis"),
        ("ProgressPlugin(live=True)", "rich"),
    ],
)
def test_what_is_missing_is_said_with_the_command_that_installs_it(
    bare: Path, tmp_path: Path, attempt: str, extra: str
) -> None:
    for name in ("there.parquet", "there.npy", "there.png"):
        (tmp_path / name).write_bytes(b"x")
    script = f"""
from eagerly.cache import open_store
from eagerly.datasets import DatasetStore
from eagerly.errors import EagerlyError
from eagerly.plugins import ProgressPlugin
try:
    {attempt}
except EagerlyError as error:
    print(error)
"""
    said = run(bare, "-c", script, cwd=tmp_path)
    assert re.search(rf"pip install ['\"]eagerly\[({extra})\]['\"]", said), said
    assert sorted(path.name for path in tmp_path.glob("a.*")) == []


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
