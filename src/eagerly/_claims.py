"""The datasets of a map's items: each claimed before its item leaves this process, so that no two are saved as one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from eagerly._chunk import Failure
from eagerly._dataset_saving import save_from_afar
from eagerly._item import ItemScope
from eagerly._packing import Packer, Unpackable
from eagerly._replay import ItemCall
from eagerly._stored import claim_for
from eagerly.errors import DatasetError

if TYPE_CHECKING:
    from eagerly._item import MapScope
    from eagerly._task import Task

__all__ = ["Claims", "claims_of"]


class Claims:
    """Who saves what, among the items of one map and the other calls of its session.

    Args:
        task: A task with a dataset.
        scope: The map.
        unary: Whether each item is one argument, and not a tuple of them.
        saves: Whether the results are saved here, as the workers cannot.
    """

    def __init__(self, task: Task[..., Any], scope: MapScope, *, unary: bool, saves: bool) -> None:
        self._task = task
        self._scope = scope
        self._unary = unary
        self._saves = saves
        self._held: dict[int, Callable[[], object] | None] = {}

    def claim(self, index: int, args: tuple[Any, ...]) -> None:
        """Claim the dataset of an item, once.

        Raises:
            DatasetKeyError: Another call has it, or its key cannot be one.
            UnkeyableArgument: An argument cannot be part of the cache key.
        """
        if index not in self._held:
            self._held[index] = claim_for(ItemCall(self._task, args, ItemScope(self._scope, index)))

    def saved(self, index: int, row: Any, outcome: Any) -> Any:
        """The outcome of an item that has returned, with its result saved if that is to be done here."""
        if self._saves:
            try:
                save_from_afar(ItemCall(self._task, self._args(row), ItemScope(self._scope, index)), outcome)
            except DatasetError as error:  # and nothing that a strict hook has raised
                return Failure(error, time.time())
        return outcome

    def _args(self, row: Any) -> tuple[Any, ...]:
        return (row,) if self._unary else row

    def claim_all(self, first: int, rows: list[Any]) -> None:
        """Claim those of items that follow one another.

        Raises:
            Unpackable: One of them cannot be claimed.
        """
        for place, row in enumerate(rows):
            try:
                self.claim(first + place, self._args(row))
            except Exception as error:
                raise Unpackable(place, error) from error

    def ended(self, index: int, *, failed: bool) -> None:
        """An item has ended. If it has failed, nothing was saved."""
        unclaim = self._held.pop(index, None)
        if failed and unclaim is not None:
            unclaim()

    def close(self) -> None:
        """What has not ended never will."""
        for index in list(self._held):
            self.ended(index, failed=True)


def claims_of(task: Task[..., Any], scope: MapScope, unary: bool, packer: Packer | None) -> Claims | None:
    """Those of a map; None if it saves nothing, or its items run in this process and see to it themselves."""
    if packer is None or task.declaration.dataset is None:
        return None
    return Claims(task, scope, unary=unary, saves=packer.saves_here)
