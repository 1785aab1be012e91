"""The suite of couplers passes every coupler of the library, and sees every way in which one can be wrong."""

from __future__ import annotations

import pytest
import torch

from monge.coupling import DenseCoupling
from monge.nn.couplers import Coupler, Promise, Softmax, build, names
from monge.testing import check_coupler

SIZES = {"circuit": {"tokens": 8, "layers": 2}}


@pytest.mark.parametrize("name", names())
def test_every_coupler_passes(name):
    check_coupler(build(name, 3, 4, **SIZES[name]) if name in SIZES else name)


def test_a_module_is_left_as_it_is():
    coupler = build("pivots", 3, 4).train()
    before = {name: held.clone() for name, held in coupler.state_dict().items()}
    check_coupler(coupler)
    assert coupler.training
    assert all(torch.equal(held, before[name]) for name, held in coupler.state_dict().items())
    assert coupler.locations.dtype == torch.float32


class Plain(Coupler):
    """Softmax as a stranger writes it: one method."""

    promise = Promise.of_rows(time="n²", memory="n²", source="none")

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.5))

    def scores(self, heads):
        scores = self.scale * heads.q @ heads.k.mT
        return scores if heads.key_padding is None else scores.masked_fill(heads.key_padding[..., None, :], -torch.inf)

    def rows(self, heads):
        present = heads.q.new_ones(heads.q.shape[:-1])
        if heads.query_padding is not None:
            present = present.masked_fill(heads.query_padding, 0.0)
        return present / present.sum(-1, keepdim=True).clamp_min(1)

    def _couple(self, heads):
        return DenseCoupling(self.rows(heads)[..., None] * self.scores(heads).softmax(-1).nan_to_num())


class RowsOfMassOne(Plain):
    def rows(self, heads):
        return torch.ones_like(super().rows(heads))


class PromisesColumns(Plain):
    promise = Promise.of_both(time="n²", memory="n²", source="none")


class ReadsPadding(Plain):
    def scores(self, heads):
        return self.scale * heads.q @ heads.k.mT


class SmallMassOnPadding(Plain):
    def scores(self, heads):
        return super().scores(heads).clamp_min(-20)


class AttendsOtherwise(Plain):
    def _attend(self, heads, v, dropout):
        return super()._attend(heads._replace(q=2 * heads.q), v, dropout)


class SequencesMixed(Plain):
    def scores(self, heads):
        scores = super().scores(heads)
        return scores * (1 + heads.q.mean())


class WithoutGradientOfKeys(Plain):
    def scores(self, heads):
        return super().scores(heads._replace(k=heads.k.detach()))


class WithoutGradientOfItsOwn(Plain):
    def scores(self, heads):
        return super().scores(heads) / self.scale * self.scale.detach()


class NeverTheSame(Plain):
    def scores(self, heads):
        return super().scores(heads) + 1e-9 * torch.rand(())


class InDoublePrecision(Plain):
    def _attend(self, heads, v, dropout):
        return super()._attend(heads, v, dropout).double()


class SaysCausal(Plain):
    promise = Promise.of_rows(time="n²", memory="n²", source="none", causal="optional")


class SaysPairs(Plain):
    promise = Promise.of_rows(time="n²", memory="n²", source="none", pairs=True)


class RefusesNothing(Plain):
    def _admit(self, heads):
        """Whatever comes."""


class Transposed(Plain):
    def _couple(self, heads):
        return super()._couple(heads).T


BROKEN = {
    RowsOfMassOne: "The mass of the coupling is not one",
    PromisesColumns: r"A column of attention is off by .*, promised is 1\.0e-05",
    ReadsPadding: "An absent key must have no mass",
    SmallMassOnPadding: "An absent key must have no mass, but one has",
    AttendsOtherwise: r"attend\(q, k, v\) differs from the plan's barycentres",
    SequencesMixed: "attend of sequence 0 alone differs from that in the batch",
    WithoutGradientOfKeys: "The gradient of attend by inputs and parameters differs from differences",
    WithoutGradientOfItsOwn: "The gradient of attend by inputs and parameters differs from differences",
    NeverTheSame: "must answer the same every time",
    InDoublePrecision: "attend must answer in the dtype of the values",
    SaysCausal: "A causal coupler reads what comes later",
    SaysPairs: "A forbidden pair must have no mass",
    RefusesNothing: r"causal=True must raise CapabilityError",
    Transposed: r"The coupling must have shape \(2, 3, 7, 9\), but has \(2, 3, 9, 7\)",
}


@pytest.mark.parametrize("cls", BROKEN)
def test_the_suite_fails_and_says_why(cls):
    with pytest.raises(AssertionError, match=BROKEN[cls]):
        check_coupler(cls())


def test_the_suite_passes_what_is_whole():
    check_coupler(Plain())
    check_coupler(Softmax(), heads=2, width=5, tokens=4)
