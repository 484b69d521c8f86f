"""Name templates: ``{param}`` and ``{param:spec}``, checked when a task is declared, rendered when somebody asks.

Nothing here looks at a value before that, and nothing follows attributes or indices of one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from string import Formatter
from typing import Any

from eagerly.errors import OptionTypeError, OptionValueError

__all__ = ["MAP_INDEX", "NameTemplate", "check_text", "plain_name", "refuse_unknown_fields"]

MAP_INDEX = "map_index"


class NameTemplate:
    """A task's name, fixed or with placeholders.

    Args:
        text: The template.
        parameters: The names that placeholders may use, besides ``map_index``.

    Raises:
        OptionTypeError: `text` is not a string.
        OptionValueError: It is empty, has a period or a placeholder that names no parameter.
    """

    __slots__ = ("fields", "text")

    fields: frozenset[str]
    """The parameters that the name depends on."""
    text: str
    """The template; the name itself where there are no fields."""

    def __init__(self, text: str, parameters: Collection[str]) -> None:
        option = "task(name=...)"
        pieces = list(_pieces(option, check_text(option, text)))
        for literal, _ in pieces:
            _refuse_period(option, text, literal)
        self.fields = frozenset(field for _, field in pieces if field is not None)
        refuse_unknown_fields(option, text, self.fields, parameters)
        self.text = text if self.fields else text.format()

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
    """`text` if it can be the name of something without parameters to fill in.

    Raises:
        OptionTypeError, OptionValueError: It is no string, is empty or has a period.
    """
    name = check_text(option, text)
    _refuse_period(option, name, name)
    return name


def check_text(option: str, text: object) -> str:
    """`text` if it is a string that is not empty.

    Raises:
        OptionTypeError, OptionValueError: It is not.
    """
    if not isinstance(text, str):
        raise OptionTypeError(f"{option} takes a string, not {text!r}")
    if not text.strip():
        raise OptionValueError(f"{option} must not be empty")
    return text


def _refuse_period(option: str, text: str, literal: str) -> None:
    if "." in literal:
        hint = text.replace(literal, literal.replace(".", "_"))
        raise OptionValueError(f"{option} may not contain a period, and {text!r} does; write {hint!r}")


def _pieces(option: str, text: str) -> Iterator[tuple[str, str | None]]:
    """Literal text and the placeholder behind it, those within format specs included."""
    try:
        for literal, field, spec, _ in Formatter().parse(text):
            yield literal, field
            if spec:
                yield from (("", inner) for _, inner in _pieces(option, spec) if inner is not None)
    except ValueError as error:
        raise OptionValueError(
            f"{option}: {text!r} is not a valid template ({error}); write {{{{ and }}}} for literal braces"
        ) from None


def refuse_unknown_fields(option: str, text: str, fields: Collection[str], parameters: Collection[str]) -> None:
    """Raise for the first placeholder of the template `text` that names no parameter.

    Raises:
        OptionValueError: There is one.
    """
    available = ", ".join(f"{{{name}}}" for name in (*parameters, MAP_INDEX))
    for field in sorted(fields):
        if field not in parameters and field != MAP_INDEX:
            raise OptionValueError(
                f"{option}: {text!r} references the unknown placeholder {{{field}}}; available: {available}"
            )
