"""`Conversion`: what is made of a word of the command line, and of a value found in JSON.

Nothing here knows annotations, parameters or options; `_annotation` says which conversion belongs to which annotation.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, cast

__all__ = [
    "TRUTH",
    "Anything",
    "Choice",
    "Conversion",
    "ConversionError",
    "Record",
    "Scalar",
    "Several",
    "Truth",
    "Union",
]

TRUTH: Final = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
_NOTHING: Final = ("none", "null")
_LONGEST_METAVAR: Final = 32


class ConversionError(ValueError):
    """A word or a JSON value is not what the annotation says; the message tells what it should be."""


class Conversion:
    """What is made of words. This one leaves them as they are.

    Attributes:
        noun: What a value is, for messages.
        metavar: What stands for a value in the help.
        repeated: Whether an option may be given several times to make one value.
        takes_all: Whether every word is a value.
    """

    noun = "a string"
    metavar = "TEXT"
    repeated = False
    takes_all = True

    def from_word(self, word: str) -> Any:
        """The value that one word stands for."""
        return word

    def from_words(self, words: Sequence[str]) -> Any:
        """The value of an option that was given once or several times; where one value is wanted, the last wins."""
        return self.from_word(words[-1])

    def from_json(self, value: Any) -> Any:
        """The value that something found in JSON stands for."""
        if isinstance(value, str):
            return self.from_word(value)
        raise self.refusal(value)

    def refusal(self, value: object, reason: object = "") -> ConversionError:
        return ConversionError(f"{value!r} is not {self.noun}{': ' if reason else ''}{reason}")


class Anything(Conversion):
    """No annotation, ``Any`` or ``object``: words are strings, JSON is what it is."""

    noun = "a value"

    def from_json(self, value: Any) -> Any:
        return value


class Scalar(Conversion):
    """A type whose values are written as one word.

    Args:
        noun: What a value is, for messages.
        metavar: What stands for it in the help.
        parse: Makes a value of a word; raises anything to refuse it.
        json_types: Which types its values have in JSON.
    """

    takes_all = False

    def __init__(
        self, noun: str, metavar: str, parse: Callable[[Any], Any], json_types: tuple[type, ...] = (str,)
    ) -> None:
        self.noun = noun
        self.metavar = metavar
        self._parse = parse
        self._json_types = json_types

    def from_word(self, word: str) -> Any:
        try:
            return self._parse(word)
        except Exception as error:  # whatever a type of the user's raises
            # The messages of the builtins ("invalid literal for int() with base 10") say less than the noun does.
            raise self.refusal(word, "" if isinstance(error, ValueError | ArithmeticError) else error) from None

    def from_json(self, value: Any) -> Any:
        if type(value) not in self._json_types:
            raise self.refusal(value)
        return self.from_word(value)


class Truth(Conversion):
    noun = "true or false"
    metavar = "true|false"
    takes_all = False

    def from_word(self, word: str) -> bool:
        try:
            return TRUTH[word.lower()]
        except KeyError:
            raise self.refusal(word) from None

    def from_json(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        raise self.refusal(value)


class Choice(Conversion):
    """An enumeration or a ``Literal``.

    Args:
        names: The values by the words that the help shows.
        others: Further words.
        metavar: For the help, if the words are too many.
    """

    takes_all = False

    def __init__(self, names: dict[str, Any], others: Iterable[tuple[str, Any]], metavar: str) -> None:
        self.noun = f"one of {', '.join(names)}"
        shown = f"{{{','.join(names)}}}"
        self.metavar = shown if len(shown) <= _LONGEST_METAVAR else metavar
        self._words = dict([*others, *names.items()])
        self._values = list(names.values())

    def from_word(self, word: str) -> Any:
        if word in self._words:
            return self._words[word]
        near = {id(value): value for name, value in self._words.items() if name.casefold() == word.casefold()}
        if len(near) == 1:
            return next(iter(near.values()))
        raise self.refusal(word)

    def from_json(self, value: Any) -> Any:
        for choice in self._values:
            plain = choice.value if isinstance(choice, enum.Enum) else choice
            if type(plain) is type(value) and plain == value:
                return choice
        return super().from_json(value)


class Union(Conversion):
    """One of several. Each is tried in the order of the annotation, those that take every word after the others.

    Args:
        members: The several, without None.
        or_none: Whether None is one of them.

    Attributes:
        is_truth: Whether it is ``bool | None``.
    """

    def __init__(self, members: Sequence[Conversion], or_none: bool) -> None:
        self._members = sorted(members, key=lambda member: member.takes_all)
        self._or_none = or_none
        self.is_truth = [type(member) for member in members] == [Truth]
        self.repeated = any(member.repeated for member in members)
        self.takes_all = any(member.takes_all for member in members)
        nouns, metavars = [member.noun for member in members], [member.metavar for member in members]
        if or_none and not self.takes_all:
            nouns.append("none")
            metavars.append("none")
        self.noun = " or ".join(nouns)
        self.metavar = "|".join(metavars)

    def from_word(self, word: str) -> Any:
        return self._first(lambda member: member.from_word(word), word)

    def from_words(self, words: Sequence[str]) -> Any:
        return self._first(lambda member: member.from_words(words), words[-1])

    def from_json(self, value: Any) -> Any:
        if value is None and self._or_none:
            return None
        return self._first(lambda member: member.from_json(value), value)

    def _first(self, convert: Callable[[Conversion], Any], value: Any) -> Any:
        problems: list[ConversionError] = []
        for member in self._members:
            try:
                return convert(member)
            except ConversionError as error:
                problems.append(error)
        if self._or_none and isinstance(value, str) and value.lower() in _NOTHING:
            return None
        raise problems[0] if len(problems) == 1 and not self._or_none else self.refusal(value)


class Several(Conversion):
    """A list, set or tuple: a JSON array, or an option that is given once for each element.

    Args:
        name: What the type is called.
        make: Makes a value of a list of elements.
        elements: How elements are converted; one for all, or one for each place.
        fixed: Whether there is one for each place.
    """

    repeated = True
    takes_all = False

    def __init__(
        self, name: str, make: Callable[[list[Any]], Any], elements: Sequence[Conversion], fixed: bool = False
    ) -> None:
        self._make = make
        self._elements = elements
        self._fixed = fixed
        of = f" of {len(elements)} values" if fixed else ""
        self.noun = f"a {name}{of} (give the option once for each, or a JSON array)"
        self.metavar = elements[0].metavar if elements and not fixed else "JSON"

    def from_word(self, word: str) -> Any:
        return self.from_words([word])

    def from_words(self, words: Sequence[str]) -> Any:
        if len(words) == 1 and words[0].lstrip().startswith("["):
            try:
                return self.from_json(json.loads(words[0]))
            except (json.JSONDecodeError, RecursionError) as error:
                if not all(element.takes_all for element in self._elements):
                    raise ConversionError(f"{words[0]!r} is not valid JSON: {error}") from None
        return self._build(words, lambda element, word: element.from_word(word))

    def from_json(self, value: Any) -> Any:
        if not isinstance(value, list):
            raise self.refusal(value)
        items = cast("list[object]", value)
        return self._build(items, lambda element, item: element.from_json(item))

    def _build(self, items: Sequence[Any], convert: Callable[[Conversion, Any], Any]) -> Any:
        if self._fixed and len(items) != len(self._elements):
            raise ConversionError(f"{len(items)} value{'s'[: len(items) != 1]} given, and it is {self.noun}")
        elements = self._elements if self._fixed else [*self._elements] * len(items)
        try:
            return self._make([convert(*pair) for pair in zip(elements, items, strict=True)])
        except TypeError as error:  # elements of a set that cannot be hashed
            raise self.refusal(items, error) from None


class Record(Conversion):
    """A dictionary, as a JSON object."""

    metavar = "JSON"
    noun = "a JSON object, such as '{\"name\": 1}'"
    takes_all = False

    def __init__(self, key: Conversion, value: Conversion, make: Callable[[dict[Any, Any]], Any] = dict) -> None:
        self._key = key
        self._value = value
        self._make = make

    def from_word(self, word: str) -> Any:
        try:
            found = json.loads(word)
        except (json.JSONDecodeError, RecursionError) as error:
            raise self.refusal(word, error) from None
        return self.from_json(found)

    def from_json(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise self.refusal(value)
        items = cast("dict[str, Any]", value)
        return self._make({self._key.from_word(key): self._value.from_json(item) for key, item in items.items()})
