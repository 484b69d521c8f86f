"""`AskedBody`: what is asked of the body of a run, for bodies in a process that hears of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial

from eagerly._once import Once, nothing

__all__ = ["AskedBody"]


class AskedBody:
    """The part of a `RunPort` with which a body hears what is asked of it: first to stop, then to be cancelled."""

    def __init__(self) -> None:
        self._asked = Once()
        self._signed_off = Once()
        self._detach: Callable[[], object] = nothing

    def wait(self, seconds: float) -> None:
        self._asked.wait(seconds)

    def when_asked(self, tell: Callable[[], object]) -> Callable[[], object]:
        return self._asked.when(tell)

    def attach(self, cancel: Callable[[], object] | None) -> None:
        self._detach()
        self._detach = nothing if cancel is None else self._signed_off.when(partial(_safely, cancel))


def _safely(cancel: Callable[[], object]) -> None:
    with contextlib.suppress(RuntimeError):  # its event loop has been closed
        cancel()
