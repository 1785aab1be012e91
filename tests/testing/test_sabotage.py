"""The conformance suite must see every way in which a representation can be wrong."""

from __future__ import annotations

import pytest
import torch

from monge._value import value
from monge.coupling import Coupling, DenseCoupling, PermutationCoupling
from monge.testing import check_coupling


@value
class WrongTranspose(DenseCoupling):
    def _transpose(self):
        return self


@value
class TransposeThatDoesNotReturn(DenseCoupling):
    def _transpose(self):
        return DenseCoupling._make(matrix=self.matrix.mT.flip(-2).flip(-2) * 0.5)


@value
class BlockOffByOne(DenseCoupling):
    def _block(self, rows):
        return self.matrix.roll(1, -2)[..., rows, :]


@value
class BlockThatForgetsLists(DenseCoupling):
    def _block(self, rows):
        return self.matrix[..., rows if isinstance(rows, slice) else rows.sort().values, :]


@value
class MarginalsSwapped(DenseCoupling):
    def _marginals(self):
        return self.matrix.sum(-2), self.matrix.sum(-1)


@value
class RowSumsOfColumns(DenseCoupling):
    def _row_sums(self):
        return self.matrix.sum(-2)


@value
class GradientDropped(DenseCoupling):
    def _matmul(self, v):
        return self.matrix.detach() @ v


@value
class GradientOfValuesDropped(DenseCoupling):
    def _matmul(self, v):
        return self.matrix @ v.detach()


@value
class BlockWithoutGradient(DenseCoupling):
    def _block(self, rows):
        return self.matrix.detach()[..., rows, :]


@value
class EmptyRowIsNaN(DenseCoupling):
    def _average(self, v):
        return self.matrix @ v / self.matrix.sum(-1, keepdim=True)


@value
class EmptyRowHasAGradientOfNaN(DenseCoupling):
    def _average(self, v):
        total = self.matrix.sum(-1, keepdim=True)
        return torch.where(total > 0, self.matrix @ v / total, 0)


@value
class EntropyOfZeroIsNaN(DenseCoupling):
    def _entropy(self):
        return -(self.matrix * self.matrix.log()).sum((-1, -2))


@value
class SmallestInsteadOfLargest(DenseCoupling):
    def _top_k(self, k):
        w, j = self.matrix.topk(k, -1, largest=False)
        return w, j


@value
class RightWeightsAtWrongPlaces(DenseCoupling):
    def _top_k(self, k):
        w, j = self.matrix.topk(k, -1)
        return w, j.flip(-1)


@value
class ScalesRowsOnly(DenseCoupling):
    def _scale(self, row, col):
        return DenseCoupling._make(matrix=row[..., None] * self.matrix)


@value
class WrongEntries(DenseCoupling):
    def _at(self, i, j):
        return super()._at(j, i)


@value
class SamplesUniformly(DenseCoupling):
    def _sample_rows(self, i, u):
        return (u * self.matrix.shape[-1]).long().expand(i.shape)


@value
class SamplesTheLargest(DenseCoupling):
    def _sample_rows(self, i, u):
        return self.matrix.argmax(-1)[..., i]


@value
class ForgetsForbiddenPairs(DenseCoupling):
    def _inner(self, geometry):
        return (self.matrix * geometry.dense().nan_to_num(posinf=0.0)).sum((-1, -2))


@value
class WrongProblemOfTheBatch(DenseCoupling):
    def _select(self, index, batch):
        return DenseCoupling._make(matrix=self.matrix.flip(0)[index])


@value
class PermutationBackwards(PermutationCoupling):
    def _matmul(self, v):
        return self.weights[..., None] * v[..., self.perm.argsort(-1), :]


@value
class WorstAssignment(DenseCoupling):
    def _assignment(self):
        return (self.matrix.mean(-3) if self.matrix.ndim > 2 else self.matrix)[:, 0].argsort()


BROKEN = [
    broken
    for broken in Coupling.__subclasses__() + DenseCoupling.__subclasses__() + PermutationCoupling.__subclasses__()
    if broken.__module__ == __name__
]


def plan() -> torch.Tensor:
    matrix = torch.rand(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    matrix[1] = 0
    matrix[:, 2] = 0
    return matrix / matrix.sum()


def build(cls: type[Coupling], batch: bool) -> Coupling:
    if issubclass(cls, PermutationCoupling):
        return cls(torch.tensor([2, 0, 3, 1]), torch.tensor([0.1, 0.2, 0.0, 0.7], dtype=torch.float64))
    return cls(torch.stack([plan(), plan().flip(0)]) if batch else plan())


def test_there_are_many():
    assert len(BROKEN) >= 22


@pytest.mark.parametrize("cls", BROKEN)
def test_the_suite_fails(cls):
    with pytest.raises(AssertionError):
        check_coupling(build(cls, batch=cls is WrongProblemOfTheBatch))


@pytest.mark.parametrize("batch", [False, True])
def test_the_suite_passes_what_is_whole(batch):
    check_coupling(build(DenseCoupling, batch))
    check_coupling(build(PermutationCoupling, batch))


def test_the_suite_fails_on_another_matrix():
    wrong = plan()
    wrong[0, 0] += 1e-6
    with pytest.raises(AssertionError, match="differs from its matrix"):
        check_coupling(DenseCoupling(plan()), dense=wrong)


def test_the_message_names_the_question():
    with pytest.raises(AssertionError, match=r"P\.T"):
        check_coupling(build(WrongTranspose, False))


@value
class Least(Coupling):
    """A representation of somebody else's, with the four methods and nothing more."""

    scale: torch.Tensor
    x: torch.Tensor

    def _shape(self):
        return (*self.scale.shape, self.x.shape[-1], self.x.shape[-1])

    def _transpose(self):
        return self

    def _block(self, rows):
        return self.scale[..., None, None] * (-(self.x[rows, None] - self.x).square()).exp()

    def _matmul(self, v):
        return self._block(slice(None)) @ v


@pytest.mark.parametrize("batch", [(), (2,), (2, 2)])
def test_four_methods_are_enough(batch):
    x = torch.randn(4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    P = Least(torch.rand(batch, dtype=torch.float64) + 0.1, x)
    check_coupling(P)
    check_coupling(P, dense=P.scale[..., None, None] * (-(x[:, None] - x).square()).exp())
