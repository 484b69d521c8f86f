"""`InlineBackend`: each item runs in the thread that asks for its result, when it asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from eagerly.backends._protocol import Capabilities, Work

if TYPE_CHECKING:
    from eagerly.cache._protocol import Buffer

__all__ = ["InlineBackend"]


class InlineBackend:
    """No workers: what is submitted has been done when `submit` returns."""

    capabilities = Capabilities(
        name="inline", workers=1, in_process=True, soft_cancel=True, live_events=True, chunk_seconds=0.0
    )

    def open(self) -> None:
        """Nothing to do."""

    def submit(self, work: Work) -> None:
        """Do it now."""
        work.run()

    def cancel(self, work: Work, *, force: bool) -> bool:
        """Too late."""
        return False

    def recover(self) -> None:
        """Nothing to do."""

    def share(self, parts: Sequence[Buffer]) -> Any:
        """Never called: what runs in this process gets the objects themselves."""
        raise AssertionError("objects are not shared with the thread that has them")

    def unshare(self, handle: Any) -> None:
        """Never called."""

    def close(self) -> None:
        """Nothing to do."""

    def __repr__(self) -> str:
        return "InlineBackend()"
