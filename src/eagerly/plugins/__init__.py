"""Plugins that come with eagerly. Each is a file of its own on the public API, and an example of how to write one.

Nothing in this package imports a private module of eagerly, and nothing in eagerly imports this package.
"""

from eagerly.plugins.logging import LoggingPlugin
from eagerly.plugins.progress import ProgressPlugin
from eagerly.plugins.tree import CallTree

__all__ = ["CallTree", "LoggingPlugin", "ProgressPlugin"]
