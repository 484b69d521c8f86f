"""tenacity: general-purpose retrying. A ``@retry`` that finds nothing to do stands for a task without options."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.cases import plain, plain_async
from benchmarks.contest import Contestant, awaits, calls
from benchmarks.peers import installed

NAME = "tenacity"
DISTRIBUTIONS = ("tenacity",)
MODULE = "tenacity"
APART = False


def available() -> bool:
    return installed("tenacity")


@contextmanager
def contestants() -> Iterator[Iterator[Contestant]]:
    import tenacity

    retry = tenacity.retry(stop=tenacity.stop_after_attempt(3))
    yield iter(
        [
            Contestant("call-sync", NAME, calls(retry(plain), 1)),
            Contestant("call-async", NAME, awaits(retry(plain_async), 1)),
        ]
    )
