"""`LoggingPlugin`: what tasks did, as records of the standard library's `logging`.

It speaks to one logger and configures nothing: handlers, formatters and the root logger belong to the application.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from eagerly import TaskMetadata, hook_impl
from eagerly.plugins.text import error_line, format_duration, one_line

__all__ = ["LoggingPlugin"]

Level = int | str | None

_REASONS: Final = {"cancelled": "was cancelled", "interrupted": "was interrupted", "closed": "was closed early"}


class LoggingPlugin:
    """One line for each call that ends and, at a lower level, for each that starts or is retried.

    A call whose result was in the cache has one line, as it ends at once. There is also one for each dataset that is
    saved, and for each time that the cache cannot be read or written.

    Each record carries its facts as attributes too, for formatters (``%(eagerly_task)s``), filters and handlers that
    write JSON. All records have

    ========================== ========================================================================================
    ``eagerly_event``          ``"started"``, ``"retried"``, ``"ok"``, ``"cached"``, ``"failed"``, ``"cancelled"``,
                               ``"cache_failed"`` or ``"saved"``
    ``eagerly_task``           name of the task, placeholders filled in
    ``eagerly_qualified_name`` module and qualified name of its function
    ``eagerly_attempt``        number of the attempt, from 1
    ``eagerly_call_id``        identifies the call (string)
    ``eagerly_parent_id``      the call on whose behalf it was made (string), or None
    ``eagerly_session_id``     identifies the session (string)
    ``eagerly_tags``           the task's tags, a sorted list
    ``eagerly_duration``       seconds since the first attempt started, where a call has run and ended, else None
    ``eagerly_error``          class of the error in ``"failed"``, ``"retried"`` and ``"cache_failed"``, else None
    ``eagerly_delay``          seconds until the next attempt in ``"retried"``, else None
    ``eagerly_reason``         ``"cancelled"``, ``"interrupted"`` or ``"closed"`` in ``"cancelled"``, else None
    ``eagerly_dataset``        key of the dataset in ``"saved"``, else None
    ``eagerly_path``           path or URL of its file in ``"saved"``, else None
    ========================== ========================================================================================

    What is said about a call is None where a dataset was saved outside of all.

    Arguments and results are never logged; the message of an error is, and so are the keys of datasets, into which
    ``dataset="reports/{day}.csv"`` puts an argument.

    Args:
        logger: The logger or its name.
        started: Level of the line for a call that starts.
        retried: Level of the line for an attempt that failed and will be repeated.
        ok: Level of the line for a call that returned.
        cached: Level of the line for a call whose result was in the cache.
        failed: Level of the line for a call that raised.
        cancelled: Level of the line for a call that was cancelled or interrupted.
        closed: Level of the line for a stream whose consumer took what it needed and left.
        cache_failed: Level of the line for a call that goes on without its cache.
        saved: Level of the line for a dataset.
        tracebacks: Whether a failed call's record has the exception (``exc_info``), which most formatters print as a
            traceback of many lines.

    A level is a number, a name such as ``"INFO"``, or None for no line.

    Raises:
        TypeError: `logger` or a level has the wrong type.
        ValueError: A level's name is unknown to `logging`.

    Example:
        >>> from eagerly import session
        >>> with session(plugins=[LoggingPlugin(ok="DEBUG", retried="WARNING")]):
        ...     pass
    """

    def __init__(
        self,
        logger: str | logging.Logger = "eagerly.tasks",
        *,
        started: Level = logging.DEBUG,
        retried: Level = logging.DEBUG,
        ok: Level = logging.INFO,
        cached: Level = logging.INFO,
        failed: Level = logging.ERROR,
        cancelled: Level = logging.WARNING,
        closed: Level = logging.INFO,
        cache_failed: Level = logging.WARNING,
        saved: Level = logging.INFO,
        tracebacks: bool = False,
    ) -> None:
        if isinstance(logger, str):
            logger = logging.getLogger(logger)
        elif not isinstance(logger, logging.Logger):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers unchecked
            raise TypeError(f"LoggingPlugin takes a logger or its name, not {logger!r}")
        self._logger = logger
        self._started = _number("started", started)
        self._retried = _number("retried", retried)
        self._ok = _number("ok", ok)
        self._cached = _number("cached", cached)
        self._failed = _number("failed", failed)
        self._cancelled = _number("cancelled", cancelled)
        self._closed = _number("closed", closed)
        self._cache_failed = _number("cache_failed", cache_failed)
        self._saved = _number("saved", saved)
        self._tracebacks = tracebacks

    @hook_impl
    def before_node_execute(self, metadata: TaskMetadata) -> None:
        if self._logger.isEnabledFor(self._started):
            self._log(self._started, metadata, "started", "started")

    @hook_impl
    def before_node_retry(self, metadata: TaskMetadata, attempt: int, error: Exception, delay: float) -> None:
        if self._logger.isEnabledFor(self._retried):
            does = f"will be retried in {format_duration(delay)} (attempt {attempt}) after {error_line(error)}"
            # As in all other records: the attempt that this is about, which is the one that failed.
            self._log(self._retried, metadata, "retried", does, attempt=attempt - 1, error=error, delay=delay)

    @hook_impl
    def after_node_execute(self, metadata: TaskMetadata, duration: float) -> None:
        if self._logger.isEnabledFor(self._ok):
            self._log(self._ok, metadata, "ok", f"succeeded {_took(metadata, duration)}", duration=duration)

    @hook_impl
    def on_node_error(self, metadata: TaskMetadata, error: Exception, duration: float) -> None:
        if self._logger.isEnabledFor(self._failed):
            does = f"failed {_took(metadata, duration)}: {error_line(error)}"
            self._log(self._failed, metadata, "failed", does, duration=duration, error=error)

    @hook_impl
    def on_node_cancel(self, metadata: TaskMetadata, reason: str, duration: float) -> None:
        level = self._closed if reason == "closed" else self._cancelled
        if self._logger.isEnabledFor(level):
            does = f"{_REASONS.get(reason, reason)} {_took(metadata, duration)}"
            self._log(level, metadata, "cancelled", does, duration=duration, reason=reason)

    @hook_impl
    def on_cache_hit(self, metadata: TaskMetadata) -> None:
        if self._logger.isEnabledFor(self._cached):
            self._log(self._cached, metadata, "cached", "was in the cache")

    @hook_impl
    def on_cache_error(self, metadata: TaskMetadata, error: Exception) -> None:
        if self._logger.isEnabledFor(self._cache_failed):
            does = f"goes on without its cache: {error_line(error)}"
            self._log(self._cache_failed, metadata, "cache_failed", does, error=error)

    @hook_impl
    def after_dataset_save(self, key: str, format: str, metadata: TaskMetadata | None, path: str) -> None:  # noqa: A002  # as in the hook
        if self._logger.isEnabledFor(self._saved):
            self._log(self._saved, metadata, "saved", f"saved dataset {one_line(key)} ({format})", key=key, path=path)

    def _log(
        self,
        level: int,
        metadata: TaskMetadata | None,
        event: str,
        does: str,
        *,
        attempt: int | None = None,
        duration: float | None = None,
        error: Exception | None = None,
        delay: float | None = None,
        reason: str | None = None,
        key: str | None = None,
        path: str | None = None,
    ) -> None:
        facts: dict[str, Any] = {
            "event": event,
            **_about(metadata),
            "duration": duration,
            "error": None if error is None else type(error).__name__,
            "delay": delay,
            "reason": reason,
            "dataset": key,
            "path": path,
        }
        if attempt is not None:
            facts["attempt"] = attempt
        message, words = ("%s", (does,)) if metadata is None else ("task %s %s", (one_line(facts["task"]), does))
        self._logger.log(
            level,
            message,
            *words,
            exc_info=error if self._tracebacks and event == "failed" else None,
            extra={f"eagerly_{fact}": value for fact, value in facts.items()},
        )


_NEVER: Final = -1
"""A level that no logger is enabled for."""


def _number(event: str, level: Level) -> int:
    if level is None:
        return _NEVER
    if isinstance(level, str):
        names = logging.getLevelNamesMapping()
        if level.upper() not in names:
            raise ValueError(
                f"LoggingPlugin({event}={level!r}): logging has no such level; there are {', '.join(names)}"
            )
        return names[level.upper()]
    if isinstance(level, bool) or not isinstance(level, int):  # pyright: ignore[reportUnnecessaryIsInstance]  # checked for people
        raise TypeError(f"LoggingPlugin({event}=...) takes a level such as logging.INFO or 'INFO', not {level!r}")
    return level


def _about(metadata: TaskMetadata | None) -> dict[str, Any]:
    """The facts about a call; each of them None where there was none."""
    if metadata is None:
        return dict.fromkeys(_OF_CALLS)
    parent = metadata.parent_id
    return {
        "task": metadata.name,
        "qualified_name": metadata.qualified_name,
        "attempt": metadata.attempt,
        "call_id": str(metadata.id),
        "parent_id": None if parent is None else str(parent),
        "session_id": str(metadata.session_id),
        "tags": sorted(metadata.tags),
    }


_OF_CALLS: Final = ("task", "qualified_name", "attempt", "call_id", "parent_id", "session_id", "tags")


def _took(metadata: TaskMetadata, duration: float) -> str:
    attempts = "" if metadata.attempt == 1 else f"after {metadata.attempt} attempts "
    return f"{attempts}in {format_duration(duration)}"
