"""Traits: the words that say what kind of problem a problem is, and which problems a solver treats."""

from __future__ import annotations

__all__ = ["TRAITS"]

TRAITS: dict[str, str] = {
    "linear": "treats Linear problems",
    "sparse": "treats SparseLinear problems",
    "points": "needs the points themselves, as in PointCloud(x, y)",
    "line": "needs points on a line and a convex cost of their difference, |x - y|^p with p >= 1 or -xy",
    "exact": "is exact: it needs epsilon=0",
    "entropic": "needs a positive epsilon (Simplex, Assignment and InteriorPoint are exact)",
    "balanced": "needs two Fixed marginals",
    "priced": "needs marginals of linear price: Fixed, AtMost, Free or Relaxed at linear rates, such as penalty='tv'",
    "square": "needs as many rows as columns",
    "uniform": "needs equal weights",
}
"""A trait, and what a solver that asks for it tells of itself. A problem's traits are a set of them, `Problem.traits`;
a solver treats the problems that have all of its own, `Solver.treats`."""
