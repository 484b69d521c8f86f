"""The rows: what is mapped, how often, and what it may cost."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.fanout.race import Result
from benchmarks.report import seconds

__all__ = ["OURS", "ROWS", "Row"]

US, MS = 1e-6, 1e-3
OURS = "eagerly"


@dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
        key: What ``--only`` selects by.
        title: What the table says.
        engine: In whose process it runs.
        items: How many items one map has.
        quick: How many with ``--quick``.
        limit: Seconds that one item may take; or over its ideal, as a share of it; or over `against`.
        faster: How many times faster than `against` it has to be.
        against: Whom it is compared with, or whose time is subtracted.
        ideal: Seconds that an item must take, with as many workers as there are.
        long: Whether a single map takes seconds.
        of: The row whose results it is about, if it only adds a target to another one.
    """

    key: str
    title: str
    engine: str
    items: int
    quick: int
    limit: float | None = None
    faster: float | None = None
    against: str | None = None
    ideal: float | None = None
    long: bool = False
    of: str | None = None

    @property
    def target(self) -> str:
        if self.faster is not None:
            return f">= {self.faster:g}x faster than {self.against}"
        if self.limit is None:
            return ""
        if self.ideal is not None:
            return f"<= +{self.limit:.0%} over the ideal"
        over = f" over {self.against}" if self.against else ""
        return f"<= {seconds(self.limit)}{over}"

    def measured(self, results: dict[tuple[str, str], Result]) -> tuple[float, float] | None:
        """What the target is about, by the minima and by the medians."""
        key = self.of or self.key
        ours, other = results.get((key, OURS)), results.get((key, self.against or OURS))
        if ours is None or other is None:
            return None
        if self.faster is not None:
            return other.minimum / ours.minimum, other.median / ours.median
        if self.ideal is not None:
            return ours.minimum / self.ideal - 1, ours.median / self.ideal - 1
        if self.against is not None:
            return ours.minimum - other.minimum, ours.median - other.median
        return ours.minimum, ours.median

    def meets(self, value: float) -> bool:
        return value >= self.faster if self.faster is not None else value <= (self.limit or 0.0)

    def shown(self, value: float) -> str:
        if self.faster is not None:
            return f"{value:.3g}x"
        return f"{value:+.1%}" if self.ideal is not None else seconds(value)


WITHOUT_LISTENER = "eagerly, nobody listens"
WORKERS = 2

ROWS = (
    Row("inline", "1,000 trivial items, inline", "local", 1000, 200, limit=3 * US),
    Row("thread", "1,000 trivial items, threads", "local", 1000, 200, limit=8 * US),
    Row("gather", "1,000 trivial items, async", "local", 1000, 200, limit=6 * US),
    Row("process", "1,000 trivial items, processes", "process", 1000, 200, faster=3, against="joblib.Parallel"),
    Row(
        *("process-many", "100,000 trivial items, processes", "process", 100_000, 500),
        faster=2,
        against="joblib.Parallel",
        long=True,
    ),
    Row(
        *("process-executor", "100,000 trivial items, processes", "process", 100_000, 500),
        faster=40,
        against="ProcessPoolExecutor.map",
        of="process-many",
    ),
    Row("process-nap", "items of 10 ms, processes", "process", 200, 20, limit=0.03, ideal=10 * MS / WORKERS, long=True),
    Row(
        *("hooks", "two listeners per item, processes", "process", 10_000, 200),
        limit=6 * US,
        against=WITHOUT_LISTENER,
    ),
    Row("start", "start of two workers", "process", 1, 1),
    Row("dask", "1,000 trivial items, Dask", "dask", 1000, 50, faster=10, against="client.map"),
    Row("dask-nap", "items of 10 ms, Dask", "dask", 200, 20, limit=0.08, ideal=10 * MS / WORKERS, long=True),
    Row("ray", "1,000 trivial items, Ray", "ray", 1000, 50, faster=10, against="f.remote"),
    Row("ray-nap", "items of 10 ms, Ray", "ray", 200, 20, limit=0.08, ideal=10 * MS / WORKERS, long=True),
)
