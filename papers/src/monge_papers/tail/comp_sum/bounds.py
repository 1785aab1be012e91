"""What a small loss says about accuracy."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge.errors import InputError

from .loss import check_order

__all__ = ["least_risk", "zero_one_bound"]


def least_risk(probabilities: Float[Tensor, "*b c"], order: float = 1.0) -> Float[Tensor, "*b"]:
    r"""The smallest mean loss that any scores reach, where the classes have given probabilities.

    $$\min_h \sum_k p_k \ell_\tau(h, k) = \frac{\bigl(\sum_k p_k^{1 / (2 - \tau)}\bigr)^{2 - \tau} - 1}{1 - \tau},$$
    the entropy of $p$ at order 1, and $(1 - \max_k p_k) / (\tau - 1)$ from order 2 on. The minimum is reached by
    $\mathrm{softmax}(h)_k \propto p_k^{1 / (2 - \tau)}$, or in the limit of scores without bound.

    The *minimisability gap* of a set of networks is what its best network loses to this: the smallest mean loss over
    the set, less the mean of ``least_risk`` over the inputs. It vanishes for a set that holds every function.

    Args:
        probabilities: $p$, of sum 1.
        order: $\tau \ge 0$, the order of `comp_sum_loss`.

    Returns:
        The risk, in the units of the loss.

    Raises:
        InputError: ``probabilities`` are negative or their sum is not 1, or ``order`` is outside its range.

    Example:
        >>> p = torch.tensor([0.5, 0.25, 0.25])
        >>> least_risk(p), least_risk(p, 2.0)  # the entropy, and the chance of a best guess to be wrong
        (tensor(1.0397), tensor(0.5000))

    Source: Mao, Mohri, Zhong, Cross-Entropy Loss Functions: Theoretical Analysis and Applications, arXiv 2304.07288.
    """
    check_order(order)
    off = (probabilities.sum(-1) - 1).abs().max()
    if bool((probabilities < 0).any()) or not bool(off < 1e-4):
        raise InputError(
            f"probabilities must be non-negative with sum 1, but one sum differs by {off:.2g}: divide by the sum."
        )
    # Close to order 1 the quotient of two small numbers would be rounding; entropy is as close as that.
    if abs(order - 1) < torch.finfo(probabilities.dtype).eps ** 0.5:
        return torch.special.entr(probabilities).sum(-1)
    rest = 2 - order
    logarithms = probabilities.log()
    power = rest * (logarithms / rest).logsumexp(-1) if rest > 0 else logarithms.amax(-1)
    return power.expm1() / (1 - order)


def zero_one_bound(excess: Tensor | float, order: float, classes: int) -> Tensor:
    r"""How many more errors than the best classifier a network can make whose loss is small.

    Let the excess $x$ be the mean loss of a network less the mean of `least_risk` over the inputs. Then its share of
    errors exceeds that of the best guess at every input by at most

    ==========================  ======================================
    order                       bound
    ==========================  ======================================
    $0 \le \tau < 1$            $\sqrt{2^\tau (2 - \tau) x}$
    $1 \le \tau < 2$            $\sqrt{2 C^{\tau - 1} x}$
    $\tau \ge 2$                $(\tau - 1) C^{\tau - 1} x$
    ==========================  ======================================

    For small $x$ the root is the worst that can happen up to order 1: no better constant holds. Above, the number of
    classes $C$ enters, which is the price of a loss that forgives wrong labels.

    Args:
        excess: $x \ge 0$, in the units of the loss.
        order: $\tau \ge 0$, the order of `comp_sum_loss`.
        classes: $C \ge 2$.

    Returns:
        The bound, a share of all inputs; above 1 it says nothing.

    Raises:
        InputError: An argument is outside its range.

    Example:
        >>> [round(float(zero_one_bound(0.02, order, 10)), 2) for order in (0.0, 1.0, 2.0)]
        [0.2, 0.2, 0.2]

    Source: Mao, Mohri, Zhong, Cross-Entropy Loss Functions: Theoretical Analysis and Applications, arXiv 2304.07288.
    """
    check_order(order)
    if classes < 2:
        raise InputError(f"classes must be at least 2, but is {classes!r}: with one class there is no error to make.")
    excess = torch.as_tensor(excess)
    if not bool((excess >= 0).all()):
        raise InputError(
            f"excess must be non-negative, but its least number is {excess.min():g}: subtract the least risk."
        )
    if order < 1:
        return (2**order * (2 - order) * excess).sqrt()
    worst = classes ** (order - 1)
    return (2 * worst * excess).sqrt() if order < 2 else (order - 1) * worst * excess
