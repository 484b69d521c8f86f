"""What ``eagerly cache`` and ``eagerly datasets`` have in common: where a store is, and what to say of its troubles."""

from __future__ import annotations

import argparse
import contextlib
import sys
import warnings
from collections.abc import Generator
from typing import Any

from eagerly._cache_options import store_spec
from eagerly._options import nearest
from eagerly._paths import absolute
from eagerly.cli._parser import CommandParser
from eagerly.errors import EagerlyError, EagerlyWarning

__all__ = ["add_action", "nearest_task", "place_of", "reading", "say", "warnings_as_lines"]


def add_action(actions: Any, name: str, summary: str, usage: str) -> CommandParser:
    """Add an action to those of a command.

    Args:
        actions: What `add_subparsers` gave.
        name: Of the action.
        summary: What it does, beginning with a small letter.
        usage: What follows its name.
    """
    made: CommandParser = actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    made.usage = f"{made.prog} {usage}"
    return made


def place_of(options: argparse.Namespace, setting: str) -> str:
    """An absolute path or a URL: what ``--store`` says, or else `setting`.

    Raises:
        OptionValueError: ``--store`` is empty.
    """
    place = store_spec("--store", setting if options.store is None else options.store)
    assert isinstance(place, str)  # as it was one
    if place.startswith("memory://"):
        say(f"{place} is the memory of each process, so here it is empty")
    return absolute(place)


@contextlib.contextmanager
def reading(store: object, failed: type[EagerlyError]) -> Generator[None]:
    """Make what a library of the store raises a `failed`, as no error of writing the output is to be expected here."""
    try:
        yield
    except EagerlyError:
        raise
    except Exception as error:
        raise failed(f"{store!r} cannot be used: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def warnings_as_lines() -> Generator[None]:
    """Show our own warnings as what they are here: messages, not something about a line of code."""
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, EagerlyWarning):
                say(f"warning: {message}")
            else:
                usual(message, category, *where, **more)

        warnings.showwarning = show
        yield


def nearest_task(name: str, tasks: list[str]) -> str:
    """The task that was probably meant by `name`, also where that is only its end or written MODULE:NAME; or ``""``."""
    dotted = name.replace(".py:", ":").replace("/", ".").replace(":", ".").strip(".")
    ends = [each for each in tasks if f".{each}".endswith(f".{dotted}")]
    return ends[0] if ends else nearest(dotted, tasks) or ""


def say(message: str) -> None:
    """Tell people something that is no result."""
    sys.stderr.write(f"eagerly: {message}\n")
