"""What ``backend=`` takes, wherever it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from eagerly.errors import OptionTypeError, OptionValueError

if TYPE_CHECKING:
    from eagerly.backends._protocol import Backend

__all__ = ["BackendSpec", "backend_spec"]


class HasSubmit(Protocol):
    """An executor of `concurrent.futures`, a `distributed.Client`, or another object that takes calls."""

    @property
    def submit(self) -> Any: ...


BackendSpec: TypeAlias = "str | Backend | HasSubmit"
"""A name, a backend, an executor of `concurrent.futures`, or a Dask client."""

NOUNS: Final = "the name of a backend, a backend, an executor or a Dask client"


def backend_spec(option: str, value: Any) -> Any:
    """`value` if it may be a backend. Whether there is one of that name is asked when the first map needs it, as it may
    be registered, or its package installed, later than the task is declared.

    Raises:
        OptionTypeError, OptionValueError: It cannot be one.
    """
    if value is None:
        return None
    if isinstance(value, str):
        if not value.strip():
            raise OptionValueError(f"{option} takes {NOUNS}, not an empty string")
        return value
    if isinstance(value, type):
        raise OptionTypeError(f"{option} takes {NOUNS}, not a class; write {value.__name__}() with parentheses")
    if not callable(getattr(value, "submit", None)):
        raise OptionTypeError(f"{option} takes {NOUNS}, not {value!r}")
    return value
