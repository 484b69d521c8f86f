"""Plugins of installed distributions, with real ones: wheels that pip installs into a fresh environment, offline."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

NEEDED = ("eagerly", "pluggy", "cloudpickle", "typing_extensions")

GREETER = """
from eagerly import hook_impl

class Greeter:
    def __init__(self):
        self.notes = []

    @hook_impl
    def before_session_start(self, session_id):
        self.notes.append("session starts")

    @hook_impl
    def before_node_execute(self, metadata):
        self.notes.append(f"{metadata.name} starts")

    @hook_impl
    def after_node_execute(self, metadata, result):
        self.notes.append(f"{metadata.name} returned {result}")

plugin = Greeter()
"""

GREETER_MODULE = """
from eagerly import hook_impl
notes = []

@hook_impl
def after_node_execute(result):
    notes.append(result)
"""

SCRIPT = """
import sys
from eagerly import Settings, hook_impl, register_plugins, session, task

@task
def double(x):
    return 2 * x

assert "greeter" not in sys.modules, "plugins are loaded before the first session"
double(0)
assert "greeter" not in sys.modules
"""


def build_wheel(folder: Path, name: str, modules: dict[str, str], entry_points: dict[str, str]) -> Path:
    """A wheel as any build tool makes it, of modules and entry points in the group ``eagerly.plugins``."""
    info = f"{name.replace('-', '_')}-1.0.dist-info"
    files = {f"{module}.py": source for module, source in modules.items()}
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    lines = [f"{entry} = {value}" for entry, value in entry_points.items()]
    files[f"{info}/entry_points.txt"] = "\n".join(["[eagerly.plugins]", *lines, ""])
    record = []
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
        record.append(f"{path},sha256={digest},{len(content.encode())}")
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
    wheel = folder / f"{info.removesuffix('.dist-info')}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return wheel


class Environment:
    """A virtual environment that has the distribution ``eagerly-greeter`` installed, and eagerly on its path."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder / "venv", with_pip=True)
        self.python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
        self.folder = folder
        wheel = build_wheel(
            folder,
            "eagerly-greeter",
            {"greeter": GREETER, "greeter_module": GREETER_MODULE},
            {"greeter": "greeter:plugin", "the-same": "greeter:plugin", "module": "greeter_module"},
        )
        self.pip(wheel)

    def pip(self, wheel: Path, *options: str) -> None:
        command = [self.python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-index", "--no-deps"]
        subprocess.run([*command, *options, wheel], check=True, capture_output=True, env=_environment([]))

    def run(self, script: str, *more_path: Path, cwd: Path | None = None, **variables: str) -> str:
        """What the script prints; of a script that fails, its last line on stderr."""
        origins = [Path(find_spec(name).origin) for name in NEEDED]
        path = [str(origin.parent.parent if origin.name == "__init__.py" else origin.parent) for origin in origins]
        done = subprocess.run(
            [self.python, "-c", script],
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd or self.folder,
            env={**_environment([*map(str, more_path), *dict.fromkeys(path)]), **variables},
        )
        return done.stdout.strip() if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def _environment(path: list[str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EAGERLY_", "PIP_", "PYTHON"))}
    return {**kept, "PYTHONPATH": os.pathsep.join(path), "PIP_CONFIG_FILE": os.devnull}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return Environment(tmp_path_factory.mktemp("installed"))


NOTES = "import greeter, greeter_module; print(greeter.plugin.notes, greeter_module.notes)"


class TestInstalledPlugins:
    def test_hear_of_sessions_and_calls_without_being_mentioned(self, environment):
        seen = environment.run(f"{SCRIPT}\nwith session(): double(21)\n{NOTES}")
        assert seen == "['session starts', 'double starts', 'double returned 42'] [42]"

    def test_are_loaded_once_and_added_once(self, environment):
        seen = environment.run(
            f"{SCRIPT}\nimport importlib.metadata\n"
            "with session():\n"
            "    importlib.metadata.entry_points = None\n"
            "    with session(): double(1)\n"
            "with session(): double(2)\n"
            f"{NOTES}"
        )
        first = ["session starts", "session starts", "double starts", "double returned 2"]
        second = ["session starts", "double starts", "double returned 4"]
        assert seen == f"{first + second} [2, 4]"

    def test_are_called_after_those_that_are_registered_or_given(self, environment):
        seen = environment.run(
            f"{SCRIPT}\n"
            "class Noting:\n"
            "    def __init__(self, note): self.note = note\n"
            "    @hook_impl\n"
            "    def before_node_execute(self):\n"
            "        import greeter; greeter.plugin.notes.append(self.note)\n"
            "register_plugins(Noting('registered'))\n"
            "with session(plugins=[Noting('given')]): double(1)\n"
            f"{NOTES}"
        )
        assert seen == "['session starts', 'given', 'registered', 'double starts', 'double returned 2'] [2]"


OFF = f"{SCRIPT}\nwith session(): double(1)\nprint('greeter' in sys.modules)"


class TestSwitchedOff:
    @pytest.mark.parametrize("value", ["0", "false", "off"])
    def test_by_the_environment(self, environment, value):
        assert environment.run(OFF, EAGERLY_DISCOVER_PLUGINS=value) == "False"

    def test_not_by_the_environment(self, environment):
        assert environment.run(OFF, EAGERLY_DISCOVER_PLUGINS="1") == "True"

    def test_by_an_argument(self, environment):
        off = OFF.replace("with session()", "with session(settings=Settings(discover_plugins=False))")
        assert environment.run(off) == "False"

    def test_by_pyproject(self, environment, tmp_path):
        (tmp_path / "pyproject.toml").write_text("[tool.eagerly]\ndiscover_plugins = false\n")
        assert environment.run(OFF, cwd=tmp_path) == "False"


BROKEN = {
    "missing attribute": ("x = 1", "broken_plugin:plugin", r"has no attribute 'plugin'"),
    "import that fails": ("import no_such_module", "broken_plugin", r"No module named 'no_such_module'"),
    "exception on import": ("raise LookupError('out of luck')", "broken_plugin", "out of luck"),
    "class": (GREETER, "broken_plugin:Greeter", "Greeter is a plugin class, and a plugin is an instance"),
    "hook that does not exist": (
        "from eagerly import hook_impl\n@hook_impl\ndef on_node_eror(): ...",
        "broken_plugin",
        "did you mean 'on_node_error'?",
    ),
}


@pytest.fixture(scope="module")
def broken(request, environment, tmp_path_factory):
    """A folder into which a broken plugin is installed, and what is wrong with it."""
    source, value, problem = BROKEN[getattr(request, "param", "missing attribute")]
    folder = tmp_path_factory.mktemp("broken")
    wheel = build_wheel(folder, "eagerly-broken", {"broken_plugin": source}, {"oops": value})
    environment.pip(wheel, "--target", str(folder / "installed"))
    return folder / "installed", value, problem


class TestBrokenPlugins:
    @pytest.mark.parametrize("broken", BROKEN, indirect=True)
    def test_the_error_names_the_distribution_the_problem_and_the_way_out(self, environment, broken):
        folder, value, problem = broken
        message = environment.run(f"{SCRIPT}\nwith session(): double(1)", folder)
        assert message.startswith("eagerly.errors.PluginError: the installed plugin ")
        assert f"eagerly-broken: oops = {value}" in message
        assert problem in message
        assert "EAGERLY_DISCOVER_PLUGINS=0" in message

    def test_the_way_out_works(self, environment, broken):
        folder, _, _ = broken
        script = f"{SCRIPT}\nwith session(): print(double(1))"
        assert environment.run(script, folder, EAGERLY_DISCOVER_PLUGINS="0") == "2"

    def test_every_session_says_so_and_none_is_left_open(self, environment, broken):
        folder, _, _ = broken
        script = (
            f"{SCRIPT}\n"
            "from eagerly import current_session\n"
            "from eagerly.errors import PluginError\n"
            "for _ in range(2):\n"
            "    try:\n"
            "        with session(): pass\n"
            "    except PluginError:\n"
            "        print(current_session())\n"
        )
        assert environment.run(script, folder).split() == ["None", "None"]

    def test_outside_of_a_session_tasks_run(self, environment, broken):
        folder, _, _ = broken
        assert environment.run(f"{SCRIPT}\nprint(double(1))", folder) == "2"
