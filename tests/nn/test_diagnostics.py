"""Diagnostics on couplings whose answers are known."""

from __future__ import annotations

import math

import pytest
import torch

from monge.coupling import DenseCoupling, PermutationCoupling, ProductCoupling
from monge.nn import diagnostics
from monge.nn.couplers import Pivots, Softmax

D = torch.float64


def uniform(n, m):
    return ProductCoupling(torch.full((n,), 1 / n, dtype=D), torch.full((m,), 1 / m, dtype=D))


def test_uniform_attention():
    told = diagnostics.diagnose(uniform(5, 8))
    assert told.row_error < 1e-12
    assert told.column_error < 1e-12
    assert told.entropy.item() == pytest.approx(1.0)
    assert told.rank == 1
    assert told.effective_rank.item() == pytest.approx(1.0)
    assert told.sink.item() == pytest.approx(1 / 8)


def test_a_permutation():
    told = diagnostics.diagnose(PermutationCoupling(torch.tensor([2, 0, 1]), torch.full((3,), 1 / 3, dtype=D)))
    assert told.entropy.item() == pytest.approx(0.0, abs=1e-12)
    assert told.rank == 3
    assert told.effective_rank.item() == pytest.approx(3.0)


def test_a_sink():
    matrix = torch.full((4, 4), 0.1 / 3, dtype=D)
    matrix[:, 1] = 0.9
    plan = DenseCoupling(matrix / 4)
    assert diagnostics.sink_share(plan)[1].item() == pytest.approx(0.9)
    _, column = diagnostics.marginal_error(plan)
    assert column.item() == pytest.approx(2.6)


def test_padding_is_not_an_error_but_mass_on_it_is():
    q, k = torch.randn(2, 3, 6, 4, dtype=D), torch.randn(2, 3, 9, 4, dtype=D)
    pad = torch.arange(9) >= torch.tensor([[9], [5]])
    plan = Pivots(3, 4, 5).double()(q, k, None, pad)
    row, column = diagnostics.marginal_error(plan, None, pad[:, None])
    assert max(row.max(), column.max()) < 1e-12
    _, column = diagnostics.marginal_error(plan, None, ~pad[:, None])
    assert column[1].min() > 0.5
    told = diagnostics.diagnose(plan, None, pad[:, None])
    assert tuple(told.entropy.shape) == (2, 3)
    assert (told.rank <= 5).all()
    assert ((told.entropy > 0) & (told.entropy <= 1 + 1e-12)).all()


def test_entropy_of_one_key_is_zero():
    assert diagnostics.row_entropy(uniform(5, 1)).item() == 0.0


def test_entropy_does_not_depend_on_blocks():
    plan = Softmax()(torch.randn(1, 2, 40, 4, dtype=D), torch.randn(1, 2, 30, 4, dtype=D))
    whole = diagnostics.row_entropy(plan)
    torch.testing.assert_close(diagnostics.row_entropy(plan, max_bytes=1000), whole)
    matrix = diagnostics.attention_matrix(plan)
    torch.testing.assert_close(whole, -(matrix * matrix.log()).sum(-1).mean(-1) / math.log(30))


def test_effective_rank_is_between_one_and_the_rank():
    plan = Pivots(2, 4, 5)(torch.randn(1, 2, 40, 4), torch.randn(1, 2, 40, 4))
    effective = diagnostics.effective_rank(plan)
    assert ((effective >= 1) & (effective <= 5 + 1e-3)).all()
