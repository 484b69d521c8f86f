"""What calls do with datasets: save their results, with hooks and provenance. `_datasets` is what people do by hand.

How a dataset gets into its place stands in `eagerly.datasets`.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, cast

from eagerly._dataset_options import DatasetOptions
from eagerly._scope import OUTSIDE, item_around
from eagerly._steps import Access, Plan, carry_out
from eagerly._stores import code_digest, dataset_format, dataset_store
from eagerly.datasets._trouble import not_saved, saving
from eagerly.errors import DatasetError, DatasetKeyError
from eagerly.hooks._compile import is_from_hook

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from eagerly._context import TaskContext
    from eagerly._scope import SessionContext
    from eagerly._stored import StoredCall
    from eagerly.datasets._store import DatasetStore

__all__ = [
    "claim_dataset",
    "ensure_dataset",
    "finish_stream",
    "lacks_dataset",
    "open_stream",
    "prepare_dataset",
    "provenance",
    "refusal_of",
    "save_from_afar",
    "save_result",
    "write_item",
]

_WHO = ("cache_key", "task", "code")  # of a manifest: those of two calls that may replace each other's dataset
_BITS = 2000  # of a small int; Python refuses to write down much larger ones


def prepare_dataset(call: TaskContext, stored: StoredCall) -> None:
    """Before the function runs: the key is rendered and claimed, so that nothing is computed in vain.

    Raises:
        DatasetKeyError: The key cannot be one, or another call of this session has saved its own result there.
        DatasetFormatError: There is no format of the name that the task was told.
    """
    options = call._task.declaration.dataset
    assert options is not None
    store = store_of(call)
    if store is None:
        return
    key = options.key.render(call.inputs, call.map_index)
    if options.format is not None and not call._task.declaration.is_generator:  # of items `open_stream` asks
        with saving(key, None):
            dataset_format(options.format)
    stored.unclaim = claim_dataset(call, store, key)
    stored.dataset = store, key


def ensure_dataset(call: TaskContext, stored: StoredCall, value: Any) -> Plan[None]:
    """After a hit in the cache: when the call returns its dataset is there, if need be written from the value."""
    options = call._task.declaration.dataset
    store = store_of(call)
    if options is None or store is None:
        return
    key = options.key.render(call.inputs, call.map_index)
    try:
        stored.unclaim = claim_dataset(call, store, key)
        if not (yield Access(lambda: _is_of(call, store, key))):
            yield from _save(call, options, store, key, value)
        stored.unclaim = None
    except Exception as error:
        call.start()  # what was to be a hit becomes a call that fails
        raise _failed(call, error, key, value) from _cause(error)


def lacks_dataset(call: TaskContext) -> Plan[bool]:
    """Whether the dataset of this call is to be written and is not there."""
    options = call._task.declaration.dataset
    store = store_of(call)
    if options is None or store is None:
        return False
    key = options.key.render(call.inputs, call.map_index)
    return not (yield Access(lambda: _is_of(call, store, key)))


def _is_of(call: TaskContext, store: DatasetStore, key: str) -> bool:
    """Whether the dataset that is there is the result of this very call, as it was saved."""
    saved = store._unaltered(key)
    assert call._stored is not None
    assert call._stored.key is not None
    return saved is not None and saved.provenance.get("cache_key") == call._stored.key.text


def save_result(call: TaskContext, stored: StoredCall, result: Any) -> Plan[None]:
    """After the function has returned: its result is saved.

    Raises:
        DatasetError: That failed; it has the result.
    """
    options = call._task.declaration.dataset
    if options is not None and stored.dataset is not None:
        store, key = stored.dataset
        try:
            yield from _save(call, options, store, key, result)
        except Exception as error:
            if is_from_hook(error):
                raise
            raise _failed(call, error, key, result) from _cause(error)
        stored.unclaim = None


def _save(call: TaskContext, options: DatasetOptions, store: DatasetStore, key: str, value: Any) -> Plan[None]:
    hooks = call._session.hooks
    if (hook := hooks.before_dataset_save) is not None:
        hook(key, value, options.format, {}, call)
    origin = provenance(call)
    check = refusal_of(call, store, key, origin)
    saved = yield Access(lambda: store.save(key, value, format=options.format, provenance=origin, check=check))
    if (hook := hooks.after_dataset_save) is not None:
        hook(key, value, saved.format, {}, call, saved.path)


def save_from_afar(call: TaskContext, value: Any) -> None:
    """Save here what a call has given that was made in a process which cannot reach the store.

    Raises:
        DatasetError: That failed; it has the result.
    """
    options, store = call._task.declaration.dataset, store_of(call)
    if options is None or store is None:
        return
    key = options.key.render(call.inputs, call.map_index)
    try:
        if call.is_generator:
            _save_items(call, options, store, key, value)
        else:
            carry_out(_save(call, options, store, key, value))
    except Exception as error:
        if is_from_hook(error):
            raise
        raise not_saved(error, key, value) from _cause(error)


def _save_items(call: TaskContext, options: DatasetOptions, store: DatasetStore, key: str, items: list[Any]) -> None:
    hooks = call._session.hooks
    if (hook := hooks.before_dataset_save) is not None:
        hook(key, None, options.format, {}, call)
    origin = provenance(call)
    writer = store.writer(key, format=options.format, provenance=origin, check=refusal_of(call, store, key, origin))
    try:
        for item in items:
            writer.write(item)
        saved = writer.commit()
    finally:
        writer.abort()
    if (hook := hooks.after_dataset_save) is not None:
        hook(key, None, saved.format, {}, call, saved.path)


# Streams


def open_stream(call: TaskContext, stored: StoredCall) -> None:
    """The items of this call are to be written as they pass."""
    options = call._task.declaration.dataset
    if options is None or stored.dataset is None:
        return
    store, key = stored.dataset
    if (hook := call._session.hooks.before_dataset_save) is not None:
        hook(key, None, options.format, {}, call)
    origin = provenance(call)
    check = refusal_of(call, store, key, origin)
    try:
        stored.writer = store.writer(key, format=options.format, provenance=origin, check=check)
    except Exception as error:
        raise _failed(call, error, key, None) from _cause(error)


def write_item(call: TaskContext, stored: StoredCall, item: Any) -> Plan[None]:
    """Write one item.

    Raises:
        DatasetError: It could not be written.
    """
    writer = stored.writer
    try:
        yield Access(lambda: writer.write(item))
    except Exception as error:
        raise _failed(call, error, writer.key, None) from _cause(error)


def finish_stream(call: TaskContext, stored: StoredCall) -> Plan[None]:
    """The stream is exhausted: its dataset appears.

    Raises:
        DatasetError: It could not be completed.
    """
    writer = stored.writer
    try:
        saved = yield Access(writer.commit)
    except Exception as error:
        raise _failed(call, error, writer.key, None) from _cause(error)
    stored.writer = stored.unclaim = None
    if (hook := call._session.hooks.after_dataset_save) is not None:
        hook(saved.key, None, saved.format, {}, call, saved.path)


def _failed(call: TaskContext, error: Exception, key: str, value: Any) -> DatasetError:
    """The call ends with an error about its dataset, which is returned to be raised."""
    failed = not_saved(error, key, value)
    call.fail_for_good(failed)
    return failed


def _cause(error: Exception) -> Exception | None:
    return None if isinstance(error, DatasetError) else error


# Where, and on whose behalf


def store_of(call: TaskContext) -> DatasetStore | None:
    """Where the dataset of this call goes, or None."""
    options = call._task.declaration.dataset
    if options is None or options.store is None:
        return call._session.dataset_store
    store = dataset_store(options.store)
    item = call._outer._item
    # In the memory of a worker nobody would find it: the coordinator saves it, see `save_from_afar`.
    return None if item is not None and item.events is not None and not store.shared else store


def claim_dataset(call: TaskContext, store: DatasetStore, key: str) -> Callable[[], object] | None:
    """Refuse to overwrite what another call of this session has saved, unless that had the same arguments.

    Returns:
        What gives the key free again if nothing comes of it; None if it was taken before.

    Raises:
        DatasetKeyError: Another call has it.
    """
    session = call._session
    if session is OUTSIDE or store.overwrite:
        return None
    claimant = _claimant(call)
    place = (store.base, key)
    holder = session.claims.setdefault(place, claimant)
    if holder is claimant:
        return functools.partial(session.claims.pop, place, None)
    if holder != claimant:
        raise _taken(key)
    return None


def refusal_of(
    call: TaskContext | None, store: DatasetStore, key: str, origin: Mapping[str, Any]
) -> Callable[[Mapping[str, Any]], None] | None:
    """What refuses to replace what another call of this session has saved in another process, where claims are others.

    Args:
        call: On whose behalf something is saved.
        store: Where.
        key: Under which key.
        origin: Its `provenance`.

    Returns:
        What raises a `DatasetKeyError`, given the provenance of what is there; None where everything may be replaced.
    """
    if call is None or call.session_id is None or store.overwrite:
        return None

    def check(there: Mapping[str, Any]) -> None:
        if there.get("session") != origin["session"] or there.get("call") in (None, origin["call"]):
            return
        if there.get("item") is not None and there.get("item") == origin.get("item"):
            return  # which is run by one process at a time, where calls claim; this one comes after a crash
        cached = origin["cache_key"] is not None
        alike = all(there.get(name) == origin[name] for name in (("cache_key",) if cached else _WHO))
        if not (alike and (cached or _are_alike(there.get("inputs"), call.inputs))):
            raise _taken(key)

    return check


def _taken(key: str) -> DatasetKeyError:
    return DatasetKeyError(
        f"dataset {key!r} has been saved by another call in this session; let the key contain an argument that "
        f"varies, as in dataset='{{name}}/...', or allow it with DatasetStore(..., overwrite=True)",
        key=key,
    )


def _claimant(call: TaskContext) -> object:
    """Who saves: the same code with the same arguments is the same one, whichever call it is.

    Without a cache key, arguments are only compared if they are small.
    """
    if call._stored is not None and call._stored.key is not None:
        return call._stored.key.digest
    if all(_is_small(value) for value in call.inputs.values()):
        # Of lambdas, and of what a factory makes, only the code tells one from the other.
        code = code_digest(call._task.declaration)
        return call.qualified_name, code, _words(call.inputs)
    return call.id


def provenance(call: TaskContext | None, session: SessionContext | None = None) -> dict[str, Any]:
    """Where a dataset comes from, for its manifest."""
    if call is None:
        return {} if session is None or session is OUTSIDE else {"session": str(session.session_id)}
    origin: dict[str, Any] = {
        "task": call.qualified_name,
        "cache_key": None if call._stored is None or call._stored.key is None else call._stored.key.text,
        "call": str(call.id),
        "inputs": {name: _summary(value) for name, value in call.inputs.items()},
        "sources": call.sources,
    }
    if call.session_id is not None:
        origin["session"] = str(call.session_id)
    origin["code"] = code_digest(call._task.declaration)
    item = item_around(call)
    if item is not None:
        origin["item"] = str(item.call_id())  # the same when it is done again, after its worker has died
    return origin


def _words(values: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Small arguments as they are compared: 1 is not True, 0.0 is not -0.0, and NaN is the same as itself."""
    return {name: (type(value).__name__, repr(value)) for name, value in values.items()}


def _are_alike(noted: Any, inputs: Mapping[str, Any]) -> bool:
    """Whether the arguments that a manifest has noted are `inputs`. Only of small ones it can be told."""
    if not isinstance(noted, dict) or not all(_is_small(value) for value in inputs.values()):
        return False
    return _words(cast("dict[str, Any]", noted)) == _words(inputs)


def _summary(value: Any) -> Any:
    """An argument as a manifest shows it: small values as they are, of others the type."""
    return value if _is_small(value) else f"<{type(value).__module__}.{type(value).__qualname__}>"


def _is_small(value: Any) -> bool:
    # Compared by identity, as a metaclass may do anything when it is compared.
    cls: Any = type(value)  # pyright: ignore[reportUnknownVariableType]  # of anything
    if cls is int:
        return bool(value.bit_length() <= _BITS)
    return value is None or cls is bool or cls is float or (cls is str and len(value) <= 100)
