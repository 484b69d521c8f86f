"""`Chunk`: some items of a map that are handed to a worker together, and how each of them has ended.

The engine's side (`Work`) may be called in any thread and only notes what came; everything else happens in the thread
that reads the results of the map.
"""

from __future__ import annotations

import reprlib
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from eagerly._item import ItemScope
from eagerly._item_run import item_runner, without_frames
from eagerly._notes import add_note, in_worker
from eagerly._share import unwrapped
from eagerly._wire import is_urgent
from eagerly.backends._protocol import Crash, Message

if TYPE_CHECKING:
    from eagerly._fanout import Fanout
    from eagerly._replay import Replay

__all__ = ["PENDING", "Again", "Chunk", "Ended", "Failure", "Outcome"]

LIVELY: Final = 0.02
"""Seconds after which results are passed on although the chunk goes on."""

LARGE: Final = 1 << 16
"""Bytes of output that are not kept until there are more."""


class _Pending:
    def __repr__(self) -> str:
        return "PENDING"


PENDING: Final = _Pending()
"""In the place of an outcome that is not there yet."""


class Failure(NamedTuple):
    """In the place of a result: what the item has raised.

    Attributes:
        error: The exception.
        at: When, in Unix seconds.
        text: Its traceback in the worker, where that was another process.
    """

    error: BaseException
    at: float
    text: str = ""

    def note(self, index: int, row: Any) -> None:
        """Say on the error for which item it was raised, and where in its worker."""
        try:
            shown = reprlib.repr(row)
        except Exception:
            shown = f"a {type(row).__name__}"
        add_note(self.error, "eagerly: raised for item", f"{index} of a map: {shown}{in_worker(self.text)}")


class Ended(NamedTuple):
    """In the place of output: no more follows."""

    crash: Crash | None = None


Outcome = Any
"""A result, a `Failure`, or `PENDING`."""


class Again(NamedTuple):
    """An item that is to be done again.

    Attributes:
        place: Its position in its chunk.
        resume: The attempt that comes next and the seconds since the first; None if it has not begun.
        delay: Seconds to wait before.
        suspect: Whether it may be what killed the worker.
    """

    place: int
    resume: tuple[int, float] | None = None
    delay: float = 0.0
    suspect: bool = False


class Chunk:
    """Some items, one after another in the map.

    Attributes:
        first: The index of the first one.
        rows: The arguments of each.
        outcomes: How each has ended.
        seconds: How long that worker has been busy with them.
        settled: How many items have an outcome.
        ready: How many outcomes are there, from the first one on; there may be more.
        taken: How many outcomes the consumer has had.
        noted: The outcomes that a worker in this process has noted, in order.
        away: The places of the items that another chunk does again.
        resume: For a single item that goes on after a crash: the next attempt, and the seconds since the first.
        origin: The chunk in which the consumer looks for the outcomes, if it is not this one.
        alone: Whether no other work runs meanwhile, so that a crash tells who is at fault.
        replays: For each item that there was something to tell about: who tells it.
    """

    __slots__ = (
        *("_fan", "_free", "_held", "_message", "alone", "away", "first", "noted", "origin", "ready"),
        *("outcomes", "replays", "resume", "rows", "seconds", "settled", "taken"),
    )

    def __init__(
        self,
        fan: Fanout,
        first: int,
        rows: list[Any],
        *,
        resume: tuple[int, float] | None = None,
        origin: Chunk | None = None,
        alone: bool = False,
    ) -> None:
        self._fan = fan
        self._free = [None]  # who takes that out runs it
        self._held: list[bytes] = []
        self._message: Message | None = None
        self.first = first
        self.rows = rows
        self.outcomes: list[Outcome] = [PENDING] * len(rows)
        self.taken = self.settled = self.ready = 0
        self.seconds = 0.0
        self.noted: list[Outcome] = []
        self.away: set[int] = set()
        self.resume = resume
        self.origin = origin
        self.alone = alone
        self.replays: dict[int, Replay] = {}

    def __repr__(self) -> str:
        return f"<items {self.first} to {self.first + len(self.rows) - 1} of a map>"

    # The engine's side

    @property
    def size(self) -> int:
        return len(self.rows)

    @property
    def timed(self) -> bool:
        return self._fan.timed

    @property
    def message(self) -> Message:
        if self._message is None:
            self._message = self._fan.packed(self)
        return self._message

    def output(self, data: bytes) -> None:
        self._held.append(data)
        if not self._fan.unhurried or is_urgent(data) or len(data) > LARGE:
            self._hand_on()

    def end(self, crash: Crash | None = None) -> None:
        self._hand_on()
        self._fan.reports.put((self, Ended(crash)))

    def _hand_on(self) -> None:
        """Have the consumer's thread wake up and read what has come."""
        held, self._held = self._held, []
        if held:
            self._fan.reports.put((self, held[0] if len(held) == 1 else b"".join(held)))

    def run(self) -> None:
        fan = self._fan
        try:
            self._free.pop()
        except IndexError:  # the engine does it again, and it has been heard of
            return
        run, note, begun = item_runner(fan.task, fan.loops), self.noted.append, time.perf_counter()
        since, late = begun, begun + fan.patience
        for place, row in enumerate(self.rows):
            if fan.scope.stopping or since > late:
                break
            item = ItemScope(fan.scope, self.first + place)
            args = unwrapped((row,) if fan.unary else row)
            failed = False
            try:
                note(fan.context.copy().run(run, item, args))
            except BaseException as error:
                note(Failure(without_frames(error), time.time()))
                failed = True
            now = time.perf_counter()
            if failed or now - since > LIVELY:
                fan.reports.put((self, None))
                since = now
        self.seconds = time.perf_counter() - begun
        fan.reports.put((self, Ended()))

    # The consumer's side

    def begun(self) -> list[Replay]:
        """Those who tell about items that have begun and not ended."""
        return [replay for replay in self.replays.values() if replay.begun and not replay.call.ended]

    def unfinished(self) -> list[int]:
        """The places of the items without an outcome, but for those that another chunk does again."""
        if self.settled == len(self.rows):
            return []
        return [place for place, outcome in enumerate(self.outcomes) if outcome is PENDING and place not in self.away]

    def follow(self, again: list[Again], size: int) -> list[Chunk]:
        """Chunks of what is to be done again: items that simply follow one another may be together, others are alone.

        Args:
            again: The items.
            size: How many there may be in one.
        """
        parts: list[Chunk] = []
        for each in again:
            place, index = each.place, self.first + each.place
            self.away.add(place)
            simple = each.resume is None and not each.suspect
            last = parts[-1] if parts else None
            if simple and last is not None and len(last.rows) < size and last.follows_simply(index):
                last.rows.append(self.rows[place])
                last.outcomes.append(PENDING)
                continue
            part = Chunk(
                self._fan,
                index,
                [self.rows[place]],
                resume=each.resume,
                origin=self.origin or self,
                alone=each.suspect,
            )
            if place in self.replays:
                part.replays[0] = self.replays[place]
            parts.append(part)
        return parts

    def follows_simply(self, index: int) -> bool:
        """Whether the item with this index may be appended."""
        return self.resume is None and not self.alone and self.first + len(self.rows) == index
