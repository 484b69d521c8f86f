"""What the tests of formats share: files that can only be written, and a round trip through them."""

from __future__ import annotations

import io
from typing import Any

from eagerly.datasets.formats import Format, format_for


class WriteOnly(io.RawIOBase):
    """A file that can be written and nothing else, as a store on the network gives it."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        assert not self.closed
        self.chunks.append(bytes(data))
        return len(self.chunks[-1])

    @property
    def data(self) -> bytes:
        return b"".join(self.chunks)


def saved(chosen: Format, value: Any, **options: Any) -> bytes:
    file = WriteOnly()
    chosen.save(value, file, options)
    assert not file.closed
    return file.data


def loaded(chosen: Format, data: bytes, return_type: Any = None, **options: Any) -> Any:
    file = io.BytesIO(data)
    value = chosen.load(file, return_type, options)
    assert not file.closed
    return value


def round_trip(name: str, value: Any, return_type: Any = None, **options: Any) -> Any:
    chosen = format_for(name=name, value=value)
    return loaded(chosen, saved(chosen, value, **options), return_type)
