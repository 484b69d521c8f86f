"""eagerly makes ordinary functions dependable without changing how they are called.

`task` gives a function retries, timeouts, caching, saved datasets and hooks; calling the task runs it at once and
returns its value. `session` says what the calls made inside it share, `workflow` names an entry point, `hook_impl`
marks an observer.
"""

from typing import TYPE_CHECKING

from eagerly._clock import Clock
from eagerly._context import TaskContext
from eagerly._datasets import load_dataset, save_dataset
from eagerly._decorator import task
from eagerly._executor import ContextExecutor
from eagerly._lazy import lazily as _lazily
from eagerly._metadata import TaskMetadata
from eagerly._retry import Retry
from eagerly._scope import SessionContext, current_session, current_task
from eagerly._session import async_session, session
from eagerly._settings import Settings
from eagerly._task import Task
from eagerly._tasks import AsyncTask, AsyncTaskStream, SyncTask, SyncTaskStream
from eagerly._threads import abandoned_bodies
from eagerly._workflow import AsyncWorkflow, SyncWorkflow, Workflow, workflow
from eagerly.cache._protocol import CacheStore
from eagerly.hooks import hook_impl, register_plugins

if TYPE_CHECKING:
    from eagerly.datasets._store import DatasetStore as DatasetStore

__version__ = "0.1.0"

__all__ = [
    "AsyncTask",
    "AsyncTaskStream",
    "AsyncWorkflow",
    "CacheStore",
    "Clock",
    "ContextExecutor",
    "DatasetStore",
    "Retry",
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
    "async_session",
    "current_session",
    "current_task",
    "hook_impl",
    "load_dataset",
    "register_plugins",
    "save_dataset",
    "session",
    "task",
    "workflow",
]

__getattr__, __dir__ = _lazily(__name__, {"DatasetStore": "eagerly.datasets._store"})
