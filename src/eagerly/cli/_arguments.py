"""The arguments of a workflow, read from the words of a command line: ``--city Oslo --days 3 --verbose``.

``argparse`` shows the help and reports what is wrong. It does not read the words: here a value may start with a dash, a
flag may be followed by its value, and ``**kwargs`` take any name.
"""

from __future__ import annotations

import inspect
import shutil
import textwrap
from collections.abc import Collection, Sequence
from typing import Any, NoReturn

from eagerly import Task, Workflow
from eagerly._options import nearest
from eagerly.cli._conversion import TRUTH, ConversionError
from eagerly.cli._docstring import parse_docstring
from eagerly.cli._parameter import Parameter, parameters_of
from eagerly.cli._parser import CommandParser

__all__ = ["parameter_parser", "read_arguments"]


def read_arguments(
    workflow: Workflow[..., Any] | Task[..., Any],
    target: str,
    words: Sequence[str],
    command: str = "run",
    unneeded: Collection[str] = (),
) -> inspect.BoundArguments:
    """What to call `workflow` with.

    Args:
        workflow: Whose parameters the words are about.
        target: How the user named it.
        words: What the user wrote after that.
        command: What stood before that.
        unneeded: Parameters whose values do not matter; they are None, unless given.

    Raises:
        CommandEnd: The help was asked for and shown, or something is wrong and was told.
    """
    return _Reader(workflow, target, command, unneeded).read(words)


def parameter_parser(
    workflow: Workflow[..., Any] | Task[..., Any], target: str, parameters: Sequence[Parameter], command: str = "run"
) -> CommandParser:
    """A parser that shows the help of `workflow`."""
    usable = [parameter for parameter in parameters if not parameter.problem or parameter.required]
    parts = [f"eagerly {command}", target]
    parts += [f"{each.option} {each.conversion.metavar}" for each in usable if each.required and not each.by_place]
    parts += ["[options]"] if any(not each.required and not each.by_place for each in usable) else []
    parts += [_place(each) for each in usable if each.by_place]
    parser = CommandParser(
        prog=f"eagerly {command} {target}",
        usage=" ".join(parts).replace("%", "%%"),
        description=_paragraphs(parse_docstring(workflow.description).text),
    )
    group = parser.add_argument_group("parameters") if parameters else parser
    for each in parameters:
        text = each.help.replace("%", "%%")
        if each.by_place:
            group.add_argument(each.name, metavar=_place(each), nargs="?", help=text)
        elif each.kind is inspect.Parameter.VAR_KEYWORD:
            group.add_argument("--NAME", metavar=each.conversion.metavar, help=text or "any other name")
        elif each.is_flag:
            group.add_argument(each.option, f"--no-{each.option[2:]}", action="store_true", help=text)
        else:
            group.add_argument(each.option, metavar=each.conversion.metavar, help=text)
    return parser


class _Reader:
    """Reads words into the arguments of one workflow."""

    def __init__(
        self, workflow: Workflow[..., Any] | Task[..., Any], target: str, command: str, unneeded: Collection[str]
    ) -> None:
        self._signature = workflow.signature
        self._parameters = parameters_of(workflow)
        for each in self._parameters:
            if each.name in unneeded and each.required:
                each.default = None
        self._parser = parameter_parser(workflow, target, self._parameters, command)
        self._options: dict[str, tuple[Parameter, str]] = {}
        self._by_place = [each for each in self._parameters if each.by_place]
        self._others = None
        for each in self._parameters:
            if each.kind is inspect.Parameter.VAR_KEYWORD:
                self._others = each
            elif not each.by_place:
                self._options[each.option] = each, ""
        for each, _ in list(self._options.values()):  # further spellings, where they are free
            self._options.setdefault(f"--{each.name}", (each, ""))
            if each.is_flag:
                self._options.setdefault(f"--no-{each.option[2:]}", (each, "false"))
        self._given: dict[str, list[str]] = {}
        self._given_by_place: list[str] = []
        self._given_to_others: dict[str, str] = {}

    def read(self, words: Sequence[str]) -> inspect.BoundArguments:
        """See `read_arguments`."""
        self._sort(list(words))
        self._put_in_places()
        missing = [each for each in self._parameters if each.required and each.name not in self._given]
        for each in missing:
            if each.problem:
                self._parser.error(f"parameter {each.name!r} is required, and cannot be given here: {each.problem}")
        if missing:
            names = ", ".join(each.name if each.by_place else each.option for each in missing)
            self._parser.error(f"required and not given: {names}")
        arguments = self._signature.bind_partial()
        for each in self._parameters:
            if each.kind is inspect.Parameter.VAR_KEYWORD:
                others = self._given_to_others.items()
                arguments.arguments[each.name] = {
                    name: self._converted(each, [word], f"--{name}") for name, word in others
                }
            elif each.kind is inspect.Parameter.VAR_POSITIONAL:
                words = self._given.get(each.name, ())
                arguments.arguments[each.name] = tuple(self._converted(each, [word]) for word in words)
            elif each.name in self._given:
                arguments.arguments[each.name] = self._converted(each, self._given[each.name])
            else:
                arguments.arguments[each.name] = each.default
        return arguments

    def _sort(self, words: list[str]) -> None:
        """Put each word where it belongs: to an option, or among those that are told by their place."""
        words.reverse()  # to take them from the end
        while words:
            word = words.pop()
            option, equals, value = word.partition("=")
            if word == "--":
                self._given_by_place += reversed(words)
                return
            if word == "-h" or (word == "--help" and "--help" not in self._options):
                self._parser.print_help()
                self._parser.exit()
            if not word.startswith("--") or " " in option:
                self._given_by_place.append(word)
            else:
                self._take(option, value if equals else None, words)

    def _take(self, option: str, value: str | None, words: list[str]) -> None:
        """Take in one option; its value is `value`, or else the next of `words`, which are in reverse."""
        parameter, implied = self._options.get(option, (None, ""))
        if parameter is not None and implied:
            if value is not None:
                self._parser.error(f"argument {option}: takes no value; write {parameter.option}={value}")
            value = implied
        elif parameter is not None and parameter.is_flag and value is None:
            value = words.pop() if words and self._is_of_flag(words[-1]) else "true"
        elif parameter is None and self._others is None:
            self._refuse(option)
        elif value is None:
            if not words or words[-1].startswith("--"):
                self._parser.error(
                    f"argument {option}: expected a value; one that starts with -- is written {option}=--..."
                )
            value = words.pop()
        assert value is not None
        if parameter is None:
            self._given_to_others[option[2:].replace("-", "_")] = value
        else:
            self._given.setdefault(parameter.name, []).append(value)

    def _is_of_flag(self, word: str) -> bool:
        """Whether the word behind a flag is its value: true, false, nothing, or one that fits nowhere else."""
        return word.lower() in (*TRUTH, "none", "null") or not (word.startswith("-") or self._by_place)

    def _refuse(self, option: str) -> NoReturn:
        known = [name for name, (each, _) in self._options.items() if name == each.option and not each.problem]
        near = nearest(option, known)
        hint = f"did you mean {near}?" if near else f"there are {', '.join(known)}" if known else "it takes none"
        self._parser.error(f"there is no parameter {option}; {hint}")

    def _put_in_places(self) -> None:
        words = self._given_by_place
        for each in self._by_place:
            if each.many:
                self._given[each.name], words = words, []
            elif words:
                self._given[each.name], words = words[:1], words[1:]
        if words:
            named = next((each.option for each in self._parameters if not each.by_place and not each.many), "")
            hint = f"; parameters are given by name, as in {named} {words[0]}" if named else ""
            self._parser.error(f"{words[0]!r} belongs to no parameter{hint}")

    def _converted(self, parameter: Parameter, words: list[str], name: str = "") -> Any:
        name = name or (parameter.name if parameter.by_place else parameter.option)
        if parameter.problem:
            self._parser.error(f"argument {name}: cannot be given here: {parameter.problem}")
        try:
            return parameter.conversion.from_words(words)
        except ConversionError as error:
            self._parser.error(f"argument {name}: {error}")


def _place(parameter: Parameter) -> str:
    name = parameter.name.upper()
    if parameter.many:
        return f"[{name} ...]"
    return name if parameter.required else f"[{name}]"


def _paragraphs(text: str) -> str:
    """`text` filled to the width of the terminal, except for what is indented and so has a layout of its own."""
    width = shutil.get_terminal_size().columns - 2
    paragraphs = text.split("\n\n")
    return "\n\n".join(
        part
        if any(line.startswith((" ", ">>>", "-", "*")) for line in part.splitlines())
        else textwrap.fill(part, width)
        for part in paragraphs
    )
