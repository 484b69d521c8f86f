"""The door to `eagerly.cache` and `eagerly.datasets`, which are loaded by who first uses them.

Most programs do not use both, and many use neither: the import of this library must not pay for them. Only this
module, and `cache._open` for sorts of stores, imports other parts of the library late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from eagerly._declaration import Declaration
    from eagerly.cache._client import CacheClient
    from eagerly.cache._explain import Explanation
    from eagerly.cache._key import CallKey, KeyMaker
    from eagerly.cache._protocol import CacheStore
    from eagerly.cache._recording import Recording
    from eagerly.datasets._store import DatasetStore

__all__ = ["cache_client", "code_digest", "dataset_store", "explain", "key_maker", "new_recording", "replay_frames"]


def cache_client(spec: str | CacheStore, signing_key: str | None) -> CacheClient:
    """What this process does with the cache store at `spec`."""
    from eagerly.cache._client import client_of

    return client_of(spec, signing_key)


def key_maker(declaration: Declaration) -> KeyMaker:
    """What makes the keys of a task's calls. Looks at the task's code, so it is made once and kept."""
    from eagerly.cache._key import KeyMaker

    assert declaration.caching is not None
    parameters = declaration.signature.parameters
    return KeyMaker(declaration.func, declaration.module, declaration.qualname, parameters, declaration.caching)


def code_digest(declaration: Declaration) -> str:
    """The version of a task's code, for those who keep what it has made. Made once and kept."""
    if declaration.code is None:
        from eagerly.cache._code import code_version

        declaration.code = code_version(declaration.func).digest
    return declaration.code  # type: ignore[no-any-return]  # a str


def explain(client: CacheClient | None, keys: KeyMaker, key: CallKey, now: float, mode: str) -> Explanation:
    """Whether the call of this key would be found, and if not, why."""
    from eagerly.cache._explain import explain

    return explain(client, keys, key, now, mode)


def new_recording(safe: bool) -> Recording:
    """Where the items of a stream are kept until it is exhausted."""
    from eagerly.cache._recording import Recording

    return Recording(safe)


def replay_frames(frames: Any, safe: bool) -> Callable[[], Any]:
    """A function that gives one recorded item after another, and raises StopIteration with the end."""
    from eagerly.cache._recording import replay

    return replay(frames, safe)


def dataset_store(spec: str | DatasetStore) -> DatasetStore:
    """The dataset store at `spec`."""
    from eagerly.datasets._store import DatasetStore

    return DatasetStore(spec) if isinstance(spec, str) else spec
