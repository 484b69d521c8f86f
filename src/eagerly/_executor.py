"""`ContextExecutor`: for executors that do not carry the caller's context into their threads."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from eagerly.errors import OptionTypeError

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

__all__ = ["ContextExecutor"]

P = ParamSpec("P")
T = TypeVar("T")


class ContextExecutor:
    """Wraps a thread executor so that what it runs belongs to the session and task that submitted it.

    ``asyncio.to_thread`` and ``contextvars.copy_context().run`` carry the context by themselves; the executors of
    `concurrent.futures` do not.

    Args:
        executor: A `concurrent.futures.ThreadPoolExecutor` or another executor whose workers are threads.

    Raises:
        OptionTypeError: It is no executor, or its workers are processes, which a context cannot reach.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> from eagerly import ContextExecutor, current_session, session
        >>> with session() as here, ContextExecutor(ThreadPoolExecutor()) as pool:
        ...     pool.submit(current_session).result() is here
        True
    """

    def __init__(self, executor: Executor) -> None:
        if not callable(getattr(executor, "submit", None)) or isinstance(executor, type):
            raise OptionTypeError(
                f"ContextExecutor takes an executor, not {executor!r}; write ContextExecutor(ThreadPoolExecutor())"
            )
        if any(word in cls.__name__ for cls in type(executor).__mro__ for word in ("Process", "Interpreter")):
            raise OptionTypeError(
                f"ContextExecutor cannot carry a context into the processes of {type(executor).__name__}; use a "
                "ThreadPoolExecutor, or open a session in the submitted function"
            )
        self._executor = executor

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As `Executor.submit`; `fn` runs in a copy of the context of this call."""
        run = contextvars.copy_context().run
        return self._executor.submit(run, fn, *args, **kwargs)  # type: ignore[arg-type]  # mypy: a ParamSpec inside another

    def map(
        self, fn: Callable[..., T], /, *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[T]:
        """As `Executor.map`; each call of `fn` runs in a copy of its own of the context of this call."""
        context = contextvars.copy_context()

        def run(*args: Any) -> T:
            return context.copy().run(fn, *args)

        return self._executor.map(run, *iterables, timeout=timeout, chunksize=chunksize)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As `Executor.shutdown`."""
        self._executor.shutdown(wait=wait, cancel_futures=cancel_futures)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()
