"""What the router weighed, as a table."""

from __future__ import annotations

import math
from typing import NamedTuple

from .base import Capability, Solver

__all__ = ["Explanation", "Row"]


class Row(NamedTuple):
    """One line of an explanation."""

    solver: Solver
    capability: Capability


class Explanation(NamedTuple):
    """Which solvers can treat a problem, the cheapest first; printing it gives a table.

    Args:
        rows: Solvers with their capabilities, those that cannot treat the problem last.
    """

    rows: tuple[Row, ...]

    @property
    def chosen(self) -> Solver | None:
        """The solver that is taken, if any can; never one of infinite cost, which is how approximate ones abstain."""
        return self.rows[0].solver if self.rows and self.rows[0].capability.cost < math.inf else None

    @property
    def refusal(self) -> str:
        """Why no solver can: what each one says."""
        return " ".join(("No solver can treat this problem.", *(row.capability.reason for row in self.rows)))

    def __str__(self) -> str:
        """A table: solver, estimated operations and bytes, why."""
        lines = [f"{'solver':<12}{'operations':>12}{'memory':>10}  why"]
        for row in self.rows:
            can = row.capability.supported
            operations = (
                ("abstains" if row.capability.cost == math.inf else f"{row.capability.cost:.1e}") if can else "cannot"
            )
            memory = _readable(row.capability.memory) if can else ""
            lines.append(f"{type(row.solver).__name__:<12}{operations:>12}{memory:>10}  {row.capability.reason}")
        return "\n".join(lines)


def _readable(size: float) -> str:
    """Bytes in a unit that needs few digits."""
    power = min(int(math.log(max(size, 1), 1000)), 4)
    return f"{size / 1000**power:.0f} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"
