"""Problems: a cost, and what is asked of each marginal."""

from .at_most import AtMost
from .base import Problem
from .epsilon import Relative, relative
from .fixed import Fixed
from .free import Free
from .linear import Linear, Terms
from .marginal import Marginal
from .penalty import PENALTIES, Penalty
from .referenced import Referenced
from .relaxed import Relaxed
from .sparse_linear import SparseLinear, SparseTerms
from .traits import TRAITS

__all__ = [
    "PENALTIES",
    "TRAITS",
    "AtMost",
    "Fixed",
    "Free",
    "Linear",
    "Marginal",
    "Penalty",
    "Problem",
    "Referenced",
    "Relative",
    "Relaxed",
    "SparseLinear",
    "SparseTerms",
    "Terms",
    "relative",
]
