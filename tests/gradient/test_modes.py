"""Every cell of the table of modes, against finite differences in float64; and no tangent that is silently zero."""

from __future__ import annotations

import pytest
import torch
import torch.autograd.forward_ad as forward
from rows_of_modes import ROWS, normal
from torch import Tensor

from monge.errors import CapabilityError, InputError
from monge.gradient import MODE_TABLE, MODES
from monge.nn.couplers import names

STEP = 1e-5


class Differentiated:
    """A row at one point, in one direction, with one cotangent: what it is by finite differences and in every mode."""

    def __init__(self, row: str) -> None:
        self.f, shape = ROWS[row]
        self.x, self.v = normal(*shape, seed=30), normal(*shape, seed=31)
        self.w = normal(*self.f(self.x).shape, seed=32)

    def loss(self, x: Tensor) -> Tensor:
        return (self.f(x) * self.w).sum()

    def slope(self, x: Tensor, *, twice: bool = False) -> Tensor:
        x = x.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(self.loss(x), x, create_graph=twice)
        if not twice:
            return slope
        if not slope.requires_grad:  # linear in the points, the plan being fixed
            return torch.zeros_like(x)
        return torch.autograd.grad((slope * self.v).sum(), x, allow_unused=True, materialize_grads=True)[0]

    def difference(self, function) -> Tensor:
        return (function(self.x + STEP * self.v) - function(self.x - STEP * self.v)) / (2 * STEP)

    def expected(self, mode: str) -> Tensor:
        """What is right, by finite differences of the level below."""
        if mode in ("forward_ad", "func.jvp"):
            return self.difference(self.f)
        if mode in ("backward", "func.grad", "func.vjp"):
            return self.difference(self.loss)
        if mode in ("double backward", "func.jvp of func.grad"):
            return self.difference(self.slope)
        return torch.stack([self.f(self.x), self.f(self.x + 0.01 * self.v)])

    def found(self, mode: str) -> Tensor:
        """The same by the mode itself; gradients are contracted with the direction."""
        x, v = self.x, self.v
        if mode == "backward":
            return (self.slope(x) * v).sum()
        if mode == "double backward":
            return self.slope(x, twice=True)
        if mode == "forward_ad":
            with forward.dual_level():
                tangent = forward.unpack_dual(self.f(forward.make_dual(x, v))).tangent
            return torch.zeros_like(self.f(x)) if tangent is None else tangent
        if mode == "func.grad":
            return (torch.func.grad(self.loss)(x) * v).sum()
        if mode == "func.vjp":
            return (torch.func.vjp(self.f, x)[1](self.w)[0] * v).sum()
        if mode == "func.jvp":
            return torch.func.jvp(self.f, (x,), (v,))[1]
        if mode == "func.jvp of func.grad":
            return torch.func.jvp(torch.func.grad(self.loss), (x,), (v,))[1]
        return torch.vmap(self.f)(torch.stack([x, x + 0.01 * v]))


def test_the_table_and_its_rows_are_one():
    assert {row for row, _ in MODE_TABLE} == set(ROWS)
    assert len(MODE_TABLE) == len(ROWS) * len(MODES)
    assert {f"attention, {name}" for name in names()} <= set(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_every_cell(row):
    told = Differentiated(row)
    for mode in MODES:
        cell = MODE_TABLE[row, mode]
        if cell == "none":
            assert not told.f(told.x.clone().requires_grad_()).requires_grad
        elif cell == "refused":
            with pytest.raises(CapabilityError, match=r"(detach|Implicit\(\))"):
                told.found(mode)
        elif cell == "randomness":
            with pytest.raises(InputError, match="randomness='same'"):
                told.found(mode)
            same = torch.vmap(told.f, randomness="same")(torch.stack([told.x, told.x]))
            torch.testing.assert_close(same[0], same[1])
        else:
            expected = told.expected(mode)
            scale = float(expected.detach().abs().max()) + 1e-2
            torch.testing.assert_close(
                told.found(mode), expected, rtol=0, atol=5e-5 * scale, msg=f"{row}, {mode}: {{}}"
            )
