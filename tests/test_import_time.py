"""What `import eagerly` must not bring along. Which modules come is deterministic; how long they take is measured in
benchmarks/, not here.
"""

import json
import subprocess
import sys

import pytest

FORBIDDEN = {
    # Slow, or a whole world behind it
    "asyncio": "late, and only by who runs async code",
    "concurrent.futures": "only the caller's own executor needs it",
    "ctypes": "only to interrupt a body that timed out",
    "multiprocessing": "nothing here starts processes",
    "socket": "nothing here talks to a network",
    "ssl": "nothing here talks to a network",
    "subprocess": "nothing here starts processes",
    "urllib": "nothing here talks to a network",
    "http": "nothing here talks to a network",
    "email": "comes with importlib.metadata",
    "importlib.metadata": "only the first session looks for installed plugins",
    "importlib.resources": "only the demo has data files",
    "sqlite3": "nothing is stored",
    # Needed by few calls
    "argparse": "only the command line",
    "decimal": "nobody computes with it",
    "difflib": "only a misspelled option is worth the time",
    "json": "only the command line",
    "logging": "only a failing hook is logged",
    "pathlib": "settings are looked up when a session opens",
    "pickle": "only who pickles a task",
    "random": "only a delay with jitter",
    "shutil": "nobody handles files",
    "tempfile": "nobody handles files",
    "tomllib": "only a pyproject.toml that has a table for us",
    "traceback": "only who prints one",
    "unittest": "for tests",
    "uuid": "an id is made when somebody asks",
    # Third-party
    "cloudpickle": "only tasks that cannot be pickled by reference",
    "pytest": "for tests",
    "rich": "only the live display",
    "typing_extensions": "only type checkers look that closely",
    # Our own parts that few need
    "eagerly.cli": "a program of its own",
    "eagerly.demo": "a program of its own",
    "eagerly.plugins": "plugins are imported by who uses them",
    "eagerly.testing": "for tests",
}
"""Module -> why it has no business in ``import eagerly``. Its submodules are forbidden with it."""


def modules_after(code: str) -> set[str]:
    """The names in `sys.modules` that `code` adds in a fresh interpreter."""
    script = f"import sys; before = set(sys.modules)\n{code}\nadded = set(sys.modules) - before"
    script += "\nimport json; print(json.dumps(sorted(added)))"
    # -S and -I would hide an editable install; what site brings along is in `before`.
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(result.stdout))


@pytest.fixture(scope="module")
def imported() -> set[str]:
    return modules_after("import eagerly")


@pytest.mark.parametrize("module", FORBIDDEN)
def test_importing_eagerly_does_not_import(module: str, imported: set[str]) -> None:
    found = sorted(name for name in imported if name == module or name.startswith(f"{module}."))
    assert not found, f"{module} must not come with `import eagerly` ({FORBIDDEN[module]}), but it brought {found}"


@pytest.mark.skipif(sys.gettrace() is not None, reason="coverage imports modules of its own there")
def test_the_fixture_sees_what_is_imported(imported: set[str]) -> None:
    assert {"eagerly._tasks", "pluggy"} <= imported
    assert "sqlite3" in modules_after("import sqlite3")


def test_a_synchronous_call_imports_nothing_more() -> None:
    call = "from eagerly import task\nbefore = set(sys.modules)\nassert task(lambda x: x)(1) == 1"
    assert modules_after(call) == set()


def test_a_session_brings_no_event_loop_and_no_network() -> None:
    added = modules_after(
        "import os; os.environ['EAGERLY_DISCOVER_PLUGINS'] = '0'\nimport eagerly\nwith eagerly.session(): pass"
    )
    assert not added & {"asyncio", "importlib.metadata", "sqlite3", "cloudpickle", "rich", "logging", "uuid", "ctypes"}


def test_the_pytest_plugin_does_not_import_the_library() -> None:
    added = modules_after("import eagerly_pytest")
    assert not [name for name in added if name == "eagerly" or name.startswith("eagerly.")]
