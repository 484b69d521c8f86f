"""Processes: ours, those of `concurrent.futures` and, through joblib, those of loky."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from typing import Any

from benchmarks.fanout.engines import Ways, installed
from benchmarks.fanout.rows import OURS, WITHOUT_LISTENER, WORKERS
from benchmarks.fanout.work import double, meet, nap
from eagerly import hook_impl, map_tasks, session, task
from eagerly.backends import ProcessBackend

NEEDS = None
DISTRIBUTIONS = ("joblib",)

LARGE_CHUNK = 1000


class Both:
    """Listens to two hooks and does nothing."""

    @hook_impl
    def before_node_execute(self, metadata: Any) -> None:
        pass

    @hook_impl
    def after_node_execute(self, metadata: Any) -> None:
        pass


@contextmanager
def ways() -> Iterator[Ways]:
    with ProcessPoolExecutor(WORKERS) as pool:
        list(pool.map(double, range(2 * WORKERS)))  # it forks, so it does that before there are threads
        backend = ProcessBackend(WORKERS)
        try:
            with session():
                yield _pool_of_the_standard_library(pool) | _ours(backend) | _joblib() | _starts()
        finally:
            backend.close()


def _ours(backend: ProcessBackend) -> Ways:
    trivial, napping = task(double), task(nap)

    def listening(count: int) -> object:
        with session(plugins=[Both()]):
            return map_tasks(trivial, range(count), backend=backend)

    def mapping(count: int) -> object:
        return map_tasks(trivial, range(count), backend=backend)

    return {
        **{(row, OURS): mapping for row in ("process", "process-many")},
        ("process-nap", OURS): lambda count: map_tasks(napping, range(count), backend=backend),
        ("hooks", OURS): listening,
        ("hooks", WITHOUT_LISTENER): mapping,
    }


def _pool_of_the_standard_library(pool: Executor) -> Ways:
    def mapping(function: Callable[[int], int], chunk: int) -> Callable[[int], object]:
        return lambda count: list(pool.map(function, range(count), chunksize=chunk))

    name = "ProcessPoolExecutor.map"
    return {
        ("process", name): mapping(double, 1),
        ("process", f"{name}, chunksize=100"): mapping(double, 100),
        ("process-many", name): mapping(double, 1),
        ("process-many", f"{name}, chunksize={LARGE_CHUNK}"): mapping(double, LARGE_CHUNK),
        ("process-nap", name): mapping(nap, 1),
    }


def _joblib() -> Ways:
    if not installed("joblib"):
        return {}
    from joblib import Parallel, delayed

    def mapping(function: Callable[[int], int]) -> Callable[[int], object]:
        return lambda count: Parallel(n_jobs=WORKERS)(delayed(function)(number) for number in range(count))

    name = "joblib.Parallel"
    return {
        ("process", name): mapping(double),
        ("process-many", name): mapping(double),
        ("process-nap", name): mapping(nap),
    }


def _starts() -> Ways:
    """Two workers that did not exist before, each with an item."""

    def ours(_: int) -> object:
        backend = ProcessBackend(WORKERS)
        try:
            with tempfile.TemporaryDirectory() as folder:
                return map_tasks(meet, repeat(folder), range(WORKERS), repeat(WORKERS), backend=backend, chunk=1)
        finally:
            backend.close()

    def theirs(method: str) -> Callable[[int], object]:
        def start(_: int) -> object:
            context = multiprocessing.get_context(method)
            with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(WORKERS, mp_context=context) as pool:
                return list(pool.map(meet, repeat(folder), range(WORKERS), repeat(WORKERS)))

        return start

    return {
        ("start", OURS): ours,
        **{
            ("start", f"ProcessPoolExecutor, {method}"): theirs(method)
            for method in ("spawn", "forkserver")
            if method in multiprocessing.get_all_start_methods()
        },
    }
