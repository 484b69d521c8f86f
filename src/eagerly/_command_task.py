"""`CommandTask`: a task whose body is a program. It starts the program, follows it, and ends it with its run."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Self

from eagerly._command_process import CommandProcess, Ended, Tail
from eagerly._command_row import row_for
from eagerly._declaration import Declaration
from eagerly._run_port import RunPort, run_around
from eagerly._scope import current_task
from eagerly._sentinel import UNSET
from eagerly._task import _put
from eagerly._tasks import SyncTask
from eagerly.errors import CommandError, CommandFailed, StopRequested
from eagerly.runs._payload import as_json

if TYPE_CHECKING:
    from eagerly._command import Command
    from eagerly._context import TaskContext
    from eagerly.runs._run import Run

__all__ = ["CommandTask", "command_task"]

STDERR: Final = 8 * 1024
STDOUT: Final = 64 * 1024
"""Bytes that are kept of what it writes: the last ones."""

SLICE: Final = 0.05
"""Seconds after which it is asked again whether the program is to stop, where nobody can wake it."""

LONGEST_LINE: Final = 300


class CommandTask(SyncTask[..., Any]):
    """A command that was registered under a name. Made by `eagerly.registry.register`.

    Calling it runs the program at once. `submit` runs it in the background, as for every task, in a thread of this
    process that waits for it. Both give what the program has said with ``current_task().set_output(...)``. If it has
    not said anything, they give what it has written to its standard output, of which the last 64 KiB are kept.

    Attributes:
        command: The `Command`.
    """

    __slots__ = ()

    stays_here = True

    def __init__(self, declaration: Declaration) -> None:
        super().__init__(declaration)
        _put(self, "bind", declaration.undecorated.inputs)

    @property
    def command(self) -> Command:
        return self.declaration.undecorated.command  # type: ignore[no-any-return]  # a Command

    def submit(self, /, *args: Any, **kwargs: Any) -> Run[Any]:
        """Start the program in the background, and get a handle on its run at once; see `Task.submit`.

        Raises:
            TypeError: The inputs are wrong.
            OutputNotSerializable: JSON does not have something that is in them.
            OptionTypeError, OptionValueError: What the function of the command gives cannot be arguments.
            CommandError: The program cannot be started.
            RunsError: The run store cannot be written to.
        """
        self.check(*args, **kwargs)
        self.declaration.undecorated.verify(args, kwargs)
        return super().submit(*args, **kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Self:
        return self


class _Body:
    """What a `CommandTask` calls.

    Args:
        name: Of the task.
        command: What is started.
        module: Where it was registered.
    """

    def __init__(self, name: str, command: Command, module: str) -> None:
        self.name, self.command = name, command
        self.__name__ = self.__qualname__ = name
        self.__module__ = module
        self.__doc__ = f"Run {command!r}."
        self.__signature__ = command.signature

    def inputs(self, /, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The inputs by name, as the program finds them."""
        signature = self.command.signature
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        found: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            if signature.parameters[name].kind is signature.parameters[name].VAR_KEYWORD:
                found.update(value)
            else:
                found[name] = value
        return found

    def verify(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Refuse what cannot work, before anything is started."""
        as_json(self.inputs(*args, **kwargs), "inputs")
        argv = self.command._arguments(args, kwargs)
        self.command._program(argv[0], self.command._environment({}))

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        call = current_task()
        assert call is not None
        command = self.command
        argv = command._arguments(args, kwargs)
        port = run_around(call)
        item = call.outer._item
        own = item is not None and item.map.run is not None
        row = row_for(self.name, self.inputs(*args, **kwargs), port, own=own)
        stdout, stderr = Tail(STDOUT), Tail(STDERR)
        try:
            environment = command._environment(row.variables)
            program = command._program(argv[0], environment)
            process = CommandProcess(program, argv, environment, command.cwd, stdout=stdout, stderr=stderr)
            try:
                asked = _follow(process, command, call, port if own else None, row.ask)
                ended = process.ended()
            finally:
                process.close()
            if ended.code != 0:
                if asked or row.stopping:
                    raise StopRequested(f"{self.name!r} was asked to stop")
                raise self._failure(program, ended, stderr.text())
            output = row.output()
        finally:
            row.close()
        return stdout.text() if output is UNSET else output

    def _failure(self, program: str, ended: Ended, said: str) -> CommandError:
        what = f"command {self.name!r} ({os.path.basename(program)})"
        if ended.errno is not None:
            return CommandError(f"{what} cannot be started: {os.strerror(ended.errno)}: {program!r}")
        lines = said.split("\n") if not said.strip() else said.strip().splitlines()
        last = lines[-1].strip()
        why = f": {last if len(last) <= LONGEST_LINE else f'{last[: LONGEST_LINE - 3]}...'}" if last else ""
        if ended.signal is not None:
            name = _name_of(ended.signal)
            return CommandFailed(f"{what} was ended by {name}{why}", signal=name, stderr=said)
        return CommandFailed(f"{what} ended with exit code {ended.code}{why}", code=ended.code, stderr=said)


def _follow(
    process: CommandProcess, command: Command, call: TaskContext, port: RunPort | None, ask: Callable[[], object]
) -> bool:
    """Wait for its end, and bring it about when it is asked for; whether it was.

    Who is asked to stop may take its time. Where nobody waits any more, as the run has been cancelled or the call
    around it is to end, the program is killed after its grace time.
    """
    told = None if port is None else port.when_asked(process.wake)
    over: Any = getattr(port, "over", True)
    asked, killed = False, False
    limit: float | None = None
    try:
        while not process.wait(SLICE):
            if not call.should_stop():
                continue
            if not asked:
                asked = True
                if command.stop_signal is not None:
                    process.signal(command.stop_signal)
                ask()
            if limit is None and over:
                limit = time.monotonic() + command.grace
            if limit is not None and not killed and time.monotonic() >= limit:
                killed = True
                process.kill()
    finally:
        if told is not None:
            told()
    return asked


def _name_of(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def command_task(name: str, command: Command, module: str, options: dict[str, Any]) -> CommandTask:
    """The task of a command."""
    return CommandTask(Declaration(_Body(name, command, module), {**options, "name": name}))
