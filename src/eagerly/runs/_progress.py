"""What a body says about its run, checked: the same inside of a run and outside."""

from __future__ import annotations

from typing import Any

from eagerly._sentinel import UNSET
from eagerly.errors import OptionValueError
from eagerly.runs._limits import MAX_SUMMARY, text, unit_interval, whole_number
from eagerly.runs._payload import as_json

__all__ = ["output_summary", "progress_values"]


def progress_values(progress: Any, step: Any, steps: Any, message: Any, data: Any) -> dict[str, Any]:
    """The fields of a record that ``set_progress()`` is about.

    Raises:
        OptionTypeError, OptionValueError: One of them cannot be that, or there is none.
        OutputNotSerializable: JSON does not have something that is in `data`.
    """
    values: dict[str, Any] = {}
    if progress is not UNSET:
        values["progress"] = unit_interval("set_progress(progress)", progress)
    for name, value in (("step", step), ("steps", steps)):
        if value is not UNSET:
            values[name] = None if value is None else whole_number(f"set_progress({name}=...)", value)
    if values.get("step") is not None and values.get("steps") is not None and values["step"] > values["steps"]:
        raise OptionValueError(f"set_progress(step={step}, steps={steps}): a step must not be greater than steps")
    if message is not UNSET:
        values["message"] = None if message is None else text("set_progress(message=...)", message)
    if data is not UNSET:
        values["progress_data"] = None if data is None else as_json(data, "data")
    if not values:
        raise OptionValueError(
            "set_progress() has nothing to say; write set_progress(0.5) or set_progress(step=1, steps=2)"
        )
    return values


def output_summary(value: str) -> str:
    """What is shown of an output.

    Raises:
        OptionTypeError, OptionValueError: No string, or too long.
    """
    return text("set_output(summary=...)", value, longest=MAX_SUMMARY)
