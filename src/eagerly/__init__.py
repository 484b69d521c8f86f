"""eagerly makes ordinary functions dependable without changing how they are called.

`task` gives a function retries, timeouts, caching, saved datasets and hooks; calling the task runs it at once and
returns its value. `session` says what the calls made inside it share, `workflow` names an entry point, `hook_impl`
marks an observer.
"""

from os import environ as _environ
from typing import TYPE_CHECKING

from eagerly._clock import Clock
from eagerly._context import TaskContext
from eagerly._decorator import task
from eagerly._injection import INJECTED
from eagerly._lazy import lazily as _lazily
from eagerly._metadata import TaskMetadata
from eagerly._retry import Retry
from eagerly._scope import SessionContext, current_session, current_task
from eagerly._session import async_session, session
from eagerly._settings import Settings
from eagerly._task import Task
from eagerly._tasks import AsyncTask, AsyncTaskStream, SyncTask, SyncTaskStream
from eagerly._threads import abandoned_bodies
from eagerly.cache._protocol import CacheStore
from eagerly.hooks import hook_impl, register_plugins

if TYPE_CHECKING:
    from eagerly import registry, runs
    from eagerly._command import Command
    from eagerly._datasets import load_dataset, save_dataset
    from eagerly._executor import ContextExecutor
    from eagerly._gathering import aiter_tasks, gather_tasks
    from eagerly._mapping import iter_tasks, map_tasks
    from eagerly._share import share
    from eagerly._workflow import AsyncWorkflow, SyncWorkflow, Workflow, workflow
    from eagerly.datasets._store import DatasetStore
    from eagerly.runs._run import Run
    from eagerly.runs._status import RunStatus

__version__ = "0.1.0"

__all__ = [
    "INJECTED",
    "AsyncTask",
    "AsyncTaskStream",
    "AsyncWorkflow",
    "CacheStore",
    "Clock",
    "Command",
    "ContextExecutor",
    "DatasetStore",
    "Retry",
    "Run",
    "RunStatus",
    "SessionContext",
    "Settings",
    "SyncTask",
    "SyncTaskStream",
    "SyncWorkflow",
    "Task",
    "TaskContext",
    "TaskMetadata",
    "Workflow",
    "abandoned_bodies",
    "aiter_tasks",
    "async_session",
    "current_session",
    "current_task",
    "gather_tasks",
    "hook_impl",
    "iter_tasks",
    "load_dataset",
    "map_tasks",
    "register_plugins",
    "registry",
    "runs",
    "save_dataset",
    "session",
    "share",
    "task",
    "workflow",
]

# What many programs do without is loaded by who first uses it.
__getattr__, __dir__ = _lazily(
    __name__,
    {
        **dict.fromkeys(("load_dataset", "save_dataset"), "eagerly._datasets"),
        **dict.fromkeys(("AsyncWorkflow", "SyncWorkflow", "Workflow", "workflow"), "eagerly._workflow"),
        "ContextExecutor": "eagerly._executor",
        "DatasetStore": "eagerly.datasets._store",
        **dict.fromkeys(("aiter_tasks", "gather_tasks"), "eagerly._gathering"),
        **dict.fromkeys(("iter_tasks", "map_tasks"), "eagerly._mapping"),
        "share": "eagerly._share",
        "Run": "eagerly.runs._run",
        "RunStatus": "eagerly.runs._status",
        "Command": "eagerly._command",
        "registry": "eagerly.registry",
        "runs": "eagerly.runs",
    },
)

if "EAGERLY_RUN_ID" in _environ:
    from eagerly._environment_run import inhabit as _inhabit

    _inhabit()
