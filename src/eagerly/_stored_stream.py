"""Streams whose items are stored as they pass: recorded for the cache, written into a dataset.

Nothing is visible to others before the stream is exhausted; a stream that ends early leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Sized
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from eagerly._dataset_saving import finish_stream, open_stream, write_item
from eagerly._steps import Access, Plan
from eagerly._stored import StoredCall, expires_at, keys_of, report
from eagerly._stores import new_recording
from eagerly.cache._protocol import MISSING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from eagerly._context import TaskContext

__all__ = ["exhausted", "passing", "replayed", "replayed_async", "steered", "stream_keeper"]

LARGE: Final = 10_000
"""Bytes or elements of an item from which on an event loop has it packed by a helper thread."""


def stream_keeper(call: TaskContext) -> StoredCall | None:
    """What is to be told of the items of this call, or None if nobody keeps them."""
    stored = call._stored
    assert stored is not None
    if stored.client is not None and stored.mode != "read":
        stored.recording = new_recording(stored.client.safe)
    open_stream(call, stored)
    return None if stored.recording is None and stored.writer is None else stored


def passing(call: TaskContext, stored: StoredCall, item: Any) -> Plan[None]:
    """An item is about to be handed out.

    Raises:
        DatasetError: It could not be written.
    """
    if stored.recording is not None:
        try:
            yield Access(partial(stored.recording.add, item), blocking=_may_be_large(item))
        except Exception as error:
            _give_up_recording(call, stored, error)
    if stored.writer is not None:
        yield from write_item(call, stored, item)


def steered(stored: StoredCall) -> None:
    """The consumer has sent or thrown something into the stream: the items are no more a matter of its arguments."""
    stored.recording = None


def exhausted(call: TaskContext, stored: StoredCall, end: Any) -> Plan[None]:
    """The stream has come to its end and returned `end`: what was kept of it becomes visible.

    Raises:
        DatasetError: The dataset could not be completed.
    """
    recording, stored.recording = stored.recording, None
    if recording is not None:
        client, key, keys = stored.client, stored.key, keys_of(call._task.declaration)
        assert client is not None
        assert key is not None
        expires = expires_at(call)

        def publish() -> None:
            frames = recording.finish(end)
            parts = client.pack_frames(key.digest, frames, expires=expires, meta=keys.describe(key))
            client.publish(key.digest, parts, MISSING, expires=expires, tag=keys.tag)

        try:
            yield Access(publish, client.blocking)
        except Exception as error:
            report(call, client, key, error)
    if stored.writer is not None:
        yield from finish_stream(call, stored)


def _may_be_large(item: Any) -> bool:
    """Whether packing an item may take longer than giving it to another thread does."""
    size = getattr(item, "nbytes", None)
    if not isinstance(size, int):
        size = len(item) if isinstance(item, Sized) else 0
    return size > LARGE


def _give_up_recording(call: TaskContext, stored: StoredCall, error: Exception) -> None:
    stored.recording = None
    assert stored.client is not None
    assert stored.key is not None
    report(call, stored.client, stored.key, error, of_result=True)


def replayed(call: TaskContext, step: Callable[[], Any]) -> Generator[Any, Any, Any]:
    """The items of a recorded stream, and its end.

    If one of them cannot be had any more, or the consumer steers, the function runs after all, and goes on from there.
    """
    given, value, thrown = 0, None, None
    while value is None and thrown is None:
        try:
            item = step()
        except StopIteration as stop:
            return stop.value  # pyright: ignore[reportUnknownVariableType]  # what the stream returned
        except Exception as error:
            _report_broken(call, error)
            break
        given += 1
        try:
            value = yield item
        except Exception as error:
            thrown = error
    afresh: Generator[Any, Any, Any] = _afresh(call)
    for _ in range(given):
        next(afresh)
    while True:
        try:
            item = afresh.send(value) if thrown is None else afresh.throw(thrown)
        except StopIteration as stop:
            return stop.value
        value = thrown = None
        try:
            value = yield item
        except Exception as error:
            thrown = error


async def replayed_async(call: TaskContext, step: Callable[[], Any]) -> AsyncGenerator[Any, Any]:
    """As `replayed`, for async streams."""
    given, value, thrown = 0, None, None
    while value is None and thrown is None:
        try:
            item = step()
        except StopIteration:
            return
        except Exception as error:
            _report_broken(call, error)
            break
        given += 1
        try:
            value = yield item
        except Exception as error:
            thrown = error
    afresh: AsyncGenerator[Any, Any] = _afresh(call)
    try:
        for _ in range(given):
            await anext(afresh)
        while True:
            try:
                item = await (afresh.asend(value) if thrown is None else afresh.athrow(thrown))
            except StopAsyncIteration:
                return
            value = thrown = None
            try:
                value = yield item
            except Exception as error:
                thrown = error
    finally:
        await afresh.aclose()  # here and now; who is dropped is closed by the event loop, some time later


def _afresh(call: TaskContext) -> Any:
    task, stored, caching = call._task, call._stored, call._task.declaration.caching
    if stored is None or caching is None or stored.mode != "read":
        return task.refresh(*call._args, **call._kwargs)
    without: Any = task._with_declaration(task.declaration.with_caching(caching._replace(mode="off")))
    return without(*call._args, **call._kwargs)


def _report_broken(call: TaskContext, error: Exception) -> None:
    stored = call._stored
    assert stored is not None
    assert stored.client is not None
    assert stored.key is not None
    report(call, stored.client, stored.key, error)
