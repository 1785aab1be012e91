"""Small Transformers with any coupler: one schedule, exact resume, honest tables."""

from __future__ import annotations

from .batches import Batch, Batches
from .block import Block
from .checkpoint import Checkpoint
from .classifier import Classifier
from .coupler_config import CouplerConfig
from .encoder import Encoder
from .fit import fit
from .grid import grid
from .machine_config import MachineConfig
from .model_config import ModelConfig
from .pooling import Pooling
from .progress import Progress
from .recipe import Recipe
from .recipes import RECIPES, recipe
from .report import write_report
from .result import Result
from .schedule_config import ScheduleConfig
from .summary import Summary, summarise
from .trained import Trained, load
from .world import World, world

__all__ = [
    "RECIPES",
    "Batch",
    "Batches",
    "Block",
    "Checkpoint",
    "Classifier",
    "CouplerConfig",
    "Encoder",
    "MachineConfig",
    "ModelConfig",
    "Pooling",
    "Progress",
    "Recipe",
    "Result",
    "ScheduleConfig",
    "Summary",
    "Trained",
    "World",
    "fit",
    "grid",
    "load",
    "recipe",
    "summarise",
    "world",
    "write_report",
]
