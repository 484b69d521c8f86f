"""`Command`: a program and how it is started and ended. Nothing here starts one."""

from __future__ import annotations

import inspect
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias, cast

from eagerly._numbers import seconds
from eagerly._paths import absolute, path_text
from eagerly._settings import OF_RUNS
from eagerly.errors import CommandError, OptionTypeError, OptionValueError

__all__ = ["Arguments", "Command"]

Arguments: TypeAlias = "Iterable[str | os.PathLike[str]]"

OURS: Final = (*OF_RUNS, "EAGERLY_RUN_STORE")
GRACE: Final = 0.5


class Command:
    """A program that is run as a child process. Register it under a name with `eagerly.registry.register`.

    No shell has a part in it: each argument reaches the program as it is. The program finds the inputs of its run in
    the environment; a Python program with this library gets them, and the rest of its run, from `current_task()`.

    Args:
        argv: The program and its arguments; or a function that gives them, whose parameters are the inputs.
        cwd: The folder that it is started in. Default: that of this process.
        env: Variables to add to its environment; None removes one.
        stop_signal: What it is sent when it is to stop: ``"SIGTERM"``, or one of `signal.Signals`. None: nothing, for
            programs that ask ``current_task().should_stop()``.
        grace: Seconds from there until it is killed, if its run is cancelled.

    Raises:
        OptionTypeError, OptionValueError: An argument cannot work.

    Example:
        >>> from eagerly import Command, registry
        >>> greet = registry.register("greet", Command(lambda name: ["echo", "Hello", name]))
        >>> greet("Ada")
        'Hello Ada\\n'
    """

    __slots__ = ("_argv", "cwd", "env", "grace", "stop_signal")

    def __init__(
        self,
        argv: Arguments | Callable[..., Arguments],
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str | None] | None = None,
        stop_signal: str | signal.Signals | None = "SIGTERM",
        grace: float = GRACE,
    ) -> None:
        self._argv: Any = argv if callable(argv) else _checked("Command(argv)", argv)
        self.cwd: str | None = None
        if cwd is not None:
            folder = path_text("Command(cwd=...)", cwd, "leave it out for the folder of this process")
            if folder is None:
                raise OptionTypeError(f"Command(cwd=...) takes a path, not {cwd!r}")
            self.cwd = absolute(folder)
        self.env = _variables(env)
        self.stop_signal = None if stop_signal is None else _signal(stop_signal)
        self.grace = seconds("Command(grace=...)", grace)

    @property
    def argv(self) -> tuple[str, ...] | None:
        """The program and its arguments; None if a function gives them."""
        return None if callable(self._argv) else self._argv

    @property
    def signature(self) -> inspect.Signature:
        """The inputs that it takes: those of the function, or any."""
        if callable(self._argv):
            return inspect.signature(self._argv)
        return inspect.Signature([inspect.Parameter("inputs", inspect.Parameter.VAR_KEYWORD)])

    def _arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, ...]:
        """The program and its arguments for these inputs.

        Raises:
            OptionTypeError, OptionValueError: What the function gives cannot be arguments.
        """
        if callable(self._argv):
            return _checked(f"what {self._argv!r} returns", self._argv(*args, **kwargs))
        return self._argv  # type: ignore[no-any-return]  # a tuple

    def _environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """That of the program: of this process, with what was added, and `variables`."""
        found = {name: value for name, value in os.environ.items() if name not in OURS}
        for name, value in self.env.items():
            if value is None:
                found.pop(name, None)
            else:
                found[name] = value
        return {**found, **variables}

    def _program(self, name: str, environment: Mapping[str, str]) -> str:
        """The file that `name` means, where and how the program is started.

        Raises:
            CommandError: There is none that can be executed.
        """
        folder = self.cwd or os.curdir
        if not os.path.isdir(folder):
            raise CommandError(f"the program {name!r} cannot be started in {folder!r}, which is no folder")
        if os.sep in name:
            places, where = [""], "" if os.path.isabs(name) else f" in {os.path.abspath(folder)!r}"
        else:
            path = environment.get("PATH", os.defpath)
            places, where = path.split(os.pathsep), f" in PATH, which is {path!r}"
        found = [os.path.abspath(os.path.join(folder, place, name)) for place in places]
        for file in found:
            if os.path.isfile(file) and os.access(file, os.X_OK):
                return file
        for file in found:
            if os.path.isdir(file) and os.sep in name:
                raise CommandError(f"the program {name!r} cannot be started: {file!r} is a folder")
            if os.path.isfile(file):
                raise CommandError(
                    f"the program {name!r} cannot be started: {file!r} may not be executed; write chmod +x, or"
                    " Command([interpreter, file])"
                )
        raise CommandError(f"the program {name!r} cannot be started: there is none{where}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Command) and all(getattr(self, each) == getattr(other, each) for each in _COMPARED)

    __hash__ = None  # type: ignore[assignment]  # nobody needs it

    def __repr__(self) -> str:
        return f"Command({list(self._argv) if self.argv is not None else self._argv!r})"


_COMPARED: Final = Command.__slots__


def _checked(what: str, argv: object) -> tuple[str, ...]:
    """The program and its arguments as strings."""
    if isinstance(argv, str | bytes):
        import shlex

        shown = argv.decode(errors="replace") if isinstance(argv, bytes) else argv
        try:
            words = shlex.split(shown)
        except ValueError:
            words = [shown]
        raise OptionTypeError(f"{what} takes a list, as no shell splits it: write {words!r}, not {argv!r}")
    if not isinstance(argv, Iterable) or isinstance(argv, Mapping):
        raise OptionTypeError(f"{what} takes a list such as ['prog', 'arg'], not {argv!r}")
    found: list[str] = []
    given: Iterable[Any] = argv  # pyright: ignore[reportUnknownVariableType]  # of whatever
    for each in given:
        word: object = os.fspath(each) if isinstance(each, os.PathLike) else each  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]  # of str or bytes
        if not isinstance(word, str):
            raise OptionTypeError(f"{what} takes strings and paths, and {each!r} is neither; write {str(each)!r}")  # pyright: ignore[reportUnknownArgumentType]  # as above
        if "\0" in word:
            raise OptionValueError(f"{what}: {word!r} has a NUL character, which no argument can have")
        if not _has_bytes(word):
            raise OptionValueError(f"{what}: {word!r} has a character that no argument can have here")
        found.append(word)
    if not found or not found[0]:
        raise OptionValueError(f"{what} names no program; write ['prog', 'arg']")
    return tuple(found)


def _has_bytes(text: str) -> bool:
    """Whether a program can be given that."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def _variables(env: Mapping[str, str | None] | None) -> dict[str, str | None]:
    if env is None:
        return {}
    if not isinstance(env, Mapping):
        raise OptionTypeError(f"Command(env=...) takes a mapping, not {type(env).__name__}")
    for name, value in cast("Mapping[Any, Any]", env).items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name or not _has_bytes(name):
            raise OptionValueError(f"Command(env=...): {name!r} cannot be the name of a variable")
        if value is not None and not isinstance(value, str):
            raise OptionTypeError(f"Command(env={{{name!r}: ...}}) takes a string or None, not {type(value).__name__}")
        if value is not None and "\0" in value:
            raise OptionValueError(f"Command(env={{{name!r}: ...}}) has a NUL character, which no variable can have")
        if value is not None and not _has_bytes(value):
            raise OptionValueError(f"Command(env={{{name!r}: ...}}) has a character that no variable can have here")
        if name in OURS:
            raise OptionValueError(f"Command(env=...): {name} is set for each run; leave it out")
    return dict(env)


def _signal(value: object) -> signal.Signals:
    try:
        found = signal.Signals[value] if isinstance(value, str) else signal.Signals(value)  # type: ignore[arg-type]  # whatever it is
    except (KeyError, ValueError):
        raise OptionValueError(
            f"Command(stop_signal=...) takes the name of a signal such as 'SIGTERM', not {value!r}"
        ) from None
    if found.name in ("SIGSTOP", "SIGTSTP", "SIGCONT", "SIGCHLD"):
        raise OptionValueError(f"Command(stop_signal={found.name!r}) would not end it; write 'SIGTERM' or 'SIGINT'")
    return found
