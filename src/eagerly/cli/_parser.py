"""`CommandParser`: the parser of ``argparse``, except that it ends the command and not the process."""

from __future__ import annotations

import argparse
from typing import NoReturn

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

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Write `message` on standard error and raise `CommandEnd`."""
        try:
            super().exit(status, message)
        except SystemExit:
            raise CommandEnd(status) from None
