"""Ray: a cluster of two workers on this machine, used by us and directly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.fanout.engines import Ways
from benchmarks.fanout.rows import OURS, WORKERS
from benchmarks.fanout.work import double, nap
from eagerly import map_tasks, session, task
from eagerly.backends import RayBackend

NEEDS = "ray"
DISTRIBUTIONS = ("ray",)


@contextmanager
def ways() -> Iterator[Ways]:
    import ray

    backend = RayBackend(WORKERS)  # it starts Ray where nobody outside of this machine can reach it
    backend.open()
    trivial, napping = task(double), task(nap)

    def directly(function: Callable[[int], int]) -> Callable[[int], object]:
        remote = ray.remote(function)
        return lambda count: ray.get([remote.remote(number) for number in range(count)])

    try:
        with session():
            yield {
                ("ray", OURS): lambda count: map_tasks(trivial, range(count), backend=backend),
                ("ray", "f.remote"): directly(double),
                ("ray-nap", OURS): lambda count: map_tasks(napping, range(count), backend=backend),
                ("ray-nap", "f.remote"): directly(nap),
            }
    finally:
        backend.close()
