"""The module: parity with torch's, its masks, shapes, batches, export and compilation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monge.errors import CapabilityError, InputError, ShapeError
from monge.nn import Attention
from monge.nn.couplers import Sinkhorn, names

from . import small

NAMES = list(names())


def pair(bias=True, kdim=None, vdim=None, batch_first=True):
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(16, 4, bias=bias, kdim=kdim, vdim=vdim, batch_first=batch_first)
    ours = Attention(16, 4, "softmax", bias=bias, kdim=kdim, vdim=vdim, batch_first=batch_first)
    ours.load_state_dict(theirs.state_dict())
    if bias:
        with torch.no_grad():
            theirs.in_proj_bias.normal_()
            ours.in_proj_bias.copy_(theirs.in_proj_bias)
    return ours, theirs


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


class TestParityWithMultiheadAttention:
    @pytest.mark.parametrize("bias", [True, False])
    def test_self_attention_and_weights(self, bias):
        ours, theirs = pair(bias)
        x = torch.randn(3, 7, 16)
        for average in (True, False):
            out, weights = ours(x, x, x, need_weights=True, average_attn_weights=average)
            expected, expected_weights = theirs(x, x, x, need_weights=True, average_attn_weights=average)
            close(out, expected)
            close(weights, expected_weights)
        assert ours(x)[1] is None

    def test_cross_attention_with_other_widths(self):
        ours, theirs = pair(kdim=10, vdim=6)
        q, k, v = torch.randn(3, 7, 16), torch.randn(3, 9, 10), torch.randn(3, 9, 6)
        close(ours(q, k, v)[0], theirs(q, k, v)[0])

    def test_keys_that_are_not_queries(self):
        ours, theirs = pair()
        q, k = torch.randn(3, 7, 16), torch.randn(3, 9, 16)
        close(ours(q, k, k)[0], theirs(q, k, k)[0])
        close(ours(q, k)[0], theirs(q, k, k)[0])

    def test_padding(self):
        ours, theirs = pair()
        x = torch.randn(2, 7, 16)
        pad = torch.arange(7) >= torch.tensor([[7], [4]])
        float_pad = torch.zeros(2, 7).masked_fill(pad, -torch.inf)
        for mask in (pad, float_pad):
            out, weights = ours(x, x, x, mask, need_weights=True)
            expected, expected_weights = theirs(x, x, x, mask)
            close(out[~pad], expected[~pad])
            close(weights[~pad], expected_weights[~pad])

    def test_masks_of_pairs(self):
        ours, theirs = pair()
        x = torch.randn(2, 7, 16)
        pad = torch.arange(7) >= torch.tensor([[7], [4]])
        boolean = torch.ones(7, 7, dtype=torch.bool).triu(1)
        for mask in (boolean, torch.randn(7, 7), torch.randn(8, 7, 7)):
            for padding in (None, pad if mask.dtype == torch.bool else torch.zeros(2, 7).masked_fill(pad, -torch.inf)):
                keep = slice(None) if padding is None else ~pad
                out, weights = ours(x, x, x, padding, attn_mask=mask, need_weights=True)
                expected, expected_weights = theirs(x, x, x, padding, attn_mask=mask)
                close(out[keep], expected[keep])
                close(weights[keep], expected_weights[keep])
                close(ours(x, x, x, padding, attn_mask=mask)[0][keep], expected[keep])
        out = ours(x, is_causal=True)[0]
        close(out, theirs(x, x, x, attn_mask=boolean, is_causal=True, need_weights=False)[0])
        close(ours(x, is_causal=True, need_weights=True)[0], out)
        out = ours(x, is_causal=True, key_padding_mask=pad)[0]
        close(out[~pad], theirs(x, x, x, pad, attn_mask=boolean)[0][~pad])

    def test_unbatched_and_batch_second(self):
        ours, theirs = pair(batch_first=False)
        x, y = torch.randn(7, 3, 16), torch.randn(9, 3, 16)
        close(ours(x, y, y)[0], theirs(x, y, y)[0])
        close(ours(x, x, x)[0], theirs(x, x, x)[0])
        close(ours(x[:, 0], x[:, 0], x[:, 0])[0], theirs(x[:, 0], x[:, 0], x[:, 0])[0])

    @pytest.mark.parametrize("name", ["softmax", "pivots"])
    def test_takes_its_place_in_an_encoder_layer(self, name):
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
        x = torch.randn(2, 7, 16)
        pad = torch.arange(7) >= torch.tensor([[7], [4]])
        expected = layer(x, src_key_padding_mask=pad)
        ours = Attention(16, 4, name)
        missing, unexpected = ours.load_state_dict(layer.self_attn.state_dict(), strict=False)
        assert not unexpected
        assert all(key.startswith("coupler.") for key in missing)
        layer.self_attn = ours
        encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        for module in (layer, layer.eval(), encoder.eval()):
            out = module(x, src_key_padding_mask=pad)
            assert out.isfinite().all()
            if name == "softmax":
                close(out[~pad], expected[~pad])


class TestModule:
    def test_other_head_widths_and_more_batch_dimensions(self):
        attention = Attention(10, 2, "pivots", head_dim=6, value_dim=3, kdim=4, vdim=5)
        q, k, v = torch.randn(2, 3, 7, 10), torch.randn(2, 3, 9, 4), torch.randn(2, 3, 9, 5)
        out, weights = attention(q, k, v, need_weights=True)
        assert out.shape == (2, 3, 7, 10)
        assert weights.shape == (2, 3, 7, 9)
        close(attention(q[1, 2], k[1, 2], v[1, 2])[0], out[1, 2])

    @pytest.mark.parametrize("name", NAMES)
    def test_weights_explain_the_output(self, name):
        torch.manual_seed(0)
        attention = Attention(16, 4, small.make(name, 4, 4)).double()
        x = torch.randn(2, 9, 16, dtype=torch.float64)
        pad = torch.arange(9) >= torch.tensor([[9], [4]])
        expected, nothing = attention(x, key_padding_mask=pad)
        out, weights = attention(x, key_padding_mask=pad, need_weights=True, average_attn_weights=False)
        assert nothing is None
        close(out, expected)
        value = attention.to_heads(x)[1]
        close(attention.out_proj((weights @ value).transpose(1, 2).flatten(2)), expected)

    @pytest.mark.parametrize("name", NAMES)
    def test_dropout_only_in_training_and_unbiased(self, name):
        torch.manual_seed(0)
        attention = Attention(8, 2, small.make(name, 2, 4), dropout=0.5, bias=False)
        x = torch.randn(1, 12, 8)
        still = attention.eval()(x)[0]
        close(attention(x)[0], still)
        attention.train()
        many = attention(x.expand(600, 12, 8))[0].detach()
        assert many.std(0).max() > 0.01
        assert ((many.mean(0) - still[0]).abs() < 5 * many.std(0) / 600**0.5 + 1e-3).all()

    def test_couple_is_the_door_to_every_question(self):
        attention = Attention(16, 4, "pivots")
        x = torch.randn(2, 9, 16)
        plan = attention.couple(x)
        assert tuple(plan.dense().shape) == (2, 4, 9, 9)
        torch.testing.assert_close(plan.marginals()[1], torch.full((2, 4, 9), 1 / 9))

    def test_a_coupler_may_be_an_object(self):
        x = torch.randn(2, 9, 16)
        attention = Attention(16, 4, Sinkhorn(3, memory="linear"))
        same = Attention(16, 4, Sinkhorn(3))
        same.load_state_dict(attention.state_dict())
        close(attention(x)[0], same(x)[0])

    def test_messages(self):
        x = torch.randn(2, 9, 16)
        with pytest.raises(InputError, match="heads must divide dim"):
            Attention(16, 3)
        with pytest.raises(InputError, match="coupler='nearest' is unknown: choose one of 'softmax'"):
            Attention(16, 4, "nearest")
        with pytest.raises(InputError, match="dropout must lie in"):
            Attention(16, 4, dropout=2.0)
        attention = Attention(16, 4)
        with pytest.raises(ShapeError, match="query must have shape"):
            attention(x[..., :3])
        with pytest.raises(ShapeError, match="key_padding_mask must have shape"):
            attention(x, key_padding_mask=torch.zeros(2, 8, dtype=torch.bool))
        with pytest.raises(InputError, match="pass a bias as attn_mask"):
            attention(x, key_padding_mask=torch.full((2, 9), 0.5))
        with pytest.raises(CapabilityError, match="the identity"):
            attention(x, is_causal=True)
        with pytest.raises(CapabilityError, match="attn_mask"):
            attention(x, attn_mask=torch.zeros(9, 9))
        with pytest.raises(ShapeError, match="attn_mask must have shape"):
            Attention(16, 4, "softmax")(x, attn_mask=torch.zeros(9, 8))


# The tracer of torch makes an instance of every autograd.Function that it meets, and torch warns of it.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.usefixtures("unchecked_shapes")
class TestGraphs:
    @pytest.mark.parametrize("name", NAMES)
    def test_traces_as_one_graph(self, name):
        torch.manual_seed(0)
        torch._dynamo.reset()
        attention = Attention(4, 2, small.make(name, 2, 2, tiny=True))
        compiled = torch.compile(attention, fullgraph=True, backend="aot_eager")
        x = torch.randn(2, 6, 4)
        pad = torch.arange(6) >= torch.tensor([[6], [4]])
        for masks in ({}, {"key_padding_mask": pad}):
            plain, traced = x.clone().requires_grad_(), x.clone().requires_grad_()
            out, expected = compiled(traced, **masks)[0], attention(plain, **masks)[0]
            close(out, expected)
            out.square().sum().backward()
            expected.square().sum().backward()
            close(traced.grad, plain.grad)

    def test_dropout_traces_and_draws_the_same(self):
        torch._dynamo.reset()
        attention = Attention(4, 2, "softmax", dropout=0.3)
        compiled = torch.compile(attention, fullgraph=True, backend="aot_eager")
        x = torch.randn(2, 6, 4)
        pad = torch.arange(6) >= torch.tensor([[6], [4]])
        answers = []
        for layer in (compiled, attention):
            torch.manual_seed(1)
            given = x.clone().requires_grad_()
            out = layer(given, key_padding_mask=pad)[0]
            out.square().sum().backward()
            answers.append((out, given.grad))
        for traced, plain in zip(*answers, strict=True):
            close(traced, plain)

    @pytest.mark.parametrize("name", NAMES)
    def test_exports(self, name):
        torch.manual_seed(0)
        attention = Attention(4, 2, small.make(name, 2, 2, tiny=True)).eval()
        x = torch.randn(2, 6, 4)
        pad = torch.arange(6) >= torch.tensor([[6], [4]])
        program = torch.export.export(attention, (x,), {"key_padding_mask": pad})
        out = program.module()(x, key_padding_mask=pad)[0]
        close(out, attention(x, key_padding_mask=pad)[0])
