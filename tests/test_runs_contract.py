"""The contract of run stores, run against every store of ours; and what the contract itself must do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eagerly.contracts import RunStoreContract
from eagerly.errors import EagerlyError
from eagerly.runs import Change, MemoryRunStore, PostgresRunStore, Query, RunRecord, RunStore, SqliteRunStore
from postgres_server import fresh_schema


class TestMemoryRunStore(RunStoreContract):
    shared = False

    @pytest.fixture(autouse=True)
    def _place(self) -> None:
        self.store = MemoryRunStore()

    def make_store(self) -> MemoryRunStore:
        return self.store


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # 3.12+: fork with threads
class TestSqliteRunStore(RunStoreContract):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.place = tmp_path / "runs.db"

    def make_store(self) -> SqliteRunStore:
        return SqliteRunStore(self.place)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # 3.12+: fork with threads
class TestPostgresRunStore(RunStoreContract):
    @pytest.fixture(autouse=True)
    def _place(self) -> Iterator[None]:
        with fresh_schema() as (self.url, self.schema):
            self.made: list[PostgresRunStore] = []
            yield
            for store in self.made:
                store.close()

    def make_store(self) -> PostgresRunStore:
        self.made.append(PostgresRunStore(self.url, schema=self.schema, lease=1.0))
        return self.made[-1]


# What the contract itself must do


class ForgetsTags(MemoryRunStore):
    def write(self, batch: Any, /) -> Any:
        return super().write([each._replace(tags=()) if isinstance(each, RunRecord) else each for each in batch])


class TellsNobody(MemoryRunStore):
    def watch(self, run_id: str, tell: Any, /) -> Any:
        return lambda: None


class IgnoresOwners(MemoryRunStore):
    def write(self, batch: Any, /) -> Any:
        return super().write([each._replace(owner=None) if isinstance(each, Change) else each for each in batch])


class StopsNobody(MemoryRunStore):
    def write(self, batch: Any, /) -> Any:
        return super().write([each._replace(stop=False) if isinstance(each, Change) else each for each in batch])


class SparesTheFamily(MemoryRunStore):
    def write(self, batch: Any, /) -> Any:
        return super().write([each._replace(family=None) if isinstance(each, Change) else each for each in batch])


class MakesTwoOfOneKey(MemoryRunStore):
    def write(self, batch: Any, /) -> Any:
        return super().write(
            [each._replace(idempotency_key=None) if isinstance(each, RunRecord) else each for each in batch]
        )


class EmptyMatchesAll(MemoryRunStore):
    def find(self, query: Query, /) -> Any:
        return super().find(query._replace(ids=query.ids or None))


class LosesOutputs(MemoryRunStore):
    def output(self, run_id: str, /) -> Any:
        found = super().output(run_id)
        return found if found is None or found.blob is None else None


class PrunesTheLiving(MemoryRunStore):
    def prune(self, *, before: int | None, keep: int | None) -> int:
        self._begin()
        return 1


@pytest.mark.parametrize(
    ("store", "test"),
    [
        (ForgetsTags, "each_filter_and_both_at_once"),
        (TellsNobody, "whoever_commits_tells"),
        (IgnoresOwners, "a_change_may_depend_on_owner_and_status"),
        (StopsNobody, "a_stop_request"),
        (SparesTheFamily, "a_change_reaches_live_descendants"),
        (MakesTwoOfOneKey, "one_idempotency_key_is_one_run"),
        (EmptyMatchesAll, "each_filter_and_both_at_once"),
        (LosesOutputs, "outputs_small_and_large"),
        (PrunesTheLiving, "prune_removes_ended_trees_and_nothing_else"),
    ],
)
def test_a_store_that_breaks_a_promise_fails_its_test(store: type[MemoryRunStore], test: str) -> None:
    def contract_of(made: RunStore) -> RunStoreContract:
        class Contract(RunStoreContract):
            shared = False

            def make_store(self) -> RunStore:
                return made

        return Contract()

    with pytest.raises((AssertionError, EagerlyError)):
        getattr(contract_of(store()), f"test_{test}")()
    getattr(contract_of(MemoryRunStore()), f"test_{test}")()


def test_it_says_what_a_subclass_must_define() -> None:
    with pytest.raises(NotImplementedError, match=r"defines make_store\(self\)"):
        RunStoreContract().test_a_stop_request()
