"""Our tests use the pytest plugin that ships: by its entry point where that is installed, else by this file."""

import pytest

import eagerly_pytest


def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.is_registered(eagerly_pytest):
        config.pluginmanager.register(eagerly_pytest)
