"""The C++ kernels against their references: outputs, gradients, awkward sizes, poisoned scratch, hostile numbers."""

from __future__ import annotations

import inspect
import math

import pytest
import torch

from monge.kernels import Matrix, Points, apply, ctransform, extract, sinkhorn, softmin, top_k
from monge.kernels._extension import module
from monge.kernels.stream.native import (
    apply_native,
    attend_native,
    moment_native,
    plan_native,
    sinkhorn_native,
    softmin_native,
    top_k_native,
)
from monge.kernels.stream.reference import (
    apply_reference,
    extract_reference,
    sinkhorn_reference,
    softmin_reference,
    top_k_reference,
)
from monge.testing import LargestTensor

RULES = [
    {},
    {"power": 1},
    {"power": 3},
    {"p": 1, "power": 1},
    {"p": 3, "power": 2},
    {"p": math.inf, "power": 1},
    {"p": math.inf, "power": 2},
    {"kind": "dot"},
]
DTYPES = [torch.float32, torch.float64]


@pytest.fixture
def instructions():
    """Limits the instruction set; lifts the limit afterwards."""
    yield module().limit_instructions
    module().limit_instructions(2)


@pytest.fixture(autouse=True)
def poisoned():
    """Every test reads scratch memory full of NaN."""
    module().poison_scratch(True)
    yield
    module().poison_scratch(False)


def close(actual, expected, dtype, scale=1.0):
    tolerance = 2e-5 if dtype == torch.float32 else 1e-11
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance * scale)


def draw(generator, dtype, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def clouds(n, m, d, dtype, batch=(), seed=0):
    generator = torch.Generator().manual_seed(seed)
    x, y = draw(generator, dtype, *batch, n, d) / d**0.5, draw(generator, dtype, m, d) / d**0.5
    return x, y, draw(generator, dtype, *batch, n), draw(generator, dtype, m), draw(generator, dtype, m, 3)


def inputs(*tensors):
    return tuple(t.detach().clone().requires_grad_() for t in tensors)


def gradients(out, weights, leaves):
    return torch.autograd.grad((out * weights).sum(), leaves)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (63, 100), (1000, 63)])
def test_points_outputs_and_gradients(rule, n, m, dtype):
    d = 3 if n > 100 or m > 100 else 20
    x, y, row, col, v = inputs(*clouds(n, m, d, dtype))
    epsilon = torch.tensor(0.3, dtype=dtype, requires_grad=True)
    pairs = Points(x, y, **rule)
    generator = torch.Generator().manual_seed(1)
    for native, reference, leaves in [
        (softmin(pairs, col, epsilon), softmin_reference(pairs, col, epsilon), (x, y, col, epsilon)),
        (
            apply(pairs, None, col, v, epsilon),
            apply_reference(pairs, None, col, v, epsilon),
            (x, y, col, v, epsilon),
        ),
        (
            apply(pairs, row - 3, col, v, epsilon),
            apply_reference(pairs, row - 3, col, v, epsilon),
            (x, y, row, col, v, epsilon),
        ),
    ]:
        scale = 1 + float(reference.detach().abs().max())
        close(native, reference, dtype, scale)
        weights = draw(generator, dtype, *native.shape)
        for ours, theirs in zip(gradients(native, weights, leaves), gradients(reference, weights, leaves), strict=True):
            close(ours, theirs, dtype, 10 * (1 + float(theirs.abs().max())))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (63, 100), (700, 601)])
def test_matrix_outputs_and_gradients(n, m, turned, dtype):
    generator = torch.Generator().manual_seed(0)
    cost = draw(generator, dtype, n, m).square()
    cost[draw(generator, dtype, n, m) > 1] = math.inf
    (cost,) = inputs(cost)
    row, col, v = inputs(*clouds(n, m, 2, dtype)[2:])
    epsilon = torch.tensor(0.3, dtype=dtype, requires_grad=True)
    pairs = Matrix(cost)
    if turned:
        pairs = Matrix(cost.detach().mT.contiguous().requires_grad_().mT)
        cost = pairs.cost
    for native, reference, leaves in [
        (softmin(pairs, col, epsilon), softmin_reference(pairs, col, epsilon), (cost, col, epsilon)),
        (
            apply(pairs, None, col, v, epsilon),
            apply_reference(pairs, None, col, v, epsilon),
            (cost, col, v, epsilon),
        ),
        (
            apply(pairs, row, col, v, epsilon),
            apply_reference(pairs, row, col, v, epsilon),
            (cost, row, col, v, epsilon),
        ),
    ]:
        finite = reference.isfinite()
        assert torch.equal(native.isfinite(), finite)
        scale = 1 + float(reference.detach()[finite].abs().max()) if finite.any() else 1.0
        close(native, reference, dtype, scale)
        weights = draw(generator, dtype, *native.shape)
        ours = gradients(native[finite], weights[finite], leaves)
        theirs = gradients(reference[finite], weights[finite], leaves)
        for mine, wanted in zip(ours, theirs, strict=True):
            close(mine, wanted, dtype, 10 * (1 + float(wanted.abs().max())))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_sinkhorn(rule, dtype, scale):
    """The small epsilon sends most columns down the logarithmic path."""
    x, y, row, g, _ = clouds(101, 300, 5, dtype, batch=(2,))
    log_a, log_b = row.log_softmax(-1), g.log_softmax(-1)
    log_a[0, 3], log_b[7] = -math.inf, -math.inf
    epsilon = torch.tensor([0.3, 0.1], dtype=dtype) * scale
    pairs = Points(x, y, **rule)
    for native, reference in zip(
        sinkhorn(pairs, g, log_a, log_b, epsilon),
        sinkhorn_reference(pairs, g, log_a, log_b, epsilon),
        strict=True,
    ):
        torch.testing.assert_close(native, reference, rtol=1e-4, atol=1e-5 if dtype == torch.float32 else 1e-10)
    f, g_new, _ = sinkhorn(pairs, g, log_a, log_b, epsilon)
    close(f, softmin(pairs, g / epsilon[:, None] + log_b, epsilon), dtype, 3)
    close(g_new, softmin(pairs.transpose(), f / epsilon[:, None] + log_a, epsilon), dtype, 3)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sinkhorn_of_a_matrix_with_forbidden_pairs(dtype):
    generator = torch.Generator().manual_seed(0)
    cost = draw(generator, dtype, 3, 70, 600).square()
    cost[:, 5] = math.inf
    cost[:, :, 6] = math.inf
    cost[draw(generator, dtype, 3, 70, 600) > 1] = math.inf
    log_a, log_b = torch.zeros(70, dtype=dtype), torch.zeros(3, 600, dtype=dtype)
    g = torch.zeros(600, dtype=dtype)
    for pairs in (Matrix(cost), Matrix(cost.mT.contiguous().mT)):
        f, g_new, error = sinkhorn(pairs, g, log_a, log_b, 0.5)
        expected = sinkhorn_reference(pairs, g, log_a, log_b, 0.5)
        close((f, g_new), expected[:2], dtype, 10)
        close(error, expected[2], dtype, 1e3)
        assert (f[:, 5] == math.inf).all()
        assert (g_new[:, 6] == math.inf).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_smallest_reduced_costs(rule, dtype):
    for d, k in [(2, 1), (2, 7), (20, 63)]:
        x, y, _, g, _ = clouds(30, 1001, d, dtype, batch=(2,))
        g[3] = -math.inf
        values, index = top_k(Points(x, y, **rule), g, k)
        expected, at = top_k_reference(Points(x, y, **rule), g, k)
        close(values, expected, dtype)
        assert (index == at).double().mean() > (0.99 if dtype == torch.float32 else 0.9999)
        reduced = Points(x, y, **rule).block(slice(None)) - g
        close(values, reduced.gather(-1, index), dtype)
    values, index = ctransform(Points(x, y, **rule), g)
    close(values, reduced.amin(-1), dtype)


@pytest.mark.parametrize("level", [0, 1], ids=["baseline", "avx2"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("d", [3, 20])
def test_instruction_sets_agree(level, dtype, d, instructions):
    """The tables for lesser processors, on this one; where a processor has nothing better the test is a repetition."""
    x, y, row, col, v = inputs(*clouds(21, 530, d, dtype))
    v = torch.cat([v] * 9, -1).detach().requires_grad_()

    def everything():
        found = []
        for rule in RULES:
            pairs = Points(x, y, **rule)
            f, out = softmin(pairs, col, 0.3), apply(pairs, row - 3, col, v, 0.3)
            found += [f, out, apply(pairs, None, col, v, 0.3), *sinkhorn(pairs, col, row - 5, col - 6, 0.3)[:2]]
            found += torch.autograd.grad(f.square().sum() + out.square().sum(), (x, y, row, col, v))
            found += top_k(Points(x.detach(), y.detach(), **rule), col.detach(), 5)[:1]
        return found

    expected = everything()
    instructions(level)
    for ours, theirs in zip(everything(), expected, strict=True):
        close(ours, theirs, dtype, 1 + float(theirs.detach().abs().max()))


def test_ties_are_taken_in_order():
    values, index = top_k(Matrix(torch.tensor([[2.0, 1.0, 1.0, 1.0, 0.0]])), torch.zeros(5), 3)
    assert values.tolist() == [[0, 1, 1]]
    assert index.tolist() == [[4, 1, 2]]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", [1, 100, 601])
def test_extract(n, dtype):
    x, y, row, col, _ = clouds(n, 1000, 3, dtype)
    for pairs in (Points(x, y), Matrix(Points(x, y).block(slice(None)))):
        for threshold in (torch.tensor(0.9), torch.rand(n, dtype=dtype)):
            i, j, w = extract(pairs, row, col, 0.3, threshold)
            expected = extract_reference(pairs, row, col, 0.3, threshold.to(dtype))
            if dtype == torch.float64:
                assert torch.equal(i, expected[0])
                assert torch.equal(j, expected[1])
            ours, theirs = (torch.zeros(n, 1000, dtype=dtype).index_put((i, j), w) for i, j, w in ((i, j, w), expected))
            # In single precision an entry at the threshold may fall on either side.
            off = (ours - theirs).abs() > 1e-4 * theirs
            assert off.sum() <= (2 if dtype == torch.float32 else 0)
            assert (i.diff() >= 0).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("d", [2, 30])
def test_scale_does_not_matter(scale, d, dtype):
    """Costs, potentials and epsilon in other units: the same exponents, scaled answers."""
    x, y, _, col, _ = clouds(120, 130, d, dtype)
    close(softmin(Points(x * scale, y * scale), col, 0.1 * scale**2) / scale**2, softmin(Points(x, y), col, 0.1), dtype)


@pytest.mark.parametrize("d", [3, 30])
def test_exponents_far_out_of_range(d):
    """Epsilon so small that one term rules every row: the c-transform, without overflow or NaN."""
    x, y, _, col, _ = clouds(90, 700, d, torch.float64)
    col = col - 1e4
    f = softmin(Points(x, y), col, 1e-9)
    expected, _ = ctransform(Points(x, y), col * 1e-9)
    torch.testing.assert_close(f, expected, rtol=1e-9, atol=1e-8)
    assert apply(Points(x, y), None, col, torch.ones(700, 1).double(), 1e-9).sub(1).abs().max() < 1e-12
    assert (apply(Points(x, y), torch.full((90,), 2e4), col, torch.ones(700, 1), 1.0) == math.inf).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_exponential_is_accurate(dtype):
    """A cost matrix with one column is a table of exponentials."""
    t = torch.linspace(-80, 80, 20001, dtype=dtype)
    out = apply(
        Matrix(-t[:, None]), torch.zeros(20001, dtype=dtype), torch.zeros(1, dtype=dtype), torch.ones(1, 1), 1.0
    )
    exact = t.double().exp()
    error = (out[:, 0].double() / exact - 1).abs()
    # The exponent t log2 e carries the rounding of t itself; near zero only the polynomial is left.
    unit = torch.finfo(dtype).eps
    assert (error <= unit * (2 + 1.5 * t.double().abs())).all()
    assert error[t.abs() < 1].max() < 4 * unit


def test_absent_columns_and_empty_rows():
    cost = torch.rand(20, 300, dtype=torch.float64)
    cost[4] = math.inf
    col = torch.where(torch.arange(300) % 3 == 0, -math.inf, 0.0).double()
    v = torch.randn(300, 20, dtype=torch.float64)
    v[::3] = math.nan
    f = softmin(Matrix(cost), col, 0.1)
    assert f[4] == math.inf
    assert f.isfinite().sum() == 19
    kept = torch.arange(300) % 3 != 0
    expected = softmin(Matrix(cost[:, kept]), col[kept], 0.1)
    torch.testing.assert_close(f, expected)
    clean = v.nan_to_num()
    out = apply(Matrix(cost), None, col, clean, 0.1)
    assert (out[4] == 0).all()
    torch.testing.assert_close(out, apply(Matrix(cost[:, kept]), None, col[kept], v[kept], 0.1))
    (values, index), everything = ctransform(Matrix(cost), torch.full((300,), -math.inf).double()), math.inf
    assert (values == everything).all()
    assert (index == -1).all()


def test_nan_is_never_hidden():
    x, y = torch.randn(20, 3), torch.randn(700, 3)
    x[3, 1] = math.nan
    f = softmin(Points(x, y), torch.zeros(700), 1.0)
    assert f.isnan().nonzero().tolist() == [[3]]
    assert apply(Points(x, y), None, torch.zeros(700), torch.ones(700, 2), 1.0)[3].isnan().all()


def test_batches_broadcast():
    x, y = torch.randn(4, 1, 30, 3, dtype=torch.float64), torch.randn(5, 40, 3, dtype=torch.float64)
    col, epsilon = torch.randn(40, dtype=torch.float64), torch.rand(4, 5, dtype=torch.float64) + 0.1
    v = torch.randn(5, 40, 2, dtype=torch.float64)
    f, out = softmin(Points(x, y), col, epsilon), apply(Points(x, y), None, col, v, epsilon)
    assert f.shape == (4, 5, 30)
    assert out.shape == (4, 5, 30, 2)
    for s in range(4):
        for t in range(5):
            pairs = Points(x[s, 0], y[t])
            torch.testing.assert_close(f[s, t], softmin(pairs, col, float(epsilon[s, t])))
            torch.testing.assert_close(out[s, t], apply(pairs, None, col, v[t], float(epsilon[s, t])))


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_threads_change_nothing(threads):
    """Rows are independent; column sums are added in an order that the data sets, so runs repeat to the last bit."""
    x, y, row, g, v = clouds(1001, 700, 20, torch.float32)
    pairs = Points(x, y)

    def everything():
        f, g_new, error = sinkhorn(pairs, g, row, g, 0.3)
        return (
            softmin(pairs, g, 0.3),
            apply(pairs, None, g, v, 0.3),
            *top_k(pairs, g, 4),
            *extract(pairs, row, g, 0.3, 0.5),
            f,
            g_new,
            error,
        )

    threads(1)
    alone = everything()
    threads(3)
    together, again = everything(), everything()
    for k, (one, many, repeated) in enumerate(zip(alone, together, again, strict=True)):
        assert torch.equal(many, repeated)
        if k < 8:
            assert torch.equal(one, many)
        else:
            torch.testing.assert_close(one, many)


def test_many_small_problems():
    x, y = torch.randn(3000, 7, 2), torch.randn(3000, 5, 2)
    pairs, col = Points(x, y), torch.randn(3000, 5)
    close(softmin(pairs, col, 0.5), softmin_reference(pairs, col, 0.5), torch.float32, 5)
    log_a, log_b = torch.zeros(7), torch.zeros(5)
    close(
        sinkhorn(pairs, col, log_a, log_b, 0.5)[:2],
        sinkhorn_reference(pairs, col, log_a, log_b, 0.5)[:2],
        torch.float32,
        20,
    )


def test_vmap():
    """Through both directions: vmap outside of autograd, and a backward pass that is itself mapped."""
    x, y, col = inputs(*(torch.randn(*shape, dtype=torch.float64) for shape in ((6, 30, 3), (40, 3), (6, 40))))

    def loss(x, y, col):
        return softmin(Points(x, y), col, 0.5).sum() + apply(Points(x, y), None, col, y, 0.5).square().sum()

    mapped = torch.vmap(loss, (0, None, 0))(x, y, col)
    expected = torch.stack([loss(x[k], y, col[k]) for k in range(6)])
    torch.testing.assert_close(mapped, expected)
    for ours, theirs in zip(
        torch.autograd.grad(mapped.square().sum(), (x, y, col)),
        torch.autograd.grad(expected.square().sum(), (x, y, col)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
    f = softmin(Points(x, y), col, 0.5)
    (each,) = torch.autograd.grad(f, col, torch.eye(180).double().view(180, 6, 30), is_grads_batched=True)
    torch.testing.assert_close(each.sum(0), torch.autograd.grad(softmin(Points(x, y), col, 0.5).sum(), col)[0])
    index = torch.vmap(lambda x, col: top_k(Points(x, y.detach()), col, 2)[1])(x.detach(), col.detach())
    assert torch.equal(index, top_k(Points(x.detach(), y.detach()), col.detach(), 2)[1])
    log_b = torch.zeros(40).double()
    g = torch.vmap(lambda g: sinkhorn(Points(x[0], y), g, log_b[:30], log_b, 0.5)[1])(col)
    torch.testing.assert_close(g, sinkhorn(Points(x[0], y), col, log_b[:30], log_b, 0.5)[1])


def test_operators_obey_the_rules_of_torch():
    """Schema, fake tensors and autograd registration, checked by torch itself."""
    x, y, row, col, v = inputs(*clouds(5, 4, 2, torch.float64))
    epsilon = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    rule, l = (x, y, "norm", 2.0, 2.0), torch.randn(5, 3, dtype=torch.float64)
    cost = (torch.rand(5, 4, dtype=torch.float64, requires_grad=True), None, "matrix", 2.0, 2.0)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    for operator, arguments in [
        (softmin_native, (*rule, col, epsilon)),
        (apply_native, (*rule, row, col, v, epsilon)),
        (attend_native, (*cost, col, v, epsilon)),
        (moment_native, (*rule, row, col, l, v, epsilon)),
        (plan_native, (*cost, row, col, l, v, epsilon)),
        (top_k_native, (*rule, col, epsilon, 2)),
        (sinkhorn_native, (*rule, col, row, col, epsilon)),
    ]:
        graded = operator not in (top_k_native, sinkhorn_native)
        detached = tuple(t.detach() if isinstance(t, torch.Tensor) else t for t in arguments)
        torch.library.opcheck(operator.registered, arguments if graded else detached, test_utils=tests)


@pytest.mark.parametrize("reference", [False, True], ids=["native", "reference"])
def test_nothing_of_size_n_times_m(reference):
    n = 1500 if reference else 3000
    x, y, row, col, v = inputs(*clouds(n, n, 3, torch.float32))
    soft, product, best = (
        (softmin_reference, apply_reference, top_k_reference) if reference else (softmin, apply, top_k)
    )
    with LargestTensor() as largest:
        pairs = Points(x, y)
        loss = soft(pairs, col, 0.5).sum() + product(pairs, None, col, v, 0.5).sum()
        loss = loss + product(pairs, row, col, v, 0.5).sum()
        loss.backward()
        best(Points(x.detach(), y.detach()), col.detach(), 8)
        sinkhorn(pairs, col, row, col, 0.5)
    # A block is 4 MB, coordinates included; the matrix would have n * n * 4 bytes, and with coordinates three times it.
    assert largest.bytes < (2**22 * 2 if reference else n * 20 * 4)


def test_compiled_functions_keep_the_operators():
    # The run-time check of shapes is not something that dynamo can read.
    plain = inspect.unwrap(softmin)

    def loss(x, y, col):
        return plain(Points(x, y), col, 0.5).sum()

    x, y, _, col, _ = clouds(20, 30, 2, torch.float64)
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    leaves = inputs(x, y, col)
    ours = torch.autograd.grad(compiled(*leaves), leaves)
    for mine, wanted in zip(ours, torch.autograd.grad(loss(*leaves), leaves), strict=True):
        torch.testing.assert_close(mine, wanted)


@pytest.mark.parametrize("batch", [(), (1,), (2,), (2, 2)])
def test_a_number_for_epsilon_does_not_widen_the_dtype(batch):
    # A number becomes a float64 tensor, which a batch dimension lets spread to what the kernels read.
    x, y, col = torch.randn(*batch, 6, 4), torch.randn(*batch, 7, 4), torch.randn(*batch, 7)
    ours, wanted = inputs(x, y, col), inputs(x, y, col)
    softmin(Points(*ours[:2], kind="dot"), ours[2], 1.0).square().sum().backward()
    softmin_reference(Points(*wanted[:2], kind="dot"), wanted[2], 1.0).square().sum().backward()
    for mine, theirs in zip(ours, wanted, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5)
