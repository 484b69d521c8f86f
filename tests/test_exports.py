"""The public surface is a literal list. A name that appears or disappears is a decision, and it is taken here."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
import types

import pytest

from eagerly.hooks import EagerlySpec

SURFACE: dict[str, list[str]] = {
    "eagerly": [
        "INJECTED",
        "AsyncTask",
        "AsyncTaskStream",
        "AsyncWorkflow",
        "CacheStore",
        "Clock",
        "Command",
        "ContextExecutor",
        "DatasetStore",
        "Retry",
        "Run",
        "RunStatus",
        "SessionContext",
        "Settings",
        "SyncTask",
        "SyncTaskStream",
        "SyncWorkflow",
        "Task",
        "TaskContext",
        "TaskMetadata",
        "Workflow",
        "abandoned_bodies",
        "aiter_tasks",
        "async_session",
        "current_session",
        "current_task",
        "gather_tasks",
        "hook_impl",
        "iter_tasks",
        "load_dataset",
        "map_tasks",
        "register_plugins",
        "registry",
        "runs",
        "save_dataset",
        "session",
        "share",
        "task",
        "workflow",
    ],
    "eagerly.backends": [
        "Backend",
        "Capabilities",
        "Crash",
        "DaskBackend",
        "ExecutorBackend",
        "FreesWorker",
        "InlineBackend",
        "Line",
        "Message",
        "ProcessBackend",
        "RayBackend",
        "ThreadBackend",
        "Work",
        "register_backend",
        "unregister_backend",
    ],
    "eagerly.cache": [
        "CacheStats",
        "CacheStore",
        "Difference",
        "DiskStore",
        "Explanation",
        "KeyLock",
        "ListsEntries",
        "LocksKeys",
        "MemoryStore",
        "RedisStore",
        "RemoteStore",
        "StoredEntry",
        "open_store",
        "register_key",
    ],
    "eagerly.contracts": ["BackendContract", "CacheStoreContract", "RunStoreContract"],
    "eagerly.datasets": ["Dataset", "DatasetStore", "Lineage", "Problem", "StreamWriter"],
    "eagerly.datasets.formats": [
        "Format",
        "ItemWriter",
        "format_for",
        "formats",
        "register_format",
        "type_name",
        "unregister_format",
    ],
    "eagerly.errors": [
        "AmbiguousName",
        "BackendError",
        "CacheError",
        "CacheRecursionError",
        "CommandError",
        "CommandFailed",
        "CorruptEntryError",
        "DatasetError",
        "DatasetFormatError",
        "DatasetKeyError",
        "DatasetNotFoundError",
        "EagerlyError",
        "EagerlyWarning",
        "InvalidCursor",
        "InvalidTransition",
        "MissingExtraError",
        "OptionTypeError",
        "OptionValueError",
        "OutputCorrupt",
        "OutputMissing",
        "OutputNotSerializable",
        "PluginError",
        "RemoteError",
        "RunCancelled",
        "RunFailed",
        "RunLost",
        "RunNotFound",
        "RunTimeout",
        "RunsError",
        "SessionError",
        "SettingsError",
        "StopRequested",
        "TaskError",
        "TaskNotFound",
        "TaskTimeoutError",
        "UnkeyableArgument",
        "UntrustedEntryError",
        "WorkerCrashed",
        "WorkflowNotFoundError",
    ],
    "eagerly.hooks": ["EagerlySpec", "hook_impl", "register_plugins", "unregister_plugins"],
    "eagerly.registry": ["Command", "CommandTask", "Definition", "get", "list", "register"],
    "eagerly.runs": [
        "UNSET",
        "Change",
        "MemoryRunStore",
        "Moved",
        "Payload",
        "PostgresRunStore",
        "Query",
        "Run",
        "RunError",
        "RunPage",
        "RunRecord",
        "RunStatus",
        "RunStore",
        "RunTwins",
        "SqliteRunStore",
        "aio",
        "cancel",
        "changed",
        "create",
        "get",
        "iter",
        "list",
        "open_run_store",
        "output",
        "prune",
        "stop",
        "update",
        "wait",
    ],
    "eagerly.runs.aio": ["cancel", "create", "get", "iter", "list", "output", "prune", "stop", "update", "wait"],
    "eagerly.plugins": ["CallTree", "LoggingPlugin", "ProgressPlugin"],
    "eagerly.testing": ["HookEvent", "InstantClock", "RecordingHooks", "instant_clock"],
    "eagerly.typing": ["AsyncSleep", "Now", "ProgressLine", "Reporter", "ShowsMaps", "Sleep"],
}

BUILTIN_BASE = {
    "BackendError": RuntimeError,
    "CacheError": RuntimeError,
    "CacheRecursionError": RecursionError,
    "CommandError": OSError,
    "CorruptEntryError": RuntimeError,
    "DatasetError": RuntimeError,
    "DatasetFormatError": TypeError,
    "DatasetKeyError": ValueError,
    "DatasetNotFoundError": FileNotFoundError,
    "MissingExtraError": ImportError,
    "OptionTypeError": TypeError,
    "OptionValueError": ValueError,
    "PluginError": TypeError,
    "RemoteError": RuntimeError,
    "RunsError": RuntimeError,
    "SessionError": RuntimeError,
    "SettingsError": ValueError,
    "TaskError": RuntimeError,
    "TaskTimeoutError": TimeoutError,
    "UntrustedEntryError": RuntimeError,
    "WorkflowNotFoundError": LookupError,
}

EVERY_NAME = [(module, name) for module, names in SURFACE.items() for name in names]


@pytest.mark.parametrize("module", SURFACE)
def test_the_surface_is_this_list(module: str) -> None:
    assert importlib.import_module(module).__all__ == SURFACE[module]


@pytest.mark.parametrize("module", SURFACE)
def test_the_list_is_sorted(module: str) -> None:
    """Constants, then classes, then functions."""
    assert SURFACE[module] == sorted(SURFACE[module], key=lambda name: (not name.isupper(), name))


@pytest.mark.parametrize("module", SURFACE)
def test_nothing_public_is_left_out(module: str) -> None:
    """Every name without an underscore is in the list, unless a module imports it for its own use."""
    found = importlib.import_module(module)
    is_package = hasattr(found, "__path__")  # which imports for others to use
    public = {
        name
        for name, value in vars(found).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
        if (home := getattr(value, "__module__", None)) == module
        or (is_package and isinstance(home, str) and home.startswith("eagerly."))
    }
    assert public - set(SURFACE[module]) == set()


@pytest.mark.parametrize(("module", "name"), EVERY_NAME)
def test_every_public_name_is_documented(module: str, name: str) -> None:
    value = getattr(importlib.import_module(module), name)
    documentation = value.__doc__ if inspect.isclass(value) else inspect.getdoc(value)
    assert documentation
    assert documentation.strip()


@pytest.mark.parametrize(("module", "name"), EVERY_NAME)
def test_every_public_method_and_attribute_is_documented(module: str, name: str) -> None:
    value = getattr(importlib.import_module(module), name)
    if not inspect.isclass(value):
        return
    listed = inspect.getdoc(value) or ""
    undocumented = [
        member
        for cls in value.__mro__
        if cls.__module__.partition(".")[0] == "eagerly"
        for member, what in vars(cls).items()
        if not member.startswith("_")
        and not hasattr(EagerlySpec, member)  # where the hook that it implements is documented
        and (inspect.isfunction(what) or isinstance(what, property))
        and not inspect.getdoc(what)
        and f"{member}:" not in (inspect.getdoc(cls) or "")
        and f"{member}:" not in listed
    ]
    assert undocumented == []


@pytest.mark.parametrize("name", [name for name in SURFACE["eagerly.errors"] if name.endswith("Error")])
def test_every_error_is_an_eagerly_error_and_the_fitting_builtin(name: str) -> None:
    errors = importlib.import_module("eagerly.errors")
    assert issubclass(getattr(errors, name), errors.EagerlyError)
    assert issubclass(getattr(errors, name), BUILTIN_BASE.get(name, Exception))


def test_every_error_but_the_base_names_its_builtin() -> None:
    own = {name for name in SURFACE["eagerly.errors"] if name.endswith("Error")}
    assert own - {"EagerlyError"} == set(BUILTIN_BASE)


@pytest.mark.parametrize("name", ["session", "task", "workflow"])
def test_the_function_is_what_the_name_gives_whoever_imports_it(name: str) -> None:
    """A submodule of that name would take the function's place once something had imported it."""
    importable = subprocess.run(
        [sys.executable, "-c", f"import eagerly.{name}"], capture_output=True, text=True, check=False
    )
    assert "ModuleNotFoundError" in importable.stderr


def test_the_version_is_a_release_number() -> None:
    import eagerly

    assert [part.isdecimal() for part in eagerly.__version__.split(".")] == [True, True, True]
