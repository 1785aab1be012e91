"""Registration of point clouds by partial transport: rigid motions and smooth warps, with outliers on both sides."""

from .correspondence import Correspondence, Plans, Slices
from .nonrigid import nonrigid
from .result import Registration, RigidRegistration, Verdict
from .rigid import rigid
from .transformation import Rigid, Transformation, Warp

__all__ = [
    "Correspondence",
    "Plans",
    "Registration",
    "Rigid",
    "RigidRegistration",
    "Slices",
    "Transformation",
    "Verdict",
    "Warp",
    "nonrigid",
    "rigid",
]
