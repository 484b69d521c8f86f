"""Optional libraries: imported when a format works with them, never to find out what a value is.

Classes are known here by name, ``"pandas.DataFrame"``. A value can only be of a class whose library is loaded already.
"""

from __future__ import annotations

import functools
import importlib
import sys
from typing import Any, NamedTuple, cast, get_origin

from eagerly.errors import MissingExtraError

__all__ = [
    "LIBRARIES",
    "Library",
    "class_named",
    "describe",
    "exact_type",
    "is_exactly",
    "load_library",
    "type_name",
    "versions",
]


class Library(NamedTuple):
    """How a library is called by those who install it.

    Attributes:
        distribution: On the package index.
        extra: Ours that brings it.
    """

    distribution: str
    extra: str


LIBRARIES = {
    "PIL": Library("pillow", "image"),
    "joblib": Library("joblib", "joblib"),
    "numpy": Library("numpy", "numpy"),
    "pandas": Library("pandas", "pandas"),
    "polars": Library("polars", "polars"),
    "pyarrow": Library("pyarrow", "parquet"),
    "safetensors": Library("safetensors", "safetensors"),
    "tomli_w": Library("tomli-w", "toml"),
    "yaml": Library("PyYAML", "yaml"),
}
"""By the name under which it is imported."""


def load_library(module: str, wanted_by: str, *, extra: str | None = None) -> Any:
    """Import `module`, or say how to install it.

    Args:
        module: Dotted, below one of `LIBRARIES`.
        wanted_by: What cannot be done without it, as the subject of a sentence: "the parquet format".
        extra: Ours that brings it for this purpose, if it is not the usual one.

    Raises:
        MissingExtraError: It is not installed, or its installation is broken.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        root = module.partition(".")[0]
        library = LIBRARIES[root]
        absent = isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == root
        trouble = "which is not installed" if absent else f"which cannot be imported ({error})"
        raise MissingExtraError(
            f"{wanted_by} needs {library.distribution}, {trouble}; "
            f"run: pip install 'eagerly[{extra or library.extra}]'",
            name=root,
        ) from error


def class_named(name: str) -> Any:
    """The class, if its library is loaded; else None. For example ``pandas.DataFrame``, ``PIL.Image.Image``."""
    module, _, attribute = name.rpartition(".")
    return getattr(sys.modules.get(module), attribute, None)


def exact_type(value: Any) -> Any:
    """The type of `value`, asked in a way that does not make type checkers infer what the value is."""
    return cast("Any", type(value))


def is_exactly(value: object, *names: str) -> bool:
    """Whether `value` is of one of the named classes, and not of a subclass: that one would be lost."""
    kind = type(value)
    return any(kind is class_named(name) for name in names)


def type_name(kind: Any) -> str:
    """What people call a type: ``dict``, ``pandas.DataFrame``, ``list[int]``."""
    if get_origin(kind) is not None or not isinstance(kind, type):
        return str(kind)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    root = kind.__module__.partition(".")[0]
    short = f"{root}.{kind.__qualname__}"
    return short if class_named(short) is kind else f"{kind.__module__}.{kind.__qualname__}"


def value_type_name(value: Any) -> str:
    """What a manifest says of a value: its type, and of a list of rows also that of a row."""
    rows: Any = value if exact_type(value) is list else []
    of_rows = rows and exact_type(rows[0]) in (list, tuple)
    return f"list[{type_name(type(rows[0]))}]" if of_rows else type_name(type(value))


def describe(value: object) -> str:
    """What a value is, with an article: ``a dict``, ``an int``, ``None``."""
    if value is None:
        return "None"
    name = type_name(type(value))
    if name == "bytes":
        return name
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


@functools.cache
def _version(distribution: str) -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions(distributions: tuple[str, ...]) -> dict[str, str]:
    """The versions of those that are installed and, where we know how they are imported, loaded."""
    modules = {library.distribution: module for module, library in LIBRARIES.items()}
    loaded = [each for each in distributions if each not in modules or sys.modules.get(modules[each])]
    return {each: version for each in loaded if (version := _version(each)) is not None}
