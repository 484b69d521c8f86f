"""`Tally`: notes for each item of a map that it has ended, and which errors the map is to raise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eagerly._chunk import Failure

if TYPE_CHECKING:
    from eagerly._claims import Claims
    from eagerly._map_options import Errors
    from eagerly._map_progress import MapProgress

__all__ = ["Tally"]


class Tally:
    """How many items have ended, for those who want to know, and with which errors.

    Args:
        errors: What becomes of what items raise.
        claims: The datasets of the items, or None if they have none.
        progress: Who shows how far the map is, or None.

    Attributes:
        idle: Whether an item that returns is nobody's business.
    """

    def __init__(self, errors: Errors, claims: Claims | None, progress: MapProgress | None) -> None:
        self.claims = claims
        self.progress = progress
        self.idle = claims is None and progress is None
        self._raises = errors == "raise"
        self._failures: list[tuple[float, int, Failure]] = []

    def count(self, index: int, row: Any, outcome: Any) -> Any:
        """Once for each item, when it has ended; how it has ended in the end, as its result may have to be saved."""
        if self.claims is not None and type(outcome) is not Failure:
            outcome = self.claims.saved(index, row, outcome)
        failed = type(outcome) is Failure
        if failed:
            outcome.note(index, row)
            if self.is_to_raise(outcome.error):
                self._failures.append((outcome.at, index, outcome))
        if self.claims is not None:
            self.claims.ended(index, failed=failed)
        if self.progress is not None:
            self.progress.ended(failed=failed)
        return outcome

    def is_to_raise(self, error: BaseException) -> bool:
        """Whether the map ends with this error of an item: what ends programs is never kept back."""
        return self._raises or not isinstance(error, Exception)

    @property
    def has_failed(self) -> bool:
        """Whether there is an error that ends the map."""
        return bool(self._failures)

    def first_error(self) -> BaseException:
        """The error that was raised first, by time."""
        return min(self._failures)[2].error
