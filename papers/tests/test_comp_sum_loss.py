"""The family of losses against its definitions, against cross-entropy, and where numbers are extreme."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from monge.errors import DtypeError, InputError, ShapeError
from monge_papers.tail.comp_sum import CompSumLoss, comp_sum_loss

ORDERS = (0.0, 0.5, 0.999, 1.0, 1.001, 1.7, 2.0, 3.0)
D = torch.float64


def drawn(generator: torch.Generator, *shape: int, classes: int = 5, dtype: torch.dtype = D) -> tuple[Tensor, Tensor]:
    """Scores (N, C, ...) and labels (N, ...)."""
    rows, *rest = shape
    scores = 3 * torch.randn(rows, classes, *rest, generator=generator, dtype=dtype)
    return scores, torch.randint(classes, shape, generator=generator)


def defined(scores: Tensor, labels: Tensor, order: float) -> Tensor:
    """The definition, by the sum of exponentials of the differences to the score of the label."""
    others = (scores - scores.gather(1, labels[:, None])).exp().sum(1)
    return others.log() if order == 1 else (others ** (1 - order) - 1) / (1 - order)


@pytest.mark.parametrize("order", ORDERS)
def test_the_definition(order: float, generator: torch.Generator) -> None:
    scores, labels = drawn(generator, 20)
    scores.requires_grad_()
    found, expected = comp_sum_loss(scores, labels, order, reduction="none"), defined(scores, labels, order)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    gradients = (torch.autograd.grad(loss.sum(), scores)[0] for loss in (found, expected))
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


def test_members_with_names(generator: torch.Generator) -> None:
    scores, labels = drawn(generator, 20)
    p = scores.softmax(1).gather(1, labels[:, None]).squeeze(1)
    exponentials = (scores - scores.gather(1, labels[:, None])).exp().sum(1) - 1
    named = {0.0: exponentials, 1.0: -p.log(), 1.7: (1 - p**0.7) / 0.7, 2.0: 1 - p, 3.0: (1 - p**2) / 2}
    for order, expected in named.items():
        torch.testing.assert_close(comp_sum_loss(scores, labels, order, reduction="none"), expected)


OPTIONS = list(itertools.product(("none", "mean", "sum"), (0.0, 0.2), (False, True), (False, True)))


@pytest.mark.parametrize("shape", [(6,), (6, 3), (6, 2, 3)])
@pytest.mark.parametrize(("reduction", "label_smoothing", "weighted", "shares"), OPTIONS)
def test_order_one_is_cross_entropy(
    shape: tuple[int, ...],
    reduction: str,
    label_smoothing: float,
    weighted: bool,
    shares: bool,
    generator: torch.Generator,
) -> None:
    scores, labels = drawn(generator, *shape)
    scores.requires_grad_()
    if shares:
        labels = torch.rand(scores.shape, generator=generator, dtype=D).softmax(1)
    else:
        labels[0] = labels[-1] = -7
    options = {
        "weight": torch.rand(5, generator=generator, dtype=D) if weighted else None,
        "ignore_index": -7,
        "label_smoothing": label_smoothing,
        "reduction": reduction,
    }
    found, expected = comp_sum_loss(scores, labels, **options), cross_entropy(scores, labels, **options)
    torch.testing.assert_close(found, expected)
    gradients = (torch.autograd.grad(loss.square().sum(), scores)[0] for loss in (found, expected))
    torch.testing.assert_close(*gradients)


def test_one_sample_without_a_batch() -> None:
    scores, label = torch.tensor([1.0, 2.0, 4.0]), torch.tensor(1)
    torch.testing.assert_close(comp_sum_loss(scores, label), cross_entropy(scores, label))
    torch.testing.assert_close(comp_sum_loss(scores, one_hot(label, 3).float()), cross_entropy(scores, label))


def test_nothing_that_counts_has_no_mean() -> None:
    scores, labels = torch.randn(2, 3), torch.tensor([-100, -100])
    assert comp_sum_loss(scores, labels).isnan()
    assert comp_sum_loss(scores, labels, reduction="sum") == 0


@pytest.mark.parametrize("order", ORDERS)
def test_smoothing_and_weights_at_any_order(order: float, generator: torch.Generator) -> None:
    scores, labels = drawn(generator, 8)
    weight = torch.rand(5, generator=generator, dtype=D)
    all_classes = torch.stack([defined(scores, torch.full_like(labels, k), order) for k in range(5)], 1)
    own = weight[labels] * all_classes.gather(1, labels[:, None]).squeeze(1)
    expected = (0.7 * own + 0.3 / 5 * (weight * all_classes).sum(1)).sum() / weight[labels].sum()
    found = comp_sum_loss(scores, labels, order, weight=weight, label_smoothing=0.3)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    shares = 0.7 * one_hot(labels, 5).double() + 0.3 / 5
    again = comp_sum_loss(scores, shares, order, weight=weight, reduction="sum") / weight[labels].sum()
    torch.testing.assert_close(again, expected, rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------------- numbers


@pytest.mark.parametrize("order", ORDERS)
def test_derivatives(order: float, generator: torch.Generator) -> None:
    scores, labels = drawn(generator, 4, classes=3)
    scores[0] = 1.0  # all classes alike, so that the best one is a choice
    scores.requires_grad_()

    def loss(scores: Tensor) -> Tensor:
        return comp_sum_loss(scores, labels, order, label_smoothing=0.1, reduction="none")

    assert torch.autograd.gradcheck(loss, scores)
    assert torch.autograd.gradgradcheck(loss, scores)


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=5), st.floats(0, 3), st.floats(0, 3))
def test_the_loss_falls_as_the_order_grows(scores: list[float], one: float, other: float) -> None:
    held, label = torch.tensor(scores, dtype=D), torch.tensor(0)
    less, more = (comp_sum_loss(held, label, order) for order in sorted((one, other)))
    assert 0 <= more <= less * (1 + 1e-12)


@pytest.mark.parametrize("size", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("step", [1e-3, 1e-6, 1e-9, 1e-12, 1e-15])
def test_order_one_is_approached(size: float, step: float) -> None:
    scores, label = torch.tensor([0.0, size], dtype=D), torch.tensor(0)
    middle = comp_sum_loss(scores, label)
    below, above = (comp_sum_loss(scores, label, 1 + sign * step) for sign in (-1, 1))
    second = middle**2 * step
    torch.testing.assert_close(below - middle, middle - above, rtol=0.1, atol=1e-14 * float(middle + 1))
    assert (below - middle - second / 2).abs() <= second * step * (middle + 1) + 1e-14 * (middle + 1)


@pytest.mark.parametrize("order", ORDERS)
def test_a_label_that_is_nearly_certain(order: float) -> None:
    """Cross-entropy of torch is zero in float32 from a margin of 17 on, and so is its gradient."""
    scores = torch.tensor([[0.0, -40.0, -41.0]], requires_grad=True)
    loss = comp_sum_loss(scores, torch.tensor([0]), order)
    (gradient,) = torch.autograd.grad(loss, scores)
    others = torch.tensor([math.exp(-40), math.exp(-41)], dtype=D)
    torch.testing.assert_close(loss.double(), others.sum(), rtol=1e-6, atol=0)
    torch.testing.assert_close(gradient.double()[0], torch.cat([-others.sum()[None], others]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("size", [100.0, 1e4, 1e30])
@pytest.mark.parametrize("order", [order for order in ORDERS if order >= 1])
def test_scores_of_any_size(order: float, size: float) -> None:
    scores = torch.tensor([[-size, size, 0.0], [size, -size, size]], requires_grad=True)
    losses = comp_sum_loss(scores, torch.tensor([0, 0]), order, reduction="none")
    bound = 1 / (order - 1) if order > 1 else math.inf
    assert losses[0].item() == pytest.approx(min(2 * size, bound), rel=0.1)
    assert losses[1].item() == pytest.approx(float(comp_sum_loss(torch.zeros(2), torch.tensor(0), order)))
    (gradient,) = torch.autograd.grad(losses.sum(), scores)
    assert gradient.isfinite().all()
    torch.testing.assert_close(gradient.sum(1), torch.zeros(2))


def test_below_order_one_the_loss_ends_where_the_dtype_does() -> None:
    far, label = torch.tensor([0.0, 88.0, 200.0]), torch.tensor(0)
    assert comp_sum_loss(far[:2], label, 0.0).isfinite()
    assert comp_sum_loss(far, label, 0.0) == math.inf
    assert comp_sum_loss(far.double(), label, 0.0) == pytest.approx(math.exp(200) + math.exp(88), rel=1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_scores_that_rule_a_class_out(order: float) -> None:
    scores = torch.tensor([[1.0, -math.inf, 0.5], [3.0, -math.inf, -math.inf]], dtype=D, requires_grad=True)
    losses = comp_sum_loss(scores, torch.tensor([0, 0]), order, reduction="none")
    expected = comp_sum_loss(scores[0, [0, 2]], torch.tensor(0), order)
    torch.testing.assert_close(losses, torch.stack([expected, torch.zeros((), dtype=D)]))
    (gradient,) = torch.autograd.grad(losses.sum(), scores)
    assert gradient.isfinite().all()
    assert (gradient[scores == -math.inf] == 0).all()


@pytest.mark.parametrize("order", ORDERS)
def test_what_is_absent_has_no_gradient_however_wild(order: float) -> None:
    scores = torch.tensor([[0.0, 1e4], [1.0, 2.0]], requires_grad=True)
    for smoothing in (0.0, 0.1):
        loss = comp_sum_loss(scores, torch.tensor([-100, 1]), order, label_smoothing=smoothing)
        torch.testing.assert_close(loss, comp_sum_loss(scores[1:], torch.tensor([1]), order, label_smoothing=smoothing))
        (gradient,) = torch.autograd.grad(loss, scores)
        assert (gradient[0] == 0).all()
        assert gradient[1].isfinite().all()


def test_a_class_without_a_share_may_have_an_infinite_loss() -> None:
    scores = torch.tensor([[200.0, 0.0]], requires_grad=True)
    loss = comp_sum_loss(scores, torch.tensor([[1.0, 0.0]]), 0.0)
    assert loss == comp_sum_loss(scores, torch.tensor([0]), 0.0)
    assert torch.autograd.grad(loss, scores)[0].isfinite().all()


@pytest.mark.parametrize("order", ORDERS)
def test_only_differences_of_scores_count(order: float, generator: torch.Generator) -> None:
    scores, labels = drawn(generator, 6)
    torch.testing.assert_close(comp_sum_loss(scores + 1e3, labels, order), comp_sum_loss(scores, labels, order))


def test_one_class_is_never_wrong() -> None:
    scores = torch.randn(3, 1, requires_grad=True)
    loss = comp_sum_loss(scores, torch.zeros(3, dtype=torch.long), 0.5)
    loss.backward()
    assert loss == 0
    assert scores.grad is not None
    assert (scores.grad == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype: torch.dtype, generator: torch.Generator) -> None:
    scores, labels = drawn(generator, 50, dtype=torch.float32)
    half = scores.to(dtype)
    found = comp_sum_loss(half, labels, 1.5, reduction="none")
    torch.testing.assert_close(
        found, comp_sum_loss(half.float(), labels, 1.5, reduction="none").to(dtype), rtol=0, atol=0
    )


def test_transforms_of_torch(generator: torch.Generator) -> None:
    scores, labels = drawn(generator, 6)
    mapped = torch.vmap(lambda one, label: comp_sum_loss(one, label, 1.5))(scores, labels)
    torch.testing.assert_close(mapped, comp_sum_loss(scores, labels, 1.5, reduction="none"))
    gradient = torch.func.grad(lambda held: comp_sum_loss(held, labels, 1.5))(scores)
    scores.requires_grad_()
    torch.testing.assert_close(gradient, torch.autograd.grad(comp_sum_loss(scores, labels, 1.5), scores)[0])


# ---------------------------------------------------------------------- the module, and what is refused


def test_the_module_is_the_function(generator: torch.Generator) -> None:
    scores, labels = drawn(generator, 6, dtype=torch.float32)
    weight = torch.rand(5, generator=generator)
    options = {"ignore_index": 2, "label_smoothing": 0.1, "reduction": "sum"}
    module = CompSumLoss(1.3, weight=weight, **options)
    assert torch.equal(module(scores, labels), comp_sum_loss(scores, labels, 1.3, weight=weight, **options))
    assert list(module.state_dict()) == ["weight"]
    assert not list(CompSumLoss().state_dict())
    assert str(module) == "CompSumLoss(order=1.3, ignore_index=2, label_smoothing=0.1, reduction='sum')"


@pytest.mark.parametrize("order", [-0.1, math.nan, math.inf])
def test_orders_outside(order: float) -> None:
    with pytest.raises(InputError, match="order must lie in"):
        CompSumLoss(order)


def test_options_outside() -> None:
    with pytest.raises(InputError, match="label_smoothing must lie in"):
        CompSumLoss(label_smoothing=1.5)
    with pytest.raises(InputError, match="reduction='average' is unknown: choose one of 'none', 'mean', 'sum'"):
        CompSumLoss(reduction="average")


@pytest.mark.parametrize(
    ("scores", "labels", "weight", "told"),
    [
        (torch.zeros(()), torch.tensor(0), None, "scores must have shape"),
        (torch.zeros(2, 0), torch.tensor([0, 0]), None, "scores must have shape"),
        (torch.zeros(2, 3), torch.tensor([0, 1, 2]), None, r"indices must have shape \(2,\)"),
        (torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.long), None, r"indices must have shape \(2, 4\)"),
        (torch.zeros(2, 3), torch.zeros(2), None, r"probabilities must have shape \(2, 3\)"),
        (torch.zeros(2, 3), torch.tensor([0, 1]), torch.ones(2), r"weight must have shape \(3,\)"),
    ],
)
def test_shapes_that_do_not_fit(scores: Tensor, labels: Tensor, weight: Tensor | None, told: str) -> None:
    with pytest.raises(ShapeError, match=told):
        comp_sum_loss(scores, labels, weight=weight)


def test_dtypes_that_do_not_fit() -> None:
    with pytest.raises(DtypeError, match="scores must be floating-point"):
        comp_sum_loss(torch.zeros(2, 3, dtype=torch.long), torch.tensor([0, 1]))
    with pytest.raises(DtypeError, match="labels must be indices or probabilities"):
        comp_sum_loss(torch.zeros(2, 3), torch.tensor([True, False]))


def test_labels_beyond_the_classes() -> None:
    with pytest.raises((RuntimeError, IndexError), match=r"out of bounds|out of range"):
        comp_sum_loss(torch.zeros(2, 3), torch.tensor([0, 3]))
