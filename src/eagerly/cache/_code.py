"""`code_version`: what a function does, as a digest that changes when its code or that of a helper is edited.

What counts: bytecode, constants, defaults and closure of the function and of everything of the user's that it reaches
through names: functions, methods, classes with their base classes, members of enums, immutable globals, and containers
with an UPPER_CASE name. Also code that it reaches in a roundabout way: through decorators, `functools.partial`,
`functools.singledispatch`, properties, tables of functions, tasks, and imports inside functions. For the last, the
user's own modules are imported, as the call would do. What came with Python or was installed is known by its name.

What does not count: comments, docstrings, layout, moved lines, annotations, unreached code, the order of methods, and
the names of local variables (unless another function captures them, or the code calls ``locals``, ``vars``, ``dir``,
``eval`` or ``exec``; since Python 3.12 also if one name serves several comprehensions and is changed in one of them).

What does count, though one may doubt it: the message of an ``assert``; renaming a parameter or a variable that another
function captures; the order of a table; all methods of the class of a method, since ``self`` reaches them; and two
kinds of annotation that libraries act on: in a class whose base class or metaclass was installed, as with pydantic, and
in the body of a class inside a function. An annotation inside a function counts as well if it has a condition in it, or
if capturing the variable it names changes the code, as with type parameters.

What cannot be seen is in `BLIND_SPOTS`. The source is never read: not `inspect.getsource`, no file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from types import MappingProxyType, MethodType
from typing import Any, Final, NamedTuple

from eagerly.cache._code_keys import register
from eagerly.cache._code_reach import Reach
from eagerly.cache._code_value import framed

__all__ = ["BLIND_SPOTS", "CodeVersion", "code_version"]

BLIND_SPOTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "mutable global": "a list, dict, set or instance under a lower-case name, as it may be state",
        "mutable class attribute": "the same in the body of a class",
        "rebound global": "what the reached code assigns itself, with `global` or `nonlocal`: it is state",
        "compiled object": "an object of a library in a lower-case global, such as a model or an array",
        "name in a string": "what a string names: `getattr(module, name)`, `globals()[name]`, `import_module`, `eval`",
        "module as a value": "what is read of a module that is passed on to another function",
        "registration": "what an unreached module puts into a registry of a library",
        "monkeypatching": "what is replaced after the first call: the code is looked at once",
        "annotation": "annotations of functions, even where a decorator of a library checks or converts by them",
        "installed code": "libraries, and everything else in site-packages",
        "C code": "extension modules, also the user's own",
        "data file": "what the function reads from files, the environment, a database or the network",
        "failed import": "a module imported inside a function, where importing it fails at the first call",
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


def code_version(func: Callable[..., Any]) -> CodeVersion:
    """The version of the code of `func`, as it is now. It never raises: what resists is in `CodeVersion.skipped`.

    Args:
        func: A function, method, partial, callable instance, task, or anything else that can be called. The instance
            to which a method is bound is an argument, and does not count; its class does.
    """
    reach = Reach()
    try:
        if isinstance(func, MethodType):
            owner = func.__self__ if isinstance(func.__self__, type) else type(func.__self__)
            start = framed(reach.refer(func.__func__, "the method", whole=True), reach.cls(owner))
        else:
            start = reach.refer(func, "the function", whole=True)
    except Exception as error:
        start = reach.skip("the function", f"looking at it failed with {type(error).__name__}")
    reach.run()
    parts = sorted(reach.parts.items())
    digest = sha256(framed(start, *(framed(name, content) for name, content in parts)))
    return CodeVersion(
        digest.hexdigest()[:40],
        MappingProxyType({name: content.hex()[:16] for name, content in parts}),
        MappingProxyType(dict(sorted(reach.skipped.items()))),
    )


register()
