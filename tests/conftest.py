"""Our tests use the pytest plugin that ships: by its entry point where that is installed, else by this file.

The clusters that some of them need are started once, when the first of these tests runs. They run after all others,
which would otherwise share the machine with a dozen processes.
"""

import gc
import itertools
import signal
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

import eagerly_pytest
from eagerly.cache._client import _by_place

# The same examples in every run, and no limits of time, which a busy machine breaks.
hypothesis.settings.register_profile("eagerly", derandomize=True, deadline=None)
hypothesis.settings.load_profile("eagerly")

_files = itertools.count(1)

CLUSTERS = ("dask_client", "ray_cluster")

FIXTURES = {
    "inline": "",
    "thread": "thread_backend",
    "process": "process_backend",
    "thread_pool": "thread_pool",
    "process_pool": "process_pool",
    "loky": "loky_pool",
    "dask": "dask_client",
    "ray": "ray_cluster",
}
"""The engines that maps are tested on, and what starts each."""


def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.is_registered(eagerly_pytest):
        config.pluginmanager.register(eagerly_pytest)
    # What a shell starts in the background ignores Ctrl-C, and so would the processes in which tests send it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def needs(item: pytest.Item) -> int:
        names = {*getattr(item, "fixturenames", ())}
        if "engine" in names:
            names.add(FIXTURES.get(item.callspec.params["engine"], ""))  # type: ignore[attr-defined]  # a function
        return max((1 + CLUSTERS.index(name) for name in names if name in CLUSTERS), default=0)

    items.sort(key=needs)  # else the order stays as it is


@pytest.fixture(autouse=True, scope="module")
def _leave_little_behind() -> Iterator[None]:
    """A process keeps the caches that it has opened by their paths, and here that would be thousands of open files.

    What else has been imported and left so far stays: the many tests that collect garbage need not look through it.
    Now and then it is looked through, as some of it has become garbage, and may hold files.
    """
    if next(_files) % 10 == 0:
        gc.unfreeze()
    gc.collect()
    gc.freeze()
    yield
    for client in _by_place.values():
        client.store.close()
    _by_place.clear()


@pytest.fixture(scope="session")
def dask_client() -> Iterator[Any]:
    """The client of a Dask cluster on this machine, with two worker processes."""
    distributed = pytest.importorskip("distributed", reason="the extra eagerly[dask] is not installed")
    with (
        # A worker that dies again so much later is closed while it restarts, with what was just sent to it.
        pytest.importorskip("dask").config.set({"distributed.deploy.lost-worker-timeout": "1h"}),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs=50,
            scheduler_kwargs={"allowed_failures": 0, "dashboard_address": "127.0.0.1:0"},
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(2)
        yield client


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """The module `ray`, initialised with a cluster of two CPUs on this machine."""
    ray = pytest.importorskip("ray", reason="the extra eagerly[ray] is not installed")
    from eagerly.backends import RayBackend

    backend = RayBackend(workers=2)
    backend.open()
    yield ray
    backend.close()
    assert not ray.is_initialized()


@pytest.fixture(params=FIXTURES)
def engine(request: pytest.FixtureRequest) -> Any:
    """What ``backend=`` takes, for every engine in turn."""
    name = request.param
    return request.getfixturevalue(FIXTURES[name]) if name not in ("inline", "ray") else _named(request, name)


def _named(request: pytest.FixtureRequest, name: str) -> str:
    if FIXTURES[name]:
        request.getfixturevalue(FIXTURES[name])
    return name


@pytest.fixture(scope="session")
def thread_backend() -> Iterator[Any]:
    """Three threads of ours."""
    from eagerly.backends import ThreadBackend

    with ThreadBackend(workers=3) as backend:
        yield backend


@pytest.fixture(scope="session")
def thread_pool() -> Iterator[Any]:
    """An executor of three threads."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(3) as executor:
        yield executor


@pytest.fixture(scope="session")
def process_backend() -> Iterator[Any]:
    """Two worker processes of ours, which all tests share that do not mind."""
    from eagerly.backends import ProcessBackend

    backend = ProcessBackend(workers=2)
    yield backend
    backend.close()


@pytest.fixture(scope="session")
def process_pool() -> Iterator[Any]:
    """A backend over a pool of two processes that are spawned."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    from eagerly.backends import ExecutorBackend

    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        backend = ExecutorBackend(executor)
        yield backend
        backend.close()


@pytest.fixture(scope="session")
def loky_pool() -> Iterator[Any]:
    """A backend over a pool of two processes that loky starts."""
    loky = pytest.importorskip("loky")
    from eagerly.backends import ExecutorBackend

    executor = loky.get_reusable_executor(max_workers=2, timeout=300)
    backend = ExecutorBackend(executor)
    yield backend
    backend.close()
    executor.shutdown(wait=True, kill_workers=True)
