"""Which formats there are, and which one is meant: by name, by extension, by the type of the value, in this order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Final, cast

from eagerly._options import nearest
from eagerly._sentinel import UNSET
from eagerly._warnings import warn
from eagerly.datasets.formats._bytes import BytesFormat
from eagerly.datasets.formats._csv import SEPARATED
from eagerly.datasets.formats._feather import FeatherFormat
from eagerly.datasets.formats._format import Format, plain_type
from eagerly.datasets.formats._image import IMAGES
from eagerly.datasets.formats._joblib import JoblibFormat
from eagerly.datasets.formats._json import JsonFormat
from eagerly.datasets.formats._jsonl import JsonLinesFormat
from eagerly.datasets.formats._library import describe, exact_type, type_name
from eagerly.datasets.formats._npy import NpyFormat
from eagerly.datasets.formats._npz import NpzFormat
from eagerly.datasets.formats._parquet import ParquetFormat
from eagerly.datasets.formats._pickle import PickleFormat
from eagerly.datasets.formats._safetensors import SafetensorsFormat
from eagerly.datasets.formats._text import TextFormat
from eagerly.datasets.formats._toml import TomlFormat
from eagerly.datasets.formats._yaml import YamlFormat
from eagerly.errors import DatasetFormatError, OptionTypeError, OptionValueError

__all__ = ["ENTRY_POINTS", "format_for", "formats", "register_format", "unregister_format"]

ENTRY_POINTS: Final = "eagerly.formats"

BUILT_IN: Final[tuple[Format, ...]] = (
    TextFormat(),
    BytesFormat(),
    JsonFormat(),
    JsonLinesFormat(),
    *SEPARATED,
    ParquetFormat(),
    FeatherFormat(),
    NpyFormat(),
    NpzFormat(),
    SafetensorsFormat(),
    YamlFormat(),
    TomlFormat(),
    *IMAGES,
    PickleFormat(),
    JoblibFormat(),
)

USUAL: Final = ("text", "bytes", "npy", "png", "npz", "json", "parquet")
"""The formats that a value may get by its type alone, the most specific first."""

USUAL_TO_LOAD: Final = ("json", "text", "bytes", "npy", "png", "parquet")

USUAL_FOR_ITEMS: Final = ("text", "bytes", "jsonl", "parquet")

JSON_TYPES: Final = ("dict", "list", "int", "float", "bool")

INSTEAD: Final = {
    "tuple": "save list(value)",
    "set": "save sorted(value)",
    "frozenset": "save sorted(value)",
    "generator": "save list(value), or let a stream task save its items",
    "pandas.Series": "save value.to_frame()",
    "polars.LazyFrame": "save value.collect()",
    "polars.Series": "save value.to_frame()",
}
"""What to save in the place of some values that no format takes."""

COMPRESSED: Final = frozenset({".bz2", ".gz", ".lz4", ".xz", ".zip", ".zst"})

_lock = threading.RLock()
_by_hand: list[Format] = []
_installed: list[Format] | None = None


def register_format(added: Format | type[Format]) -> None:
    """Make a format known in this process. Its extensions and values go before those of all others.

    Args:
        added: An instance, or a class that takes no arguments. One of the same name that was registered before is
            replaced; that of a built-in format is not to be had.

    Raises:
        OptionTypeError: It lacks something that a format has.
        OptionValueError: Its name or an extension cannot be one.
    """
    checked = _checked(added)
    with _lock:
        _by_hand[:] = [checked, *(other for other in _by_hand if other.name != checked.name)]


def unregister_format(name: str) -> None:
    """Undo `register_format`.

    Raises:
        DatasetFormatError: No format of this name was registered.
    """
    with _lock:
        kept = [other for other in _by_hand if other.name != name]
        if len(kept) == len(_by_hand):
            raise DatasetFormatError(f"no format {name!r} was registered with register_format()")
        _by_hand[:] = kept


def formats() -> list[Format]:
    """All formats: those registered by hand, the built-in ones, those that installed distributions bring."""
    return list(_known())


def format_for(
    *,
    name: str | None = None,
    extension: str = "",
    value: Any = UNSET,
    return_type: Any = None,
    loading: bool = False,
    streaming: bool = False,
) -> Format:
    """The format that is meant. A name decides; else the extension; else the type of the value.

    Args:
        name: What was written as ``format=``.
        extension: Of the key, with the dot; case does not matter. One that no format has says nothing.
        value: What is to be saved, or the first item of a stream.
        return_type: What is to be loaded.
        loading: Whether it is to be loaded.
        streaming: Whether it is to be saved item by item.

    Raises:
        DatasetFormatError: There is none, or it does not fit the value; the message lists what fits.
    """
    found = _named(name) if name is not None else _with_extension(extension, value)
    if found is None:
        return _usual_to_load(return_type, extension) if loading else _usual(value, streaming)
    if loading:
        return found
    if streaming and not found.items:
        able = ", ".join(each.name for each in _known() if each.items)
        raise DatasetFormatError(f"{found.name} cannot be written item by item; {able} can")
    if value is not UNSET and not (found.fits_item(value) if streaming else found.fits(value)):
        item = " for an item" if streaming else ""
        raise DatasetFormatError(
            f"{found.name} takes {found.takes}, not {describe(value)}{item}; {_what_fits(value, streaming)}"
        )
    return found


def _known() -> Iterator[Format]:
    # In this order the first that matches wins, and nothing is asked of installed packages until the others have not.
    yield from list(_by_hand)
    yield from BUILT_IN
    yield from _discover()


def _candidates(names: tuple[str, ...]) -> Iterator[Format]:
    """As `_known`, but of the built-in formats only those named, in this order."""
    by_name = {each.name: each for each in BUILT_IN}
    yield from list(_by_hand)
    yield from (by_name[name] for name in names)
    yield from _discover()


def _named(name: str) -> Format:
    for each in _known():
        if each.name == name:
            return each
    names = [each.name for each in _known()]
    by_extension = next((each.name for each in _known() if f".{name.lstrip('.').lower()}" in each.extensions), None)
    near = by_extension or nearest(name, names)
    hint = f"did you mean {near!r}? " if near else ""
    raise DatasetFormatError(f"there is no format {name!r}; {hint}there are {', '.join(sorted(names))}")


def _with_extension(extension: str, value: Any) -> Format | None:
    extension = extension.lower()
    if not extension:
        return None
    for each in _known():
        if extension in each.extensions:
            return each
    if extension in COMPRESSED and not isinstance(value, bytes | bytearray):
        raise DatasetFormatError(
            f"nothing is compressed here, so {extension!r} would promise what the file is not; leave it away. "
            "Formats such as parquet compress by themselves"
        )
    near = next((each for each in _extensions() if _is_slip(extension, each)), None)
    if near is not None:
        raise DatasetFormatError(
            f"no format has the extension {extension!r}; did you mean {near!r}? If it is meant, say format= as well"
        )
    return None


def _extensions() -> list[str]:
    return [extension for each in _known() for extension in each.extensions]


def _is_slip(extension: str, known: str) -> bool:
    """Whether one is the other with a letter left out, added or swapped; short ones are too alike to tell."""
    if min(len(extension), len(known)) < len(".json"):
        return False
    return len({*extension} ^ {*known}) <= 1 and nearest(extension, [known]) is not None


def _usual(value: Any, streaming: bool) -> Format:
    if value is UNSET:
        return _named("jsonl" if streaming else "json")
    for each in _candidates(USUAL_FOR_ITEMS if streaming else USUAL):
        if not each.unsafe and (each.fits_item(value) if streaming else each.fits(value)):
            return each
    if streaming:
        raise DatasetFormatError(f"no format takes {describe(value)} for an item of a stream")
    other = INSTEAD.get(type_name(exact_type(value)), "make it a value that json or another format takes")
    raise DatasetFormatError(
        f"only pickle can hold {describe(value)}, and a pickle may run code when it is loaded. If that is meant, write "
        f'format="pickle" or an extension .pkl; otherwise {other}'
    )


def _usual_to_load(return_type: Any, extension: str) -> Format:
    name = None if return_type is None else type_name(plain_type(return_type))
    for each in _candidates(USUAL_TO_LOAD):
        if name in (each.types or (JSON_TYPES if each.name == "json" else ())) and not each.unsafe:
            return each
    found = f"the extension {extension!r} is of no format" if extension else "it has no extension"
    names = ", ".join(each.name for each in _known())
    raise DatasetFormatError(f"the format to load is not known: {found}; write format=, one of {names}")


def _what_fits(value: Any, streaming: bool) -> str:
    fitting = [each for each in _known() if (each.fits_item(value) if streaming else each.fits(value))]
    fitting.sort(key=lambda each: each.unsafe)
    names = ", ".join(each.name for each in fitting)
    return f"{describe(value)} fits {names}" if names else f"nothing takes {describe(value)} for an item of a stream"


def _discover() -> list[Format]:
    global _installed
    with _lock:
        if _installed is None:
            import importlib.metadata

            _installed = []
            troubles: list[str] = []
            for entry_point in importlib.metadata.entry_points(group=ENTRY_POINTS):
                source = f"{entry_point.name} = {entry_point.value}"
                if entry_point.dist is not None:
                    source = f"{entry_point.dist.name}: {source}"
                try:
                    found = _checked(entry_point.load())
                    if any(found.name == other.name for other in _installed):
                        raise OptionValueError(f"another installed format has the name {found.name!r} already")
                except Exception as error:
                    troubles.append(f"the installed format [{source}] cannot be used: {type(error).__name__}: {error}")
                else:
                    _installed.append(found)
            for trouble in troubles:  # where warnings are errors, the first ends this; the formats are known by then
                warn(trouble)
        return _installed


def _checked(added: object) -> Format:
    """What was given to be a format, if it can be one."""
    if isinstance(added, type):
        added = cast("type[object]", added)()
    owner = type(added).__name__
    if not isinstance(added, Format):
        raise OptionTypeError(f"{owner} is no format; derive it from eagerly.datasets.formats.Format")
    for method in ("fits", "save", "load", *(["writer"] if added.items else [])):
        if getattr(type(added), method) is getattr(Format, method):
            raise OptionTypeError(f"{owner} is no format: it does not define {method}()")
    _check_words(added, owner)
    return added


def _check_words(made: Format, owner: str) -> None:
    name: object = made.name
    extensions: object = made.extensions
    if not isinstance(name, str) or not name.isidentifier():
        raise OptionValueError(
            f"{owner} has the name {made.name!r}; the name of a format is one word, such as 'parquet'"
        )
    if any(made.name == each.name for each in BUILT_IN):
        raise OptionValueError(
            f"{owner} has the name {made.name!r}, which is that of a built-in format; give it another"
        )
    if not isinstance(extensions, tuple):
        raise OptionTypeError(f"{owner} has the extensions {made.extensions!r}; they are a tuple, such as ('.foo',)")
    for extension in cast("tuple[object, ...]", extensions):
        if not isinstance(extension, str) or not extension.startswith(".") or extension != extension.lower():
            raise OptionValueError(
                f"{owner} has the extension {extension!r}; write it in lower case with its dot: '.foo'"
            )
