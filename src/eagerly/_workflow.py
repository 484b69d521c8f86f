"""`workflow`: a named entry point that opens a session of its own, for applications and for the command line."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    Self,
    TypedDict,
    TypeVar,
    Unpack,
    overload,
)

from eagerly._callables import AdvisingName, Kind, callable_name, kind_of, renamed, signature_of
from eagerly._declaration import check_callable, description_of
from eagerly._escape import ASYNC_GENERATOR, COROUTINE, GENERATOR, warn_escaped
from eagerly._names import plain_name
from eagerly._options import refuse_unknown
from eagerly._pickling import reduce_decorated
from eagerly._resemblance import LooksLikeFunction
from eagerly._session import Session, session
from eagerly.errors import OptionTypeError

if TYPE_CHECKING:
    import inspect

__all__ = ["AsyncWorkflow", "SyncWorkflow", "Workflow", "workflow"]

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
Q = ParamSpec("Q")
S = TypeVar("S")
T = TypeVar("T")

OPTIONS = ("name", "description")


class Workflow(LooksLikeFunction, Generic[P, R]):
    """A function that runs in a session of its own. Called like the function.

    Attributes:
        func: The user's function.
        name: The name given, or that of the function.
        description: The description given, or the docstring of the function.
    """

    if TYPE_CHECKING:
        func: Callable[..., Any]
        name: str
        description: str

    def __init__(self, func: Callable[..., Any], name: str | None, description: str | None) -> None:
        self.func = func
        self.name = callable_name(func) if name is None else plain_name("workflow(name=...)", name)
        self.description = description_of("workflow", description, func)
        self._signature = signature_of("workflow", func)
        self.warned_escaped = False
        self._resemble(func)

    @property
    def signature(self) -> inspect.Signature:
        """The parameters that a call of this workflow takes."""
        return self._signature

    @property
    def is_async(self) -> bool:
        """Whether calling it gives a coroutine."""
        return isinstance(self, AsyncWorkflow)

    if TYPE_CHECKING:

        def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Any: ...

    def __get__(self, instance: Any, owner: Any = None) -> Workflow[..., Any]:
        get = getattr(type(self.func), "__get__", None)
        if instance is None or get is None or (func := get(self.func, instance, owner)) is self.func:
            return self
        return type(self)(func, self.name, self.description)

    def __reduce_ex__(self, protocol: object) -> str | tuple[Any, ...]:
        return reduce_decorated(self, self.func, (self.func, self.name, self.description))

    def _restore(self, func: Callable[..., Any], name: str | None, description: str | None) -> None:
        Workflow.__init__(self, func, name, description)  # pyright: ignore[reportUnknownMemberType]  # P, R

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} of {self.__module__}.{self.__qualname__}>"


class SyncWorkflow(Workflow[P, R]):
    """A workflow made of a plain function."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with session_of(self):
            result = self.func(*args, **kwargs)
            cls: type[Any] = type(result)  # pyright: ignore[reportUnknownVariableType]  # of any type
            if cls is COROUTINE or cls is GENERATOR or cls is ASYNC_GENERATOR:
                warn_escaped(self, "workflow", result)
            return result  # type: ignore[no-any-return]  # it gives Any

    if TYPE_CHECKING:
        # Workflows looked up on the class, methods, static methods; see `eagerly._tasks` for `self`.
        @overload
        def __get__(self, instance: None, owner: object = ...) -> Self: ...
        @overload
        def __get__(self: Callable[Concatenate[S, Q], T], instance: S, owner: object = ...) -> SyncWorkflow[Q, T]: ...
        @overload
        def __get__(self, instance: object, owner: object = ...) -> Self: ...
        def __get__(self, instance: Any, owner: Any = None) -> Any: ...


class AsyncWorkflow(Workflow[P, R]):
    """A workflow made of an ``async def`` function."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        driver = renamed(_run_async_workflow, self.__name__, AdvisingName(self.__qualname__))
        return driver(self, args, kwargs)  # type: ignore[no-any-return]  # it gives Any

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: object = ...) -> Self: ...
        @overload
        def __get__(
            self: Callable[Concatenate[S, Q], Coroutine[Any, Any, T]], instance: S, owner: object = ...
        ) -> AsyncWorkflow[Q, T]: ...
        @overload
        def __get__(self, instance: object, owner: object = ...) -> Self: ...
        def __get__(self, instance: Any, owner: Any = None) -> Any: ...


async def _run_async_workflow(workflow: AsyncWorkflow[..., Any], args: Any, kwargs: Any) -> Any:
    async with session_of(workflow):
        return await workflow.func(*args, **kwargs)


def session_of(workflow: Workflow[..., Any]) -> Session:
    """The session of one call of a workflow."""
    made = session(name=workflow.name)
    made.workflow = workflow.name
    return made


class WorkflowOptions(TypedDict, total=False):
    """What ``workflow(...)`` takes besides a function."""

    name: str | None
    description: str | None


class WorkflowDecorator(Protocol):
    """What ``workflow(...)`` without a function returns."""

    @overload
    def __call__(self, func: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncWorkflow[P, R]: ...
    @overload
    def __call__(self, func: Callable[P, R], /) -> SyncWorkflow[P, R]: ...


@overload
def workflow(
    func: Callable[P, Coroutine[Any, Any, R]], /, **options: Unpack[WorkflowOptions]
) -> AsyncWorkflow[P, R]: ...
@overload
def workflow(func: Callable[P, R], /, **options: Unpack[WorkflowOptions]) -> SyncWorkflow[P, R]: ...
@overload
def workflow(**options: Unpack[WorkflowOptions]) -> WorkflowDecorator: ...


def workflow(func: Any = None, /, *, name: str | None = None, description: str | None = None, **unknown: Any) -> Any:
    """Make a function a named entry point: each call runs in a session of its own, and the command line finds it.

    Args:
        func: A sync or async function, when used without parentheses.
        name: How ``eagerly run`` and people call it; no periods. Default: the name of the function.
        description: For people. Default: the docstring of the function.

    Raises:
        OptionTypeError: `func` is a class, no function at all, or a generator function (also a `TypeError`).
        OptionValueError: The name is empty or has a period (also a `ValueError`).

    Example:
        >>> from eagerly import workflow
        >>> @workflow
        ... def total(numbers: list[int]) -> int:
        ...     return sum(numbers)
        >>> total([1, 2])
        3
    """
    refuse_unknown("workflow", unknown, OPTIONS)
    if func is not None:
        return _make(func, name, description)

    def decorate(func: Any, /) -> Workflow[..., Any]:
        return _make(func, name, description)

    return decorate


def _make(func: Any, name: str | None, description: str | None) -> Workflow[..., Any]:
    check_callable("workflow", func)
    kind = kind_of(func)
    if kind in (Kind.STREAM, Kind.ASYNC_STREAM):
        raise OptionTypeError(
            f"`@workflow` does not take generator functions, and {callable_name(func)} is one: a session cannot "
            "stay open between two items. Return a list, or make it a task and iterate over it inside the workflow"
        )
    return (AsyncWorkflow if kind is Kind.ASYNC else SyncWorkflow)(func, name, description)
