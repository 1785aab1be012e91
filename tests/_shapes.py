"""Run-time checks of the shapes that signatures promise, and of nothing else.

Functions with jaxtyping shapes in their signature are wrapped while their module is imported. A call with badly shaped
arguments may still answer with an error of its own, which is better than one from a checker; so arguments are checked
together with the result, after the call: a function either raises, or keeps every promise.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray

__all__ = ["check", "check_shapes_of"]

# Leading dimensions broadcast everywhere in the library, which jaxtyping spells *#b.
BATCH = re.compile(r"\*(?=[a-z])")
SHAPED = ("Float[", "Int[", "Integer[", "Bool[", "Num[", "Real[", "Inexact[", "Shaped[")


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """What jaxtyping calls on two stand-ins of every function: one for its arguments, one with its result besides."""
    with_result = "ret0" in function.__code__.co_varnames
    kept = {name: hint for name, hint in function.__annotations__.items() if _speaks_of_shapes(hint)}
    if not with_result or not kept:
        return lambda *args, **kwargs: None
    function.__annotations__ = kept
    return beartype(function)


def check_shapes_of(package: str) -> None:
    """From now on, modules of ``package`` are imported with their shapes checked."""
    sys.meta_path.insert(0, _Finder(package))


def _speaks_of_shapes(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(_speaks_of_shapes(part) for part in get_args(hint))


class _Decorate(ast.NodeTransformer):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        hints = [argument.annotation for argument in ast.walk(node.args) if isinstance(argument, ast.arg)]
        hints = [hint for hint in [*hints, node.returns] if hint and any(name in ast.unparse(hint) for name in SHAPED)]
        for part in (part for hint in hints for part in ast.walk(hint)):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                part.value = BATCH.sub("*#", part.value)
        if hints:
            # Innermost, so that what torch registers or dispatches on is still the outermost object.
            node.decorator_list.append(ast.parse("__check_shapes__", mode="eval").body)
        return node


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> Any:
        # The ordinary byte code in the cache knows nothing of checks: always compile from the source.
        path = self.get_filename(fullname)
        tree = _Decorate().visit(ast.parse(self.get_data(path), path))
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        from jaxtyping import jaxtyped

        module.__dict__["__check_shapes__"] = jaxtyped(typechecker=check)
        super().exec_module(module)


class _Finder(MetaPathFinder):
    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != self.package:
            return None
        for finder in (finder for finder in sys.meta_path if finder is not self):
            spec = finder.find_spec(fullname, path, target)
            if spec is None:
                continue
            if spec.origin and isinstance(spec.loader, SourceFileLoader):
                spec.loader = _Loader(fullname, spec.origin)
            return spec
        return None
