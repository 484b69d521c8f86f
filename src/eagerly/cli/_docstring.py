"""What a docstring says about the function and about each of its parameters.

Reads the styles of Google, NumPy and Sphinx, as far as they say which words belong to which parameter.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = ["Docstring", "parse_docstring"]

_PARAMETERS: Final = frozenset(
    ("args", "arguments", "params", "parameters", "keyword args", "keyword arguments", "other parameters")
)
_SECTIONS: Final = _PARAMETERS | {
    *("attributes", "example", "examples", "note", "notes", "raises", "references", "return", "returns"),
    *("see also", "todo", "warning", "warnings", "warns", "yield", "yields"),
}
_GOOGLE: Final = re.compile(r"\*{0,2}(\w+)\s*(?:\(.*?\))?\s*:\s*(.*)")
_NUMPY: Final = re.compile(r"(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?")
_SPHINX: Final = re.compile(r":(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:]*\s)?\*{0,2}(\w+)\s*:\s*(.*)")
_FIELD: Final = re.compile(r":(?:\w+)(?:\s[^:]*)?:(?:\s|$)")


class Docstring(NamedTuple):
    """A docstring in parts.

    Attributes:
        text: What comes before the first section.
        parameters: What is said about each parameter, by name, on one line.
    """

    text: str
    parameters: dict[str, str]


def parse_docstring(docstring: str | None) -> Docstring:
    """Take `docstring` apart; what it does not say is empty."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    text: list[str] = []
    found: dict[str, list[str]] = {}
    position = 0
    while position < len(lines):
        size, title = _heading(lines, position)
        if size == 0:
            text.append(lines[position])
            position += 1
            continue
        end = position + size
        while end < len(lines) and _heading(lines, end)[0] == 0:
            end += 1
        body = lines[position + size : end]
        if _FIELD.match(lines[position]):
            found |= _fields(lines[position:end])
        elif title in _PARAMETERS:
            found |= _google(body) if size == 1 else _numpy(body)
        position = end
    return Docstring(
        "\n".join(text).strip(), {name: " ".join(" ".join(words).split()) for name, words in found.items()}
    )


def _heading(lines: Sequence[str], position: int) -> tuple[int, str]:
    """How many lines the heading has that starts here (0: none does), and its text."""
    line = lines[position]
    if _FIELD.match(line):
        return 1, ""
    title = line.rstrip().rstrip(":").lower()
    if title not in _SECTIONS:
        return 0, ""
    below = lines[position + 1].strip() if position + 1 < len(lines) else ""
    if len(below) > 2 and set(below) <= {"-", "="}:
        return 2, title
    return (1, title) if line.rstrip().endswith(":") else (0, "")


def _google(lines: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    indents = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    depth = indents[0] if indents else 0
    current: list[str] = []
    for line in lines:
        if line.strip() and len(line) - len(line.lstrip()) < depth:
            break  # the section is over, and ordinary text goes on
        match = _GOOGLE.fullmatch(line.strip())
        if match and len(line) - len(line.lstrip()) == depth:
            current = found[match[1]] = [match[2]]
        else:
            current.append(line)
    return found


def _numpy(lines: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        match = _NUMPY.fullmatch(line.rstrip())
        if match:
            current = []
            found |= {name.strip(" *"): current for name in match[1].split(",")}
        else:
            current.append(line)
    return found


def _fields(lines: Sequence[str]) -> dict[str, list[str]]:
    match = _SPHINX.fullmatch(lines[0].strip())
    if match is None:
        return {}
    words = [match[2]]
    for line in lines[1:]:
        if not line.startswith(" "):
            break
        words.append(line)
    return {match[1]: words}
