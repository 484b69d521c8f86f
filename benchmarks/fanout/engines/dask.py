"""Dask: a cluster of two processes, used by us and directly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.fanout.engines import Ways
from benchmarks.fanout.rows import OURS, WORKERS
from benchmarks.fanout.work import double, nap
from eagerly import map_tasks, session, task

NEEDS = "distributed"
DISTRIBUTIONS = ("dask", "distributed")


@contextmanager
def ways() -> Iterator[Ways]:
    from distributed import Client, LocalCluster

    trivial, napping = task(double), task(nap)
    with (
        LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, protocol="tcp"
        ) as cluster,
        Client(cluster) as client,
        session(),
    ):

        def directly(function: Callable[[int], int]) -> Callable[[int], object]:
            # pure=False: else a result that is still there would be given again.
            return lambda count: client.gather(client.map(function, range(count), pure=False))

        yield {
            ("dask", OURS): lambda count: map_tasks(trivial, range(count), backend=client),
            ("dask", "client.map"): directly(double),
            ("dask-nap", OURS): lambda count: map_tasks(napping, range(count), backend=client),
            ("dask-nap", "client.map"): directly(nap),
        }
