"""Kinds of fault, by generated instances: whatever the coupler, its masks, shapes and dtypes."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from monge.errors import DtypeError, ShapeError
from monge.nn import Attention
from monge.nn.couplers import Coupler, build, names
from sweep import sweep

from . import small

HEADS, WIDTH = 2, 4
NAMES = [*names(), *small.VARIANTS]
# Options that reach paths on which some parameter might stay alone.
EDGES = {
    "entropic-pivots": [{"n_half": 1}, {"n_half": 3}, {"gradient": "implicit"}],
    "pivots": [{"pivots": 1}, {"iterations": 1, "gradient": "implicit"}, {"learn_mass": False}],
    "circuit": [{"ancilla": 1, "layers": 1}, {"tokens": 12, "ancilla": 3, "layers": 2}],
    "expected-slices": [{"inverse_temperature": 0.0}, {"inverse_temperature": math.inf}],
    "sinkhorn": [{"n_half": 1, "learn_epsilon": True}, {"tol": 1e-3, "learn_epsilon": True}],
    "hybrid": [{"special": 3, "inner": "luna"}],
    "blend": [{"first": "prior", "second": "cayley"}],
    "prior": [{"frequencies": 1}, {"inner": "sinkhorn", "n_half": 1}],
}


@dataclass
class Instance:
    """A coupler, what it is given, and where points are."""

    name: str
    coupler: Coupler
    q: Tensor
    k: Tensor
    v: Tensor
    masks: dict

    @property
    def given(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.q, self.k, self.v


def instance(seed: int, *, dtype: torch.dtype | None = None, scale: float | None = None) -> Instance:
    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    name = NAMES[seed % len(NAMES)]
    dtype = draw.choice([torch.float32, torch.float64]) if dtype is None else dtype
    coupler = small.make(name, HEADS, WIDTH, dtype=dtype)
    square = coupler.promise.square or draw.random() < 0.3
    n, batch = draw.randint(1, 11), draw.randint(1, 3)
    m = n if square else draw.randint(1, 11)
    scale = draw.choice([0.1, 1.0, 3.0]) if scale is None else scale

    def tokens(count: int, width: int) -> Tensor:
        t = torch.randn(batch, HEADS, count, width, generator=generator, dtype=dtype)
        # Tokens may be equal, and values of no effect.
        return t[..., :1, :].expand_as(t).clone() if draw.random() < 0.1 else t

    q, k, v = scale * tokens(n, WIDTH), scale * tokens(m, WIDTH), tokens(m, draw.randint(1, 5))
    masks: dict = {}
    if draw.random() < 0.5:
        masks["key_padding"] = torch.rand(batch, m, generator=generator) < 0.3
        masks["query_padding"] = masks["key_padding"] if square else torch.rand(batch, n, generator=generator) < 0.3
    if coupler.promise.causal == "optional" and n == m and draw.random() < 0.5:
        masks["causal"] = True
    if coupler.promise.pairs and name != "sinkhorn, streamed" and draw.random() < 0.5:
        shape = draw.choice([(n, m), (batch * HEADS, n, m), (batch, 1, n, m), (1, HEADS, n, m)])
        pairs = torch.rand(shape, generator=generator) < 0.3
        masks["pairs"] = pairs if draw.random() < 0.5 else torch.randn(shape, generator=generator, dtype=dtype)
    return Instance(name, coupler, q, k, v, masks)


def close(a: Tensor, b: Tensor, seed: int, dtype: torch.dtype, what: str) -> None:
    tol = 1e-9 if dtype == torch.float64 else 2e-4
    torch.testing.assert_close(a, b, rtol=tol, atol=tol, equal_nan=False, msg=lambda m: f"seed {seed}, {what}: {m}")


def alone(masks: dict, sample: int) -> dict:
    """The masks of one sample."""
    picked = {}
    for key, mask in masks.items():
        if key == "causal" or mask is None:
            picked[key] = mask
        elif key != "pairs":
            picked[key] = mask[sample : sample + 1]
        elif mask.ndim == 3:
            picked[key] = mask.unflatten(0, (-1, HEADS))[sample : sample + 1]
        else:
            picked[key] = mask[sample : sample + 1] if mask.ndim == 4 and len(mask) > 1 else mask
    if "key_padding" in masks and masks["query_padding"] is masks["key_padding"]:
        picked["query_padding"] = picked["key_padding"]
    return picked


@sweep(46)
def test_plans_keep_their_promises_and_attention_applies_them(seeds):
    for seed in seeds:
        one = instance(seed)
        q, k, v = (t.requires_grad_() for t in one.given)
        out = one.coupler.attend(q, k, v, **one.masks)
        plan = one.coupler(q, k, **one.masks)
        close(out, plan.barycentric(v), seed, v.dtype, f"{one.name} against its plan")
        rows, columns = plan.marginals()
        there = (~one.masks["query_padding"]) if "query_padding" in one.masks else torch.ones(len(q), q.shape[-2]) > 0
        keys = (~one.masks["key_padding"]) if "key_padding" in one.masks else torch.ones(len(k), k.shape[-2]) > 0
        expected = there / there.sum(-1, keepdim=True).clamp_min(1) * keys.any(-1, keepdim=True)
        if one.coupler.promise.rows is not None and not {"pairs", "causal"} & set(one.masks):
            worst = (rows - expected[:, None]).abs().max() * q.shape[-2]
            assert worst < one.coupler.promise.rows, f"seed {seed}, {one.name}: rows off by {worst:g}"
        if one.coupler.promise.columns is not None:
            expected = keys / keys.sum(-1, keepdim=True).clamp_min(1) * there.any(-1, keepdim=True)
            worst = (columns - expected[:, None]).abs().max() * k.shape[-2]
            assert worst < one.coupler.promise.columns, f"seed {seed}, {one.name}: columns off by {worst:g}"
        assert (rows[~there[:, None].expand_as(rows)] == 0).all(), f"seed {seed}, {one.name}: mass on padding"
        assert (columns[~keys[:, None].expand_as(columns)] == 0).all(), f"seed {seed}, {one.name}: mass on padding"
        out.square().sum().backward()
        for t in (q, k, v, *(p for p in one.coupler.parameters() if p.requires_grad)):
            assert t.grad is not None, f"seed {seed}, {one.name}: no gradient"
            assert t.grad.isfinite().all(), f"seed {seed}, {one.name}: gradient not finite"


@sweep(46)
def test_a_batch_is_its_samples_and_the_past_is_deaf_to_the_future(seeds):
    for seed in seeds:
        one = instance(seed)
        out = one.coupler.attend(*one.given, **one.masks)
        for sample in range(len(out)):
            given = [t[sample : sample + 1] for t in one.given]
            told = one.coupler.attend(*given, **alone(one.masks, sample))
            close(out[sample : sample + 1], told, seed, out.dtype, f"{one.name}, sample {sample}")
        if "causal" in one.masks or one.coupler.promise.causal == "always":
            cut = seed % out.shape[-2]
            changed = [t.clone() for t in one.given]
            for t in changed:
                t[..., cut:, :] = 7.0 - 2.0 * t[..., cut:, :]
            masks = {**one.masks, "causal": True}
            kept = one.coupler.attend(*one.given, **masks)[..., :cut, :]
            told = one.coupler.attend(*changed, **masks)[..., :cut, :]
            close(kept, told, seed, out.dtype, f"{one.name}, the past before {cut}")


def readers(one: Instance, token: int) -> Tensor:
    """The queries that read a key in any case."""
    place = torch.arange(one.q.shape[-2])
    if "causal" in one.masks or one.coupler.promise.causal == "always":
        return place >= token
    # Special tokens read every key; others may read each other alone.
    return place < (1 if one.name.startswith("hybrid") else len(place))


@sweep(92)
def test_scores_of_any_size_give_rows_of_one_and_what_is_no_number_shows(seeds):
    for seed in seeds:
        draw = random.Random(seed)
        one = instance(seed, dtype=torch.float32, scale=draw.choice([1e2, 1e3, 1e6, 1e15]))
        one.masks.pop("pairs", None)
        (batch, _, n, _), m = one.q.shape, one.k.shape[-2]
        there = ~one.masks.get("query_padding", torch.zeros(batch, n, dtype=torch.bool))
        keys = ~one.masks.get("key_padding", torch.zeros(batch, m, dtype=torch.bool))
        out = one.coupler.attend(*one.given, **one.masks)
        if one.coupler.promise.rows is not None and "causal" not in one.masks:
            rows = one.coupler(one.q, one.k, **one.masks).marginals()[0]
            expected = there / there.sum(-1, keepdim=True).clamp_min(1) * keys.any(-1, keepdim=True)
            error = (rows - expected[:, None]).abs() * n
            assert ((error < 1e-4) | rows.isnan()).all(), f"seed {seed}, {one.name}: rows off by {error.max():g}"
            most = one.v.abs().max() * 1.0001
            assert ((out.abs() <= most) | out.isnan()).all(), f"seed {seed}, {one.name}: no mean of values"
        which = draw.choice("qk")
        tokens, present = (one.q, there) if which == "q" else (one.k, keys)
        token = draw.randrange(tokens.shape[-2])
        if not present[0, token] or not keys[0].any():
            continue
        tokens[0, 0, token, 0] = math.nan
        reads = torch.arange(n) == token if which == "q" else readers(one, token)
        out = one.coupler.attend(*one.given, **one.masks)[0, 0, reads & there[0]]
        assert out.isnan().all(), f"seed {seed}, {one.name}: NaN in {which} at {token} gives a number"


@sweep(46)
def test_half_precision_rounds_and_never_jumps(seeds):
    for seed in seeds:
        draw, name = random.Random(seed), NAMES[seed % len(NAMES)]
        torch.manual_seed(seed)
        n = draw.randint(2, 14)
        attention = Attention(16, HEADS, small.make(name, HEADS, 8)).train()
        x, slope = torch.randn(2, n, 16), torch.randn(2, n, 16)
        half = draw.choice([torch.bfloat16, torch.float16])
        unit = torch.finfo(half).eps
        if draw.random() < 0.5:
            answers = run(attention, x, slope, None), run(attention, x, slope, half)
        else:
            low = Attention(16, HEADS, small.make(name, HEADS, 8)).train()
            low.load_state_dict(attention.state_dict())
            low = low.to(half)
            attention.load_state_dict({key: t.float() for key, t in low.state_dict().items()})
            answers = run(attention, x.to(half).float(), slope, None), run(low, x.to(half), slope, None)
        for what, exact, rounded in zip(("output", "gradient"), *answers, strict=True):
            error = (rounded.float() - exact).norm() / exact.norm().clamp_min(1e-3)
            # Derivatives of some plans are steep: of orthogonal factors, and of learned features at their knots.
            bound = 40 * unit if what == "gradient" else 8 * unit
            assert error < bound, (
                f"seed {seed}, {name} in {half}: {what} off by {error:g}, {error / unit:.1f} roundings"
            )


def run(model: nn.Module, x: Tensor, slope: Tensor, half: torch.dtype | None) -> tuple[Tensor, Tensor]:
    x = x.detach().clone().requires_grad_()
    with torch.autocast("cpu", dtype=half or torch.bfloat16, enabled=half is not None):
        out = model(x)[0]
    (out.float() * slope).sum().backward()
    assert x.grad is not None
    return out.detach(), x.grad


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_meets_every_backward_pass(name):
    options = [{}, *EDGES.get(name, [])]
    for extra in options:
        coupler = build(name, HEADS, 8, **extra) if extra else small.make(name, HEADS, 8)
        for n in (0, 1, 2, 8):
            modes: list[dict] = [{}, {"dropout": 0.5}]
            pad = torch.arange(n) >= torch.tensor([[n], [n - 1]])
            modes.append({"query_padding": pad, "key_padding": pad})
            if coupler.promise.causal != "no":
                modes.append({"causal": True})
            if coupler.promise.pairs and getattr(coupler, "memory", "dense") == "dense":
                modes.append({"pairs": torch.ones(n, n, dtype=torch.bool).triu(1)})
            for mode in modes:
                coupler.zero_grad()
                q, k, v = (torch.randn(2, HEADS, n, 8, requires_grad=True) for _ in range(3))
                coupler.train().attend(q, k, v, **mode).sum().backward()
                named = {**dict(coupler.named_parameters()), "q": q, "k": k, "v": v}
                missing = [key for key, p in named.items() if p.requires_grad and p.grad is None]
                assert not missing, f"{name} {extra} {mode}, {n} tokens"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_at_all(name):
    coupler = small.make(name, HEADS, WIDTH)
    square = coupler.promise.square
    attention = Attention(8, HEADS, coupler)
    for shape in ((0, 5, 8), (2, 0, 8), (0, 0, 8), (0, 8), (3, 0, 5, 8)):
        x = torch.randn(shape, requires_grad=True)
        for pad in (None, torch.zeros(shape[:-1], dtype=torch.bool)):
            out, weights = attention(x, key_padding_mask=pad, need_weights=True)
            assert out.shape == shape
            assert weights.shape == (*shape[:-1], shape[-2])
        out.sum().backward()
        assert x.grad is not None
        assert all(p.grad is not None for p in attention.parameters() if p.requires_grad)
    if not square:
        x, none = torch.randn(2, 5, 8), torch.randn(2, 0, 8)
        assert attention(none, x)[0].shape == (2, 0, 8)
        with pytest.raises(ShapeError, match="5 queries, but no keys"):
            attention(x, none)
    with pytest.raises(ShapeError, match="needs at least one query and one key"):
        attention.couple(torch.randn(2, 0, 8))
    plan = attention.couple(torch.randn(0, 5, 8))
    assert plan.shape == (0, HEADS, 5, 5)
    assert plan.marginals()[1].shape == (0, HEADS, 5)


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_of_integers_is_refused(name):
    attention, x = Attention(8, HEADS, small.make(name, HEADS, WIDTH)), torch.randn(2, 5, 8)
    q = torch.randn(2, HEADS, 5, WIDTH)
    for dtype in (torch.int64, torch.uint8, torch.int32):
        ones = torch.ones(2, 5, dtype=dtype)
        with pytest.raises(DtypeError, match="key_padding_mask must be boolean"):
            attention(x, key_padding_mask=ones)
        with pytest.raises(DtypeError, match="query_padding_mask must be boolean"):
            attention(x, query_padding_mask=ones)
        with pytest.raises(DtypeError, match="attn_mask must be boolean"):
            attention(x, attn_mask=torch.ones(5, 5, dtype=dtype))
        if attention.coupler.promise.pairs:
            with pytest.raises(DtypeError, match="attn_mask must be boolean"):
                attention.coupler.attend(q, q, q, pairs=torch.ones(5, 5, dtype=dtype))


@pytest.mark.parametrize("name", ["softmax", "sinkhorn", "prior"])
def test_masks_of_three_dimensions_are_those_of_torch(name):
    torch.manual_seed(0)
    attention, x = Attention(8, 4, build(name, 4, 2)).double(), torch.randn(3, 5, 8, dtype=torch.float64)
    pairs = torch.rand(12, 5, 5) < 0.3
    full = pairs.view(3, 4, 5, 5)
    expected = attention(x, attn_mask=full)[0]
    torch.testing.assert_close(attention(x, attn_mask=pairs)[0], expected)
    for sample in range(3):
        told = attention(x[sample : sample + 1], attn_mask=pairs[4 * sample : 4 * sample + 4])[0]
        torch.testing.assert_close(told[0], expected[sample])
        torch.testing.assert_close(attention(x[sample], attn_mask=full[sample])[0], expected[sample])
    if name == "softmax":
        theirs = nn.MultiheadAttention(8, 4, batch_first=True, dtype=torch.float64)
        theirs.load_state_dict(attention.state_dict())
        torch.testing.assert_close(theirs(x, x, x, attn_mask=full.flatten(0, 1), need_weights=False)[0], expected)
    for shape in ((4, 5, 5), (3, 5, 5), (1, 5, 5), (5,), (5, 4), (1, 5), (2, 4, 5, 5), (1, 3, 4, 5, 5)):
        with pytest.raises(ShapeError, match=r"attn_mask must have shape \(5, 5\), \(12, 5, 5\)"):
            attention(x, attn_mask=torch.zeros(shape))
    one = attention(x, attn_mask=full[:1, :1])[0]
    torch.testing.assert_close(one, attention(x, attn_mask=full[0, 0])[0])


@pytest.mark.parametrize("name", NAMES)
def test_asking_for_weights_changes_nothing(name):
    torch.manual_seed(0)
    attention, x = Attention(8, HEADS, small.make(name, HEADS, WIDTH), dropout=0.4).train(), torch.randn(3, 7, 8)
    answers = []
    for asked in (False, True):
        torch.manual_seed(1)
        answers.append(attention(x, need_weights=asked))
    (out, nothing), (same, weights) = answers
    assert nothing is None
    assert torch.equal(out, same)
    torch.testing.assert_close(weights, attention.eval()(x, need_weights=True)[1])
    assert not torch.equal(out, attention(x)[0])
