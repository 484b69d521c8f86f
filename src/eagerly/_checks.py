"""How a contract checks what it promises: comparisons that explain themselves, threads, and processes to be killed.

Works under every test framework, and needs none.
"""

from __future__ import annotations

import os
import selectors
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

__all__ = ["Child", "check", "equal", "in_threads", "skip"]

PATIENCE: Final = 120.0
"""Seconds after which a child or a thread counts as hanging."""


def check(condition: bool, complaint: str) -> None:
    """Raise for a promise that is not kept. Unlike the statement, this is not lost under ``python -O``."""
    if not condition:
        raise AssertionError(complaint)


def equal(found: object, expected: object, what: str) -> None:
    """Check that `what` is as expected."""
    check(found == expected, f"{what} is {found!r}, and should be {expected!r}")


def skip(reason: str) -> NoReturn:
    """Say that a test does not apply, in the way that every framework understands."""
    from unittest import SkipTest

    raise SkipTest(reason)


def in_threads(work: Callable[[Any], object], each: Sequence[Any]) -> None:
    """Call ``work(one)`` for each one, all at the same time, and raise the first error."""
    errors: list[BaseException] = []
    together = threading.Barrier(len(each))

    def run(one: Any) -> None:
        try:
            together.wait(PATIENCE)
            work(one)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(one,), daemon=True) for one in each]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    if errors:
        raise errors[0]
    check(not any(thread.is_alive() for thread in threads), f"a thread has not ended after {PATIENCE} s")


class Child:
    """A forked process that runs `body`. POSIX only.

    Args:
        body: Called in the child with a function that tells the parent something has been reached.
    """

    def __init__(self, body: Callable[[Callable[[], None]], None]) -> None:
        self._answers, answer = os.pipe()
        self._over = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads; stores must bear them
            self.pid = os.fork()
        if self.pid == 0:
            _run_and_exit(body, answer)
        os.close(answer)

    def wait_until_told(self) -> None:
        """Wait until the child has told.

        Raises:
            AssertionError: It has ended without telling, or failed, with its traceback.
        """
        said = self._read(1)
        if said != b"!":
            self.join(said)
            raise AssertionError("the child process has ended without telling")

    def join(self, said: bytes = b"") -> None:
        """Wait until the child has ended.

        Raises:
            AssertionError: It has failed, with its traceback.
        """
        while more := self._read(4096):
            said += more
        _, status = os.waitpid(self.pid, 0)
        self._over = True
        check(status == 0, f"in the child process: {said.decode(errors='replace') or f'status {status}'}")

    def kill(self) -> None:
        """End the child at once, as ``kill -9`` does, if it has not ended."""
        if not self._over:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._over = True
        if self._answers >= 0:
            os.close(self._answers)
            self._answers = -1

    def _read(self, size: int) -> bytes:
        with selectors.DefaultSelector() as ready:  # select() knows only the first thousand open files
            ready.register(self._answers, selectors.EVENT_READ)
            answered = ready.select(PATIENCE)
        check(bool(answered), f"the child process has said nothing for {PATIENCE} s")
        return os.read(self._answers, size)


def _run_and_exit(body: Callable[[Callable[[], None]], None], answer: int) -> NoReturn:
    status = 1
    try:
        body(lambda: check(os.write(answer, b"!") == 1, "the parent cannot be told"))
        status = 0
    except BaseException:
        os.write(answer, traceback.format_exc().encode()[-4000:])
    finally:
        os._exit(status)
