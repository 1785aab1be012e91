"""The plan of the house, checked: who may import whom and how, how long files are, what importing the library costs."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import monge
from monge._arrays import broadcast_shapes

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "monge"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# A room may import rooms of a strictly smaller storey, and itself. Rooms that do not stand yet have their places.
WINGS = ("sequences", "loss", "flow", "embed", "adapt", "apply")
STOREYS = {
    name: storey
    for storey, names in enumerate(
        [
            (
                *("_arrays", "_batch", "_blocks", "_checks", "_files", "_parts", "_progress", "_sided"),
                *("_reading", "_transforms", "_users_arrays", "_value", "_version", "errors", "registry"),
            ),
            # The loop of training knows no plan and no kernel: it is handed an objective and data.
            ("kernels", "train"),
            ("geometry",),
            ("coupling",),
            ("problem",),
            ("dual",),
            ("gradient",),
            ("solver",),
            ("sliced",),
            ("api",),
            ("nn", "registration"),
            ("convert",),
            WINGS,
            ("cli",),
        ]
    )
    for name in names
}
FOUNDATION = {name for name, storey in STOREYS.items() if storey == 0}
# Leaves hang beside the house: only the wings and the command line use them. Each names the last storey that it uses.
LEAVES = {"data": "errors", "papers": "apply", "plot": "api", "testing": "convert"}
GUESTS = {"data": {*WINGS, "cli"}, "papers": {"cli"}, "plot": {*WINGS, "cli"}, "testing": {"cli"}}
# Names in the face, `import monge`, that are no room of their own stand for the storey whose functions it shows.
FACE = "api"

PATHS = pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))


# ---------------------------------------------------------------------- what a file imports


def room_of(path: Path) -> str:
    """The room that a source file belongs to: the first name below the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def package_of(path: Path) -> tuple[str, ...]:
    """The dotted name of the package that holds a source file."""
    return ("monge", *path.relative_to(PACKAGE).parts[:-1])


@dataclass(frozen=True)
class Import:
    """One name that a file takes from the library: ``name`` is absolute and dotted, ``bound`` is what it is called."""

    name: tuple[str, ...]
    bound: str
    relative: bool
    line: int

    @property
    def room(self) -> str:
        known = {*STOREYS, *LEAVES}
        return self.name[1] if len(self.name) > 1 and self.name[1] in known else FACE

    def says(self) -> str:
        return f"line {self.line}: {'.'.join(self.name)}"


def imported(tree: ast.AST, package: tuple[str, ...]) -> Iterator[Import]:
    """Everything that a module imports from this library, wherever in the file, for the type checker or for running."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                parts = tuple(alias.name.split("."))
                yield Import(parts, alias.asname or parts[0], False, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            for alias in node.names:
                yield Import((*base, alias.name), alias.asname or alias.name, node.level > 0, node.lineno)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            given = node.args[0] if node.args else None
            if isinstance(given, ast.Constant) and isinstance(given.value, str):
                name = given.value.lstrip(".")
                level = len(given.value) - len(name)
                base = package[: len(package) - level + 1] if level else ()
                yield Import((*base, *name.split(".")), "", level > 0, node.lineno)


def from_here(tree: ast.AST, package: tuple[str, ...]) -> list[Import]:
    return [one for one in imported(tree, package) if one.name[0] == "monge"]


# ---------------------------------------------------------------------- the rule
# Ruff can ban relative imports of parents, but not only of those outside the room, and it knows no storeys.


def may_import(room: str, other: str) -> bool:
    """Whether a file of one room may import from another."""
    if room == other or other in FOUNDATION:
        return True
    if other in LEAVES:
        return room in GUESTS[other]
    if room in LEAVES:
        return STOREYS[other] <= STOREYS[LEAVES[room]]
    return STOREYS[other] < STOREYS[room]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def is_module(name: tuple[str, ...]) -> bool:
    place = PACKAGE.joinpath(*name[1:])
    return place.is_dir() or place.with_suffix(".py").exists()


def reached(tree: ast.AST, names: list[Import]) -> Iterator[Import]:
    """Attributes of imported modules, as in ``solver._loop.run``: what they name, as if it were imported."""
    modules = {one.bound: one for one in names if one.bound and is_module(one.name)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        head, *tail = ast.unparse(node).split(".")
        if head not in modules or not all(part.isidentifier() for part in tail):
            continue
        # `import monge.solver` binds `monge` alone.
        full = ("monge",) if head == "monge" else modules[head].name
        if is_module((*full, *tail[:-1])):
            yield Import((*full, *tail), "", modules[head].relative, node.lineno)


def of_one_house(room: str, other: str) -> bool:
    """Whether two rooms are one for relative imports and private names: the foundation is a room of single files."""
    return room == other or {room, other} <= FOUNDATION


def faults(text: str, path: Path) -> list[str]:
    """All that is wrong with the imports of a file."""
    room, package, tree = room_of(path), package_of(path), ast.parse(text)
    names = from_here(tree, package)
    found = []
    for one in names:
        if not may_import(room, one.room):
            found.append(f"{one.says()}: {room} must not import from {one.room}")
        same = of_one_house(room, one.room)
        if one.relative and not same:
            found.append(f"{one.says()}: imports across rooms are absolute, from monge.{one.room}")
        if not one.relative and same:
            found.append(f"{one.says()}: imports inside a room are relative")
    for one in (*names, *reached(tree, names)):
        if not of_one_house(room, one.room) and any(is_private(part) for part in one.name[2:]):
            found.append(f"{one.says()}: private to {one.room}")
    return found


@PATHS
def test_rooms_import_downwards_and_keep_their_privacy(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    assert room in STOREYS or room in LEAVES, f"{room} is no room of the house: name its storey in this test."
    found = faults(path.read_text(), path)
    assert not found, "\n".join([str(path.relative_to(PACKAGE)), *found])


def test_the_face_opens_rooms_and_keeps_nothing_to_itself() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    names = from_here(tree, ("monge",))
    assert {one.room for one in names} <= {*STOREYS, *LEAVES}
    assert not [one.says() for one in names if any(is_private(part) for part in one.name[2:])]


OUTSIDE = sorted(path for folder in ("examples", "recipes", "benchmarks") for path in (ROOT / folder).glob("*.py"))
OUTSIDE += sorted((ROOT / "benchmarks" / "recipes").glob("*.py"))
OUTSIDE += sorted((ROOT / "papers" / "examples").glob("*.py"))


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: path.name)
def test_examples_and_benchmarks_use_public_names(path: Path) -> None:
    tree = ast.parse(path.read_text())
    names = from_here(tree, ())
    assert not [one.says() for one in (*names, *reached(tree, names)) if any(map(is_private, one.name))]


WRONG = {
    "a later room": ("kernels/x.py", "def f():\n    from monge.solver import Auto"),
    "a later room, for types": ("problem/x.py", "if TYPE_CHECKING:\n    from monge.solver import Auto"),
    "a room beside it": ("nn/x.py", "from monge.registration import rigid"),
    "a kernel, for training": ("train/x.py", "from monge.kernels import softmin"),
    "a leaf": ("solver/x.py", "from monge.data import Task"),
    "the house, from data": ("data/x.py", "from monge.geometry import Line"),
    "a wing, from a leaf": ("plot/x.py", "from monge.nn import Attention"),
    "the face": ("nn/x.py", "import monge.convert"),
    "the face, from below it": ("solver/x.py", "from monge import couple"),
    "the face as a module": ("geometry/x.py", "import monge"),
    "an import by its name": ("geometry/x.py", "importlib.import_module('monge.solver')"),
    "an import by a relative name": ("geometry/x.py", "import_module('..solver', __package__)"),
    "relative, across": ("solver/x.py", "from ..coupling import Coupling"),
    "relative, to the foundation": ("solver/x.py", "from .._checks import check_number"),
    "relative, across, deep": ("sliced/plan/x.py", "from ...coupling import Coupling"),
    "absolute, inside": ("solver/x.py", "from monge.solver.base import Solver"),
    "absolute, inside the foundation": ("_value.py", "from monge.errors import InputError"),
    "a private file": ("solver/x.py", "from monge.coupling._stream import inner"),
    "a private file of a sub-room": ("nn/x.py", "from monge.sliced.plan._soft import soft"),
    "a private file as a name": ("solver/x.py", "from monge.coupling import _stream"),
    "a private name": ("solver/x.py", "from monge.coupling.base import _told"),
    "a private name of the foundation": ("solver/x.py", "from monge._checks import _list"),
    "a private name of a module": ("solver/x.py", "from monge.coupling import base\nbase._told()"),
    "a private name, written in full": ("cli/x.py", "import monge\nmonge.coupling.base._told()"),
    "a private file, for types": ("solver/x.py", "if TYPE_CHECKING:\n    from monge.coupling._hooks import Rows"),
}
RIGHT = {
    "an earlier room": ("solver/x.py", "from monge.coupling import Coupling"),
    "a file of its own": ("sliced/plan/x.py", "from ..line import Line\nfrom ._soft import soft\nfrom . import lift"),
    "a private method": ("solver/x.py", "from monge.problem import Fixed\nFixed._make()"),
    "the foundation": ("train/x.py", "from monge._files import write_whole\nfrom monge.errors import InputError"),
    "the foundation among itself": ("_value.py", "from .errors import InputError\nfrom . import _checks"),
    "leaves, for the command line": ("cli/x.py", "from monge.plot import links\nimport monge"),
    "the house, from a leaf": ("plot/x.py", "from monge.api import couple\nfrom monge.errors import InputError"),
    "other libraries": ("cli/x.py", "import torch\nfrom torch._C import _functorch\nimport_module(name)"),
    "a room that comes": ("flow/x.py", "from monge.train import Trainer\nfrom monge.nn import Attention"),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_rule_can_fail(name: str) -> None:
    file, text = WRONG[name]
    assert faults(text, PACKAGE / file)


@pytest.mark.parametrize("name", RIGHT)
def test_the_rule_can_be_kept(name: str) -> None:
    file, text = RIGHT[name]
    assert not faults(text, PACKAGE / file)


def test_rooms_of_one_storey_do_not_know_each_other() -> None:
    rooms = [*STOREYS, *LEAVES]
    both = [(a, b) for a in rooms for b in rooms if a < b and not of_one_house(a, b)]
    assert not [pair for pair in both if may_import(*pair) and may_import(*reversed(pair))]


# ---------------------------------------------------------------------- the second distribution
# What strangers can build on is what it may use: names that a face of Monge lists, and nothing else.

GUEST = ROOT / "papers" / "src" / "monge_papers"
GUEST_SOURCES = sorted(GUEST.rglob("*.py"))


def is_listed(name: tuple[str, ...]) -> bool:
    """Whether a dotted name leads through public modules to what the last of them lists, or to a public module."""
    for last in range(1, len(name)):
        module, part = name[:last], name[last]
        # Rooms are public by their names. A file inside one is not: a room may arrange its files anew.
        is_room = is_module((*module, part)) and (last == 1 or PACKAGE.joinpath(*module[1:], part).is_dir())
        if is_private(part) or not (is_room or part in importlib.import_module(".".join(module)).__all__):
            return False
        if not is_module((*module, part)):
            return True
    return True


def unlisted(text: str, path: Path) -> list[str]:
    """What a file of another distribution takes from Monge that no face lists."""
    tree = ast.parse(text)
    names = from_here(tree, ("monge_papers", *path.relative_to(GUEST).parts[:-1]))
    return [one.says() for one in (*names, *reached(tree, names)) if not is_listed(one.name)]


@pytest.mark.parametrize("path", GUEST_SOURCES, ids=lambda path: str(path.relative_to(GUEST)))
def test_the_second_distribution_uses_what_faces_list(path: Path) -> None:
    assert not unlisted(path.read_text(), path)


STRANGE = {
    "a private file": "from monge._checks import check_number",
    "a private file as a name": "from monge import _checks",
    "a private name": "from monge.coupling import _told",
    "a private name, written in full": "import monge\nmonge.coupling._told()",
    "a private name of a room": "from monge import sliced\nsliced._told()",
    "a file of a room": "from monge.coupling.base import Coupling",
    "a file of a room, as a module": "from monge.nn import attention",
    "a file of a room, for types": "if TYPE_CHECKING:\n    from monge.sliced.plan.lift import lifted_plans",
    "a name that no face lists": "from monge.solver import stored_costs_of_nobody",
    "a file, by its name": "importlib.import_module('monge.cli.app')",
}
FRIENDLY = {
    "the face": "import monge\nmonge.couple(x, y)",
    "a name of the face": "from monge import __version__, couple",
    "a room": "from monge import sliced\nsliced.plan.SetTransformer(2)",
    "a name of a room": "from monge.papers import Paper\nfrom monge.errors import InputError",
    "a file that a room lists": "from monge.nn import diagnostics\nfrom monge.nn.diagnostics import diagnose",
    "a name of a room inside a room": "from monge.sliced.plan import SetTransformer",
    "a method": "import monge\nmonge.Coupling.pair",
    "its own": "from ._own import anything\nfrom . import _own\nfrom monge_papers.tail._x import y",
}


@pytest.mark.parametrize("name", STRANGE)
def test_the_rule_of_strangers_can_fail(name: str) -> None:
    assert unlisted(STRANGE[name], GUEST / "tail" / "x.py")


@pytest.mark.parametrize("name", FRIENDLY)
def test_the_rule_of_strangers_can_be_kept(name: str) -> None:
    assert not unlisted(FRIENDLY[name], GUEST / "tail" / "x.py")


def test_the_distributions_are_apart_and_of_one_version() -> None:
    """What goes into the wheels, read from the settings of their builds."""
    tomllib = pytest.importorskip("tomllib")
    ours, theirs = (tomllib.loads((ROOT / place / "pyproject.toml").read_text()) for place in ("", "papers"))
    assert ours["tool"]["scikit-build"]["wheel"]["packages"] == ["src/monge"]
    # The slash matters: without it `monge.papers` would stay out of the wheel too.
    assert "/papers" in ours["tool"]["scikit-build"]["sdist"]["exclude"]
    assert theirs["tool"]["scikit-build"]["wheel"] == {"cmake": False, "packages": ["src/monge_papers"]}
    assert theirs["project"]["version"] == monge.__version__
    assert f"monge=={monge.__version__}" in theirs["project"]["dependencies"]
    assert not [path for path in SOURCES if "monge_papers" in path.read_text()]


# ---------------------------------------------------------------------- files and functions

FILE, FUNCTION = 500, 60


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from its ``def`` on, its docstring not counted."""
    assert node.end_lineno is not None
    told = node.body[0] if ast.get_docstring(node, clean=False) is not None else None
    docstring = told.end_lineno - told.lineno + 1 if told is not None and told.end_lineno is not None else 0
    return node.end_lineno - node.lineno + 1 - docstring


def long_functions(tree: ast.AST) -> list[str]:
    functions = (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return [f"line {f.lineno}: {f.name}, {lines_of(f)} lines" for f in functions if lines_of(f) > FUNCTION]


@pytest.mark.parametrize("path", [*SOURCES, *GUEST_SOURCES], ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short_and_quiet(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") <= FILE, "split the file: one class or one solver a file"
    assert not long_functions(tree), f"name the phases of {long_functions(tree)}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print" or "examples" in path.parts, (
                f"line {node.lineno}: the library does not print"
            )
        if isinstance(node, ast.Raise) and node.exc is not None:
            assert "NotImplementedError" not in ast.unparse(node.exc), f"line {node.lineno}: no stubs"


def test_long_functions_are_seen() -> None:
    def body(lines: int) -> str:
        return "\n".join(["def f():", '    """One.', "", '    Two."""', *["    x = 1"] * lines])

    assert not long_functions(ast.parse(body(FUNCTION - 1)))
    assert long_functions(ast.parse(body(FUNCTION)))


TASKS = re.compile(r"token|accurac|coupler|sequence|classif|logit|label|attention", re.IGNORECASE)


@pytest.mark.parametrize("path", [path for path in SOURCES if room_of(path) == "train"], ids=lambda path: path.name)
def test_the_loop_knows_no_task(path: Path) -> None:
    found = set(TASKS.findall(path.read_text()))
    assert not found


# ---------------------------------------------------------------------- what importing costs

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
    outside = {*LEAVES, *WINGS, "train", "cli"}
    assert not [name for name in modules_added("import monge") if name.split(".")[:2][-1] in outside]


def test_matplotlib_waits_for_a_picture() -> None:
    assert "matplotlib" not in modules_added("import monge.plot")
    assert not {"sklearn", "pyarrow"} & modules_added("import monge.data")
    rooms = [name for name in ("train", *WINGS) if (PACKAGE / name).is_dir()]
    assert not HEAVY & modules_added("\n".join(f"import monge.{name}" for name in rooms))


MODULES = [
    *("monge", "monge_papers"),
    *sorted(name for _, name, _ in pkgutil.iter_modules([str(PACKAGE)], "monge.") if "._" not in name),
    *sorted(name for _, name, _ in pkgutil.walk_packages([str(GUEST)], "monge_papers.") if "._" not in name),
]


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
