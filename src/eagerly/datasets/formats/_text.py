"""Text, with its line ends as they are."""

from __future__ import annotations

import codecs
import io
from collections.abc import Mapping
from typing import Any, BinaryIO

from eagerly.datasets.formats._format import Format, ItemWriter, check_options, reading
from eagerly.datasets.formats._library import describe
from eagerly.errors import DatasetFormatError

__all__ = ["TextEncoder", "TextFormat", "TextSink"]


class TextFormat(Format):
    """A str in UTF-8. No line end is changed, no byte-order mark added or taken away.

    A stream's items are lines: each gets a line end unless it has one. ``return_type=list`` gives the lines back,
    without their ends.

    Options:
        encoding: Any that Python knows; ``"utf-8"`` unless given.
        end: For streams, what ends an item; ``""`` joins the items as they are.
    """

    name = "text"
    extensions = (".txt", ".md", ".log")
    takes = "a str"
    items = True
    types = ("str", "list")
    kept_options = ("encoding",)

    def fits(self, value: Any, /) -> bool:
        return type(value) is str

    def save(self, value: Any, file: BinaryIO, options: Mapping[str, Any], /) -> None:
        check_options(self.name, options, ("encoding",))
        self.require_fit(value)
        file.write(TextEncoder(options.get("encoding", "utf-8"), self.name).encode(value, final=True))

    def load(self, file: BinaryIO, return_type: Any, options: Mapping[str, Any], /) -> Any:
        check_options(self.name, options, ("encoding",))
        wanted = self.wanted(return_type)
        with reading(self.name):
            text = file.read().decode(options.get("encoding", "utf-8"))
        if wanted != "list":
            return text
        lines = text.split("\n")
        return lines[:-1] if lines[-1] == "" else lines

    def writer(self, file: BinaryIO, options: Mapping[str, Any], /) -> ItemWriter:
        check_options(self.name, options, ("encoding", "end"))
        return Lines(file, options.get("encoding", "utf-8"), options.get("end", "\n"))


class Lines:
    """Writes each item as a line."""

    def __init__(self, file: BinaryIO, encoding: str, end: str) -> None:
        self._file = file
        self._encoder = TextEncoder(encoding, "text")
        self._end = end

    def write(self, item: Any, /) -> None:
        if type(item) is not str:
            raise DatasetFormatError(f"a stream that is saved as text has lines for items, not {describe(item)}")
        self._file.write(self._encoder.encode(item if item.endswith(self._end) else item + self._end))

    def close(self) -> None:
        if data := self._encoder.encode("", final=True):
            self._file.write(data)


EXACT = ("ascii", "iso8859-1", "utf-8", "utf-16", "utf-32")
"""Encodings that give back all that they take, so that nobody need look."""


class TextEncoder:
    """Encodes one text in pieces, so that a byte-order mark stands at its beginning only.

    Some encodings hold a character back until they have seen the next one, so the last piece has to be said.
    """

    def __init__(self, encoding: str, format_name: str) -> None:
        try:
            self._encoder = codecs.getincrementalencoder(encoding)()
            exact = codecs.lookup(encoding).name in EXACT
            self._decoder = None if exact else codecs.getincrementaldecoder(encoding)()
        except LookupError as error:
            raise DatasetFormatError(f"there is no encoding {encoding!r}; write for example 'utf-8'") from error
        self._ahead = ""
        """What was encoded and is not decoded yet."""
        self._encoding = encoding
        self._format_name = format_name

    def encode(self, text: str, *, final: bool = False) -> bytes:
        """The bytes of the next piece, and, if it is the final one, of what was held back.

        Raises:
            DatasetFormatError: The encoding lacks one of its characters, or would give back another.
        """
        try:
            data = self._encoder.encode(text, final)
            self._check(text, data, final)
        except UnicodeEncodeError as error:
            found = error.object[error.start : error.start + 1]
            way_out = (
                "it is half of a surrogate pair, and no character; decode its source without 'surrogateescape'"
                if "\ud800" <= found <= "\udfff"
                else "write options={'encoding': 'utf-8'}"
            )
            raise DatasetFormatError(
                f"{self._format_name} in {self._encoding} cannot hold {found!r}, character {error.start} of a text; "
                f"{way_out}"
            ) from error
        except UnicodeError as error:
            raise DatasetFormatError(
                f"{self._format_name} in {self._encoding} cannot hold this text: {error}; write "
                "options={'encoding': 'utf-8'}"
            ) from error
        return data

    def _check(self, text: str, data: bytes, final: bool) -> None:
        if self._decoder is None:
            return
        ahead = self._ahead + text
        back = self._decoder.decode(data, final)
        if not ahead.startswith(back) or (final and back != ahead):
            start = next(
                (at for at, (one, other) in enumerate(zip(ahead, back, strict=False)) if one != other), len(back)
            )
            raise UnicodeEncodeError(self._encoding, ahead, start, start + 1, "it would come back as another")
        self._ahead = ahead[len(back) :]


class TextSink(io.TextIOBase):
    """A text file over a binary one, without a buffer of its own. The other stays open whatever happens to it."""

    def __init__(self, file: BinaryIO, encoding: str, format_name: str) -> None:
        self._file = file
        self._encoder = TextEncoder(encoding, format_name)

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        self._file.write(self._encoder.encode(text))
        return len(text)

    def finish(self) -> None:
        """Write what the encoding holds back. It is no `close`, which garbage collection would call too."""
        if data := self._encoder.encode("", final=True):
            self._file.write(data)
