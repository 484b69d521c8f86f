"""Hooks: observers of moments in the life of a call.

`hook_impl` marks a method as one, `EagerlySpec` documents each moment, `register_plugins` makes a plugin known to
every later session of this process.
"""

from eagerly.hooks._marker import hook_impl
from eagerly.hooks._registry import register_plugins, unregister_plugins
from eagerly.hooks._spec import EagerlySpec

__all__ = ["EagerlySpec", "hook_impl", "register_plugins", "unregister_plugins"]
