"""What the program that runs here is called for good, also by other processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["MAIN", "file_of", "lasting_name"]

MAIN: Final = "__main__"
NOTEBOOK_NAMES: Final = ("__vsc_ipynb_file__", "__session__")
"""Globals in which notebooks have the name of their file."""


def lasting_name(module: str | None) -> str:
    """The name of a module; for a script, which is called ``__main__`` like all others, its file."""
    if module != MAIN:
        return module or "?"
    main = sys.modules.get(MAIN)
    spec = getattr(main, "__spec__", None)
    if spec is not None and isinstance(getattr(spec, "name", None), str):
        return str(spec.name)  # started with `python -m`
    namespace = {} if main is None else vars(main)
    file = file_of(namespace)
    if file is not None:
        return f"{module} {os.path.realpath(file)}"
    notebook = _notebook(namespace)
    return module if notebook is None else f"{module} {notebook}"


def file_of(namespace: Mapping[str, Any]) -> str | None:
    """The file of a module, if it has one: what is read from the standard input may say ``<stdin>``."""
    file = namespace.get("__file__")
    return None if not isinstance(file, str) or file.startswith("<") else file


def _notebook(namespace: Mapping[str, Any]) -> str | None:
    """The file of the notebook that runs here, as Visual Studio Code or Jupyter tell it."""
    if "get_ipython" not in namespace:
        return None  # the environment of Jupyter reaches programs that a notebook starts
    told = (*(namespace.get(name) for name in NOTEBOOK_NAMES), os.environ.get("JPY_SESSION_NAME"))
    return next((each for each in told if isinstance(each, str) and each), None)
