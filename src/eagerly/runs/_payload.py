"""What a run gives, as bytes: JSON, or a pickle where a task asks for one. Where the bytes go is up to the store."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from eagerly._wire import in_words
from eagerly.errors import OutputCorrupt, OutputNotSerializable, RunsError

__all__ = ["INLINE", "OBJECT", "Payload", "as_json", "decode", "encode", "json_value"]

INLINE: Final = 64 * 1024
"""Bytes up to which an output is kept in the row of its run."""

OBJECT: Final = "object"
"""The form of an output that is in the memory of this process only: its data is the value itself."""

_PLAIN: Final = frozenset({str, bool, int, type(None)})


class Payload(NamedTuple):
    """An encoded output.

    Attributes:
        form: ``"json"`` or ``"pickle"``; in memory also ``"object"``.
        data: The bytes; for an object: itself.
        blob: The SHA-256 of the bytes if they are too many for a row, else None.
    """

    form: str
    data: Any
    blob: str | None


def encode(value: Any, *, pickled: bool = False) -> Payload:
    """`value` as bytes.

    Args:
        value: What is to be kept.
        pickled: As a pickle, which only who trusts the store can read. A tuple stays one there.

    Raises:
        OutputNotSerializable: JSON, or pickle, does not have something that is in it.
    """
    if pickled:
        try:
            data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            raise OutputNotSerializable(
                f"output is {type(value).__name__}, which cannot be pickled: {type(error).__name__}: {error}",
                path="output",
            ) from error
    else:
        data = as_json(value, "output").encode()
    blob = hashlib.sha256(data).hexdigest() if len(data) > INLINE else None
    return Payload("pickle" if pickled else "json", data, blob)


def decode(payload: Payload, *, trusted: bool, run_id: str = "") -> Any:
    """The value of a payload. Each call gives a new one, unless it is an object.

    Args:
        payload: What the store has.
        trusted: Whether nobody but this user can have written it.
        run_id: Whose output it is, for messages.

    Raises:
        OutputCorrupt: The bytes are not what `encode` makes.
        RunsError: It is a pickle, and somebody else may have written it.
    """
    if payload.form == OBJECT:
        return payload.data
    if payload.form == "json":
        try:
            return json.loads(payload.data)
        except (ValueError, RecursionError) as error:
            raise OutputCorrupt(f"the output of run {run_id} is no JSON: {error}", run_id=run_id) from error
    if not trusted:
        raise RunsError(
            f"the output of run {run_id} is a pickle in a store that others can write to, and unpickling runs their"
            " code. If only programs of yours write there, open the store with trusted=True",
            run_id=run_id,
        )
    try:
        return pickle.loads(payload.data)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise OutputCorrupt(f"the output of run {run_id} cannot be unpickled: {what}", run_id=run_id) from error


def as_json(value: Any, path: str) -> str:
    """`value` as JSON in ASCII, which is the same value when it is read again; tuples become lists.

    Raises:
        OutputNotSerializable: JSON does not have something that is in it, which the message names by its `path`.
    """
    try:
        found = _foreign(value, [])
        if found is None:
            return json.dumps(value, allow_nan=False, separators=(",", ":"), check_circular=False)
    except RecursionError:
        found = "", "is nested too deeply for JSON"
    except ValueError as error:  # an integer of more digits than Python writes
        found = "", f"cannot be written: {error}"
    except Exception as error:  # of the value's own methods
        found = "", f"cannot be looked at: {type(error).__name__}: {in_words(error)[0]}"
    place = path + found[0]
    raise OutputNotSerializable(f"{place} {found[1]}", path=place)


def json_value(text: str | None) -> Any:
    """What `as_json` was given; None for None."""
    return None if text is None else json.loads(text)


def _foreign(value: Any, around: list[int]) -> tuple[str, str] | None:
    """The place of the first thing in `value` that would not come back from JSON, and what is the matter with it."""
    if type(value) in _PLAIN or isinstance(value, str | int):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else ("", f"is {value}, which JSON does not have; use None, or a string")
    if not isinstance(value, dict | list | tuple):
        return "", f"is {type(value).__name__}, which JSON does not have; {_advice(value)}"
    if id(value) in around:  # pyright: ignore[reportUnknownArgumentType]  # of anything
        return "", "contains itself"
    around.append(id(value))  # pyright: ignore[reportUnknownArgumentType]  # of anything
    items: Iterable[tuple[Any, Any]] = (
        cast("Mapping[Any, Any]", value).items() if isinstance(value, dict) else enumerate(cast("Sequence[Any]", value))
    )
    for key, each in items:
        if isinstance(value, dict) and not isinstance(key, str):
            return "", f"has the key {key!r}, and keys of JSON are strings; write str({key!r})"
        if type(each) not in _PLAIN and (found := _foreign(each, around)) is not None:
            return f"[{key!r}]{found[0]}", found[1]
    around.pop()
    return None


def _advice(value: object) -> str:
    if isinstance(value, set | frozenset):
        return "write sorted(...) or list(...)"
    if isinstance(value, bytes | bytearray | memoryview):
        return "write base64.b64encode(...).decode(), or save it as a dataset"
    if hasattr(value, "isoformat"):
        return "write .isoformat()"
    if hasattr(value, "tolist"):
        return "write .tolist(), or save it as a dataset"
    return "return what it consists of as dicts, lists, strings and numbers, or save it as a dataset"
