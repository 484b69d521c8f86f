"""Packages that are loaded by who first uses them: ours, so that importing it costs little, and those of others."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from typing import Any

from eagerly.errors import MissingExtraError

__all__ = ["demand_package", "lazily"]


def demand_package(package: str, command: str, what: str) -> None:
    """Refuse early what needs a package that is not there, without importing it.

    Raises:
        MissingExtraError: With `command`, which installs it.
    """
    if sys.modules.get(package) is None and importlib.util.find_spec(package) is None:
        raise MissingExtraError(f"{what} needs the package {package!r}, which is not installed: {command}")


def lazily(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    Args:
        package: The name of the package.
        homes: For each name that it offers, the module that has it, or that is it.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = importlib.import_module(homes[name])
        value = home if homes[name] == f"{package}.{name}" else getattr(home, name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return load, names
