"""Settings: five places a value can come from, which of them wins, and what is said about a value that cannot be."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eagerly import SessionContext, Settings, current_session, hook_impl, session, task
from eagerly.errors import EagerlyError, SettingsError, TaskError

SETTINGS: dict[str, tuple[object, object]] = {
    "wrap_errors": (False, True),
    "strict_hooks": (False, True),
    "discover_plugins": (True, False),
    "cache_store": (".eagerly/cache", "/elsewhere/cache"),
    "cache_mode": ("on", "read"),
    "cache_signing_key": (None, "a secret of some length"),
    "dataset_store": (".", "s3://bucket/data"),
    "backend": ("inline", "thread"),
    "run_store": (None, "postgresql://host/runs"),
}
"""Every setting, with its default and with another value."""

FIELDS = {name: default for name, (default, _) in SETTINGS.items()}
OTHERS = {name: other for name, (_, other) in SETTINGS.items()}
FLAGS = [name for name, default in FIELDS.items() if isinstance(default, bool)]
PLACES = ["cache_store", "dataset_store", "run_store"]
IN_PYPROJECT = [name for name in FIELDS if name != "cache_signing_key"]

each_value = pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in SETTINGS.items() for value in values]
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: empty, and without a pyproject.toml around it."""
    folder = tmp_path / "project" / "package"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    for name in FIELDS:
        monkeypatch.delenv(f"EAGERLY_{name.upper()}", raising=False)
    return folder


def pyproject(folder: Path, **settings: object) -> Path:
    path = folder / "pyproject.toml"
    lines = (f"{name} = {json.dumps(value)}" for name, value in settings.items())
    path.write_text("\n".join(["[tool.eagerly]", *lines]), encoding="utf-8")
    return path


def setenv(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    monkeypatch.setenv(f"EAGERLY_{name.upper()}", str(int(value)) if isinstance(value, bool) else str(value))


def in_session(name: str, **given: Any) -> object:
    """What a new session has for a setting."""
    with session(settings=Settings(**given)) as here:
        return getattr(here.settings, name)


def other_than(name: str, value: object) -> object:
    """A value of this setting that is another one."""
    default, other = SETTINGS[name]
    return other if value == default else default


def test_every_setting_is_tested_here() -> None:
    assert {field.name for field in dataclasses.fields(Settings)} == FIELDS.keys()


class TestPrecedence:
    """argument > enclosing session > environment > pyproject.toml > default, for each setting by itself."""

    @pytest.mark.parametrize("name", FIELDS)
    def test_the_default(self, name: str) -> None:
        assert in_session(name) == FIELDS[name]
        assert getattr(Settings(), name) == FIELDS[name]

    @pytest.mark.parametrize("name", IN_PYPROJECT)
    def test_pyproject_over_default(self, name: str, folder: Path) -> None:
        pyproject(folder, **{name: OTHERS[name]})
        assert in_session(name) == OTHERS[name]

    @each_value
    def test_environment_over_pyproject(
        self, name: str, value: object, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if value is None:
            pytest.skip("an environment variable cannot say None")
        if name in IN_PYPROJECT and other_than(name, value) is not None:
            pyproject(folder, **{name: other_than(name, value)})
        setenv(monkeypatch, name, value)
        assert in_session(name) == value

    @each_value
    def test_enclosing_session_over_environment(
        self, name: str, value: object, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = other_than(name, value)
        setenv(monkeypatch, name, "another secret, also long enough" if other is None else other)
        with session(settings=Settings(**{name: value})), session(), session(name="innermost"):
            assert in_session(name) == value

    @each_value
    def test_argument_over_enclosing_session(self, name: str, value: object) -> None:
        with session(settings=Settings(**{name: other_than(name, value)})):
            assert in_session(name, **{name: value}) == value
            assert in_session(name) == other_than(name, value)

    @pytest.mark.parametrize("name", FIELDS)
    def test_an_argument_says_nothing_about_the_other_settings(
        self, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        of_the_file, of_the_environment = [other for other in IN_PYPROJECT if other != name][:2]
        pyproject(folder, **{of_the_file: OTHERS[of_the_file]})
        setenv(monkeypatch, of_the_environment, OTHERS[of_the_environment])
        changed = {each: OTHERS[each] for each in (name, of_the_file, of_the_environment)}
        with session(settings=Settings(**{name: OTHERS[name]})), session(settings=Settings()) as here:
            assert {each: getattr(here.settings, each) for each in FIELDS} == {**FIELDS, **changed}


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
        ("name", "text", "complaint"),
        [
            ("cache_mode", "of", "EAGERLY_CACHE_MODE='of' is not a mode; write on or off or read or refresh"),
            ("cache_mode", "", "EAGERLY_CACHE_MODE='' is not a mode; write on or off or read or refresh"),
            ("cache_store", " ", "EAGERLY_CACHE_STORE=' ' is not a path or a URL; write one"),
            ("backend", "", "EAGERLY_BACKEND='' is not a name; write one"),
            ("dataset_store", "", "EAGERLY_DATASET_STORE='' is not a path or a URL; write one"),
        ],
    )
    def test_a_bad_place_or_mode_names_its_variable(
        self, name: str, text: str, complaint: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        setenv(monkeypatch, name, text)
        with pytest.raises(SettingsError) as caught, session():
            pass
        assert str(caught.value) == f"environment variable {complaint}"

    @pytest.mark.parametrize("word", ["off", "OFF", " Off "])
    def test_words_for_modes(self, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
        setenv(monkeypatch, "cache_mode", word)
        assert in_session("cache_mode") == "off"
        with session() as here:
            assert here.cache_mode == "off"

    @pytest.mark.parametrize(
        ("variable", "hint"),
        [
            ("EAGERLY_WRAP_ERROR", "did you mean EAGERLY_WRAP_ERRORS?"),
            ("EAGERLY_XYZ", "there are " + ", ".join(f"EAGERLY_{name.upper()}" for name in FIELDS)),
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
            ("[tool.eagerly]\ncache_store = ''", "cache_store = '' is not a path or a URL; write \"a/path\" or"),
            ("[tool.eagerly]\nbackend = 3", 'backend = 3 is not a name; write a "string"'),
            ("[tool.eagerly]\ndataset_store = 3", 'dataset_store = 3 is not a path or a URL; write "a/path" or'),
            ("[tool.eagerly]\ncache_mode = 'of'", "cache_mode = 'of' is not a mode; write 'on' or 'off' or 'read'"),
            ("[tool.eagerly]\ncache_mode = true", "cache_mode = True is not a mode; write 'on' or 'off' or 'read'"),
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

    @pytest.mark.parametrize("name", FLAGS)
    @pytest.mark.parametrize("value", [1, 0, "true", None, []])
    def test_a_value_is_true_or_false(self, name: str, value: object) -> None:
        with pytest.raises(SettingsError, match=rf"Settings\({name}=\.\.\.\) takes True or False, not "):
            Settings(**{name: value})

    @pytest.mark.parametrize("name", PLACES)
    @pytest.mark.parametrize("value", ["", "  ", 3, None, b"path", []])
    def test_a_place_is_a_path_or_a_url(self, name: str, value: object) -> None:
        if FIELDS[name] is value:
            pytest.skip("there need not be one")
        takes = "a path, a URL or None" if FIELDS[name] is None else "a path or a URL"
        with pytest.raises(SettingsError, match=rf"Settings\({name}=\.\.\.\) takes {takes}, not ") as caught:
            Settings(**{name: value})
        assert str(caught.value).endswith(repr(value))

    @pytest.mark.parametrize("name", PLACES)
    def test_a_place_may_be_any_path(self, name: str) -> None:
        assert getattr(Settings(**{name: Path("a", "path")}), name) == str(Path("a", "path"))
        assert Settings(**{name: Path("a")}) == Settings(**{name: "a"})

    @pytest.mark.parametrize("value", ["", "of", "ON", True, None, []])
    def test_a_mode_is_one_of_four(self, value: Any) -> None:
        with pytest.raises(SettingsError, match=r"takes 'on' or 'off' or 'read' or 'refresh', not ") as caught:
            Settings(cache_mode=value)
        assert str(caught.value).endswith(repr(value))

    @pytest.mark.parametrize("mode", ["on", "off", "read", "refresh"])
    def test_the_four_modes(self, mode: Any) -> None:
        assert Settings(cache_mode=mode).cache_mode == mode

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
        assert repr(Settings()) == (
            "Settings(wrap_errors=False, strict_hooks=False, discover_plugins=True, cache_store='.eagerly/cache', "
            "cache_mode='on', dataset_store='.', backend='inline', run_store=None)"
        )

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


class TestPlaces:
    """Paths mean what they mean where they are written, whatever the working directory is later."""

    @staticmethod
    def opened(context: SessionContext) -> dict[str, str]:
        """Where the stores of a session are, by the setting that says so."""
        assert context.dataset_store is not None
        return {
            "cache_store": str(context.cache_place),
            "dataset_store": context.dataset_store.base,
            "run_store": "" if context.run_store is None else context.run_store.place,
        }

    @pytest.mark.parametrize("name", PLACES)
    @pytest.mark.parametrize("place", ["there", "../there", "./there", "{absolute}"])
    @pytest.mark.parametrize("below", [".", "a/b"])
    def test_in_pyproject_a_relative_path_starts_at_that_file(
        self, name: str, place: str, below: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written = place.format(absolute=tmp_path / "there")
        pyproject(folder, **{name: written})
        folder.joinpath(below).mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(folder / below)
        with session() as context:
            assert self.opened(context)[name] == os.path.normpath(folder / written)

    @pytest.mark.parametrize("name", PLACES)
    def test_in_pyproject_a_home_directory_and_a_url_are_left_alone(
        self, name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
        pyproject(folder, **{name: "~/there"})
        with session() as context:
            assert self.opened(context)[name] == str(tmp_path / "home" / "there")
        pyproject(folder, **{name: "memory://there"})
        with session() as context:
            assert self.opened(context)[name].startswith("memory://")

    @pytest.mark.parametrize("name", PLACES)
    @pytest.mark.parametrize("source", ["environment", "argument", "default"])
    def test_elsewhere_it_starts_at_the_working_directory_of_the_opening(
        self, name: str, source: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place = FIELDS[name] if source == "default" else "there"
        if place is None:
            pytest.skip("by default there is none")
        if source == "environment":
            setenv(monkeypatch, name, place)
        settings = Settings(**{name: place}) if source == "argument" else None
        with session(settings=settings) as outer:
            monkeypatch.chdir(tmp_path)
            assert self.opened(outer)[name] == os.path.normpath(folder / str(place))
            with session() as inner:
                assert self.opened(inner)[name] == os.path.normpath(folder / str(place))

    def test_nothing_is_created_before_something_is_stored(self, folder: Path) -> None:
        @task(cache=True)
        def double(x: int) -> int:
            return 2 * x

        with session() as context:
            assert context.dataset_store is not None
            assert context.cache_store is not None
            assert context.run_store is None
            assert list(folder.iterdir()) == []
            double(1)
            assert [path.name for path in folder.iterdir()] == [".eagerly"]


class TestSecret:
    """``cache_signing_key`` is never shown, and never read from a file that people share."""

    SECRET = "never to be seen anywhere"

    def test_not_in_repr(self) -> None:
        assert self.SECRET not in repr(Settings(cache_signing_key=self.SECRET))
        with session(settings=Settings(cache_signing_key=self.SECRET)) as context:
            assert self.SECRET not in repr((context, context.settings, context.cache_store, context.cache_client))

    def test_it_takes_part_in_equality(self) -> None:
        assert Settings(cache_signing_key=self.SECRET) == Settings(cache_signing_key=self.SECRET)
        assert Settings(cache_signing_key=self.SECRET) != Settings()

    @pytest.mark.parametrize("value", ["shown? 15 chars", "", 1234567890123456, b"never to be seen anywhere"])
    def test_not_in_the_message_about_a_bad_one(self, value: Any) -> None:
        with pytest.raises(SettingsError) as caught:
            Settings(cache_signing_key=value)
        assert str(caught.value) == (
            "Settings(cache_signing_key=...) takes a string of 16 characters or more, not this one "
            f"({type(value).__name__})"
        )

    def test_not_in_the_message_about_a_bad_one_in_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EAGERLY_CACHE_SIGNING_KEY", "shown? 15 chars")
        with pytest.raises(SettingsError) as caught, session():
            pass
        assert "shown?" not in str(caught.value)
        assert str(caught.value).startswith("environment variable EAGERLY_CACHE_SIGNING_KEY=")
        assert str(caught.value).endswith("is not a secret of 16 characters or more; write a longer one")

    def test_not_in_the_message_about_a_misplaced_one(self) -> None:
        misplaced: Any = session
        with pytest.raises(TypeError, match=r"settings=Settings\(cache_signing_key=") as caught:
            misplaced(cache_signing_key=self.SECRET)
        assert self.SECRET not in str(caught.value)

    @pytest.mark.parametrize("value", [SECRET, "short", 3])
    def test_refused_in_pyproject(self, value: object, folder: Path) -> None:
        path = pyproject(folder, cache_signing_key=value)
        for _ in range(2):
            with pytest.raises(SettingsError) as caught, session():
                pass
            assert str(caught.value) == (
                f"{path} [tool.eagerly]: cache_signing_key is a secret; "
                "set EAGERLY_CACHE_SIGNING_KEY in the environment"
            )

    def test_16_characters_are_enough_and_15_are_not(self) -> None:
        assert Settings(cache_signing_key="x" * 16).cache_signing_key == "x" * 16
        with pytest.raises(SettingsError):
            Settings(cache_signing_key="x" * 15)

    def test_an_inner_session_can_do_without(self) -> None:
        with session(settings=Settings(cache_signing_key=self.SECRET)):
            assert in_session("cache_signing_key", cache_signing_key=None) is None
            assert in_session("cache_signing_key") == self.SECRET


class TestEffect:
    """A setting does the same wherever it comes from."""

    @pytest.fixture(params=["argument", "enclosing", "environment", "pyproject"])
    def source(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @staticmethod
    def open(source: str, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **more: object) -> object:
        """A session in which `name` has been changed from its default by way of `source`."""
        value = OTHERS[name]
        if source == "environment":
            setenv(monkeypatch, name, value)
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

    def test_cache_mode(self, source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        runs = []

        @task(cache=True, cache_version="1")
        def step() -> int:
            runs.append(1)
            return len(runs)

        inner = session() if source == "enclosing" else session(name="the only one")
        with self.open(source, "cache_mode", folder, monkeypatch, cache_store=folder / "cache"), inner:
            assert [step(), step()] == [1, 2]  # nothing is stored
            assert step.is_cached() is False

    def test_stores(self, source: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        there = {"cache_store": str(tmp_path / "cache"), "dataset_store": str(tmp_path / "data")}
        monkeypatch.setitem(OTHERS, "cache_store", there["cache_store"])
        monkeypatch.setitem(OTHERS, "dataset_store", there["dataset_store"])

        @task(cache=True, dataset="step.json")
        def step() -> int:
            return 1

        if source == "pyproject":
            pyproject(folder, **there)
            first: Any = session()
            second: Any = session()
        else:
            first = self.open(source, "cache_store", folder, monkeypatch)
            second = self.open(source, "dataset_store", folder, monkeypatch)
        with first, second, session():
            step()
        assert (tmp_path / "cache").is_dir()
        assert (tmp_path / "data" / "step.json").read_text("utf-8").strip() == "1"
        assert not (folder / ".eagerly").exists()

    def test_outside_a_session_the_environment_alone_says_the_cache_mode(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runs = []

        @task(cache=folder / "cache", cache_version="1")
        def step() -> int:
            runs.append(1)
            return len(runs)

        pyproject(folder, cache_mode="off")
        assert [step(), step()] == [1, 1]
        setenv(monkeypatch, "cache_mode", "off")
        assert [step(), step()] == [2, 3]
        setenv(monkeypatch, "cache_mode", "of")
        with pytest.raises(SettingsError, match="EAGERLY_CACHE_MODE='of' is not a mode"):
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
