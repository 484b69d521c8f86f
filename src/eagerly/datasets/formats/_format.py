"""What a format is: values to bytes and back. Where the bytes lie, and under which name, is not its business.

A format opens no files, knows no paths, and gives back exactly what it was given, or refuses to take it.
"""

from __future__ import annotations

import builtins
import contextlib
import io
from collections.abc import Generator, Iterable, Mapping
from typing import Any, BinaryIO, Protocol, get_origin

from eagerly._options import nearest
from eagerly.datasets.formats._library import describe, load_library, type_name, versions
from eagerly.errors import DatasetError, DatasetFormatError, EagerlyError

__all__ = ["Format", "ItemWriter", "Sink", "check_options", "parameters", "plain_type", "reading", "writing"]


class ItemWriter(Protocol):
    """Takes the items of a stream, one after the other. One that is dropped without `close` writes nothing more."""

    def write(self, item: Any, /) -> None:
        """Take one item. Its bytes may reach the file later, in a group with others.

        Raises:
            DatasetFormatError: The item does not fit the format or the items before it.
        """
        ...

    def close(self) -> None:
        """Write what is left; the file is complete then. It stays open. A second call does nothing."""
        ...


class Format:
    """A way to write values into a file and to read them back. Derive from it to bring one of your own.

    Attributes:
        name: What people write as ``format=``.
        extensions: Those that choose it, lower case with the dot; the first is the preferred one.
        takes: What it can hold, for messages.
        unsafe: Whether loading may run code that somebody put into the file.
        items: Whether `writer` takes the items of a stream.
        libraries: The distributions whose versions a reader may want to know later.
        types: Names of the types that `load` can give, the usual one first; empty: that depends on the file.
        kept_options: Options of `save` that `load` needs again, such as an encoding.

    Example:
        >>> class Upper(Format):
        ...     name, extensions, takes = "upper", (".upper",), "a str"
        ...     def fits(self, value):
        ...         return type(value) is str
        ...     def save(self, value, file, options):
        ...         file.write(value.upper().encode())
        ...     def load(self, file, return_type, options):
        ...         return file.read().decode()
    """

    name: str = ""
    extensions: tuple[str, ...] = ()
    takes: str = "other values"
    unsafe: bool = False
    items: bool = False
    libraries: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    kept_options: tuple[str, ...] = ()

    def fits(self, value: Any, /) -> bool:
        """Whether it can probably hold `value`. Cheap: it looks at the type, not through the whole value."""
        raise NotImplementedError(f"{type(self).__name__} has no fits()")

    def fits_item(self, item: Any, /) -> bool:
        """Whether its `writer` can probably take `item`."""
        return self.items and self.fits(item)

    def save(self, value: Any, file: BinaryIO, options: Mapping[str, Any], /) -> None:
        """Write `value` to `file`, which is open for writing and may not be able to seek.

        Raises:
            DatasetFormatError: It would not be the same value when it is loaded, or an option does not exist.
            MissingExtraError: A library is not installed.
        """
        raise NotImplementedError(f"{type(self).__name__} has no save()")

    def load(self, file: BinaryIO, return_type: Any, options: Mapping[str, Any], /) -> Any:
        """Read a value from `file`, which stands at its beginning and can seek.

        Args:
            file: Open for reading.
            return_type: What the caller wants to get, or None for what is usual.
            options: Of the format.

        Raises:
            DatasetError: The file is not what was written.
            DatasetFormatError: It cannot be given as `return_type`, or an option does not exist.
            MissingExtraError: A library is not installed.
        """
        raise NotImplementedError(f"{type(self).__name__} has no load()")

    def writer(self, file: BinaryIO, options: Mapping[str, Any], /) -> ItemWriter:  # noqa: ARG002
        """Take the items of a stream, to be written to `file` as they come.

        Raises:
            DatasetFormatError: The format has no use for single items, or an option does not exist.
            MissingExtraError: A library is not installed.
        """
        raise DatasetFormatError(f"{self.name} cannot be written item by item; json lines, csv and parquet can")

    def versions(self) -> dict[str, str]:
        """The versions of the `libraries` that are in use, by distribution."""
        return versions(self.libraries)

    def type_named(self, name: str) -> Any:
        """The type that `load` is to be asked for to get back what was saved as one, or None: the usual one will do.

        Args:
            name: What `type_name` said of the saved value, or ``Iterator[...]`` around that of the items of a stream.

        Raises:
            MissingExtraError: The library of this type is not installed.
        """
        if name.startswith("Iterator["):
            name = name.removeprefix("Iterator[").removesuffix("]")
            name = "list" if name == "dict" and "list" in self.types else name
        if name not in self.types:
            return None
        module, _, attribute = name.rpartition(".")
        return getattr(load_library(module, f"a {name}") if module else builtins, attribute)

    def require_fit(self, value: Any) -> None:
        """Raise if `value` does not fit.

        Raises:
            DatasetFormatError: It does not.
        """
        if not self.fits(value):
            raise DatasetFormatError(f"{self.name} takes {self.takes}, not {describe(value)}")

    def wanted(self, return_type: Any) -> str | None:
        """The one of `types` that was asked for, or None where nothing was.

        Raises:
            DatasetFormatError: It is none of them.
        """
        if return_type is None or return_type is Any or return_type is object:
            return None
        name = type_name(plain_type(return_type))
        if name not in self.types:
            raise DatasetFormatError(
                f"{self.name} cannot be loaded as {type_name(return_type)}; it gives {', '.join(self.types)}"
            )
        return name


def plain_type(kind: Any) -> Any:
    """A type without what stands in its brackets: ``list`` of ``list[int]``."""
    return get_origin(kind) or kind


def check_options(format_name: str, options: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse options that do not exist.

    Raises:
        DatasetFormatError: With the nearest that exists, and all of them.
    """
    known = sorted(known)
    for option in options:
        if option not in known:
            near = nearest(str(option), known)
            hint = f"did you mean {near!r}? " if near else ""
            there = f"there are {', '.join(known)}" if known else "it has none here"
            raise DatasetFormatError(f"{format_name} has no option {option!r}; {hint}{there}")


def parameters(function: Any, *without: str) -> set[str]:
    """The names of the arguments of a library's function that may be given as options."""
    import inspect

    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = inspect.signature(function).parameters.values()
    return {each.name for each in found if each.kind in kinds} - {"self", *without}


class Sink(io.RawIOBase):
    """What libraries are given to write to: a file that can only be written, and is left open whatever they do.

    Some write a last piece when they are thrown away in the middle, to a file that is long closed; `drop` prevents it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file: BinaryIO | None = file
        self._position = 0
        self.trouble: OSError | None = None
        """What the file raised, which some libraries replace by an error of their own."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        size = memoryview(data).nbytes
        if self._file is not None:
            try:
                self._file.write(data)
            except OSError as error:
                self.trouble = error
                raise
        self._position += size
        return size

    def tell(self) -> int:
        return self._position

    def drop(self) -> None:
        """Let all that is still written vanish."""
        self._file = None


@contextlib.contextmanager
def reading(format_name: str) -> Generator[None]:
    """What a library raises over a file becomes an error that names the format.

    Raises:
        DatasetError: The library could not read it; its own error is the cause.
    """
    try:
        yield
    except (EagerlyError, MemoryError):
        raise
    except Exception as error:
        raise DatasetError(f"this cannot be read as {format_name}: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def writing(format_name: str, value: object, sink: Any = None) -> Generator[None]:
    """What a library raises over a value becomes an error that names the format; trouble with the file stays as it is.

    Args:
        format_name: For the message.
        value: For the message.
        sink: The `Sink` that is written to, for libraries that hide what it raised.

    Raises:
        DatasetFormatError: The library refuses the value; its own error is the cause.
        OSError: The file could not be written.
    """
    try:
        yield
    except (EagerlyError, MemoryError, OSError):
        raise
    except Exception as error:
        trouble = getattr(sink, "trouble", None)
        if trouble is not None:
            raise trouble from error
        raise DatasetFormatError(
            f"{format_name} cannot hold this {type_name(type(value))}: {type(error).__name__}: {error}"
        ) from error
