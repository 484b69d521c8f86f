"""Lists of runs: what people ask for as a `Query`, and pages of what is found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, TypedDict
from uuid import UUID

from eagerly._sentinel import UNSET, UnsetType
from eagerly.errors import OptionTypeError, OptionValueError
from eagerly.runs._actions import run_status
from eagerly.runs._limits import MAX_PAGE, page_number, since_when, tag_list, text
from eagerly.runs._protocol import RunStore
from eagerly.runs._query import ORDERS, OrderBy, Query, cursor_after, order_key, position
from eagerly.runs._run import Run, id_of

__all__ = ["Filters", "RunPage", "all_of", "make_query", "numbered_page", "page_behind"]


class Filters(TypedDict, total=False):
    """What a listing can be told; see `eagerly.runs.list`."""

    task: Any
    status: str | None
    statuses: Iterable[str] | None
    ids: Iterable[str] | None
    parent: str | Run[Any] | UnsetType | None
    session: Any
    tags: Iterable[str] | None
    since: datetime | timedelta | None
    until: datetime | timedelta | None
    order_by: OrderBy
    descending: bool


class RunPage(list[Run[Any]]):
    """A list of runs, which knows what comes after it.

    Attributes:
        cursor: What ``runs.list(cursor=...)`` takes for the next page; None if this is the last one.
        total: How many there are on all pages, if a page number was asked for; else None.
        pages: How many pages there are then.
    """

    def __init__(
        self, runs: Iterable[Run[Any]], *, cursor: str | None = None, total: int | None = None, pages: int | None = None
    ) -> None:
        super().__init__(runs)
        self.cursor = cursor
        self.total = total
        self.pages = pages


def make_query(
    *,
    task: Any = None,
    status: str | None = None,
    statuses: Iterable[str] | None = None,
    ids: Iterable[str] | None = None,
    parent: str | Run[Any] | UnsetType | None = UNSET,
    session: Any = None,
    tags: Iterable[str] | None = None,
    since: datetime | timedelta | None = None,
    until: datetime | timedelta | None = None,
    order_by: OrderBy = "created",
    descending: bool = False,
) -> Query:
    """What is asked for, checked.

    Raises:
        OptionTypeError, OptionValueError: An argument cannot work.
    """
    if order_by not in ORDERS:
        raise OptionValueError(f"list(order_by=...) takes {' or '.join(map(repr, ORDERS))}, not {order_by!r}")
    if not isinstance(descending, bool):
        raise OptionTypeError(f"list(descending=...) takes True or False, not {descending!r}")
    if status is not None and statuses is not None:
        raise OptionValueError("list(status=..., statuses=...): write one of them")
    wanted = (status,) if status is not None else None if statuses is None else _several("statuses", statuses)
    found_ids = None if ids is None else tuple(id_of("list(ids=...)", each) for each in _several("ids", ids))
    if found_ids is not None and len(found_ids) > MAX_PAGE:
        raise OptionValueError(f"list(ids=...) takes {MAX_PAGE} at most, not {len(found_ids)}")
    return Query(
        task=None if task is None else text("list(task=...)", task, empty=False),
        statuses=None if wanted is None else tuple(run_status("list(status=...)", each) for each in wanted),
        ids=found_ids,
        parent=parent if parent is None or parent is UNSET else id_of("list(parent=...)", parent),
        session=None if session is None else _session_id(session),
        tags=None if tags is None else tag_list("list(tags=...)", tags),
        since=since_when("since", since),
        until=since_when("until", until),
        order_by=order_by,
        descending=descending,
    )


def page_behind(store: RunStore, query: Query, limit: int, cursor: str | None) -> RunPage:
    """The page that begins at `cursor`."""
    if cursor is not None:
        query = query._replace(after=position(query, text("list(cursor=...)", cursor)))
    records = store.find(query._replace(limit=limit + 1))
    more = len(records) > limit
    records = records[:limit]
    runs = [Run[Any](store, record) for record in records]
    return RunPage(runs, cursor=cursor_after(query, records[-1]) if more else None)


def numbered_page(store: RunStore, query: Query, page: int, page_size: int) -> RunPage:
    """The page of that number; the first is 1."""
    before = (page_number("list(page=...)", page) - 1) * page_size
    total = store.count(query)
    records = store.find(query._replace(limit=page_size, offset=before))
    pages = -(-total // page_size)
    return RunPage((Run[Any](store, record) for record in records), total=total, pages=pages)


def all_of(store: RunStore, query: Query, batch: int) -> Iterator[list[Run[Any]]]:
    """All runs, a batch at a time."""
    query = query._replace(limit=batch)
    while records := store.find(query):
        yield [Run[Any](store, record) for record in records]
        if len(records) < batch:
            return
        query = query._replace(after=order_key(query, records[-1]))


def _several(name: str, values: object) -> tuple[Any, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise OptionTypeError(f"list({name}=...) takes a list, not {values!r}; write {name}=[{values!r}]")
    found: Iterable[Any] = values  # pyright: ignore[reportUnknownVariableType]  # of anything
    return tuple(found)


def _session_id(session: object) -> str:
    found = session if isinstance(session, str | UUID) else getattr(session, "session_id", None)
    if not isinstance(found, str | UUID):
        raise OptionTypeError(f"list(session=...) takes a session, or its id, not {session!r}")
    return text("list(session=...)", str(found), empty=False)
