"""Costs as operators: they say what each pair of points costs, without a matrix of all pairs."""

from ._range import log_largest, log_reach
from .base import Geometry
from .circle import Circle
from .cost_matrix import CostMatrix
from .graph import Graph
from .grid import Grid
from .line import Line
from .low_rank_cost import LowRankCost
from .point_cloud import PointCloud
from .sphere import Sphere
from .sum import Sum
from .tree import Tree

__all__ = [
    "Circle",
    "CostMatrix",
    "Geometry",
    "Graph",
    "Grid",
    "Line",
    "LowRankCost",
    "PointCloud",
    "Sphere",
    "Sum",
    "Tree",
    "log_largest",
    "log_reach",
]
