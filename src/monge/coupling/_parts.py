"""What plans are made of, under one roof: imported by the operations on plans when the first is asked for."""

from ._selected import Selected
from ._sparsify import sparsify
from .glued import GluedCoupling, diagonal
from .product import ProductCoupling
from .sparse import SparseCoupling
from .sum import SumCoupling
from .transport_map import TransportMap

__all__ = [
    "GluedCoupling",
    "ProductCoupling",
    "Selected",
    "SparseCoupling",
    "SumCoupling",
    "TransportMap",
    "diagonal",
    "sparsify",
]
