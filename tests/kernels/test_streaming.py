"""The streamed kernels, both twins, against dense formulas, and their derivatives of first and second order."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from monge import _arrays
from monge.errors import DeviceError, DtypeError, InputError, ShapeError
from monge.kernels import Matrix, Points, _extension, apply, ctransform, extract, sinkhorn, softmin, top_k

RULES = [
    {},
    {"power": 1},
    {"p": 1, "power": 1},
    {"p": 3, "power": 2},
    {"p": 1.5, "power": 1.5},
    {"p": math.inf, "power": 1},
    {"kind": "dot"},
]


@pytest.fixture(params=["native", "reference", "reference in many blocks"])
def engine(request, monkeypatch):
    if request.param != "native":
        monkeypatch.setattr(_extension, "AVAILABLE", False)
    if request.param == "reference in many blocks":
        monkeypatch.setattr(_arrays, "BLOCK_BYTES", 64)


@pytest.fixture(params=["native", "reference in many blocks"])
def slope_engine(request, monkeypatch):
    if request.param != "native":
        monkeypatch.setattr(_extension, "AVAILABLE", False)
    monkeypatch.setattr(_arrays, "BLOCK_BYTES", 64)


def problem(d: int = 3, n: int = 7, m: int = 5, seed: int = 0, grad: bool = True):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_(grad)

    x, y, row, col, v = draw(2, n, d), draw(m, d), draw(n), draw(2, m), draw(m, 3)
    epsilon = torch.tensor([0.7, 0.9], dtype=torch.float64, requires_grad=grad)
    return x, y, row, col, v, epsilon


def cost(x: torch.Tensor, y: torch.Tensor, kind: str = "norm", p: float = 2, power: float = 2) -> torch.Tensor:
    if kind == "dot":
        return -x @ y.mT
    return torch.linalg.vector_norm(x[..., :, None, :] - y[..., None, :, :], ord=p, dim=-1) ** power


@pytest.mark.parametrize("d", [1, 3, 11])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_block_is_the_cost(rule, d):
    x, y, *_ = problem(d)
    pairs = Points(x, y, **rule)
    expected = cost(x, y, **rule)
    assert pairs.shape == (7, 5)
    assert pairs.batch_shape == (2,)
    torch.testing.assert_close(pairs.block(slice(2, 6)), expected[..., 2:6, :])
    torch.testing.assert_close(pairs.block(torch.tensor([6, 0])), expected[..., [6, 0], :])
    torch.testing.assert_close(pairs.transpose().block(slice(None)), expected.mT)
    columns = torch.tensor([[4, 0], [1, 1]]).repeat(4, 1)[:7]
    torch.testing.assert_close(pairs.gather(columns), expected.gather(-1, columns.expand(2, 7, 2)))
    i, j = torch.tensor([0, 6, 3]), torch.tensor([4, 4, 0])
    torch.testing.assert_close(Points(x[0], y, **rule).at(i, j), expected[0][i, j])


@pytest.mark.parametrize("d", [3, 11])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_values_are_the_dense_formulas(rule, d, engine):
    x, y, row, col, v, epsilon = problem(d, grad=False)
    pairs, scores = Points(x, y, **rule), col[:, None] - cost(x, y, **rule) / epsilon[:, None, None]
    torch.testing.assert_close(softmin(pairs, col, epsilon), -epsilon[:, None] * scores.logsumexp(-1))
    torch.testing.assert_close(apply(pairs, row, col, v, epsilon), (row[:, None] + scores).exp() @ v)
    torch.testing.assert_close(apply(pairs, None, col, v, epsilon), scores.softmax(-1) @ v)
    reduced = cost(x, y, **rule) - col[:, None]
    torch.testing.assert_close(ctransform(pairs, col), tuple(reduced.min(-1)))
    torch.testing.assert_close(top_k(pairs, col, 3), tuple(reduced.topk(3, largest=False)))


@pytest.mark.parametrize(("rule", "d"), [*((rule, 3) for rule in RULES), ({}, 11), ({"power": 1}, 11)], ids=str)
def test_derivatives(rule, d, slope_engine):
    x, y, row, col, v, epsilon = problem(d, n=4, m=3)
    for function, inputs in [
        (lambda x, y, col, e: softmin(Points(x, y, **rule), col, e), (x, y, col, epsilon)),
        (lambda x, y, *rest: apply(Points(x, y, **rule), *rest), (x, y, row, col, v, epsilon)),
        (lambda x, y, *rest: apply(Points(x, y, **rule), None, *rest), (x, y, col, v, epsilon)),
        (lambda x, y, col: top_k(Points(x, y, **rule), col, 2)[0], (x, y, col)),
        (lambda x, y, col: ctransform(Points(x, y, **rule), col)[0], (x, y, col)),
    ]:
        assert gradcheck(function, inputs, fast_mode=True)
        assert gradgradcheck(function, inputs, fast_mode=True)


def test_derivatives_of_a_matrix(slope_engine):
    x, y, row, col, v, epsilon = problem(n=4, m=3)
    matrix = cost(x, y).detach()
    matrix[0, 1, 2] = math.inf
    finite = matrix.isfinite()
    entries = matrix[finite].requires_grad_()

    def build(entries):
        return Matrix(torch.full_like(matrix, math.inf).masked_scatter(finite, entries))

    for function, inputs in [
        (lambda c, col, e: softmin(build(c), col, e), (entries, col, epsilon)),
        (lambda c, *rest: apply(build(c), *rest), (entries, row, col, v, epsilon)),
        (lambda c, *rest: apply(build(c), None, *rest), (entries, col, v, epsilon)),
    ]:
        assert gradcheck(function, inputs, fast_mode=True)
        assert gradgradcheck(function, inputs, fast_mode=True)


def test_extract_lists_what_exceeds_the_threshold(engine):
    x, y, row, col, _, epsilon = problem()
    x, col, epsilon = x[0], col[0], epsilon[0]
    plan = (row[:, None] + col - cost(x, y) / epsilon).exp()
    for threshold in (0.1, plan.detach().mean(-1)):
        limit = torch.as_tensor(threshold, dtype=torch.float64).expand(7)
        i, j, w = extract(Points(x, y), row, col, epsilon, threshold)
        expected = (plan > limit[:, None]).nonzero(as_tuple=True)
        torch.testing.assert_close((i, j), expected)
        torch.testing.assert_close(w, plan[expected])
        inputs = (x, y, row, col, epsilon)
        wanted = torch.autograd.grad(plan[expected].square().sum(), inputs, retain_graph=True)
        torch.testing.assert_close(torch.autograd.grad(w.square().sum(), inputs, retain_graph=True), wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e3])
def test_sinkhorn_is_two_half_steps(dtype, scale, engine):
    """At the small scale of epsilon most column sums underflow and take the logarithmic path."""
    x, y, row, col, _, epsilon = (t.to(dtype) for t in problem(n=40, m=30, grad=False))
    log_a, log_b = row.log_softmax(-1), col.log_softmax(-1)
    log_a[3], log_b[:, 2] = -math.inf, -math.inf
    pairs, epsilon = Points(x, y), epsilon * scale
    f, g_new, error = sinkhorn(pairs, col, log_a, log_b, epsilon)
    bias = col / epsilon[:, None] + log_b
    expected = softmin(pairs, bias, epsilon)
    # Biases are rounded in units of epsilon.
    rounding = {"rtol": 1e-5, "atol": 20 * torch.finfo(dtype).eps * max(scale, 1.0)}
    torch.testing.assert_close(f, expected, **rounding)
    back = softmin(pairs.transpose(), expected / epsilon[:, None] + log_a, epsilon)
    torch.testing.assert_close(g_new, back, **rounding)
    plan = (f / epsilon[:, None] + log_a)[..., None] + bias[:, None] - cost(x, y) / epsilon[:, None, None]
    off = (plan.exp().sum(-2) - log_b.exp()).abs().sum(-1)
    torch.testing.assert_close(error, off, rtol=1e-3, atol=1e-3 if dtype == torch.float32 else 1e-9)


def test_absent_columns_and_empty_rows(engine):
    x, y, row, col, v, epsilon = problem()
    matrix = cost(x, y).detach()
    matrix[1, 4] = math.inf
    matrix.requires_grad_()
    col = torch.where(torch.arange(5) == 2, -math.inf, col.detach()).requires_grad_()
    pairs = Matrix(matrix)
    f = softmin(pairs, col, epsilon)
    assert f[1, 4] == math.inf
    assert f.isfinite().sum() == 13
    normalised = apply(pairs, None, col, v, epsilon)
    assert (normalised[1, 4] == 0).all()
    assert (apply(pairs, row, col, v, epsilon)[1, 4] == 0).all()
    values, index = ctransform(pairs, col)
    assert values[1, 4] == math.inf
    assert index[1, 4] == -1
    assert (index != 2).all()
    values, index = top_k(pairs, col, 5)
    assert (index[..., 4] == -1).all()
    assert (values[..., 4] == math.inf).all()
    total = f[f.isfinite()].sum() + normalised.sum() + values[values.isfinite()].sum()
    for grad in torch.autograd.grad(total, (matrix, col, v, epsilon)):
        assert grad.isfinite().all()
    log_a, log_b = torch.zeros(7).double(), torch.zeros(5).double()
    f, g, _ = sinkhorn(pairs, log_b, log_a, log_b, epsilon)
    assert f[1, 4] == math.inf
    assert g.isfinite().all()


def test_coincident_points_have_finite_gradients():
    x = torch.ones(4, 3, dtype=torch.float64, requires_grad=True)
    for rule in RULES:
        f = softmin(Points(x, x, **rule), torch.zeros(4).double(), 0.1)
        (grad,) = torch.autograd.grad(f.sum(), x, create_graph=True)
        assert grad.isfinite().all()
        assert torch.autograd.grad(grad.square().sum(), x)[0].isfinite().all()


def test_far_clouds_keep_their_digits():
    """Far from the origin, centring and float64 products keep every digit that float32 points hold."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(50, 20, generator=generator) + 1e4 for _ in range(2))
    exact = softmin(Points(x.double(), y.double()), torch.zeros(50).double(), 0.5)
    torch.testing.assert_close(softmin(Points(x, y), torch.zeros(50), 0.5).double(), exact, rtol=1e-6, atol=1e-5)
    close = x.double()[:1] + 1e-6 * torch.randn(50, 20, generator=generator).double()
    small = softmin(Points(close, close), torch.zeros(50).double(), 1e-15)
    expected = -1e-15 * (-cost(close, close) / 1e-15).logsumexp(-1)
    torch.testing.assert_close(small, expected, rtol=1e-9, atol=1e-20)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_are_computed_in_single_precision(dtype):
    x, y, _, col, v, _ = (t.detach().to(dtype) for t in problem())
    pairs = Points(x, y)
    f = softmin(pairs, col, 0.5)
    assert f.dtype == torch.float32
    torch.testing.assert_close(f, softmin(Points(x.float(), y.float()), col.float(), 0.5))
    assert apply(pairs, None, col, v, 0.5).dtype == dtype
    assert pairs.block(slice(None)).dtype == dtype


@pytest.mark.parametrize(("n", "m"), [(0, 3), (3, 0), (1, 1)])
def test_small_sizes(n, m):
    x, y = torch.zeros(n, 2), torch.zeros(m, 2)
    f = softmin(Points(x, y), torch.zeros(m), 1.0)
    assert f.shape == (n,)
    assert (f == (math.inf if m == 0 else 0)).all()
    assert apply(Points(x, y), None, torch.zeros(m), torch.ones(m, 4), 1.0).shape == (n, 4)


def test_errors_name_argument_rule_and_remedy():
    x, y = torch.zeros(3, 2), torch.zeros(4, 2)
    with pytest.raises(ShapeError, match=r"x and y .*\(3, 2\) and \(4, 1\)"):
        Points(x, y[:, :1])
    with pytest.raises(DtypeError, match=r"x and y .*float32 and torch\.float64"):
        Points(x, y.double())
    with pytest.raises(DeviceError, match="one device"):
        Points(x, y.to("meta"))
    with pytest.raises(ShapeError, match="batch dimensions of x and y"):
        Points(x.expand(2, 3, 2), y.expand(3, 4, 2))
    with pytest.raises(InputError, match=r"p = 0\.5"):
        Points(x, y, p=0.5)
    with pytest.raises(InputError, match="kind"):
        Points(x, y, kind="cosine")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"bias .* each of the 4 columns, but has \(3,\)"):
        softmin(Points(x, y), torch.zeros(3), 1.0)
    with pytest.raises(InputError, match=r"epsilon must be positive .* -1\.0"):
        softmin(Points(x, y), torch.zeros(4), -1.0)
    with pytest.raises(ShapeError, match=r"v\[:, None\]"):
        apply(Points(x, y), None, torch.zeros(4), torch.zeros(4), 1.0)
    with pytest.raises(InputError, match=r"k must lie between 1 and the number of columns, 4, but is 5"):
        top_k(Points(x, y), torch.zeros(4), 5)
    with pytest.raises(ShapeError, match="call it once for each problem"):
        extract(Points(x.expand(2, 3, 2), y), torch.zeros(3), torch.zeros(4), 1.0, 0.5)
    with pytest.raises(ShapeError, match="matrix"):
        Matrix(torch.zeros(3))
