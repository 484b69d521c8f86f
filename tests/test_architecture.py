"""The layers of the library, enforced: who may import whom, where imports stand, how modules are named and how long.

The map below is the one in docs/development.md. When it does not fit what you learn, change both in the same commit.
"""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import NamedTuple

import pytest

import eagerly

SRC = Path(__file__).parent.parent / "src"
PACKAGE = SRC / "eagerly"

LAYERS: list[list[str]] = [
    [
        *["errors", "typing", "_sentinel", "_numbers", "_life", "_lazy", "_paths", "_program", "_forks"],
        *["_filesystems", "_file_locks", "_checks"],
    ],
    [
        *["_options", "_warnings", "_notes", "_clock", "_retry", "_names", "_callables", "_injection"],
        *["_resemblance", "cache._protocol", "_cache_options", "datasets._key", "_dataset_options"],
        *["_backend_options", "_run_options", "_settings", "_command", "_declaration", "_escape", "_pickling"],
        *["_needs_call", "_wire", "_share"],
    ],
    ["cache", "datasets", "hooks._marker", "hooks._spec", "hooks._compile", "hooks._registry", "hooks"],
    [
        *["_threads", "_deadline", "_crew", "_steps", "_once", "_command_guard", "_command_process", "runs._passing"],
        *["_clerk", "runs", "_stores", "backends"],
    ],
    [
        *["_metadata", "_item", "_scope", "_run_port", "_run_controls", "_context", "_dataset_saving"],
        *["_stored", "_stored_stream", "_look_up", "_storing", "_session", "_executor", "_async_streams"],
        *["_item_run", "_run_body", "_relay", "_replay", "_replica", "_run_store"],
    ],
    [
        *["_hearsay", "_run_asked", "_run_ending", "_run_items", "_run_notes", "_worker_run", "_row_run", "_records"],
        *[
            "_remote_item",
            "_remote",
            "_packing",
            "_waits",
            "_chunk",
            "_claims",
            "_outcomes",
            "_engines",
            "_lane",
            "_run_host",
            "_run_voice",
        ],
        *["_run_row", "_live_run", "_distant_run", "_definitions", "_submit", "_cache_controls", "_task", "_tasks"],
        *["_command_row", "_command_task", "_environment_run"],
    ],
    [
        *[
            "_datasets",
            "_decorator",
            "_inbox",
            "_intake",
            "_later",
            "_sizing",
            "_map_input",
            "_map_options",
            "_map_line",
        ],
        *["_map_display", "_map_progress", "_tally", "_buffer", "_one_by_one", "_fanout", "_async_fanout"],
        *["runs._collection", "runs.aio", "registry"],
    ],
    ["_workflow", "_mapping", "_gathering"],
    [
        *["", "testing", "_contract_tasks", "_backend_contract", "contracts", "plugins", "demo", "cli"],
        *["_worker", "__main__"],
    ],
]
"""Low to high, without the leading ``eagerly.``. Within a layer, a module may import those listed before it."""

OUTER = ("plugins", "demo", "cli")
"""Packages that people start or import from; what each of their modules shows is in its name."""

UNITS = (*OUTER, "cache", "datasets", "backends", "runs")
"""Packages that are one unit in the map; their modules may import one another, though not in a circle. A module of
theirs that has a place of its own in the map is lower than the rest, or higher: the collection of runs asks the session
which store it is about."""

DOORS = {
    "eagerly._storing": "most tasks store nothing",
    "eagerly._stores": "caching and datasets are loaded by who first uses them",
    "eagerly.cache._open": "each sort of store is",
    "eagerly.runs._open": "each sort of store is",
    "eagerly._engines": "what hears of runs in workers is loaded when there is one",
    "eagerly._task": "what executes runs is loaded by who first submits one",
}
"""The modules that may import parts of the library late, and why."""

PUBLIC_MODULES = {
    "eagerly",
    "eagerly.__main__",
    "eagerly.backends",
    "eagerly.cache",
    "eagerly.contracts",
    "eagerly.datasets",
    "eagerly.datasets.formats",
    "eagerly.errors",
    "eagerly.hooks",
    "eagerly.registry",
    "eagerly.runs",
    "eagerly.runs.aio",
    "eagerly.testing",
    "eagerly.typing",
    "eagerly_pytest",
}
"""Modules without an underscore at the top level; the packages in `OUTER` name theirs after what they show."""

OBJECTS = {"eagerly.registry", "eagerly.runs", "eagerly.runs.aio"}
"""Modules that are the public object of their name: there is one collection of runs, and one registry, so its functions
are those of a module, and whoever imports it gets the same thing."""

MAX_LINES = 400


class Import(NamedTuple):
    line: int
    module: str
    late: bool
    """Whether it stands inside a function, so that it runs when the function does."""


def modules() -> dict[str, Path]:
    """Every module of the distribution, by its dotted name."""
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def own_imports(source: str) -> list[Import]:
    """What `source` imports of this library when it runs, so not what stands under ``if TYPE_CHECKING``."""
    found: list[Import] = []

    def visit(node: ast.AST, late: bool) -> None:
        if isinstance(node, ast.If) and is_type_checking(node.test):
            for child in node.orelse:
                visit(child, late)
            return
        if isinstance(node, ast.Import):
            found.extend(Import(node.lineno, alias.name, late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            base = node.module or ""
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.append(Import(node.lineno, inner if inner in MODULES else base, late))
        late = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, late)

    visit(ast.parse(source), late=False)
    return [each for each in found if each.module.partition(".")[0] in ("eagerly", "eagerly_pytest")]


def place(module: str) -> tuple[int, int] | None:
    """Layer and position of a module in the map, or None if it is not there."""
    inside = module.partition(".")[2]
    unit = inside.partition(".")[0]
    for wanted in (inside, *([unit] if unit in UNITS else [])):
        for height, layer in enumerate(LAYERS):
            if wanted in layer:
                return height, layer.index(wanted)
    return None


def in_package() -> list[str]:
    return [name for name in MODULES if name.partition(".")[0] == "eagerly"]


@pytest.mark.parametrize("module", in_package())
def test_every_module_is_in_the_map(module: str) -> None:
    assert place(module) is not None, f"{module} has no layer; give it one in LAYERS and in docs/development.md"


def test_the_map_is_the_one_in_the_documentation() -> None:
    page = (SRC.parent / "docs" / "development.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| (.*?) \|", page, flags=re.MULTILINE)
    drawn = {int(height): re.findall(r"`([\w.]+)`", names) for height, names in rows}
    assert drawn == {height: [name or "__init__" for name in layer] for height, layer in enumerate(LAYERS)}


def test_the_map_names_only_modules_that_exist() -> None:
    mapped = {f"eagerly.{name}".rstrip(".") for layer in LAYERS for name in layer}
    assert mapped - set(MODULES) == set()


@pytest.mark.parametrize("module", in_package())
def test_a_module_imports_lower_layers_only(module: str) -> None:
    own = place(module)
    assert own is not None
    upward = []
    for each in own_imports(MODULES[module].read_text(encoding="utf-8")):
        other = place(each.module)
        same_unit = other == own and each.module != module
        if other is None or (other >= own and not same_unit):
            upward.append(f"line {each.line}: {each.module}")
    assert upward == [], f"{module} is in layer {own[0]}"


@pytest.mark.parametrize("module", in_package())
def test_own_modules_are_imported_at_the_top_of_the_file(module: str) -> None:
    imports = own_imports(MODULES[module].read_text(encoding="utf-8"))
    late = [f"line {each.line}: {each.module}" for each in imports if each.late]
    assert bool(late) == (module in DOORS), late


@pytest.mark.parametrize("unit", UNITS)
def test_no_circle_within_a_package(unit: str) -> None:
    members = {name for name in MODULES if f"{name}.".startswith(f"eagerly.{unit}.")}
    waiting = {
        name: {each.module for each in own_imports(MODULES[name].read_text(encoding="utf-8"))} & members - {name}
        for name in members
    }
    while waiting:
        ready = {name for name, needs in waiting.items() if not needs & waiting.keys()}
        assert ready, f"these import one another in a circle: {sorted(waiting)}"
        for name in ready:
            del waiting[name]


@pytest.mark.parametrize("unit", ["plugins", "demo"])
def test_plugins_and_demo_are_written_on_the_public_api(unit: str) -> None:
    private = [
        f"{name}, line {each.line}: {each.module}"
        for name, path in MODULES.items()
        if f"{name}.".startswith(f"eagerly.{unit}.")
        for each in own_imports(path.read_text(encoding="utf-8"))
        if "._" in each.module and not each.module.startswith(f"eagerly.{unit}.")
    ]
    assert private == []


def test_the_pytest_plugin_imports_the_library_only_when_a_fixture_is_used() -> None:
    imports = own_imports(MODULES["eagerly_pytest"].read_text(encoding="utf-8"))
    assert [each for each in imports if not each.late] == []


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_short(module: str) -> None:
    lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    assert lines < MAX_LINES, f"{module} has {lines} lines; a file is named after the one noun it defines"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_opens_with_what_lives_in_it(module: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[module].read_text(encoding="utf-8")))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_private_unless_people_import_from_it(module: str) -> None:
    unit = module.partition(".")[2].partition(".")[0]
    public = module in PUBLIC_MODULES or unit in OUTER
    assert public or module.rpartition(".")[2].startswith("_")


@pytest.mark.parametrize("module", MODULES)
def test_no_module_has_the_name_of_a_public_object(module: str) -> None:
    package, _, name = module.rpartition(".")
    offered = set(getattr(importlib.import_module(package), "__all__", ())) if package else set()
    assert name not in offered | set(eagerly.__all__) or module in OBJECTS


@pytest.mark.parametrize("module", OBJECTS)
def test_a_module_that_is_a_public_object_is_that_object(module: str) -> None:
    package, _, name = module.rpartition(".")
    assert getattr(importlib.import_module(package), name) is importlib.import_module(module)


@pytest.mark.parametrize("name", ["utils", "common", "base", "core", "helpers"])
def test_no_module_is_a_drawer_for_everything(name: str) -> None:
    assert [module for module in MODULES if module.rpartition(".")[2].lstrip("_") == name] == []


class TestTheCheckItself:
    """The functions above see what they are meant to see."""

    def test_type_checking_imports_are_exempt_and_their_else_is_not(self) -> None:
        source = "if TYPE_CHECKING:\n    import eagerly._tasks\nelse:\n    import eagerly._retry\n"
        assert [each.module for each in own_imports(source)] == ["eagerly._retry"]

    def test_an_import_in_a_method_is_late(self) -> None:
        source = "import eagerly\nclass A:\n    def f(self):\n        from eagerly._tasks import Task\n"
        assert own_imports(source) == [Import(1, "eagerly", False), Import(4, "eagerly._tasks", True)]

    def test_a_module_imported_by_name_from_its_package_is_recognised(self) -> None:
        assert [each.module for each in own_imports("from eagerly import errors, task")] == [
            "eagerly.errors",
            "eagerly",
        ]

    def test_the_map_has_an_order_within_a_layer(self) -> None:
        lower, higher = place("eagerly._metadata"), place("eagerly._context")
        assert lower is not None
        assert higher is not None
        assert lower < higher
