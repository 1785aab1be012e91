"""Loops along the line and the circle: sorting, monotone plans, distances and partial transport of many rows."""

from ._rows import RowProblem, levels, row_problem, staircase
from .circle import circle_distance, circle_shift, linear_circle_distance
from .monotone import monotone
from .partial import Pieces, Profile, partial_cost, partial_plan, partial_profile
from .sort import argsort, sort
from .straight import line_distance, line_potentials

__all__ = [
    "Pieces",
    "Profile",
    "RowProblem",
    "argsort",
    "circle_distance",
    "circle_shift",
    "levels",
    "line_distance",
    "line_potentials",
    "linear_circle_distance",
    "monotone",
    "partial_cost",
    "partial_plan",
    "partial_profile",
    "row_problem",
    "sort",
    "staircase",
]
