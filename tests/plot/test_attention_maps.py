"""Pictures of attention show shares of queries and what keys receive."""

from __future__ import annotations

import math

import pytest
import torch

from monge.coupling import DenseCoupling, ProductCoupling
from monge.errors import InputError, ShapeError
from monge.nn.couplers import Pivots, Softmax

pytest.importorskip("matplotlib")

from monge.plot import attention_maps


def panels(picture):
    return [axes for axes in picture.axes if axes.images]


def test_cells_are_powers_of_the_equal_share() -> None:
    matrix = torch.tensor([[0.5, 0.25, 0.25], [1 / 6, 1 / 6, 2 / 3]], dtype=torch.float64) / 2
    (panel,) = panels(attention_maps(DenseCoupling(matrix)))
    torch.testing.assert_close(torch.from_numpy(panel.images[0].get_array().data), (6 * matrix).log2())
    strip = panel.child_axes[0]
    height = strip.collections[0].get_paths()[0].vertices[:, 1].max()
    assert height == pytest.approx(3 * float(matrix.sum(0).max()))


def test_equal_shares_are_in_the_middle_and_extremes_saturate() -> None:
    uniform = ProductCoupling(torch.full((5,), 0.2), torch.full((7,), 1 / 7))
    (panel,) = panels(attention_maps(uniform))
    assert abs(panel.images[0].get_array()).max() < 1e-5
    (panel,) = panels(attention_maps(DenseCoupling(torch.eye(64) / 64), limit=8))
    assert panel.images[0].get_array().min() == -3
    assert panel.images[0].get_array().max() == 3


def test_heads_names_and_padding() -> None:
    q, k = torch.randn(2, 6, 4), torch.randn(2, 9, 4)
    pad = torch.arange(9) >= 7
    picture = attention_maps(Softmax()(q, k, None, pad), columns=1)
    shown = panels(picture)
    assert [panel.get_title() for panel in shown] == ["head 0", "head 1"]
    cells = shown[0].images[0].get_array()
    assert cells.shape == (6, 9)
    assert cells.mask[:, 7:].all()
    assert not cells.mask[:, :7].any()
    row = torch.from_numpy(cells.data[:, :7]).exp2().sum(1)
    torch.testing.assert_close(row, torch.full((6,), 7.0, dtype=torch.float64), rtol=0.05, atol=0)
    named = attention_maps({"one": Softmax()(q, k)[0], "two": Pivots(2, 4, 3)(q, k)[1]})
    assert [panel.get_title() for panel in panels(named)] == ["one", "two"]


def test_long_sequences_are_averaged() -> None:
    q = torch.randn(1, 300, 4)
    (panel,) = panels(attention_maps(Softmax()(q, q), resolution=10))
    assert panel.images[0].get_array().shape == (10, 10)
    assert math.isfinite(panel.images[0].get_array().sum())


def test_messages() -> None:
    q = torch.randn(2, 2, 6, 4)
    with pytest.raises(ShapeError, match="one batch dimension is drawn"):
        attention_maps(Softmax()(q, q))
    with pytest.raises(ShapeError, match="choose a head"):
        attention_maps({"both": Softmax()(q[0], q[0])})
    with pytest.raises(InputError, match="maps is empty"):
        attention_maps({})
