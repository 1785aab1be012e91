"""One training loop for any objective on any data: a run that was stopped continues to exactly the same result."""

from monge._progress import Progress

from .checkpoint import Checkpoint
from .data import Data, checksum
from .journal import Journal, read_records
from .machine import MachineConfig
from .memory import peak_bytes
from .objective import Figures, Objective, lowest
from .order import Order, dealt
from .outcome import Outcome
from .schedule import Schedule
from .seeds import mixed, seeded
from .step import Step
from .trained import Trained
from .trainer import Trainer, moved
from .world import World, world

__all__ = [
    "Checkpoint",
    "Data",
    "Figures",
    "Journal",
    "MachineConfig",
    "Objective",
    "Order",
    "Outcome",
    "Progress",
    "Schedule",
    "Step",
    "Trained",
    "Trainer",
    "World",
    "checksum",
    "dealt",
    "lowest",
    "mixed",
    "moved",
    "peak_bytes",
    "read_records",
    "seeded",
    "world",
]
