"""`decode`: the instructions of a code object, without those that say nothing about what it does.

Left out are padding, caches, annotations of the functions defined inside, and what the body of a class is told by the
compiler about its docstring, name and lines. What is not left out keeps its order; jumps are places in the list.
"""

from __future__ import annotations

import opcode
from dis import stack_effect
from types import CodeType
from typing import NamedTuple

__all__ = ["Instruction", "decode"]


class Instruction(NamedTuple):
    name: str
    arg: int
    target: int
    """Where it may jump to, as a place in the list; -1 if nowhere."""
    handler: tuple[int, int] | None
    """Where an exception goes: place in the list, and depth of the stack with whether the last instruction is kept."""


_NAMES = opcode.opname
_NOP = opcode.opmap["NOP"]
_CACHE = opcode.opmap["CACHE"]
_EXTENDED_ARG = opcode.opmap["EXTENDED_ARG"]
_MAKE_FUNCTION = opcode.opmap["MAKE_FUNCTION"]
_SET_FUNCTION_ATTRIBUTE = opcode.opmap.get("SET_FUNCTION_ATTRIBUTE", -1)  # Python 3.13
_JUMPS = frozenset(opcode.hasjrel)
_BACKWARD = frozenset(op for op in _JUMPS if "BACKWARD" in _NAMES[op])
_NOT_BEHAVIOUR = frozenset(("__doc__", "__qualname__", "__firstlineno__", "__static_attributes__"))
"""What the compiler assigns in the body of a class that says where it stands, or what is written about it."""
_OPTIMIZED = 0x01  # a flag of functions, which the bodies of classes do not have
_ANNOTATIONS = 0x04
_CLOSURE = 0x08


def decode(code: CodeType) -> list[Instruction]:
    """The instructions of `code` that count, in the order of the bytecode."""
    found = _units(code)
    drop = _annotation_places(found) | _description_places(code, found)
    kept: list[list[int]] = []
    size = len(code.co_code) // 2 + 1
    place: list[int] = [0] * size  # of each unit: the first kept instruction that starts there or later
    filled = 0
    for index, instruction in enumerate(found):
        start = instruction[2] + 1
        place[filled:start] = [len(kept)] * (start - filled)
        filled = start
        if index not in drop and instruction[0] != _NOP:
            kept.append(instruction)
    place[filled:] = [len(kept)] * (size - filled)
    handlers: dict[int, tuple[int, int]] = {}
    for first, last, target, depth in _exception_table(code.co_exceptiontable):
        for index in range(place[first], place[last]):
            handlers[index] = (place[target], depth)
    instructions: list[Instruction] = []
    for index, (op, arg, _, end) in enumerate(kept):
        target = place[end - arg if op in _BACKWARD else end + arg] if op in _JUMPS else -1
        if op == _MAKE_FUNCTION and _SET_FUNCTION_ATTRIBUTE < 0:
            arg &= ~_ANNOTATIONS
        instructions.append(Instruction(_NAMES[op], arg, target, handlers.get(index)))
    return instructions


def _units(code: CodeType) -> list[list[int]]:
    """Each instruction: opcode, argument, its first unit of two bytes, and the unit after it and its caches."""
    raw = code.co_code  # as compiled: `_co_code_adaptive` is what it was specialised to while it ran
    found: list[list[int]] = []
    extended, start = 0, -1
    for unit in range(len(raw) // 2):
        op = raw[2 * unit]
        if op == _CACHE:
            found[-1][3] = unit + 1
            continue
        if start < 0:
            start = unit
        arg = raw[2 * unit + 1] | extended
        if op == _EXTENDED_ARG:
            extended = arg << 8
            continue
        found.append([op, arg, start, unit + 1])
        extended, start = 0, -1
    return found


def _exception_table(table: bytes) -> list[tuple[int, int, int, int]]:
    """First unit, unit after the last, handler, and stack depth with its flag.

    The format is described in CPython's Objects/exception_handling_notes.txt.
    """
    numbers: list[int] = []
    value = 0
    for byte in table:
        value = (value << 6) | (byte & 63)
        if not byte & 64:
            numbers.append(value)
            value = 0
    return [
        (start, start + length, target, depth)
        for start, length, target, depth in zip(*(numbers[i::4] for i in range(4)), strict=True)
    ]


def _annotation_places(found: list[list[int]]) -> set[int]:
    """Where the annotations of functions defined inside `code` are built and attached."""
    places: set[int] = set()
    for index, (op, arg, _, _) in enumerate(found):
        if op != _MAKE_FUNCTION:
            continue
        flags, attaching = arg, -1
        after = index + 1
        while after < len(found) and found[after][0] == _SET_FUNCTION_ATTRIBUTE:
            flags |= found[after][1]
            if found[after][1] == _ANNOTATIONS:
                attaching = after
            after += 1
        if not flags & _ANNOTATIONS:
            continue
        last = index - 2  # below the code object
        if flags & _CLOSURE:
            last -= found[last][1] + 1
        first = _expression_start(found, last)
        if first is None:
            continue
        places.update(range(first, last + 1))
        if attaching >= 0:
            places.add(attaching)
    return places


def _expression_start(found: list[list[int]], last: int) -> int | None:
    """Where the expression that ends at `last` begins; None if it jumps or reorders the stack, and counts as it is."""
    left = 0
    for index in range(last, -1, -1):
        op, arg = found[index][:2]
        if op in _JUMPS or _NAMES[op] in ("COPY", "SWAP", "POP_TOP") or _NAMES[op].startswith("STORE"):
            return None
        left += stack_effect(op, arg if op >= opcode.HAVE_ARGUMENT else None)
        if left == 1:
            return index
    return None


def _description_places(code: CodeType, found: list[list[int]]) -> set[int]:
    """Where the body of a class gets its docstring, its line and its name from the compiler."""
    if code.co_flags & _OPTIMIZED:
        return set()
    places: set[int] = set()
    for index, (op, arg, _, _) in enumerate(found[1:], 1):
        before = _NAMES[found[index - 1][0]]
        if _NAMES[op] == "STORE_NAME" and code.co_names[arg] in _NOT_BEHAVIOUR and before == "LOAD_CONST":
            places.update((index - 1, index))
    return places
