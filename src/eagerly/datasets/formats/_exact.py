"""Which trees of lists and dicts a text format gives back exactly as they were. The others are refused.

JSON, YAML and TOML would write a tuple as a list, ``1`` as the key ``"1"`` and a subclass as its base, and say nothing.
"""

from __future__ import annotations

import datetime
import enum
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from eagerly.datasets.formats._library import describe, exact_type, is_exactly, type_name
from eagerly.datasets.formats._models import is_model, model_tree
from eagerly.errors import DatasetFormatError

__all__ = ["Grammar", "exact_tree", "whole_minutes"]


class Grammar(NamedTuple):
    """What a text format can tell apart.

    Attributes:
        name: For messages.
        scalars: The types of its leaves.
        keys: The types of the keys of its dicts.
        checks: For some of the scalars, what says why a value of them cannot be written, or gives an empty text.
    """

    name: str
    scalars: frozenset[type]
    keys: frozenset[type] = frozenset({str})
    checks: Mapping[type, Callable[[Any], str]] = types.MappingProxyType({})


class Unfit(Exception):  # noqa: N818 - it never leaves this module
    """A value deep inside does not fit; its path is completed on the way up."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = ""


def exact_tree(value: Any, grammar: Grammar, default: Callable[[Any], Any] | None = None) -> Any:
    """A copy of `value` made of what the format has: dataclasses and pydantic models become dicts, all else stays.

    Args:
        value: Lists, dicts, scalars, models.
        grammar: Of the format.
        default: Gives what is to be written in the place of something that does not fit.

    Raises:
        DatasetFormatError: Something in it would not be the same when it is loaded.
    """
    try:
        return Walk(grammar, default).node(value)
    except Unfit as unfit:
        raise DatasetFormatError(
            f"{grammar.name} cannot hold this exactly: value{unfit.path} {unfit.reason}. "
            "format='pickle' keeps what Python has"
        ) from None
    except RecursionError:
        raise DatasetFormatError(
            f"{grammar.name} cannot hold this {type_name(type(value))}: it contains itself, or is nested too deeply"
        ) from None


class Walk:
    """One way through a tree."""

    def __init__(self, grammar: Grammar, default: Callable[[Any], Any] | None) -> None:
        self._grammar = grammar
        self._default = default
        self._free = grammar.scalars - grammar.checks.keys()
        """Leaves that pass without another look."""

    def node(self, node: Any) -> Any:
        grammar = self._grammar
        kind = exact_type(node)
        if kind in grammar.scalars:
            if kind in grammar.checks and (reason := grammar.checks[kind](node)):
                return self._instead(node, f"is {node!r}, {reason}")
            return node
        if kind is dict:
            return self._dict(node)
        if kind is list:
            return self._list(node)
        if is_model(node):
            return self.node(model_tree(node))
        return self._instead(node, loss(node, grammar))

    def _list(self, node: list[Any]) -> list[Any]:
        free = self._free
        items: list[Any] = []
        try:
            for item in node:
                items.append(item if type(item) in free else self.node(item))  # noqa: PERF401 - its length is the index of what does not fit
        except Unfit as unfit:
            unfit.path = f"[{len(items)}]{unfit.path}"
            raise
        return items

    def _dict(self, node: dict[Any, Any]) -> Any:
        keys = self._grammar.keys
        for key in node:
            if type(key) not in keys:
                return self._instead(node, f"has the key {key!r}, {describe(key)}; keys are {names(keys)} there")
        free = self._free
        tree: dict[Any, Any] = {}
        name: Any = None
        try:
            for name, item in node.items():
                tree[name] = item if type(item) in free else self.node(item)
        except Unfit as unfit:
            unfit.path = f"[{name!r}]{unfit.path}"
            raise
        return tree

    def _instead(self, node: Any, reason: str) -> Any:
        if self._default is None:
            raise Unfit(reason)
        other = self._default(node)
        if other is node:
            raise Unfit(f"{reason}; and options['default'] gave the same object back")
        return self.node(other)


def names(kinds: Iterable[type]) -> str:
    return " and ".join(sorted(kind.__name__ for kind in kinds))


def loss(node: Any, grammar: Grammar) -> str:
    """What would become of something that is not in the grammar, and what to write instead."""
    if node is None:
        return f"is None, which {grammar.name} does not have; leave it out"
    if isinstance(node, enum.Enum):
        return f"is {describe(node)}, which would be loaded as its bare value; write its .value or .name"
    for kinds, become in BECOMES:
        if isinstance(node, kinds):
            return f"is {describe(node)}, which {become}"
    if is_exactly(node, "numpy.ndarray"):
        return "is a numpy.ndarray, which would be a list; write .tolist(), or save arrays as npy or npz"
    return f"is {describe(node)}, which it has no form for"


BECOMES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (tuple, "would be loaded as a list; write list(...)"),
    ((set, frozenset), "it has no form for; write sorted(...)"),
    ((datetime.date, datetime.time), "it has no form for; write its .isoformat()"),
    ((bytes, bytearray), "it has no form for; write text, for example base64"),
    (dict, "would be loaded as a dict; write dict(...)"),
    (list, "would be loaded as a list; write list(...)"),
    (str, "would be loaded as a str; write str(...)"),
    (int, "would be loaded as an int; write int(...)"),
    (float, "would be loaded as a float; write float(...)"),
)
"""What a text format would do to these and their subclasses, and what to write instead."""


def whole_minutes(moment: datetime.datetime) -> str:
    """Why a moment cannot be written as text that gives it back, for the `checks` of a grammar."""
    if moment.fold:
        return "whose fold would be lost; write .astimezone(datetime.timezone.utc)"
    if moment.tzinfo is None:
        return ""
    if type(moment.tzinfo) is not datetime.timezone:
        return "whose time zone would be loaded as a fixed offset; write .astimezone(datetime.timezone.utc)"
    offset = moment.utcoffset() or datetime.timedelta()
    return "whose offset has seconds" if offset % datetime.timedelta(minutes=1) else ""
