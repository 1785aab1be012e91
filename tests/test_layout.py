"""The plan of the house, checked: who may import whom, how long files are, what importing the library costs."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import monge
from monge._arrays import broadcast_shapes

PACKAGE = Path(__file__).parents[1] / "src" / "monge"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# A room may import rooms of a strictly smaller storey, and itself.
STOREYS = {
    name: storey
    for storey, names in enumerate(
        [
            ("_arrays", "_batch", "_checks", "_files", "_parts", "_transforms", "_value", "_version", "errors"),
            ("kernels",),
            ("geometry",),
            ("coupling",),
            ("problem",),
            ("gradient",),
            ("solver",),
            ("sliced",),
            ("api",),
            ("nn", "flow", "embed", "registration", "compress", "lifelong", "simulate"),
            ("train",),
            ("cli",),
        ]
    )
    for name in names
}
FOUNDATION = {name for name, storey in STOREYS.items() if storey == 0}
# Leaves hang beside the house: only the rooms named may use them, and they use the house up to its face.
LEAVES = {"data": {"train", "cli"}, "plot": {"train", "cli"}, "testing": {"cli"}}


def room_of(path: Path) -> str:
    """The room that a source file belongs to: the first name below the package."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def imported(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Dotted names of everything a module imports from this library, wherever in the file, type-only imports left out.

    ``package`` is the dotted name of the package that holds the module.
    """
    for node in ast.iter_child_nodes(tree):
        if is_type_checking(node):
            continue
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names if alias.name.split(".")[0] == "monge")
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            if base[:1] == ("monge",):
                # `from . import name` names a module one level deeper.
                yield from ((*base, alias.name) for alias in node.names) if len(base) == 1 else (base,)
        yield from imported(node, package)


def rooms_used(path: Path) -> set[str]:
    package = ("monge", *path.relative_to(PACKAGE).parts[:-1])
    names = imported(ast.parse(path.read_text()), package)
    return {name[1] if len(name) > 1 else "api" for name in names}


def may_import(room: str, other: str) -> bool:
    if room == other or other in FOUNDATION:
        return True
    if other in LEAVES:
        return room in LEAVES[other]
    if room in LEAVES:
        return room != "data" and STOREYS[other] <= STOREYS["api"]
    return STOREYS[other] < STOREYS[room]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_import_downwards_only(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        assert not rooms_used(path) & {*LEAVES, "cli", "train"}
        return
    assert room in STOREYS or room in LEAVES, f"{room} is no room of the house: name its storey in this test."
    wrong = {other for other in rooms_used(path) if not may_import(room, other)}
    assert not wrong, f"{path.name} in {room} must not import {sorted(wrong)}."


def test_the_rule_can_fail() -> None:
    assert not may_import("kernels", "geometry")
    assert not may_import("nn", "flow")
    assert not may_import("solver", "data")
    assert may_import("cli", "plot")
    names = set(imported(ast.parse("def f():\n    from ..solver import Auto\n"), ("monge", "kernels")))
    assert names == {("monge", "solver")}
    assert set(imported(ast.parse("from . import couple"), ("monge",))) == {("monge", "couple")}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_short_and_quiet(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 500, "split the file: one class or one solver a file"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno}: the library does not print"
        if isinstance(node, ast.Raise) and node.exc is not None:
            assert "NotImplementedError" not in ast.unparse(node.exc), f"line {node.lineno}: no stubs"


# What `import monge` may bring in besides torch: annotations of shapes, and nothing that computes, draws or prints.
LIGHT = {"monge", "jaxtyping", "wadler_lindig", "typing_extensions", "numpy"}
HEAVY = {"scipy", "sklearn", "matplotlib", "typer", "rich", "pandas", "pyarrow", "ot", "triton", "sympy", "networkx"}


def modules_added(statement: str) -> set[str]:
    """Names of the modules that a statement imports in a fresh interpreter where torch is there already."""
    code = (
        "import json, sys, torch\n"
        "before = set(sys.modules)\n"
        f"{statement}\n"
        "assert not torch.cuda.is_initialized()\n"
        "sys.stdout.write(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_is_light() -> None:
    added = modules_added("import monge")
    roots = {name.partition(".")[0] for name in added}
    assert not roots & HEAVY
    foreign = {root for root in roots - LIGHT - set(sys.stdlib_module_names) if not root.startswith(("_", "torch"))}
    assert not foreign, f"import monge should not bring in {sorted(foreign)}"
    compiled = {name for name in added if name.startswith(("torch._dynamo", "torch._inductor"))}
    assert not compiled, f"the compiler is loaded when it is asked for, not before: {sorted(compiled)[:3]}"


def test_the_first_answer_is_light_too() -> None:
    """Torch's compiler and the computer algebra that it brings take seconds to import; no plan needs them."""
    added = modules_added(
        "import monge\nx = torch.rand(9, 2)\nmonge.couple(x, x, epsilon=0.1).pair()\nmonge.couple(x, x)"
    )
    assert not added & {"torch._dynamo", "torch._inductor", "sympy", "triton", "scipy", "sklearn"}


def test_shapes_broadcast_as_in_torch() -> None:
    shapes = [(), (1,), (3,), (2, 1), (2, 3), (4, 1, 3), (1, 1), (0,), (2,)]
    for one in shapes:
        for two in shapes:
            try:
                expected = torch.broadcast_shapes(one, two)
            except RuntimeError:
                with pytest.raises(RuntimeError, match="do not broadcast"):
                    broadcast_shapes(one, two)
            else:
                assert broadcast_shapes(one, two) == expected


def test_leaves_and_command_stay_outside() -> None:
    added = modules_added("import monge")
    assert not {name for name in added if name.startswith(("monge.cli", "monge.plot", "monge.data", "monge.train"))}


def test_matplotlib_waits_for_a_picture() -> None:
    assert "matplotlib" not in modules_added("import monge.plot")
    assert not {"sklearn", "pyarrow"} & modules_added("import monge.data")
    assert not HEAVY & modules_added("import monge.train")


MODULES = ["monge", *sorted(name for _, name, _ in pkgutil.iter_modules([str(PACKAGE)], "monge.") if "._" not in name)]


@pytest.mark.parametrize("name", MODULES)
def test_public_names_are_documented(name: str) -> None:
    if name == "monge.cli":
        pytest.importorskip("typer")
    module = importlib.import_module(name)
    assert module.__doc__
    for public in getattr(module, "__all__", ()):
        thing = getattr(module, public)
        if inspect.isclass(thing) or inspect.isroutine(thing):
            assert (thing.__doc__ or "").strip(), f"{name}.{public} has no docstring"


@pytest.mark.parametrize("name", sorted(set(monge.__all__) - {"__version__"}))
def test_the_face_shows_examples(name: str) -> None:
    thing = getattr(monge, name)
    if inspect.isclass(thing) or inspect.isroutine(thing):
        assert ">>>" in (thing.__doc__ or ""), f"monge.{name} shows no example"
