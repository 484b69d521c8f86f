"""Prefect: orchestration. Without a server it starts one of its own on this machine; tasks and flows report to it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from benchmarks.cases import plain
from benchmarks.contest import Contestant, calls
from benchmarks.peers import installed

NAME = "Prefect"
DISTRIBUTIONS = ("prefect",)
MODULE = "prefect"
APART = True


def available() -> bool:
    return installed("prefect")


@contextmanager
def contestants() -> Iterator[Iterator[Contestant]]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ.update(
            PREFECT_HOME=folder,
            PREFECT_LOGGING_LEVEL="CRITICAL",
            PREFECT_SERVER_ANALYTICS_ENABLED="false",
            DO_NOT_TRACK="1",
        )
        from prefect import flow, task

        prefect_task = task(plain)

        @flow
        def inside(count: int) -> float:
            start = perf_counter()
            for _ in range(count):
                prefect_task(1)
            return perf_counter() - start

        @flow
        def empty() -> None:
            pass

        empty()  # starts the server
        yield iter(
            [
                Contestant("call-sync", NAME, calls(prefect_task, 1), "a task outside a flow"),
                Contestant("call-sync-inside", NAME, inside, "a task inside a flow"),
                Contestant("session", NAME, calls(empty), "an empty flow"),
            ]
        )
