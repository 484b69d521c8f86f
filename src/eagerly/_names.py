"""Name templates: ``{param}`` and ``{param:spec}``, checked when a task is declared, rendered when somebody asks.

Nothing here looks at a value before that, and nothing follows attributes or indices of one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from string import Formatter
from typing import Any

from eagerly.errors import OptionTypeError, OptionValueError

__all__ = ["MAP_INDEX", "NameTemplate"]

MAP_INDEX = "map_index"


class NameTemplate:
    """A task's name, fixed or with placeholders.

    Args:
        text: The template.
        parameters: The names that placeholders may use, besides ``map_index``.
        option: How the option is called in messages.

    Raises:
        OptionTypeError: `text` is not a string.
        OptionValueError: It is empty, has a period or a placeholder that names no parameter.
    """

    __slots__ = ("fields", "text")

    def __init__(self, text: str, parameters: Collection[str], *, option: str = "task(name=...)") -> None:
        self.text = plain_name(option, text)
        self.fields = frozenset(_placeholders(option, text, parameters))

    def render(self, inputs: Mapping[str, Any], map_index: int | None = None) -> str:
        """The name for one call.

        A value that does not fit its format spec leaves the template as it is: a name must never fail a call.
        """
        name = self.text
        if self.fields:
            try:
                name = name.format_map({MAP_INDEX: map_index, **inputs})
            except Exception:
                return self.text
        if map_index is not None and MAP_INDEX not in self.fields:
            name = f"{name}[{map_index}]"
        return name


def plain_name(option: str, text: object) -> str:
    """`text` if it can be the name of a task or workflow."""
    if not isinstance(text, str):
        raise OptionTypeError(f"{option} takes a string, not {text!r}")
    if not text.strip():
        raise OptionValueError(f"{option} must not be empty")
    if "." in text:
        raise OptionValueError(
            f"{option} may not contain a period, and {text!r} does; write {text.replace('.', '_')!r}"
        )
    return text


def _placeholders(option: str, text: str, parameters: Collection[str]) -> list[str]:
    available = ", ".join(f"{{{name}}}" for name in (*parameters, MAP_INDEX))
    try:
        found = [field for _, field, spec, _ in Formatter().parse(text) if field is not None]
    except ValueError as error:
        raise OptionValueError(
            f"{option}: {text!r} is not a valid template ({error}); write {{{{ and }}}} for literal braces"
        ) from None
    for field in found:
        if field not in parameters and field != MAP_INDEX:
            raise OptionValueError(
                f"{option}: {text!r} references the unknown placeholder {{{field}}}; available: {available}"
            )
    return found
