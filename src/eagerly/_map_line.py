"""`MapLine`: how far a map is, in one line. It counts and finds the words; where they are shown is no matter here."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["MapLine"]

LABEL: Final = 30
"""Characters of a label that are shown."""

BAR: Final = 40
SHORTEST_BAR: Final = 8
"""Characters that a bar has at most, and with how few it is left out."""

SAMPLES: Final = 60
INTERVAL: Final = 0.5
"""How many notes are kept of how far the map is, and how far apart: the speed is that of the last half a minute."""

_BARS: Final = {False: ("━", "─"), True: ("#", "-")}


class MapLine:
    """One map that is under way.

    Attributes:
        label: What is shown before the numbers.
        total: How many items there are, or None if that is not known.
        done: How many have ended.
        failed: How many of those have failed.

    Args:
        label: As above; control characters are not shown.
        total: As above.
        now: Tells the time, in seconds.
    """

    def __init__(self, label: str, total: int | None, now: Callable[[], float]) -> None:
        text = "".join(char if char.isprintable() else "?" for char in " ".join(label[:500].split()))
        self.label = text if len(text) <= LABEL else text[: LABEL - 1] + "…"
        self.total = total
        self.done = self.failed = 0
        self._now = now
        self._started = now()
        self._over: float | None = None
        self._stopped = False
        self._samples: deque[tuple[float, int]] = deque([(self._started, 0)], maxlen=SAMPLES)

    def end(self, *, stopped: bool) -> None:
        """The map is over: all items have ended, or it was stopped before."""
        self._over = self._now()
        self._stopped = stopped
        if not stopped:
            self.total = self.done

    def text(self, width: int | None = None, *, ascii: bool = False) -> str:  # noqa: A002 - as in builtins
        """The line as plain text.

        Args:
            width: Characters that it may have; None: any number, and no bar.
            ascii: Use no characters beyond ASCII.
        """
        line = "".join(text for text, _ in self.parts(width, ascii=ascii))
        return line.encode("ascii", "replace").decode() if ascii else line

    def parts(self, width: int | None = None, *, ascii: bool = False) -> list[tuple[str, str]]:  # noqa: A002 - as in builtins
        """The line in pieces, each with the name of its colour or an empty text."""
        label = self.label.replace("…", "...") if ascii else self.label
        facts = [("", label), *self._facts()]
        drawn = [facts[0]]
        if width is not None and self._over is None and self.total:
            room = min(BAR, width - sum(len(text) + 2 for _, text in facts))
            if room >= SHORTEST_BAR:
                full, empty = _BARS[ascii]
                filled = min(room, room * self.done // self.total)
                drawn += [("cyan", full * filled + empty * (room - filled))]
        return _fitting([*drawn, *facts[1:]], width)

    def _facts(self) -> Iterator[tuple[str, str]]:
        over, done, total = self._over is not None, self.done, self.total
        yield "", f"{done:,}" if total is None else f"{done:,}/{total:,}"
        seconds = (self._now() if self._over is None else self._over) - self._started
        if over:
            yield "", f"{'stopped after' if self._stopped else 'in'} {_duration(seconds)}"
        rate = self._average(seconds) if over else self._speed()
        if rate:
            yield "", _rate(rate)
            if not over and total is not None and total > done:
                yield "", f"{_duration((total - done) / rate)} left"
        if self.failed or over:
            yield "red" if self.failed else "", f"{self.failed:,} failed" if self.failed else "none failed"

    def _average(self, seconds: float) -> float:
        return self.done / seconds if seconds > 0 else 0.0

    def _speed(self) -> float:
        """Items per second, lately."""
        now, samples = self._now(), self._samples
        if now - samples[-1][0] >= INTERVAL:
            samples.append((now, self.done))
        since, before = samples[0]
        return (self.done - before) / (now - since) if now > since else 0.0


def _fitting(facts: list[tuple[str, str]], width: int | None) -> list[tuple[str, str]]:
    """As much of `facts` as `width` allows, from the first on, with space between."""
    parts: list[tuple[str, str]] = []
    room = width
    for number, (colour, fact) in enumerate(facts):
        text = f"  {fact}" if number else fact
        if room is not None:
            if len(text) > room:
                text = text[:room]
            room -= len(text)
        parts.append((text, colour))
    return parts


def _duration(seconds: float) -> str:
    """For example ``0.3 s``, ``12 s``, ``2 min 05 s``, ``3 h 07 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, of_hour = divmod(minutes, 60)
    return f"{hours:,} h {of_hour:02} min" if hours else f"{minutes} min {rest:02} s"


def _rate(rate: float) -> str:
    """For example ``1,200/s``, ``8.4/s``, ``12/min``."""
    for unit, factor in (("s", 1), ("min", 60)):
        if rate * factor >= 1:
            return f"{rate * factor:,.0f}/{unit}" if rate * factor >= 10 else f"{rate * factor:.1f}/{unit}"
    return f"{rate * 3600:.1f}/h"
