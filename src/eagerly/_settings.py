"""Settings: one frozen dataclass, five places a value can come from, one function that decides between them.

To add a setting, add a field to `Settings`; environment, pyproject.toml, checks and ``eagerly config`` follow from it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple, Self

from eagerly._cache_options import MODES, CacheMode
from eagerly._options import nearest, refuse_unknown
from eagerly._sentinel import UNSET
from eagerly.errors import SettingsError

__all__ = ["OF_RUNS", "SECRETS", "Settings", "mode_outside", "resolve_settings"]

PREFIX: Final = "EAGERLY_"
OF_RUNS: Final = ("EAGERLY_RUN_ID", "EAGERLY_RUN_INPUT")
"""What a process is told that was started for a run. No settings: the run store is one, these are about one run."""

TABLE: Final = "tool.eagerly"


class _Sort(NamedTuple):
    """What values a setting takes.

    Attributes:
        noun: What a value is to be.
        python: What to write in Python,
        environment: in an environment variable,
        toml: and in pyproject.toml.
        accepts: Whether a value from Python or from pyproject.toml will do.
        parse: From the text of an environment variable; None if that will not do.
    """

    noun: str
    python: str
    environment: str
    toml: str
    accepts: Callable[[object], bool]
    parse: Callable[[str], Any]


_WORDS: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}
MIN_SECRET: Final = 16
"""Characters of the shortest secret that is worth the name."""


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_text_or_none(value: object) -> bool:
    return value is None or _is_text(value)


def _is_mode(value: object) -> bool:
    return value in MODES


def _is_secret(value: object) -> bool:
    return value is None or (isinstance(value, str) and len(value) >= MIN_SECRET)


def _read_flag(text: str) -> bool | None:
    return _WORDS.get(text.strip().lower())


def _read_text(text: str) -> str | None:
    return text.strip() or None


def _read_mode(text: str) -> str | None:
    mode = text.strip().lower()
    return mode if mode in MODES else None


def _read_secret(text: str) -> str | None:
    return text if _is_secret(text) else None


_FLAG: Final = _Sort("a truth value", "True or False", "1 or 0", "true or false", _is_flag, _read_flag)
_NAME: Final = _Sort("a name", "a string", "one", 'a "string"', _is_text, _read_text)
_PLACE: Final = _Sort("a path or a URL", "a path or a URL", "one", '"a/path" or "a://url"', _is_text, _read_text)
_PLACE_OR_NONE: Final = _PLACE._replace(python="a path, a URL or None", accepts=_is_text_or_none)
_MODE: Final = _Sort(
    "a mode", " or ".join(map(repr, MODES)), " or ".join(MODES), " or ".join(map(repr, MODES)), _is_mode, _read_mode
)
_SECRET: Final = _Sort(
    f"a secret of {MIN_SECRET} characters or more",
    f"a string of {MIN_SECRET} characters or more",
    "a longer one",
    "nothing",
    _is_secret,
    _read_secret,
)


def _setting(default: Any, sort: _Sort = _FLAG) -> Any:
    """A field that knows whether it was given; `default` is what holds where nothing else does."""
    return field(default=UNSET, metadata={"default": default, "sort": sort}, repr=sort is not _SECRET)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a session may be told once instead of at every task.

    Precedence, from strong to weak: an argument of the task; ``session(settings=...)``; the enclosing session; the
    environment (``EAGERLY_WRAP_ERRORS=1``); ``[tool.eagerly]`` in the nearest pyproject.toml; the default.
    Only the fields that are given take part, so ``Settings(strict_hooks=True)`` says nothing about the others
    (`dataclasses.replace` gives all of them).

    Args:
        wrap_errors: Raise `eagerly.errors.TaskError` from the user's exception instead of the exception itself.
            Default: False.
        strict_hooks: Raise what a hook raises instead of logging it; for tests. Default: False.
        discover_plugins: Load the plugins that installed distributions declare in the entry-point group
            ``eagerly.plugins``. Default: True.
        cache_store: Path or URL of the cache. In pyproject.toml, a relative path starts at that file's folder,
            elsewhere at the working directory. Default: ``.eagerly/cache``.
        cache_mode: ``"on"``; ``"off"``: tasks run as if they were not cached; ``"read"``: nothing is stored;
            ``"refresh"``: nothing is looked up, results are stored anew. Default: ``"on"``.
        cache_signing_key: Signs what goes into caches on other machines, which are not believed without. A secret of 16
            characters or more; not from pyproject.toml. Default: none.
        backend: The name of the backend that `map_tasks` uses. Default: ``"inline"``.
        dataset_store: Path or URL of the folder that datasets are saved in. Default: the working directory.
        run_store: Path of the SQLite file, or ``postgresql://`` URL, in which runs are recorded. None: they are in the
            memory of each process. Default: none.

    Raises:
        SettingsError: A value has the wrong type.

    Example:
        >>> Settings(strict_hooks=True).strict_hooks
        True
    """

    wrap_errors: bool = _setting(False)
    strict_hooks: bool = _setting(False)
    discover_plugins: bool = _setting(True)
    cache_store: str = _setting(".eagerly/cache", _PLACE)
    cache_mode: CacheMode = _setting("on", _MODE)
    cache_signing_key: str | None = _setting(None, _SECRET)
    dataset_store: str = _setting(".", _PLACE)
    backend: str = _setting("inline", _NAME)
    run_store: str | None = _setting(None, _PLACE_OR_NONE)

    def __new__(cls, **options: object) -> Self:
        refuse_unknown("Settings", options.keys() - NAMES, NAMES)
        return object.__new__(cls)

    def __post_init__(self) -> None:
        told: dict[str, Any] = vars(self)
        given = {name: _plain(value) for name, value in told.items() if value is not UNSET}
        for name, value in given.items():
            if not SORTS[name].accepts(value):
                raise SettingsError(f"Settings({name}=...) takes {SORTS[name].python}, not {_shown(name, value)}")
        vars(self).update({**DEFAULTS, **given}, _given=frozenset(given))

    @property
    def given(self) -> dict[str, Any]:
        """The fields that were passed, without the defaults."""
        return {name: getattr(self, name) for name in vars(self)["_given"]}


DEFAULTS: Final[dict[str, Any]] = {each.name: each.metadata["default"] for each in fields(Settings)}
NAMES: Final = tuple(DEFAULTS)
SORTS: Final[dict[str, _Sort]] = {each.name: each.metadata["sort"] for each in fields(Settings)}
SECRETS: Final = tuple(name for name, sort in SORTS.items() if sort is _SECRET)
"""The settings whose values are never shown."""


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        path: os.PathLike[Any] = value  # pyright: ignore[reportUnknownVariableType]  # of str or bytes
        return os.fspath(path)
    return value


def _shown(name: str, value: object) -> str:
    return f"this one ({type(value).__name__})" if name in SECRETS else repr(value)


def resolve_settings(
    argument: Settings | None = None, enclosing: Mapping[str, Any] | None = None
) -> tuple[Settings, dict[str, str]]:
    """The settings that hold, and for each where it came from.

    Args:
        argument: What ``session(settings=...)`` was given.
        enclosing: The fields that the enclosing sessions were given by argument.

    Raises:
        SettingsError: The environment or pyproject.toml has an unknown name or a bad value.
    """
    values, sources = dict(DEFAULTS), dict.fromkeys(DEFAULTS, "default")

    def take(found: Mapping[str, Any], source: Callable[[str], str]) -> None:
        values.update(found)
        sources.update({name: source(name) for name in found})

    path = _nearest_pyproject()
    if path is not None:
        take(_from_pyproject(path), lambda _: f"{path} [{TABLE}]")
    take(_from_environment(os.environ), lambda name: f"environment variable {PREFIX}{name.upper()}")
    take(enclosing or {}, lambda _: "enclosing session")
    if argument is not None:
        take(argument.given, lambda _: "session(settings=...)")
    return Settings(**values), sources


def mode_outside() -> CacheMode:
    """How tasks with a store of their own use it where no session is open: only the environment is asked, at each call.

    Raises:
        SettingsError: The variable has a bad value.
    """
    if f"{PREFIX}CACHE_MODE" not in os.environ:
        return DEFAULTS["cache_mode"]  # type: ignore[no-any-return]  # a mode
    return _from_environment({f"{PREFIX}CACHE_MODE": os.environ[f"{PREFIX}CACHE_MODE"]})["cache_mode"]  # type: ignore[no-any-return]  # a mode


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for variable in environment:
        if not variable.startswith(PREFIX) or variable in OF_RUNS:
            continue
        name = variable[len(PREFIX) :].lower()
        if name not in NAMES:
            raise SettingsError(f"environment variable {variable}: {_unknown(name, lambda n: PREFIX + n.upper())}")
        value = SORTS[name].parse(environment[variable])
        if value is None:
            raise SettingsError(
                f"environment variable {variable}={_shown(name, environment[variable])} is not {SORTS[name].noun}; "
                f"write {SORTS[name].environment}"
            )
        found[name] = value
    return found


_parsed: dict[tuple[str, int, int], dict[str, Any]] = {}


def _from_pyproject(path: str) -> dict[str, Any]:
    try:
        stat = os.stat(path)
    except OSError:
        return {}
    version = (path, stat.st_mtime_ns, stat.st_size)
    if version not in _parsed:
        found = _read_pyproject(path)
        _parsed.clear()
        _parsed[version] = found
    return _parsed[version]


def _read_pyproject(path: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            tool: dict[str, Any] = tomllib.load(file).get("tool", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    if not isinstance(tool, dict):
        raise SettingsError(f"{path}: tool must be a table, not {tool!r}")
    table: dict[str, Any] = tool.get("eagerly", {})
    if not isinstance(table, dict):
        raise SettingsError(f"{path}: tool.eagerly must be a table, not {table!r}")
    for name, value in table.items():
        if name not in NAMES:
            raise SettingsError(f"{path} [{TABLE}]: {_unknown(name, str)}")
        if name in SECRETS:
            raise SettingsError(f"{path} [{TABLE}]: {name} is a secret; set {PREFIX}{name.upper()} in the environment")
        if not SORTS[name].accepts(value):
            sort = SORTS[name]
            raise SettingsError(f"{path} [{TABLE}]: {name} = {value!r} is not {sort.noun}; write {sort.toml}")
    folder = os.path.dirname(path)
    return {
        name: _from_folder(folder, value) if SORTS[name] in (_PLACE, _PLACE_OR_NONE) else value
        for name, value in table.items()
    }


def _from_folder(folder: str, place: str) -> str:
    """A place that pyproject.toml names, so that it is the same whatever the working directory."""
    return place if "://" in place else os.path.join(folder, os.path.expanduser(place))


def _unknown(name: str, spelling: Callable[[str], str]) -> str:
    near = nearest(name, NAMES)
    hint = f"did you mean {spelling(near)}?" if near else f"there are {', '.join(map(spelling, NAMES))}"
    return f"there is no setting {name!r}; {hint}"


def _nearest_pyproject() -> str | None:
    # With os.path, as importing pathlib would take a tenth of the time that importing this library may take.
    try:
        folder = os.getcwd()
    except FileNotFoundError:  # the working directory has been deleted
        return None
    while True:
        path = os.path.join(folder, "pyproject.toml")
        if os.path.isfile(path):
            return path
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent
