"""One row of the list of papers."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from monge.errors import InputError

__all__ = ["Paper"]

_ARXIV = re.compile(r"\d{4}\.\d{4,5}")
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


@dataclass(frozen=True)
class Paper:
    """A published method: what implements it, a script that shows it at work, and the test that verifies it.

    The script runs in seconds, downloads nothing, and asserts a number or an equation of the publication. Without what
    implements the method, both the script and the test fail.

    Args:
        key: A short name that no other paper has.
        title: The title of the publication.
        arxiv: Its number at arXiv, such as ``"2212.08049"``.
        group: The kind of method, as in ``"attention"``.
        implements: The import path of the class or function that implements it; ``docs/NAME.md`` for a survey, which
            is described on a page.
        example: The import path of the script; for a survey, the page again, whose blocks of Python are executed.
        test: The identifier of the test, as pytest takes it.

    Raises:
        InputError: If ``arxiv`` is not a number of arXiv, an import path is none, or another field is empty.

    Example:
        >>> from monge.papers import Paper
        >>> ours = Paper(
        ...     "ours",
        ...     "A paper of ours",
        ...     "2601.00001",
        ...     "tail",
        ...     implements="ours.method.solve",
        ...     example="ours.examples.solve",
        ...     test="tests/test_solve.py::test_equation_3",
        ... )
        >>> ours.kind
        'method'
    """

    key: str
    title: str
    arxiv: str
    group: str
    implements: str
    example: str
    test: str

    def __post_init__(self) -> None:
        empty = [field.name for field in fields(self) if not getattr(self, field.name).strip()]
        if empty:
            raise InputError(f"A paper needs every field, but {', '.join(empty)} is empty in {self!r}: fill it in.")
        if not _ARXIV.fullmatch(self.arxiv):
            raise InputError(f"arxiv must be a number such as '2212.08049', but is {self.arxiv!r}: see arxiv.org/list.")
        for name in ("implements", "example") if self.kind == "method" else ():
            if not _DOTTED.fullmatch(getattr(self, name)):
                raise InputError(
                    f"{name} of the paper {self.key!r} must be an import path such as 'ours.method.solve', but is "
                    f"{getattr(self, name)!r}: write where Python finds it."
                )

    @property
    def kind(self) -> str:
        """``"page"`` for a survey that a page of the documentation describes, else ``"method"``."""
        return "page" if self.implements.endswith(".md") else "method"

    @property
    def module(self) -> str:
        """The module that holds what implements the paper."""
        return self.implements.rpartition(".")[0]

    @property
    def implementation(self) -> Any:
        """The class or function that implements the paper; its module is imported.

        Raises:
            InputError: If it is not there.
        """
        try:
            return getattr(import_module(self.module), self.implements.rpartition(".")[2])
        except (ImportError, AttributeError) as error:
            raise InputError(
                f"The paper {self.key!r} names {self.implements}, which cannot be imported ({error}): correct the row."
            ) from error

    @property
    def script(self) -> Path:
        """The file of the example.

        Raises:
            InputError: If it is not there.
        """
        try:
            spec = find_spec(self.example)
        except ImportError:
            spec = None
        if spec is None or spec.origin is None:
            raise InputError(
                f"The paper {self.key!r} names the example {self.example}, which is not installed: correct the row."
            )
        return Path(spec.origin)
