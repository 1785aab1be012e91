"""Attention whose weights are balanced, go through a few pivots, or are dropped at random."""

from .balanced import balanced_apply, half_steps, log_sum_exp, row_shares
from .dropped import dropped_softmax, dropping
from .pivots import assign, maximal_coupling, mix, occupancy, on_device, pivot_apply
from .small import small_plans

__all__ = [
    "assign",
    "balanced_apply",
    "dropped_softmax",
    "dropping",
    "half_steps",
    "log_sum_exp",
    "maximal_coupling",
    "mix",
    "occupancy",
    "on_device",
    "pivot_apply",
    "row_shares",
    "small_plans",
]
