"""What a task was told: every option, checked and normalised once. Nothing here runs the user's function."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from eagerly._backend_options import backend_spec
from eagerly._cache_options import CACHE_OPTIONS, CacheOptions, cache_options
from eagerly._callables import WRAPPERS, Kind, callable_name, compile_binders, innermost, kind_of, signature_of
from eagerly._dataset_options import DATASET_OPTIONS, dataset_options
from eagerly._injection import injected_parameter, injecting, without_parameter
from eagerly._names import NameTemplate
from eagerly._numbers import seconds
from eagerly._program import lasting_name
from eagerly._retry import Retry, retry_from
from eagerly._run_options import RunOutputForm, run_output_form, short_word
from eagerly._sentinel import UNSET
from eagerly.errors import OptionTypeError, OptionValueError

__all__ = ["DEFAULTS", "Declaration", "check_callable", "description_of", "only_given"]


DEFAULTS: Final[dict[str, Any]] = {
    "name": None,
    "description": None,
    "backend": None,
    "retries": 0,
    "timeout": None,
    **CACHE_OPTIONS,
    **DATASET_OPTIONS,
    "tags": (),
    "wrap_errors": None,
    "run_output": None,
}
"""Every option of `task` with its default."""

NOT_ON_STREAMS: Final = {
    "timeout": ("Timeouts are", "bound the work on each item instead, in a task of its own that the generator calls"),
}
"""The options that can have no effect on a generator function, and what to do instead."""


class Declaration:
    """A function and what `task` was told about it. Fixed in `__init__`, but for the driver that the kinds of task add,
    the version of the code, and the note that `_escape` has warned.

    Args:
        func: The user's callable, or a `classmethod` or `staticmethod` object around it.
        options: A subset of `DEFAULTS`, as the user gave it.

    Raises:
        OptionTypeError, OptionValueError: Something about `func` or an option cannot work.
    """

    __slots__ = (
        "backend",
        "bind",
        "body",
        "caching",
        "check",
        "code",
        "dataset",
        "description",
        "driver",
        "func",
        "home",
        "is_async",
        "is_generator",
        "keys",
        "kind",
        "module",
        "name",
        "once",
        "only_cached",
        "options",
        "plain",
        "qualname",
        "retries",
        "retry",
        "run_output",
        "signature",
        "stored",
        "storing",
        "tags",
        "template",
        "timeout",
        "undecorated",
        "version",
        "warned_escaped",
        "wrap_errors",
        "wrapper",
    )

    def __init__(self, func: Any, options: dict[str, Any]) -> None:
        self.undecorated = func
        self.driver: Any = None  # filled in by the kinds of task that have one
        self.warned_escaped = False
        self.wrapper: type[Any] | None = type(func) if isinstance(func, WRAPPERS) else None
        self.func: Callable[..., Any] = func.__func__ if self.wrapper is not None else func
        check_callable("task", self.func)
        self.options = options
        self.body = self.func
        self.kind = kind_of(self.func)
        self.is_async = self.kind in (Kind.ASYNC, Kind.ASYNC_STREAM)
        self.is_generator = self.kind in (Kind.STREAM, Kind.ASYNC_STREAM)
        self.signature = signature_of("task", self.func)
        injected = injected_parameter(self.func, self.signature)
        if injected is not None:
            self.func = injecting(self.func, self.signature, injected)
            self.signature = without_parameter(self.signature, injected)
        self.plain = callable_name(self.func)
        named = innermost(self.func)
        self.qualname = getattr(named, "__qualname__", self.plain)
        self.module = getattr(named, "__module__", None)
        self.home: str | None = None  # what its module is called for good, if it is another process's ``__main__``
        self.check, self.bind = compile_binders(self.func, self.signature)

        given = {**DEFAULTS, **options}
        self._refuse_without_effect(given)
        # A name that nobody chose may have what a chosen one may not: `<lambda>`, a class with a period.
        self.template = NameTemplate(
            self.plain.replace(".", "_").replace("{", "(").replace("}", ")")
            if given["name"] is None
            else given["name"],
            self.signature.parameters,
        )
        self.name = short_word("task(name=...)", self.plain if given["name"] is None else self.template.text)
        self.description = description_of("task", given["description"], self.func)
        self.backend = backend_spec("task(backend=...)", given["backend"])
        self.retries: int | Retry = given["retries"]
        self.retry = retry_from("task(retries=...)", self.retries)
        self.timeout = _timeout(given["timeout"])
        self.caching = cache_options(options, self.signature)
        if self.caching is not None and self.caching.version is not None and self.plain == "<lambda>":
            raise OptionValueError(
                f"task(cache_version={self.caching.version!r}) on a lambda: its results could not be told from those "
                "of other lambdas; give it a name with def, or leave cache_version out"
            )
        self.version = None if self.caching is None else self.caching.version
        self.dataset = dataset_options(options, self.signature)
        self.stored = self.caching is not None or self.dataset is not None
        self.storing: Any = None  # filled in by the task, if results are stored: a Storing
        self.only_cached = self.dataset is None and not self.is_generator
        self.code: dict[str, str] = {}  # filled in, as the next, by the first call that looks at it
        self.keys: Any = None
        self.once: dict[str, Any] = {}
        self.tags = tags_from("task(tags=...)", given["tags"])
        self.wrap_errors = _optional_bool("task(wrap_errors=...)", given["wrap_errors"])
        self.run_output: RunOutputForm | None = run_output_form("task(run_output=...)", given["run_output"])

    @property
    def qualified_name(self) -> str:
        return f"{self.module or '?'}.{self.qualname}"

    @property
    def lasting_module(self) -> str:
        """What its module is called in keys: in every process, and by those who run another script, the same."""
        return self.home or lasting_name(self.module)

    def share_keys(self, other: Declaration) -> None:
        """Have the code of another declaration of this function, and make the same keys if told the same of them."""
        self.home = other.home
        self.code = other.code  # looked at once for both: a closure may change meanwhile
        mine, others = self.caching, other.caching
        if mine is not None and others is not None and mine[1:] == others[1:]:  # all but the store
            self.once, self.keys = other.once, other.keys

    def with_caching(self, caching: CacheOptions) -> Declaration:
        """The same, but for how results are cached."""
        changed = copy.copy(self)
        changed.caching = caching
        return changed

    def _refuse_without_effect(self, given: dict[str, Any]) -> None:
        for name in NOT_ON_STREAMS if self.is_generator else ():
            if given.get(name) is not None:
                raise _unsupported_on_streams(name, given[name], self.plain)


def check_callable(decorator: str, func: object) -> None:
    """Refuse what `task` and `workflow` cannot decorate, with the right spelling in the message."""
    if isinstance(func, type):
        raise OptionTypeError(
            f"`@{decorator}` can only be applied to callable functions, and {func.__name__} is a class; decorate one "
            f"of its methods, or a function that makes the instance: {decorator}(lambda *args: {func.__name__}(*args), "
            f"name={func.__name__!r})"
        )
    if isinstance(func, str):
        raise OptionTypeError(
            f"`@{decorator}({func!r})`: the only positional argument is the function; write @{decorator}(name={func!r})"
        )
    if isinstance(func, WRAPPERS):
        kind = type(func).__name__
        raise OptionTypeError(
            f"`@{decorator}` goes below @{kind}: write @{kind} first, and @{decorator} on the next line"
        )
    if not callable(func) and hasattr(type(func), "__get__"):  # a property and its like
        kind = type(func).__name__
        raise OptionTypeError(
            f"`@{decorator}` can only be applied to callable functions, and goes below @{kind}: write @{kind} first, "
            f"@{decorator} on the next line"
        )
    if inspect.isawaitable(func) or inspect.isgenerator(func) or inspect.isasyncgen(func):
        raise OptionTypeError(
            f"`@{decorator}` can only be applied to callable functions, and {func!r} is what calling one gave; "
            f"leave out the parentheses of the call: {decorator}({getattr(func, '__name__', 'function')})"
        )
    if not callable(func):
        raise OptionTypeError(
            f"`@{decorator}` can only be applied to callable functions, not to {func!r}; options are keywords: "
            f"@{decorator}(name=...)"
        )


def _unsupported_on_streams(option: str, value: object, name: str) -> OptionValueError:
    what, instead = NOT_ON_STREAMS[option]
    return OptionValueError(
        f"{what} not supported for generator tasks: {option}={value!r}, and {name} is a generator function; {instead}"
    )


def tags_from(option: str, value: object) -> frozenset[str]:
    """Tags as a frozenset; a bare string is refused, as its letters are never what was meant."""
    if isinstance(value, str):
        raise OptionTypeError(f"{option} takes several strings; write tags=({value!r},)")
    try:
        tags: frozenset[Any] = frozenset(value)  # type: ignore[call-overload]  # checked by trying
    except TypeError:
        raise OptionTypeError(f"{option} takes strings, not {value!r}") from None
    for tag in tags:
        if not isinstance(tag, str):
            raise OptionTypeError(f"{option} takes strings, and {tag!r} is not one")
        short_word(option, tag)
    return tags


def description_of(decorator: str, given: object, func: object) -> str:
    """The description given, or the docstring of `func`."""
    if given is None:
        doc = getattr(innermost(func), "__doc__", None)
        return inspect.cleandoc(doc) if isinstance(doc, str) else ""
    if not isinstance(given, str):
        raise OptionTypeError(f"{decorator}(description=...) takes a string, not {given!r}")
    return given


def _timeout(value: float | timedelta | None) -> float | None:
    return None if value is None else seconds("task(timeout=...)", value, positive=True)


def _optional_bool(option: str, value: object) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise OptionTypeError(f"{option} takes True, False or None (what the session says), not {value!r}")
    return value


def only_given(**options: Any) -> dict[str, Any]:
    """Those of `options` that somebody gave."""
    return {name: value for name, value in options.items() if value is not UNSET}
