"""Runs: durable records of calls, which other processes can watch, stop, cancel and wait for.

The functions here are about the runs of the active store: that of the session, else that of the settings; where there
is none, runs are in the memory of this process. `eagerly.runs.aio` has each of them for ``await``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eagerly._lazy import lazily as _lazily

if TYPE_CHECKING:
    from eagerly._sentinel import UNSET as UNSET
    from eagerly.runs import aio as aio
    from eagerly.runs._change import Change as Change
    from eagerly.runs._change import Moved as Moved
    from eagerly.runs._change import changed as changed
    from eagerly.runs._collection import cancel as cancel
    from eagerly.runs._collection import create as create
    from eagerly.runs._collection import get as get
    from eagerly.runs._collection import iter as iter
    from eagerly.runs._collection import list as list
    from eagerly.runs._collection import output as output
    from eagerly.runs._collection import prune as prune
    from eagerly.runs._collection import stop as stop
    from eagerly.runs._collection import update as update
    from eagerly.runs._collection import wait as wait
    from eagerly.runs._listing import RunPage as RunPage
    from eagerly.runs._memory import MemoryRunStore as MemoryRunStore
    from eagerly.runs._open import open_run_store as open_run_store
    from eagerly.runs._payload import Payload as Payload
    from eagerly.runs._postgres import PostgresRunStore as PostgresRunStore
    from eagerly.runs._protocol import RunStore as RunStore
    from eagerly.runs._query import Query as Query
    from eagerly.runs._record import RunError as RunError
    from eagerly.runs._record import RunRecord as RunRecord
    from eagerly.runs._run import Run as Run
    from eagerly.runs._run import RunTwins as RunTwins
    from eagerly.runs._sqlite import SqliteRunStore as SqliteRunStore
    from eagerly.runs._status import RunStatus as RunStatus

__all__ = [
    "UNSET",
    "Change",
    "MemoryRunStore",
    "Moved",
    "Payload",
    "PostgresRunStore",
    "Query",
    "Run",
    "RunError",
    "RunPage",
    "RunRecord",
    "RunStatus",
    "RunStore",
    "RunTwins",
    "SqliteRunStore",
    "aio",
    "cancel",
    "changed",
    "create",
    "get",
    "iter",
    "list",
    "open_run_store",
    "output",
    "prune",
    "stop",
    "update",
    "wait",
]

__getattr__, __dir__ = _lazily(
    __name__,
    {
        "UNSET": "eagerly._sentinel",
        "Change": "eagerly.runs._change",
        "MemoryRunStore": "eagerly.runs._memory",
        "Moved": "eagerly.runs._change",
        "Payload": "eagerly.runs._payload",
        "PostgresRunStore": "eagerly.runs._postgres",
        "Query": "eagerly.runs._query",
        "Run": "eagerly.runs._run",
        "RunError": "eagerly.runs._record",
        "RunPage": "eagerly.runs._listing",
        "RunRecord": "eagerly.runs._record",
        "RunStatus": "eagerly.runs._status",
        "RunStore": "eagerly.runs._protocol",
        "RunTwins": "eagerly.runs._run",
        "SqliteRunStore": "eagerly.runs._sqlite",
        "aio": "eagerly.runs.aio",
        "cancel": "eagerly.runs._collection",
        "changed": "eagerly.runs._change",
        "create": "eagerly.runs._collection",
        "get": "eagerly.runs._collection",
        "iter": "eagerly.runs._collection",
        "list": "eagerly.runs._collection",
        "open_run_store": "eagerly.runs._open",
        "output": "eagerly.runs._collection",
        "prune": "eagerly.runs._collection",
        "stop": "eagerly.runs._collection",
        "update": "eagerly.runs._collection",
        "wait": "eagerly.runs._collection",
    },
)
