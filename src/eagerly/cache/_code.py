"""`code_version`: what a function does, as a digest that changes when its code or that of a helper is edited.

What counts: bytecode, constants, defaults and closure of the function and of everything of the user's that it reaches
through names: functions, methods, classes with their base classes, members of enums, immutable globals, and containers
with an UPPER_CASE name. Also code that it reaches in a roundabout way: through decorators, `functools.partial`,
`functools.singledispatch`, properties, tables of functions, tasks, and imports inside functions. What came with Python
or was installed is known by its name, but for the package that the function itself is in.

Looking runs none of the user's code. A module that only an import inside a function brings, and that has not been
imported yet, is not imported for that: all of its code counts, with that of the modules it imports in turn. It stays
so after it has been imported. If it had been imported before the first look at it, only what is used of it counts; so
a program that imports it elsewhere, early, may compute a result once more, but never finds a wrong one.

What does not count: comments, layout, moved lines, docstrings and annotations (unless the reached code reads some, as
with ``__doc__``, `inspect.signature`, `typing.get_type_hints` or `dataclasses.fields`), unreached code, the order of
methods, and the names of local variables (unless another function captures them, or the code calls ``locals``,
``vars``, ``dir``, ``eval`` or ``exec``; since Python 3.12 also if one name serves several
comprehensions and is changed in one of them).

What does count, though one may doubt it: the message of an ``assert``; renaming a parameter or a variable that another
function captures; the order of a table; all methods of the class of a method, since ``self`` reaches them; and two
kinds of annotation that libraries act on: in a class whose base class or metaclass was installed, as with pydantic, and
in the body of a class inside a function. An annotation inside a function counts as well if it has a condition in it, or
if capturing the variable it names changes the code, as with type parameters.

What cannot be seen is in `BLIND_SPOTS`. The text of the source is never looked at, as with `inspect.getsource`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from types import FunctionType, MappingProxyType, MethodType
from typing import Any, Final, NamedTuple

from eagerly.cache._code_form import form_of
from eagerly.cache._code_keys import register
from eagerly.cache._code_owner import class_of, namespace_is_own, package_of
from eagerly.cache._code_reach import Reach, cells_of
from eagerly.cache._code_value import framed, full_name, wrapped_by
from eagerly.cache._code_watch import Watch, contents_of
from eagerly.cache._held import Held, is_code

__all__ = ["BLIND_SPOTS", "CodeVersion", "Looked", "code_version", "look_at"]

BLIND_SPOTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "mutable global": "a list, dict, set or instance under a lower-case name, as it may be state; of functions "
        "and classes in it the code counts",
        "mutable class attribute": "the same in the body of a class",
        "rebound global": "what the reached code assigns itself, with `global` or `nonlocal`: it is state",
        "compiled object": "an object of a library in a lower-case global, such as a model or an array",
        "name in a string": "what a string names: `getattr(module, name)`, `globals()[name]`, `import_module`, `eval`",
        "module as a value": "what is read of a module that is passed on to another function",
        "registration": "what an unreached module puts into a registry of a library",
        "mutated closure": "a list, dict, set or object of yours in a variable of an enclosing function, or under an "
        "UPPER_CASE name, that is changed after the first call in a process: it counts as it was then",
        "monkeypatching": "what is replaced after the first call in a library, in a function, or among the special "
        "methods of a class; what is replaced by name in your own modules and classes is seen",
        "annotation": "docstrings, and annotations of functions, where only a library reads them, as a decorator that "
        "converts by them",
        "installed code": "libraries, and everything else in site-packages but the package that the task is in",
        "C code": "extension modules, also the user's own",
        "data file": "what the function reads from files, the environment, a database or the network",
        "late import": "a module that is imported inside a function, and is edited after the first call of the task in "
        "a process and before it is imported there",
    }
)
"""What an edit can touch without the code version changing, by name. ``cache_version=`` is the way out of each."""


class CodeVersion(NamedTuple):
    """What the code of a function was, when it was looked at.

    Attributes:
        digest: 40 hexadecimal digits; another if any of the code has changed.
        parts: A short digest of each piece it reaches, by name: ``shop.rates.vat``, ``shop.rates.RATE``,
            ``shop.models.Order.total``.
        skipped: What could not be part of it, and why.
    """

    digest: str
    parts: Mapping[str, str]
    skipped: Mapping[str, str]


class Looked(NamedTuple):
    """What `look_at` has seen.

    Attributes:
        version: The version of the code.
        watch: What it was read from by name.
        refused: The identities of cells that the key has to have completely, and that something was skipped in.
    """

    version: CodeVersion
    watch: Watch
    refused: frozenset[int]


def code_version(func: Callable[..., Any]) -> CodeVersion:
    """The version of the code of `func`, as it is now. It never raises: what resists is in `CodeVersion.skipped`.

    Args:
        func: A function, method, partial, callable instance, task, or anything else that can be called. The instance
            to which a method is bound is an argument, and does not count; its class does.
    """
    return look_at(func, None).version


def look_at(func: Callable[..., Any], held: Held | None) -> Looked:
    """The version of the code of `func`, without what the key has of it as arguments.

    Args:
        func: As for `code_version`.
        held: What the key has already. None: nothing, so all of it counts here.
    """
    inner = _innermost(func)
    place: Any = getattr(inner, "__globals__", None) if isinstance(inner, FunctionType) else None
    if place is None:
        cls: type = inner if isinstance(inner, type) else type(inner)
        place = getattr(sys.modules.get(cls.__module__), "__dict__", None)
    package = None if place is None else package_of(place)
    reach = Reach(package=package) if held is None else Reach(held.cells, held.whole, package)
    try:
        start = _start(reach, func, held)
        if isinstance(inner, FunctionType) and not reach.owns(inner.__globals__):
            start = framed(start, form_of(inner.__code__).body)
    except Exception as error:
        start = reach.skip("the function", f"looking at it failed with {type(error).__name__}")
    reach.run()
    parts = sorted(reach.parts.items())
    digest = sha256(framed(start, *(framed(name, content) for name, content in parts)))
    version = CodeVersion(
        digest.hexdigest()[:40],
        MappingProxyType({name: content.hex()[:16] for name, content in parts}),
        MappingProxyType(dict(sorted(reach.skipped.items()))),
    )
    return Looked(version, reach.watch(), frozenset(reach.refused))


def _innermost(func: Any) -> Any:
    """The function that a person wrote, without what was put around it."""
    for _ in range(100):
        if isinstance(func, partial):
            func = func.func
        elif isinstance(func, MethodType):
            func = func.__func__
        elif (wrapped := wrapped_by(func)) is not None:
            func = wrapped
        else:
            given = _given_to_decorator(func)
            if given is None:
                break
            func = given
    return func


def _given_to_decorator(func: Any) -> FunctionType | None:
    """What a decorator of a library got, if `func` is what it made of that without saying so in ``__wrapped__``."""
    if not isinstance(func, FunctionType) or namespace_is_own(func.__globals__):
        return None
    return next((each for _, cell in cells_of(func) if isinstance(each := contents_of(cell), FunctionType)), None)


def _start(reach: Reach, func: Any, held: Held | None) -> bytes:
    if isinstance(func, MethodType):
        owner = func.__self__ if isinstance(func.__self__, type) else type(func.__self__)
        return framed(reach.refer(func.__func__, "the method", whole=True), reach.cls(owner))
    if held is None or is_code(func):
        return reach.refer(func, "the function", whole=True)
    if isinstance(func, partial):
        bound = (
            framed(str(place), reach.refer(value, "its bound arguments", whole=True)) for place, value in held.code
        )
        return framed(b"partial", _start(reach, func.func, held), *bound)
    return framed(full_name(func), reach.cls(class_of(func)))


register()
