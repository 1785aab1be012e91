"""The drop-in of torch's class: the same answers over the grid of its options, in torch's own layers too."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
from torch import Tensor, nn

from draws import draw, generator
from monge.errors import CapabilityError, DtypeError, InputError, ShapeError
from monge.nn import Attention, MultiheadAttention
from monge.nn.couplers import Sinkhorn, Softmax, names
from sweep import sweep

from . import small

WIDTH, HEADS, BATCH = 8, 2, 3
TIGHT = {"rtol": 1e-9, "atol": 1e-11}


class Case:
    """Options, inputs and masks that a seed chooses."""

    def __init__(self, seed: int) -> None:
        self.chance = generator(seed)
        self.batched, other = self.coin(), self.coin()
        self.options = {
            "bias": self.coin(), "add_bias_kv": self.coin(), "add_zero_attn": self.coin(), "batch_first": self.coin(),
            "kdim": 6 if other else None, "vdim": 10 if other else None,
        }  # fmt: skip
        n, m = (int(torch.randint(1, 8, (), generator=self.chance)) for _ in range(2))
        own = not other and self.coin()
        causal, added = self.coin() and self.coin(), self.options["add_bias_kv"] or self.options["add_zero_attn"]
        m = n if own or causal else m
        query = self.tokens(n, WIDTH)
        self.inputs = (
            (query,) * 3 if own else (query, self.tokens(m, 6 if other else 8), self.tokens(m, 10 if other else 8))
        )
        # Keys of the module stand behind the last query, where torch's hint of an order hides them or not.
        self.masks = {
            "is_causal": causal and not added,
            "attn_mask": self.pairs(n, m, causal),
            "need_weights": self.coin(),
            "key_padding_mask": self.padding(m),
            "average_attn_weights": self.coin(),
        }

    def coin(self) -> bool:
        return bool(torch.rand((), generator=self.chance) < 0.5)

    def rand(self, *shape: int) -> Tensor:
        return torch.rand(*shape, dtype=torch.float64, generator=self.chance)

    def tokens(self, n: int, width: int) -> Tensor:
        lead = ((BATCH, n) if self.options["batch_first"] else (n, BATCH)) if self.batched else (n,)
        return 2 * self.rand(*lead, width) - 1

    def pairs(self, n: int, m: int, causal: bool) -> Tensor | None:
        if causal:
            return torch.ones(n, m, dtype=torch.bool).triu(1)
        if self.coin():
            return None
        drawn = self.rand(*((HEADS * (BATCH if self.batched else 1),) if self.coin() else ()), n, m)
        if self.coin():
            return drawn
        mask = drawn < 0.3
        mask[..., 0] = False  # what reads nothing is another test
        return mask

    def padding(self, m: int) -> Tensor | None:
        drawn = self.rand(*((BATCH,) if self.batched else ()), m)
        absent = drawn < 0.3
        absent[..., 0] = False
        kinds = (None, absent, torch.zeros_like(drawn).masked_fill(absent, -torch.inf), drawn)
        return kinds[int(torch.randint(4, (), generator=self.chance))]


@pytest.mark.filterwarnings("ignore:Support for mismatched:UserWarning")
@sweep(200, slow=5000)
def test_softmax_is_torch_on_the_grid_of_options(seeds: range) -> None:
    for seed in seeds:
        case = Case(seed)
        torch.manual_seed(seed)
        theirs = nn.MultiheadAttention(WIDTH, HEADS, **case.options, dtype=torch.float64)
        torch.manual_seed(seed)
        ours = MultiheadAttention(WIDTH, HEADS, **case.options, dtype=torch.float64)
        # One seed gives the same parameters, by the same names.
        for (name, mine), (other, expected) in zip(
            sorted(ours.state_dict().items()), sorted(theirs.state_dict().items()), strict=True
        ):
            assert name == other, seed
            assert torch.equal(mine, expected), (seed, name)
        answers = []
        for module in (ours, theirs):
            inputs = [part.clone().requires_grad_() for part in {id(part): part for part in case.inputs}.values()]
            out, weights = module(*(inputs * 3 if len(inputs) == 1 else inputs), **case.masks)
            gradients = torch.autograd.grad(out.sin().sum(), [*inputs, *module.parameters()])
            answers.append((out, weights, dict(zip([*"qkv"[: len(inputs)], *dict(module.named_parameters())], gradients,
                                                   strict=True))))  # fmt: skip
        (out, weights, felt), (expected, told, by) = answers
        torch.testing.assert_close(out, expected, **TIGHT, msg=lambda text, seed=seed: f"seed {seed}: {text}")
        assert (weights is None) == (told is None), seed
        if weights is not None:
            torch.testing.assert_close(weights, told, **TIGHT, msg=lambda text, seed=seed: f"seed {seed}: {text}")
        assert felt.keys() == by.keys()
        for name in by:
            torch.testing.assert_close(felt[name], by[name], rtol=1e-8, atol=1e-10, msg=f"seed {seed}: {name}")


def test_the_signatures_are_those_of_torch() -> None:
    for method in ("__init__", "forward"):
        mine, theirs = (
            list(inspect.signature(getattr(kind, method)).parameters.values())
            for kind in (MultiheadAttention, nn.MultiheadAttention)
        )
        assert [(p.name, p.default) for p in theirs] == [(p.name, p.default) for p in mine[: len(theirs)]]
        assert [(p.name, p.kind) for p in mine[len(theirs) :]] == (
            [("coupler", inspect.Parameter.KEYWORD_ONLY)] if method == "__init__" else []
        )


def test_what_is_documented_to_differ() -> None:
    x = draw(2, 5, WIDTH, dtype=torch.float32)
    ours = MultiheadAttention(WIDTH, HEADS, dropout=0.5, batch_first=True)
    nothing = torch.tensor([[True] * 5, [False] * 5])
    out, weights = ours(x, x, x, nothing)
    assert torch.equal(out[0], ours.out_proj.bias.expand(5, WIDTH))
    assert weights[0].abs().max() == 0
    torch.testing.assert_close(weights[1].sum(-1), torch.ones(5))
    later = torch.ones(5, 5, dtype=torch.bool).triu(1)
    torch.testing.assert_close(ours.eval()(x, x, x, is_causal=True)[1], ours(x, x, x, attn_mask=later)[1])
    added = MultiheadAttention(WIDTH, HEADS, add_bias_kv=True, add_zero_attn=True, batch_first=True)
    weights = added(x, x, x, is_causal=True)[1]
    assert weights.shape == (2, 5, 7)
    assert (weights[..., 5:] > 0).all()
    assert (weights[..., :5] > 0).equal(~later.expand(2, 5, 5))


@pytest.mark.parametrize("name", names())
def test_every_coupler(name: str) -> None:
    torch.manual_seed(0)
    x = draw(2, 6, WIDTH)
    layer = MultiheadAttention(WIDTH, HEADS, batch_first=True, dtype=torch.float64, coupler=small.make(name, HEADS, 4))
    same = Attention(WIDTH, HEADS, copy.deepcopy(layer.coupler), dtype=torch.float64)
    same.load_state_dict(layer.state_dict())
    padding = torch.arange(6) >= torch.tensor([[6], [4]])
    for masks in ({}, {"key_padding_mask": padding}):
        out, weights = layer(x, x, x, **masks)
        expected, told = same(x, need_weights=True, **masks)
        keep = ~padding if masks else torch.ones(2, 6, dtype=torch.bool)
        torch.testing.assert_close(out[keep], expected[keep])
        torch.testing.assert_close(weights[keep], told[keep])
    floats = torch.zeros(2, 6, dtype=torch.float64).masked_fill(padding, -torch.inf)
    assert torch.equal(layer(x, x, x, floats)[0], layer(x, x, x, padding)[0])


def test_keys_of_the_module_are_balanced_too() -> None:
    x = draw(2, 6, WIDTH)
    options = {"batch_first": True, "add_bias_kv": True, "add_zero_attn": True, "dtype": torch.float64}
    weights = MultiheadAttention(WIDTH, HEADS, **options, coupler="pivots")(x, x, x)[1]
    torch.testing.assert_close(weights.sum(-2), torch.full((2, 8), 6 / 8, dtype=torch.float64))
    with pytest.raises(ShapeError, match="equally many queries and keys"):
        MultiheadAttention(WIDTH, HEADS, **options, coupler="qr")(x, x, x)


def test_dropout_drops_in_training_and_is_unbiased() -> None:
    x = draw(1, 6, WIDTH, dtype=torch.float32)
    layer = MultiheadAttention(WIDTH, HEADS, dropout=0.5, batch_first=True)
    still = layer.eval()(x, x, x)[0].detach()
    assert torch.equal(layer(x, x, x)[0], still)
    many = x.expand(2000, 6, WIDTH)
    out = layer.train()(many, many, many, need_weights=False)[0].detach()
    assert out.std(0).min() > 0.01
    assert ((out.mean(0) - still[0]).abs() < 5 * out.std(0) / 2000**0.5).all()


def test_device_and_dtype_are_those_of_all_parameters() -> None:
    layer = MultiheadAttention(
        WIDTH, HEADS, add_bias_kv=True, kdim=4, device="meta", dtype=torch.float16, coupler="pivots"
    )
    assert {(p.device.type, p.dtype) for p in layer.parameters()} == {("meta", torch.float16)}
    assert {p.dtype for p in MultiheadAttention(WIDTH, HEADS).parameters()} == {torch.float32}


def replaced(module: nn.Module, **options) -> nn.Module:
    """A copy whose attention is ours, with the same parameters."""
    module = copy.deepcopy(module)
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.MultiheadAttention:
                ours = MultiheadAttention(child.embed_dim, child.num_heads, child.dropout,
                                          batch_first=child.batch_first, dtype=torch.float64, **options)  # fmt: skip
                ours.load_state_dict(child.state_dict(), strict=not options)
                setattr(parent, name, ours.train(child.training))
    return module


PADDING = torch.arange(7) >= torch.tensor([[7], [4]])
ORDER = nn.Transformer.generate_square_subsequent_mask(7, dtype=torch.float64)


# Where gradients are off and the layer is frozen, torch's own encoder would compute from the weights alone.
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_layers_of_torch_take_it(training: bool, grad: bool, batch_first: bool) -> None:
    torch.manual_seed(0)
    options = {"dropout": 0.0, "batch_first": batch_first, "dtype": torch.float64}
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 16, **options).train(training)
    stack = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).train(training)
    x = draw(2, 7, WIDTH) if batch_first else draw(7, 2, WIDTH)
    with torch.set_grad_enabled(grad):
        for theirs in (layer, stack):
            ours = replaced(theirs)
            mask = "src_mask" if theirs is layer else "mask"
            for masks in ({}, {"src_key_padding_mask": PADDING}, {mask: ORDER}, {mask: ORDER, "is_causal": True}):
                found, expected = ours(x, **masks), theirs(x, **masks)
                if "src_key_padding_mask" in masks:  # torch's fused layer writes zeros there, its other one does not
                    keep = ~PADDING if batch_first else ~PADDING.T
                    found, expected = found[keep], expected[keep]
                torch.testing.assert_close(found, expected, **TIGHT)


@pytest.mark.parametrize("grad", [True, False])
def test_a_frozen_encoder_uses_the_coupler(grad: bool) -> None:
    """The fused layer of torch would compute softmax from the weights, whatever the module says."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 16, batch_first=True, dtype=torch.float64).eval()
    ours, x = replaced(layer, coupler="pivots"), draw(2, 7, WIDTH)
    with torch.set_grad_enabled(grad):
        out = ours(x)
        attended = ours.self_attn(x, x, x)[0]
        expected = ours.norm2((between := ours.norm1(x + attended)) + ours._ff_block(between))
        torch.testing.assert_close(out, expected)
        assert (out - layer(x)).abs().max() > 1e-3


def test_a_whole_transformer() -> None:
    torch.manual_seed(0)
    theirs = nn.Transformer(WIDTH, HEADS, 1, 1, 16, 0.0, batch_first=True, dtype=torch.float64)
    ours = replaced(theirs)
    source, target = draw(2, 7, WIDTH), draw(2, 7, WIDTH, seed=1)
    masks = {
        "tgt_mask": ORDER,
        "tgt_is_causal": True,
        "src_key_padding_mask": PADDING,
        "memory_key_padding_mask": PADDING,
    }
    torch.testing.assert_close(ours(source, target, **masks), theirs(source, target, **masks), **TIGHT)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("coupler", ["softmax", "pivots"])
def test_it_traces_as_one_graph(coupler: str) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    layer = MultiheadAttention(WIDTH, HEADS, add_bias_kv=True, batch_first=True, coupler=coupler)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x, padding = draw(2, 7, WIDTH, dtype=torch.float32), torch.zeros(2, 7).masked_fill(PADDING, -torch.inf)
    for mask in (PADDING, padding):
        found, expected = (module(x, x, x, mask, need_weights=False)[0] for module in (compiled, layer))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_it_says_what_it_holds() -> None:
    layer = MultiheadAttention(WIDTH, HEADS, add_zero_attn=True, coupler=Sinkhorn(3))
    assert isinstance(layer.coupler, Sinkhorn)
    assert isinstance(MultiheadAttention(WIDTH, HEADS).coupler, Softmax)
    assert "dropout=0.0" in repr(layer)
    x = draw(5, WIDTH, dtype=torch.float32)
    assert tuple(layer.couple(x).dense().shape) == (HEADS, 5, 6)


def test_messages() -> None:
    x = draw(2, 5, WIDTH, dtype=torch.float32)
    layer = MultiheadAttention(WIDTH, HEADS, batch_first=True)
    with pytest.raises(InputError, match="heads must divide dim"):
        MultiheadAttention(WIDTH, 3)
    with pytest.raises(DtypeError, match="key_padding_mask must be boolean"):
        layer(x, x, x, torch.zeros(2, 5, dtype=torch.uint8))
    with pytest.raises(DtypeError, match="attn_mask must be boolean"):
        layer(x, x, x, attn_mask=torch.zeros(5, 5, dtype=torch.long))
    with pytest.raises(ShapeError, match=r"attn_mask must have shape \(5, 5\), \(4, 5, 5\)"):
        layer(x, x, x, attn_mask=torch.zeros(2, 5, 5))
    with pytest.raises(ShapeError, match="key_padding_mask must have shape"):
        layer(x, x, x, torch.zeros(2, 4))
    balanced = MultiheadAttention(WIDTH, HEADS, batch_first=True, coupler="pivots")
    with pytest.raises(InputError, match="pass a bias as attn_mask"):
        balanced(x, x, x, torch.full((2, 5), 0.5))
    with pytest.raises(CapabilityError, match="never forms the pairs"):
        balanced(x, x, x, attn_mask=torch.zeros(5, 5))
