"""A process of its own for who would disturb the others."""

from __future__ import annotations

import os
import signal
import subprocess

__all__ = ["last_words", "run_apart"]


def run_apart(command: list[str], timeout: float) -> None:
    """Run `command`; if it takes too long, end it with everything it started, such as a server.

    Raises:
        subprocess.SubprocessError: It failed, or took longer than `timeout` seconds.
    """
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        _, stderr = process.communicate(timeout=timeout)
    except BaseException:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
        raise
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=stderr)


def last_words(error: BaseException) -> str:
    """Why it failed, in one line."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"took longer than {error.timeout:g} s"
    stderr = getattr(error, "stderr", None) or ""
    return str(stderr.strip().rpartition("\n")[2] or error)
