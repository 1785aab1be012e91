"""Conversion of trained models: weights kept, outputs reproduced, what cannot be done refused, and both stages."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from monge import convert as room
from monge.convert import Converted, Layout, convert, coupler_parameters, fine_tune, match
from monge.errors import CapabilityError, InputError, ShapeError
from monge.nn import Attention
from monge.nn.couplers import Blend, Coupler, Pivots, Sinkhorn, Softmax

from . import capture, foreign, wrappers

# Of the fused encoder of torch, which the originals use.
pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")

PAD = torch.arange(9) >= torch.tensor([[9], [5], [7]])
KEEP = (~PAD).long()


def tokens():
    return torch.randint(0, 30, (3, 9))


def vectors():
    return torch.randn(3, 9, foreign.DIM)


def torch_encoder(batch_first=True, nested=False, **options):
    layer = nn.TransformerEncoderLayer(foreign.DIM, foreign.HEADS, 32, batch_first=batch_first, **options)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested)


# Model, arguments, and where its outputs mean something.
CASES = {
    "multi-head": lambda: (foreign.Encoder(), (vectors(),), ...),
    "multi-head, padding": lambda: (foreign.Encoder(bias=False), (vectors(), PAD), ~PAD),
    "multi-head, other widths": lambda: (
        nn.MultiheadAttention(16, 4, kdim=6, vdim=5, batch_first=True),
        (vectors(), torch.randn(3, 7, 6), torch.randn(3, 7, 5)),
        ...,
    ),
    "encoder": lambda: (torch_encoder(norm_first=True), (vectors(),), ...),
    "encoder, nested tensors": lambda: (torch_encoder(nested=True), (vectors(), None, PAD), ~PAD),
    "encoder, tokens first": lambda: (torch_encoder(False), (vectors().transpose(0, 1), None, PAD), ~PAD.T),
    "BERT": lambda: (foreign.Bert(), (tokens(), KEEP), ~PAD),
    "BERT, no mask": lambda: (foreign.Bert(), (tokens(),), ...),
    "BERT, decoder": lambda: (foreign.Bert(is_decoder=True), (tokens(), KEEP), ~PAD),
    "BERT, pairs": lambda: (foreign.BertPairs(), (vectors(), KEEP), ~PAD),
    "ViT": lambda: (foreign.ViT(), (torch.randn(3, 9, 12),), ...),
    "GPT-2": lambda: (foreign.GPT2(), (tokens(), KEEP), ~PAD),
    "GPT-2, no mask": lambda: (foreign.GPT2(), (tokens(),), ...),
    "GPT-2, pairs": lambda: (foreign.GPT2(later=True), (tokens(), KEEP), ~PAD),
    "GPT-2, padding first": lambda: (foreign.GPT2(later=True), (tokens(), KEEP.flip(1)), ~PAD.flip(1)),
    "ViT, projections": lambda: (foreign.LaterViTAttention(), (vectors(),), ...),
    "timm": lambda: (foreign.TimmAttention(), (vectors(),), ...),
    "CLIP": lambda: (foreign.ClipAttention(), (vectors(),), ...),
}
SINGLE = {"multi-head, other widths", "ViT, projections", "timm", "CLIP"}
CAUSAL = {"BERT, decoder", "GPT-2", "GPT-2, no mask", "GPT-2, pairs", "GPT-2, padding first"}


def build(case):
    torch.manual_seed(0)
    model, arguments, where = CASES[case]()
    return model.eval(), arguments, where


def output(model, arguments):
    out = model(*arguments)
    return out[0] if isinstance(out, tuple) else out


class TestExact:
    @pytest.mark.parametrize("case", CASES)
    def test_softmax_reproduces_the_original(self, case):
        model, arguments, where = build(case)
        told = convert(model, "softmax")
        assert len(told.replaced) == (1 if case in SINGLE else 2)
        for grad in (False, True):
            with torch.set_grad_enabled(grad):
                expected, out = output(model, arguments), output(told.model, arguments)
            torch.testing.assert_close(out[where], expected[where], rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("case", CASES)
    def test_weights_stay_under_their_names(self, case):
        model, _, _ = build(case)
        old = model.state_dict()
        new = convert(model, "luna" if case in CAUSAL else "pivots").model.state_dict()
        assert all("coupler." in key for key in set(new) - set(old))
        for key in set(old) - {key for key in old if key.endswith(".bias") and old[key].dtype == torch.bool}:
            assert torch.equal(new[key], old[key])

    @pytest.mark.parametrize("case", CASES)
    def test_another_coupler_is_really_used(self, case):
        # In evaluation and without gradients too, where fused encoders would compute softmax from the weights.
        model, arguments, where = build(case)
        made = convert(model, "luna" if case in CAUSAL else "pivots").model
        with torch.no_grad():
            out, expected = output(made, arguments), output(model, arguments)
        assert out.isfinite().all()
        assert (out[where] - expected[where]).abs().max() > 1e-3

    @pytest.mark.parametrize("case", [case for case in CASES if case not in CAUSAL and "other" not in case])
    def test_padding_reaches_the_coupler(self, case):
        model, arguments, where = build(case)
        made = convert(model, "pivots").model
        layers = [module for module in made.modules() if isinstance(module, (Attention, Converted))]
        seen = []
        for layer in layers:
            read = layer.coupler.read
            layer.coupler.read = lambda heads, *rest, read=read: seen.append(heads[2:4]) or read(heads, *rest)
        output(made, arguments)
        assert len(seen) == len(layers)
        for query_padding, key_padding in seen:
            if where is ...:
                assert key_padding is None
                assert query_padding is None
            else:
                assert torch.equal(key_padding[:, 0], PAD)
                assert query_padding is key_padding

    def test_the_original_is_left_alone(self):
        model, _, _ = build("BERT")
        before = {key: value.clone() for key, value in model.state_dict().items()}
        made = convert(model, "pivots").model
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(1.0)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert not any(isinstance(module, Converted) for module in model.modules())

    def test_parameters_that_were_shared_still_are(self):
        model, _, _ = build("multi-head")
        model.second = model.first
        told = convert(model, "pivots")
        assert told.model.second is told.model.first
        assert len(told.replaced) == 1
        model, _, _ = build("multi-head")
        model.second.out_proj.weight = model.first.out_proj.weight
        made = convert(model, "pivots").model
        assert made.second.out_proj.weight is made.first.out_proj.weight

    def test_training_and_dtype_follow(self):
        model, arguments, _ = build("BERT")
        made = convert(model.train().double(), "pivots").model
        assert made.layer[0].self.coupler.locations.dtype == torch.float64
        assert made.layer[0].self.training
        assert made.layer[0].self.dropout_probability == 0.1
        assert (output(made, arguments) - output(made, arguments)).abs().max() > 0
        assert torch.equal(output(made.eval(), arguments), output(made, arguments))


class TestCalls:
    def test_answers_keep_their_form(self):
        model, (ids, keep), _ = build("BERT")
        made = convert(model, "softmax").model
        out, weights = made(ids, keep, output_attentions=True)
        expected, expected_weights = model(ids, keep, output_attentions=True)
        torch.testing.assert_close(out[~PAD], expected[~PAD], rtol=1e-5, atol=1e-5)
        valid = ~PAD[:, None, :].expand(3, 4, 9)
        for ours, theirs in zip(weights, expected_weights, strict=True):
            torch.testing.assert_close(ours[valid], theirs[valid], rtol=1e-5, atol=1e-6)
        x = vectors()
        for old, lengths in ((foreign.GPT2Attention().eval(), (2, 3)), (foreign.GPT2PairAttention().eval(), (2, 2))):
            new = convert(old, "softmax").model
            for asked, length in zip((False, True), lengths, strict=True):
                assert len(new(x, output_attentions=asked)) == length == len(old(x, output_attentions=asked))
        decoder = foreign.BertSelfAttention(is_decoder=True).eval()
        assert len(convert(decoder, "softmax").model(x)) == len(decoder(x))

    def test_cross_attention(self):
        torch.manual_seed(0)
        attention = foreign.BertSelfAttention(is_decoder=True).eval()
        x, context = vectors(), torch.randn(3, 6, foreign.DIM)
        mask = torch.zeros(3, 1, 1, 6).masked_fill(PAD[:, None, None, 3:], -10000.0)
        out = convert(attention, "softmax").model(x, None, None, context, mask)[0]
        torch.testing.assert_close(out, attention(x, None, None, context, mask)[0], rtol=1e-5, atol=1e-5)
        # Other tokens have no order: a coupler that cannot be causal may read them.
        assert convert(attention, "pivots").model(x, None, None, context, mask)[0].isfinite().all()
        with pytest.raises(CapabilityError, match="cannot be causal"):
            convert(attention, "pivots").model(x)

    def test_masks_of_pairs(self):
        torch.manual_seed(0)
        attention, x = foreign.ClipAttention().eval(), vectors()
        window = (torch.arange(9)[:, None] - torch.arange(9)).abs() <= 2
        for mask in (window.expand(3, 1, 9, 9), torch.randn(3, 4, 9, 9), window.expand(3, 9, 9)[:, None]):
            for coupler in ("softmax", "sinkhorn"):
                made = convert(attention, coupler, **({"n_half": 1} if coupler == "sinkhorn" else {})).model
                torch.testing.assert_close(made(x, mask)[0], attention(x, mask)[0], rtol=1e-5, atol=1e-5)
            with pytest.raises(CapabilityError, match="attn_mask"):
                convert(attention, "pivots").model(x, mask)
        gpt = foreign.GPT2PairAttention().eval()
        mask = torch.zeros(3, 1, 9, 9).masked_fill(~window.tril(), -torch.inf)
        torch.testing.assert_close(
            convert(gpt, "softmax").model(x, attention_mask=mask)[0], gpt(x, attention_mask=mask)[0]
        )
        with pytest.raises(CapabilityError, match="more than padding and order"):
            convert(gpt, "linear").model(x, attention_mask=mask)

    def test_order_may_come_with_the_call(self):
        torch.manual_seed(0)
        attention, x = foreign.ClipAttention().eval(), vectors()
        order = torch.ones(9, 9, dtype=torch.bool).tril().expand(3, 1, 9, 9)
        expected = attention(x, order)[0]
        made = convert(attention, "softmax").model
        for mask in (None, order):
            torch.testing.assert_close(made(x, mask, is_causal=True)[0], expected, rtol=1e-5, atol=1e-5)
        with pytest.raises(CapabilityError, match="cannot be causal"):
            convert(attention, "pivots").model(x, None, is_causal=True)

    def test_masks_that_are_none(self):
        x, made = vectors(), convert(foreign.ClipAttention(), "pivots").model
        with pytest.raises(ShapeError, match="must have shape"):
            made(x, torch.zeros(3, 1, 9, 8))
        with pytest.raises(InputError, match=r"its dtype is torch\.int64"):
            made(x, torch.zeros(3, 1, 9, 9, dtype=torch.int64))
        with pytest.raises(InputError, match="holds numbers from -1e"):
            made(x, torch.full((3, 9), -1e9))

    def test_a_cache_is_refused_and_so_is_the_unknown(self):
        model, (ids,), _ = build("GPT-2, no mask")
        made = convert(model, "linear").model
        with pytest.raises(CapabilityError, match="use_cache=False and the whole sequence"):
            made(ids, use_cache=True)
        bert = convert(foreign.BertSelfAttention(), "pivots").model
        with pytest.raises(CapabilityError, match="head_mask was given"):
            bert(vectors(), None, torch.ones(4))

    @pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
    def test_one_graph(self, unchecked_shapes):
        layer = convert(foreign.BertSelfAttention().eval(), "pivots").model
        traced, x = torch.compile(layer, fullgraph=True, backend="aot_eager"), vectors()
        for mask in (None, KEEP.bool()[:, None, None]):
            torch.testing.assert_close(traced(x, mask)[0], layer(x, mask)[0])


class TestCollectedAttentions:
    """Whoever collects the attentions of all modules of a class finds the converted ones, and changes nothing by it."""

    CASES = {  # noqa: RUF012
        "BERT, pairs": foreign.BertPairSelfAttention,
        "GPT-2, pairs": foreign.GPT2PairAttention,
        "CLIP": foreign.ClipAttention,
    }

    @pytest.mark.parametrize("case", CASES)
    @pytest.mark.parametrize("coupler", ["softmax", "linear"])
    def test_by_hooks_and_by_wrappers(self, case, coupler):
        model, arguments, _ = build(case)
        made, kind = convert(model, coupler).model, self.CASES[case]
        layers = 1 if case in SINGLE else 2
        out, found = capture.by_hooks(made, kind, *arguments)
        assert len(found["attentions"]) == layers
        for weights in found["attentions"]:
            assert weights.shape == (3, foreign.HEADS, 9, 9)
            torch.testing.assert_close(weights.sum(-1)[:, :, :5], torch.ones(3, foreign.HEADS, 5))
        if coupler == "softmax":
            _, expected = capture.by_hooks(model, kind, *arguments)
            for ours, theirs in zip(found["attentions"], expected["attentions"], strict=True):
                torch.testing.assert_close(ours[1, :, :5], theirs[1, :, :5], rtol=1e-5, atol=1e-6)
        first = out[0] if isinstance(out, tuple) else out
        assert torch.equal(first, output(made, arguments))
        _, wrapped = capture.by_wrappers(wrappers.collecting, made, kind, *arguments)
        for ours, theirs in zip(wrapped, found["attentions"], strict=True):
            assert torch.equal(ours, theirs)

    def test_nobody_pays_who_does_not_ask(self, monkeypatch):
        model, arguments, _ = build("BERT, pairs")
        made = convert(model, "linear").model
        capture.by_hooks(made, foreign.BertPairSelfAttention, *arguments)
        asked = []
        monkeypatch.setattr(Coupler, "weights", lambda *_: asked.append(1))
        output(made, arguments)
        capture.by_hooks(made, foreign.BertPairSelfAttention, *arguments, wanted=("hidden_states",))
        capture.by_wrappers(capture.plainly, made, foreign.BertPairSelfAttention, *arguments)
        made.layer[0].config = type("Config", (), {"output_attentions": False})()
        output(made, arguments)
        assert not asked
        made.layer[0].config.output_attentions = True
        output(made, arguments)
        assert asked == [1]

    def test_a_converted_layer_is_of_both_classes_and_can_be_kept(self, tmp_path):
        model, arguments, _ = build("BERT, pairs")
        made = convert(model, "pivots").model
        expected = output(made, arguments)
        torch.save(made, tmp_path / "model.pt")
        for again in (copy.deepcopy(made), torch.load(tmp_path / "model.pt", weights_only=False)):
            layer = again.layer[0]
            assert isinstance(layer, Converted)
            assert isinstance(layer, foreign.BertPairSelfAttention)
            assert torch.equal(output(again, arguments), expected)

    @pytest.mark.parametrize("asked", [False, True])
    def test_asking_leaves_dropout_on(self, asked):
        torch.manual_seed(0)
        layer = convert(foreign.BertSelfAttention(), "softmax").model.train()
        x = vectors()
        torch.manual_seed(3)
        out = layer(x, output_attentions=asked)[0]
        torch.manual_seed(3)
        assert torch.equal(out, layer(x)[0])
        assert not torch.equal(out, layer.eval()(x)[0])

    def test_what_is_sorted_is_projected_in_single_precision(self):
        torch.manual_seed(0)
        for make in (foreign.BertSelfAttention, foreign.TimmAttention):
            layer, x = convert(make().eval(), "expected-slices").model, vectors()
            expected = layer(x)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                out = layer(x)
            out, expected = (t[0] if isinstance(t, tuple) else t for t in (out, expected))
            assert (out.float() - expected).norm() < 0.02 * expected.norm()


class TestMasksThatCouldMeanTwoThings:
    def test_are_refused(self):
        x = torch.randn(4, 4, foreign.DIM)
        made = convert(foreign.ClipAttention().eval(), "softmax").model
        kept = torch.ones(4, 4, dtype=torch.bool).tril()
        with pytest.raises(ShapeError, match="is or could be one of 4 x 4 pairs"):
            made(x, kept)
        for mask in (kept.expand(4, 4, 4), torch.zeros(1, 4, 4), torch.zeros(2, 1, 4, 4), torch.zeros(4, 3, 4, 4)):
            with pytest.raises(ShapeError, match="must have shape"):
                made(x, mask)
        with pytest.raises(ShapeError, match="is or could be one of 4 x 4 pairs"):
            made(x[:2], kept)
        with pytest.raises(InputError, match="holds numbers from 0 to 0"):
            made(x[:, :3], torch.zeros(4, 3))
        with pytest.raises(InputError, match="holds numbers from 0 to 2"):
            made(x[:, :3], torch.tensor([[0, 1, 2]] * 4))
        expected = made(x[:, :3], torch.tensor([[True, True, False]] * 4)[:, None, None])[0]
        for mask in (torch.tensor([[1, 1, 0]] * 4), torch.tensor([[1.0, 1.0, 0.0]] * 4), torch.tensor([[1, 1, 0]])):
            assert torch.equal(made(x[:, :3], mask)[0], expected)

    def test_one_mask_is_that_of_what_is_read(self):
        class Cross(foreign.BertPairSelfAttention):
            def forward(self, hidden_states, encoder_hidden_states=None, attention_mask=None, **kwargs):
                q, k = foreign.split(self.query(hidden_states)), foreign.split(self.key(encoder_hidden_states))
                weights = foreign.softmax(q, k, attention_mask)
                return foreign.merge(weights @ foreign.split(self.value(encoder_hidden_states))), weights

        torch.manual_seed(0)
        layer, x, read = Cross().eval(), vectors(), torch.randn(3, 6, foreign.DIM)
        mask = torch.zeros(3, 1, 1, 6).masked_fill(PAD[:, None, None, 3:], -10000.0)
        out = convert(layer, "softmax").model(x, read, mask)[0]
        torch.testing.assert_close(out, layer(x, read, mask)[0], rtol=1e-5, atol=1e-5)


class TestRefusals:
    @pytest.mark.parametrize("coupler", ["pivots", "sinkhorn", "expected-slices", "qr"])
    def test_a_causal_model_needs_a_causal_coupler(self, coupler):
        for later in (False, True):
            with pytest.raises(CapabilityError, match=r"h.0 is causal, and .* Use one of softmax, .*causal-pivots"):
                convert(foreign.GPT2(later), coupler)
        with pytest.raises(CapabilityError, match="is causal, and Blend cannot be"):
            convert(foreign.GPT2(), coupler, blend=-4.0)

    @pytest.mark.parametrize("coupler", ["linear", "luna", "causal-pivots", "softmax", "prior"])
    def test_causal_couplers_read_nothing_ahead(self, coupler):
        model, (ids, _), _ = build("GPT-2")
        made = convert(model, coupler).model
        other = ids.clone()
        other[:, 6:] = (other[:, 6:] + 1) % 30
        assert torch.equal(made(ids)[:, :6], made(other)[:, :6])
        # Padding behind the end is the end.
        keep = (torch.arange(9) < 6).long().expand(3, 9)
        torch.testing.assert_close(made(ids, keep)[:, :6], made(ids[:, :6]), rtol=1e-4, atol=1e-5)

    def test_a_bidirectional_model_is_not_made_causal_by_surprise(self):
        with pytest.raises(CapabilityError, match="reads the whole sequence"):
            convert(foreign.ViT(), "causal-pivots")

    def test_what_only_looks_alike_is_not_touched(self):
        for module in (
            foreign.SwinSelfAttention(),
            foreign.GPT2Attention(by_layer=True),
            foreign.TimmAttention(norm=nn.LayerNorm),
        ):
            with pytest.raises(InputError, match="No attention module was recognised"):
                convert(nn.Sequential(module), "pivots")
        odd = foreign.BertSelfAttention()
        odd.position_embedding_type = "relative_key"
        with pytest.raises(InputError, match="No attention module was recognised"):
            convert(odd, "pivots")
        odd = foreign.ClipAttention()
        odd.k_proj = nn.Linear(16, 8)
        with pytest.raises(InputError, match="No attention module was recognised"):
            convert(odd, "pivots")

    def test_keys_of_its_own(self):
        for options in ({"add_bias_kv": True}, {"add_zero_attn": True}):
            with pytest.raises(CapabilityError, match="adds keys of its own"):
                convert(nn.MultiheadAttention(16, 4, **options), "pivots")

    def test_names(self):
        with pytest.raises(InputError, match="coupler='pivot' is unknown"):
            convert(foreign.ViT(), "pivot")
        with pytest.raises(InputError, match=r"where='encoder.*' matches none .* which are \['layer.0', 'layer.1'\]"):
            convert(foreign.ViT(), where="encoder.*")


class TestChoice:
    def test_where(self):
        model, arguments, _ = build("ViT")
        told = convert(model, "pivots", where="*.1", pivots=5)
        assert [one.name for one in told.replaced] == ["layer.1"]
        assert told.kept == ("layer.0",)
        assert told.model.layer[1].coupler.locations.shape == (4, 5, 4)
        assert isinstance(told.model.layer[0], foreign.ViTSelfAttention)
        assert output(told.model, arguments).isfinite().all()
        picked = convert(model, "pivots", where=lambda name: name.endswith("0"))
        assert [one.name for one in picked.replaced] == ["layer.0"]
        again = convert(picked.model, "sinkhorn")
        assert [one.name for one in again.replaced] == ["layer.1"]

    def test_a_factory(self):
        told = convert(foreign.ViT(), lambda heads, width: Sinkhorn(3) if heads == 4 else Pivots(heads, width))
        assert isinstance(told.model.layer[0].coupler, Sinkhorn)

    def test_blend_starts_near_the_original(self):
        model, arguments, where = build("BERT")
        told = convert(model, "pivots", blend=-4.0)
        coupler = told.model.layer[0].self.coupler
        assert isinstance(coupler, Blend)
        torch.testing.assert_close(coupler.gate.detach(), torch.full((4,), -4.0))
        near = (output(told.model, arguments) - output(model, arguments))[where].abs().max()
        far = (output(convert(model, "pivots").model, arguments) - output(model, arguments))[where].abs().max()
        assert near < 0.1 * far

    def test_report(self):
        told = convert(foreign.Bert(), "pivots", where="layer.0*", pivots=3)
        lines = str(told).splitlines()
        assert lines[0] == "layer.0.self  BERT, ViT, 4 × 4 -> Pivots, 64 parameters"
        assert lines[1] == "1 replaced, 1 kept, 64 parameters added"
        assert "Blend of Softmax and Linear" in str(convert(foreign.ViT(), "linear", blend=0.0))

    def test_a_layout_of_ones_own(self):
        class Mine(nn.Module):
            def __init__(self):
                super().__init__()
                self.n = 2
                self.to_q, self.to_k, self.to_v = (nn.Linear(16, 16) for _ in range(3))
                self.to_out = nn.Linear(16, 16)

            def forward(self, x):
                q, k, v = (foreign.split(part(x), 2) for part in (self.to_q, self.to_k, self.to_v))
                return self.to_out(foreign.merge(foreign.softmax(q, k, None) @ v))

        mine = Layout("mine", ("to_q", "to_k", "to_v"), "n", output=("to_out",), tokens="x", answer="output")
        model, x = Mine(), vectors()
        with pytest.raises(InputError, match=r"layouts=\[...\]"):
            convert(model, "softmax")
        made = convert(model, "softmax", layouts=[mine]).model
        torch.testing.assert_close(made(x), model(x), rtol=1e-5, atol=1e-5)

    def test_a_layout_says_what_exists(self):
        with pytest.raises(InputError, match="answer must be 'output', or a tuple with it"):
            Layout("mine", ("qkv",), "heads", answer=("out", "weights"))
        with pytest.raises(InputError, match="must name three submodules, or one that projects all"):
            Layout("mine", ("q", "kv"), "heads")


class TestStages:
    @pytest.mark.parametrize("objective", ["outputs", "maps"])
    @pytest.mark.parametrize("case", ["encoder, nested tensors", "encoder, tokens first", "BERT", "ViT"])
    def test_matching_lowers_the_loss_and_moves_only_couplers(self, objective, case):
        model, arguments, _ = build(case)
        told = convert(model, "pivots", pivots=8)
        before = {name: p.detach().clone() for name, p in told.model.named_parameters()}
        matching = match(told.model, model, [arguments] * 25, objective=objective, lr=3e-2)
        assert matching.losses.shape == (25, 2)
        assert (matching.losses[-1] < matching.losses[0]).all()
        assert matching.detach().names == matching.names
        assert matching.names == tuple(one.name for one in told.replaced)
        for name, parameter in told.model.named_parameters():
            free = name.endswith(("coupler.locations", "coupler.mass_logits"))
            assert torch.equal(parameter, before[name]) != free
        assert not model.training
        assert torch.backends.mha.get_fastpath_enabled()

    def test_padding_does_not_enter_the_loss(self):
        model, (ids, keep), _ = build("BERT")
        other = torch.where(PAD, (ids + 3) % 30, ids)
        losses = [match(convert(model, _pivots).model, model, [(x, keep)]).losses for x in (ids, other)]
        torch.testing.assert_close(*losses)

    def test_of_a_blend_the_new_part_learns(self):
        model, arguments, _ = build("BERT")
        told = convert(model, "pivots", blend=-4.0)
        first = told.model.layer[0].self.coupler
        start = first.second.locations.detach().clone()
        alone = match(convert(model, _pivots).model, model, [arguments]).losses
        blended = convert(model, lambda h, w: Blend(Softmax(), _pivots(h, w), h, gate=-4.0)).model
        mixed = match(blended, model, [arguments]).losses
        torch.testing.assert_close(mixed, alone)
        match(told.model, model, [{"input_ids": arguments[0]}, arguments[0]])
        torch.testing.assert_close(first.gate.detach(), torch.full((4,), -4.0))
        assert not torch.equal(first.second.locations, start)

    def test_layers_learn_from_the_inputs_of_the_original(self):
        # The second layer's loss must not depend on what the first one gives.
        model, arguments, _ = build("ViT")
        torch.manual_seed(1)
        both = convert(model, "pivots").model
        only = convert(model, "pivots", where="layer.1")
        only.model.layer[1].load_state_dict(both.layer[1].state_dict())
        losses = match(both, model, [arguments]).losses
        torch.testing.assert_close(match(only.model, model, [arguments]).losses[:, 0], losses[:, 1])

    def test_fine_tuning_moves_everything_and_couplers_faster(self):
        model, arguments, _ = build("BERT")
        made = convert(model, "pivots").model.train()
        new = {id(p) for p in coupler_parameters(made)}
        before = {name: p.detach().clone() for name, p in made.named_parameters()}
        losses = fine_tune(made, lambda m, batch: m(*batch).square().mean(), [arguments] * 5, lr=1e-4, coupler_lr=1e-2)
        assert losses.shape == (5,)
        moved = {True: [], False: []}
        for name, parameter in made.named_parameters():
            moved[id(parameter) in new].append((parameter - before[name]).abs().max().item())
        assert max(moved[False]) < 1e-3 < max(moved[True])
        assert sum(one > 0 for one in moved[False]) > 10

    def test_messages(self):
        model, arguments, _ = build("ViT")
        with pytest.raises(InputError, match="Sinkhorn has no parameters"):
            match(convert(model, "sinkhorn").model, model, [arguments])
        made = convert(model, "pivots").model
        with pytest.raises(InputError, match="batches is empty"):
            match(made, model, [])
        with pytest.raises(InputError, match="batches is empty"):
            fine_tune(made, lambda m, batch: m(batch).sum(), [])
        with pytest.raises(InputError, match="must have a converted layer that replaces a layer of original"):
            match(model, model, [arguments])
        with pytest.raises(InputError, match="objective='map' is unknown"):
            match(made, model, [arguments], objective="map")
        model.spare = foreign.ViTSelfAttention()
        with pytest.raises(InputError, match="does not call spare on this batch"):
            match(convert(model, "pivots").model, model, [arguments])
        assert "layer.0: " in str(match(made, model, [arguments, arguments]))


def _pivots(heads, width):
    torch.manual_seed(3)
    return Pivots(heads, width, 8)


def test_no_other_library_is_imported():
    import sys
    from pathlib import Path

    for path in Path(room.__file__).parent.glob("*.py"):
        assert "transformers import" not in path.read_text()
        assert "import transformers" not in path.read_text()
    assert "transformers" not in sys.modules
