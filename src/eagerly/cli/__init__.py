"""The command line ``eagerly``: which commands there are, and what the exit code of each ending is.

Only results go to standard output; everything that is said about them goes to standard error.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final

from eagerly import __version__
from eagerly.cli._cache import add_cache_commands, own_words, run_cache_command
from eagerly.cli._catalog import catalog, description
from eagerly.cli._config import settings_table
from eagerly.cli._datasets import add_dataset_commands, run_dataset_command
from eagerly.cli._loading import find_workflow, load_module, split_target
from eagerly.cli._parser import CommandEnd, CommandParser
from eagerly.cli._running import run_workflow
from eagerly.cli._runs import add_run_commands, run_run_command
from eagerly.cli._traceback import ModuleFailedError
from eagerly.errors import EagerlyError, WorkflowNotFoundError

__all__ = ["main"]

OK: Final = 0
FAILED: Final = 1
WRONG_USAGE: Final = 2
INTERRUPTED: Final = 130  # as a shell reports a program that SIGINT has ended
PIPE_CLOSED: Final = 141  # the same for SIGPIPE

EPILOG: Final = """\
exit codes:
  0    it worked
  1    the workflow failed, or its module cannot be imported: see the traceback
  2    the command cannot work as it was written: see what to write instead
  130  interrupted (Ctrl-C)
"""
RUN_EPILOG: Final = """\
`eagerly run MODULE:NAME --help` shows the parameters of a workflow.

values, by annotation:
  bool              --name, --no-name, or --name followed by true or false
  enum, Literal     by name or by value
  list, set, tuple  the option once for each element, or a JSON array
  dict              a JSON object
  X | None          none, where X does not take every word
  no annotation     the word as a string
A value that starts with two dashes is written --name=--value.
"""
MODULE: Final = "dotted name or path of a Python file; what is in the current folder can be imported"
WORKFLOW: Final = (
    "MODULE:NAME, as in flows.weather:report or flows/weather.py:report; the name may be left out where the module has "
    "one workflow"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: What stands after ``eagerly``. Default: the arguments of this process.

    Returns:
        The exit code. A `SystemExit` that a workflow raises passes through.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _obey(words)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return PIPE_CLOSED
    except OSError as error:  # a full disk: what a workflow raises does not come this far
        _forget_stdout()
        _complain(f"error: the output cannot be written: {error}")
        return FAILED
    except CommandEnd as end:
        return end.code
    except ModuleFailedError as error:
        sys.stderr.write(error.traceback)
        return FAILED
    except EagerlyError as error:
        _complain(f"error: {error}")
        return WRONG_USAGE
    return code


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="eagerly",
        description="Run functions that are marked with @workflow; look at what tasks have stored.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"eagerly {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")

    def command(name: str, summary: str, usage: str = "") -> CommandParser:
        return commands.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", usage=f"eagerly {name}{usage}"
        )

    command("list", "show the workflows of a module", " MODULE").add_argument("module", metavar="MODULE", help=MODULE)
    describe = command("describe", "show what a workflow does and takes", " MODULE:NAME")
    run = command("run", "run a workflow and print its result", " MODULE:NAME [--PARAMETER VALUE ...]")
    for each in (describe, run):
        each.add_argument("target", metavar="MODULE:NAME", help=WORKFLOW)
    run.epilog = RUN_EPILOG
    add_cache_commands(command("cache", "look into a cache, or clear it", " ACTION"))
    add_dataset_commands(command("datasets", "look at saved datasets", " ACTION"))
    add_run_commands(command("runs", "look at runs, wait for them, end them", " ACTION"))
    command("config", "show every setting and where its value comes from")
    command("demo", "run a small pipeline on real data that comes with the package")
    return parser


def _obey(words: list[str]) -> int:
    # What follows the target of `run` and `cache explain` is for the function, options that look like ours included.
    own = len(words)
    if words[:1] == ["run"]:
        own = 2
    elif words[:2] == ["cache", "explain"]:
        own = 2 + own_words(words[2:])
    of_target = words[own:]
    options = _parser().parse_args(words[:own])
    match options.command:
        case "list":
            return _list(options.module)
        case "describe":
            sys.stdout.write(description(find_workflow(options.target), options.target))
        case "run":
            return run_workflow(find_workflow(options.target), options.target, of_target)
        case "cache":
            return run_cache_command(options, of_target)
        case "datasets" | "runs":
            return {"datasets": run_dataset_command, "runs": run_run_command}[options.command](options)
        case "config":
            sys.stdout.write(settings_table())
        case "demo":
            # By name, as whoever runs a workflow should not wait for the demo to be imported.
            return int(importlib.import_module("eagerly.demo").main())
        case _:
            pass  # the parser knows no others
    return OK


def _list(target: str) -> int:
    module, name = split_target(target)
    if name:
        raise WorkflowNotFoundError(f"`list` takes a module; write `eagerly describe {target}` for one workflow")
    text = catalog(load_module(module))
    sys.stdout.write(text)
    if not text:
        _complain(f"there are no workflows in {module}; mark a function with @workflow")
    return OK


def _complain(message: str) -> None:
    sys.stderr.write(f"eagerly: {message}\n")


def _forget_stdout() -> None:
    """Nobody reads standard output any more; let the interpreter not find that out again when it flushes at exit."""
    with contextlib.suppress(OSError, ValueError):  # not every stdout has a file descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
