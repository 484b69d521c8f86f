"""joblib.Memory, as it is, and with results mapped into memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.caching.libraries import Library

__all__ = ["Joblib", "JoblibMapped"]


class Joblib(Library):
    title = "joblib.Memory"
    distribution = "joblib"
    module = "joblib"
    mmap_mode: ClassVar[str | None] = None

    def __init__(self, folder: Path) -> None:
        import joblib

        super().__init__(folder)
        self._hash = joblib.hash
        self._memory = joblib.Memory(folder, mmap_mode=self.mmap_mode, verbose=0)

    def cached(self, function: Callable[..., Any]) -> Callable[..., Any]:
        cached: Callable[..., Any] = self._memory.cache(function)
        return cached

    def key(self, value: Any) -> Any:
        return self._hash({"value": value})  # as it hashes the arguments of a call

    def leftovers(self) -> int:
        found = 0
        for entry in {path.parent for path in self.folder.rglob("*") if path.is_file()}:
            names = {path.name for path in entry.iterdir() if path.is_file()}
            found += len(names - {"output.pkl", "metadata.json", "func_code.py", ".gitignore"})
            found += "metadata.json" in names and "output.pkl" not in names
        empty = [path for path in self.folder.rglob("*") if path.is_dir() and not any(path.iterdir())]
        return found + len(empty)


class JoblibMapped(Joblib):
    title = "joblib.Memory, mmap"
    mmap_mode = "r"
    leaves_out = frozenset({"keys", "kills", "hit-disk", "miss", "argument", "key"})
