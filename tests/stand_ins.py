"""Servers for tests: a Redis and an S3 of their own, on free ports of this machine, to be killed and started again."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fsspec
import pytest

from eagerly import session, task
from eagerly.errors import EagerlyWarning
from eagerly.testing import RecordingHooks

__all__ = ["RedisServer", "S3Server", "use_during_an_outage"]

PATIENCE = 60.0


class _Server:
    """A server process on a port that was free a moment ago."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log, cwd=self.directory)
        deadline = time.monotonic() + PATIENCE
        while not self.answers():
            assert self._process.poll() is None, (self.directory / "server.log").read_text()
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class RedisServer(_Server):
    password = "a pass/word@with:signs"

    @property
    def url(self) -> str:
        return f"redis://:{quote(self.password, safe='')}@127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        options = {"port": self.port, "bind": "127.0.0.1", "requirepass": self.password, "save": "", "appendonly": "no"}
        return ["redis-server", *(part for name, value in options.items() for part in (f"--{name}", str(value)))]

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


class S3Server(_Server):
    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def options(self) -> dict[str, Any]:
        """For ``storage_options``."""
        return {"key": "test", "secret": "test", "endpoint_url": self.url}

    def command(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/moto-api/", timeout=5):
                return True
        except OSError:
            return False

    def make_bucket(self, name: str) -> str:
        fsspec.filesystem("s3", skip_instance_cache=True, **self.options).mkdir(name)
        return name


def use_during_an_outage(store: Any, server: _Server, start: Callable[[], object], *, is_async: bool) -> None:
    """While the server is away tasks miss, with one warning; when it is back they hit again, in the same session."""
    ran: list[int] = []

    def plain(x: int) -> int:
        ran.append(x)
        return x

    async def coroutine(x: int) -> int:
        return plain(x)

    made: Any = task(coroutine if is_async else plain, name="work", cache=True)

    def call(x: int) -> Any:
        return asyncio.run(made(x)) if is_async else made(x)

    hooks = RecordingHooks()
    with session(cache_store=store, plugins=[hooks]):
        assert [call(1), call(1)] == [1, 1]
        assert ran == [1]
        assert "on_cache_error" not in hooks.names()
        server.kill()
        with pytest.warns(EagerlyWarning, match="cache") as told:
            assert [call(1), call(2), call(1)] == [1, 2, 1]
        assert (len(told), ran) == (1, [1, 1, 2, 1])
        assert hooks.names().count("on_cache_error") >= 3
        start()
        deadline = time.monotonic() + 60
        while True:
            before = len(ran)
            assert call(3) == 3
            if len(ran) == before:  # a hit
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
