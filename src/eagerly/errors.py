"""Every error and warning that eagerly raises on its own account.

Each derives from `EagerlyError` *and* from the builtin that fits, so that ``except ValueError`` goes on working.
What the user's function raises is never wrapped unless ``wrap_errors=True`` asks for `TaskError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eagerly._metadata import TaskMetadata

__all__ = [
    "CacheError",
    "CacheRecursionError",
    "CorruptEntryError",
    "DatasetError",
    "DatasetFormatError",
    "DatasetKeyError",
    "DatasetNotFoundError",
    "EagerlyError",
    "EagerlyWarning",
    "MissingExtraError",
    "OptionTypeError",
    "OptionValueError",
    "PluginError",
    "SessionError",
    "SettingsError",
    "StopRequested",
    "TaskError",
    "TaskTimeoutError",
    "UnkeyableArgument",
    "UntrustedEntryError",
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
