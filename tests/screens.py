"""A file that is a terminal as far as anybody can tell, and what one would show of it. Helpers only."""

from __future__ import annotations

import io
import re
import threading

__all__ = ["COLOUR", "HIDE_CURSOR", "SHOW_CURSOR", "Screen", "on_screen"]

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
COLOUR = re.compile(r"\x1b\[[\d;]*m")


def on_screen(output: str) -> list[str]:
    """What a terminal shows after `output`: as much of one as rich needs, without limits to height and width."""
    lines, row, column = [""], 0, 0
    for control, count, command, text in re.findall(r"(\r|\n)|\x1b\[([\d;?]*)([A-Za-z])|([^\r\n\x1b]+)", output):
        if control == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif control == "\r":
            column = 0
        elif command == "A":
            row -= int(count or 1)
            assert row >= 0, "the display goes up to where it has never been"
        elif command == "K":
            lines[row] = ""
        elif text:
            lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
            column += len(text)
        else:
            assert command in "mhl", f"the test does not know what {command} does"
    return [line.rstrip() for line in lines if line.strip()]


class Screen(io.StringIO):
    """A file that says it is a terminal, and on which one can wait for something to appear."""

    encoding = "utf-8"

    def __init__(self) -> None:
        super().__init__()
        self._written = threading.Condition()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._written:
            count = super().write(text)
            self._written.notify_all()
        return count

    def wait_for(self, text: str) -> None:
        with self._written:
            assert self._written.wait_for(lambda: text in self.getvalue(), timeout=20), self.getvalue()

    @property
    def last(self) -> list[str]:
        """What stays when the display has been taken down."""
        return on_screen(self.getvalue())
