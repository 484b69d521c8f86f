"""Prefect: a task that persists its results and is keyed by inputs and source. It starts a server of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.caching.libraries import Library

__all__ = ["Prefect"]


class Prefect(Library):
    title = "Prefect"
    distribution = "prefect"
    module = "prefect"
    apart = True
    # A server per process, and calls that take as long as what they should be compared with.
    leaves_out = frozenset({"threads", "processes", "coroutines", "kills"})

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("PREFECT_HOME", tempfile.mkdtemp(dir=folder))
        os.environ.update(
            PREFECT_LOCAL_STORAGE_PATH=str(folder),
            PREFECT_LOGGING_LEVEL="CRITICAL",
            PREFECT_SERVER_ANALYTICS_ENABLED="false",
            DO_NOT_TRACK="1",
        )
        from prefect.cache_policies import INPUTS, TASK_SOURCE

        self._inputs = INPUTS
        self._policy = INPUTS + TASK_SOURCE

    def cached(self, function: Callable[..., Any]) -> Callable[..., Any]:
        from prefect import task

        cached: Callable[..., Any] = task(persist_result=True, cache_policy=self._policy)(function)
        return cached

    def key(self, value: Any) -> Any:
        return self._inputs.compute_key(None, {"value": value}, {})
