"""The solvers that `Auto` chooses from."""

from __future__ import annotations

from .assignment import Assignment
from .base import Solver
from .newton import Newton
from .simplex import Simplex
from .sinkhorn import Sinkhorn
from .sorted import Sorted

__all__ = ["CANDIDATES"]

# A new solver of this room is one more line here; others enter as Auto(candidates=(*CANDIDATES, Mine())).
CANDIDATES: tuple[Solver, ...] = (
    Sorted(),
    Assignment(),
    Simplex(),
    Sinkhorn(),
    Newton(),
)
