"""daglite: tasks with ``cache=True``, each call one ``evaluate`` with its cache plugin."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.caching.libraries import Library

__all__ = ["Daglite"]


class Daglite(Library):
    title = "daglite"
    distribution = "daglite"
    module = "daglite"
    apart = True

    def __init__(self, folder: Path) -> None:
        from daglite.cache.store import FileCacheStore
        from daglite.plugins.builtin.cache import CachePlugin
        from daglite.serialization import default_registry

        super().__init__(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._hash = default_registry.hash_value
        self._plugin = CachePlugin(store=FileCacheStore(str(folder)))

    def cached(self, function: Callable[..., Any]) -> Callable[..., Any]:
        from daglite import evaluate, task

        assert isinstance(function, types.FunctionType)
        # Its decorator renames the function it gets and writes into its module.
        copy = types.FunctionType(function.__code__, function.__globals__, function.__name__)
        names = list(inspect.signature(function).parameters)
        declared = task(cache=True)(copy)
        if inspect.iscoroutinefunction(function):
            raise TypeError("one evaluate at a time in an event loop")
        return lambda *args: evaluate(declared(**dict(zip(names, args, strict=True))), plugins=[self._plugin])

    def key(self, value: Any) -> Any:
        return self._hash(value)

    def leftovers(self) -> int:
        paths = {path for path in self.folder.rglob("*") if path.is_file()}
        values = {path for path in paths if not path.name.endswith(".meta.json")}
        return sum(path.with_name(f"{path.name}.meta.json") not in paths for path in values) + sum(
            path.with_name(path.name.removesuffix(".meta.json")) not in values for path in paths - values
        )
