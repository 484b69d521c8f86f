"""The functions of `eagerly.runs` for ``await``, under the same names. None of them blocks the event loop."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar, Unpack

from eagerly._run_store import active_run_store, settled_run_store
from eagerly._steps import Access
from eagerly.runs import _collection
from eagerly.runs._limits import waiting_time
from eagerly.runs._listing import Filters, all_of
from eagerly.runs._live import LIVE
from eagerly.runs._protocol import RunStore
from eagerly.runs._run import Run, id_of
from eagerly.runs._waiting import wait_for_async

__all__ = ["cancel", "create", "get", "iter", "list", "output", "prune", "stop", "update", "wait"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _twin(function: Callable[_P, _T]) -> Callable[_P, Coroutine[Any, Any, _T]]:
    """`function`, on a helper thread where the store may block."""

    @functools.wraps(function)
    async def twin(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        call = functools.partial(function, *args, **kwargs)
        return await Access(call, active_run_store().blocking).do_async()  # type: ignore[no-any-return]  # a _T

    return twin


get = _twin(_collection.get)
list = _twin(_collection.list)
create = _twin(_collection.create)
update = _twin(_collection.update)
stop = _twin(_collection.stop)
cancel = _twin(_collection.cancel)
output = _twin(_collection.output)
prune = _twin(_collection.prune)


async def _settled() -> RunStore:
    return await Access(settled_run_store, active_run_store().blocking).do_async()  # type: ignore[no-any-return]  # a RunStore


async def wait(run: str | Run[Any], /, timeout: float | None = None) -> Run[Any]:
    """Wait until a run has ended, however it does; see `eagerly.runs.wait`."""
    store = await _settled()
    limit = waiting_time("wait(timeout=...)", timeout)
    run_id = id_of("wait(run)", run)
    live = LIVE.get(run_id)
    if live is not None:
        return await Run[Any](store, live.record, live).aio.wait(limit)
    return Run(store, await wait_for_async(store, run_id, limit))


async def iter(**filters: Unpack[Filters]) -> AsyncIterator[Run[Any]]:
    """All runs that match, a page at a time; see `eagerly.runs.iter`."""
    query = _collection.query_of(filters)
    store = await _settled()
    batches = all_of(store, query, 100)
    while (batch := await Access(lambda: next(batches, None), store.blocking).do_async()) is not None:
        for run in batch:
            yield run
