"""What is written about code: docstrings, annotations and names. It counts where the reached code reads any such."""

from __future__ import annotations

from collections.abc import Iterable
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from eagerly.cache._code_value import framed

if TYPE_CHECKING:
    from eagerly.cache._code_reach import Reach

__all__ = ["about_content", "kinds_of_attributes", "kinds_of_functions"]

_ATTRIBUTES: Final = {
    "__doc__": "docstring",
    "__annotations__": "annotations",
    "__dataclass_fields__": "annotations",
    "__signature__": "annotations",
    "__name__": "name",
    "__qualname__": "name",
}
_FUNCTIONS: Final = {
    "dataclasses.fields": "annotations",
    "inspect.get_annotations": "annotations",
    "inspect.getdoc": "docstring",
    "inspect.signature": "annotations",
    "pydoc.getdoc": "docstring",
    "pydoc.render_doc": "docstring",
    "typing.get_type_hints": "annotations",
    "typing_extensions.get_type_hints": "annotations",
}


def kinds_of_attributes(attributes: Iterable[str]) -> set[str]:
    """What code reads about code, by the attributes it reads."""
    return {_ATTRIBUTES[each] for each in attributes if each in _ATTRIBUTES}


def kinds_of_functions(module: str, names: Iterable[str]) -> set[str]:
    """What code reads about code, by functions of a module that it calls."""
    return {_FUNCTIONS[full] for each in names if (full := f"{module}.{each}") in _FUNCTIONS}


def about_content(reach: Reach, thing: FunctionType | type, kind: str, name: str) -> bytes:
    """What is written about a function or class."""
    if kind == "docstring":
        return reach.refer(thing.__doc__, name, whole=True)
    if kind == "name":
        return framed(thing.__name__, thing.__qualname__)
    annotations: dict[str, Any] = dict(thing.__annotations__)
    return framed(
        *(framed(each, reach.refer(value, f"{name}[{each!r}]", whole=True)) for each, value in annotations.items())
    )
