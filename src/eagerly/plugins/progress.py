"""`ProgressPlugin`: shows a `CallTree` while it grows. Live on a terminal, line by line everywhere else.

rich draws the live display and nothing else; it is imported when one is needed, so that plain lines go without it.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TextIO

from eagerly import TaskMetadata, hook_impl
from eagerly.errors import EagerlyError
from eagerly.plugins.drawing import Row, describe, draw, duration_of, mark_of, needs_ascii, to_ascii
from eagerly.plugins.tree import Call, CallTree

if TYPE_CHECKING:
    from uuid import UUID

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from eagerly.typing import ProgressLine

__all__ = ["ProgressPlugin", "RichMissingError"]

_STYLES: Final = {
    "running": "cyan",
    "retrying": "yellow",
    "ok": "",
    "cached": "dim",
    "failed": "red",
    "cancelled": "dim",
    "": "dim",
}
_DEEPEST: Final = 20
"""Levels of indentation that plain lines have at most."""


class RichMissingError(EagerlyError, ImportError):
    """The live display was asked for, and rich is not installed."""


class ProgressPlugin(CallTree):
    """Shows what runs, while it runs.

    On a terminal: a tree that is redrawn a few times a second and stays as it was when the session ended. Elsewhere (a
    file, a pipe, a build log): a line for each retry and each end of a call, indented under its caller; a call that was
    found in the cache is at its end at once. Colours are left out where the environment variable ``NO_COLOR`` is set.

    Maps with ``progress=`` have a line below the tree, which goes above it when they are over.

    Inner sessions share the display of the outer one. When the last session that it observes has been left, it is taken
    down and everything is forgotten, so one plugin may serve many sessions.

    Args:
        file: Where to write. Default: `sys.stderr`, as it is now.
        live: True: redraw the tree. False: plain lines, without rich. None: as `file` is a terminal or not.
        siblings: How many calls of each caller are shown; the others are counted. A failed call is always a plain line.

    Raises:
        RichMissingError: A live display is needed and rich is not installed (also an `ImportError`).

    Example:
        >>> from eagerly import session, task
        >>> @task
        ... def double(x):
        ...     return 2 * x
        >>> with session(plugins=[ProgressPlugin(file=sys.stdout, live=False)]):  # doctest: +ELLIPSIS
        ...     double(21)
        ✓ double  ... ms  42
        42
    """

    def __init__(self, *, file: TextIO | None = None, live: bool | None = None, siblings: int = 20) -> None:
        super().__init__()
        out: TextIO = sys.stderr if file is None else file
        live = _is_terminal(out) if live is None else live
        self._siblings = siblings
        self._sessions: set[UUID] = set()
        self._lines = None if live else _Lines(out, siblings)
        self._display = _Display(out, self._rows) if live else None

    @hook_impl
    def before_session_start(self, session_id: UUID) -> None:
        self._sessions.add(session_id)

    @hook_impl
    def before_node_execute(self, metadata: TaskMetadata) -> None:
        super().before_node_execute(metadata)
        if self._display is not None:
            self._display.start()

    @hook_impl
    def on_cache_hit(self, metadata: TaskMetadata, value: Any) -> None:
        super().on_cache_hit(metadata, value)
        if self._display is not None:
            self._display.start()

    def changed(self, call: Call) -> None:
        if self._lines is not None:
            self._lines.tell(call)

    @hook_impl
    def after_session_end(self, session_id: UUID) -> None:
        self._sessions.discard(session_id)
        if self._sessions:
            return
        if self._display is not None:
            self._display.stop()
        self.clear()
        if self._lines is not None:
            self._lines.finish()

    def shows_maps(self) -> bool:
        """Whether maps with ``progress=`` are shown below the tree: where there is a live one."""
        return self._display is not None

    def map_started(self, line: ProgressLine, /) -> None:
        """Show `line` below the tree."""
        if self._display is not None:
            self._display.begin(line)

    def map_ended(self, line: ProgressLine, /) -> None:
        """Leave `line` above the tree."""
        if self._display is not None:
            self._display.end(line)

    def _rows(self, ascii: bool) -> list[Row]:  # noqa: A002  # as in `rows`
        return self.rows(siblings=self._siblings, ascii=ascii)


class _Lines:
    """Plain lines. Used by one thread at a time."""

    def __init__(self, file: TextIO, siblings: int) -> None:
        self._file: TextIO | None = file
        self._siblings = siblings
        self._ascii = needs_ascii(file)
        self._told: dict[UUID | None, int] = {}  # by caller, while that runs: calls that did not fail

    def tell(self, call: Call) -> None:
        if call.state == "retrying":
            self._write(call, describe(call))
        elif call.state != "running":
            unseen = self._told.pop(call.id, 0) - self._siblings
            if call.state == "failed" or not self._is_too_many(call):
                facts = ", ".join(filter(None, [describe(call), _more(unseen)]))
                self._write(call, "  ".join(filter(None, [duration_of(call), facts])))

    def finish(self) -> None:
        """The last session has been left."""
        unseen = self._told.pop(None, 0) - self._siblings
        self._told.clear()
        if unseen > 0:
            self._print(f"… {_more(unseen)}")

    def _is_too_many(self, call: Call) -> bool:
        caller = call.parent
        if caller is None or (caller.id is not None and caller.duration is not None):
            return False  # its caller has ended and will not sum up any more
        told = self._told[caller.id] = self._told.get(caller.id, 0) + 1
        return told > self._siblings

    def _write(self, call: Call, text: str) -> None:
        depth, caller = 0, call.parent
        while caller is not None and caller.id is not None:
            depth, caller = depth + 1, caller.parent
        self._print(f"{'  ' * min(depth, _DEEPEST)}{mark_of(call.state, ascii=self._ascii)} {call.name}  {text}")

    def _print(self, line: str) -> None:
        if self._file is None:
            return
        line = to_ascii(line) if self._ascii else line
        try:
            self._file.write(f"{line}\n")
            self._file.flush()
        except (OSError, ValueError):  # the reader of the pipe is gone, or the file has been closed
            self._file = None


def _more(unseen: int) -> str:
    return f"{unseen:,} more {'call' if unseen == 1 else 'calls'} without failure" if unseen > 0 else ""


class _Display:
    """A tree that is redrawn a few times a second by a thread of rich's, between `start` and `stop`."""

    def __init__(self, file: TextIO, rows: Callable[[bool], list[Row]]) -> None:
        try:
            from rich.console import Console
        except ImportError as error:
            raise RichMissingError(
                "ProgressPlugin() needs rich to draw on a terminal, and rich is not installed; "
                'run: pip install "eagerly[rich]"  (or write ProgressPlugin(live=False) for plain lines)'
            ) from error
        colourless = bool(os.environ.get("NO_COLOR"))
        self._console: Console = Console(file=file, force_terminal=True, no_color=colourless, highlight=False)
        self._styles = {} if colourless else _STYLES
        self._rows = rows
        self._ascii = needs_ascii(file)
        self._maps: list[ProgressLine] = []
        self._live: Live | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Take the place at the bottom of the terminal, unless it is taken already."""
        if self._live is not None:
            return
        from rich.live import Live

        with self._lock:
            if self._live is None:
                live = Live(
                    console=self._console,
                    get_renderable=self._draw_what_fits,
                    refresh_per_second=8,
                    transient=True,
                    # What the program prints goes above the tree, but what it prints elsewhere stays there.
                    redirect_stdout=_is_terminal(sys.stdout),
                    redirect_stderr=_is_terminal(sys.stderr),
                )
                live.start()
                atexit.register(self.stop)  # gives the cursor back, even if the session is never left
                self._live = live

    def begin(self, line: ProgressLine) -> None:
        """Show the line of a map below the tree."""
        self._maps = [*self._maps, line]
        self.start()

    def end(self, line: ProgressLine) -> None:
        """Leave the line of a map above the tree."""
        from rich.text import Text

        self._maps = [each for each in self._maps if each is not line]
        text = line.text(self._console.width, ascii=self._ascii)
        self._console.print(Text(text, no_wrap=True, overflow="crop"), crop=True)

    def stop(self) -> None:
        """Put the whole tree in the place of the live one, and give the terminal back."""
        with self._lock:
            live, self._live = self._live, None
        if live is not None:
            atexit.unregister(self.stop)
            live.stop()
            self._console.print(self._draw(self._lines_with_styles()), crop=True)

    def _draw_what_fits(self) -> Text:
        maps = [(line.text(self._console.width, ascii=self._ascii), "running") for line in self._maps]
        lines, room = [*self._lines_with_styles(), *maps], self._console.height - 1
        if len(lines) > room:
            above = len(lines) - room + 1
            lines = [(f"… {above:,} lines above", ""), *lines[above:]]
        return self._draw(lines)

    def _lines_with_styles(self) -> list[tuple[str, str]]:
        rows = self._rows(self._ascii)
        lines = draw(rows, width=self._console.width, ascii=self._ascii)
        return [(line, row.state) for line, row in zip(lines, rows, strict=True)]

    def _draw(self, lines: list[tuple[str, str]]) -> Text:
        from rich.text import Text

        styled = [Text(line, self._styles.get(state, "")) for line, state in lines]
        return Text("\n", no_wrap=True, overflow="crop").join(styled)


def _is_terminal(file: object) -> bool:
    try:
        return bool(file.isatty()) and os.environ.get("TERM") != "dumb"  # type: ignore[attr-defined]  # any file-like
    except (AttributeError, ValueError):  # None, as under pythonw, or closed
        return False
