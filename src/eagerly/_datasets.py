"""`save_dataset` and `load_dataset`: datasets by hand, inside of tasks and outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from eagerly._dataset_options import dataset_spec
from eagerly._dataset_saving import claim_dataset, provenance, refusal_of
from eagerly._paths import absolute
from eagerly._scope import OUTSIDE, SessionContext, here, open_session
from eagerly._settings import resolve_settings
from eagerly._stores import dataset_store
from eagerly.datasets._key import KeyTemplate
from eagerly.errors import DatasetError, OptionTypeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eagerly._context import TaskContext
    from eagerly._dataset_options import DatasetSpec
    from eagerly.datasets._manifest import Dataset
    from eagerly.datasets._store import DatasetStore

__all__ = ["load_dataset", "save_dataset"]

T = TypeVar("T")


def save_dataset(
    key: str,
    value: Any,
    *,
    format: str | None = None,
    store: DatasetSpec | None = None,
    options: Mapping[str, Any] | None = None,
) -> Dataset:
    """Save a value under a key, in a format that other programs read.

    It appears at once and as a whole; what was there before stays until then. A manifest beside it says what it is and
    where it comes from.

    Args:
        key: A relative path with ``/``, for example ``"reports/monday.csv"``. In a task, ``{param}`` stands for an
            argument of the current call.
        value: What to save.
        format: The name of a format. Default: what the extension of the key and the value suggest.
        store: Where: a path, a URL or a `DatasetStore`. Default: that of the session.
        options: For the format.

    Returns:
        What was saved: its path, size, checksum and the rest of its manifest.

    Raises:
        DatasetKeyError: The key cannot be one, or another call of this session has saved its own under it.
        DatasetFormatError: The format does not exist or does not fit the value.
        DatasetError: It could not be written; ``result`` has the value.

    Example:
        >>> import tempfile
        >>> from eagerly import load_dataset, save_dataset, session
        >>> with tempfile.TemporaryDirectory() as folder, session(dataset_store=folder):
        ...     saved = save_dataset("prices.json", {"Oslo": 4.5})
        ...     load_dataset("prices.json")
        {'Oslo': 4.5}
    """
    session, call = _where()
    chosen = _store(session, store)
    rendered = _render("save_dataset", key, call)
    given = _options("save_dataset", options)
    unclaim = None if call is None else claim_dataset(call, chosen, rendered)
    if (hook := session.hooks.before_dataset_save) is not None:
        hook(rendered, value, format, given, call)
    origin = provenance(call, session)
    check = refusal_of(call, chosen, rendered, origin)
    try:
        saved = chosen.save(rendered, value, format=format, options=given, provenance=origin, check=check)
    except BaseException:
        if unclaim is not None:
            unclaim()
        raise
    if (hook := session.hooks.after_dataset_save) is not None:
        hook(rendered, value, saved.format, given, call, saved.path)
    return saved


@overload
def load_dataset(
    key: str,
    return_type: type[T],
    *,
    format: str | None = ...,
    store: DatasetSpec | None = ...,
    options: Mapping[str, Any] | None = ...,
    version: str | None = ...,
) -> T: ...
@overload
def load_dataset(
    key: str,
    return_type: None = None,
    *,
    format: str | None = ...,
    store: DatasetSpec | None = ...,
    options: Mapping[str, Any] | None = ...,
    version: str | None = ...,
) -> Any: ...


def load_dataset(
    key: str,
    return_type: Any = None,
    *,
    format: str | None = None,
    store: DatasetSpec | None = None,
    options: Mapping[str, Any] | None = None,
    version: str | None = None,
) -> Any:
    """Load what was saved under a key.

    Args:
        key: As it was saved. In a task, ``{param}`` stands for an argument of the current call.
        return_type: The type that is wanted, where a format can give several: ``pandas.DataFrame``, a pydantic model.
        format: The name of a format. Default: what the manifest says, else the extension.
        store: Where: a path, a URL or a `DatasetStore`. Default: that of the session.
        options: For the format.
        version: One of ``store.history(key)``, for stores that keep versions. Default: the newest.

    Raises:
        DatasetNotFoundError: There is no such dataset (also a `FileNotFoundError`).
        DatasetFormatError: The format does not exist, or cannot give that type.
        DatasetError: It cannot be read.
    """
    session, call = _where()
    chosen = _store(session, store)
    rendered = _render("load_dataset", key, call)
    given = _options("load_dataset", options)
    if (hook := session.hooks.before_dataset_load) is not None:
        hook(rendered, return_type, format, given, call)
    started = session.now()
    result = chosen.load(rendered, return_type, format=format, options=given, version=version)
    if call is not None:
        call.sources.append(_source(chosen, rendered, version))
    if (hook := session.hooks.after_dataset_load) is not None:
        hook(rendered, return_type, format, given, call, result, session.now() - started)
    return result


def _where() -> tuple[SessionContext, TaskContext | None]:
    scope = here.get()
    return open_session(scope), scope._call


def _store(session: SessionContext, given: Any) -> DatasetStore:
    if given is not None:
        spec = dataset_spec("store", given)
        return dataset_store(absolute(spec) if isinstance(spec, str) else spec)
    if session is OUTSIDE:
        return dataset_store(absolute(resolve_settings()[0].dataset_store))
    if session.dataset_store is None:
        raise DatasetError("there is no dataset store in this session(dataset_store=None); name one: store='a/path'")
    return session.dataset_store


def _source(store: DatasetStore, key: str, version: str | None) -> dict[str, str]:
    """What was loaded, for the manifests of what is made of it."""
    known = [store.manifest(key)] if version is None else store.history(key)
    for dataset in known:
        if dataset is not None and version in (None, dataset.version):
            return dataset.as_source()
    return {"key": key}


def _render(function: str, key: Any, call: TaskContext | None) -> str:
    if call is None:
        return KeyTemplate(key, (), f"{function}(key)").render({})
    inputs = call.inputs
    return KeyTemplate(key, tuple(inputs), f"{function}(key)").render(inputs, call.map_index)


def _options(function: str, options: Any) -> dict[str, Any]:
    if options is None:
        return {}
    try:
        return dict(options)
    except (TypeError, ValueError):
        raise OptionTypeError(f"{function}(options=...) takes a dict, not {options!r}") from None
