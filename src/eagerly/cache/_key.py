"""The key of a call: what was called, its code, and its arguments; complete, or no key at all."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from eagerly._callables import innermost
from eagerly.cache._code import CodeVersion, code_version
from eagerly.cache._encode import encode_arguments
from eagerly.errors import UnkeyableArgument

if TYPE_CHECKING:
    from collections.abc import Callable

    from eagerly._cache_options import CacheOptions

__all__ = ["PYTHON", "CallKey", "KeyMaker", "argument_digest", "read_description"]

SCHEMA: Final = "eagerly cache key 1"
"""Changes when keys are made in another way, so that old ones are not found any more."""

MAIN: Final = "__main__"
PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"


class CallKey:
    """The key of one call.

    Attributes:
        digest: 20 bytes, under which stores know it.
        arguments: Each argument by name, encoded; none where ``cache_hash`` made the key.
    """

    __slots__ = ("_text", "arguments", "digest")

    def __init__(self, digest: bytes, arguments: list[tuple[str, bytes]], text: str | None = None) -> None:
        self.digest = digest
        self.arguments = arguments
        self._text = text

    @property
    def text(self) -> str:
        """What people see: the digest in hexadecimal, or what ``cache_hash`` returned."""
        return self.digest.hex() if self._text is None else self._text


class KeyMaker:
    """Makes the keys of the calls of one function. Made at its first cached call, as that looks at its code.

    Attributes:
        func: The user's function.
        tag: Its name in the store, by which entries are listed.
        script_tag: What its tag would be if its file were run as a script.
        version: What ``cache_version`` was given, or None.
        code: The version of its code, or None where that is not part of the key.

    Args:
        func: The user's function.
        module: The name of its module.
        qualname: Its qualified name.
        parameters: The names of its parameters.
        options: What the task was told.
    """

    __slots__ = (
        *("_description", "_hash", "_ignore", "_keyed", "_looks_again", "_prefix"),
        *("code", "func", "script_tag", "tag", "version"),
    )

    def __init__(
        self,
        func: Callable[..., Any],
        module: str | None,
        qualname: str,
        parameters: tuple[str, ...],
        options: CacheOptions,
    ) -> None:
        self.func = func
        self.tag = f"{_lasting_name(module)}.{qualname}"
        file = getattr(innermost(func), "__globals__", {}).get("__file__")
        self.script_tag = f"{MAIN} {os.path.realpath(file)}.{qualname}" if isinstance(file, str) else self.tag
        self._hash = options.hash
        self._ignore = options.ignore
        self.version = options.version
        self._keyed = [name for name in parameters if name not in options.ignore]
        looks = options.hash is None and options.version is None
        self._looks_again = looks and _can_be_typed_anew(func)
        self.code: CodeVersion | None = None
        self._adopt(code_version(func) if looks else None)

    def _adopt(self, code: CodeVersion | None) -> None:
        self.code = code
        version = f"set {self.version}" if code is None else f"code {code.digest}"
        self._prefix = sha256(_framed(SCHEMA, self.tag, version, PYTHON, *self._keyed)).digest()
        about = {
            "task": self.tag,
            "python": PYTHON,
            "version": self.version,
            "code": None if code is None else dict(code.parts),
        }
        self._description = json.dumps(about, separators=(",", ":"))[:-1]

    def key(self, inputs: dict[str, Any]) -> CallKey:
        """The key of the call with these arguments.

        Raises:
            UnkeyableArgument: An argument cannot be part of a key, or ``cache_hash`` failed.
        """
        if self._hash is not None:
            return self._hashed(inputs)
        if self._looks_again and self.code is not None and (code := code_version(self.func)).digest != self.code.digest:
            self._adopt(code)
        arguments = encode_arguments(inputs, self._ignore)
        digest = sha256(self._prefix + b"".join([encoded for _, encoded in arguments])).digest()
        return CallKey(digest[:20], arguments)

    def describe(self, key: CallKey) -> bytes:
        """What is stored with a result to tell later why it was not found again: digests, never values."""
        # By hand, as json.dumps would take longer than the digests. Names of parameters and digests need no escapes.
        text = f'"{key.text}"' if self._hash is None else json.dumps(key.text)
        arguments = ",".join([f'"{name}":"{argument_digest(encoded)}"' for name, encoded in key.arguments])
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
        return CallKey(sha256(_framed(SCHEMA, "cache_hash", text)).digest()[:20], [], text)


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


def _can_be_typed_anew(func: Any) -> bool:
    """Whether what the function uses may be replaced under its hands, as in a notebook: then each call looks again."""
    function = innermost(func)
    module = getattr(function, "__globals__", None) or getattr(type(function).__call__, "__globals__", None)
    return module is not None and (hasattr(sys, "ps1") or "__file__" not in module)


def _lasting_name(module: str | None) -> str:
    """The name of a module; for a script, which is called ``__main__`` like all others, its file."""
    if module != MAIN:
        return module or "?"
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and isinstance(getattr(spec, "name", None), str):
        return str(spec.name)  # started with `python -m`
    file = getattr(main, "__file__", None)
    return module if file is None else f"{module} {os.path.realpath(file)}"
