"""`form_of`: what a code object does, without how its source was written.

Two sources that differ in comments, docstrings, layout, annotations or the names of local variables have one form. A
form is read from the bytecode alone: nothing here opens a file, runs the code, or knows which globals it would find;
`_code_reach` looks those up.

The bytecode is followed from its entry along its jumps, so that the order of blocks, jumps to jumps, padding and dead
code do not count. Over the functions of the standard library, compiled as they are and once more from another layout,
2 forms in 12,900 differ on 3.11 (conditions in which the compiler shortens a jump only within a line), and 2 in 12,700
on 3.12 and 3.13 (generic classes whose methods have annotations that name the type parameter, which captures it).
"""

from __future__ import annotations

import opcode
import sys
import weakref
from types import CodeType
from typing import Any, NamedTuple

from eagerly.cache._code_decode import Instruction, decode
from eagerly.cache._encode import encode

__all__ = ["Form", "Import", "form_of"]


class Import(NamedTuple):
    """An import statement inside a function."""

    level: int
    module: str
    names: tuple[str, ...]
    """What stands after ``from ... import``; empty for a plain ``import``."""


class Form(NamedTuple):
    """What a code object does, with the functions, lambdas, comprehensions and classes inside it."""

    body: bytes
    """Equal if and only if it does the same with the same things; a global it reads appears as its place in `reads`."""
    reads: tuple[tuple[str, ...], ...]
    """The globals it reads, each with the attributes that follow: ``("rates", "vat")`` for ``rates.vat(...)``."""
    imports: tuple[Import, ...]
    attributes: frozenset[str]
    """Every attribute it reads of anything."""
    rebinds: frozenset[str]
    """Globals it assigns."""
    rebinds_free: frozenset[str]
    """Variables of enclosing functions it assigns."""


_NAMES = opcode.opname
_HAS_NAME = frozenset(_NAMES[op] for op in opcode.hasname)
_HAS_CONST = frozenset(_NAMES[op] for op in opcode.hasconst)
_HAS_LOCAL = frozenset(_NAMES[op] for op in opcode.haslocal)
_HAS_FREE = frozenset(_NAMES[op] for op in opcode.hasfree)
_GOES = frozenset(("JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT"))
_ENDS = frozenset(("RETURN_VALUE", "RAISE_VARARGS", "RERAISE"))
_GLOBAL_READS = frozenset(("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"))
_ATTRIBUTE_READS = frozenset(("LOAD_ATTR", "LOAD_METHOD"))
# The lowest bits of these arguments are flags; what is above them is the place of the name.
_FLAG_BITS = {
    "LOAD_GLOBAL": 1,
    "LOAD_ATTR": int(sys.version_info >= (3, 12)),
    "LOAD_SUPER_ATTR": 2,
}
# Two instructions in one, made only if both stand on one line (Python 3.13).
_PAIRS = {
    "LOAD_FAST_LOAD_FAST": ("LOAD_FAST", "LOAD_FAST"),
    "STORE_FAST_LOAD_FAST": ("STORE_FAST", "LOAD_FAST"),
    "STORE_FAST_STORE_FAST": ("STORE_FAST", "STORE_FAST"),
}
# Which way a branch is compiled depends on the layout; the form has it one way round.
_BRANCHES: dict[str, tuple[str, bool]] = {
    f"POP_JUMP_{direction}IF_{condition}": (kind, straight)
    for direction in ("", "FORWARD_", "BACKWARD_")
    for condition, kind, straight in (
        ("TRUE", "IF_TRUE", True),
        ("FALSE", "IF_TRUE", False),
        ("NONE", "IF_NONE", True),
        ("NOT_NONE", "IF_NONE", False),
    )
}
_SEES_LOCALS = frozenset(("locals", "vars", "dir", "eval", "exec"))
_FLAGS = (
    0x04 | 0x08 | 0x20 | 0x80 | 0x100 | 0x200
)  # *args, **kwargs, generator, coroutine, made by types.coroutine, async generator

_forms: dict[int, tuple[weakref.ref[CodeType], Form]] = {}


def form_of(code: CodeType) -> Form:
    """The form of `code`; computed once for each code object."""
    # By identity: code objects compare by content, which costs more than it saves.
    known = _forms.get(id(code))
    if known is not None and known[0]() is code:
        return known[1]
    form = _Reader(code).read()
    key = id(code)
    _forms[key] = (weakref.ref(code, lambda _: _forms.pop(key, None)), form)
    return form


class _Reader:
    """Writes down one code object."""

    def __init__(self, code: CodeType) -> None:
        self.code = code
        self.instructions = decode(code)
        self.out: list[Any] = []
        """What `Form.body` is joined from: bytes, and places of instructions, which become places in this list."""
        self.reads: dict[tuple[str, ...], int] = {}
        self.imports: list[Import] = []
        self.attributes: set[str] = set()
        self.rebinds: set[str] = set()
        self.rebinds_free: set[str] = set()
        parameters = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
        self.parameters = parameters
        captured = (*code.co_cellvars, *code.co_freevars)
        self.slots = (*code.co_varnames, *(name for name in captured if name not in code.co_varnames))
        self.captured = frozenset(captured)
        self.numbers: dict[int, int] = {}
        self.named_locals = not _SEES_LOCALS.isdisjoint(code.co_names)

    def read(self) -> Form:
        code, out = self.code, self.out
        out.append(
            b"%d,%d,%d,%d" % (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _FLAGS)
        )
        out.append(",".join(code.co_varnames[: self.parameters]).encode())
        self._follow()
        joined = [
            item if isinstance(item, bytes) else b"@%d" % self.places.get(self._landing(item), -1) for item in out
        ]
        return Form(
            b"".join([b"%d:%s" % (len(item), item) for item in joined]),
            tuple(self.reads),
            tuple(self.imports),
            frozenset(self.attributes),
            frozenset(self.rebinds),
            frozenset(self.rebinds_free),
        )

    def _landing(self, index: int) -> int:
        """Where control really gets to: through jumps that do nothing else."""
        passed: set[int] = set()
        while index < len(self.instructions) and self.instructions[index].name in _GOES and index not in passed:
            passed.add(index)
            index = self.instructions[index].target
        return index

    def _follow(self) -> None:
        self.places: dict[int, int] = {}
        places, out, instructions = self.places, self.out, self.instructions
        waiting = [0]
        while waiting:
            index = self._landing(waiting.pop())
            handler: Any = ()
            while index not in places:
                if index >= len(instructions) or instructions[index].name in _GOES:  # an endless loop that does nothing
                    places[index] = len(out)
                    out.append(b"spin")
                    break
                places[index] = len(out)
                instruction = instructions[index]
                if instruction.handler != handler:
                    handler = instruction.handler
                    out.append(b"handler" if handler is None else b"handler %d" % handler[1])
                    if handler is not None:
                        out.append(handler[0])
                        waiting.insert(0, handler[0])  # after the branches
                following = self._branch(index, instruction, waiting)
                if following < 0:
                    break
                index = self._landing(following)
            else:
                out.extend((b"goto", index))

    def _branch(self, index: int, instruction: Instruction, waiting: list[int]) -> int:
        """Write down one instruction; where it goes on, or -1 if nowhere."""
        name, following = instruction.name, index + 1
        if name in _BRANCHES:
            kind, straight = _BRANCHES[name]
            yes, no = (instruction.target, following) if straight else (following, instruction.target)
            self.out.extend((kind.encode(), yes))
            waiting.append(yes)
            return no
        if instruction.target >= 0:
            self.out.extend((name.encode(), instruction.target))
            waiting.append(instruction.target)
            return following
        if name == "RETURN_CONST":
            self._write("LOAD_CONST", instruction.arg, index)
            name = "RETURN_VALUE"
            self.out.append(b"RETURN_VALUE 0")
        elif name in _PAIRS:
            first, second = _PAIRS[name]
            self._write(first, instruction.arg >> 4, index)
            self._write(second, instruction.arg & 15, index)
        else:
            self._write(name, instruction.arg, index)
        return -1 if name in _ENDS else following

    def _write(self, name: str, arg: int, index: int) -> None:
        out = self.out
        if name in _HAS_CONST:
            out.append(name.encode())
            self._write_constant(self.code.co_consts[arg])
        elif name in _HAS_LOCAL or name in _HAS_FREE:
            out.append(f"{name} {self._slot(arg)}".encode())
            if name == "STORE_DEREF" and self.slots[arg] in self.code.co_freevars:
                self.rebinds_free.add(self.slots[arg])
        elif name in _HAS_NAME:
            self._write_name(name, arg, index)
        else:
            out.append(f"{name} {arg}".encode())

    def _slot(self, arg: int) -> str:
        name = self.slots[arg]
        if name in self.captured or self.named_locals:
            return name
        if arg < self.parameters:
            return f"parameter {arg}"
        return str(self.numbers.setdefault(arg, len(self.numbers)))

    def _write_name(self, name: str, arg: int, index: int) -> None:
        bits = _FLAG_BITS.get(name, 0)
        flags, word = arg & ((1 << bits) - 1), self.code.co_names[arg >> bits]
        if name in _GLOBAL_READS:
            chain = self._chain(word, index)
            place = self.reads.setdefault(chain, len(self.reads))
            # The name under which a module knows something does not count, except where it may be one of a class body.
            self.out.append(f"{name} {flags} {place} {'' if name == 'LOAD_GLOBAL' else word}".encode())
            return
        self.out.append(f"{name} {flags} {word}".encode())
        if name in _ATTRIBUTE_READS:
            self.attributes.add(word)
        elif name in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            self.rebinds.add(word)
        elif name == "IMPORT_NAME":
            level, names = (self._constant_at(index - back) for back in (2, 1))
            self.imports.append(
                Import(level if isinstance(level, int) else 0, word, names if isinstance(names, tuple) else ())
            )

    def _chain(self, word: str, index: int) -> tuple[str, ...]:
        chain = [word]
        index = self._landing(index + 1)
        while index < len(self.instructions) and self.instructions[index].name in _ATTRIBUTE_READS:
            name, arg = self.instructions[index][:2]
            chain.append(self.code.co_names[arg >> _FLAG_BITS.get(name, 0)])
            index = self._landing(index + 1)
        return tuple(chain)

    def _constant_at(self, index: int) -> Any:
        instruction = self.instructions[index]
        return self.code.co_consts[instruction.arg] if instruction.name == "LOAD_CONST" else None

    def _write_constant(self, value: Any) -> None:
        if not isinstance(value, CodeType):
            self.out.append(encode(value, "a constant"))
            return
        inner = form_of(value)
        places = [self.reads.setdefault(chain, len(self.reads)) for chain in inner.reads]
        self.out.extend((b"code", inner.body, ",".join(map(str, places)).encode()))
        self.imports.extend(inner.imports)
        self.attributes |= inner.attributes
        self.rebinds |= inner.rebinds
        # What an inner function assigns of this one's own variables is nobody else's business.
        self.rebinds_free |= inner.rebinds_free.intersection(self.code.co_freevars)
