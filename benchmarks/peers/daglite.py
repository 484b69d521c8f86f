"""daglite 0.8: lazy. Calling a task only builds a future; ``evaluate`` opens an event loop and runs the graph.

So a call outside is one ``evaluate``, a call inside is one node of a map within one ``evaluate``, and a stream is read
into a list before anybody gets an item.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from benchmarks.cases import plain, plain_async, stream
from benchmarks.contest import Contestant, calls
from benchmarks.peers import installed

NAME = "daglite"
DISTRIBUTIONS = ("daglite",)
MODULE = "daglite"
APART = True

MANY = 500
"""Nodes or items in one ``evaluate``, so that its fixed cost does not hide theirs."""

ONE = "`evaluate(task(x=1))`"
MAP = "per node of a map in one `evaluate`"


def available() -> bool:
    return installed("daglite")


@contextmanager
def contestants() -> Iterator[Iterator[Contestant]]:
    from daglite import evaluate, task

    sync_task, async_task, stream_task = task(_copy(plain)), task(_copy(plain_async)), task(_copy(stream))

    def map_round(count: int) -> float:
        start = perf_counter()
        evaluate(sync_task.product(x=range(count)))
        return perf_counter() - start

    def stream_round(count: int) -> float:
        start = perf_counter()
        evaluate(stream_task(count=count))
        return perf_counter() - start

    yield iter(
        [
            Contestant("call-sync", NAME, calls(lambda: evaluate(sync_task(x=1))), ONE),
            Contestant("call-async", NAME, calls(lambda: evaluate(async_task(x=1))), ONE),
            Contestant("call-sync-inside", NAME, map_round, MAP, least=MANY),
            Contestant("stream-sync", NAME, stream_round, "the whole stream is read into a list", least=MANY),
        ]
    )


def _copy(function: object) -> object:
    """Its decorator renames the function it gets and writes into its module."""
    import types

    assert isinstance(function, types.FunctionType)
    return types.FunctionType(function.__code__, {"__name__": __name__}, function.__name__)
