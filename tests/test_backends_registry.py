"""Which backend is meant: names, what people register, what installed distributions bring, executors and clients."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from eagerly.backends import (
    Backend,
    Capabilities,
    DaskBackend,
    ExecutorBackend,
    RayBackend,
    _registry,
    register_backend,
    unregister_backend,
)
from eagerly.backends._registry import MEMBERS, backend_names, check_backend_name, resolve_backend
from eagerly.errors import BackendError, OptionTypeError, OptionValueError

OURS = ["dask", "inline", "process", "ray", "thread"]


class Nowhere:
    """A backend that does nothing, as far as anybody asks here."""

    @property
    def capabilities(self) -> Capabilities:
        raise AssertionError("this is not there before the backend is open")

    def open(self) -> None: ...
    def submit(self, work: Any) -> None: ...
    def cancel(self, work: Any, *, force: bool) -> bool:
        return False

    def recover(self) -> None: ...
    def share(self, parts: Any) -> Any: ...
    def unshare(self, handle: Any) -> None: ...
    def close(self) -> None: ...


@pytest.fixture
def nowhere() -> Iterator[str]:
    register_backend("nowhere", Nowhere)
    yield "nowhere"
    unregister_backend("nowhere")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """As if a distribution declared these entry points: name and value."""
    found = [importlib.metadata.EntryPoint(name, value, "eagerly.backends") for name, value in request.param]
    monkeypatch.setattr(_registry, "_installed", {each.name: each for each in found})


# Names


@pytest.mark.parametrize(("name", "kind"), [("dask", DaskBackend), ("ray", RayBackend)])
def test_a_name_makes_a_new_backend_each_time(name: str, kind: type) -> None:
    first, second = resolve_backend(name), resolve_backend(name)
    assert type(first) is type(second) is kind
    assert first is not second


@pytest.mark.parametrize(
    "name",
    [
        *["inline", "sequential", "synchronous", "thread", "threads", "threading"],
        *["process", "processes", "multiprocessing", "dask", "ray"],
    ],
)
def test_the_names_that_there_are(name: str) -> None:
    check_backend_name("task(backend=...)", name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "proces",
            r"there is no backend 'proces'; did you mean 'process'\? there are dask, inline, process, ray, thread",
        ),
        ("Thread", r"did you mean 'thread'\?"),
        ("multi-processing", r"did you mean 'multiprocessing'\?"),
        ("zzz", r"there is no backend 'zzz'; there are dask, inline, process, ray, thread$"),
        ("", r"there is no backend ''; there are "),
        ("loky", r"there is no backend 'loky'; give the executor: backend=loky.get_reusable_executor\(\); there are "),
        ("asyncio", r"async tasks are mapped by gather_tasks\(\)"),
    ],
)
def test_an_unknown_name_is_told_what_there_is(name: str, said: str) -> None:
    with pytest.raises(BackendError, match=said):
        resolve_backend(name)
    with pytest.raises(BackendError, match=said):
        check_backend_name("session(backend=...)", name)


# What people register


def test_a_registered_backend_has_its_name(nowhere: str) -> None:
    check_backend_name("task(backend=...)", nowhere)
    assert isinstance(resolve_backend(nowhere), Nowhere)
    assert backend_names() == sorted([*OURS, nowhere])


def test_a_function_may_make_it(nowhere: str) -> None:
    made = Nowhere()
    register_backend("mine", lambda: made)
    try:
        assert resolve_backend("mine") is made
    finally:
        unregister_backend("mine")
    with pytest.raises(BackendError, match="there is no backend 'mine'"):
        resolve_backend("mine")


def test_a_name_is_registered_once(nowhere: str) -> None:
    with pytest.raises(BackendError, match=r"'nowhere' is registered already .*unregister_backend\('nowhere'\) first"):
        register_backend(nowhere, Nowhere)


@pytest.mark.parametrize("name", [*OURS, "threads", "sequential"])
def test_our_names_are_not_to_be_had(name: str) -> None:
    with pytest.raises(BackendError, match=f"the name '{name}' is taken by a backend of eagerly"):
        register_backend(name, Nowhere)
    with pytest.raises(BackendError, match=f"no backend '{name}' was registered"):
        unregister_backend(name)


@pytest.mark.parametrize(
    ("name", "factory", "error", "said"),
    [
        (3, Nowhere, OptionTypeError, "takes a string, not 3"),
        ("", Nowhere, OptionValueError, "is not empty and has no white space; '' will not do"),
        ("two words", Nowhere, OptionValueError, "'two words' will not do"),
        ("mine", 3, OptionTypeError, "takes a function or class that makes the backend, not 3$"),
        ("mine", Nowhere(), OptionTypeError, r"write register_backend\('mine', lambda: backend\)"),
    ],
)
def test_what_cannot_be_registered(name: Any, factory: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        register_backend(name, factory)
    assert backend_names() == OURS


def test_a_factory_that_makes_no_backend_is_named() -> None:
    class Half:
        def open(self) -> None: ...
        def submit(self, work: Any) -> None: ...

    register_backend("half", Half)
    try:
        with pytest.raises(
            BackendError, match=r"register_backend\('half', .*lacks capabilities, cancel, recover, share"
        ):
            resolve_backend("half")
    finally:
        unregister_backend("half")


# What installed distributions bring


@pytest.mark.parametrize("installed", [[("slurm", f"{__name__}:Nowhere"), ("thread", "nobody:Nothing")]], indirect=True)
@pytest.mark.usefixtures("installed")
def test_an_installed_backend_has_its_name_unless_it_is_ours() -> None:
    check_backend_name("task(backend=...)", "slurm")
    assert type(resolve_backend("slurm")).__name__ == "Nowhere"
    check_backend_name("task(backend=...)", "thread")
    assert backend_names() == sorted([*OURS, "slurm"])


@pytest.mark.parametrize("installed", [[("slurm", "nobody_has_this:Backend")]], indirect=True)
@pytest.mark.usefixtures("installed")
def test_an_installed_backend_that_cannot_be_loaded_is_named() -> None:
    check_backend_name("task(backend=...)", "slurm")
    said = r"the installed backend \[slurm = nobody_has_this:Backend\] cannot be loaded: ModuleNotFoundError"
    with pytest.raises(BackendError, match=said):
        resolve_backend("slurm")


@pytest.mark.parametrize("installed", [[("slurm", "nobody_has_this:Backend")]], indirect=True)
@pytest.mark.usefixtures("installed")
def test_what_is_registered_by_hand_goes_before_what_is_installed() -> None:
    register_backend("slurm", Nowhere)
    try:
        assert isinstance(resolve_backend("slurm"), Nowhere)
    finally:
        unregister_backend("slurm")


# Objects


def test_a_backend_is_itself() -> None:
    backend = Nowhere()
    check_backend_name("task(backend=...)", backend)
    assert resolve_backend(backend) is backend


def test_an_executor_gets_a_backend() -> None:
    with ThreadPoolExecutor(1) as executor:
        check_backend_name("task(backend=...)", executor)
        backend = resolve_backend(executor)
        assert isinstance(backend, ExecutorBackend)
        assert backend._executor is executor


def test_a_dask_client_gets_a_backend(dask_client: Any) -> None:
    check_backend_name("task(backend=...)", dask_client)
    backend = resolve_backend(dask_client)
    assert isinstance(backend, DaskBackend)
    assert backend._given is dask_client


def test_a_dask_cluster_is_told_to_bring_its_client(dask_client: Any) -> None:
    with pytest.raises(OptionTypeError, match=r"write Client\(cluster\) from distributed, and give that"):
        resolve_backend(dask_client.cluster)


class HalfABackend:
    def submit(self, work: Any) -> None: ...


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "takes the name of a backend, a backend, an executor or a Dask client, not None"),
        (4, "not 4"),
        (ThreadPoolExecutor, r"not a class; write ThreadPoolExecutor\(...\) with parentheses"),
        (Nowhere, r"not a class; write Nowhere\(...\) with parentheses"),
        (HalfABackend(), "which lacks capabilities, open, cancel, recover, share, unshare, close"),
    ],
)
def test_what_is_no_backend(value: Any, said: str) -> None:
    with pytest.raises(OptionTypeError, match=said):
        resolve_backend(value)
    with pytest.raises(OptionTypeError, match=r"^task\(backend=...\) takes"):
        check_backend_name("task(backend=...)", value)


def test_the_members_are_those_of_the_protocol() -> None:
    assert {name for name in vars(Backend) if not name.startswith("_")} == set(MEMBERS)


# What is loaded


def test_checking_a_name_loads_nothing() -> None:
    script = """
import sys
import eagerly.backends
from eagerly.backends._registry import check_backend_name
before = set(sys.modules)
for name in ("inline", "threads", "process", "dask", "ray"):
    check_backend_name("task(backend=...)", name)
try:
    check_backend_name("task(backend=...)", 3)
except TypeError:
    pass
print(sorted(set(sys.modules) - before))
for name in ("concurrent.futures", "asyncio", "multiprocessing", "distributed", "ray", "importlib.metadata", "logging"):
    assert name not in sys.modules, name
from eagerly.backends import DaskBackend, RayBackend
DaskBackend(), RayBackend()
assert "distributed" not in sys.modules and "ray" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize(("module", "name", "kind"), [("distributed", "dask", "Dask"), ("ray", "ray", "Ray")])
def test_a_missing_library_is_named_with_the_command_that_installs_it(module: str, name: str, kind: str) -> None:
    script = f"""
import sys
sys.modules[{module!r}] = None
from eagerly.backends._registry import resolve_backend
from eagerly.errors import MissingExtraError
try:
    resolve_backend({name!r}).open()
except MissingExtraError as error:
    print(error.name, "|", error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    said = f"the {kind} backend needs {module}, which is not installed; run: pip install 'eagerly[{name}]'"
    assert (done.stdout, done.stderr) == (f"{module} | {said}\n", "")
