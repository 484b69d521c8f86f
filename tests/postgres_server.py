"""PostgreSQL for tests: a schema of its own for each, on the server of this machine; or a server of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

URL = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/test")


@contextlib.contextmanager
def fresh_schema() -> Iterator[tuple[str, str]]:
    """The URL, and the name of a schema that does not exist yet and is gone afterwards; skips without a server."""
    psycopg = pytest.importorskip("psycopg")
    schema = f"test_{uuid.uuid4().hex[:16]}"
    try:
        connection = psycopg.connect(URL, autocommit=True, connect_timeout=3)
    except psycopg.OperationalError as error:
        pytest.skip(f"there is no PostgreSQL server at {URL}: {error}")
    with connection:
        yield URL, schema
    with psycopg.connect(URL, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


class Server:
    """A PostgreSQL server that nobody else uses, and that may be ended at any moment.

    Args:
        folder: Where its files and its socket are; nobody can reach it over a network.
    """

    def __init__(self, folder: Path) -> None:
        self.url = f"postgresql://postgres@/postgres?host={folder}"
        self._folder = folder
        self._data = folder / "data"
        # A server refuses to run as root.
        self._as = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        if self._as:
            shutil.chown(folder, "nobody", "nogroup")
        self._run("initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C")

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        options = f"-k {self._folder} -c listen_addresses='' -c max_connections=50 -c shared_buffers=16MB"
        self._run("pg_ctl", "-w", "-l", str(self._folder / "log"), "-o", options, "start")

    def crash(self) -> None:
        """End it as a crash does: it recovers from its log when it is started again."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def restart(self) -> None:
        """Have it run, whether it does or not."""
        if (self._data / "postmaster.pid").exists():
            self.crash()
        self.start()

    def _run(self, program: str, *words: str) -> None:
        command = [*self._as, program, "-D", str(self._data), *words]
        done = subprocess.run(
            command, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=120, check=False
        )
        assert done.returncode == 0, command


@contextlib.contextmanager
def own_server() -> Iterator[Server]:
    """A server of its own, which runs; skips where none can be made."""
    pytest.importorskip("psycopg")
    missing = [name for name in ("initdb", "pg_ctl") if shutil.which(name) is None]
    if missing or (os.geteuid() == 0 and shutil.which("setpriv") is None):
        pytest.skip("PostgreSQL is not installed here, or cannot be run as another user")
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        server = Server(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.crash()
