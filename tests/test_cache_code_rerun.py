"""Edit and rerun: scripts, notebooks, deleted files, hot code; and over the standard library: layout never counts."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eagerly.cache._code import code_version
from eagerly.cache._code_form import form_of

SRC = str(Path(__file__).parent.parent / "src")

SCRIPT = """
import os, sys
from eagerly.cache._code import code_version
{before}
import helpers

def f(x):
    {doc}
    return helpers.double(x) + {number}

os.remove(__file__)
os.remove(helpers.__file__)
print(f(1), code_version(f).digest)
"""


def run(script: Path, *, seed: int) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": SRC, "PYTHONHASHSEED": str(seed), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_script_is_edited_and_run_again_with_its_files_deleted_after_import(tmp_path: Path) -> None:
    seen: dict[str, list[str]] = {}
    edits = {
        "first": ("", "'Docstring.'", 1, "return x * 2"),
        "again": ("", "'Docstring.'", 1, "return x * 2"),
        "layout": ("# moved\n\n", "pass", 1, "return (x *\n      2)  # twice"),
        "own constant": ("", "'Docstring.'", 5, "return x * 2"),
        "helper": ("", "'Docstring.'", 1, "return x * 3"),
    }
    for seed, (name, (before, doc, number, helper)) in enumerate(edits.items()):
        (tmp_path / "helpers.py").write_text(f"def double(x):\n    {helper}\n", encoding="utf-8")
        script = tmp_path / "script.py"
        script.write_text(SCRIPT.format(before=before, doc=doc, number=number), encoding="utf-8")
        seen[name] = run(script, seed=seed)
    assert seen["first"] == seen["again"] == seen["layout"]
    assert [result for result, _ in seen.values()] == ["3", "3", "3", "7", "4"]
    assert len({digest for _, digest in seen.values()}) == 3


def cell(source: str, filename: str, lines: int, namespace: dict[str, Any] | None = None) -> dict[str, Any]:
    """A cell of a notebook: no file, a name that counts up, and another first line each time."""
    namespace = {"__name__": "__main__"} if namespace is None else namespace
    exec(compile("\n" * lines + source, filename, "exec", dont_inherit=True), namespace)
    return namespace


def test_the_cells_of_a_notebook_are_the_users_own_and_have_no_place() -> None:
    helper, main = "def helper(x):\n    return x + 1", "def f(x):\n    return helper(x)"
    seen = []
    for name, lines, text in (
        ("<ipython-input-1-abc>", 0, helper),
        ("<stdin>", 7, helper),
        ("/tmp/ipykernel_1/1.py", 3, helper.replace("1", "2")),
    ):
        namespace = cell(text, name, lines)
        seen.append(code_version(cell(main, name + "2", lines, namespace)["f"]))
    assert seen[0] == seen[1]
    assert seen[0].digest != seen[2].digest
    assert set(seen[0].parts) == {"__main__.f", "__main__.helper"}


def test_running_code_does_not_change_it() -> None:
    def hot(n: int) -> int:
        total = 0
        for i in range(n):
            total += i if i % 3 else -i
        return total

    before = code_version(hot).digest
    hot(50_000)  # specialised by now
    types.FunctionType(hot.__code__, hot.__globals__)
    assert code_version(hot).digest == before
    assert form_of(hot.__code__.replace(co_firstlineno=7_000)).body == form_of(hot.__code__).body


def test_monkeypatching_before_the_first_look_is_seen_and_after_it_is_not() -> None:
    namespace = cell("def helper():\n    return 1\ndef f():\n    return helper()", "x", 0)
    first = code_version(namespace["f"])
    namespace["helper"] = len
    assert first.digest != code_version(namespace["f"]).digest  # a task looks once, and keeps what it saw


# What the layout of the source does to the bytecode, over thousands of functions that we did not write.

LIBRARY = [
    argparse_like.__file__ for argparse_like in (ast, asyncio.base_events, dataclasses, json.decoder, shutil)
] + [
    Path(sysconfig.get_path("stdlib")) / name
    for name in (
        "argparse.py",
        "typing.py",
        "tarfile.py",
        "email/message.py",
        "pickle.py",
        "statistics.py",
    )
]


class Bare(ast.NodeTransformer):
    """Takes docstrings and annotations of functions away."""

    def visit_FunctionDef(self, node: Any) -> Any:
        self.generic_visit(node)
        node.returns = None
        arguments = node.args
        for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
            if each is not None:
                each.annotation = None
        return self.undocumented(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        self.generic_visit(node)
        return self.undocumented(node)

    def undocumented(self, node: Any) -> Any:
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return node


def functions(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code of functions and methods, in the order of their definition; those inside them are part of theirs."""
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            if constant.co_flags & 1:  # a function, not the body of a class
                yield constant
            else:
                yield from functions(constant)


def compiled(tree_or_text: Any) -> dict[str, types.CodeType]:
    code = compile(tree_or_text, "anywhere", "exec", dont_inherit=True)
    found: dict[str, list[types.CodeType]] = {}
    for each in functions(code):
        found.setdefault(each.co_qualname, []).append(each)
    return {name: each[0] for name, each in found.items() if len(each) == 1}


@pytest.mark.parametrize("path", [Path(str(each)) for each in LIBRARY], ids=lambda path: path.name)
def test_layout_docstrings_and_annotations_of_no_function_count(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    original, stripped = compiled(text), compiled(ast.unparse(Bare().visit(ast.parse(text))))
    common = [name for name in original.keys() & stripped.keys() if "generic parameters" not in name]
    assert len(common) > 5
    differing = [name for name in common if form_of(original[name])[:2] != form_of(stripped[name])[:2]]
    assert differing == []


SWAPS: dict[type, Callable[[Any], Any]] = {
    ast.Add: lambda _: ast.Sub(),
    ast.Lt: lambda _: ast.LtE(),
    ast.Gt: lambda _: ast.GtE(),
    ast.Eq: lambda _: ast.NotEq(),
    ast.And: lambda _: ast.Or(),
    ast.Is: lambda _: ast.IsNot(),
    ast.In: lambda _: ast.NotIn(),
    ast.Break: lambda _: ast.Continue(),
}


class Mutate(ast.NodeTransformer):
    """Changes the place with the given number of those where something can be changed."""

    def __init__(self, place: int) -> None:
        self.left = place
        self.done = False

    def visit_JoinedStr(self, node: Any) -> Any:
        return node

    def visit_Expr(self, node: ast.Expr) -> Any:
        return node if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_FunctionDef(self, node: Any) -> Any:  # annotations do not count, so they are no places
        for field in ("args", "body"):
            value = getattr(node, field)
            for each in value if isinstance(value, list) else value.defaults:
                self.visit(each)
        return node

    def generic_visit(self, node: Any) -> Any:
        for field, value in ast.iter_fields(node):
            if field == "annotation" or self.done:
                continue
            if isinstance(value, ast.AST):
                setattr(node, field, self.change(value))
            elif isinstance(value, list):
                setattr(node, field, [self.change(each) if isinstance(each, ast.AST) else each for each in value])
        return node

    def change(self, node: Any) -> Any:
        swap = SWAPS.get(type(node))
        if isinstance(node, ast.Constant) and isinstance(node.value, int | str | bytes):
            swap = self.other_constant
        if swap is not None:
            self.left -= 1
            if self.left < 0 and not self.done:
                self.done = True
                return ast.copy_location(swap(node), node)
        return self.visit(node)

    @staticmethod
    def other_constant(node: ast.Constant) -> ast.Constant:
        value: Any = node.value
        return ast.Constant(
            not value
            if isinstance(value, bool)
            else value + 1
            if isinstance(value, int)
            else value * 2 + type(value)(b"?" if isinstance(value, bytes) else "?")
        )


def top_functions(text: str) -> list[ast.FunctionDef]:
    return [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("path", [dataclasses.__file__, shutil.__file__], ids=lambda path: Path(path).name)
def test_every_changed_operator_and_constant_counts(path: str) -> None:
    """The other direction: a form in which everything were equal would pass the test above."""
    changed = 0
    text = Path(path).read_text(encoding="utf-8")
    for index, node in enumerate(top_functions(text)):
        before = form_of(next(functions(compile(ast.unparse(node), "x", "exec", dont_inherit=True)))).body
        for place in range(0, 200, 7):
            mutant = top_functions(text)[index]
            mutate = Mutate(place)
            mutate.generic_visit(ast.Module([ast.If(ast.Name("x"), mutant.body, [])], []))
            if not mutate.done:
                break
            source = ast.unparse(mutant)
            try:
                code = next(functions(compile(source, "x", "exec", dont_inherit=True)))
            except SyntaxError:
                continue
            changed += 1
            assert form_of(code).body != before, source
    assert changed > 20
