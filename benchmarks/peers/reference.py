"""No library: a decorator as people write it by hand, with `functools.wraps` and a closure. It does nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.cases import plain, plain_async
from benchmarks.contest import Contestant, awaits, calls

NAME = "functools.wraps"
DISTRIBUTIONS = ()
MODULE = None
APART = False


def available() -> bool:
    return True


@contextmanager
def contestants() -> Iterator[Iterator[Contestant]]:
    yield iter(
        [
            Contestant("call-sync", NAME, calls(_wrapped(plain), 1)),
            Contestant("call-async", NAME, awaits(_wrapped_async(plain_async), 1)),
        ]
    )


def _wrapped(func: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return func(*args, **kwargs)

    return wrapper


def _wrapped_async(func: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(func)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await func(*args, **kwargs)

    return wrapper
