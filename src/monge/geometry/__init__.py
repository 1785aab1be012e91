"""Costs as operators: they say what each pair of points costs, without a matrix of all pairs."""

from monge._value import value

from ._range import log_largest, log_reach
from .base import Geometry
from .circle import Circle
from .cost_matrix import CostMatrix
from .costs import COSTS, cost_between
from .graph import Graph
from .grid import Grid
from .line import Line
from .low_rank_cost import LowRankCost
from .point_cloud import PointCloud
from .sparse_cost import SparseCost
from .sphere import Sphere
from .sum import Sum
from .tree import Tree

__all__ = [
    "COSTS",
    "Circle",
    "CostMatrix",
    "Geometry",
    "Graph",
    "Grid",
    "Line",
    "LowRankCost",
    "PointCloud",
    "SparseCost",
    "Sphere",
    "Sum",
    "Tree",
    "cost_between",
    "log_largest",
    "log_reach",
    "value",
]
