"""Where tasks are mapped to: engines that run pieces of work on threads, processes or other machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eagerly._lazy import lazily as _lazily
from eagerly.backends._protocol import Backend, Capabilities, Crash, FreesWorker, Line, Message, Work

if TYPE_CHECKING:
    from eagerly.backends._dask import DaskBackend as DaskBackend
    from eagerly.backends._executor import ExecutorBackend as ExecutorBackend
    from eagerly.backends._inline import InlineBackend as InlineBackend
    from eagerly.backends._process import ProcessBackend as ProcessBackend
    from eagerly.backends._ray import RayBackend as RayBackend
    from eagerly.backends._registry import register_backend as register_backend
    from eagerly.backends._registry import unregister_backend as unregister_backend
    from eagerly.backends._thread import ThreadBackend as ThreadBackend

__all__ = [
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
]

__getattr__, __dir__ = _lazily(
    __name__,
    {
        "DaskBackend": "eagerly.backends._dask",
        "ExecutorBackend": "eagerly.backends._executor",
        "InlineBackend": "eagerly.backends._inline",
        "ProcessBackend": "eagerly.backends._process",
        "RayBackend": "eagerly.backends._ray",
        "ThreadBackend": "eagerly.backends._thread",
        "register_backend": "eagerly.backends._registry",
        "unregister_backend": "eagerly.backends._registry",
    },
)
