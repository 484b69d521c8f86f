"""What a run store is: rows that change in one place, `RunStore.write`. Who executes or waits is not its business."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from eagerly.errors import EagerlyError
from eagerly.runs._change import Change, Moved
from eagerly.runs._payload import Payload
from eagerly.runs._query import Query
from eagerly.runs._record import RunRecord

__all__ = ["Outcome", "RunStore", "Write"]

Write: TypeAlias = RunRecord | Change
Outcome: TypeAlias = Moved | EagerlyError


@runtime_checkable
class RunStore(Protocol):
    """A place for runs. Synchronous; may be called from several threads at once. Trouble is a `RunsError`.

    Attributes:
        place: Where it is, for people. Stores of one process with the same place share who waits.
        blocking: Whether a call may wait for a disk or a network. Then no call is ever made on an event loop.
    """

    place: str
    blocking: bool

    @property
    def trusted(self) -> bool:
        """Whether nobody but this user can have written what is in it; else pickles are not read."""
        ...

    def write(self, batch: Sequence[Write], /) -> list[Outcome]:
        """Add records and make changes, in order and in one transaction, and wake who waits for them.

        What each came to stands at its place: a `Moved`, or the error for which it was refused, as
        `eagerly.runs._change.changed` decides while nobody else can change the run. One that is refused stops no other.
        A record whose idempotency key is there already adds nothing: its `Moved` has the existing run twice.
        """
        ...

    def get(self, run_id: str, /) -> RunRecord | None:
        """The run, or None."""
        ...

    def ids(self, prefix: str, limit: int, /) -> list[str]:
        """Ids that begin like this, in their order, at most `limit`."""
        ...

    def find(self, query: Query, /) -> list[RunRecord]:
        """A page of runs."""
        ...

    def count(self, query: Query, /) -> int:
        """How many runs match, on all pages."""
        ...

    def output(self, run_id: str, /) -> Payload | None:
        """The output of a run; None if there is none, or no such run.

        Raises:
            OutputMissing: It was too large for the row, and where it was kept it is no more.
            OutputCorrupt: It is not what was written.
        """
        ...

    def pickled_error(self, run_id: str, /) -> bytes | None:
        """The exception of a failed run as it was written, or None."""
        ...

    def prune(self, *, before: int | None, keep: int | None) -> int:
        """Remove trees of runs that have all ended, with the outputs that no other run has; how many runs.

        Args:
            before: Only trees whose root has ended before that moment.
            keep: Only trees that are not among so many whose roots were created last.
        """
        ...

    def owner(self) -> str:
        """The id of this process as an owner of runs. Whoever opens the store can tell when it has ended."""
        ...

    def recover(self) -> list[RunRecord]:
        """Make runs whose owners have ended failed, and return those that nobody has made failed before."""
        ...

    def watch(self, run_id: str, tell: Callable[[RunRecord | EagerlyError | None], bool], /) -> Callable[[], None]:
        """Call `tell` with the run soon, and again whenever it may have changed, from any thread.

        Two threads may do so at once, and then it may hear last what was so before; `RunRecord.updated_at` tells.

        Args:
            run_id: Which run.
            tell: Gets the run; None if there is none; an error if it cannot be known. Returns whether that was all
                it wants to hear; it must not block.

        Returns:
            A function that ends it.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections. A closed store may be used again, which opens them anew."""
        ...
