"""Our SQL is that of SQLite 3.34, with which Debian 11 came: nothing newer is used, also where no such library is."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eagerly.contracts import RunStoreContract
from eagerly.runs import SqliteRunStore
from eagerly.runs._schema import SQLITE, statements

NEWER = {
    r"\bRETURNING\b": "3.35",
    r"\bDROP\s+COLUMN\b": "3.35",
    r"\bMATERIALIZED\b": "3.35",
    r"\b(?:a?cos|a?sin|a?tan|ceil|ceiling|degrees|exp|floor|ln|log|log10|mod|pi|pow|power|sqrt|trunc)\s*\(": "3.35",
    r"\bSTRICT\b": "3.37",
    r"->>?": "3.38",
    r"\b(?:unixepoch|auto)\s*\(": "3.38",
    r"\bformat\s*\(": "3.38",
    r"\b(?:RIGHT|FULL)\s+(?:OUTER\s+)?JOIN\b": "3.39",
    r"\bIS\s+(?:NOT\s+)?DISTINCT\s+FROM\b": "3.39",
    r"\bunhex\s*\(": "3.41",
    r"\b(?:concat|concat_ws|string_agg|octet_length|timediff|json_pretty|jsonb\w*)\s*\(": "3.43",
}
"""What came after 3.34, and when."""


def newer_than_3_34(statement: str) -> list[str]:
    text = re.sub(r"'[^']*'", "''", statement)
    return [version for pattern, version in NEWER.items() if re.search(pattern, text, re.IGNORECASE)]


@pytest.fixture(scope="module")
def seen() -> Iterator[set[str]]:
    found: set[str] = set()
    yield found
    assert len(found) > 40, "nothing has been noted: the tests below look at nothing"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # 3.12+: fork with threads
class TestSqlOfTheContract(RunStoreContract):
    """The contract once more, with an eye on what SQLite is given."""

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path, seen: set[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        self.place = tmp_path / "runs.db"
        connect = sqlite3.connect

        def watched(*args: Any, **options: Any) -> sqlite3.Connection:
            connection = connect(*args, **options)
            connection.set_trace_callback(seen.add)
            return connection

        monkeypatch.setattr("eagerly.runs._sqlite_file.sqlite3.connect", watched)
        before = set(seen)
        yield
        for statement in seen - before:
            assert newer_than_3_34(statement) == [], statement

    def make_store(self) -> SqliteRunStore:
        return SqliteRunStore(self.place)


def test_the_schema_is_old_enough() -> None:
    for statement in statements(SQLITE, 0):
        assert newer_than_3_34(statement) == [], statement


@pytest.mark.parametrize(
    ("statement", "since"),
    [
        ("INSERT INTO runs VALUES (1) RETURNING seq", "3.35"),
        ("ALTER TABLE runs DROP COLUMN tags", "3.35"),
        ("CREATE TABLE t (x INTEGER) STRICT", "3.37"),
        ("SELECT inputs ->> '$.x' FROM runs", "3.38"),
        ("SELECT unixepoch('now')", "3.38"),
        ("SELECT a.x FROM a FULL OUTER JOIN b", "3.39"),
        ("SELECT floor(progress) FROM runs", "3.35"),
    ],
)
def test_what_is_newer_is_found(statement: str, since: str) -> None:
    assert newer_than_3_34(statement) == [since]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO runs (id) VALUES (1) ON CONFLICT DO NOTHING",  # 3.24
        "SELECT iif(1, 2, 3), row_number() OVER () FROM runs",  # 3.32, 3.25
        "SELECT 'RETURNING ->> STRICT'",
    ],
)
def test_what_is_old_is_not(statement: str) -> None:
    assert newer_than_3_34(statement) == []
