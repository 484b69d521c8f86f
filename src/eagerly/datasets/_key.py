"""Keys of datasets: which are refused, and how a template becomes one. A key is never rewritten to make it fit.

Keys are relative paths with ``/`` on every system. Nothing here touches a disk: whether a link leads out of the store
is found out where files are opened.
"""

# ruff: noqa: PTH122 (keys are text, and pathlib cannot name a file relative to an open folder)

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping
from string import Formatter
from typing import Any, NamedTuple

from eagerly._names import MAP_INDEX, check_text, refuse_unknown_fields
from eagerly._options import nearest
from eagerly.errors import DatasetKeyError, OptionValueError

__all__ = ["HIDDEN", "MAX_KEY", "MAX_SEGMENT", "OWN", "KeyTemplate", "check_key", "extension", "nearest_key"]

HIDDEN = ".eagerly"
"""The folder of a store that is its own, and the beginning of the names of its temporary files."""
OWN = f"{HIDDEN}/datasets"
"""Where in it a store of datasets has what is not for people."""
MAX_SEGMENT = 240
"""Bytes of UTF-8 between two separators: file systems have 255, and a manifest is the name and more."""
MAX_KEY = 900
"""Bytes of UTF-8: object stores have 1024 for the whole, which has the base of the store in front."""

_WINDOWS = os.name == "nt"
# Compiled when they are first used, as every program imports this.
_DEVICES = r"(?is)(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?"
_DRIVE = r"[A-Za-z]:"
_ADDRESS = r" at 0x[0-9a-fA-F]+>"
_BIDIRECTIONAL = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_STAND_IN = "xx"


class _Placeholder(NamedTuple):
    name: str
    spec: str

    def __str__(self) -> str:
        return f"{{{self.name}:{self.spec}}}" if self.spec else f"{{{self.name}}}"


class KeyTemplate:
    """A dataset's key, fixed or with placeholders: ``{param}``, ``{param:spec}``, ``{param:path}`` and ``{map_index}``.

    A value may not bring a separator of its own, unless its spec is ``path``. Separators in a spec belong to the
    template: ``{day:%Y/%m/%d}``.

    Args:
        text: The template.
        parameters: The names that placeholders may use, besides ``map_index``.
        option: What the template was given as, for messages.

    Raises:
        OptionTypeError: `text` is not a string.
        OptionValueError: No call could make a key of it.
    """

    __slots__ = ("_pieces", "fields", "text")

    fields: frozenset[str]
    """The names that the key depends on."""
    text: str
    """The template, as given."""

    def __init__(self, text: str, parameters: Collection[str], option: str = "task(dataset=...)") -> None:
        self.text = check_text(option, text)
        self._pieces = tuple(_parse(option, text))
        self.fields = frozenset(field.name for _, field in self._pieces if field is not None)
        refuse_unknown_fields(option, text, self.fields, parameters)
        try:  # with something harmless for the values: what is wrong now is wrong in every call
            check_key("".join(literal + (_STAND_IN if field else "") for literal, field in self._pieces))
        except DatasetKeyError as error:
            raise OptionValueError(f"{option}: {error}") from None

    def __repr__(self) -> str:
        return f"KeyTemplate({self.text!r})"

    def render(self, inputs: Mapping[str, Any], map_index: int | None = None) -> str:
        """The key for one call.

        Raises:
            DatasetKeyError: A value does not fit its spec, brings a separator, or makes a key that cannot be one.
        """
        values = {MAP_INDEX: map_index, **inputs}
        key = "".join(
            literal + (self._fill(field, values) if field is not None else "") for literal, field in self._pieces
        )
        try:
            return check_key(key)
        except DatasetKeyError as error:
            if not self.fields:
                raise
            raise DatasetKeyError(f"{error} (from the template {self.text!r})", key=key) from None

    def _fill(self, field: _Placeholder, values: Mapping[str, Any]) -> str:
        if field.name not in values or (field.name == MAP_INDEX and values[MAP_INDEX] is None):
            why = "this is no call of a map" if field.name == MAP_INDEX else "the call has no such argument"
            raise DatasetKeyError(f"dataset key {self.text!r}: there is no value for {field}, as {why}", key=self.text)
        value = values[field.name]
        try:
            plain = value.as_posix() if hasattr(value, "as_posix") else format(value)
            text = plain if field.spec in ("", "path") else format(value, field.spec)
        except Exception as error:
            raise DatasetKeyError(
                f"dataset key {self.text!r}: {_shown(value)} does not fit {field}: {_shown(error, str)}", key=self.text
            ) from error
        if re.search(_ADDRESS, text):
            raise DatasetKeyError(
                f"dataset key {self.text!r}: {field} is {text!r}, which has an address and so differs in every run; "
                "use a value that has a text of its own",
                key=self.text,
            )
        if field.spec != "path":
            self._refuse_separators(field, value, plain, text)
        return text

    def _refuse_separators(self, field: _Placeholder, value: object, plain: str, text: str) -> None:
        for separator in ("/", "\\"):
            of_template = 0 if separator in plain else field.spec.count(separator)
            if text.count(separator) > of_template:
                way_out = f"; if it is to make folders, write {{{field.name}:path}}" if separator == "/" else ""
                raise DatasetKeyError(
                    f"dataset key {self.text!r}: the value {_shown(value)} of {field} brings the separator "
                    f"{separator!r}{way_out}",
                    key=self.text,
                )


def _shown(value: object, show: Callable[[object], str] = repr) -> str:
    """A value as a text, or its class: showing it may be what fails."""
    try:
        return show(value)
    except Exception:
        return f"<{type(value).__module__}.{type(value).__qualname__}>"


def check_key(key: str) -> str:
    """`key` itself, if it is one.

    Raises:
        DatasetKeyError: It leads out of the store, is not portable, or is no string; the message names the part.
    """
    if not isinstance(key, str):
        raise DatasetKeyError(f"a dataset key is a string, not {key!r}")
    if not key:
        raise DatasetKeyError("a dataset key must not be empty", key=key)
    if key[0] == "/":
        raise _refusal(key, "/", "makes it an absolute path; keys are relative to their store")
    if re.match(_DRIVE, key):
        raise _refusal(key, key[:2], "names a drive; keys are relative to their store")
    if "\\" in key:
        raise _refusal(key, "\\", "is a separator on some systems only; write '/'")
    for segment in key.split("/"):
        _check_segment(key, segment)
    if len(key.encode()) > MAX_KEY:
        raise DatasetKeyError(
            f"dataset key {key[:40]!r}... has {len(key.encode())} bytes, and {MAX_KEY} is the limit", key=key
        )
    return key


def extension(key: str) -> str:
    """What follows the last period of a key's name, with the period; "" if there is none."""
    return os.path.splitext(key)[1]


def nearest_key(key: str, known: Collection[str]) -> str:
    """What a message can add about a key that does not exist."""
    near = nearest(key, known)
    return f"; did you mean {near!r}?" if near else ""


def _check_segment(key: str, segment: str) -> None:
    if not segment:
        raise DatasetKeyError(
            f"dataset key {key!r} has an empty part: it ends with '/' or has two in a row, or a value is empty", key=key
        )
    if segment.isascii():
        plain = segment
        if not segment.isprintable():
            char = next(char for char in segment if not char.isprintable())
            raise _refusal(key, char, "is a control character")
    else:
        plain = _plain(key, segment)
    if not plain.strip(". "):
        raise _refusal(key, segment, "is not the name of a file")
    if plain.casefold().startswith(HIDDEN):
        raise _refusal(key, segment, f"is where the store keeps its own files: no part may begin with {HIDDEN!r}")
    if len(segment.encode()) > MAX_SEGMENT:
        raise _refusal(key, f"{segment[:40]}...", f"has {len(segment.encode())} bytes, and {MAX_SEGMENT} is the limit")
    if _WINDOWS:
        _check_windows(key, segment)


def _plain(key: str, segment: str) -> str:
    """`segment` as a system sees it that takes characters for equal that look alike."""
    for char in segment:
        if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in _BIDIRECTIONAL:
            raise _refusal(key, char, "is a control character")
    plain = unicodedata.normalize("NFKC", segment)
    if "/" in plain or "\\" in plain:
        raise _refusal(key, segment, "has a character that some systems take for a separator")
    return "".join(char for char in plain if unicodedata.category(char) != "Cf")


def _check_windows(key: str, segment: str) -> None:
    if re.fullmatch(_DEVICES, segment):
        raise _refusal(key, segment, "is the name of a device on Windows")
    for char in '<>:"|?*':
        if char in segment:
            raise _refusal(key, char, "cannot be in the name of a file on Windows")
    if segment[-1] in ". ":
        raise _refusal(key, segment, "ends with a period or space, which Windows takes away")


def _refusal(key: str, part: str, why: str) -> DatasetKeyError:
    return DatasetKeyError(f"dataset key {key!r}: the part {part!r} {why}", key=key)


def _parse(option: str, text: str) -> Iterator[tuple[str, _Placeholder | None]]:
    """Literal text and the placeholder behind it."""
    try:
        for literal, name, spec, conversion in Formatter().parse(text):
            if name is None:
                yield literal, None
                continue
            if conversion:
                raise OptionValueError(
                    f"{option}: {text!r} has the conversion !{conversion}; only {{name}} and {{name:spec}} are known"
                )
            if spec and "{" in spec:
                raise OptionValueError(f"{option}: {text!r} has a placeholder within a placeholder, {spec!r}")
            if any(char in name for char in ".["):
                raise OptionValueError(
                    f"{option}: {text!r} looks into a value with {{{name}}}; only {{name}} and {{name:spec}} are known"
                )
            yield literal, _Placeholder(name, spec or "")
    except ValueError as error:
        if isinstance(error, OptionValueError):
            raise
        raise OptionValueError(
            f"{option}: {text!r} is not a valid template ({error}); write {{{{ and }}}} for literal braces"
        ) from None
