"""Transport plans as linear operators with marginals: one class for each way to store a plan."""

from monge._value import value

from .base import Coupling
from .dense import DenseCoupling
from .factored import FactoredCoupling
from .glued import GluedCoupling
from .mixture import MixtureCoupling
from .monotone import MonotoneCoupling
from .permutation import PermutationCoupling
from .potential import PotentialCoupling
from .product import ProductCoupling
from .sparse import SparseCoupling
from .sum import SumCoupling
from .transport_map import TransportMap

__all__ = [
    "Coupling",
    "DenseCoupling",
    "FactoredCoupling",
    "GluedCoupling",
    "MixtureCoupling",
    "MonotoneCoupling",
    "PermutationCoupling",
    "PotentialCoupling",
    "ProductCoupling",
    "SparseCoupling",
    "SumCoupling",
    "TransportMap",
    "value",
]
