"""Our tests use the pytest plugin that ships: by its entry point where that is installed, else by this file."""

import signal

import pytest

import eagerly_pytest


def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.is_registered(eagerly_pytest):
        config.pluginmanager.register(eagerly_pytest)
    # What a shell starts in the background ignores Ctrl-C, and so would the processes in which tests send it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
