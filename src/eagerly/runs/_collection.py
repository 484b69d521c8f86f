"""The functions of `eagerly.runs`: what can be done to the runs of the active store, by their ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Unpack, overload

from eagerly._definitions import Definition, name_in_records, task_meant
from eagerly._run_store import settled_run_store
from eagerly._scope import current_session
from eagerly._sentinel import UNSET, UnsetType
from eagerly._task import Task
from eagerly.errors import OptionValueError
from eagerly.runs._actions import (
    cancel_run,
    create_run,
    must_get,
    new_record,
    output_of,
    stop_run,
    update_run,
)
from eagerly.runs._limits import size, so_long_ago, waiting_time, whole_number
from eagerly.runs._listing import Filters, RunPage, all_of, make_query, numbered_page, page_behind
from eagerly.runs._live import LIVE
from eagerly.runs._query import Query
from eagerly.runs._record import RunError
from eagerly.runs._run import Run, id_of
from eagerly.runs._waiting import wait_for

__all__ = ["cancel", "create", "get", "iter", "list", "output", "prune", "stop", "update", "wait"]


def get(run: str | Run[Any], /) -> Run[Any]:
    """The run with this id.

    Raises:
        RunNotFound: There is none.
    """
    store = settled_run_store()
    return Run(store, must_get(store, id_of("get(run)", run)))


@overload
def list(*, limit: int = 100, cursor: str | None = None, **filters: Unpack[Filters]) -> RunPage: ...
@overload
def list(*, page: int, page_size: int = 50, **filters: Unpack[Filters]) -> RunPage: ...
def list(
    *,
    limit: int | UnsetType = UNSET,
    cursor: str | None = None,
    page: int | UnsetType = UNSET,
    page_size: int | UnsetType = UNSET,
    **filters: Unpack[Filters],
) -> RunPage:
    """A page of runs, the first one first.

    A run that was there at the first page, stays and goes on matching is on exactly one page, whatever is added and
    removed meanwhile. That holds for the order ``"created"``; in the order ``"updated"`` runs move while they change.

    Args:
        limit: How many, 1 to 1000; 100 if it is not given.
        cursor: The `cursor` of the page before, in a call with the same filters and order.
        page: Instead of a cursor: the number of a page, from 1. The page then knows the `total`.
        page_size: How many a numbered page has, 1 to 1000; 50 if it is not given.
        filters: See below.

    A run has to match all that is given:

    ==============  =================================================================================
    ``task``        the name of the task in records, its id or the beginning of that, or the task
    ``status``      ``"running"``, ...
    ``statuses``    one of several
    ``ids``         one of several, 1000 at most
    ``parent``      made by that run; None: by none
    ``session``     made in that session
    ``tags``        has all of these
    ``since``       created then or later; a timedelta: that long ago
    ``until``       created before
    ``order_by``    ``"created"`` or ``"updated"``
    ``descending``  True: the last one first
    ==============  =================================================================================

    An empty list matches nothing.

    Raises:
        OptionTypeError, OptionValueError: An argument cannot work.
        InvalidCursor: It is none, or that of a call with other filters.
        AmbiguousName: `task` is the beginning of the ids of several tasks of this process.
        TaskNotFound: `task` is an id that no task of this process has.

    Example:
        >>> from eagerly import runs, session
        >>> with session(run_store="memory://docs"):
        ...     made = [runs.create("import", tags=["nightly"]) for _ in range(3)]
        ...     page = runs.list(task="import", limit=2)
        ...     rest = runs.list(task="import", limit=2, cursor=page.cursor)
        >>> len(page), len(rest), rest.cursor
        (2, 1, None)
    """
    store, query = settled_run_store(), query_of(filters)
    if page is UNSET and page_size is UNSET:
        chosen = 100 if limit is UNSET else size("list(limit=...)", limit)
        return page_behind(store, query, chosen, cursor)
    if page is UNSET:
        raise OptionValueError("list(page_size=...) is for page numbers; write page=1 too, or limit=... instead")
    if limit is not UNSET or cursor is not None:
        raise OptionValueError("list(page=...) numbers the pages; write page_size=... and no limit or cursor")
    return numbered_page(store, query, page, 50 if page_size is UNSET else size("list(page_size=...)", page_size))


def iter(**filters: Unpack[Filters]) -> Iterator[Run[Any]]:
    """All runs that match, a page at a time; see `list` for what that promises.

    Args:
        filters: As for `list`.
    """
    store, query = settled_run_store(), query_of(filters)
    return (run for batch in all_of(store, query, 100) for run in batch)


def query_of(filters: Filters) -> Query:
    """What is asked for, checked, with the task by its name in records."""
    asked = filters.copy()
    asked["task"] = name_in_records("list(task=...)", filters.get("task"))
    return make_query(**asked)


def create(
    task: str | Task[..., Any] | Definition,
    inputs: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    parent: str | Run[Any] | None = None,
    tags: Iterable[str] = (),
    steps: int | None = None,
    task_version: str | None = None,
    input_summary: str | None = None,
    idempotency_key: str | None = None,
) -> Run[Any]:
    """A new run, which another program moves forward with `update`. It is pending, and belongs to no process.

    Args:
        task: What is run: any name, the id of a task in this process, or a task or definition.
        inputs: What it is given: names to what JSON has.
        name: A name for people.
        parent: The run that makes it.
        tags: Words to find it by, of 500 characters at most.
        steps: Of how many steps it is.
        task_version: The version of what is run.
        input_summary: What to show of the inputs; 1000 characters at most. By default their beginning.
        idempotency_key: If there is a run with this key already, that one is returned. 500 characters at most.

    Raises:
        OptionTypeError, OptionValueError: An argument cannot work.
        OutputNotSerializable: JSON does not have something that is in `inputs`.
        AmbiguousName: Several tasks of this process have this name; write the id of one, or the task.
        TaskNotFound: It is an id that no task of this process has.
        RunNotFound: There is no run `parent`.
    """
    store, session = settled_run_store(), current_session()
    task_name, version = task_meant("create(task)", task)
    record = new_record(
        store,
        task_name,
        inputs,
        name=name,
        parent=None if parent is None else id_of("create(parent=...)", parent),
        session_id=None if session is None else str(session.session_id),
        task_version=version if task_version is None else task_version,
        tags=tags,
        steps=steps,
        input_summary=input_summary,
        idempotency_key=idempotency_key,
    )
    return Run(store, create_run(store, record))


def update(
    run: str | Run[Any],
    /,
    *,
    status: str | UnsetType = UNSET,
    output: Any = UNSET,
    output_summary: str | UnsetType | None = UNSET,
    progress: float | UnsetType = UNSET,
    step: int | UnsetType | None = UNSET,
    steps: int | UnsetType | None = UNSET,
    message: str | UnsetType | None = UNSET,
    progress_data: Any = UNSET,
    attempt: int | UnsetType = UNSET,
    error: BaseException | RunError | Mapping[str, str] | str | UnsetType = UNSET,
) -> Run[Any]:
    """Move a run forward: change what is given, all of it at once, or nothing.

    Args:
        run: Its id, or the run.
        status: What it becomes. Completed, failed and cancelled are final.
        output: What it gives; None is null.
        output_summary: What to show of that; 1000 characters at most. None: nothing.
        progress: From 0 to 1. Follows from `step` and `steps` where only these are given.
        step: At which step it is; not more than `steps`. None: it has no steps.
        steps: Of how many.
        message: What it does. None: nothing.
        progress_data: Anything of what JSON has. None: nothing.
        attempt: 1 for the first.
        error: Why it has failed, with ``status="failed"``: an exception, a message, or a mapping with ``type``,
            ``message`` and ``traceback``.

    Raises:
        OptionTypeError, OptionValueError: Nothing is given, or a value cannot work.
        InvalidTransition: It cannot become that, or has ended.
        OutputNotSerializable: JSON does not have something that is in `output`; the run is as before.
        RunNotFound: There is no such run.
    """
    given = {
        "status": status,
        "output": output,
        "output_summary": output_summary,
        "progress": progress,
        "step": step,
        "steps": steps,
        "message": message,
        "progress_data": progress_data,
        "attempt": attempt,
        "error": error,
    }
    store = settled_run_store()
    return Run(store, update_run(store, id_of("update(run)", run), given).after)


def stop(run: str | Run[Any], /) -> Run[Any]:
    """Ask a run to stop; see `Run.stop`.

    Raises:
        RunNotFound: There is no such run.
    """
    store = settled_run_store()
    return Run(store, stop_run(store, id_of("stop(run)", run)).after)


def cancel(run: str | Run[Any], /, reason: str | None = None) -> Run[Any]:
    """Make a run cancelled; see `Run.cancel`.

    Args:
        run: Its id, or the run.
        reason: Why; 500 characters at most.

    Raises:
        InvalidTransition: It has ended.
        RunNotFound: There is no such run.
    """
    store = settled_run_store()
    return Run(store, cancel_run(store, id_of("cancel(run)", run), reason).after)


def wait(run: str | Run[Any], /, timeout: float | None = None) -> Run[Any]:
    """Wait until a run has ended, however it does.

    Args:
        run: Its id, or the run.
        timeout: Seconds to wait at most; None: without end.

    Raises:
        RunTimeout: It has not ended by then. It goes on.
        RunNotFound: There is no such run.
    """
    store = settled_run_store()
    limit = waiting_time("wait(timeout=...)", timeout)
    run_id = id_of("wait(run)", run)
    live = LIVE.get(run_id)
    if live is not None:
        return Run[Any](store, live.record, live).wait(limit)
    return Run(store, wait_for(store, run_id, limit))


def output(run: str | Run[Any], /) -> Any:
    """What a run has given.

    Raises:
        OutputMissing: Nothing, or the file that it is in has gone.
        OutputCorrupt: It is not what was written.
        RunNotFound: There is no such run.
    """
    store = settled_run_store()
    return output_of(store, must_get(store, id_of("output(run)", run)))


def prune(*, older_than: float | timedelta | None = None, keep: int | None = None) -> int:
    """Remove runs that have ended, and the outputs that no other run has. Those that are given both go by both.

    A run goes together with all that it has made, and only when all of them have ended.

    Args:
        older_than: Seconds, or a timedelta: only what has ended that long ago.
        keep: Only what is not among so many that were created last; runs that were made by others are not counted.

    Returns:
        How many runs were removed.

    Raises:
        OptionTypeError, OptionValueError: Neither is given, or one cannot work.
    """
    if older_than is None and keep is None:
        raise OptionValueError("prune() with neither would remove all that has ended; write prune(keep=0) for that")
    before = None if older_than is None else so_long_ago("prune(older_than=...)", older_than)
    at_least = None if keep is None else whole_number("prune(keep=...)", keep)
    return settled_run_store().prune(before=before, keep=at_least)
