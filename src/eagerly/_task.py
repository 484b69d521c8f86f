"""`Task`: what the four kinds of task have in common. How each is run stands in `_tasks`."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Never, Self, TypeVar

from eagerly._cache_controls import CacheControls, P
from eagerly._declaration import DEFAULTS, Declaration, only_given
from eagerly._options import refuse_unknown
from eagerly._pickling import find_importable, reduce_bound, reduce_decorated
from eagerly._resemblance import LooksLikeFunction
from eagerly._sentinel import UNSET
from eagerly._storing import storing

if TYPE_CHECKING:
    import inspect
    from collections.abc import Iterable
    from datetime import timedelta

    from eagerly._backend_options import BackendSpec
    from eagerly._cache_options import CacheHash, StoreSpec
    from eagerly._callables import Kind
    from eagerly._dataset_options import DatasetSpec
    from eagerly._retry import Retry
    from eagerly._run_options import RunOutputForm
    from eagerly._sentinel import UnsetType
    from eagerly.datasets._store import DatasetStore
    from eagerly.runs._run import Run

__all__ = ["P", "R", "Task"]

R = TypeVar("R", covariant=True)

_put = object.__setattr__


class Task(LooksLikeFunction, CacheControls[P], Generic[P, R]):
    """A function and what `task` was told about it. Called like the function; immutable.

    Made by `task`, never directly. To everything that inspects it, a task looks like its function.
    """

    __slots__ = ("__dict__", "__weakref__", "bind", "check", "declaration", "func")

    stays_here: ClassVar[bool] = False
    """Whether its runs need this process: what they do is done elsewhere anyway."""

    if TYPE_CHECKING:
        kind: ClassVar[Kind]
        func: Callable[..., Any]
        """The user's function; for a method that was looked up on an instance: the bound method."""
        declaration: Declaration
        check: Callable[..., None]
        bind: Callable[..., dict[str, Any]]

        def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Any: ...

    def __init__(self, declaration: Declaration) -> None:
        if declaration.stored and declaration.storing is None:
            declaration.storing = storing()
        _put(self, "declaration", declaration)
        _put(self, "func", declaration.func)
        _put(self, "check", declaration.check)
        _put(self, "bind", declaration.bind)
        self._resemble(declaration.body)

    # What it was told

    @property
    def name(self) -> str:
        """The task's name, with the placeholders of its template as they were written."""
        return self.declaration.name

    @property
    def description(self) -> str:
        """The description given, or the docstring of the function."""
        return self.declaration.description

    @property
    def backend(self) -> BackendSpec | None:
        """What this task is mapped on, as given; None: as the session says."""
        return self.declaration.backend  # type: ignore[no-any-return]  # a BackendSpec

    @property
    def retries(self) -> int | Retry:
        """As given: a number of retries, or a `Retry`."""
        return self.declaration.retries

    @property
    def timeout(self) -> float | None:
        """Seconds that one attempt may take, or None."""
        return self.declaration.timeout

    @property
    def dataset(self) -> str | None:
        """The key under which the result is saved, with its placeholders as they were written, or None."""
        return None if self.declaration.dataset is None else self.declaration.dataset.key.text

    @property
    def dataset_store(self) -> str | DatasetStore | None:
        """Where the result is saved: a path, a URL or a store; None: where the session says."""
        return None if self.declaration.dataset is None else self.declaration.dataset.store

    @property
    def dataset_format(self) -> str | None:
        """The name of the format in which the result is saved; None: as key and value suggest."""
        return None if self.declaration.dataset is None else self.declaration.dataset.format

    @property
    def tags(self) -> frozenset[str]:
        """The tags given."""
        return self.declaration.tags

    @property
    def wrap_errors(self) -> bool | None:
        """Whether errors are wrapped in `TaskError`; None: as the session says."""
        return self.declaration.wrap_errors

    @property
    def run_output(self) -> RunOutputForm | None:
        """How the output of a submitted call is kept: ``"json"``, ``"pickle"``, or None, which is JSON."""
        return self.declaration.run_output

    @property
    def signature(self) -> inspect.Signature:
        """The parameters that a call of this task takes; on a bound method, without ``self``."""
        signature = self.declaration.signature
        parameters = list(signature.parameters.values())
        if self.func is self.declaration.func or parameters[0].kind is parameters[0].VAR_POSITIONAL:
            return signature
        return signature.replace(parameters=parameters[1:])

    @property
    def is_async(self) -> bool:
        """Whether the function is async (also for async streams)."""
        return self.declaration.is_async

    @property
    def is_generator(self) -> bool:
        """Whether the function is a generator function, sync or async."""
        return self.declaration.is_generator

    def options(
        self,
        *,
        name: str | UnsetType | None = UNSET,
        description: str | UnsetType | None = UNSET,
        backend: BackendSpec | UnsetType | None = UNSET,
        retries: int | Retry | UnsetType = UNSET,
        timeout: float | timedelta | UnsetType | None = UNSET,
        cache: bool | StoreSpec | UnsetType = UNSET,
        cache_store: StoreSpec | UnsetType | None = UNSET,
        cache_ttl: float | timedelta | UnsetType | None = UNSET,
        cache_hash: CacheHash | UnsetType | None = UNSET,
        cache_version: str | UnsetType | None = UNSET,
        cache_ignore: Iterable[str] | UnsetType = UNSET,
        dataset: str | UnsetType | None = UNSET,
        dataset_store: DatasetSpec | UnsetType | None = UNSET,
        dataset_format: str | UnsetType | None = UNSET,
        tags: Iterable[str] | UnsetType = UNSET,
        wrap_errors: bool | UnsetType | None = UNSET,
        run_output: RunOutputForm | UnsetType | None = UNSET,
        **unknown: Never,
    ) -> Self:
        """A copy of this task with other options; those not given stay as they are.

        Args and errors: as in `task`.

        Example:
            >>> from eagerly import task
            >>> @task(retries=1)
            ... def fetch(city):
            ...     return city
            >>> fetch.options(timeout=5).retries
            1
        """
        refuse_unknown("task.options", unknown, DEFAULTS)
        given = only_given(
            name=name,
            description=description,
            backend=backend,
            retries=retries,
            timeout=timeout,
            cache=cache,
            cache_store=cache_store,
            cache_ttl=cache_ttl,
            cache_hash=cache_hash,
            cache_version=cache_version,
            cache_ignore=cache_ignore,
            dataset=dataset,
            dataset_store=dataset_store,
            dataset_format=dataset_format,
            tags=tags,
            wrap_errors=wrap_errors,
            run_output=run_output,
        )
        copy = self._with({**self.declaration.options, **given})
        return self._bind_like_this(copy)

    def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> Run[Any]:
        """Start a call in the background, and get a handle on its run at once.

        It runs on the backend of the task or the session, and where neither says so, in a thread; an async task that is
        submitted where an event loop runs, as an asyncio task there. The run is recorded in the run store of the
        session, else of the settings, else in the memory of this process. Leaving the session waits for it.

        Args:
            args: The arguments of the call.
            kwargs: Those by name.

        Returns:
            A `eagerly.Run`: ``run.result()`` or ``await run`` gives what the call returns; for a stream, the list of
            its items, and ``run.items()`` gives them as they come.

        Raises:
            TypeError: The arguments are wrong. Nothing is recorded then.
            BackendError: The backend cannot be used, or an argument cannot travel to its workers.
            RunsError: The run store cannot be written to.

        Example:
            >>> from eagerly import task
            >>> @task
            ... def double(x):
            ...     return 2 * x
            >>> run = double.submit(21)
            >>> run.result()
            42
        """
        from eagerly._submit import submit

        return submit(self, args, kwargs)

    def _bind_like_this(self, other: Self) -> Self:
        """`other` bound to the instance or class that this task is bound to, if it is."""
        if self.func is self.declaration.func or not isinstance(self.func, MethodType):
            return other
        return other._bound_to(self.func.__self__, self.func)

    def __get__(self, instance: Any, owner: Any = None) -> Task[..., Any]:
        wrapper = self.declaration.wrapper
        if wrapper is staticmethod:
            return self
        if wrapper is classmethod:
            instance = type(instance) if owner is None else owner  # pyright: ignore[reportUnknownVariableType]  # Any
        elif instance is None:
            return self
        get = getattr(type(self.func), "__get__", None)
        if get is None or (func := get(self.func, instance, type(instance))) is self.func:
            return self  # like a partial or an already bound method in a class: not a method
        return self._bound_to(instance, func)

    def _bound_to(self, instance: Any, func: Callable[..., Any]) -> Self:
        bound = object.__new__(type(self))
        _put(bound, "__dict__", vars(self))
        _put(bound, "declaration", self.declaration)
        _put(bound, "func", func)
        _put(bound, "check", MethodType(self.check, instance))
        _put(bound, "bind", MethodType(self.bind, instance))
        return bound

    def __set_name__(self, owner: type, name: str) -> None:
        # Two methods that Python makes class methods by themselves, if they are plain functions.
        if name in ("__init_subclass__", "__class_getitem__") and self.declaration.wrapper is None:
            of_class: Any = classmethod
            setattr(owner, name, of_class(self))

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(type(self), name):
            hint = f"; write task.options({name}={value!r}) for a changed copy" if name in DEFAULTS else ""
            raise AttributeError(f"a task is immutable, so {name!r} cannot be set{hint}")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if hasattr(type(self), name):
            raise AttributeError(f"a task is immutable, so {name!r} cannot be deleted")
        super().__delattr__(name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Task):
            return NotImplemented
        return self.declaration is other.declaration and self.func == other.func

    def __hash__(self) -> int:
        return hash(id(self.declaration))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> str | tuple[Any, ...]:
        func, declaration = self.func, self.declaration
        if isinstance(func, MethodType) and func is not declaration.func:
            instance = func.__self__
            by_name = getattr(instance, declaration.plain, None) == self
            return reduce_bound(
                self,
                instance if isinstance(instance, type) else type(instance),
                (getattr, (instance, declaration.plain))
                if by_name
                else (_bind, (self._with(_travelling(declaration.options)), instance)),
            )
        named = find_importable(declaration.body)
        if named is not self and isinstance(named, Task) and named.declaration.body is declaration.body:
            return named._with, (_travelling(declaration.options),)
        state = declaration.undecorated, _travelling(declaration.options), declaration.lasting_module
        return reduce_decorated(self, declaration.body, state)

    def _with_declaration(self, declaration: Declaration) -> Self:
        """This task, bound as it is, told something else."""
        copy = type(self).__new__(type(self))
        _put(copy, "__dict__", vars(self))
        for slot in ("bind", "check", "func"):
            _put(copy, slot, getattr(self, slot))
        _put(copy, "declaration", declaration)
        return copy

    def _with(self, options: dict[str, Any]) -> Self:
        declaration = Declaration(self.declaration.undecorated, options)
        declaration.share_keys(self.declaration)
        if options.get("cache_version") == self.declaration.options.get("cache_version"):
            declaration.version = self.declaration.version  # also one that it was registered with
        return type(self)(declaration)

    def _restore(self, undecorated: Any, options: dict[str, Any], home: str | None) -> None:
        declaration = Declaration(undecorated, options)
        declaration.home = home
        type(self).__init__(self, declaration)

    def __repr__(self) -> str:
        told = "".join(f", {name}={value!r}" for name, value in self.declaration.options.items())
        return f"<{type(self).__name__} {self.declaration.qualified_name}{told}>"


def _travelling(options: dict[str, Any]) -> dict[str, Any]:
    """`options` for another process. A backend, an executor or a client is of this one; a name means one there too."""
    if isinstance(options.get("backend"), str | None):
        return options
    return {name: value for name, value in options.items() if name != "backend"}


def _bind(task: Task[..., Any], instance: Any) -> Any:
    return task._bound_to(instance, MethodType(task.func, instance))
