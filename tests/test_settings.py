"""Settings: five places a value can come from, which of them wins, and what is said about a value that cannot be."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from eagerly import Settings, current_session, hook_impl, session, task
from eagerly.errors import EagerlyError, SettingsError, TaskError

FIELDS = {"wrap_errors": False, "strict_hooks": False, "discover_plugins": True}
"""Every setting and its default."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: empty, and without a pyproject.toml around it."""
    folder = tmp_path / "project" / "package"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    for name in FIELDS:
        monkeypatch.delenv(f"EAGERLY_{name.upper()}", raising=False)
    return folder


def pyproject(folder: Path, **settings: bool) -> Path:
    path = folder / "pyproject.toml"
    lines = (f"{name} = {str(value).lower()}" for name, value in settings.items())
    path.write_text("\n".join(["[tool.eagerly]", *lines]), encoding="utf-8")
    return path


def in_session(name: str, **given: bool) -> bool:
    """What a new session has for a setting."""
    with session(settings=Settings(**given)) as here:
        return bool(getattr(here.settings, name))


def test_every_setting_is_tested_here() -> None:
    assert {field.name for field in dataclasses.fields(Settings)} == FIELDS.keys()


@pytest.mark.parametrize("name", FIELDS)
class TestPrecedence:
    """argument > enclosing session > environment > pyproject.toml > default, for each setting by itself."""

    def test_the_default(self, name: str) -> None:
        assert in_session(name) is FIELDS[name]
        assert getattr(Settings(), name) is FIELDS[name]

    def test_pyproject_over_default(self, name: str, folder: Path) -> None:
        pyproject(folder, **{name: not FIELDS[name]})
        assert in_session(name) is not FIELDS[name]

    @pytest.mark.parametrize("value", [True, False])
    def test_environment_over_pyproject(
        self, name: str, value: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pyproject(folder, **{name: not value})
        monkeypatch.setenv(f"EAGERLY_{name.upper()}", str(int(value)))
        assert in_session(name) is value

    @pytest.mark.parametrize("value", [True, False])
    def test_enclosing_session_over_environment(self, name: str, value: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(f"EAGERLY_{name.upper()}", str(int(not value)))
        with session(settings=Settings(**{name: value})), session(), session(name="innermost"):
            assert in_session(name) is value

    @pytest.mark.parametrize("value", [True, False])
    def test_argument_over_enclosing_session(self, name: str, value: bool) -> None:
        with session(settings=Settings(**{name: not value})):
            assert in_session(name, **{name: value}) is value
            assert in_session(name) is not value

    def test_an_argument_says_nothing_about_the_other_settings(
        self, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        others = [other for other in FIELDS if other != name]
        pyproject(folder, **{others[0]: not FIELDS[others[0]]})
        monkeypatch.setenv(f"EAGERLY_{others[1].upper()}", str(int(not FIELDS[others[1]])))
        given = {name: not FIELDS[name]}
        with session(settings=Settings(**given)), session(settings=Settings()) as here:
            assert {each: getattr(here.settings, each) for each in FIELDS} == {
                each: not default for each, default in FIELDS.items()
            }


class TestEnvironment:
    """``EAGERLY_*``."""

    @pytest.mark.parametrize("word", ["1", "true", "True", "YES", "on", " 1 "])
    def test_words_for_true(self, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EAGERLY_WRAP_ERRORS", word)
        assert in_session("wrap_errors") is True

    @pytest.mark.parametrize("word", ["0", "false", "False", "NO", "off"])
    def test_words_for_false(self, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EAGERLY_DISCOVER_PLUGINS", word)
        assert in_session("discover_plugins") is False

    @pytest.mark.parametrize("word", ["", "2", "perhaps"])
    def test_a_bad_value_names_its_variable(self, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EAGERLY_WRAP_ERRORS", word)
        with pytest.raises(SettingsError) as caught, session():
            pass
        assert str(caught.value) == (
            f"environment variable EAGERLY_WRAP_ERRORS={word!r} is not a truth value; write 1 or 0"
        )

    @pytest.mark.parametrize(
        ("variable", "hint"),
        [
            ("EAGERLY_WRAP_ERROR", "did you mean EAGERLY_WRAP_ERRORS?"),
            ("EAGERLY_XYZ", "there are EAGERLY_WRAP_ERRORS, EAGERLY_STRICT_HOOKS, EAGERLY_DISCOVER_PLUGINS"),
        ],
    )
    def test_an_unknown_variable_is_refused_with_those_there_are(
        self, variable: str, hint: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(variable, "1")
        with pytest.raises(SettingsError) as caught, session():
            pass
        assert str(caught.value).startswith(f"environment variable {variable}: there is no setting")
        assert str(caught.value).endswith(hint)

    def test_variables_of_others_are_not_looked_at(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EAGERLYX_WRAP_ERRORS", "1")
        monkeypatch.setenv("WRAP_ERRORS", "1")
        assert in_session("wrap_errors") is False


class TestPyproject:
    """``[tool.eagerly]``."""

    def test_the_nearest_file_counts_alone(self, folder: Path) -> None:
        pyproject(folder.parent, wrap_errors=True)
        assert in_session("wrap_errors") is True
        pyproject(folder, strict_hooks=True)
        assert in_session("strict_hooks") is True
        assert in_session("wrap_errors") is False

    @pytest.mark.parametrize("text", ["", "[project]\nname = 'x'\n", "[tool.other]\nwrap_errors = true\n"])
    def test_a_file_that_says_nothing(self, folder: Path, text: str) -> None:
        pyproject(folder.parent, wrap_errors=True)
        folder.joinpath("pyproject.toml").write_text(text, encoding="utf-8")
        assert in_session("wrap_errors") is False

    def test_a_change_is_seen_by_the_next_session(self, folder: Path) -> None:
        pyproject(folder, wrap_errors=True)
        with session() as here:
            pyproject(folder, wrap_errors=False)
            assert here.settings.wrap_errors is True
        assert in_session("wrap_errors") is False
        folder.joinpath("pyproject.toml").unlink()
        pyproject(folder.parent, wrap_errors=True)
        assert in_session("wrap_errors") is True

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            (
                "[tool.eagerly]\nwrap_error = true",
                "[tool.eagerly]: there is no setting 'wrap_error'; did you mean wrap_errors?",
            ),
            (
                "[tool.eagerly]\nxyz = 1",
                "[tool.eagerly]: there is no setting 'xyz'; there are wrap_errors, strict_hooks",
            ),
            (
                "[tool.eagerly]\nwrap_errors = 1",
                "[tool.eagerly]: wrap_errors = 1 is not a truth value; write true or false",
            ),
            ("[tool.eagerly]\nwrap_errors = 'true'", "wrap_errors = 'true' is not a truth value; write true or false"),
            ("[tool]\neagerly = 3", "tool.eagerly must be a table, not 3"),
            ("tool = 3", "tool must be a table, not 3"),
            ("[tool.eagerly\n", "cannot be read: "),
        ],
    )
    def test_what_cannot_be_names_the_file(self, folder: Path, text: str, complaint: str) -> None:
        path = folder / "pyproject.toml"
        path.write_text(text, encoding="utf-8")
        for _ in range(2):  # the second time as well, though the file has been read before
            with pytest.raises(SettingsError) as caught, session():
                pass
            assert str(caught.value).startswith(str(path))
            assert complaint in str(caught.value)

    def test_a_file_that_is_no_text(self, folder: Path) -> None:
        folder.joinpath("pyproject.toml").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(SettingsError, match="cannot be read"), session():
            pass

    def test_a_current_folder_that_is_gone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        gone = tmp_path / "gone"
        gone.mkdir()
        monkeypatch.chdir(gone)
        gone.rmdir()
        assert in_session("wrap_errors") is False


class TestSettings:
    """The dataclass."""

    @pytest.mark.parametrize("name", FIELDS)
    @pytest.mark.parametrize("value", [1, 0, "true", None, []])
    def test_a_value_is_true_or_false(self, name: str, value: object) -> None:
        with pytest.raises(SettingsError, match=rf"Settings\({name}=\.\.\.\) takes True or False, not "):
            Settings(**{name: value})

    def test_errors_are_ours_and_value_errors(self) -> None:
        assert issubclass(SettingsError, EagerlyError)
        assert issubclass(SettingsError, ValueError)

    def test_frozen(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            Settings().wrap_errors = True  # type: ignore[misc]

    def test_keywords_only_and_no_others(self) -> None:
        with pytest.raises(TypeError):
            Settings(True)  # type: ignore[misc]
        with pytest.raises(TypeError, match="wrap_error"):
            Settings(wrap_error=True)  # type: ignore[call-arg]

    def test_given_are_the_fields_that_were_passed(self) -> None:
        assert Settings().given == {}
        assert Settings(wrap_errors=False, strict_hooks=True).given == {"wrap_errors": False, "strict_hooks": True}

    def test_equality_hash_and_repr_show_values(self) -> None:
        assert Settings(wrap_errors=True) == Settings(wrap_errors=True)
        assert Settings(wrap_errors=True) != Settings()
        assert len({Settings(), Settings()}) == 1
        assert repr(Settings()) == "Settings(wrap_errors=False, strict_hooks=False, discover_plugins=True)"

    @pytest.mark.parametrize(
        "duplicate",
        [copy.copy, copy.deepcopy, lambda settings: pickle.loads(pickle.dumps(settings))],
        ids=["copy", "deepcopy", "pickle"],
    )
    def test_copies_remember_what_was_given(self, duplicate: object) -> None:
        original = Settings(strict_hooks=True)
        assert callable(duplicate)
        assert duplicate(original) == original
        assert duplicate(original).given == {"strict_hooks": True}


class TestEffect:
    """A setting does the same wherever it comes from."""

    @pytest.fixture(params=["argument", "enclosing", "environment", "pyproject"])
    def source(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @staticmethod
    def open(source: str, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **more: object) -> object:
        """A session in which `name` has been changed from its default by way of `source`."""
        value = not FIELDS[name]
        if source == "environment":
            monkeypatch.setenv(f"EAGERLY_{name.upper()}", str(int(value)))
        elif source == "pyproject":
            pyproject(folder, **{name: value})
        settings = Settings(**{name: value}) if source in ("argument", "enclosing") else None
        return session(settings=settings, **more)

    def test_wrap_errors(self, source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        @task
        def fail() -> None:
            raise KeyError("x")

        @task(wrap_errors=False)
        def fail_plainly() -> None:
            raise KeyError("x")

        inner = session() if source == "enclosing" else session(name="the only one")
        with self.open(source, "wrap_errors", folder, monkeypatch), inner:
            with pytest.raises(TaskError) as caught:
                fail()
            with pytest.raises(KeyError):
                fail_plainly()
        assert isinstance(caught.value.__cause__, KeyError)
        assert caught.value.attempts == 1

    def test_strict_hooks(self, source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Broken:
            @hook_impl
            def before_node_execute(self) -> None:
                raise RuntimeError("broken hook")

        @task
        def step() -> int:
            return 1

        inner = session(plugins=[Broken()])
        with self.open(source, "strict_hooks", folder, monkeypatch), inner, pytest.raises(RuntimeError, match="broken"):
            step()

    def test_outside_a_session_no_settings_are_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EAGERLY_WRAP_ERRORS", "perhaps")

        @task
        def step() -> int:
            return 1

        assert step() == 1
        assert current_session() is None


def test_discovery_is_off_where_it_is_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken installed plugin stops a session, unless discovery is off; see test_hooks for plugins that work."""
    info = tmp_path / "site" / "broken-1.0.dist-info"
    info.mkdir(parents=True)
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n", encoding="utf-8")
    info.joinpath("entry_points.txt").write_text("[eagerly.plugins]\nbroken = no_such_module\n", encoding="utf-8")
    script = tmp_path / "script.py"
    script.write_text(
        "from eagerly import Settings, session\n"
        "from eagerly.errors import PluginError\n"
        "with session(settings=Settings(discover_plugins=False)), session():\n"
        "    print('off')\n"
        "try:\n"
        "    with session(): pass\n"
        "except PluginError as error:\n"
        "    print(error)\n",
        encoding="utf-8",
    )
    source = str(Path(__file__).parent.parent / "src")
    path = os.pathsep.join([source, str(tmp_path / "site")])
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    first, second = done.stdout.splitlines()
    assert first == "off"
    assert "broken: broken = no_such_module" in second
    assert "EAGERLY_DISCOVER_PLUGINS=0" in second
    monkeypatch.setenv("PYTHONPATH", path)
    done = subprocess.run(
        [sys.executable, "-c", "from eagerly import session\nwith session(): print('off')"],
        env={**os.environ, "EAGERLY_DISCOVER_PLUGINS": "0"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "off\n"
