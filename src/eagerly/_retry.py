"""When to try again, and after how long. Arithmetic only: nothing here sleeps, logs or calls the task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self, TypeAlias

from eagerly._numbers import count, seconds
from eagerly._options import refuse_unknown
from eagerly.errors import OptionTypeError, OptionValueError

__all__ = ["Retry", "RetryOn"]

RetryOn: TypeAlias = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], "bool | float | timedelta"]


@dataclass(frozen=True, slots=True)
class Retry:
    """What to do when an attempt fails: how often to try again, on which errors, and how long to wait.

    The wait before attempt ``k + 1`` is ``min(max_delay, delay * backoff ** (k - 1))``, of which the fraction `jitter`
    is drawn at random, so that many clients that failed together do not come back together ("Exponential Backoff
    And Jitter", AWS Architecture Blog, 2015: ``jitter=1`` is its *full* jitter, ``0.5`` its *equal* jitter).

    Args:
        retries: How many attempts may follow the first. At most ``1 + retries`` attempts are made.
        delay: Seconds before the first retry, or a `timedelta`. 0: at once.
        backoff: Factor by which the delay grows from one retry to the next, at least 1.
        max_delay: Upper bound of one delay, in seconds or as a `timedelta`.
        jitter: Fraction of each delay that is random, 0..1: the wait is uniform in ``[(1 - jitter) * d, d]``.
        on: Which errors are worth another attempt: an exception type, a tuple of them, or a function from the error
            to a bool or to the delay to use (seconds or `timedelta`), such as the value of a Retry-After header.
            A delay given that way is used as it is, without jitter and without `max_delay`.
        max_elapsed: No retry starts later than this many seconds (or `timedelta`) after the first attempt started.

    Raises:
        OptionTypeError: An argument has the wrong type (also a `TypeError`).
        OptionValueError: An argument is negative, NaN, infinite or empty (also a `ValueError`).

    Example:
        >>> Retry(3, delay=1, jitter=0).delay_after(2, OSError(), elapsed=0.0)
        2.0
    """

    retries: int = 3
    delay: float | timedelta = 0.0
    backoff: float = 2.0
    max_delay: float | timedelta = 60.0
    jitter: float = 0.25
    on: RetryOn = Exception
    max_elapsed: float | timedelta | None = None

    def __new__(cls, *_: object, **options: object) -> Self:
        refuse_unknown("Retry", options.keys() - FIELDS.keys(), FIELDS)
        return object.__new__(cls)

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        put("retries", count("Retry(retries=...)", self.retries))
        put("delay", seconds("Retry(delay=...)", self.delay))
        put("max_delay", seconds("Retry(max_delay=...)", self.max_delay))
        put("backoff", seconds("Retry(backoff=...)", self.backoff, unit="a factor"))
        put("jitter", seconds("Retry(jitter=...)", self.jitter, unit="a fraction"))
        if self.backoff < 1:
            raise OptionValueError(
                f"Retry(backoff=...) must be at least 1, not {self.backoff!r}: delays do not shrink. Write "
                "backoff=1 for a constant delay"
            )
        if self.jitter > 1:
            raise OptionValueError(
                f"Retry(jitter=...) is the random fraction of a delay, from 0 to 1, not {self.jitter!r}"
            )
        if self.max_elapsed is not None:
            put("max_elapsed", seconds("Retry(max_elapsed=...)", self.max_elapsed, positive=True))
        _check_on(self.on)

    def delay_after(self, attempt: int, error: Exception, *, elapsed: float) -> float | None:
        """How long to wait before the next attempt, or None when this failure is final.

        Args:
            attempt: The number of the attempt that failed; the first is 1.
            error: What it raised.
            elapsed: Seconds since the first attempt started.

        Raises:
            OptionTypeError: `on` is a function and returned something that is neither a bool nor a delay.
            OptionValueError: `on` is a function and returned a negative or non-finite delay.
        """
        if attempt > self.retries:
            return None
        wait = self._wanted(error)
        if wait is None:
            wait = self._backed_off(attempt)
        elif wait is False:
            return None
        if self.max_elapsed is not None and elapsed + wait > _plain(self.max_elapsed):
            return None
        return wait

    def _wanted(self, error: Exception) -> float | bool | None:
        """False: do not retry. None: retry after the usual delay. A number: after that many seconds."""
        if isinstance(self.on, type | tuple):
            return None if isinstance(error, self.on) else False  # pyright: ignore[reportUnknownMemberType]  # of type `type`
        answer = self.on(error)
        if isinstance(answer, bool):
            return None if answer else False
        return seconds("the function in Retry(on=...) must return a bool or a delay; it", answer)

    def _backed_off(self, attempt: int) -> float:
        if not self.delay:
            return 0.0
        longest = _plain(self.max_delay)
        try:
            wait = min(_plain(self.delay) * self.backoff ** (attempt - 1), longest)
        except OverflowError:
            wait = longest
        if self.jitter and wait:
            import random

            wait -= random.random() * self.jitter * wait
        return wait


def _plain(delay: float | timedelta) -> float:
    """For the type checker: a Retry that exists holds its durations in seconds."""
    assert not isinstance(delay, timedelta)
    return delay


FIELDS: Final = Retry.__dataclass_fields__


def retry_from(option: str, value: object) -> Retry | None:
    """The `Retry` that ``retries=value`` asks for; None when there is nothing to retry."""
    if isinstance(value, Retry):
        return value if value.retries else None
    if value is Retry:
        raise OptionTypeError(f"{option} got the class Retry itself; write retries=Retry(3, delay=1.0)")
    retries = count(option, value, alternative="an int or a Retry")
    return Retry(retries) if retries else None


def _check_on(on: object) -> None:
    if isinstance(on, type):
        types: tuple[object, ...] = (on,)
    elif isinstance(on, tuple):
        types = on  # pyright: ignore[reportUnknownVariableType]  # a tuple of whatever: checked below
    elif callable(on):
        return
    else:
        hint = "; write a tuple" if isinstance(on, list | set) else ""
        hint = f"; write on={type(on).__name__}" if isinstance(on, BaseException) else hint
        raise OptionTypeError(
            f"Retry(on=...) takes an exception type, a tuple of them or a function of the error, not {on!r}{hint}"
        )
    if not types:
        raise OptionValueError("Retry(on=()) would never retry; leave `on` out to retry on every Exception")
    for item in types:
        if not (isinstance(item, type) and issubclass(item, BaseException)):
            raise OptionTypeError(f"Retry(on=...) takes exception types, and {item!r} is not one")
        if not issubclass(item, Exception):
            raise OptionTypeError(
                f"Retry(on={item.__name__}) cannot work: {item.__name__} ends a program or a task and is never "
                "retried; use Exception or one of its subclasses"
            )
