"""`CommandParser`: the parser of ``argparse``, except that it ends the command and not the process."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from eagerly._options import nearest

__all__ = ["CommandEnd", "CommandParser"]


class CommandEnd(Exception):  # noqa: N818  # asking for help is no error
    """The parser has said all there is to say: the help (code 0), or what is wrong with the words (code 2).

    Not a `SystemExit`, which a workflow may raise for reasons of its own.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class CommandParser(argparse.ArgumentParser):
    """Takes options by their full names only: what is short for one parameter today may be short for two tomorrow."""

    def __init__(
        self, *, prog: str, usage: str | None = None, description: str | None = None, epilog: str | None = None
    ):
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            conflict_handler="resolve",  # a parameter may be called `help`; `-h` remains
        )

    def parse_known_args(  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Refuse what is not known here, and not above, where nobody would show how this action is used."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [name[2:] for name in self._option_string_actions if name.startswith("--")]
            near = next((name for word in unknown if (name := _nearest_option(word, options))), "")
            self.error(f"unrecognized arguments: {' '.join(unknown)}{f'; did you mean {near}?' if near else ''}")
        return found, unknown

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Write `message` on standard error and raise `CommandEnd`."""
        try:
            super().exit(status, message)
        except SystemExit:
            raise CommandEnd(status) from None


def _nearest_option(word: str, options: list[str]) -> str:
    """The option that was probably meant by `word`, or an empty string."""
    near = nearest(word[2:].partition("=")[0], options) if word.startswith("--") else None
    return f"--{near}" if near else ""
