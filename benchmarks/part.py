"""What the commands have in common that write a part of benchmarks/README.md: options, ends, processes of their own."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.apart import run_apart
from benchmarks.report import replace_generated

__all__ = ["Part", "wanted"]

PAGE = Path(__file__).with_name("README.md")


class Part:
    """A part of the page, and the command that writes it.

    Args:
        command: The word after ``python -m benchmarks``.
        about: What it is about, for the marker at its end.
        description: What the command says of itself.
    """

    def __init__(self, command: str, about: str, description: str | None) -> None:
        self.command = command
        self.begin = f"<!-- written by `python -m benchmarks {command}`: do not edit between the markers -->"
        self.end = f"<!-- end of the part about {about} -->"
        self._description = description

    def parser(self, keys: Sequence[str], who: str, names: Sequence[str]) -> argparse.ArgumentParser:
        """The options.

        Args:
            keys: What ``--only`` selects.
            who: What those are called who take part.
            names: Those that ``--without`` leaves out.
        """
        parser = argparse.ArgumentParser(prog=f"python -m benchmarks {self.command}", description=self._description)
        parser.add_argument("--quick", action="store_true", help="to see that it works, not to believe it")
        parser.add_argument("--only", action="append", default=[], metavar="ROW", choices=keys, help=", ".join(keys))
        parser.add_argument("--without", action="append", default=[], metavar=who.upper(), choices=names)
        parser.add_argument("--output", type=Path, metavar="FILE", help=f"where to write; default {PAGE.name}")
        parser.add_argument("--print", dest="output", action="store_const", const=None, help="print the tables instead")
        parser.add_argument("--apart", help=argparse.SUPPRESS)  # how the harness starts itself for one of them
        parser.set_defaults(output=PAGE)
        return parser

    def write(self, parts: Sequence[str], options: argparse.Namespace) -> None:
        """Put `parts` where the options say."""
        written = "\n\n".join(parts) + "\n"
        if options.output is None:
            print(written)
        else:
            replace_generated(options.output, written, self.begin, self.end)
            print(f"written to {options.output}")

    def apart(self, name: str, options: argparse.Namespace, timeout: float) -> Any:
        """What one of those who take part hands over with `hand_over`, from a process of its own.

        Raises:
            subprocess.SubprocessError: It failed, or took longer than `timeout` seconds.
        """
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "results.json"
            command = [sys.executable, "-m", "benchmarks", self.command, "--apart", name, "--output", str(output)]
            command += ["--quick"] * options.quick + [word for key in options.only for word in ("--only", key)]
            run_apart(command, timeout)
            return json.loads(output.read_text(encoding="utf-8"))

    @staticmethod
    def hand_over(found: Any, options: argparse.Namespace) -> None:
        """The other side of `apart`."""
        options.output.write_text(json.dumps(found), encoding="utf-8")


def wanted(key: str, options: argparse.Namespace) -> bool:
    """Whether that row is asked for."""
    return not options.only or key in options.only
