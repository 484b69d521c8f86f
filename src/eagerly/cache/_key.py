"""The key of a call: what was called, its code, and its arguments; complete, or no key at all."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from eagerly._callables import innermost
from eagerly._program import MAIN, file_of
from eagerly.cache._code import CodeVersion, look_at
from eagerly.cache._code_owner import can_be_typed_anew
from eagerly.cache._code_watch import NEVER_LOOKED, Watch
from eagerly.cache._encode import encode_arguments
from eagerly.cache._encode_walk import HANDLERS, Walk
from eagerly.cache._held import NOTHING, Held, encode_held, held_by, refuse
from eagerly.errors import UnkeyableArgument

if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable

    from eagerly._cache_options import CacheOptions

__all__ = ["PYTHON", "CallKey", "KeyMaker", "argument_digest", "read_description"]

SCHEMA: Final = "eagerly cache key 1"
"""Changes when keys are made in another way, so that old ones are not found any more."""

_SMALL: Final = frozenset({int, float, bool, type(None), complex})
_SHORT: Final = 10_000  # characters of a text that is encoded in no time
PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"

_Ready: TypeAlias = "tuple[Watch | None, bytes, Held | None]"
"""What a key is made with: what to watch, prefix, what stands like arguments. Replaced as one, for other threads."""


class CallKey:
    """The key of one call.

    Attributes:
        digest: 20 bytes, under which stores know it.
    """

    __slots__ = ("_encoded", "_names", "_text", "digest")

    def __init__(
        self, digest: bytes, names: Collection[str] = (), encoded: Sequence[bytes] = (), text: str | None = None
    ) -> None:
        self.digest = digest
        self._names = names
        self._encoded = encoded
        self._text = text

    @property
    def arguments(self) -> list[tuple[str, bytes]]:
        """Each argument by name, encoded; none where ``cache_hash`` made the key."""
        return list(zip(self._names, self._encoded, strict=True))

    @property
    def text(self) -> str:
        """What people see: the digest in hexadecimal, or what ``cache_hash`` returned."""
        return self.digest.hex() if self._text is None else self._text


class KeyMaker:
    """Makes the keys of the calls of one function.

    The first key looks at the code of the function. Each further one looks whether what was read by name is still the
    same, and if not, looks again.

    Attributes:
        func: The user's function.
        tag: Its name in the store, by which entries are listed.
        script_tag: What its tag would be if its file were run as a script.
        version: What ``cache_version`` was given, or None.
        code: The version of its code, or None where that is not part of the key.

    Args:
        func: The user's function.
        module: The name of its module, for good.
        qualname: Its qualified name.
        parameters: Its parameters by name.
        options: What the task was told.
    """

    __slots__ = (
        *(
            "_code_watch",
            "_defaults",
            "_description",
            "_hash",
            "_held",
            "_ignore",
            "_keyed",
            "_looks",
            "_looks_again",
            "_ready",
        ),
        *("code", "func", "script_tag", "tag", "version"),
    )

    def __init__(
        self,
        func: Callable[..., Any],
        module: str,
        qualname: str,
        parameters: Mapping[str, inspect.Parameter],
        options: CacheOptions,
    ) -> None:
        self.func = func
        self.tag = f"{module}.{qualname}"
        file = file_of(getattr(innermost(func), "__globals__", {}))
        self.script_tag = self.tag if file is None else f"{MAIN} {os.path.realpath(file)}.{qualname}"
        self._hash = options.hash
        self._ignore = options.ignore
        self.version = options.version
        self._keyed = [name for name in parameters if name not in options.ignore]
        self._defaults = {name: each.default for name, each in parameters.items() if each.default is not each.empty}
        if options.ttl is not None:  # who sets one, or another, does not want what was stored without
            self._keyed.append(f"ttl {options.ttl}")
        # Many programs have a `__main__` without a name of its own, so that a set version could not tell them apart.
        self._looks = options.version is None or self.tag == f"{MAIN}.{qualname}"
        self._looks_again = self._looks and can_be_typed_anew(_namespace_of(func))
        self.code: CodeVersion | None = None
        self._code_watch: Watch = NEVER_LOOKED
        self._held: Held = NOTHING
        self._ready: _Ready = NEVER_LOOKED, b"", None
        self._description = ""

    def _look(self) -> _Ready:
        """Look at the function again: at what it brings along, and at its code if that may have changed.

        Raises:
            UnkeyableArgument: It brings along what cannot be part of a key.
        """
        before, code, code_watch = self._held, self.code, self._code_watch
        held = held_by(self.func, by_name=self.version is not None, before=before)
        if self._looks and (
            self._looks_again
            or held.cells != before.cells
            or held.whole.keys() != before.whole.keys()
            or code_watch.changed()
        ):
            looked = look_at(self.func, held)
            refuse(held, looked.refused)
            code, code_watch = looked.version, looked.watch
        elif not self._looks:
            code_watch = NOTHING.watch
        if before is NOTHING and self._held is not NOTHING:
            return self._look()  # of two first looks at once, what the one has seen that was done first counts for both
        self.code, self._code_watch, self._held = code, code_watch, held
        of_code = "" if code is None else f"code {code.digest}"
        version = of_code if self.version is None else f"set {self.version} {of_code}".rstrip()
        prefix = sha256(_framed(SCHEMA, self.tag, version, PYTHON, *self._keyed) + held.names).digest()
        about = {
            "task": self.tag,
            "python": PYTHON,
            "version": self.version,
            "code": None if code is None else dict(code.parts),
        }
        self._description = json.dumps(about, separators=(",", ":"))[:-1]
        watch = code_watch.with_cells_of(held.watch)
        watched = watch if self._looks_again or watch else None
        self._ready = watched, prefix, held if held.values or held.live else None
        return self._ready

    def is_quick(self, inputs: dict[str, Any]) -> bool:
        """Whether an event loop can afford to make this key: nothing large is to be encoded, and no code to be read."""
        watch, _, held = self._ready
        if watch is not None and watch.changed():
            return False
        live = () if held is None else [value for _, value in held.live]
        try:
            for value in (*inputs.values(), *live):
                if type(value) not in _SMALL and not (type(value) is str and len(value) < _SHORT):
                    return False
        except Exception:  # a class that cannot be hashed; making the key will say so
            return False
        return True

    def key(self, inputs: dict[str, Any]) -> CallKey:
        """The key of the call with these arguments.

        Raises:
            UnkeyableArgument: An argument, or what the function brings along, cannot be part of a key, or
                ``cache_hash`` failed.
        """
        if self._hash is not None:
            return self._hashed(inputs)
        watch, prefix, held = self._ready
        if watch is not None and (self._looks_again or watch.changed()):
            _, prefix, held = self._look()
        if self._ignore:
            inputs = {name: value for name, value in inputs.items() if name not in self._ignore}
        names: Collection[str] = inputs
        encoded: list[bytes] = []
        add, walk = encoded.append, Walk()
        try:
            for value in inputs.values():
                add(HANDLERS[type(value)](value, walk))
        except Exception:  # once more, by who can say what is wrong with which argument, or what to do about it
            encoded = [each for _, each in encode_arguments(inputs, (), self._defaults)]
        if held is not None:
            names = [*names, *(path for path, _ in held.values), *(path for path, _ in held.live)]
            encoded.extend([each for _, each in held.values])
            encoded.extend([encode_held(value, path) for path, value in held.live])
        return CallKey(sha256(prefix + b"".join(encoded)).digest()[:20], names, encoded)

    def describe(self, key: CallKey) -> bytes:
        """What is stored with a result to tell later why it was not found again: digests, never values."""
        # By hand, as json.dumps would take longer than the digests. Names of parameters and digests need no escapes.
        text = f'"{key.text}"' if self._hash is None else json.dumps(key.text)
        arguments = ",".join([f'"{name}":"{argument_digest(each)}"' for name, each in key.arguments])
        return f'{self._description},"key":{text},"arguments":{{{arguments}}}}}'.encode()

    def _hashed(self, inputs: dict[str, Any]) -> CallKey:
        assert self._hash is not None
        try:
            text = self._hash(self.func, inputs)
        except Exception as error:
            raise UnkeyableArgument(
                f"cache_hash of {self.tag} failed with {type(error).__name__}: {error}", path="cache_hash"
            ) from error
        if not isinstance(text, str):
            raise UnkeyableArgument(
                f"cache_hash of {self.tag} must return a str, and returned {text!r}", path="cache_hash"
            )
        if not text:
            raise UnkeyableArgument(
                f"cache_hash of {self.tag} returned an empty string, which would be the key of every such call",
                path="cache_hash",
            )
        return CallKey(sha256(_framed(SCHEMA, "cache_hash", text)).digest()[:20], text=text)


def argument_digest(encoded: bytes) -> str:
    """What is stored of an argument, to compare it with later."""
    return sha256(encoded).hexdigest()[:16]


def read_description(meta: bytes) -> Mapping[str, Any]:
    """What `KeyMaker.describe` has written; empty if that is something else."""
    try:
        found = json.loads(meta)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]  # JSON


def _framed(*parts: str) -> bytes:
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return b"".join(len(part).to_bytes(8, "big") + part for part in encoded)


def _namespace_of(func: Any) -> Mapping[str, Any] | None:
    function = innermost(func)
    return getattr(function, "__globals__", None) or getattr(type(function).__call__, "__globals__", None)
