"""Every error and warning that eagerly raises on its own account.

Each derives from `EagerlyError` *and* from the builtin that fits, so that ``except ValueError`` goes on working.
What the user's function raises is never wrapped unless ``wrap_errors=True`` asks for `TaskError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eagerly._metadata import TaskMetadata

__all__ = [
    "AmbiguousName",
    "BackendError",
    "CacheError",
    "CacheRecursionError",
    "CommandError",
    "CommandFailed",
    "CorruptEntryError",
    "DatasetError",
    "DatasetFormatError",
    "DatasetKeyError",
    "DatasetNotFoundError",
    "EagerlyError",
    "EagerlyWarning",
    "InvalidCursor",
    "InvalidTransition",
    "MissingExtraError",
    "OptionTypeError",
    "OptionValueError",
    "OutputCorrupt",
    "OutputMissing",
    "OutputNotSerializable",
    "PluginError",
    "RemoteError",
    "RunCancelled",
    "RunFailed",
    "RunLost",
    "RunNotFound",
    "RunTimeout",
    "RunsError",
    "SessionError",
    "SettingsError",
    "StopRequested",
    "TaskError",
    "TaskNotFound",
    "TaskTimeoutError",
    "UnkeyableArgument",
    "UntrustedEntryError",
    "WorkerCrashed",
    "WorkflowNotFoundError",
]


class EagerlyError(Exception):
    """Base of all errors of this library."""


class OptionTypeError(EagerlyError, TypeError):
    """An argument of this library, such as one of `task` or of a store, has the wrong type."""


class OptionValueError(EagerlyError, ValueError):
    """An argument of this library, such as one of `task` or of a store, has a value that cannot work."""


class PluginError(EagerlyError, TypeError):
    """An object that was registered as a plugin cannot be one; the message names plugin and hook."""


class SessionError(EagerlyError, RuntimeError):
    """A session was used in a way it cannot be: entered twice, left without having been entered."""


class SettingsError(EagerlyError, ValueError):
    """A setting is unknown or has a bad value; the message names where it was found."""


class WorkflowNotFoundError(EagerlyError, LookupError):
    """No workflow has the name that was asked for; the message lists those there are."""


class TaskError(EagerlyError, RuntimeError):
    """Raised instead of the user's exception where ``wrap_errors=True``; that exception is its ``__cause__``.

    Attributes:
        metadata: The facts about the call that failed.
        attempts: How often the function was started, at least 1.
        duration: Seconds from the first attempt to the final failure.
    """

    def __init__(self, message: str, *, metadata: TaskMetadata, attempts: int, duration: float) -> None:
        super().__init__(message)
        self.metadata = metadata
        self.attempts = attempts
        self.duration = duration

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), str(self), vars(self))


class TaskTimeoutError(EagerlyError, TimeoutError):
    """One attempt of a task took longer than its ``timeout``.

    Attributes:
        timeout: The limit in seconds.
        abandoned: True if the body had not ended when the caller was released. Its thread (sync) or its asyncio
            task (async) goes on until the body returns by itself; what it returns then is thrown away.
    """

    def __init__(self, message: str, *, timeout: float, abandoned: bool = False) -> None:
        super().__init__(message)
        self.timeout = timeout
        self.abandoned = abandoned

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), str(self), vars(self))


class MissingExtraError(EagerlyError, ImportError):
    """Something needs a package that is not installed; the message has the command that installs it."""


class CacheError(EagerlyError, RuntimeError):
    """A cache store could not do what it was asked to.

    Out of a task's call it never comes: there it is a miss. Only a `CacheRecursionError` does, which is a mistake in
    the tasks.
    """


class CorruptEntryError(CacheError):
    """A stored entry is not what was written: cut short, altered, of another format, or no entry at all."""


class UntrustedEntryError(CacheError):
    """A stored entry may have been written by somebody else, and is not unpickled; the message says why."""


class CacheRecursionError(CacheError, RecursionError):
    """Computing a cached result asked for that very result."""


class UnkeyableArgument(EagerlyError, TypeError):  # noqa: N818 - it names the thing at fault
    """An argument of a cached task cannot become part of a key; the message has its path and the ways out.

    Attributes:
        path: Where it was found, for example ``argument 'conn' -> .lock``.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), str(self), vars(self))


class DatasetError(EagerlyError, RuntimeError):
    """A dataset could not be saved or loaded.

    Attributes:
        key: The key of the dataset.
        result: What was to be saved, so that it is not lost; None if nothing was, or for a stream.
    """

    def __init__(self, message: str, *, key: str = "", result: Any = None) -> None:
        super().__init__(message)
        self.key = key
        self.result = result

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), str(self), vars(self))


class DatasetKeyError(DatasetError, ValueError):
    """A key cannot be one: it leads out of the store, or was written by another call of this session."""


class DatasetNotFoundError(DatasetError, FileNotFoundError):
    """There is no such dataset, or no such version of it; the message names the nearest that there are."""


class DatasetFormatError(DatasetError, TypeError):
    """A format does not exist or does not fit the value; the message lists what fits."""


class BackendError(EagerlyError, RuntimeError):
    """A backend does not exist, cannot be used here, or cannot do what was asked of it; the message lists what can."""


class WorkerCrashed(BackendError):  # noqa: N818 - it says what has happened
    """The worker that ran an item died: it exited, was killed, or ran out of memory.

    Attributes:
        index: Position of the item in the map, from 0.
        pid: The process, or None where the engine does not tell.
        exitcode: What it passed to `os._exit`, or None.
        signal: Number of the signal that ended it, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        index: int = -1,
        pid: int | None = None,
        exitcode: int | None = None,
        signal: int | None = None,
    ) -> None:
        super().__init__(message)
        self.index = index
        self.pid = pid
        self.exitcode = exitcode
        self.signal = signal

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), str(self), vars(self))


class RemoteError(BackendError):
    """Stands for an exception that was raised in a worker and cannot travel: pickle refuses it, or changes it.

    Attributes:
        type_name: Module and qualified name of its class.
        message: What it said.
        traceback: Its traceback in the worker, as text.
    """

    def __init__(self, message: str, *, type_name: str = "", traceback: str = "") -> None:
        super().__init__(f"{type_name}: {message}" if type_name else message)
        self.type_name = type_name
        self.message = message
        self.traceback = traceback

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), str(self), vars(self))


class RunsError(EagerlyError, RuntimeError):
    """Something about runs did not work: the base of the errors below, and what a run store in trouble raises.

    Attributes:
        run_id: The run that it is about; empty where it is about none.
    """

    def __init__(self, message: str, *, run_id: str = "") -> None:
        super().__init__(message)
        self.run_id = run_id

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), str(self), vars(self))


class RunNotFound(RunsError, LookupError):  # noqa: N818 - as the others below, it says what happened
    """There is no run with this id in the store."""


class AmbiguousName(RunsError, LookupError):  # noqa: N818
    """Several things have the name, or an id that begins like this; the message lists some."""


class TaskNotFound(RunsError, LookupError):  # noqa: N818
    """Nothing that this process knows has this name or id."""


class InvalidTransition(RunsError):  # noqa: N818
    """A run cannot become what it was told to become, or cannot be changed any more.

    Attributes:
        current: The status that it has.
        wanted: The status that it was to have; empty if something else was to be changed.
    """

    def __init__(self, message: str, *, run_id: str = "", current: str = "", wanted: str = "") -> None:
        super().__init__(message, run_id=run_id)
        self.current = current
        self.wanted = wanted


class InvalidCursor(RunsError, ValueError):  # noqa: N818
    """A cursor is none, or belongs to a listing with other filters or another order."""


class RunFailed(RunsError):  # noqa: N818
    """Raised for its result by a run that has failed. Where the exception itself is known, it is the ``__cause__``.

    Attributes:
        error_type: The name of the class of the exception, as in ``ValueError``.
        traceback: Its traceback as text, or empty.
    """

    def __init__(self, message: str, *, run_id: str = "", error_type: str = "", traceback: str = "") -> None:
        super().__init__(message, run_id=run_id)
        self.error_type = error_type
        self.traceback = traceback


class RunLost(RunFailed):
    """The process that ran it has ended without saying how the run did."""


class RunCancelled(RunsError):  # noqa: N818
    """Raised for its result by a run that was cancelled.

    Attributes:
        reason: As it was given, or None.
    """

    def __init__(self, message: str, *, run_id: str = "", reason: str | None = None) -> None:
        super().__init__(message, run_id=run_id)
        self.reason = reason


class RunTimeout(RunsError, TimeoutError):  # noqa: N818
    """A run has not ended in the time that the caller wanted to wait. The run goes on.

    Attributes:
        status: What it was last.
    """

    def __init__(self, message: str, *, run_id: str = "", status: str = "") -> None:
        super().__init__(message, run_id=run_id)
        self.status = status


class CommandError(EagerlyError, OSError):
    """The program of a command cannot be started: it is not there, is a folder, or may not be executed."""

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), str(self), vars(self))


class CommandFailed(CommandError):  # noqa: N818 - as the others above, it says what happened
    """The program of a command has ended with an exit code other than 0, or by a signal.

    Attributes:
        code: The exit code, or None.
        signal: The name of the signal, as in ``SIGKILL``, or None.
        stderr: The end of what it wrote to its standard error.
    """

    def __init__(self, message: str, *, code: int | None = None, signal: str | None = None, stderr: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.signal = signal
        self.stderr = stderr


class OutputMissing(RunsError, LookupError):  # noqa: N818
    """A run has no output, or the file that it is in has gone."""


class OutputCorrupt(RunsError):  # noqa: N818
    """A stored output is not what was written: cut short or altered."""


class OutputNotSerializable(RunsError, TypeError):  # noqa: N818
    """An output has something in it that JSON does not have; the message says where, and what to do.

    Attributes:
        path: Where it was found, for example ``output["rows"][3]``.
    """

    def __init__(self, message: str, *, run_id: str = "", path: str = "") -> None:
        super().__init__(message, run_id=run_id)
        self.path = path


class StopRequested(BaseException):
    """Raised *inside* a task's body to end it: its timeout has passed and the caller is gone.

    A `BaseException`, like `KeyboardInterrupt`, so that ``except Exception`` in the body does not keep it alive.
    """


class EagerlyWarning(UserWarning):
    """Something works, but almost certainly not as meant."""


def _rebuild(cls: type[EagerlyError], message: str, state: dict[str, object]) -> EagerlyError:
    builtin: Any = cls  # the one whose memory layout it has, and whose __new__ admits it
    while "__module__" in vars(builtin):
        builtin = builtin.__base__
    error: EagerlyError = builtin.__new__(cls, message)
    error.args = (message,)
    vars(error).update(state)
    return error
