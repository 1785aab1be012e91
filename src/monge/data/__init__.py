"""Readers of point clouds and weights, small seeded generators, two real photographs; nothing is downloaded."""

from __future__ import annotations

from .generators import checkerboard, gaussian, mixture, moons, rings, spiral
from .photographs import photographs
from .readers import FORMATS, read_points, read_weights
from .task import Split, Task

__all__ = [
    "FORMATS",
    "Split",
    "Task",
    "checkerboard",
    "gaussian",
    "mixture",
    "moons",
    "photographs",
    "read_points",
    "read_weights",
    "rings",
    "spiral",
]
