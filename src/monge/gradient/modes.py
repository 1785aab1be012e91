"""Which mode of differentiation goes through which function: a table for the documentation and the tests."""

from __future__ import annotations

__all__ = ["MODES", "MODE_TABLE"]

MODES = (
    "backward",
    "double backward",
    "forward_ad",
    "func.grad",
    "func.vjp",
    "func.jvp",
    "func.jvp of func.grad",
    "vmap",
)
"""How a function is differentiated, or mapped: ``torch.autograd.grad`` once and twice, ``torch.autograd.forward_ad``,
the transforms of ``torch.func``, and ``torch.vmap``."""

_EVERY = dict.fromkeys(MODES, "yes")
_NONE = {**dict.fromkeys(MODES, "refused"), "backward": "none", "double backward": "none", "vmap": "yes"}
_NEVER = {**dict.fromkeys(MODES, "refused"), "vmap": "yes"}
_ONCE = {**_EVERY, "double backward": "refused", "func.jvp of func.grad": "refused"}

_YES = (
    "couple, exact",
    "couple, entropic",
    "couple, by Newton",
    "couple, unbalanced",
    "couple, partial",
    "couple, a learned cost",
    "couple, weights",
    "divergence",
    "divergence, weights",
    "wasserstein, exact",
    "wasserstein, exact, weights",
    "wasserstein, entropic",
    "pairwise",
    "barycenter",
    "solve, Implicit",
    "solve, Implicit, potentials",
    "solve, Unrolled",
    "solve, Simplex",
    "solve, Sorted",
    "solve, Sorted, weights",
    "solve, Simplex, unbalanced",
    "solve, exact partial",
    "Coupling.entropy",
    "Coupling.kl",
    "Coupling.round",
    "sliced_wasserstein",
    "sliced_wasserstein, order 3",
    "sliced_wasserstein, weights",
    "sliced_wasserstein, directions",
    "sliced_wasserstein, spheres",
    "energy_based_sliced_wasserstein",
    "spherical_sliced_wasserstein",
    "tree_sliced_wasserstein",
    "sliced_gromov_wasserstein",
    "sliced_partial_wasserstein",
    "sliced_embedding",
    "expected_sliced_plan",
    "lap_sort",
    "kernels.softmin",
    "kernels.apply",
    "kernels.line_distance",
    "kernels.circle_distance",
    "kernels.linear_circle_distance",
    "kernels.monotone",
    "kernels.partial_cost",
    "kernels.argsort",
    "functional.sinkhorn_attention, implicit",
    "functional.sliced_attention",
    "nn.Attention",
    "attention, softmax",
    "attention, sinkhorn",
    "attention, pivots",
    "attention, entropic-pivots",
    "attention, expected-slices",
    "attention, soft-slices",
    "attention, linear",
    "attention, performer",
    "attention, luna",
    "attention, qr",
    "attention, cayley",
    "attention, circuit",
    "attention, causal-pivots",
    "attention, blend",
    "attention, hybrid",
    "attention, prior",
)

_ROWS = {
    **dict.fromkeys(_YES, _EVERY),
    "sliced_wasserstein, drawn": {**_EVERY, "vmap": "randomness"},
    "solve, Envelope, value": _ONCE,
    "solve, exact, points and weights": _ONCE,
    "couple, exact, weights": _NEVER,
    "couple, Envelope": _NONE,
    "solve, Detached": _NONE,
    "barycenter_on": _NONE,
    "pairwise_sliced_wasserstein": _NONE,
}

MODE_TABLE: dict[tuple[str, str], str] = {(row, mode): row_of[mode] for row, row_of in _ROWS.items() for mode in MODES}
"""For a function and a mode: "yes", right by finite differences; "refused", an error of the library that says what to
do; "none", an answer outside the graph of autograd; "randomness", right once ``torch.vmap`` is told how to draw."""
