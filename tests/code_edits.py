"""Edits of small projects, each with what it does to the code version of the function ``f`` in their ``main.py``.

A project is a package. Its files are given as one text, in which a line ``--- helper`` begins the file ``helper.py``;
the part before the first such line is ``main.py``. An edit replaces one text that occurs exactly once. ``PACKAGE``
stands for the name of the package, ``INSTALLED`` for that of a module in site-packages, whose text is ``--- site``.
"""

# ruff: noqa: E501 - a table is read by its columns

from __future__ import annotations

from typing import NamedTuple

__all__ = ["BLIND", "CHANGES", "KEEPS", "Edit", "files_of"]


class Edit(NamedTuple):
    name: str
    project: str
    old: str
    new: str
    part: str | None = None
    """What must be named as changed, without the name of the package. None: anything may be."""


def files_of(edit: Edit, *, edited: bool) -> dict[str, str]:
    """The files of the project, by name without ``.py``."""
    assert edit.project.count(edit.old) == 1, f"{edit.name}: {edit.old!r} must occur once"
    text = edit.project.replace(edit.old, edit.new) if edited else edit.project
    main, *others = text.split("\n--- ")
    files = {"__init__": "", "main": main}
    for other in others:
        name, _, source = other.partition("\n")
        files[name.strip()] = source
    return files


PLAIN = '''
"""Module."""
import math

def f(x, y=2, *, z=3):
    """Docstring."""
    total = x + y * 10 - z  # comment
    for i in range(4):
        if i < x and not y:
            total += i
    return f"{total:>5} units" if total > 100 else [math.floor(total), "low"][1:]
'''

HELPERS = """
from . import helper
from .helper import scale as g

def f(x):
    return helper.shift(x) + g(x)
--- helper
from PACKAGE.deep import deepest
STEP = 1
def shift(x):
    return x + STEP
def scale(x, factor=2):
    return deepest(x) * factor
def unrelated(x):
    return x - 7
--- deep
LIMITS = {"low": 1, "high": [2, 3]}
def deepest(x):
    return max(x, LIMITS["low"])
def elsewhere():
    return LIMITS
"""

CLASSES = """
import abc, dataclasses, functools
from .helper import Base

class Meta(type):
    def __call__(cls, *args):
        return super().__call__(*args)

class Order(Base, metaclass=Meta):
    rate = 2
    SIZES = [1, 2]
    label: str = "order"
    def __init__(self, n):
        self.n = n
    def total(self):
        return self.n * self.rate
    @property
    def net(self):
        return self.n - 1
    @net.setter
    def net(self, value):
        self.n = value + 11
    @staticmethod
    def tax(x):
        return x * 3
    @classmethod
    def make(cls, n):
        return cls(n + 4)
    @functools.cached_property
    def slow(self):
        return self.n ** 5
    @functools.singledispatchmethod
    def show(self, x):
        return "any"
    @show.register
    def _(self, x: int):
        return "int 6"
    half = functools.partialmethod(tax, 7)
    class Inner:
        depth = 8
    def __add__(self, other):
        return self.n + 9

def f(n):
    order = Order.make(n)
    return order.total()
--- helper
class Root:
    def root(self):
        return 20
class Base(Root):
    size = 21
    def base(self):
        return 22
"""

METHOD = """
class Job:
    weight = 1
    def helper(self):
        return 30 * self.weight
    def run(self):
        return self.helper()
f = Job().run
"""

DATA = """
import dataclasses, enum, typing

@dataclasses.dataclass
class Point:
    x: int = 1
    y: list = dataclasses.field(default_factory=lambda: [2])
    z: int = dataclasses.field(default=3, compare=True)

@dataclasses.dataclass(frozen=True)
class Config:
    limit: int = 4

class Color(enum.Enum):
    RED = 5
    BLUE = "b"

class Pair(typing.NamedTuple):
    left: int
    right: int = 6

default = Config(limit=7)
pair = Pair(8)

def f(x):
    return Point(x), Color.RED, Pair(x), default.limit, pair
"""

DECORATED = """
import functools
from .helper import times, plain, Memo, wrap

@times(3)
@plain
def f(x):
    return x + helped(x) + remembered(x) + loose(x)

@functools.lru_cache(maxsize=None)
def helped(x):
    return x * 40

@Memo
def remembered(x):
    return x * 41

@wrap
def loose(x):
    return x * 42
--- helper
import functools
def times(n):
    def decorate(func):
        @functools.wraps(func)
        def wrapper(*args):
            return [func(*args)] * n + [50]
        return wrapper
    return decorate
def plain(func):
    @functools.wraps(func)
    def wrapper(*args):
        return func(*args) + 51
    return wrapper
def wrap(func):
    return lambda *args: func(*args) + 52
class Memo:
    def __init__(self, func):
        functools.update_wrapper(self, func)
        self.func = func
    def __call__(self, x):
        return self.func(x) + 53
"""

GLOBALS = """
import functools, re
from decimal import Decimal
from datetime import timedelta
from pathlib import PurePosixPath

NUMBER = 60
TEXT = "sixty-one"
RAW = b"62"
number = 63
pair = (64, ("deep", 65))
flags = frozenset({"alpha", "beta", "gamma"})
WORDS = {"delta", "epsilon", "zeta"}
MATRIX = [[1, 2], [3, 66]]
MODES = {"first": 1, "second": 2}
price = Decimal("67.5")
wait = timedelta(seconds=68)
folder = PurePosixPath("data/69")
pattern = re.compile("a+70")
def left(x):
    return x - 71
def right(x):
    return x + 72
HANDLERS = {"left": left, "right": [right, lambda x: x * 73]}
shifted = functools.partial(left, x=74)
CHOICE = left
class Scale:
    def __init__(self, factor):
        self.factor = factor
    def __call__(self, x):
        return x * self.factor + 75
scale = Scale(76)
SETTINGS = Scale(77)
bound = Scale(78).__call__
upper = "abc79".join

def f(x):
    return (NUMBER, TEXT, RAW, number, pair, flags, WORDS, MATRIX, MODES, price, wait, folder, pattern,
            HANDLERS[x](x), shifted(), CHOICE(x), scale(x), SETTINGS, bound(x), upper(x))
"""

INNER = """
def outer(rate, config={"deep": 80}):
    count = 81
    def helper(x):
        return x * rate + count
    def f(x):
        return helper(x) + config["deep"]
    return f
f = outer(82)
"""

NESTED = """
def f(x):
    first = lambda a: a + 90
    second = lambda a: (lambda b: b + 91)(a)
    def inner(a, b=92):
        return a + b + 93
    class Local:
        "Docstring."
        size: int = 94
        def method(self) -> int:
            return 95
    many = [i * 96 for i in x if i != 97]
    lazy = (i for i in many if i > 98)
    table = {k: v + 99 for k, v in enumerate(lazy)}
    return first(1), second(2), inner(3), Local().method(), table, {i // 100 for i in x}
"""

FLOW = """
def f(x):
    try:
        value = int(x)
        value += 1
    except ValueError as error:
        value = 110
    except (TypeError, KeyError):
        raise
    else:
        value *= 2
    finally:
        x = 111
    while (n := value - 112) > 0:
        value -= 2
        if value == 5:
            break
    else:
        value = 113
    with open(x) as file:
        pass
    match x:
        case {"kind": kind}:
            value = kind
        case [1, *rest]:
            value = rest
    assert value is not None, "message"
    global_ = value[1:-1]
    del global_
    return value if value is not None else (yield 5)
"""

LATE = """
def f(x):
    import PACKAGE.one
    import PACKAGE.two as second
    from .three import third as g
    from . import four
    from math import floor
    return PACKAGE.one.first(x) + second.work(x) + g(x) + four.fourth(x) + floor(x)
--- one
def first(x):
    return x + 120
--- two
def work(x):
    return x + 121
--- three
def third(x):
    return x + 122
--- four
from .five import fifth
from .six import *
def fourth(x):
    return x + 123 + fifth(x)
--- five
def fifth(x):
    return x + 125
--- six
numbers = [127]
"""

BROKEN = """
def f(x):
    try:
        from .broken import fast as work
    except RuntimeError:
        work = abs
    return work(x)
--- broken
def fast(x): return 1
raise RuntimeError
"""

EFFECT = """
def helper(x):
    if x == "reset":
        import PACKAGE.effect
    return x
def f(x):
    return helper(x)
--- effect
def clean(): return 1
raise SystemExit("this must not run")
"""

TABLES = """
import types
def first(x): return x + 200
def second(x): return x + 201
handlers = {"first": first, "second": second, "more": [("nested", second)]}
registry = {}
def register(func):
    registry[func.__code__.co_name] = func
    return func
@register
def third(x): return x + 202
class Fourth:
    def run(self, x): return x + 203
classes = [Fourth]
def fifth(x): return x + 204
class Table:
    entries = {"fifth": fifth}
def sixth(x): return x + 205
space = types.SimpleNamespace(sixth=sixth)
def f(x):
    return handlers["first"](x), registry["third"](x), classes[0]().run(x), Table.entries["fifth"](x), space.sixth(x)
"""

SUBCLASSES = """
from .base import Base
from . import more
class Sub(Base):
    def run(self): return 210
class SubSub(Sub):
    def run(self): return 211
# here
def f(x):
    return [each().run() for each in Base.__subclasses__()]
--- base
class Base:
    def run(self): return 209
--- more
from .base import Base
class Other(Base):
    def run(self): return 212
"""

ABOUT = """
import dataclasses, typing
def a(x: int): return x
class A:
    y: int
@dataclasses.dataclass
class B:
    z: int = dataclasses.field(default=0, metadata={"json": "z"})
def f(x):
    return typing.get_type_hints(a), typing.get_type_hints(A), B
"""

SERVED = """
from . import helper
def f(x):
    from .other import late
    return helper.thing, late
--- helper
def __getattr__(name): return 213
--- other
def __getattr__(name): return 214
"""

CALLABLES = """
import operator, types
from numpy.polynomial import Polynomial
GET = operator.attrgetter("real")
CALL = operator.methodcaller("upper")
MODEL = Polynomial([1, 2])
SPACE = types.SimpleNamespace(a=1)
def make(model):
    def g(x): return model(x)
    return g
g = make(Polynomial([4, 5]))
def f(x, model=Polynomial([7, 8])):
    return GET(x), CALL("a"), MODEL(x), SPACE.a, g(x)
"""

ASYNC = """
import asyncio
async def fetch(x):
    await asyncio.sleep(0)
    return x + 130
async def stream(n):
    for i in range(n):
        yield i + 131
def numbers(n):
    yield from range(n + 132)
async def f(x):
    async with asyncio.Lock():
        return [await fetch(i) async for i in stream(x)] + list(numbers(x))
"""

CHOICE = """
try:
    from .fast import work as impl
except ImportError:
    from .slow import work as impl
def f(x):
    return impl(x)
--- slow
def work(x):
    return x + 140
"""

DISPATCH = """
import functools
from eagerly import task

@functools.singledispatch
def show(x):
    return "any 150"
@show.register
def _(x: int):
    return "int 151"
@show.register
def show_text(x: str):
    return "text 152"

@task
def inner(x):
    return x + 153

class Tools:
    @task
    def work(self, x):
        return x + 154

def f(x):
    f.calls = 0
    return show(x) + inner(x) + Tools().work(x) + compute.scale
def compute():
    return 1
compute.scale = 155
"""

RECURSIVE = """
def f(n):
    return n if n < 2 else even(n - 1) + f(n - 2)
def even(n):
    return f(n - 1) + 160
class Left:
    def go(self):
        return Right()
class Right:
    other = Left
    def go(self):
        return Left().go, 161
even.friend = Left()
LOOP = [Left, 162]
LOOP.append(LOOP)
def even(n):
    return f(n), LOOP
"""

LIBRARY = """
from INSTALLED import twice, Registry, keep
@twice
def f(x):
    return helper(x)
registry = Registry()
@keep(163)
def helper(x):
    return x + 164
--- site
class Registry: pass
def twice(func):
    return lambda x: func(func(x))
def keep(n):
    def decorate(func):
        def wrapper(x):
            return func(x) + n
        return wrapper
    return decorate
"""

ENUMS = """
import enum, functools
class Color(enum.Enum):
    def __new__(cls, value, label):
        made = object.__new__(cls)
        made._value_ = value
        made.label = label + "!"
        return made
    RED = 1, "red"
    BLUE = 2, "blue"
    @functools.cached_property
    def slow(self):
        return self.label * 2
Color.BLUE.slow
class Access(enum.Flag, boundary=enum.STRICT):
    "Docstring."
    READ = 1
def f(x):
    return Color(x).label, Access(x)
"""

MODELS = """
import pydantic
class Model(pydantic.BaseModel):
    first: int = 0
    second: int = 0
    third: int = 0
    _plain: int = 230
    _given: int = pydantic.PrivateAttr(default=231)
    _made: list = pydantic.PrivateAttr(default_factory=lambda: [232])
    @pydantic.field_validator("first", mode="after")
    @classmethod
    def check(cls, value):
        return value
    @pydantic.field_serializer("second")
    def write(self, value):
        return value
    @pydantic.computed_field(alias="both")
    @property
    def total(self) -> int:
        "Docstring."
        return self.first + self.second
    @pydantic.model_serializer(mode="wrap", when_used="always")
    def whole(self, write):
        return write(self)
@pydantic.dataclasses.dataclass
class Row:
    left: int = 0
    right: int = 0
    @pydantic.field_validator("left")
    @classmethod
    def check(cls, value):
        return value
def f(x):
    return Model(first=x).model_dump(), Row(x)
"""

FIELDS = """
import attrs, operator
def check(field, attribute, value):
    if value > 240:
        raise ValueError(value)
@attrs.define
class Order:
    count: int = attrs.field(default=0, validator=attrs.validators.le(241), metadata={"unit": "m"})
    size: int = attrs.field(default=0, validator=[check, attrs.validators.ge(242)])
    name: str = attrs.field(default="", converter=attrs.Converter(lambda each: each + "243"))
    tags: list = attrs.field(factory=lambda: [244], eq=operator.attrgetter("real"))
    kind: str = attrs.field(default="", on_setattr=attrs.setters.convert)
def f(x):
    return Order(x), attrs.fields(Order).count.metadata
"""

SLOTS = """
class Row:
    __slots__ = ["left", "right"]
class Documented:
    __slots__ = {"first": "Docstring.", "second": None}
def f(x):
    return Row.__slots__, list(Documented.__slots__)
"""

SETS = """
import dataclasses, functools, typing
@dataclasses.dataclass(frozen=True)
class Rule:
    name: str
    check: typing.Callable
def scaled(n):
    return lambda x: x * n
def made(n):
    class Made:
        size = n
    return Made
PAIRS = {("a", lambda x: x + 1), ("b", lambda x: x + 2), ("c", lambda x: x + 3), ("d", lambda x: x + 250)}
RULES = frozenset({Rule("a", lambda x: x - 1), Rule("b", lambda x: x - 2), Rule("c", lambda x: x - 251)})
CLOSURES = {functools.partial(scaled(1), 1), functools.partial(scaled(2), 2), functools.partial(scaled(252), 3)}
CLASSES = {made(1), made(2), made(253)}
loose = {lambda x: x / 1, lambda x: x / 2, lambda x: x / 254}
nested = [{scaled(4), scaled(5), scaled(255)}]
def f(x, known={(1, lambda x: x % 1), (2, lambda x: x % 2), (3, lambda x: x % 256)}):
    return PAIRS, RULES, CLOSURES, CLASSES, loose, nested, known
"""

CHANGES = [
    Edit("body: another operation", PLAIN, "y * 10", "y / 10", "main.f"),
    Edit("body: another order", PLAIN, "x + y * 10", "y * 10 + x"),
    Edit("body: a statement more", PLAIN, "    return", "    total += 0\n    return"),
    Edit("constant", PLAIN, "y * 10", "y * 11", "main.f"),
    Edit("constant: 4 to 4.0", PLAIN, "range(4)", "range(4.0)"),
    Edit("constant: 3 to True", PLAIN, "range(4)", "range(True)"),
    Edit("constant: sign of zero", "def f(x):\n    return x * 0.0", "0.0", "-0.0"),
    Edit("default", PLAIN, "y=2", "y=3", "main.f"),
    Edit("default removed", PLAIN, "y=2", "y"),
    Edit("default: another type", PLAIN, "y=2", "y=2.0"),
    Edit("keyword-only default", PLAIN, "z=3", "z=4", "main.f"),
    Edit("mutable default", "def f(x, seen=[1]):\n    return seen", "[1]", "[2]"),
    Edit("function as a default", "def g(): return 1\ndef f(x, key=g):\n    return key()", "return 1", "return 2", "main.g"),
    Edit("parameter renamed", "def f(x, y):\n    return x", "x, y", "x, why"),
    Edit("parameter made keyword-only", "def f(x, y):\n    return x", "x, y", "x, *, y"),
    Edit("parameter made variadic", "def f(x, y):\n    return x", "x, y", "x, *y"),
    Edit("operator < to <=", PLAIN, "i < x", "i <= x"),
    Edit("operator and to or", PLAIN, "and not", "or not"),
    Edit("condition inverted", PLAIN, "and not y", "and y"),
    Edit("augmented assignment", PLAIN, "total += i", "total -= i"),
    Edit("text of an f-string", PLAIN, " units", " items"),
    Edit("format of an f-string", PLAIN, ":>5", ":>6"),
    Edit("conversion of an f-string", 'def f(x):\n    return f"{x}"', "{x}", "{x!r}"),
    Edit("slice", PLAIN, "[1:]", "[:1]"),
    Edit("another function of a library", PLAIN, "math.floor", "math.ceil"),
    Edit("another builtin", "def f(x):\n    return min(x)", "min", "max"),
    Edit("string", PLAIN, '"low"', '"LOW"'),
    Edit("indentation of a statement", PLAIN, "            total += i", "            pass\n        total += i"),
    Edit("swapped local variables", "def f(x):\n    a, b = x\n    return a - b", "a - b", "b - a"),
    Edit("swapped arguments", "def f(x, y):\n    return g(x, y)\ndef g(a, b):\n    return a", "g(x, y)\ndef", "g(y, x)\ndef"),
    Edit("name of a keyword argument", "def f(x):\n    return dict(a=x)", "a=x", "b=x"),
    Edit("attribute", "def f(x):\n    return x.real", "real", "imag"),
    Edit("method", "def f(x):\n    return x.upper()", "upper", "lower"),
    Edit("name of a local where locals() is called", "def f(x):\n    a = x\n    return locals()", "a = x", "b = x"),
    Edit("message of an assert", FLOW, '"message"', '"other message"'),
    Edit("exception that is caught", FLOW, "ValueError", "OverflowError"),
    Edit("statement moved out of a try", FLOW, "        value += 1\n    except V", "    except V"),
    Edit("handler", FLOW, "value = 110", "value = 109"),
    Edit("finally", FLOW, "x = 111", "x = 112"),
    Edit("else of a try", FLOW, "value *= 2", "value *= 3"),
    Edit("else of a loop", FLOW, "value = 113", "value = 114"),
    Edit("walrus", FLOW, "(n := value - 112) > 0", "(n := value - 113) > 0"),
    Edit("break to continue", FLOW, "break", "continue"),
    Edit("context manager", FLOW, "open(x)", "open(value)"),
    Edit("pattern: key", FLOW, '"kind": kind', '"sort": kind'),
    Edit("pattern: literal", FLOW, "[1, *rest]", "[2, *rest]"),
    Edit("is not None to is None", FLOW, "return value if value is not None", "return value if value is None"),
    Edit("generator made of a function", "def f(x):\n    return x", "return x", "yield x"),
    Edit("try range alone", "def f(x):\n    try:\n        g()\n        h()\n    except E:\n        pass\n", "        h()\n    except E:\n        pass\n", "    except E:\n        pass\n    h()\n"),
    Edit("helper", HELPERS, "x + STEP", "x - STEP", "helper.shift"),
    Edit("helper through an alias", HELPERS, "* factor", "// factor", "helper.scale"),
    Edit("default of a helper", HELPERS, "factor=2", "factor=3", "helper.scale"),
    Edit("global of a helper's module", HELPERS, "STEP = 1", "STEP = 2", "helper.STEP"),
    Edit("helper of a helper", HELPERS, "max(x", "min(x", "deep.deepest"),
    Edit("container of a helper's helper", HELPERS, "[2, 3]", "[2, 4]", "deep.LIMITS"),
    Edit("another helper", HELPERS, "import scale as g", "import unrelated as g"),
    Edit("class attribute", CLASSES, "rate = 2", "rate = 3", "main.Order.rate"),
    Edit("class attribute: container", CLASSES, "SIZES = [1, 2]", "SIZES = [1, 3]", "main.Order.SIZES"),
    Edit("method of a class", CLASSES, "self.n * self.rate", "self.n + self.rate", "main.Order.total"),
    Edit("method removed", CLASSES, "    def __add__(self, other):\n        return self.n + 9\n", "", "main.Order"),
    Edit("special method", CLASSES, "self.n + 9", "self.n + 10", "main.Order.__add__"),
    Edit("initialiser", CLASSES, "self.n = n\n", "self.n = -n\n", "main.Order.__init__"),
    Edit("property", CLASSES, "self.n - 1", "self.n - 2", "main.Order.net"),
    Edit("setter of a property", CLASSES, "value + 11", "value + 12"),
    Edit("static method", CLASSES, "x * 3", "x * 4", "main.Order.tax"),
    Edit("class method", CLASSES, "n + 4", "n + 5", "main.Order.make"),
    Edit("static method to class method", CLASSES, "@staticmethod", "@classmethod"),
    Edit("cached property", CLASSES, "** 5", "** 6", "main.Order.slow"),
    Edit("partial method", CLASSES, "tax, 7", "tax, 8"),
    Edit("single-dispatch method: default", CLASSES, '"any"', '"none"'),
    Edit("single-dispatch method: implementation", CLASSES, '"int 6"', '"int 7"'),
    Edit("nested class", CLASSES, "depth = 8", "depth = 9", "main.Order.Inner.depth"),
    Edit("base class: attribute", CLASSES, "size = 21", "size = 23", "helper.Base.size"),
    Edit("base class: method", CLASSES, "return 22", "return 24", "helper.Base.base"),
    Edit("base of a base class", CLASSES, "return 20", "return 25", "helper.Root.root"),
    Edit("other base class", CLASSES, "class Base(Root)", "class Base"),
    Edit("metaclass", CLASSES, "super().__call__(*args)", "super().__call__(*args, *args)", "main.Meta.__call__"),
    Edit("method that a method calls on self", METHOD, "30", "31", "main.Job.helper"),
    Edit("attribute that a method reads of self", METHOD, "weight = 1", "weight = 2", "main.Job.weight"),
    Edit("dataclass: default", DATA, "x: int = 1", "x: int = 2"),
    Edit("dataclass: default factory", DATA, "lambda: [2]", "lambda: [3]"),
    Edit("dataclass: field option", DATA, "compare=True", "compare=False"),
    Edit("dataclass: field added", DATA, "z: int = data", "w: int = 0\n    z: int = data"),
    Edit("dataclass: option", DATA, "@dataclasses.dataclass\nclass Point", "@dataclasses.dataclass(order=True)\nclass Point"),
    Edit("dataclass: instance that is a constant", DATA, "limit=7", "limit=8", "main.default"),
    Edit("enum: value of a member", DATA, "RED = 5", "RED = 6", "main.Color"),
    Edit("enum: member added", DATA, 'BLUE = "b"', 'BLUE = "b"; GREEN = 1', "main.Color"),
    Edit("enum: what its own __new__ gives a member", ENUMS, '1, "red"', '1, "rot"', "main.Color"),
    Edit("enum: body of its own __new__", ENUMS, 'label + "!"', 'label + "?"', "main.Color.__new__"),
    Edit("enum: boundary", ENUMS, "enum.STRICT", "enum.KEEP", "main.Access"),
    Edit("pydantic: private attribute", MODELS, "230", "235", "main.Model"),
    Edit("pydantic: default of a private attribute", MODELS, "231", "235", "main.Model"),
    Edit("pydantic: factory of a private attribute", MODELS, "[232]", "[235]", "main.Model.<lambda>"),
    Edit("pydantic: field of a validator", MODELS, 'validator("first"', 'validator("second"', "main.Model"),
    Edit("pydantic: mode of a validator", MODELS, '"after"', '"before"', "main.Model"),
    Edit("pydantic: field of a serializer", MODELS, 'serializer("second"', 'serializer("first"', "main.Model"),
    Edit("pydantic: option of a computed field", MODELS, '"both"', '"sum"', "main.Model"),
    Edit("pydantic: type of a computed field", MODELS, "-> int", "-> float", "main.Model"),
    Edit("pydantic: option of a model serializer", MODELS, '"always"', '"json"', "main.Model"),
    Edit("pydantic: field of a validator of a dataclass", MODELS, '"left"', '"right"', "main.Row"),
    Edit("attrs: metadata", FIELDS, '"unit": "m"', '"unit": "km"', "main.Order"),
    Edit("attrs: validator of the library", FIELDS, "le(241)", "le(245)", "main.Order"),
    Edit("attrs: one of several validators", FIELDS, "ge(242)", "ge(245)", "main.Order"),
    Edit("attrs: function among several validators", FIELDS, "> 240", "> 245", "main.check"),
    Edit("attrs: function of a converter", FIELDS, "243", "245", "main.Order.<lambda>"),
    Edit("attrs: factory", FIELDS, "[244]", "[245]"),
    Edit("attrs: what is compared", FIELDS, '"real"', '"imag"', "main.Order"),
    Edit("attrs: what setting an attribute does", FIELDS, "setters.convert", "setters.frozen", "main.Order"),
    Edit("list of slots", SLOTS, '"right"', '"up"', "main.Row.__slots__"),
    Edit("dict of slots", SLOTS, '"second"', '"third"', "main.Documented.__slots__"),
    Edit("set of tuples with functions", SETS, "x + 250", "x + 260"),
    Edit("set of instances with functions", SETS, "x - 251", "x - 260"),
    Edit("set of partials of closures", SETS, "scaled(252)", "scaled(260)"),
    Edit("set of classes made in a function", SETS, "made(253)", "made(260)"),
    Edit("lower-case set of functions", SETS, "x / 254", "x / 260"),
    Edit("lower-case list of a set of closures", SETS, "scaled(255)", "scaled(260)"),
    Edit("set of tuples with functions as a default", SETS, "x % 256", "x % 260"),
    Edit("named tuple: default", DATA, "right: int = 6", "right: int = 7"),
    Edit("named tuple: instance", DATA, "Pair(8)", "Pair(9)"),
    Edit("decorator: body", DECORATED, "func(*args) + 51", "func(*args) - 51"),
    Edit("decorator: argument", DECORATED, "@times(3)", "@times(4)"),
    Edit("decorator with arguments: body", DECORATED, "+ [50]", "+ [51]"),
    Edit("decorator removed", DECORATED, "@plain\n", ""),
    Edit("decorator: order", DECORATED, "@times(3)\n@plain", "@plain\n@times(3)"),
    Edit("decorator without wraps: the function", DECORATED, "x * 42", "x * 43", "main.loose"),
    Edit("decorator without wraps: its body", DECORATED, "+ 52", "+ 54"),
    Edit("decorator that is a class: the function", DECORATED, "x * 41", "x * 44", "main.remembered"),
    Edit("decorator that is a class: its body", DECORATED, "+ 53", "+ 55", "helper.Memo.__call__"),
    Edit("function under lru_cache", DECORATED, "x * 40", "x * 45", "main.helped"),
    Edit("function that is decorated", DECORATED, "x + helped(x)", "x - helped(x)", "main.f"),
    Edit("global number", GLOBALS, "NUMBER = 60", "NUMBER = 61", "main.NUMBER"),
    Edit("global text", GLOBALS, "sixty-one", "sixty-two", "main.TEXT"),
    Edit("global bytes", GLOBALS, 'b"62"', 'b"63"', "main.RAW"),
    Edit("global with a lower-case name", GLOBALS, "number = 63", "number = 64", "main.number"),
    Edit("global tuple", GLOBALS, '"deep", 65', '"deep", 66', "main.pair"),
    Edit("global frozenset", GLOBALS, '"gamma"', '"eta"', "main.flags"),
    Edit("global set", GLOBALS, '"zeta"', '"theta"', "main.WORDS"),
    Edit("global list of lists", GLOBALS, "[3, 66]", "[3, 67]", "main.MATRIX"),
    Edit("global dict: value", GLOBALS, '"first": 1', '"first": 3', "main.MODES"),
    Edit("global dict: key", GLOBALS, '"second"', '"third"', "main.MODES"),
    Edit("global dict: order", GLOBALS, '"first": 1, "second": 2', '"second": 2, "first": 1', "main.MODES"),
    Edit("global decimal", GLOBALS, "67.5", "67.50", "main.price"),
    Edit("global timedelta", GLOBALS, "seconds=68", "seconds=69", "main.wait"),
    Edit("global path", GLOBALS, "data/69", "data/70", "main.folder"),
    Edit("global regular expression", GLOBALS, "a+70", "a*70", "main.pattern"),
    Edit("type of a global", GLOBALS, "NUMBER = 60", "NUMBER = 60.0", "main.NUMBER"),
    Edit("table of functions: function", GLOBALS, "x + 72", "x + 73", "main.right"),
    Edit("table of functions: lambda", GLOBALS, "x * 73", "x * 74"),
    Edit("table of functions: entry", GLOBALS, '{"left": left,', '{"left": right,', "main.HANDLERS"),
    Edit("set of functions, classes and tuples", "def a(): return 1\ndef b(): return 2\nHOOKS = {a, b, lambda: 3, int, ('x', 1), ('y', 2), ('z', 3)}\ndef f(x):\n    return HOOKS", "return 2", "return 4", "main.b"),
    Edit("partial: function", GLOBALS, "x - 71", "x - 72", "main.left"),
    Edit("partial: argument", GLOBALS, "x=74", "x=75", "main.shifted"),
    Edit("function under another name", GLOBALS, "CHOICE = left", "CHOICE = right"),
    Edit("callable instance: code", GLOBALS, "self.factor + 75", "self.factor + 76", "main.Scale.__call__"),
    Edit("callable instance: state", GLOBALS, "Scale(76)", "Scale(77.0)", "main.scale"),
    Edit("instance with an UPPER_CASE name", GLOBALS, "Scale(77)", "Scale(78.0)", "main.SETTINGS"),
    Edit("bound method: instance", GLOBALS, "Scale(78)", "Scale(79)"),
    Edit("bound method of a builtin", GLOBALS, "abc79", "abc80", "main.upper"),
    Edit("closure: number", INNER, "count = 81", "count = 82"),
    Edit("closure: argument", INNER, "outer(82)", "outer(83)"),
    Edit("closure: container", INNER, '"deep": 80', '"deep": 81'),
    Edit("closure: function", INNER, "x * rate", "x / rate", "main.outer.<locals>.helper"),
    Edit("lambda", NESTED, "a + 90", "a + 91", "main.f"),
    Edit("lambda in a lambda", NESTED, "b + 91", "b + 92", "main.f"),
    Edit("inner function", NESTED, "a + b + 93", "a + b + 94", "main.f"),
    Edit("default of an inner function", NESTED, "b=92", "b=93", "main.f"),
    Edit("attribute of an inner class", NESTED, "size: int = 94", "size: int = 95", "main.f"),
    Edit("method of an inner class", NESTED, "return 95", "return 96", "main.f"),
    Edit("list comprehension", NESTED, "i * 96", "i * 97"),
    Edit("condition of a comprehension", NESTED, "i != 97", "i != 98"),
    Edit("generator expression", NESTED, "i > 98", "i > 99"),
    Edit("dict comprehension", NESTED, "v + 99", "v + 100"),
    Edit("set comprehension", NESTED, "i // 100", "i // 101"),
    Edit("annotation of a field of an inner class", NESTED, "size: int", "size: float"),
    Edit("import inside: dotted", LATE, "x + 120", "x + 124"),
    Edit("import inside: alias", LATE, "x + 121", "x + 124"),
    Edit("import inside: relative", LATE, "x + 122", "x + 124"),
    Edit("import inside: relative module", LATE, "x + 123", "x + 124"),
    Edit("import inside: unrelated function", LATE, "x + 120\n", "x + 120\ndef unrelated():\n    return 1\n"),
    Edit("import inside: what such a module imports", LATE, "x + 125", "x + 126"),
    Edit("import inside: data of such a module", LATE, "[127]", "[128]"),
    Edit("import inside: a module that fails", BROKEN, "return 1", "return 2"),
    Edit("import inside: a module with effects", EFFECT, "return 1", "return 2"),
    Edit("lower-case table of functions", TABLES, "x + 200", "x + 220", "main.first"),
    Edit("lower-case table of functions: other function", TABLES, '"second": second', '"second": first'),
    Edit("lower-case table of functions: nested", TABLES, "x + 201", "x + 220", "main.second"),
    Edit("lower-case registry", TABLES, "x + 202", "x + 220", "main.third"),
    Edit("lower-case list of classes", TABLES, "x + 203", "x + 220", "main.Fourth.run"),
    Edit("table of functions in a class", TABLES, "x + 204", "x + 220", "main.fifth"),
    Edit("functions in a namespace", TABLES, "x + 205", "x + 220", "main.sixth"),
    Edit("subclasses", SUBCLASSES, "return 210", "return 220"),
    Edit("subclasses of subclasses", SUBCLASSES, "return 211", "return 220"),
    Edit("subclass in another module", SUBCLASSES, "return 212", "return 220"),
    Edit("subclass added", SUBCLASSES, "# here", "class Late(Base): pass"),
    Edit("docstring that is read", "def a():\n    'one'\ndef f(x):\n    return a.__doc__", "one", "two"),
    Edit("docstring of a class that is read", "import inspect\nclass A:\n    'one'\ndef f(x):\n    return inspect.getdoc(A)", "one", "two"),
    Edit("name that is read", "def a(): pass\na.__name__ = 'one'\ndef f(x):\n    return a.__name__", "one", "two"),
    Edit("annotations that are read", ABOUT, "x: int", "x: str"),
    Edit("annotations of a class that are read", ABOUT, "y: int", "y: str"),
    Edit("metadata of a field", ABOUT, '"json": "z"', '"json": "Z"'),
    Edit("signature that is read", "def a(x: int): pass\ndef f(x):\n    from inspect import signature\n    return signature(a)", "int", "str"),
    Edit("attribute that a module serves", SERVED, "return 213", "return 220"),
    Edit("attribute that a module serves to an import", SERVED, "return 214", "return 220"),
    Edit("attrgetter", CALLABLES, '"real"', '"imag"'),
    Edit("methodcaller", CALLABLES, '"upper"', '"lower"'),
    Edit("callable object of a library", CALLABLES, "Polynomial([1, 2])", "Polynomial([1, 3])"),
    Edit("callable object in a closure", CALLABLES, "Polynomial([4, 5])", "Polynomial([4, 6])"),
    Edit("callable object as a default", CALLABLES, "Polynomial([7, 8])", "Polynomial([7, 9])"),
    Edit("namespace", CALLABLES, "a=1", "a=2"),
    Edit("coroutine", ASYNC, "x + 130", "x + 133", "main.fetch"),
    Edit("async generator", ASYNC, "i + 131", "i + 133", "main.stream"),
    Edit("generator", ASYNC, "n + 132", "n + 133", "main.numbers"),
    Edit("async removed", ASYNC, "async with", "with"),
    Edit("await", ASYNC, "[await fetch(i)", "[fetch(i)"),
    Edit("fallback of an import", CHOICE, "x + 140", "x + 141", "slow.work"),
    Edit("file added that an import prefers", CHOICE, "x + 140\n", "x + 140\n--- fast\ndef work(x):\n    return x + 141\n"),
    Edit("single dispatch: default", DISPATCH, "any 150", "any 151"),
    Edit("single dispatch: implementation", DISPATCH, "int 151", "int 152"),
    Edit("single dispatch: named implementation", DISPATCH, "text 152", "text 153", "main.show_text"),
    Edit("single dispatch: type", DISPATCH, "x: str", "x: bytes"),
    Edit("task", DISPATCH, "x + 153", "x + 155", "main.inner"),
    Edit("task that is a method", DISPATCH, "x + 154", "x + 155", "main.Tools.work"),
    Edit("attribute of a function", DISPATCH, "compute.scale = 155", "compute.scale = 156"),
    Edit("recursion", RECURSIVE, "n < 2", "n < 3", "main.f"),
    Edit("mutual recursion", RECURSIVE, "return f(n), LOOP", "return f(n + 1), LOOP", "main.even"),
    Edit("classes that refer to each other", RECURSIVE, "Left().go, 161", "Left().go, 162", "main.Right.go"),
    Edit("container that contains itself", RECURSIVE, "[Left, 162]", "[Left, 163]", "main.LOOP"),
    Edit("function under a decorator of a library", LIBRARY, "return helper(x)", "return helper(x) + 1", "main.f"),
    Edit("helper under a decorator of a library", LIBRARY, "x + 164", "x + 165", "main.helper"),
    Edit("argument of a decorator of a library", LIBRARY, "@keep(163)", "@keep(164)"),
    Edit("type made of another", "import typing\nVector = list[int]\ndef f(x):\n    return typing.cast(Vector, x)", "list[int]", "list[float]"),
    Edit("global that did not exist", "def f(x):\n    return missing(x)", "def f", "def missing(x): return 1\ndef f"),
]  # fmt: skip
"""Edits after which the function does something else, or might."""

KEEPS = [
    Edit("nothing", PLAIN, "total = x", "total = x"),
    Edit("comment changed", PLAIN, "# comment", "# another comment"),
    Edit("comment removed", PLAIN, "  # comment", ""),
    Edit("comment line added", PLAIN, "    for i", "    # a line more\n    for i"),
    Edit("docstring changed", PLAIN, '"""Docstring."""', '"""Other."""'),
    Edit("docstring removed", PLAIN, '    """Docstring."""\n', ""),
    Edit("docstring added", HELPERS, "def shift(x):", 'def shift(x):\n    "Added."'),
    Edit("docstring of the module", PLAIN, '"""Module."""', '"""Other."""'),
    Edit("docstring of a class", CLASSES, "class Base(Root):", "class Base(Root):\n    'Added.'"),
    Edit("docstring of an inner class changed", NESTED, '"Docstring."', '"Other."'),
    Edit("docstring of an inner class removed", NESTED, '        "Docstring."\n', ""),
    Edit("docstring of an inner function", NESTED, "def inner(a, b=92):", "def inner(a, b=92):\n        'Added.'"),
    Edit("layout: spaces", PLAIN, "x + y * 10 - z", "x  +  y*10-z"),
    Edit("layout: parentheses", PLAIN, "x + y * 10 - z", "((x + (y * 10)) - z)"),
    Edit("layout: lines", PLAIN, "x + y * 10 - z", "(x\n   + y\n * 10 -\n\n z)"),
    Edit("layout: one line", PLAIN, "            total += i", "            total += i; pass"),
    Edit("layout: if on one line", PLAIN, "y:\n            total += i", "y: total += i"),
    Edit("layout: condition on two lines", PLAIN, "i < x and not y", "(i < x\n            and not y)"),
    Edit("layout: conditional on three lines", PLAIN, '" if total > 100 else', '" if \\\n total > 100 \\\n else \\\n'),
    Edit("layout: blank lines", PLAIN, "    for i", "\n\n\n    for i"),
    Edit("layout: try", FLOW, "    try:\n", "    try:  # here\n\n"),
    Edit("layout: quotes", PLAIN, '"low"', "'low'"),
    Edit("layout: notation of a number", PLAIN, "y * 10", "y * 0xA"),
    Edit("layout: trailing comma", GLOBALS, "[3, 66]]", "[3, 66],\n]"),
    Edit("moved down", PLAIN, "def f", "\n\n\n\nX = 1\n\ndef f"),
    Edit("moved behind another function", HELPERS, "def shift", "def moved():\n    return 1\ndef shift"),
    Edit("moved local class", NESTED, "    class Local", "\n\n    class Local"),
    Edit("moved beyond line 255", PLAIN, "def f", "\n" * 300 + "def f"),
    Edit("annotation of a parameter", PLAIN, "def f(x,", "def f(x: 'int | None',"),
    Edit("annotation of the result", PLAIN, "z=3):", "z=3) -> list[str]:"),
    Edit("annotation of a local", PLAIN, "total = x", "total: int = x"),
    Edit("annotation of a helper", HELPERS, "def shift(x):", "def shift(x: float) -> float:"),
    Edit("annotation of an inner function", NESTED, "def inner(a, b=92):", "def inner(a: int, b: 'str' = 92) -> dict[str, list[int]]:"),
    Edit("annotation of a method of an inner class", NESTED, "def method(self) -> int:", "def method(self) -> dict[str, list[int]]:"),
    Edit("annotation of a captured function", INNER, "def helper(x):", "def helper(x: int) -> 'float':"),
    Edit("annotation of an inner function that captures", "def f(x):\n    def g(y, z=1, *, w=2):\n        return x + y\n    return g", "g(y,", "g(y: list[int] | None,"),
    Edit("type of a field of a dataclass", DATA, "x: int = 1", "x: float = 1"),
    Edit("annotation of a class attribute", CLASSES, "label: str", "label: object"),
    Edit("annotation added to a class attribute", CLASSES, "rate = 2", "rate: int = 2"),
    Edit("cached property of an enum, which somebody has looked at", ENUMS, "Color.BLUE.slow\n", ""),
    Edit("docstring of an enum", ENUMS, "Docstring.", "Other."),
    Edit("docstring of a computed field", MODELS, '"Docstring."', '"Other."'),
    Edit("docstring of a slot", SLOTS, '"Docstring."', '"Other."'),
    Edit("type of a field of attrs", FIELDS, "count: int", "count: float"),
    Edit("annotation of a validator", FIELDS, "check(field, attribute, value)", "check(field, attribute: object, value: int)"),
    Edit("future import", PLAIN, "import math", "from __future__ import annotations\nimport math"),
    Edit("future import with annotations inside", "\ndef f(x):\n    def g(y: int) -> str:\n        return y\n    return g\n", "\ndef f", "from __future__ import annotations\ndef f"),
    Edit("type alias", "import typing\nNumber = int\ndef f(x: Number):\n    return x", "Number = int", "Number = float"),
    Edit("import for annotations", PLAIN, "import math", "import math\nimport typing\nif typing.TYPE_CHECKING:\n    import collections"),
    Edit("unrelated function changed", HELPERS, "x - 7", "x - 8"),
    Edit("unrelated function removed", HELPERS, "def unrelated(x):\n    return x - 7\n", ""),
    Edit("unrelated function added", HELPERS, "STEP = 1", "STEP = 1\ndef new():\n    return STEP"),
    Edit("unrelated function that reads the same", HELPERS, "return LIMITS\n", "return LIMITS, 1\n"),
    Edit("unrelated global", HELPERS, "STEP = 1", "STEP = 1\nOTHER = 2"),
    Edit("unrelated class", HELPERS, "STEP = 1", "STEP = 1\nclass New:\n    pass"),
    Edit("unrelated import", HELPERS, "STEP = 1", "import os, json\nSTEP = 1"),
    Edit("attribute of a local with the name of a function", "def helper():\n    return 1\ndef f(x):\n    return x.helper()", "return 1", "return 2"),
    Edit("local with the name of a function", "def helper():\n    return 1\ndef f(x):\n    helper = x\n    return helper", "return 1", "return 2"),
    Edit("local renamed", PLAIN, "total = x + y * 10 - z  # comment\n    for i in range(4):\n        if i < x and not y:\n            total += i\n    return f\"{total:>5} units\" if total > 100 else [math.floor(total)", "t = x + y * 10 - z\n    for k in range(4):\n        if k < x and not y:\n            t += k\n    return f\"{t:>5} units\" if t > 100 else [math.floor(t)"),
    Edit("local of a comprehension renamed", "def f(x):\n    return [i * 96 for i in x if i != 97]", "i * 96 for i in x if i != 97", "j * 96 for j in x if j != 97"),
    Edit("alias of a module", "import math as m\ndef f(x):\n    return m.floor(x)", "import math as m\ndef f(x):\n    return m", "import math as mm\ndef f(x):\n    return mm"),
    Edit("alias of a function", HELPERS, "scale as g\n\ndef f(x):\n    return helper.shift(x) + g(x)", "scale as sc\n\ndef f(x):\n    return helper.shift(x) + sc(x)"),
    Edit("order of methods", METHOD, "    def helper(self):\n        return 30 * self.weight\n    def run(self):\n        return self.helper()\n", "    def run(self):\n        return self.helper()\n    def helper(self):\n        return 30 * self.weight\n"),
    Edit("order of functions", "def g(x):\n    return x\ndef f(x):\n    return g(x)\n", "def g(x):\n    return x\ndef f(x):\n    return g(x)\n", "def f(x):\n    return g(x)\ndef g(x):\n    return x\n"),
    Edit("order of the words of a set", GLOBALS, '"delta", "epsilon", "zeta"', '"zeta", "delta", "epsilon"'),
    Edit("order of constants in a frozenset", 'def f(x):\n    return x in {"a", "bb", "ccc", "dddd"}', '"a", "bb", "ccc", "dddd"', '"dddd", "bb", "ccc", "a"'),
    Edit("pass", PLAIN, "    return", "    pass\n    return"),
    Edit("string as a comment", PLAIN, "    for i", "    'nobody reads this'\n    for i"),
    Edit("code that cannot run", PLAIN, "    return", "    if False:\n        total = 1\n    return"),
    Edit("computed constant", "def f(x):\n    return x * 86400", "86400", "(24 * 60 * 60)"),
]  # fmt: skip
"""Edits after which it does the same, which must not cost a result."""

STATE = """
items = [1]
class Client:
    cache = {"a": 1}
    def __init__(self, url): self.url = url
client = Client("one")
count = 5
def f(x):
    global count
    count += 1
    return items, client
"""

ROUNDABOUT = """
import importlib
from . import helper
def named(): return 1
def use(module): return module.work()
def f(x):
    importlib.import_module("PACKAGE.other")
    return globals()["named"](), getattr(helper, "hidden")(), use(helper)
--- helper
def work(): return 2
def hidden(): return 3
--- other
def late(): return 4
"""

OUTSIDE = """
import array, copyreg, pathlib, json
from INSTALLED import helper, convert
from . import plugin, data
model = array.array("i", [1, 2])
@convert
def f(x: int):
    return helper(x), model, pathlib.Path(data.__file__).read_text(), json.dumps(x)
--- site
def helper(x): return 1
def convert(func): return lambda x: func(func.__annotations__["x"](x))
--- plugin
import json
json.encoder.extra = lambda: 10
--- data
11
"""

BLIND: dict[str, list[Edit]] = {
    "mutable global": [
        Edit("lower-case list", STATE, "items = [1]", "items = [2]"),
        Edit("state of a lower-case instance", STATE, 'Client("one")', 'Client("two")'),
    ],
    "mutable class attribute": [Edit("lower-case dict in a class", STATE, '{"a": 1}', '{"a": 2}')],
    "rebound global": [
        Edit("global statement", STATE, "count = 5", "count = 6"),
        Edit("nonlocal statement", "def make():\n    n = 1\n    def f(x):\n        nonlocal n\n        n += 1\n        return n\n    return f\nf = make()", "n = 1", "n = 3"),
    ],
    "compiled object": [Edit("lower-case array", OUTSIDE, "[1, 2]", "[1, 3]")],
    "name in a string": [
        Edit("globals()", ROUNDABOUT, "return 1", "return 5"),
        Edit("getattr", ROUNDABOUT, "return 3", "return 5"),
        Edit("import_module", ROUNDABOUT, "return 4", "return 5"),
    ],
    "module as a value": [Edit("module passed on", ROUNDABOUT, "return 2", "return 5")],
    "registration": [Edit("plugin", OUTSIDE, "lambda: 10", "lambda: 12")],
    "annotation": [Edit("decorator that converts", OUTSIDE, "x: int", "x: str")],
    "installed code": [Edit("helper in site-packages", OUTSIDE, "return 1", "return 2")],
    "data file": [Edit("text read by the function", OUTSIDE, "--- data\n11", "--- data\n12")],
}  # fmt: skip
"""Edits that change what the function does and that the code version cannot see, by the name of the blind spot."""
