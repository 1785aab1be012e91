"""What every coupler must do, whatever it is."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from monge.errors import CapabilityError, ShapeError
from monge.nn import Attention
from monge.nn.couplers import Coupler, names

from . import small

HEADS, WIDTH, VALUE = 3, 8, 5
NAMES = [*names(), *small.VARIANTS]
# Their tokens have places, so that an order of them means something.
ORDERED = {"qr", "circuit", "causal-pivots", "hybrid", "prior", "hybrid of slices", "prior of a plan"}


def make(name: str, dtype: torch.dtype = torch.float32) -> Coupler:
    return small.make(name, HEADS, WIDTH, dtype=dtype)


def draw(*shape: int, scale: float = 1.0, dtype: torch.dtype = torch.float32, seed: int = 0):
    return scale * torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def inputs(n: int, m: int, dtype: torch.dtype = torch.float32, batch: int = 2, scale: float = 1.0):
    return (
        draw(batch, HEADS, n, WIDTH, scale=scale, dtype=dtype, seed=1),
        draw(batch, HEADS, m, WIDTH, scale=scale, dtype=dtype, seed=2),
        draw(batch, HEADS, m, VALUE, dtype=dtype, seed=3),
    )


def columns_of(coupler: Coupler, n: int) -> int:
    return n if coupler.promise.square else n + 4


def last(n: int, *counts: int) -> torch.Tensor:
    """Padding of the last tokens of every sample."""
    return torch.stack([torch.arange(n) >= n - count for count in counts])


@pytest.mark.parametrize("name", NAMES)
class TestEveryCoupler:
    @pytest.mark.parametrize("n", [1, 2, 13, 63])
    def test_rows_and_columns_within_the_promise(self, name: str, n: int):
        coupler = make(name)
        if name == "circuit" and n > 16:
            pytest.skip("a circuit has a fixed number of tokens")
        m = columns_of(coupler, n)
        q, k, _ = inputs(n, m)
        plan = coupler(q, k)
        rows, columns = plan.marginals()
        assert (plan.dense() >= -1e-7).all()
        if coupler.promise.rows is not None:
            assert (n * rows - 1).abs().max() < coupler.promise.rows
        if coupler.promise.columns is not None:
            assert (m * columns - 1).abs().max() < coupler.promise.columns

    @pytest.mark.parametrize("n", [1, 2, 13])
    def test_attend_is_the_barycentre(self, name: str, n: int):
        coupler = make(name, torch.float64)
        m = columns_of(coupler, n)
        q, k, v = inputs(n, m, torch.float64)
        pad = last(n, 0, n // 2)
        key_pad = pad if coupler.promise.square else last(m, 3, 0)
        for masks in ((None, None), (pad, key_pad)):
            plan = coupler(q, k, *masks)
            torch.testing.assert_close(coupler.attend(q, k, v, *masks), plan.barycentric(v), rtol=1e-10, atol=1e-10)
            dense = plan.dense()
            weights = dense / dense.sum(-1, keepdim=True).clamp_min(1e-300)
            torch.testing.assert_close(coupler.attend(q, k, v, *masks), weights @ v, rtol=1e-10, atol=1e-10)

    def test_padding_has_no_mass_and_its_content_does_not_matter(self, name: str):
        coupler = make(name, torch.float64)
        n = 9
        m = columns_of(coupler, n)
        q, k, v = inputs(n, m, torch.float64)
        pad = last(n, 0, 4)
        key_pad = pad if coupler.promise.square else last(m, 3, 0)
        rows, columns = coupler(q, k, pad, key_pad).marginals()
        hidden, hidden_keys = pad[:, None].expand_as(rows), key_pad[:, None].expand_as(columns)
        assert (rows[hidden] == 0).all()
        assert (columns[hidden_keys] == 0).all()
        if coupler.promise.rows is not None:
            torch.testing.assert_close(
                rows[~hidden], (1 / (~pad).sum(-1))[:, None, None].expand_as(rows)[~hidden].double()
            )
        if coupler.promise.columns is not None:
            expected = (1 / (~key_pad).sum(-1))[:, None, None].expand_as(columns)[~hidden_keys].double()
            torch.testing.assert_close(columns[~hidden_keys], expected)
        out = coupler.attend(q, k, v, pad, key_pad)
        assert (out[pad[:, None].expand(out.shape[:-1])] == 0).all()
        loud_q = torch.where(pad[:, None, :, None], 1e3 * q + 7, q)
        loud_k = torch.where(key_pad[:, None, :, None], torch.nan, k)
        loud_v = torch.where(key_pad[:, None, :, None], torch.nan, v)
        assert torch.equal(out, coupler.attend(loud_q, loud_k, loud_v, pad, key_pad))

    def test_more_padding_changes_nothing(self, name: str):
        coupler = make(name, torch.float64)
        n = 7
        q, k, v = inputs(n, n, torch.float64)
        out = coupler.attend(q, k, v)
        q, k, v = (torch.nn.functional.pad(t, (0, 0, 0, 5), value=3.0) for t in (q, k, v))
        pad = last(n + 5, 5, 5)
        torch.testing.assert_close(coupler.attend(q, k, v, pad, pad)[:, :, :n], out, rtol=1e-9, atol=1e-9)

    def test_a_sample_without_keys_gives_zero(self, name: str):
        coupler = make(name)
        q, k, v = (t.requires_grad_() for t in inputs(6, 6))
        pad = last(6, 6, 2)
        out = coupler.attend(q, k, v, pad, pad)
        out.square().sum().backward()
        assert (out[0] == 0).all()
        assert all(t.grad is not None and t.grad.isfinite().all() for t in (q, k, v))
        assert all((t.grad[0] == 0).all() for t in (q, k, v))

    def test_absent_queries_alone_read_nothing_in_the_dtype_of_the_values(self, name: str):
        coupler = make(name)
        if coupler.promise.square:
            pytest.skip("queries are absent where keys are")
        q, k, v = inputs(6, 9)
        pad = last(6, 0, 2)
        out = coupler.attend(q, k, v.double(), pad, None)
        assert out.dtype == torch.float64
        assert (out[1, :, 4:] == 0).all()
        expected = coupler.attend(q[1:, :, :4], k[1:], v[1:].double())
        torch.testing.assert_close(out[1:, :, :4], expected, rtol=1e-4, atol=1e-5)

    def test_all_but_one_key_padded(self, name: str):
        coupler = make(name, torch.float64)
        n = 5
        m = columns_of(coupler, n)
        q, k, v = inputs(n, m, torch.float64)
        key_pad = last(m, m - 1, m - 1)
        pad = key_pad if coupler.promise.square else None
        out = coupler.attend(q, k, v, pad, key_pad)[:, :, :1]
        torch.testing.assert_close(out, v[:, :, :1])

    def test_one_key_for_many_queries(self, name: str):
        coupler = make(name, torch.float64)
        if coupler.promise.square:
            pytest.skip("as many keys as queries")
        q, k, v = inputs(6, 1, torch.float64)
        torch.testing.assert_close(coupler.attend(q, k, v), v.expand(-1, -1, 6, -1))

    def test_a_query_without_any_pair_gives_zero(self, name: str):
        coupler = make(name)
        if not coupler.promise.pairs or name == "sinkhorn, streamed":
            pytest.skip("sees no pairs")
        forbidden = torch.zeros(6, 6, dtype=torch.bool)
        forbidden[2] = True
        for pairs in (forbidden, torch.zeros(6, 6).masked_fill(forbidden, -torch.inf)):
            q, k, v = (t.requires_grad_() for t in inputs(6, 6))
            out = coupler.attend(q, k, v, pairs=pairs)
            out.square().sum().backward()
            assert (out[:, :, 2] == 0).all()
            assert (out[:, :, [0, 1, 3, 4, 5]] != 0).any(-1).all()
            assert all(t.grad is not None and t.grad.isfinite().all() for t in (q, k, v))
            assert (q.grad[:, :, 2] == 0).all()

    def test_rank(self, name: str):
        coupler = make(name, torch.float64)
        bounds = {
            "pivots": 6, "pivots, iterated": 6, "entropic-pivots": 6, "linear": WIDTH, "performer": 24, "luna": 12,
            "luna, softplus": 12, "blend without softmax": WIDTH + 6,
        }  # fmt: skip
        if name not in bounds:
            pytest.skip("nothing is promised")
        q, k, _ = inputs(40, 40, torch.float64, scale=3.0)
        assert (torch.linalg.matrix_rank(coupler(q, k).dense()) <= bounds[name]).all()

    def test_no_samples_at_all(self, name: str):
        coupler = make(name)
        q, k, v = inputs(5, 5, batch=2)
        assert coupler.attend(q[:0], k[:0], v[:0]).shape == (0, HEADS, 5, VALUE)
        q, k, v = (t[:0, None] for t in (q, k, v))
        assert coupler.attend(q, k, v).shape == (0, 1, HEADS, 5, VALUE)

    def test_permutation_equivariance(self, name: str):
        coupler = make(name, torch.float64)
        if name in ORDERED:
            pytest.skip("the order of the tokens matters")
        q, k, v = inputs(11, 11, torch.float64)
        order = torch.randperm(11, generator=torch.Generator().manual_seed(5))
        out = coupler.attend(q, k, v)
        moved = coupler.attend(q[:, :, order], k[:, :, order], v[:, :, order])
        torch.testing.assert_close(moved, out[:, :, order], rtol=1e-9, atol=1e-9)
        if not coupler.promise.square:
            moved = coupler.attend(q, k[:, :, order], v[:, :, order])
            torch.testing.assert_close(moved, out, rtol=1e-9, atol=1e-9)

    def test_batch_independence(self, name: str):
        # Different parameters per head, three samples: an order of heads and samples mixed up anywhere shows here.
        coupler = make(name, torch.float64)
        q, k, v = inputs(6, 6, torch.float64, batch=3)
        out = coupler.attend(q, k, v)
        for sample in range(3):
            alone = coupler.attend(*(t[sample : sample + 1] for t in (q, k, v)))
            torch.testing.assert_close(out[sample], alone[0], rtol=1e-9, atol=1e-9)
        unbatched = coupler.attend(q[1], k[1], v[1])
        torch.testing.assert_close(out[1], unbatched, rtol=1e-9, atol=1e-9)

    def test_constant_values_and_mean(self, name: str):
        coupler = make(name, torch.float64)
        q, k, v = inputs(8, 8, torch.float64)
        if coupler.promise.rows is not None:
            out = coupler.attend(q, k, torch.full_like(v, 3.0))
            torch.testing.assert_close(out, torch.full_like(out, 3.0))
        if coupler.promise.columns is not None:
            torch.testing.assert_close(coupler.attend(q, k, v).mean(-2), v.mean(-2))

    def test_gradients_of_inputs_and_parameters(self, name: str):
        coupler = small.make(name, 2, 3, dtype=torch.float64, tiny=True)
        q, k, v = (draw(1, 2, 4, width, dtype=torch.float64, seed=seed) for seed, width in ((1, 3), (2, 3), (3, 2)))
        pad = last(4, 1)
        parameters = {key: p.detach() for key, p in coupler.named_parameters() if p.requires_grad}

        def attend(q, k, v, *values):
            named = dict(zip(parameters, values, strict=True))

            class Call(torch.nn.Module):
                def __init__(self):
                    super().__init__()
                    self.coupler = coupler

                def forward(self, *args):
                    return self.coupler.attend(*args)

            return torch.func.functional_call(
                Call(), {f"coupler.{key}": value for key, value in named.items()}, (q, k, v, pad, pad)
            )

        arguments = [t.clone().requires_grad_() for t in (q, k, v, *parameters.values())]
        assert torch.autograd.gradcheck(attend, arguments, atol=1e-6, rtol=1e-4, fast_mode=True)

    @pytest.mark.parametrize("scale", [1e-3, 50.0, 1e4])
    def test_extreme_scores_stay_finite(self, name: str, scale: float):
        coupler = make(name).train()
        q, k, v = (t.requires_grad_() for t in inputs(12, 12))
        out = coupler.attend(q * scale**0.5, k * scale**0.5, v)
        out.square().sum().backward()
        assert out.isfinite().all()
        assert all(t.grad is not None and t.grad.isfinite().all() for t in (q, k, v))
        assert all(p.grad.isfinite().all() for p in coupler.parameters() if p.grad is not None)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision(self, name: str, dtype: torch.dtype):
        coupler = make(name)
        q, k, v = (t.to(dtype).float() for t in inputs(16, 16))
        expected = coupler.attend(q, k, v)
        with torch.autocast("cpu", dtype=dtype):
            out = coupler.attend(q.to(dtype), k.to(dtype), v.to(dtype))
        assert out.dtype == dtype
        assert (out.float() - expected).abs().max() < 2e-2 * expected.abs().max().clamp_min(1)

    def test_no_wait_for_the_device(self, name: str):
        coupler = make(name).train()
        q, k, v = (t.requires_grad_() for t in inputs(12, 12))
        pad = last(12, 0, 3)
        with NoWaiting():
            coupler.attend(q, k, v, pad, pad).sum().backward()

    def test_refuses_what_it_cannot_do(self, name: str):
        coupler = make(name)
        q, k, v = inputs(6, 6)
        if coupler.promise.causal == "no":
            with pytest.raises(CapabilityError, match="cannot be causal"):
                coupler.attend(q, k, v, causal=True)
        if not coupler.promise.pairs:
            with pytest.raises(CapabilityError, match="attn_mask"):
                coupler.attend(q, k, v, pairs=torch.zeros(6, 6, dtype=torch.bool))
        if coupler.promise.square:
            with pytest.raises(ShapeError, match="equally many"):
                coupler.attend(q, k[:, :, :5], v[:, :, :5])
        with pytest.raises(ShapeError, match="one value per key"):
            coupler.attend(q, k, v[:, :, :5])

    def test_causal_reads_nothing_ahead(self, name: str):
        coupler = make(name, torch.float64)
        if coupler.promise.causal == "no":
            pytest.skip("not causal")
        q, k, v = inputs(300, 300, torch.float64, batch=1)
        out = coupler.attend(q, k, v, causal=True)
        changed = [t.clone() for t in (q, k, v)]
        for t in changed:
            t[:, :, 140:] += 5.0
        later = coupler.attend(*changed, causal=True)
        assert torch.equal(out[:, :, :140], later[:, :, :140])
        dense = coupler(q, k, causal=True).dense()
        assert (dense.triu(1) == 0).all()
        torch.testing.assert_close(300 * dense @ v, out, rtol=1e-10, atol=1e-10)
        # Padding behind the end is the end, and padding in front only shifts what has no places.
        pad = torch.arange(300)[None] >= 140
        torch.testing.assert_close(coupler.attend(q, k, v, pad, pad, causal=True)[:, :, :140], out[:, :, :140])
        if name not in ORDERED:
            late = coupler.attend(q, k, v, ~pad, ~pad, causal=True)[:, :, 140:]
            alone = coupler.attend(q[:, :, 140:], k[:, :, 140:], v[:, :, 140:], causal=True)
            torch.testing.assert_close(late, alone)


def test_the_module_waits_for_nothing_either():
    x = torch.randn(2, 9, 16, requires_grad=True)
    pad = last(9, 0, 3)
    attention = Attention(16, 4, "pivots", dropout=0.1).train()
    with NoWaiting():
        attention(x, key_padding_mask=pad)[0].sum().backward()


class NoWaiting(TorchDispatchMode):
    """Fails at every operation that reads a number back from the device."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        assert name not in ("_local_scalar_dense", "nonzero", "item", "is_nonzero", "masked_select"), name
        assert not (name == "index" and any(getattr(i, "dtype", None) == torch.bool for i in args[1])), name
        return function(*args, **(kwargs or {}))
