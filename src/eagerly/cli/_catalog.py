"""``eagerly list`` and ``eagerly describe``: what workflows there are, and what one of them does and takes."""

from __future__ import annotations

import inspect
import shutil
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

from eagerly import Workflow
from eagerly._callables import code_of
from eagerly.cli._arguments import parameter_parser
from eagerly.cli._loading import workflows_in
from eagerly.cli._parameter import parameters_of

__all__ = ["catalog", "description"]


def catalog(module: ModuleType) -> str:
    """One line per workflow of `module`: its name and the first line of its description."""
    rows = [(workflow.name, _first_line(workflow)) for workflow in workflows_in(module).values()]
    width = max((len(name) for name, _ in rows), default=0)
    room = max(shutil.get_terminal_size().columns - width - 2, 20)
    return "".join(
        f"{name:<{width}}  {textwrap.shorten(text, room, placeholder='...')}".rstrip() + "\n" for name, text in rows
    )


def description(workflow: Workflow[..., Any], target: str) -> str:
    """What `workflow` is and where it stands, and the help that ``eagerly run`` shows for it."""
    kind = "an async workflow" if workflow.is_async else "a workflow"
    head = f"{workflow.name}, {kind} of {workflow.__module__}{_place_of(workflow)}\n\n"
    return head + parameter_parser(workflow, target, parameters_of(workflow)).format_help()


def _first_line(workflow: Workflow[..., Any]) -> str:
    return workflow.description.strip().partition("\n")[0]


def _place_of(workflow: Workflow[..., Any]) -> str:
    try:
        code = code_of(inspect.unwrap(workflow.func))
    except AttributeError:  # a builtin
        return ""
    path = Path(code.co_filename)
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f" ({path}, line {code.co_firstlineno})"
