"""Small Transformers that classify sequences with any coupler: recipes, grids, honest tables."""

from .batches import Batch, Batches
from .block import Block
from .classification import classification
from .classifier import Classifier
from .coupler_config import CouplerConfig
from .encoder import Encoder
from .fit import fit, load
from .grid import grid
from .model_config import ModelConfig
from .pooling import POOLINGS, Pooling
from .recipe import Recipe
from .recipes import RECIPES, recipe
from .report import write_report
from .result import Result
from .schedule_config import ScheduleConfig
from .summary import HEADINGS, Summary, summarise

__all__ = [
    "HEADINGS",
    "POOLINGS",
    "RECIPES",
    "Batch",
    "Batches",
    "Block",
    "Classifier",
    "CouplerConfig",
    "Encoder",
    "ModelConfig",
    "Pooling",
    "Recipe",
    "Result",
    "ScheduleConfig",
    "Summary",
    "classification",
    "fit",
    "grid",
    "load",
    "recipe",
    "summarise",
    "write_report",
]
