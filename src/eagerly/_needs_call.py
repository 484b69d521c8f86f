"""Functions whose parentheses people forget, made to say so."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from eagerly.errors import OptionTypeError

__all__ = ["needs_call"]

F = TypeVar("F", bound=Callable[..., Any])


def needs_call(spelling: str) -> Callable[[F], F]:
    """Make ``with function:`` an error that shows `spelling`, where Python would speak of missing protocols."""

    def decorate(function: F) -> F:
        return _NeedsCall(function, spelling)  # type: ignore[return-value]  # a function to all who look at it

    return decorate


class _NeedsCall:
    """A function that answers ``with`` by asking for the parentheses."""

    __wrapped__: Callable[..., Any]

    def __init__(self, function: Callable[..., Any], spelling: str) -> None:
        functools.update_wrapper(self, function)
        self._spelling = spelling

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)

    def _refuse(self, *_: object) -> NoReturn:
        raise OptionTypeError(f"the parentheses are missing: write `{self._spelling}`")

    __enter__ = __exit__ = __aenter__ = __aexit__ = _refuse

    def __reduce__(self) -> str:
        return self.__wrapped__.__qualname__

    def __repr__(self) -> str:
        return f"<function {self.__wrapped__.__module__}.{self.__wrapped__.__qualname__}>"
