"""``eagerly run``: calling the workflow, printing its result, showing its failure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from eagerly import Workflow
from eagerly.cli._arguments import read_arguments
from eagerly.cli._result import write_result
from eagerly.cli._traceback import in_user_code, user_traceback
from eagerly.errors import PluginError, SettingsError

__all__ = ["run_workflow"]


def run_workflow(workflow: Workflow[..., Any], target: str, words: Sequence[str]) -> int:
    """Call `workflow` with what `words` say and print what it returns.

    Args:
        workflow: What to call.
        target: How the user named it.
        words: What the user wrote after that.

    Returns:
        The exit code: 0, or 1 if the workflow failed.

    Raises:
        CommandEnd: The help was asked for and shown, or something is wrong with the words and was told.
        SettingsError, PluginError: The session of the workflow cannot be opened.
    """
    arguments = read_arguments(workflow, target, words)
    try:
        result = _call(workflow, arguments.args, arguments.kwargs)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        session_failed = isinstance(error, SettingsError | PluginError) and not in_user_code(error)
        if session_failed or (isinstance(error, BrokenPipeError) and _stdout_is_closed()):
            raise
        sys.stderr.write(user_traceback(error))
        return 1
    write_result(result)
    return 0


def _call(workflow: Workflow[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not workflow.is_async:
        return workflow(*args, **kwargs)
    import asyncio

    return asyncio.run(workflow(*args, **kwargs))


def _stdout_is_closed() -> bool:
    """Whether a `BrokenPipeError` was about what the workflow printed, not about a connection of its own.

    Flushing again does not tell, as what could not be written is gone from the buffers.
    """
    import select

    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return bool(poll.poll(0))  # only errors are reported, as nothing else was asked for
    except (AttributeError, OSError, ValueError):  # not on this platform; stdout is no file
        return False
