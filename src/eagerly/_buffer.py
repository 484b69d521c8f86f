"""`Buffer`: how the items ended that nobody has consumed yet, in the order in which they are to be given out.

It keeps nothing that has been given out: the outcome goes to `hand`, and whoever takes it from there has it alone.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from eagerly._chunk import PENDING, Failure

if TYPE_CHECKING:
    from eagerly._chunk import Chunk, Outcome

__all__ = ["Buffer"]


class Buffer:
    """What has been taken and not been consumed.

    Args:
        ordered: Whether outcomes are given out in the order of the items, or as they come.
        keep_errors: Whether errors are given out too.

    Attributes:
        unconsumed: How many items have been taken whose outcomes have not been given out.
        hand: Where the outcome is that is being given out.
    """

    def __init__(self, ordered: bool, *, keep_errors: bool = False) -> None:
        self.unconsumed = 0
        self.hand: list[Any] = []
        self._ordered = ordered
        self._keep_errors = keep_errors
        self._order: deque[Chunk] = deque()
        self._ready: deque[Outcome] = deque()

    def expect(self, chunk: Chunk) -> None:
        """The items of this chunk have been taken."""
        self.unconsumed += len(chunk.rows)
        if self._ordered:
            self._order.append(chunk)

    def ended(self, chunk: Chunk, place: int, outcome: Outcome) -> None:
        """An item has ended."""
        origin = chunk.origin
        chunk.outcomes[place] = None  # whatever it was: that it has ended is all that this chunk has to know
        if not self._ordered:
            self._ready.append(outcome)
        elif origin is None:
            chunk.outcomes[place] = outcome
        else:
            origin.outcomes[chunk.first - origin.first + place] = outcome

    def returned(self, chunk: Chunk, place: int, results: list[Any]) -> None:
        """Items that follow one another have returned."""
        end = place + len(results)
        origin = chunk.origin
        if not self._ordered:
            self._ready.extend(results)
        elif origin is not None:
            first = chunk.first - origin.first
            origin.outcomes[first + place : first + end] = results
        chunk.outcomes[place:end] = results if self._ordered and origin is None else [None] * len(results)
        if place == chunk.ready:
            chunk.ready = end

    def take(self) -> bool:
        """Put the next outcome into `hand`; False if it is not there yet."""
        if self._ready:
            self.unconsumed -= 1
            self.hand.append(self._ready.popleft())
            return True
        order = self._order
        while order:
            chunk = order[0]
            place = chunk.taken
            outcomes = chunk.outcomes
            if place < len(outcomes):
                if outcomes[place] is PENDING:
                    return False
                self.unconsumed -= 1
                chunk.taken += 1
                self.hand.append(outcomes[place])
                outcomes[place] = None
                return True
            order.popleft()
        return False

    def take_all(self) -> bool:
        """Put all outcomes into `hand` that are there in a row; False if the next one is not there yet."""
        if self._ready:
            self.hand.extend(self._ready)
            self.unconsumed -= len(self._ready)
            self._ready.clear()
            return True
        while self._order:
            chunk = self._order[0]
            begin, outcomes = chunk.taken, chunk.outcomes
            end = max(begin, chunk.ready)
            while end < len(outcomes) and outcomes[end] is not PENDING:
                end += 1
            if end > begin:
                self.hand.extend(outcomes[begin:end])
                outcomes[begin:end] = [None] * (end - begin)
                chunk.taken = end
                self.unconsumed -= end - begin
                return True
            if end < len(outcomes):
                return False
            self._order.popleft()
        return False

    def batch(self) -> list[Any]:
        """What is in the hand, as the consumer gets it."""
        if Failure in set(map(type, self.hand)):
            self.sift()
        batch = self.hand[:]
        self.hand.clear()
        return batch

    def sift(self) -> bool:
        """Leave in the hand what the consumer gets of it; whether there is such."""
        hand = self.hand
        if not self._keep_errors:
            hand[:] = [each for each in hand if type(each) is not Failure]
        else:
            hand[:] = [each.error if type(each) is Failure else each for each in hand]  # pyright: ignore[reportUnknownMemberType]
        return bool(hand)

    def clear(self) -> None:
        """Forget it all."""
        self._order.clear()
        self._ready.clear()
        self.hand.clear()
