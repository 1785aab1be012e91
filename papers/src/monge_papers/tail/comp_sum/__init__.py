"""Comp-sum losses: cross-entropy, its relatives, their adversarial form, and what they say about accuracy."""

from .adversarial import AdversarialCompSumLoss, adversarial_comp_sum_loss
from .ascent import Ascent
from .bounds import least_risk, zero_one_bound
from .loss import CompSumLoss, comp_sum_loss

__all__ = [
    "AdversarialCompSumLoss",
    "Ascent",
    "CompSumLoss",
    "adversarial_comp_sum_loss",
    "comp_sum_loss",
    "least_risk",
    "zero_one_bound",
]
