"""`Parameter`: a parameter of a workflow as the command line sees it. Its annotation is evaluated here."""

from __future__ import annotations

import enum
import functools
import inspect
import reprlib
import typing
from collections import Counter
from collections.abc import Callable
from pathlib import PurePath
from types import SimpleNamespace
from typing import Any, Final

from eagerly import Task, Workflow
from eagerly.cli._annotation import UnsupportedAnnotationError, conversion_of
from eagerly.cli._conversion import Conversion, Truth, Union
from eagerly.cli._docstring import parse_docstring

__all__ = ["Parameter", "parameters_of"]

_BY_PLACE: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
_MANY: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Parameter:
    """One parameter of a workflow.

    Attributes:
        name: Its name.
        option: Its option, ``--max-items`` for ``max_items``.
        conversion: What its annotation makes of words.
        problem: Why no word can be its value, or an empty string.
        text: What the docstring says about it.
    """

    def __init__(self, told: inspect.Parameter, evaluate: Callable[[Any], Any], text: str) -> None:
        self.name = told.name
        self.option = f"--{(told.name.strip('_') or told.name).replace('_', '-')}"
        self.kind = told.kind
        self.default = told.default
        self.text = text
        self.problem = ""
        self.conversion = Conversion()
        try:
            if told.annotation is not told.empty:
                self.conversion = conversion_of(evaluate(told.annotation))
        except UnsupportedAnnotationError as error:
            self.problem = str(error)

    @property
    def by_place(self) -> bool:
        """Whether its value is told by its place, not by its name."""
        return self.kind in _BY_PLACE

    @property
    def many(self) -> bool:
        """Whether it is ``*args`` or ``**kwargs``."""
        return self.kind in _MANY

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty and not self.many

    @property
    def is_flag(self) -> bool:
        """Whether ``--name`` and ``--no-name`` say enough."""
        kind = self.conversion
        return not self.by_place and (isinstance(kind, Truth) or (isinstance(kind, Union) and kind.is_truth))

    @property
    def help(self) -> str:
        """One line for people."""
        notes: list[str] = []
        if self.problem:
            notes.append(f"not available here: {self.problem}")
        elif self.required:
            notes.append("required")
        if not self.many and not self.required and self.default is not None:
            notes.append(f"default: {_shown(self.default)}")
        if self.conversion.repeated and not self.many:
            notes.append("may be repeated")
        return f"{self.text} ({'; '.join(notes)})".strip() if notes else self.text


def parameters_of(workflow: Workflow[..., Any] | Task[..., Any]) -> list[Parameter]:
    """The parameters of `workflow`, in its order."""
    function = _function_of(workflow.func)
    names = getattr(function, "__globals__", {})
    type_parameters = {each.__name__: each for each in getattr(function, "__type_params__", ())}

    def evaluate(annotation: Any) -> Any:
        # Each by itself, as one name that is imported for type checkers only must not spoil the others.
        try:
            return typing.get_type_hints(SimpleNamespace(__annotations__={"it": annotation}), names, type_parameters)[
                "it"
            ]
        except Exception as error:
            raise UnsupportedAnnotationError(
                f"its annotation {annotation!r} cannot be evaluated: {error}; import what it names at run time"
            ) from None

    told = parse_docstring(workflow.func.__doc__).parameters
    found = [Parameter(each, evaluate, told.get(each.name, "")) for each in workflow.signature.parameters.values()]
    options = Counter(each.option for each in found)
    for each in found:
        if options[each.option] > 1:  # `class` and `class_`
            each.option = f"--{each.name}"
    return found


def _function_of(func: Any) -> Any:
    """The function whose module the annotations of `func` were written in."""
    while isinstance(func, functools.partial):
        func = func.func
    func = inspect.unwrap(func)
    return func if hasattr(func, "__globals__") else type(func).__call__


def _shown(default: Any) -> str:
    if isinstance(default, enum.Enum):
        return default.name
    if isinstance(default, PurePath) or (isinstance(default, str) and default.strip()):
        return str(default)
    return _short.repr(default)


_short: Final = reprlib.Repr()
_short.maxother = _short.maxstring = 40
