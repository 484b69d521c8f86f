"""Running the body of a run, in whatever process, thread or event loop: the same for the four kinds of task."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

from eagerly._callables import Kind
from eagerly._scope import here

if TYPE_CHECKING:
    from eagerly._item import ItemScope
    from eagerly._run_port import RunPort
    from eagerly._task import Task

__all__ = ["run_body", "run_body_on_loop"]


def run_body(task: Task[..., Any], item: ItemScope, port: RunPort, args: tuple[Any, ...], kwargs: Any) -> Any:
    """What the task returns; None for a stream, whose items the run is told one by one.

    Steps into the item's place, and never out of it: the context in which this is called is the run's own. A stream is
    closed at the first item after its run is asked to stop.
    """
    here.set(item)
    kind = task.kind
    if kind is Kind.SYNC:
        return task(*args, **kwargs)
    if kind is Kind.STREAM:
        stream = task(*args, **kwargs)
        for each in stream:
            port.item(each)
            if port.stopping:
                stream.close()
        return None
    import asyncio

    with asyncio.Runner() as runner:
        return runner.run(_attached(task, port, args, kwargs), context=contextvars.copy_context())


async def run_body_on_loop(
    task: Task[..., Any], item: ItemScope, port: RunPort, args: tuple[Any, ...], kwargs: Any
) -> Any:
    """As `run_body`, for the async kinds, on the event loop that runs here."""
    here.set(item)
    return await _attached(task, port, args, kwargs)


async def _attached(task: Task[..., Any], port: RunPort, args: tuple[Any, ...], kwargs: Any) -> Any:
    import asyncio

    own, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert own is not None
    port.attach(lambda: loop.call_soon_threadsafe(own.cancel))
    try:
        if task.kind is Kind.ASYNC:
            return await task(*args, **kwargs)
        stream = task(*args, **kwargs)
        async for each in stream:
            port.item(each)
            if port.stopping:
                await stream.aclose()
        return None
    finally:
        port.attach(None)
