"""Readers and seeded generators: point clouds, photographs, and sequences to classify; nothing is downloaded."""

from .arena import long_range_arena
from .byte_text import byte_text
from .digits import digits
from .generators import checkerboard, gaussian, mixture, moons, rings, spiral
from .list_operations import evaluate_list_operations, list_operations, list_operations_text
from .pathfinder import pathfinder
from .photographs import photographs
from .readers import FORMATS, read_points, read_weights
from .task import Split, Task

__all__ = [
    "FORMATS",
    "Split",
    "Task",
    "byte_text",
    "checkerboard",
    "digits",
    "evaluate_list_operations",
    "gaussian",
    "list_operations",
    "list_operations_text",
    "long_range_arena",
    "mixture",
    "moons",
    "pathfinder",
    "photographs",
    "read_points",
    "read_weights",
    "rings",
    "spiral",
]
