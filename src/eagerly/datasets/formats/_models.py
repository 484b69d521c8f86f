"""Dataclasses and pydantic models as trees of plain values, and back by their annotations.

A model is written leniently (a date becomes text, a tuple a list), then rebuilt and compared: it is saved only if its
annotations give back exactly what it holds.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import sys
import types
import typing
import uuid
from collections.abc import Callable
from typing import Any, cast

from eagerly.datasets.formats._library import class_named, describe, exact_type, is_exactly, type_name
from eagerly.errors import DatasetFormatError

__all__ = ["build", "difference", "is_model", "model_tree"]

PLAIN = (type(None), bool, int, float, str, list, dict)

FROM_TEXT: dict[type, Callable[[str], Any]] = {
    datetime.datetime: datetime.datetime.fromisoformat,
    datetime.date: datetime.date.fromisoformat,
    datetime.time: datetime.time.fromisoformat,
    decimal.Decimal: decimal.Decimal,
    uuid.UUID: uuid.UUID,
    pathlib.Path: pathlib.Path,
    pathlib.PurePosixPath: pathlib.PurePosixPath,
}
"""Types that are written as text, and how they are read back."""


def is_pydantic(kind: Any) -> bool:
    model = class_named("pydantic.BaseModel") if "pydantic" in sys.modules else None
    return model is not None and isinstance(kind, type) and issubclass(kind, model)


def is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, enum.Enum)


def is_dataclass(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def is_model(value: Any) -> bool:
    """Whether `value` is an instance of a dataclass or a pydantic model."""
    kind = exact_type(value)
    return is_dataclass(kind) or is_pydantic(kind)


def model_tree(model: Any) -> Any:
    """What to write for `model`.

    Raises:
        DatasetFormatError: Its annotations would not give it back as it is.
    """
    tree = lenient(model)
    name = type_name(type(model))
    try:
        rebuilt = build(tree, type(model))
    except DatasetFormatError as error:
        raise DatasetFormatError(f"{name} cannot be rebuilt from what would be written: {error}") from error
    if path := difference(model, rebuilt):
        raise DatasetFormatError(
            f"{name} would not come back as it is: {path} is not of the type that its annotation names, or is a moment "
            "whose fold or time zone would be lost. Annotate what it really holds, write "
            ".astimezone(datetime.timezone.utc), or write format='pickle'"
        )
    return tree


def lenient(node: Any) -> Any:
    kind = exact_type(node)
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        return [lenient(item) for item in node]
    if kind is dict:
        return {key if type(key) is str else str(lenient(key)): lenient(item) for key, item in node.items()}
    if kind in PLAIN:
        return node
    if dataclasses.is_dataclass(kind):
        return {field.name: lenient(getattr(node, field.name)) for field in dataclasses.fields(node) if field.init}
    if is_pydantic(kind):
        return json.loads(node.model_dump_json(round_trip=True, by_alias=True, warnings=False))
    if isinstance(node, enum.Enum):
        return lenient(node.value)
    if isinstance(node, datetime.date | datetime.time):
        return node.isoformat()
    if isinstance(node, decimal.Decimal | uuid.UUID | pathlib.PurePath):
        return str(node)
    raise DatasetFormatError(f"there is {describe(node)} in it, which has no form in text")


def build(tree: Any, hint: Any, path: str = "value") -> Any:
    """Make what `hint` says out of a tree of plain values.

    Args:
        tree: As loaded.
        hint: A dataclass, a pydantic model, a plain or generic builtin of them, or an annotation of such.
        path: Of `tree`, for messages.

    Raises:
        DatasetFormatError: The tree is something else, or the type cannot be made from text.
    """
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if hint is Any or hint is object or isinstance(hint, typing.TypeVar):
        return tree
    if origin is typing.Annotated:
        return build(tree, arguments[0], path)
    if origin is typing.Literal:
        return checked(tree, any(tree == each and exact_type(tree) is type(each) for each in arguments), hint, path)
    if origin is typing.Union or origin is types.UnionType:
        return build_union(tree, hint, arguments, path)
    kind = cast("Any", type(None) if hint is None else origin or hint)
    if kind in PLAIN or kind in (tuple, set, frozenset):
        return build_plain(tree, kind, arguments, hint, path)
    return build_object(tree, kind, path)


def build_object(tree: Any, kind: Any, path: str) -> Any:
    if kind in FROM_TEXT:
        checked(tree, exact_type(tree) is str, kind, path)
        return attempt(FROM_TEXT[kind], tree, kind, path)
    if is_enum(kind):
        return attempt(kind, tree, kind, path)
    if is_pydantic(kind):
        return attempt(kind.model_validate_json, json.dumps(tree), kind, path)
    if is_dataclass(kind):
        return build_dataclass(tree, kind, path)
    if typing.is_typeddict(kind):
        return build_typed_dict(tree, kind, path)
    raise DatasetFormatError(f"{path}: a {type_name(kind)} cannot be made from text; a dataclass or pydantic model can")


def build_plain(tree: Any, kind: type, arguments: tuple[Any, ...], hint: Any, path: str) -> Any:
    if kind is dict:
        checked(tree, exact_type(tree) is dict, hint, path)
        if not arguments:
            return tree
        key_hint, item_hint = arguments
        return {
            build_key(key, key_hint, path): build(item, item_hint, f"{path}[{key!r}]") for key, item in tree.items()
        }
    if kind in (list, tuple, set, frozenset):
        checked(tree, exact_type(tree) is list, hint, path)
        if kind is tuple and arguments and arguments[-1] is not Ellipsis:
            checked(tree, len(tree) == len(arguments), hint, path)
            hints = arguments
        else:
            hints = (arguments[0] if arguments else Any,) * len(tree)
        items = [
            build(item, each, f"{path}[{index}]") for index, (item, each) in enumerate(zip(tree, hints, strict=True))
        ]
        return items if kind is list else attempt(kind, items, hint, path)
    # An int is good where a float is expected, as type checkers have it.
    return checked(tree, exact_type(tree) is kind or (kind is float and exact_type(tree) is int), hint, path)


def build_key(key: Any, hint: Any, path: str) -> Any:
    if hint is int and type(key) is str:
        return attempt(int, key, hint, f"{path}, key {key!r}")
    return build(key, hint, f"{path}, key {key!r}")


def build_union(tree: Any, hint: Any, arguments: tuple[Any, ...], path: str) -> Any:
    exact = [each for each in arguments if each is type(tree)]
    for each in exact or arguments:
        try:
            return build(tree, each, path)
        except DatasetFormatError:
            continue
    return checked(tree, False, hint, path)


def build_dataclass(tree: Any, kind: type, path: str) -> Any:
    checked(tree, exact_type(tree) is dict, kind, path)
    hints = field_types(kind)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(cast("Any", kind)) if field.init}
    for name in tree:
        if name not in fields:
            raise DatasetFormatError(f"{path}: {type_name(kind)} has no field {name!r}; it has {', '.join(fields)}")
    parts = {name: build(item, fields[name], f"{path}.{name}") for name, item in tree.items()}
    return attempt(lambda given: kind(**given), parts, kind, path)


def build_typed_dict(tree: Any, kind: Any, path: str) -> Any:
    checked(tree, exact_type(tree) is dict, kind, path)
    hints = field_types(kind)
    missing = [name for name in kind.__required_keys__ if name not in tree]
    unknown = [name for name in tree if name not in hints]
    checked(tree, not missing and not unknown, kind, path)
    return {name: build(item, hints[name], f"{path}[{name!r}]") for name, item in tree.items()}


def field_types(kind: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind)
    except Exception as error:
        raise DatasetFormatError(
            f"the annotations of {type_name(kind)} cannot be resolved ({error}); define what they name in its module"
        ) from error


def attempt(make: Callable[[Any], Any], part: Any, hint: Any, path: str) -> Any:
    try:
        return make(part)
    except Exception as error:
        raise DatasetFormatError(f"{path} is no {type_name(hint)}: {error}") from error


def checked(tree: Any, good: bool, hint: Any, path: str) -> Any:
    if not good:
        shown = repr(tree)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        raise DatasetFormatError(f"{path} is {shown}, {describe(tree)}, not {type_name(hint)}")
    return tree


def difference(one: Any, other: Any, path: str = "value") -> str:
    """The path of the first difference in type or value, or an empty text. NaN is the same as NaN."""
    kind = exact_type(one)
    if kind is not type(other):
        return path
    if kind is list or kind is tuple:
        if len(one) != len(other):
            return path
        pairs = [
            (f"{path}[{index}]", each, another) for index, (each, another) in enumerate(zip(one, other, strict=True))
        ]
    elif kind is dict:
        if list(one) != list(other):
            return path
        keys = [
            (path, key, another)
            for key, another in zip(one, other, strict=True)
            if not type(key) is type(another) is str
        ]
        pairs = [*keys, *((f"{path}[{key!r}]", each, other[key]) for key, each in one.items())]
    elif dataclasses.is_dataclass(kind):
        fields = [field.name for field in dataclasses.fields(one)]
        pairs = [(f"{path}.{name}", getattr(one, name), getattr(other, name)) for name in fields]
    elif kind is set or kind is frozenset:
        if one != other:
            return path
        found = {each: each for each in other}
        pairs = [(path, each, found[each]) for each in one]
    else:
        return "" if same_leaf(one, other) else path
    return next((where for place, each, another in pairs if (where := difference(each, another, place))), "")


def same_leaf(one: Any, other: Any) -> bool:
    """Whether two values of one type are the same."""
    kind = exact_type(one)
    if kind is float and math.isnan(one):
        return math.isnan(other)
    if kind is datetime.datetime or kind is datetime.time:
        return repr(one) == repr(other)  # those that are equal may differ in their fold and time zone
    return same_array(one, other) if is_exactly(one, "numpy.ndarray") else bool(one == other)


def same_array(one: Any, other: Any) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.hasobject:
        return not difference(one.tolist(), other.tolist())
    return bool(((one == other) | ((one != one) & (other != other))).all())
