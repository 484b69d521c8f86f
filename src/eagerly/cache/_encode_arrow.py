"""Encodings of Arrow's values by type and content.

How it is chunked, offsets into shared buffers and what lies under nulls do not count.

Never imports pyarrow where that is not yet done: a value of it means that it is there.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# What is encoded may be of any type.

from __future__ import annotations

import importlib
import sys
from typing import Any, Final

from eagerly.cache._encode_buffers import bounded
from eagerly.cache._encode_containers import encode_items
from eagerly.cache._encode_scalars import encode_text
from eagerly.cache._encode_walk import Handler, Walk, record

__all__ = ["encode_arrow", "resolve_arrow"]

FLOATS: Final = {16: "e", 32: "f", 64: "d"}


def resolve_arrow(cls: type) -> Handler | None:
    """The handler of instances of a class that comes from pyarrow or derives from one that does."""
    pa: Any = sys.modules["pyarrow"]
    for base, handler in (
        ((pa.Table, pa.RecordBatch), _table),
        ((pa.Array, pa.ChunkedArray), encode_arrow),
        (pa.Schema, _schema),
        (pa.Field, _field),
        (pa.DataType, _type),
        (pa.Scalar, _scalar),
        (pa.Buffer, _buffer),
    ):
        if issubclass(cls, base):
            return handler
    return None


def _table(table: Any, walk: Walk) -> bytes:
    columns = [walk(column, f"[{name!r}]") for name, column in zip(table.column_names, table.columns, strict=True)]
    return record(type(table).__name__, _schema(table.schema, walk), walk(table.num_rows), *columns)


def _schema(schema: Any, walk: Walk) -> bytes:
    return record("schema", walk(schema.metadata), *[_field(field, walk) for field in schema])


def _field(field: Any, walk: Walk) -> bytes:
    return record("field", encode_text(field.name), _type(field.type, walk), walk(field.nullable), walk(field.metadata))


def _type(kind: Any, walk: Walk) -> bytes:
    pa: Any = sys.modules["pyarrow"]
    if isinstance(kind, pa.BaseExtensionType):
        parameters: bytes = kind.__arrow_ext_serialize__() if hasattr(kind, "__arrow_ext_serialize__") else b""
        name = encode_text(kind.extension_name)
        return record("extension type", name, parameters, _type(kind.storage_type, walk))
    inner = [_field(kind.field(position), walk) for position in range(kind.num_fields)]
    if isinstance(kind, pa.DictionaryType):
        inner = [_type(kind.index_type, walk), _type(kind.value_type, walk), walk(kind.ordered)]
    # The name has all parameters of a type that has no inner ones: unit, zone, precision, width.
    return record("type", walk(kind.id), b"" if inner else encode_text(str(kind)), walk(_sizes(kind)), *inner)


def _sizes(kind: Any) -> tuple[Any, ...]:
    return tuple(getattr(kind, name, None) for name in ("list_size", "keys_sorted", "mode", "type_codes"))


def _scalar(scalar: Any, walk: Walk) -> bytes:
    pa: Any = sys.modules["pyarrow"]
    return record("scalar", encode_arrow(pa.array([scalar.as_py()], type=scalar.type), walk))


def _buffer(buffer: Any, _walk: Walk) -> bytes:
    return record("buffer", bounded(b"a", memoryview(buffer)))


def encode_arrow(array: Any, walk: Walk) -> bytes:
    """An array, or a chunked one, which differs from it; how it is chunked makes no difference."""
    pa: Any = sys.modules["pyarrow"]
    chunked = isinstance(array, pa.ChunkedArray)
    if chunked:
        array = _whole(pa, array)
    return record("chunked" if chunked else "array", _type(array.type, walk), _content(pa, array, walk))


def _whole(pa: Any, array: Any) -> Any:
    wider = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}
    kind = array.type
    if array.num_chunks == 1:
        return array.chunk(0)
    if kind in wider and array.nbytes > 1 << 30:  # more than fits into one array of 32-bit offsets
        kind = wider[kind]
    return pa.concat_arrays(array.cast(kind).chunks) if array.num_chunks else pa.array([], type=kind)


def _content(pa: Any, array: Any, walk: Walk) -> bytes:
    """The elements of an array whose type has been told."""
    types: Any = pa.types
    kind = array.type
    count = len(array)
    if types.is_null(kind) or not count:
        return count.to_bytes(8, "little")
    if isinstance(kind, pa.BaseExtensionType):
        return _content(pa, array.storage, walk)
    if isinstance(kind, pa.DictionaryType):
        return record("dictionary", encode_arrow(array.dictionary, walk), _content(pa, array.indices, walk))
    if types.is_struct(kind):
        valid = _validity(pa, array)
        return record("struct", valid, *[_content(pa, field, walk) for field in array.flatten()])
    if types.is_list(kind) or types.is_large_list(kind):
        compute: Any = importlib.import_module("pyarrow.compute")
        lengths = compute.fill_null(compute.list_value_length(array), 0)
        return record("list", _validity(pa, array), _fixed(lengths), _content(pa, array.flatten(), walk))
    if types.is_string(kind) or types.is_binary(kind) or types.is_large_string(kind) or types.is_large_binary(kind):
        return _text(pa, array)
    if types.is_boolean(kind):
        filled = array.fill_null(False) if array.null_count else array
        return record("plain", _validity(pa, array), _fixed(filled.cast(pa.uint8())))
    if types.is_primitive(kind) and kind.bit_width in (8, 16, 32, 64):
        floats = f"={FLOATS[kind.bit_width]}" if types.is_floating(kind) else ""
        return record("plain", _validity(pa, array), _fixed(_without_nulls(pa, array), floats))
    return record("items", encode_items(array.to_pylist(), walk))


def _validity(pa: Any, array: Any) -> bytes:
    return _fixed(array.is_valid().cast(pa.uint8())) if array.null_count else b""


def _without_nulls(pa: Any, array: Any) -> Any:
    integers = {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}
    array = array.view(integers[array.type.bit_width])
    return array.fill_null(0) if array.null_count else array


def _fixed(array: Any, floats: str = "") -> bytes:
    """The buffer of an array of numbers without nulls; `floats` as for `bounded`."""
    width = array.type.bit_width // 8
    data = memoryview(array.buffers()[1])
    return bounded(b"a", data[array.offset * width : (array.offset + len(array)) * width], floats)


def _text(pa: Any, array: Any) -> bytes:
    """Strings or bytes: which are null, how long each is, and all of them joined."""
    compute: Any = importlib.import_module("pyarrow.compute")
    valid = _validity(pa, array)
    if array.null_count:
        array = array.fill_null(b"" if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type) else "")
    wide = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    offsets = memoryview(array.buffers()[1]).cast("q" if wide else "i")
    data = memoryview(array.buffers()[2] or b"")
    joined = data[offsets[array.offset] : offsets[array.offset + len(array)]]
    lengths = compute.binary_length(array).cast(pa.int64())
    return record("text", valid, _fixed(lengths), bounded(b"a", joined))
