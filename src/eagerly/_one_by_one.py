"""A map whose items run in the thread that reads it: one whenever a result is asked for, so nothing is handed out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from eagerly._chunk import Failure
from eagerly._item import ItemScope
from eagerly._item_run import item_runner
from eagerly._share import unwrapped

if TYPE_CHECKING:
    from eagerly._fanout import Fanout

__all__ = ["one_by_one"]


def one_by_one(fan: Fanout, rows: Iterator[Any]) -> Iterator[None]:
    """Whenever one item of `rows` has ended, as it is asked for: how is in the hand of `fan`."""
    scope, context, unary, hand = fan.scope, fan.context, fan.unary, fan.hand
    run = item_runner(fan.task, fan.loops)
    for index, row in enumerate(rows):
        args = unwrapped((row,) if unary else row)
        try:
            hand.append(context.copy().run(run, ItemScope(scope, index), args))
        except BaseException as error:
            hand.append(Failure(error, time.time()))
            fan.tally.count(index, row, hand[0])
            if fan.tally.is_to_raise(error):
                raise
        else:
            if not fan.tally.idle:
                fan.tally.count(index, row, hand[0])
        del args, row
        yield
