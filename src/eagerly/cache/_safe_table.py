"""Tables of pandas, polars and pyarrow in the safe format: as an Arrow IPC stream, if that leads back to them exactly.

The stream must not name an extension type: Arrow would hand its bytes to whatever library registered that name, and
some of those unpickle.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from eagerly.cache._safe_wire import UnfitError
from eagerly.errors import MissingExtraError

__all__ = ["describe", "restore"]


def describe(value: object) -> tuple[str, Any, memoryview] | None:
    """Kind, header (plain data) and Arrow IPC stream of `value`, or None if it is no table.

    Raises:
        UnfitError: It does not come back exactly from an Arrow stream, and why.
        MissingExtraError: A pandas object, and pyarrow is not installed.
    """
    pyarrow: Any = sys.modules.get("pyarrow")
    pandas: Any = sys.modules.get("pandas")
    polars: Any = sys.modules.get("polars")
    cls = type(value)
    try:
        if pyarrow is not None and cls in (pyarrow.Table, pyarrow.RecordBatch):
            described = "arrow", cls is pyarrow.Table, _write_arrow(value)
        elif pandas is not None and cls in (pandas.DataFrame, pandas.Series):
            described = _describe_pandas(pandas, value)
        elif polars is not None and cls in (polars.DataFrame, polars.Series):
            described = "polars", cls is polars.DataFrame, _write_polars(value)
        else:
            return None
        if _has_extension_types(described[2]):
            raise UnfitError(value, "it has columns of an Arrow extension type, which are not read; convert them")
        again = restore(*described)
    except (UnfitError, MissingExtraError):
        raise
    except Exception as error:
        raise UnfitError(value, f"Arrow does not take it ({type(error).__name__}: {error})") from error
    if not _is_same(value, again):
        raise UnfitError(value, "it does not come back from Arrow exactly as it was")
    return described


def restore(kind: str, header: Any, stream: memoryview) -> Any:
    """What `describe` was given."""
    if _has_extension_types(stream):
        raise ValueError("a table with columns of an Arrow extension type")
    if kind == "arrow":
        table = _read_arrow(stream)
        return table if header else table.to_batches()[0] if table.num_rows else _empty_batch(table)
    if kind == "pandas":
        return _restore_pandas(header, stream)
    if kind == "polars":
        pl: Any = importlib.import_module("polars")

        frame = pl.read_ipc_stream(bytes(stream))
        return frame if header else frame.to_series()
    raise ValueError(f"there is no kind of table named {kind!r}")


def _has_extension_types(stream: memoryview) -> bool:
    """The names stand in the first message, the schema, which is never compressed."""
    size = int.from_bytes(stream[4:8], "little")
    if bytes(stream[:4]) != b"\xff\xff\xff\xff" or size > stream.nbytes:
        raise ValueError("no Arrow stream")
    return b"ARROW:extension:name" in bytes(stream[8 : 8 + size])


def _write_arrow(table: Any) -> memoryview:
    pa: Any = importlib.import_module("pyarrow")

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write(table)
    return memoryview(sink.getvalue()).cast("B")


def _read_arrow(stream: memoryview) -> Any:
    pa: Any = importlib.import_module("pyarrow")

    with pa.ipc.open_stream(pa.py_buffer(stream)) as reader:
        table = reader.read_all()
    table.validate(full=True)
    return table


def _empty_batch(table: Any) -> Any:
    pa: Any = importlib.import_module("pyarrow")

    return pa.RecordBatch.from_pylist([], schema=table.schema)


def _write_polars(value: Any) -> memoryview:
    import io

    file = io.BytesIO()
    (value if hasattr(value, "schema") else value.to_frame()).write_ipc_stream(file)
    return file.getbuffer()


def _describe_pandas(pandas: Any, value: Any) -> tuple[str, Any, memoryview]:
    try:
        pa: Any = importlib.import_module("pyarrow")
    except ImportError:
        raise MissingExtraError(
            "to store a pandas object with safe=True needs pyarrow, which is not installed: pip install pyarrow"
        ) from None
    is_frame = type(value) is pandas.DataFrame
    frame = value if is_frame else value.to_frame("values")
    parts = [frame.iloc[:, index] for index in range(frame.shape[1])]
    for index in (frame.index, frame.columns):
        parts += index.levels if isinstance(index, pandas.MultiIndex) else [index]
    if any(each.dtype == object and not all(type(item) is str for item in each) for each in parts):
        raise UnfitError(value, "a column or index of dtype object has something else than strings; convert it")
    freq = getattr(frame.index, "freqstr", None)
    name = None if is_frame else value.name
    columns = frame.columns
    labels = (columns.start, columns.stop, columns.step) if isinstance(columns, pandas.RangeIndex) else None
    return "pandas", (is_frame, name, value.attrs, freq, labels), _write_arrow(pa.Table.from_pandas(frame))


def _restore_pandas(header: Any, stream: memoryview) -> Any:
    pd: Any = importlib.import_module("pandas")

    is_frame, name, attrs, freq, labels = header
    frame = _read_arrow(stream).to_pandas().copy()  # before pandas 3, views of Arrow's memory cannot be written to
    if freq is not None:
        frame.index.freq = freq
    if labels is not None:
        frame.columns = pd.RangeIndex(*labels, name=frame.columns.name)
    value = frame if is_frame else frame["values"].rename(name)
    value.attrs = attrs
    return value


def _is_same(value: Any, again: Any) -> bool:
    if type(value).__module__.startswith("pandas"):
        same = value.equals(again) and value.index.identical(again.index) and value.attrs == again.attrs
        if value.ndim == 1:
            return bool(same and value.dtype == again.dtype and value.name == again.name)
        return bool(same and value.columns.identical(again.columns) and value.dtypes.equals(again.dtypes))
    if type(value).__module__.startswith("polars"):
        ours, theirs = (each if hasattr(each, "schema") else each.to_frame() for each in (value, again))
        return bool(ours.schema == theirs.schema and ours.equals(theirs, null_equal=True))
    return bool(value.schema.equals(again.schema, check_metadata=True) and len(value) == len(again))
