"""Which output is differentiable by which input: the table that the documentation shows and the tests check."""

from __future__ import annotations

from itertools import product

__all__ = ["INPUTS", "OUTPUTS", "TABLE"]

INPUTS = ("x", "y", "cost", "a", "b", "epsilon", "rho", "mass")
"""What a solution depends on. Weights of balanced problems may change along directions that keep the masses equal."""

OUTPUTS = ("value", "f", "g", "P @ v", "barycentric", "transport_cost", "marginals", "second derivative of value")
"""What is asked of a solution."""

_ROWS = {
    "Implicit": {"value": "envelope", **dict.fromkeys(OUTPUTS[1:], "implicit")},
    "Envelope": {"value": "envelope", **dict.fromkeys(OUTPUTS[1:], "none")},
    "Unrolled": dict.fromkeys(OUTPUTS, "unrolled"),
    "Detached": dict.fromkeys(OUTPUTS, "none"),
}

TABLE: dict[tuple[str, str, str], str] = {
    (gradient, output, given): status
    for gradient, row in _ROWS.items()
    for (output, status), given in product(row.items(), INPUTS)
}
"""For a gradient, an output and an input: "envelope" or "implicit", exact at convergence and checked against finite
differences; "unrolled", exact for the iterations that were done; "none", no gradient, rather than a wrong one."""
