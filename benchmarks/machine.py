"""Where and with what the numbers were made."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def describe(distributions: Iterable[str]) -> list[tuple[str, str]]:
    """Name and value of everything that the numbers depend on."""
    versions = ", ".join(f"{name} {version(name)}" for name in distributions)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    return [
        ("Date", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
        ("CPU", f"{_cpu()}, {os.cpu_count()} cores"),
        ("Load at the start", f"{load} (1, 5, 15 min)"),
        ("OS", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("Versions", f"eagerly {_own_version()}, {versions}"),
    ]


def _own_version() -> str:
    import eagerly

    return eagerly.__version__


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
