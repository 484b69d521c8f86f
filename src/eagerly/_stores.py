"""The door to `eagerly.cache`, `eagerly.datasets` and `eagerly.runs`, which are loaded by who first uses them.

Most programs do not use all, and many use none: the import of this library must not pay for them. Only this module, and
`cache._open` and `runs._open` for sorts of stores, import other parts of the library late.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from eagerly._forks import hold_while_forking

if TYPE_CHECKING:
    from collections.abc import Callable

    from eagerly._declaration import Declaration
    from eagerly.cache._client import CacheClient
    from eagerly.cache._explain import Explanation
    from eagerly.cache._key import CallKey, KeyMaker
    from eagerly.cache._protocol import CacheStore
    from eagerly.cache._recording import Recording
    from eagerly.datasets._store import DatasetStore
    from eagerly.datasets.formats import Format
    from eagerly.runs._protocol import RunStore
    from eagerly.runs._recording import CallRecording

__all__ = [
    "cache_client",
    "code_digest",
    "dataset_format",
    "dataset_store",
    "explain",
    "key_maker",
    "memory_runs",
    "new_recording",
    "output_summary",
    "progress_values",
    "recording_of",
    "replay_frames",
    "run_store",
]

_client_of: Callable[[str | CacheStore, str | None], CacheClient] | None = None
_importing = threading.RLock()
"""Held while something is imported here, and by who forks: a module that is half imported then would be so for ever in
the child, which would wait for a thread that it does not have."""


def _import_anew() -> None:
    global _importing
    _importing = threading.RLock()


hold_while_forking(lambda: [_importing], _import_anew)


def cache_client(spec: str | CacheStore, signing_key: str | None) -> CacheClient:
    """What this process does with the cache store at `spec`."""
    global _client_of  # each call of a task with a store of its own comes here
    if _client_of is None:
        with _importing:
            from eagerly.cache._client import client_of
        _client_of = client_of
    return _client_of(spec, signing_key)


def key_maker(declaration: Declaration) -> KeyMaker:
    """What makes the keys of a task's calls. Looks at the task's code, so it is made once and kept."""
    with _importing:
        from eagerly.cache._key import KeyMaker

    assert declaration.caching is not None
    parameters = declaration.signature.parameters
    module = declaration.lasting_module
    return KeyMaker(declaration.body, module, declaration.qualname, parameters, declaration.caching)


def code_digest(declaration: Declaration) -> str:
    """The version of a task's code, for those who keep what it has made. Made once and kept."""
    digest = declaration.code.get("digest")
    if digest is None:
        with _importing:
            from eagerly.cache._code import code_version

        digest = declaration.code.setdefault("digest", code_version(declaration.body).digest)
    return digest


def explain(client: CacheClient | None, keys: KeyMaker, key: CallKey, now: float, mode: str) -> Explanation:
    """Whether the call of this key would be found, and if not, why."""
    with _importing:
        from eagerly.cache._explain import explain

    return explain(client, keys, key, now, mode)


def new_recording(safe: bool) -> Recording:
    """Where the items of a stream are kept until it is exhausted."""
    with _importing:
        from eagerly.cache._recording import Recording

    return Recording(safe)


def replay_frames(frames: Any, safe: bool) -> Callable[[], Any]:
    """A function that gives one recorded item after another, and raises StopIteration with the end."""
    with _importing:
        from eagerly.cache._recording import replay

    return replay(frames, safe)


def dataset_store(spec: str | DatasetStore) -> DatasetStore:
    """The dataset store at `spec`."""
    with _importing:
        from eagerly.datasets._store import DatasetStore

    return DatasetStore(spec) if isinstance(spec, str) else spec


def dataset_format(name: str) -> Format:
    """The format of that name. It may have been registered after the task was declared that names it.

    Raises:
        DatasetFormatError: There is none.
    """
    with _importing:
        from eagerly.datasets.formats import format_for

    return format_for(name=name)


def run_store(spec: str | RunStore) -> RunStore:
    """The run store at `spec`; for a path or a URL, the same one each time in this process."""
    with _importing:
        from eagerly.runs._open import shared_run_store

    return shared_run_store(spec) if isinstance(spec, str) else spec


def recording_of(store: RunStore) -> CallRecording:
    """What records the calls of sessions with that store."""
    with _importing:
        from eagerly.runs._recording import recording_of

    return recording_of(store)


def memory_runs() -> RunStore:
    """Where runs are that nobody keeps: in the memory of this process."""
    with _importing:
        from eagerly.runs._memory import PROCESS

    return PROCESS


def progress_values(progress: Any, step: Any, steps: Any, message: Any, data: Any) -> dict[str, Any]:
    """What ``set_progress()`` was given, checked, as fields of a record."""
    with _importing:
        from eagerly.runs._progress import progress_values

    return progress_values(progress, step, steps, message, data)


def output_summary(value: str) -> str:
    """What ``set_output(summary=...)`` was given, checked."""
    with _importing:
        from eagerly.runs._progress import output_summary

    return output_summary(value)
