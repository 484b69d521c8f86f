"""What of a class counts for the version of code that uses it. Instances have no part in this."""

from __future__ import annotations

import enum
import functools
import sys
from collections.abc import Iterable
from functools import partial
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import TYPE_CHECKING, Any

from eagerly.cache._code_owner import class_of
from eagerly.cache._code_value import attributes_of, framed, is_constant_name
from eagerly.cache._encode_records import derived_attributes

if TYPE_CHECKING:
    from eagerly.cache._code_reach import Reach

__all__ = ["class_content"]

_NOT_BEHAVIOUR = frozenset(
    (
        # Where it is and what is written about it
        *("__module__", "__qualname__", "__doc__", "__firstlineno__", "__static_attributes__", "__annotations__"),
        *("__annotate__", "__annotations_cache__", "__annotate_func__", "__conditional_annotations__"),
        # What Python and its library derive from the rest
        *("__dict__", "__weakref__", "__abstractmethods__", "_abc_impl", "__parameters__", "__orig_bases__"),
        *("__type_params__", "__dataclass_fields__", "__dataclass_params__", "__protocol_attrs__"),
        *(
            "__non_callable_proto_members__",
            "_is_protocol",
            "_is_runtime_protocol",
            "__attrs_attrs__",
            "__attrs_props__",
        ),
    )
)
_OF_ENUMS = frozenset(
    (
        *("_member_names_", "_member_map_", "_value2member_map_", "_member_type_", "_value_repr_", "_new_member_"),
        *("_use_args_", "_unhashable_values_", "_unhashable_values_map_", "_hashable_values_", "_generate_next_value_"),
        *("_flag_mask_", "_singles_mask_", "_all_bits_", "_inverted_", "_boundary_"),
    )
)
_NOTED_BY_ATTRS = frozenset(("type", "inherited"))
"""What attrs notes of a field and was not said of it: its annotation, and where it is from."""
_NOTED_BY_PYDANTIC = frozenset(("description", "wrapped_property"))
"""What pydantic notes of a decorated method and was not said to the decorator: its docstring, and itself."""
_DESCRIPTORS = (
    property,
    classmethod,
    staticmethod,
    functools.cached_property,
    functools.partialmethod,
    functools.singledispatchmethod,
)


def class_content(reach: Reach, cls: type, name: str) -> bytes:
    """The bases, attributes and methods of a class of the user's."""
    bases = [reach.refer(base, name, whole=True) for base in (type(cls), *cls.__bases__)]
    attributes = [
        framed(each, reach.attempt(f"{name}.{each}", partial(_attribute, reach, cls, each, name)))
        for each in sorted(vars(cls))
        if _counts(cls, each)
    ]
    return framed(
        framed(*bases),
        framed(*attributes),
        framed(*_members(reach, cls, name)),
        framed(*_annotations(reach, cls, name)),
        framed(*_pydantic_fields(reach, cls, name)),
        framed(*_field_metadata(reach, cls, name)),
        framed(*_attrs_fields(reach, cls, name)),
    )


def _counts(cls: type, name: str) -> bool:
    if name in _NOT_BEHAVIOUR or name.startswith("__pydantic_"):
        return False
    if name == "model_config" and "__pydantic_fields__" in vars(cls):
        return False  # counts with the fields
    if isinstance(vars(cls)[name], GetSetDescriptorType | MemberDescriptorType):
        return False
    return not (issubclass(cls, enum.Enum) and (name in _OF_ENUMS or name in cls.__members__))


def _attribute(reach: Reach, cls: type, name: str, called: str) -> bytes:
    value: Any = vars(cls)[name]
    full = f"{called}.{name}"
    if isinstance(value, FunctionType):
        generated = "__name__" not in value.__globals__ or value.__code__.co_qualname.startswith("__create_fn__.")
        return reach.function(value, full if generated else None)
    if isinstance(value, _DESCRIPTORS) or hasattr(class_of(value), "__get__"):
        return reach.refer(value, full, whole=True)
    if isinstance(value, type):
        return reach.refer(value, full, whole=True)
    whole = is_constant_name(name)
    if name == "__slots__":
        value, whole = list(value) if isinstance(value, dict) else value, True  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]  # a dict has docstrings
    elif name.startswith("__") and isinstance(value, list | dict | set):
        return framed(b"library")  # what a metaclass keeps
    return reach.piece((id(cls), name), cls, full, lambda place: reach.refer(value, place, whole=whole))


def _members(reach: Reach, cls: type, name: str) -> Iterable[bytes]:
    """The members of an enum, with what its ``__new__`` or ``__init__`` gives them, and what flags do at a limit."""
    if issubclass(cls, enum.Enum):
        derived = derived_attributes(cls)
        for each, member in cls.__members__.items():
            given = [
                framed(attribute, reach.refer(value, f"{name}.{each}.{attribute}", whole=True))
                for attribute, value in sorted(vars(member).items())
                if attribute not in derived and not (attribute.startswith("_") and attribute.endswith("_"))
            ]
            yield framed(each, reach.refer(member.value, f"{name}.{each}", whole=True), *given)
        yield reach.refer(vars(cls).get("_boundary_"), f"{name}._boundary_", whole=True)


def _annotations(reach: Reach, cls: type, name: str) -> Iterable[bytes]:
    """Those of a class that an installed library made: such libraries convert and check by them."""
    if all(
        _leaves_annotations_alone(reach, each) for each in (type(cls), *cls.__mro__)
    ) and "__pydantic_fields__" not in vars(cls):
        return
    found: Any = vars(cls).get("__annotations__", {})
    for each, annotation in dict(found).items():
        yield framed(each, reach.refer(annotation, f"{name}.{each}", whole=True))


def _leaves_annotations_alone(reach: Reach, cls: type) -> bool:
    return reach.owns_class(cls) or cls.__module__.partition(".")[0] in sys.stdlib_module_names


def _pydantic_fields(reach: Reach, cls: type, name: str) -> Iterable[bytes]:
    fields: Any = vars(cls).get("__pydantic_fields__")
    if isinstance(fields, dict):
        for each, field in fields.items():  # pyright: ignore[reportUnknownVariableType]
            for attribute in ("default", "default_factory", "alias", "validation_alias", "metadata"):
                value = getattr(field, attribute, None)  # pyright: ignore[reportUnknownArgumentType]
                yield framed(attribute, reach.refer(value, f"{name}.{each}", whole=True))
        yield reach.refer(vars(cls).get("model_config"), f"{name}.model_config", whole=True)
        yield from _pydantic_arguments(reach, cls, name)


def _pydantic_arguments(reach: Reach, cls: type, name: str) -> Iterable[bytes]:
    """What was said of private attributes, and to decorators such as ``field_validator``."""
    for each, private in _dict(vars(cls).get("__private_attributes__")).items():
        for attribute in ("default", "default_factory"):
            yield framed(each, attribute, reach.refer(getattr(private, attribute, None), f"{name}.{each}", whole=True))
    decorators: Any = vars(cls).get("__pydantic_decorators__")
    for kind, decorated in sorted(attributes_of(decorators).items()):
        for each, decorator in _dict(decorated).items():
            for attribute, value in sorted(attributes_of(getattr(decorator, "info", None)).items()):
                if attribute not in _NOTED_BY_PYDANTIC:
                    yield framed(kind, each, attribute, reach.refer(value, f"{name}.{each}", whole=True))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]  # of Any


def _field_metadata(reach: Reach, cls: type, name: str) -> Iterable[bytes]:
    """What was said with ``dataclasses.field(metadata=...)``, which the user's own code reads, or a library."""
    fields: Any = vars(cls).get("__dataclass_fields__")
    if isinstance(fields, dict):
        for each, field in fields.items():  # pyright: ignore[reportUnknownVariableType]
            if metadata := getattr(field, "metadata", None):  # pyright: ignore[reportUnknownArgumentType]
                yield framed(each, reach.refer(metadata, f"{name}.{each}", whole=True))  # pyright: ignore[reportUnknownArgumentType]


def _attrs_fields(reach: Reach, cls: type, name: str) -> Iterable[bytes]:
    """What was said with ``attrs.field()``, also what the methods that attrs writes read under names of their own."""
    for field in vars(cls).get("__attrs_attrs__", ()):
        for attribute, value in sorted(attributes_of(field).items()):
            if attribute not in _NOTED_BY_ATTRS:
                yield framed(attribute, reach.refer(value, f"{name}.{field.name}", whole=True))
