"""The largest tensor on the way to an answer is seen, forward and backward, whatever is kept of it."""

from __future__ import annotations

import torch

from monge.testing import LargestTensor


def test_a_tensor_that_is_gone_was_there():
    x = torch.rand(30, 1, dtype=torch.float64)
    with LargestTensor() as largest:
        total = (x - x.T).sum()
    assert total.numel() == 1
    assert (largest.bytes, largest.numbers) == (8 * 30 * 30, 30 * 30)


def test_views_count_as_what_they_are_views_of():
    x = torch.rand(100, dtype=torch.float32)
    with LargestTensor() as largest:
        x[:3].expand(1000, 3)
    assert (largest.bytes, largest.numbers) == (400, 3000)


def test_the_backward_pass_is_seen():
    x = torch.rand(40, requires_grad=True)

    class Outer(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.square().sum()

        @staticmethod
        def backward(ctx, slope):
            (x,) = ctx.saved_tensors
            return slope * (x[:, None] * torch.eye(40)).sum(1) * 2

    with LargestTensor() as largest:
        value = Outer.apply(x)
        assert largest.numbers <= 40
        value.backward()
    assert largest.numbers == 1600
