"""Where lines about maps are shown: at the bottom of a terminal, redrawn, or one after another in a file or a pipe.

rich draws on terminals and nothing else; it is imported when one is drawn on. Nothing here ever fails a map: a reader
that has gone away is not told any more.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, Protocol, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.live import Live
    from rich.text import Text

    from eagerly._map_line import MapLine

__all__ = ["Display", "display_on"]

OFTEN: Final = 1.0
SELDOM: Final = 5.0
"""Seconds between two plain lines, where a tenth of the items has ended meanwhile, and where it has not."""


class Display(Protocol):
    """Who shows lines about maps."""

    def begin(self, line: MapLine) -> None:
        """A map begins."""

    def changed(self, line: MapLine) -> None:
        """An item has ended."""

    def end(self, line: MapLine) -> None:
        """A map is over. Its line stays, as it is now."""


class PlainLines:
    """A line when a map begins, one now and then, and one when it is over.

    Args:
        file: Where to.
        now: Tells the time, in seconds.
    """

    def __init__(self, file: TextIO, now: Callable[[], float]) -> None:
        self._file = _Forgiving(file)
        self._ascii = _needs_ascii(file)
        self._now = now
        self._told_at = 0.0
        self._told_done = 0

    def begin(self, line: MapLine) -> None:
        self._tell(line)

    def changed(self, line: MapLine) -> None:
        since = self._now() - self._told_at
        if since < OFTEN or line.done == line.total:  # the last line is about to be written
            return
        much = line.total is not None and 10 * (line.done - self._told_done) >= line.total
        if much or since >= SELDOM:
            self._tell(line)

    def end(self, line: MapLine) -> None:
        self._tell(line)

    def _tell(self, line: MapLine) -> None:
        self._told_at, self._told_done = self._now(), line.done
        self._file.write(f"{line.text(ascii=self._ascii)}\n")
        self._file.flush()


class LiveLines:
    """The lines of all maps that are under way, at the bottom of a terminal. A map that is over leaves its line above.

    One for each terminal: two of them would draw over each other.
    """

    def __init__(self, file: TextIO) -> None:
        from rich.console import Console

        self.file = file
        self._ascii = _needs_ascii(file)
        self._colours = not os.environ.get("NO_COLOR")
        self._console = Console(
            file=_Forgiving(file),  # type: ignore[arg-type]  # as much of a file as is needed
            force_terminal=True,
            no_color=not self._colours,
            highlight=False,
        )
        self._lines: list[MapLine] = []
        self._live: Live | None = None
        self._lock = threading.RLock()

    def begin(self, line: MapLine) -> None:
        from rich.live import Live

        with self._lock:
            self._lines = [*self._lines, line]
            if self._live is None:
                self._live = Live(
                    console=self._console,
                    get_renderable=self._draw,
                    refresh_per_second=8,
                    transient=True,
                    # What the program prints goes above the lines, but what it prints elsewhere stays there.
                    redirect_stdout=_is_terminal(sys.stdout),
                    redirect_stderr=_is_terminal(sys.stderr),
                )
                self._live.start()
                atexit.register(self._stop)  # gives the cursor back, even if nobody reads a map to its end

    def changed(self, line: MapLine) -> None:
        """Its thread looks by itself."""

    def end(self, line: MapLine) -> None:
        with self._lock:
            self._lines = [each for each in self._lines if each is not line]
            if not self._lines:
                self._stop()
            self._console.print(self._styled(line), crop=True)

    def _stop(self) -> None:
        with self._lock:
            live, self._live = self._live, None
        if live is not None:
            atexit.unregister(self._stop)
            live.stop()

    def _draw(self) -> Text:
        from rich.text import Text

        room = max(self._console.height - 1, 1)
        return Text("\n", no_wrap=True, overflow="crop").join([self._styled(line) for line in self._lines[-room:]])

    def _styled(self, line: MapLine) -> Text:
        from rich.text import Text

        parts = line.parts(self._console.width, ascii=self._ascii)
        styled = [(text, colour) if self._colours else (text, "") for text, colour in parts]
        return Text.assemble(*styled, no_wrap=True, overflow="crop")


_terminals: list[LiveLines] = []
"""The one that there was last; kept, as several maps may be under way at once."""

_lock = threading.Lock()


def display_on(now: Callable[[], float]) -> Display | None:
    """What shows maps on the standard error stream as it is now; None where there is none."""
    file: Any = sys.stderr
    file = getattr(file, "rich_proxied_file", file)  # under a live display
    if file is None:  # as under pythonw
        return None
    if _is_terminal(file) and not os.environ.get("CI"):
        with _lock, contextlib.suppress(ImportError):
            if not _terminals or _terminals[0].file is not file:
                _terminals[:] = [LiveLines(file)]
            return _terminals[0]
    return PlainLines(file, now)


class _Forgiving:
    """A file that nobody may be reading any more."""

    def __init__(self, file: TextIO) -> None:
        self._file: TextIO | None = file

    def write(self, text: str) -> int:
        if self._file is not None:
            try:
                return self._file.write(text)
            except (OSError, ValueError):  # the reader of the pipe is gone, or the file has been closed
                self._file = None
        return len(text)

    def flush(self) -> None:
        if self._file is not None:
            try:
                self._file.flush()
            except (OSError, ValueError):
                self._file = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _needs_ascii(file: TextIO) -> bool:
    try:
        "━─…".encode(getattr(file, "encoding", None) or "utf-8")
    except (LookupError, UnicodeEncodeError):
        return True
    return False


def _is_terminal(file: Any) -> bool:
    try:
        return bool(file.isatty()) and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):  # None, or closed
        return False
