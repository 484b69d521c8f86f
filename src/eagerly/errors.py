"""Every error and warning that eagerly raises on its own account.

Each derives from `EagerlyError` *and* from the builtin that fits, so that ``except ValueError`` goes on working.
What the user's function raises is never wrapped unless ``wrap_errors=True`` asks for `TaskError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eagerly._metadata import TaskMetadata

__all__ = [
    "EagerlyError",
    "EagerlyWarning",
    "OptionTypeError",
    "OptionValueError",
    "PluginError",
    "SessionError",
    "SettingsError",
    "StopRequested",
    "TaskError",
    "TaskTimeoutError",
    "WorkflowNotFoundError",
]


class EagerlyError(Exception):
    """Base of all errors of this library."""


class OptionTypeError(EagerlyError, TypeError):
    """An argument of `task`, `workflow`, `session` or `Retry` has the wrong type."""


class OptionValueError(EagerlyError, ValueError):
    """An argument of `task`, `workflow`, `session` or `Retry` has a value that cannot work."""


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


class StopRequested(BaseException):
    """Raised *inside* a task's body to end it: its timeout has passed and the caller is gone.

    A `BaseException`, like `KeyboardInterrupt`, so that ``except Exception`` in the body does not keep it alive.
    """


class EagerlyWarning(UserWarning):
    """Something works, but almost certainly not as meant."""


def _rebuild(cls: type[EagerlyError], message: str, state: dict[str, object]) -> EagerlyError:
    error = cls.__new__(cls, message)
    error.args = (message,)
    vars(error).update(state)
    return error
