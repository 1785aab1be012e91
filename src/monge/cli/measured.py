"""A solution as the rows of a table."""

from __future__ import annotations

import torch

from monge.solver import Solution

__all__ = ["measured"]


def measured(solution: Solution) -> list[tuple[str, str]]:
    """What a plan costs and how well it was solved, names on the left."""
    report = solution.report
    with torch.no_grad():
        cost, moved = solution.coupling.transport_cost(), solution.coupling.mass
    return [
        ("transport cost", f"{float(cost):.10g}"),
        ("value", f"{float(solution.value):.10g}"),
        ("mass moved", f"{float(moved):.10g}"),
        ("epsilon", f"{float(report.epsilon):.6g}"),
        ("marginal error", f"{float(report.marginal_error):.2e}"),
        ("duality gap", f"{float(report.duality_gap):.2e}"),
        ("iterations", f"{int(report.iterations):,}"),
        ("status", report.status.value),
    ]
