"""`Query`: which runs a listing has and in which order; and the cursor that says where in it a page has ended.

A cursor belongs to its query: filters and order are in its fingerprint. It names the last row by its place in the order
(the key, then the order in which the store got the rows), so a page begins behind that row whether it is still there or
not, and costs the same however deep it lies.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

from eagerly._sentinel import UNSET, UnsetType
from eagerly.errors import InvalidCursor
from eagerly.runs._record import RunRecord
from eagerly.runs._status import RunStatus

__all__ = ["ORDERS", "OrderBy", "Query", "cursor_after", "matches", "order_key", "position"]

OrderBy: TypeAlias = Literal["created", "updated"]
ORDERS: Final[tuple[str, ...]] = get_args(OrderBy)


class Query(NamedTuple):
    """Which runs, in which order, and how many of them.

    Attributes:
        task: The name of the task.
        statuses: One of these; an empty tuple matches nothing, as for `ids` and `tags`.
        ids: One of these.
        parent: The run that they were made by; None: those that nobody made; UNSET: any.
        session: The session that they belong to.
        tags: All of these.
        since: Created then or later, in microseconds.
        until: Created before.
        order_by: ``"created"`` or ``"updated"``.
        descending: The last one first.
        after: Order key and place of the last run of the page before.
        limit: How many.
        offset: How many to leave out.
    """

    task: str | None = None
    statuses: tuple[RunStatus, ...] | None = None
    ids: tuple[str, ...] | None = None
    parent: str | UnsetType | None = UNSET
    session: str | None = None
    tags: tuple[str, ...] | None = None
    since: int | None = None
    until: int | None = None
    order_by: str = "created"
    descending: bool = False
    after: tuple[int, int] | None = None
    limit: int = 100
    offset: int = 0

    @property
    def impossible(self) -> bool:
        """Whether no run can match, as one has to be in an empty list."""
        return () in (self.statuses, self.ids, self.tags)


def order_key(query: Query, record: RunRecord) -> tuple[int, int]:
    """Where `record` stands in the order of `query`."""
    return (record.created_at if query.order_by == "created" else record.updated_at), record.seq


def matches(query: Query, record: RunRecord) -> bool:
    """Whether `record` is one of those that `query` asks for, wherever its page begins."""
    return (
        (query.task is None or record.task == query.task)
        and (query.statuses is None or record.status in query.statuses)
        and (query.ids is None or record.id in query.ids)
        and (query.parent is UNSET or record.parent_id == query.parent)
        and (query.session is None or record.session_id == query.session)
        and (query.tags is None or (bool(query.tags) and set(query.tags) <= set(record.tags)))
        and (query.since is None or record.created_at >= query.since)
        and (query.until is None or record.created_at < query.until)
    )


def cursor_after(query: Query, record: RunRecord) -> str:
    """The cursor of the page that begins behind `record`."""
    told = json.dumps([_fingerprint(query), *order_key(query, record)], separators=(",", ":"))
    return base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")


def position(query: Query, cursor: str) -> tuple[int, int]:
    """The order key and the place that `cursor` names.

    Raises:
        InvalidCursor: It is none, or was given out for another query.
    """
    try:
        told: Any = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        fingerprint, key, seq = told
        if any(type(each) is not int or abs(each) >= 2**63 for each in (key, seq)):
            raise TypeError("a place is two numbers")
    except (ValueError, TypeError, RecursionError):
        raise InvalidCursor(
            f"{cursor!r} is no cursor; pass on the .cursor of the page before, or None for the first"
        ) from None
    if fingerprint != _fingerprint(query):
        raise InvalidCursor(
            "the cursor belongs to a listing with other filters or another order; pass it to the very call that gave it"
            " (a timedelta means another moment each time: write a datetime), or None for the first page"
        )
    return key, seq


def _fingerprint(query: Query) -> str:
    asked = query._replace(after=None, limit=0, offset=0)
    return hashlib.sha256(repr(asked).encode()).hexdigest()[:12]
