"""The pytest plugin: fixtures made of `eagerly.testing`.

pytest imports this file in every environment that has eagerly installed, also for tests that have nothing to do with
it. So it stands beside the package and imports nothing of it until a fixture is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eagerly import SessionContext
    from eagerly.testing import InstantClock, RecordingHooks


@pytest.fixture
def eagerly_hooks() -> RecordingHooks:
    """Remembers every hook that fires in `eagerly_session`: `.names("task")`, `.of("task")`, `.events`, `.verify()`."""
    from eagerly.testing import RecordingHooks

    return RecordingHooks()


@pytest.fixture
def eagerly_clock() -> InstantClock:
    """The clock of `eagerly_session`, on which nobody waits: `.sleeps` has what was asked, `.advance()` moves it."""
    from eagerly.testing import instant_clock

    return instant_clock()


@pytest.fixture
def eagerly_session(
    eagerly_hooks: RecordingHooks, eagerly_clock: InstantClock, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SessionContext]:
    """The test runs in an eagerly session that records hooks, never sleeps and raises what a hook raises.

    Its cache is empty and its datasets go to a folder of their own. When the test is over, every call that started in
    it must have had exactly one ending.
    """
    from eagerly import Settings, session

    folder = tmp_path_factory.mktemp("eagerly", numbered=True)
    with session(
        cache_store=folder / "cache",
        dataset_store=folder / "datasets",
        plugins=[eagerly_hooks],
        clock=eagerly_clock,
        settings=Settings(strict_hooks=True),
    ) as context:
        yield context
    eagerly_hooks.verify()
