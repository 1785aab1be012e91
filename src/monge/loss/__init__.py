"""Losses between point clouds, as modules: a transport loss in one line of a training loop."""

from .chamfer import ChamferLoss
from .earth_mover import EarthMoverLoss
from .loss import Loss
from .sinkhorn import SinkhornLoss
from .sliced import SlicedLoss

__all__ = ["ChamferLoss", "EarthMoverLoss", "Loss", "SinkhornLoss", "SlicedLoss"]
