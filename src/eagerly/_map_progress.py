"""What ``progress=`` of a map shows: how many items are done, how fast, how many failed, how long the rest will take.

A plugin of the session that shows maps does it, such as `ProgressPlugin` with its live display, as two displays would
draw over each other. Else a terminal has a line that is redrawn, with rich; elsewhere there is a plain line now and
then. Nothing is shown when not asked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Protocol

from eagerly._map_display import display_on
from eagerly._map_line import MapLine
from eagerly._scope import here, open_session
from eagerly.errors import OptionTypeError
from eagerly.hooks._compile import plugin_name
from eagerly.typing import ShowsMaps

if TYPE_CHECKING:
    from eagerly._map_display import Display
    from eagerly._scope import SessionContext
    from eagerly._task import Task

__all__ = ["MapProgress", "progress_label", "showing"]


class MapProgress(Protocol):
    """Who is told how far a map is."""

    def known(self, total: int) -> None:
        """There are so many items."""

    def ended(self, *, failed: bool) -> None:
        """One more item has ended."""


def progress_label(where: str, progress: Any, task: Task[..., Any]) -> str | None:
    """What is shown before the numbers, or None for no progress.

    Raises:
        OptionTypeError: `progress` is no label.
    """
    if progress is None or progress is False:
        return None
    if progress is True:
        return task.name
    if not isinstance(progress, str) or not progress.strip():
        raise OptionTypeError(f"{where}(progress=...) takes True, False or a label, not {progress!r}")
    return progress


@contextlib.contextmanager
def showing(label: str | None, total: int | None) -> Generator[MapProgress | None]:
    """While this lasts, progress is shown."""
    session = open_session(here.get())
    display = None if label is None else _of_plugin(session) or display_on(session.now)
    if label is None or display is None:
        yield None
        return
    line = MapLine(label, total, session.now)
    display.begin(line)
    stopped = True
    try:
        yield _Shown(line, display)
        stopped = False
    finally:
        line.end(stopped=stopped)
        display.end(line)


class _Shown:
    def __init__(self, line: MapLine, display: Display) -> None:
        self._line = line
        self._display = display

    def known(self, total: int) -> None:
        self._line.total = total

    def ended(self, *, failed: bool) -> None:
        line = self._line
        line.done += 1
        line.failed += failed
        self._display.changed(line)


class _InPlugin:
    """A plugin only observes: what it raises is logged, and the map goes on."""

    def __init__(self, plugin: ShowsMaps) -> None:
        self._plugin = plugin

    def begin(self, line: MapLine) -> None:
        with _logged(self._plugin, "map_started"):
            self._plugin.map_started(line)

    def changed(self, line: MapLine) -> None:
        """It looks by itself."""

    def end(self, line: MapLine) -> None:
        with _logged(self._plugin, "map_ended"):
            self._plugin.map_ended(line)


def _of_plugin(session: SessionContext) -> Display | None:
    for plugin in session.plugins:
        if isinstance(plugin, ShowsMaps):
            with _logged(plugin, "shows_maps"):
                if plugin.shows_maps():
                    return _InPlugin(plugin)
    return None


@contextlib.contextmanager
def _logged(plugin: object, method: str) -> Generator[None]:
    try:
        yield
    except Exception:
        import logging

        logger = logging.getLogger("eagerly.hooks")
        logger.exception("%s() of plugin %s raised, which is ignored", method, plugin_name(plugin))
