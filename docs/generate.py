"""Writes what the documentation takes from the code: docs/reference/*.md and the picture of the life of a call.

``python docs/generate.py`` writes; ``python docs/generate.py --check`` only says which pages are out of date. The words
come from docstrings, the tables and the picture from the literals that the library itself reads: to change a page,
change those.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from eagerly import Settings
from eagerly._life import LIFE, mermaid
from eagerly._sentinel import UNSET
from eagerly.backends import ExecutorBackend
from eagerly.backends._registry import BUILT_IN as BUILT_IN_BACKENDS
from eagerly.backends._registry import resolve_backend
from eagerly.cache._code import BLIND_SPOTS
from eagerly.datasets.formats._registry import BUILT_IN
from eagerly.hooks import EagerlySpec
from eagerly.runs._status import mermaid as run_picture

__all__ = ["pages"]

DOCS = Path(__file__).parent
LIFE_PAGE = DOCS / "explanation" / "life-of-a-call.md"
RUN_PAGE = DOCS / "explanation" / "life-of-a-run.md"
KEYS_PAGE = DOCS / "explanation" / "cache-keys.md"
MAPS_PAGE = DOCS / "explanation" / "maps.md"

MODULES = {
    "eagerly": "The library",
    "eagerly.cache": "Caching",
    "eagerly.datasets": "Datasets",
    "eagerly.datasets.formats": "Formats of datasets",
    "eagerly.backends": "Backends",
    "eagerly.runs": "Runs",
    "eagerly.registry": "Registry",
    "eagerly.contracts": "Contracts",
    "eagerly.errors": "Errors",
    "eagerly.testing": "Testing",
    "eagerly.plugins": "Plugins",
    "eagerly.typing": "Types",
}
PLUGINS = ("eagerly.plugins.logging", "eagerly.plugins.progress", "eagerly.plugins.tree")

GROUPS = {
    "Tasks": [
        "task",
        "Task",
        "SyncTask",
        "AsyncTask",
        "SyncTaskStream",
        "AsyncTaskStream",
        "Retry",
    ],
    "Maps": ["map_tasks", "iter_tasks", "gather_tasks", "aiter_tasks", "share"],
    "Sessions": ["session", "async_session", "SessionContext", "current_session", "Settings", "Clock"],
    "Calls": ["current_task", "TaskContext", "INJECTED", "TaskMetadata", "ContextExecutor", "abandoned_bodies"],
    "Stores": ["CacheStore", "DatasetStore", "save_dataset", "load_dataset"],
    "Runs": ["runs", "Run", "RunStatus", "registry", "Command"],
    "Workflows": ["workflow", "Workflow", "SyncWorkflow", "AsyncWorkflow"],
    "Hooks": ["hook_impl", "register_plugins"],
}

NOT_FOR_USERS = {("SessionContext", "close")}
FOR_DRIVERS = "# Decisions, for the drivers"
"""What stands below this line in the source of a class is public between the modules of the library only."""

CATCHES_ALL = ("Any", "Never")
"""The annotations of ``*args`` that are there to be refused with a message, and that nobody should see."""

COMMANDS = (
    *((), ("demo",), ("list",), ("describe",), ("run",), ("config",)),
    *(("cache",), ("cache", "stats"), ("cache", "list"), ("cache", "clear"), ("cache", "explain")),
    *(("datasets",), ("datasets", "list"), ("datasets", "show"), ("datasets", "history"), ("datasets", "verify")),
    *(("runs",), ("runs", "list"), ("runs", "show"), ("runs", "tail"), ("runs", "wait"), ("runs", "stop")),
    *(("runs", "cancel"), ("runs", "output"), ("runs", "prune")),
)

SETTINGS_INTRODUCTION = """\
Each is a field of `Settings`, a key of the table `[tool.eagerly]` in pyproject.toml and a variable of the environment.
[Configure a program](../how-to/configure.md) shows the ways side by side.
"""

FORMATS_INTRODUCTION = """\
The format of a dataset is what `format=` names; else what the extension of its key says; else what suits the type of
the value. A format whose column *streams* says yes takes the items of a stream task as they pass.
"""

SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields|Examples?|Options|Warning):")
ITEM = re.compile(r"(\*{0,2}\w+(?:, \w+)*): (.*)")
SKIPPED = "  # doctest: +SKIP"
"""Behind the examples of docstrings that need what a machine may not have, such as a server."""
HEADER = "<!-- Written by docs/generate.py; to change it, change the docstrings. -->\n"


# Docstrings


def rendered(documentation: str) -> str:
    """A docstring with sections in the style of this project, as Markdown."""
    out: list[str] = []
    for title, lines in _sections(inspect.cleandoc(documentation).splitlines()):
        if title is None:
            out += [*_with_tables(lines), ""]
        elif title.startswith("Example") and all(SKIPPED in line for line in lines if line.startswith(">>>")):
            out += ["```text", *(line.replace(SKIPPED, "") for line in lines), "```", ""]
        elif title.startswith("Example"):
            out += ["```pycon", *lines, "```", ""]
        else:
            label = {"Args": "Arguments"}.get(title, title)
            out += [f"**{label}**", "", *_items(lines), ""]
    return "\n".join(out).strip() + "\n"


def _with_tables(lines: list[str]) -> Iterator[str]:
    """`lines`, with the tables of docstrings (columns between two lines of ``====``) as tables of Markdown."""
    inside = False
    for line in lines:
        if line and set(line) <= {"=", " "}:
            inside = not inside
            yield from (("", "| | |", "|---|---|") if inside else ("",))
        elif inside:
            yield f"| {_code(re.sub(r' {1,}', ' | ', line, count=1))} |"
        else:
            yield _code(line)


def _code(line: str) -> str:
    """Double backticks become single ones, which is how Markdown marks code."""
    return re.sub(r"``([^`]+)``", r"`\1`", line)


def _sections(lines: list[str]) -> Iterator[tuple[str | None, list[str]]]:
    title: str | None = None
    body: list[str] = []
    for line in lines:
        found = SECTION.fullmatch(line)
        ends = title is not None and line and not line.startswith(" ")
        if found or ends:
            yield title, _trimmed(body)
            title, body = (found[1] if found else None), ([] if found else [line])
        else:
            body.append(line)
    yield title, _trimmed(body)


def _trimmed(lines: list[str]) -> list[str]:
    return inspect.cleandoc("\n".join(["", *lines])).splitlines()


def _items(lines: list[str]) -> Iterator[str]:
    items: list[str] = []
    for line in lines:
        found = None if line.startswith(" ") else ITEM.fullmatch(line)
        if found:
            items.append(f"- `{found[1]}`: {found[2]}")
        elif items:
            items[-1] += f" {line.strip()}"
        else:
            items.append(line)
    return map(_code, items)


def signature(name: str, value: Any) -> str:
    """How to call `value`, with the private ways of saying "not given" left out."""
    if inspect.isfunction(value) and "self" in inspect.signature(value).parameters:
        parameters = list(inspect.signature(value).parameters.values())[1:]
    else:
        parameters = list(inspect.signature(value).parameters.values())
    shown: list[str] = []
    last = None
    for each in parameters:
        if each.name in ("unknown", "other") or (each.name == "args" and each.annotation in CATCHES_ALL):
            continue
        if last is not None and last.kind is each.POSITIONAL_ONLY and each.kind is not each.POSITIONAL_ONLY:
            shown.append("/")
        if each.kind is each.KEYWORD_ONLY and "*" not in shown and not any(s.startswith("*") for s in shown):
            shown.append("*")
        shown.append(_parameter(each))
        last = each
    if last is not None and last.kind is last.POSITIONAL_ONLY:
        shown.append("/")
    gives = inspect.signature(value).return_annotation
    result = "" if inspect.isclass(value) or gives in ("Any", inspect.Signature.empty) else f" -> {gives}"
    short = f"{name}({', '.join(shown)}){result}"
    if len(short) <= 100:
        return short
    return "\n".join([f"{name}(", *(f"    {each}," for each in shown), f"){result}"])


def _parameter(each: inspect.Parameter) -> str:
    star = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(each.kind, "")
    text = f"{star}{each.name}"
    annotation = re.sub(r"\s*\|\s*UnsetType", "", str(each.annotation))
    if each.annotation is not each.empty and annotation not in ("Any", "typing.Any"):
        text += f": {annotation}"
    if each.default is each.empty:
        return text
    default = each.default
    written = "..." if default is UNSET else getattr(default, "__qualname__", None) or repr(default)
    return f"{text} = {written}" if ":" in text else f"{text}={written}"


# Pages


def entry(name: str, value: Any, level: int = 3) -> Iterator[str]:
    """One public name: heading, signature, docstring, members. A module and a constant have no signature."""
    yield f"{'#' * level} `{name}`\n"
    if not callable(value):
        yield rendered(inspect.getdoc(value) or "")
        return
    documentation = (value.__doc__ if inspect.isclass(value) else inspect.getdoc(value)) or ""
    if not inspect.isclass(value) or "Args:" in documentation:
        yield f"```text\n{signature(name, value)}\n```\n"
    else:
        bases = [base.__name__ for base in value.__bases__ if _is_shown_base(base)]
        if bases:
            yield f"Base: {', '.join(f'`{base}`' for base in bases)}.\n"
    yield rendered(documentation)
    if inspect.isclass(value):
        for member, what in _members(value):
            if isinstance(what, property):
                yield f"{'#' * (level + 1)} `{name}.{member}`\n"
            else:
                yield f"{'#' * (level + 1)} `{name}.{member}()`\n"
                yield f"```text\n{signature(member, what)}\n```\n"
            yield rendered(inspect.getdoc(what) or "")


def _is_shown_base(base: type) -> bool:
    """Whether people know `base`: a builtin, or a public name of the library."""
    home = base.__module__ if base.__module__ in MODULES else "eagerly"
    public = getattr(importlib.import_module(home), "__all__", ())
    return base is not object and (base.__module__ == "builtins" or base.__name__ in public)


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    """The public members of a class, and of those of its bases that have no entry of their own."""
    seen: set[str] = set()
    shown = [base for base in cls.__mro__[1:] if _is_shown_base(base)]
    for each in cls.__mro__:
        private = each.__module__.startswith("eagerly.") and "._" in each.__module__
        if each is not cls and (not private or any(issubclass(base, each) for base in shown)):
            continue
        for name, what in _own_members(each):
            if name not in seen and (cls.__name__, name) not in NOT_FOR_USERS:
                seen.add(name)
                yield name, what


def _own_members(cls: type) -> Iterator[tuple[str, Any]]:
    lines, first = inspect.getsourcelines(cls)
    last = next((first + number for number, line in enumerate(lines) if line.strip() == FOR_DRIVERS), sys.maxsize)
    for name, what in vars(cls).items():
        if name.startswith("_"):
            continue
        if isinstance(what, classmethod | staticmethod):
            what = what.__func__
        if isinstance(what, functools.cached_property):
            what = property(what.func)
        function = what.fget if isinstance(what, property) else what
        if inspect.isfunction(function) and function.__code__.co_firstlineno < last and inspect.getdoc(what):
            yield name, what


def page_of_library() -> str:
    import eagerly

    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(eagerly.__all__), "a public name belongs to one group of docs/generate.py"
    out = [HEADER, "# `eagerly`\n", rendered(eagerly.__doc__ or ""), _opening("eagerly")]
    for title, names in GROUPS.items():
        out.append(f"## {title}\n")
        for name in names:
            if name == "async_session":
                out += ["### `async_session`\n", "The same object as `session`: `async with async_session():`.\n"]
            else:
                out += entry(name, getattr(eagerly, name))
    return _joined(out)


def page_of_module(name: str) -> str:
    module = importlib.import_module(name)
    out = [HEADER, f"# `{name}`\n", rendered(module.__doc__ or "")]
    body = [part for each in module.__all__ for part in entry(each, getattr(module, each), level=2)]
    if any(">>>" in part for part in body):
        out.append(_opening("eagerly", name))
    return _joined([*out, *body])


def page_of_formats() -> str:
    """The module, and a section for each format that comes with the library, from the docstring of its class."""
    table = ["| format | extensions | takes | streams | needs |", "|---|---|---|---|---|"]
    names: dict[str, list[str]] = {}  # by description, as some classes make several formats
    for each in BUILT_IN:
        extensions = ", ".join(f"`{extension}`" for extension in each.extensions)
        needs = ", ".join(each.libraries)
        table.append(f"| `{each.name}` | {extensions} | {each.takes} | {'yes' if each.items else ''} | {needs} |")
        names.setdefault(rendered(inspect.getdoc(type(each)) or ""), []).append(f"`{each.name}`")
    sections = [part for text, group in names.items() for part in (f"### {', '.join(group)}\n", text)]
    page = page_of_module("eagerly.datasets.formats")
    return _joined([page, "## The formats\n", FORMATS_INTRODUCTION, "\n".join(table) + "\n", *sections])


def page_of_plugins() -> str:
    package = importlib.import_module("eagerly.plugins")
    out = [
        HEADER,
        "# `eagerly.plugins`\n",
        rendered(package.__doc__ or ""),
        _opening("eagerly", *PLUGINS, standard="sys"),
    ]
    for name in PLUGINS:
        module = importlib.import_module(name)
        out += [f"## `{name}`\n", rendered(module.__doc__ or "")]
        for each in module.__all__:
            out += entry(each, getattr(module, each))
    return _joined(out)


def page_of_hooks() -> str:
    import eagerly.hooks

    hooks = {name: what for name, what in vars(EagerlySpec).items() if not name.startswith("_")}
    table = ["| hook | arguments |", "|---|---|"]
    for name, what in hooks.items():
        arguments = [each for each in inspect.signature(what).parameters if each != "self"]
        table.append(f"| [`{name}`](#{name}) | {', '.join(f'`{each}`' for each in arguments)} |")
    out = [HEADER, "# `eagerly.hooks`\n", rendered(eagerly.hooks.__doc__ or ""), _opening("eagerly.hooks")]
    out += ["## The hooks, in the order of a call\n", rendered(EagerlySpec.__doc__ or ""), "\n".join(table) + "\n"]
    for name, what in hooks.items():
        out += [f"### `{name}`\n", rendered(inspect.getdoc(what) or "")]
    out.append("## Functions\n")
    for name in eagerly.hooks.__all__:
        if name != "EagerlySpec":
            out += entry(name, getattr(eagerly.hooks, name))
    return _joined(out)


def page_of_settings() -> str:
    described: dict[str, str] = {}
    for title, lines in _sections(inspect.cleandoc(Settings.__doc__ or "").splitlines()):
        if title == "Args":
            for item in _items(lines):
                name, _, text = item.removeprefix("- `").partition("`: ")
                described[name] = re.sub(r" *Default: (\w+|`[^`]*`|the working directory)\.", "", text)
    defaults = Settings()
    rows = ["| setting | environment | default | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(Settings):
        default = str(getattr(defaults, field.name)).lower()
        variable = f"EAGERLY_{field.name.upper()}"
        rows.append(f"| `{field.name}` | `{variable}` | `{default}` | {described[field.name]} |")
    return _joined(
        [
            HEADER,
            "# Settings\n",
            SETTINGS_INTRODUCTION,
            "\n".join(rows) + "\n",
            "## `Settings`\n",
            _opening("eagerly"),
            rendered(Settings.__doc__ or ""),
        ]
    )


def page_of_command_line() -> str:
    out = [HEADER, "# The command line\n", "`python -m eagerly` is the same as `eagerly`.\n"]
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    for command in COMMANDS:
        words = ["eagerly", *command]
        help_text = subprocess.run(
            [sys.executable, "-m", *words, "--help"], capture_output=True, text=True, check=True, env=environment
        ).stdout
        out += [f"## `{' '.join(words)}`\n", f"```text\n{help_text.rstrip()}\n```\n"]
    return _joined(out)


def page_of_contents(written: Iterable[str]) -> str:
    titles = {
        "eagerly.md": "`eagerly`: tasks, maps, sessions, calls, workflows",
        "hooks.md": "`eagerly.hooks`: every moment in the life of a call",
        "cache.md": "`eagerly.cache`: stores, keys",
        "datasets.md": "`eagerly.datasets`: stores of datasets, and what they know of them",
        "formats.md": "`eagerly.datasets.formats`: every format, and how to bring one of your own",
        "runs.md": "`eagerly.runs`: records of runs, and their stores",
        "registry.md": "`eagerly.registry`: tasks and commands by name",
        "backends.md": "`eagerly.backends`: where maps run, and how to bring an engine of your own",
        "contracts.md": "`eagerly.contracts`: tests for stores and backends that you write",
        "errors.md": "`eagerly.errors`: errors and warnings",
        "testing.md": "`eagerly.testing`: for tests of code that uses tasks",
        "plugins.md": "`eagerly.plugins`: the plugins that come with the library",
        "typing.md": "`eagerly.typing`: protocols",
        "settings.md": "Settings",
        "command-line.md": "The command line",
    }
    assert sorted(written) == sorted(titles), "every page of the reference has a title"
    lines = [f"- [{title}]({name})" for name, title in titles.items()]
    return _joined([HEADER, "# Reference\n", "\n".join(lines) + "\n"])


def page_of_life() -> str:
    """The page on the life of a call, with what stands between its markers renewed."""
    rows = ["| state | hook | next state |", "|---|---|---|"]
    for state, moves in LIFE.items():
        rows += [f"| {state} | `{hook}` | {target} |" for hook, target in moves.items()]
    text = _between(LIFE_PAGE.read_text(encoding="utf-8"), "picture", f"```mermaid\n{mermaid()}\n```")
    return _between(text, "table", "\n".join(rows))


def page_of_runs() -> str:
    """The page on the life of a run, with its picture renewed."""
    return _between(RUN_PAGE.read_text(encoding="utf-8"), "picture", f"```mermaid\n{run_picture()}\n```")


def page_of_keys() -> str:
    """The page on keys, with the list of what they cannot see."""
    rows = ["| blind spot | what is meant |", "|---|---|"]
    rows += [f"| {name} | {what} |" for name, what in BLIND_SPOTS.items()]
    return _between(KEYS_PAGE.read_text(encoding="utf-8"), "blind-spots", "\n".join(rows))


def page_of_maps() -> str:
    """The page on maps, with what each backend says of itself. None of them is opened for that."""
    columns: dict[str, Callable[[str, Any], str]] = {
        "backend": lambda name, _: name,
        "in this process": lambda _, can: "yes" if can.in_process else "no",
        "fate": lambda _, can: "" if can.in_process else "shared" if can.shared_fate else "each worker its own",
        "survives a crash": lambda _, can: "" if can.in_process else "yes" if can.survives_crash else "no",
        "ends a body": lambda _, can: "yes" if can.kills else "no",
        "`should_stop()`": lambda _, can: "yes" if can.soft_cancel else "no",
        "events": lambda _, can: "as they happen" if can.live_events else "with the results",
        "repeats work": lambda _, can: "it may" if can.reruns else "no",
        "work in a piece": lambda _, can: f"{1000 * can.chunk_seconds:g} ms" if can.chunk_seconds else "one item",
    }
    rows = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, backend in _backends():
        rows.append(f"| {' | '.join(cell(name, backend.capabilities) for cell in columns.values())} |")
    return _between(MAPS_PAGE.read_text(encoding="utf-8"), "capabilities", "\n".join(rows))


def _backends() -> Iterator[tuple[str, Any]]:
    """Every backend of ours by the name that people write, made and not opened: so none needs its engine."""
    for name in BUILT_IN_BACKENDS:
        yield f'`"{name}"`', resolve_backend(name)
    for kind in (ThreadPoolExecutor, ProcessPoolExecutor):
        with kind(1) as executor:  # starts no worker before it has something to do
            yield f"a `{kind.__name__}`", ExecutorBackend(executor)


def _between(text: str, marker: str, content: str) -> str:
    begin, end = f"<!-- {marker}: begin, written by docs/generate.py -->", f"<!-- {marker}: end -->"
    pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
    assert pattern.search(text), f"the markers {begin} and {end} are missing"
    return pattern.sub(lambda _: f"{begin}\n\n{content}\n\n{end}", text)


def _opening(*modules: str, standard: str = "") -> str:
    imports = [f">>> from {module} import *" for module in modules]
    lines = "\n".join([f">>> import {standard}", *imports] if standard else imports)
    return f"The examples on this page start with\n\n```pycon\n{lines}\n```\n"


def _joined(parts: Iterable[str]) -> str:
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def pages() -> dict[Path, str]:
    """Every page that is written, wholly or between markers, with what it should contain."""
    reference = {
        "eagerly.md": page_of_library(),
        "hooks.md": page_of_hooks(),
        "cache.md": page_of_module("eagerly.cache"),
        "datasets.md": page_of_module("eagerly.datasets"),
        "formats.md": page_of_formats(),
        "backends.md": page_of_module("eagerly.backends"),
        "runs.md": page_of_module("eagerly.runs"),
        "registry.md": page_of_module("eagerly.registry"),
        "contracts.md": page_of_module("eagerly.contracts"),
        "errors.md": page_of_module("eagerly.errors"),
        "testing.md": page_of_module("eagerly.testing"),
        "plugins.md": page_of_plugins(),
        "typing.md": page_of_module("eagerly.typing"),
        "settings.md": page_of_settings(),
        "command-line.md": page_of_command_line(),
    }
    reference["README.md"] = page_of_contents(reference)
    written = {DOCS / "reference" / name: text for name, text in reference.items()}
    return {
        **written,
        LIFE_PAGE: page_of_life(),
        RUN_PAGE: page_of_runs(),
        KEYS_PAGE: page_of_keys(),
        MAPS_PAGE: page_of_maps(),
    }


def main(arguments: list[str]) -> int:
    stale = {path: text for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text}
    for path, text in stale.items():
        if "--check" not in arguments:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(DOCS.parent)} {'is out of date' if '--check' in arguments else 'written'}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
