"""The encoder: padding is absence, pooling as told, every coupler, pairs; the account of balance."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from monge.errors import InputError, ShapeError
from monge.nn import Attention
from monge.nn.couplers import names
from monge.nn.diagnostics import marginal_error
from monge.sequences import POOLINGS, Classifier, CouplerConfig, Encoder, ModelConfig, ScheduleConfig, fit
from monge.train import MachineConfig, peak_bytes

from .toy import MODEL, SCHEDULE, toy

CPU = torch.device("cpu")


@pytest.mark.parametrize("coupler", ["softmax", "sinkhorn", "pivots", "expected-slices", "linear", "luna"])
def test_padding_does_not_matter(coupler: str) -> None:
    model = Classifier(6, 2, 9, MODEL, coupler=coupler).eval()
    tokens = torch.randint(1, 6, (3, 5))
    longer = torch.cat([tokens, torch.zeros(3, 4, dtype=torch.long)], 1)
    torch.testing.assert_close(model(longer, longer == 0), model(tokens), rtol=1e-4, atol=1e-5)


def test_learned_weights_ignore_padding_and_start_as_the_mean() -> None:
    pooling = POOLINGS["learned"](8, 9)
    x, padding = torch.randn(3, 5, 8), torch.arange(5) >= torch.tensor([[5], [2], [0]])
    expected = POOLINGS["mean"](8, 9)(x, padding)
    torch.testing.assert_close(pooling(x, padding), expected)
    assert pooling(x, padding)[2].eq(0).all()
    torch.nn.init.normal_(pooling.scores.weight)
    assert not torch.allclose(pooling(x, padding)[:2], expected[:2])
    torch.testing.assert_close(pooling(x, padding)[1], pooling(x[1:2, :2], None)[0])


def test_a_plain_mean_is_blind_to_balance() -> None:
    attention = Attention(8, 2, "pivots")
    x = torch.randn(2, 7, 8)
    read = attention(x)[0].mean(1)
    torch.nn.init.normal_(attention.coupler.locations, std=5.0)
    torch.testing.assert_close(attention(x)[0].mean(1), read, rtol=1e-4, atol=1e-5)
    unbalanced = Attention(8, 2, "softmax")
    read = unbalanced(x)[0].mean(1)
    with torch.no_grad():
        unbalanced.in_proj_weight[:8] *= 5
    assert not torch.allclose(unbalanced(x)[0].mean(1), read, atol=1e-2)


def test_mean_is_over_what_is_present() -> None:
    encoder = Encoder(6, 9, replace(MODEL, pooling="mean"), CouplerConfig("softmax")).eval()
    padded = Encoder(6, 9, replace(MODEL, pooling="padded-mean"), CouplerConfig("softmax")).eval()
    assert padded.length == 16
    padded.load_state_dict(encoder.state_dict() | {"positions.weight": padded.positions.weight})
    with torch.no_grad():
        padded.positions.weight[:9] = encoder.positions.weight
    tokens = torch.randint(1, 6, (2, 4))
    torch.testing.assert_close(padded(tokens) * 16, encoder(tokens) * 4)


@pytest.mark.parametrize("coupler", ["softmax", "hybrid", "pivots"])
def test_a_class_token_reads_for_all(coupler: str) -> None:
    model = Classifier(6, 2, 9, replace(MODEL, pooling="class"), coupler=coupler).eval()
    tokens = torch.randint(1, 6, (3, 5))
    longer = torch.cat([tokens, torch.zeros(3, 4, dtype=torch.long)], 1)
    torch.testing.assert_close(model(longer, longer == 0), model(tokens), rtol=1e-4, atol=1e-5)
    assert model.couplings(tokens)[0].shape[-2:] == (6, 6)
    result = fit(toy(), coupler, model=replace(MODEL, pooling="class"), schedule=SCHEDULE).result
    assert result.row_error < 1e-5
    # Of the class token's own weight nobody is told; that of the others is balanced by all but softmax and hybrid.
    assert (result.column_error < 1e-5) == (coupler == "pivots")


def test_pairs_meet_in_the_head_only() -> None:
    model = Classifier(6, 2, 9, MODEL, coupler="softmax", pair=True).eval()
    tokens = torch.randint(1, 6, (3, 2, 9))
    with torch.no_grad():
        one, two = model.encoder(tokens[:, 0]), model.encoder(tokens[:, 1])
        expected = model.head(torch.cat([one, two, one * two, one - two], -1))
        torch.testing.assert_close(model(tokens), expected)
        assert model.couplings(tokens)[0].batch_shape == (6, 2)
    trained = fit(toy(pair=True), "pivots:pivots=4", model=MODEL, schedule=SCHEDULE)
    assert 0 <= trained.result.accuracy <= 1


@pytest.mark.parametrize("coupler", [name for name in names() if name not in ("causal-pivots", "circuit")])
def test_every_coupler_trains(coupler: str) -> None:
    result = fit(toy(), coupler, model=MODEL, schedule=replace(SCHEDULE, steps=3, evaluate_every=3)).result
    assert result.steps == 3
    assert result.row_error < 1e-3 or coupler == "soft-slices"


def test_something_is_learned() -> None:
    task = toy(count=300)
    result = fit(
        task, "softmax", model=MODEL, schedule=replace(SCHEDULE, steps=150, batch=32, evaluate_every=50)
    ).result
    assert result.accuracy > 0.85 > task.majority_rate


def test_couplings_are_those_of_the_forward_pass() -> None:
    model = Classifier(6, 2, 9, replace(MODEL, layers=2), coupler="pivots:pivots=4").eval()
    tokens = torch.randint(1, 6, (2, 9))
    first, second = model.couplings(tokens)
    block = model.encoder.blocks[0]
    x = model.encoder.tokens(tokens) + model.encoder.positions.weight[:9]
    torch.testing.assert_close(first.dense(), block.attention.couple(block.norm(x)).dense())
    rows, columns = marginal_error(second)
    assert rows.max() < 1e-5
    assert columns.max() < 1e-5


def test_too_long() -> None:
    with pytest.raises(ShapeError, match="length at most 9, the number of positions"):
        Classifier(6, 2, 9, MODEL)(torch.ones(1, 10, dtype=torch.long))


class TestConfigs:
    def test_coupler(self):
        coupler = CouplerConfig.parse("entropic-pivots:n_half=7:gradient=implicit")
        assert coupler.options == {"n_half": 7, "gradient": "implicit"}
        assert CouplerConfig.parse(str(coupler)) == coupler
        assert [str(c) for c in CouplerConfig.parse_list(" softmax, linear,")] == ["softmax", "linear"]

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("sofmax", "coupler='sofmax' is unknown: choose one of 'softmax'"),
            ("pivots:pivot=3", "cannot be built"),
            ("pivots:pivots", "must have the form name:option=value"),
            ("pivots:pivots=0", "pivots must be a positive integer"),
            ("softmax,softmax", "softmax twice"),
            ("", "there is none"),
        ],
    )
    def test_bad_couplers(self, text, told):
        with pytest.raises(InputError, match=told):
            CouplerConfig.parse_list(text)

    @pytest.mark.parametrize(
        ("kind", "options", "told"),
        [
            (ModelConfig, {"heads": 3}, "heads must divide dim"),
            (ModelConfig, {"pooling": "max"}, "pooling='max' is unknown"),
            (ModelConfig, {"dropout": 1.5}, "dropout must lie in"),
            (ScheduleConfig, {"warmup": 5000}, "warmup must be less than steps"),
            (ScheduleConfig, {"decay": "step"}, "decay='step' is unknown"),
            (ScheduleConfig, {"lr": 0.0}, "lr must lie in"),
            (ScheduleConfig, {"batch": 0}, "batch must lie in"),
            (MachineConfig, {"device": "tpu9"}, "unknown to torch"),
            (MachineConfig, {"device": "meta"}, "not supported"),
            (MachineConfig, {"device": "cuda:99"}, "does not exist"),
            (MachineConfig, {"precision": "float8"}, "precision='float8' is unknown"),
        ],
    )
    def test_bad_numbers(self, kind, options, told):
        with pytest.raises(InputError, match=told):
            kind(**options)

    @pytest.mark.parametrize("decay", ["cosine", "linear", "constant"])
    def test_rates(self, decay):
        schedule = ScheduleConfig(steps=100, lr=2.0, warmup=10, decay=decay, final=0.4)
        rates = [schedule.rate(step) for step in range(101)]
        assert rates[0] == pytest.approx(0.2)
        assert max(rates) == rates[9] == 2.0
        assert rates[100] == pytest.approx(2.0 if decay == "constant" else 0.8)
        assert all(one >= two for one, two in itertools.pairwise(rates[9:]))


def test_a_loss_that_is_not_finite(tmp_path) -> None:
    wild = replace(SCHEDULE, lr=1e30, warmup=0, clip=1e30)
    with pytest.raises(InputError, match=r"must be finite, but is (nan|inf).*lower the learning rate"):
        fit(toy(), "softmax", model=MODEL, schedule=wild, folder=tmp_path)


def test_mixed_precision_trains() -> None:
    machine = MachineConfig(device="cpu", precision="bfloat16")
    result = fit(toy(), "pivots:pivots=4", model=MODEL, schedule=SCHEDULE, machine=machine).result
    assert result.column_error < 1e-5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("coupler", ["softmax", "pivots:pivots=4"])
def test_compiled(coupler: str) -> None:
    still = replace(MODEL, dropout=0.0, attention_dropout=0.0)
    machine = MachineConfig(device="cpu", compile=True)
    compiled = fit(toy(), coupler, model=still, schedule=SCHEDULE, machine=machine)
    eager = fit(toy(), coupler, model=still, schedule=SCHEDULE, machine=MachineConfig(device="cpu"))
    assert compiled.result.loss == pytest.approx(eager.result.loss, rel=1e-3)


def test_quadratic_attention_is_seen() -> None:
    n = 64
    peaks = {}
    for coupler in ("cayley", "pivots:pivots=4"):
        model = Classifier(6, 2, 4 * n, MODEL, coupler=coupler)
        for length in (n, 4 * n):
            tokens = torch.randint(6, (4, length))
            peaks[coupler, length] = peak_bytes(lambda m=model, t=tokens: m(t).sum().backward(), CPU)
    assert peaks["cayley", 4 * n] > 10 * peaks["cayley", n]
    assert peaks["pivots:pivots=4", 4 * n] < 5 * peaks["pivots:pivots=4", n]
