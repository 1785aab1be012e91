"""The fused kernels of pivot attention against the reference: in Triton's interpreter, and on a GPU if there is one.

The interpreter must be chosen before Triton is imported, so one test runs the others in a process of their own.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import warnings

import jaxtyping
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from monge.kernels.attention.pivots import assign, mix, occupancy, operators, pivot_apply
from monge.kernels.attention.pivots.mixing import TINY
from monge.kernels.attention.pivots.reference import Side
from monge.nn import Attention
from monge.nn.functional import entropic_pivot_attention, pivot_attention

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICES = ["cpu"] if INTERPRETED else [pytest.param("cuda", marks=pytest.mark.gpu)]
needs_device = pytest.mark.skipif(
    not INTERPRETED and not torch.cuda.is_available(), reason="needs a GPU, or Triton's interpreter"
)

if INTERPRETED:
    from monge.kernels.attention.pivots import triton as kernels

    _library = torch.library.Library("monge", "IMPL")
    _library.impl("pivot_pack", lambda x, z, b, unpadded, y: kernels.pack(Side(x, z, b, unpadded), y), "CPU")
    _library.impl("pivot_unpack", lambda x, z, b, unpadded, t: kernels.unpack(Side(x, z, b, unpadded), t), "CPU")
    _library.impl(
        "pivot_gradient", lambda x, z, b, unpadded, *rest: kernels.gradient(Side(x, z, b, unpadded), *rest), "CPU"
    )
    _library.impl("pivot_mix", lambda *given: kernels.mix(*given), "CPU")
    _library.impl("pivot_mix_gradient", lambda *given: kernels.mix_gradient(*given), "CPU")


@pytest.mark.skipif(INTERPRETED, reason="this is the process that it starts")
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton")
def test_in_the_interpreter():
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", __file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "passed" in done.stdout


@pytest.fixture
def forced(monkeypatch):
    """Fused kernels on whatever device."""
    monkeypatch.setattr(operators, "takes", takes_anywhere)


@pytest.fixture
def poisoned(monkeypatch):
    """Scratch memory that starts as NaN."""
    empty = torch.Tensor.new_empty

    def fill(self, *size, **options):
        out = empty(self, *size, **options)
        return out.fill_(torch.nan) if out.is_floating_point() else out

    monkeypatch.setattr(torch.Tensor, "new_empty", fill)


def takes_anywhere(tokens, pivots):
    return pivots is not None and pivots.dtype == torch.float32 and all(t.dtype != torch.float64 for t in tokens)


def draw(*shape, seed, dtype=torch.float32, device="cpu", scale=1.0):
    """Numbers within a larger tensor of NaN: what lies beside them must not be read."""
    generator = torch.Generator().manual_seed(seed)
    numbers = scale * torch.randn(*shape, generator=generator)
    room = torch.full((*shape[:-2], shape[-2] + 5, shape[-1] + 3), torch.nan, dtype=dtype, device=device)
    inside = room[..., : shape[-2], : shape[-1]]
    inside.copy_(numbers)
    return inside


def both(function, inputs, cotangent_seed=9, reference=torch.float64):
    """Output and derivatives of a function, as given and in double precision on plain torch operations."""
    answers = []
    for dtype in (None, reference):
        leaves = [t.detach() if dtype is None else t.detach().to(dtype) for t in inputs]
        leaves = [t.requires_grad_() for t in leaves]
        out = function(*leaves)
        weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(cotangent_seed)).to(out)
        answers.append((out.detach(), torch.autograd.grad(out, leaves, weight)))
    return answers


def agree(answers, tolerance):
    (out, slopes), (expected, expected_slopes) = answers
    for got, wanted in zip((out, *slopes), (expected, *expected_slopes), strict=True):
        assert got.isfinite().all()
        size = wanted.abs().max().clamp_min(1e-3)
        assert ((got.double() - wanted).abs().max() / size) < tolerance


# Triton 3.9 announces that a default of its compiler will change.
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
@needs_device
@pytest.mark.parametrize("device", DEVICES)
class TestKernels:
    @pytest.mark.parametrize(
        ("n", "m", "r", "d", "c"),
        [
            (1, 1, 1, 1, 1),
            (63, 100, 5, 7, 3),
            (100, 63, 32, 64, 64),
            (100, 64, 33, 100, 128),
            (1000, 64, 5, 9, 3),
            (64, 1000, 64, 16, 17),
        ],
    )
    def test_exact_form_at_awkward_sizes(self, forced, poisoned, device, n, m, r, d, c):
        q, k, v, z = (
            draw(*shape, seed=i, device=device) for i, shape in enumerate(((2, n, d), (2, m, d), (2, m, c), (2, r, d)))
        )
        biases = [draw(2, r, seed=i, device=device) for i in (5, 6)]
        agree(both(pivot_apply, (q, k, v, z, *biases)), 2e-5)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision(self, forced, poisoned, device, dtype):
        q, k, v = (draw(1, 2, n, 32, seed=n, device=device, dtype=dtype) for n in (70, 91, 92))
        k = k[..., :91, :]
        v = v[..., :91, :]
        z = draw(2, 8, 32, seed=3, device=device, scale=0.2)

        def attend(q, k, v, z):
            return pivot_attention(q, k, v, z, scale=1.0)

        out = attend(q, k, v, z)
        assert out.dtype == dtype
        agree(both(attend, (q, k, v, z)), 3e-2 if dtype == torch.bfloat16 else 4e-3)

    def test_padding_and_broadcast_pivots(self, forced, poisoned, device):
        q, k, v = (draw(3, 2, n, 8, seed=i, device=device) for i, n in enumerate((70, 66, 66)))
        z, bias = draw(2, 5, 8, seed=4, device=device), draw(2, 5, seed=5, device=device)
        unpadded_q = (torch.arange(70, device=device) % 7 != 3).float().expand(3, 1, 70)
        unpadded_k = torch.ones(3, 1, 66, device=device)
        unpadded_k[1, :, 40:] = 0
        unpadded_k[2] = 0

        def apply(q, k, v, z, bias):
            return pivot_apply(q, k, v, z, bias, bias, unpadded_q.to(q.dtype), unpadded_k.to(q.dtype))

        answers = both(apply, (q, k, v, z, bias))
        agree(answers, 2e-5)
        assert (answers[0][0][..., 3, :] == 0).all()
        k = k.masked_fill(unpadded_k[..., None] == 0, torch.nan)
        torch.testing.assert_close(apply(q, k, v, z, bias), answers[0][0])

    @pytest.mark.parametrize("scale", [1e-3, 30.0, 1e4])
    def test_columns_are_exact_at_any_scale(self, forced, poisoned, device, scale):
        n, r = 300, 16
        q, k, z = (draw(1, size, 8, seed=i, device=device, scale=scale) for i, size in enumerate((n, n, r)))
        plan = pivot_apply(q, k, torch.eye(n, device=device)[None, :, :128], z, *torch.zeros(2, 1, r, device=device))
        assert (plan.sum(-2) - 1).abs().max() < 1e-5

    def test_occupancy(self, forced, poisoned, device):
        x, z, bias = (draw(*s, seed=i, device=device) for i, s in enumerate(((2, 100, 6), (2, 9, 6), (2, 9))))
        agree(both(occupancy, (x, z, bias)), 1e-5)

    @pytest.mark.parametrize("form", ["exact", "entropic", "implicit"])
    def test_rounds_of_balancing(self, forced, poisoned, device, form):
        q, k, v = (draw(2, 50, 8, seed=i, device=device) for i in range(3))
        z, mass = draw(2, 5, 8, seed=4, device=device), draw(2, 5, seed=5, device=device)

        def attend(q, k, v, z, log_mass):
            if form == "entropic":
                return entropic_pivot_attention(q, k, v, z, log_mass=log_mass)
            options = {"iterations": 6, "gradient": "implicit"} if form == "implicit" else {"iterations": 2}
            return pivot_attention(q, k, v, z, log_mass=log_mass, **options)

        agree(both(attend, (q, k, v, z, mass)), 1e-4)

    def test_one_query_alone_on_a_pivot(self, forced, poisoned, device):
        # What float64 of the masses is for: see the test of the reference.
        n = 1500
        q = torch.zeros(1, n, 2, device=device)
        q[0, 0, 0] = 1.0
        z = torch.tensor([[[200.0, 0.0], [0.0, 200.0], [0.0, 0.0]]], device=device)
        k = q.clone()
        k[0, 0] = torch.tensor([0.0, 1.0])
        v = draw(1, n, 4, seed=1, device=device)
        out = pivot_apply(q, k, v, z, *torch.zeros(2, 1, 3, device=device))
        torch.testing.assert_close(out.mean(1), v.mean(1), atol=1e-6, rtol=1e-5)

    def test_operators_say_what_they_return(self, device):
        x, y = (draw(2, 3, 7, width, seed=1, device=device, dtype=torch.bfloat16) for width in (16, 5))
        z, bias = draw(2, 3, 4, 16, seed=2, device=device), draw(2, 3, 4, seed=3, device=device)
        table = draw(2, 3, 4, 5, seed=4, device=device).contiguous()
        unpadded = torch.ones(2, 3, 7, device=device)
        operators = torch.ops.monge
        for operator, arguments in (
            (operators.pivot_pack, (x, z, bias, unpadded, y)),
            (operators.pivot_pack, (x, z, bias, None, None)),
            (operators.pivot_unpack, (x, z, bias, None, table)),
            (operators.pivot_gradient, (x, z, bias, unpadded, y, table, bias)),
            (operators.pivot_mix, (bias.exp(), bias.exp(), table)),
            (operators.pivot_mix_gradient, (bias.exp(), bias.exp(), table, table)),
        ):
            torch.library.opcheck(operator, arguments, test_utils=("test_schema", "test_faketensor"))

    @pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
    def test_one_graph(self, forced, device, monkeypatch):
        # Checkers of shapes are no part of what is traced.
        monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        attention = Attention(16, 2, "pivots").to(device)
        traced = torch.compile(attention, backend="aot_eager", fullgraph=True)
        x = torch.randn(2, 20, 16, device=device)
        slopes = []
        for attend in (attention, traced):
            out, _ = attend(x)
            slopes.append((out, *torch.autograd.grad(out.square().sum(), list(attention.parameters())[:3])))
        for got, wanted in zip(*slopes, strict=True):
            torch.testing.assert_close(got, wanted)

    def test_second_derivatives(self, forced, poisoned, device):
        leaves = [draw(1, 6, 3, seed=i, device=device).requires_grad_() for i in range(4)]
        bias = torch.zeros(1, 6, device=device)
        out = pivot_apply(*leaves, bias, bias)
        (slope,) = torch.autograd.grad(out.square().sum(), leaves[0], create_graph=True)
        (second,) = torch.autograd.grad(slope.square().sum(), leaves[1])

        share_q, share_k = assign(leaves[0], leaves[3], bias), assign(leaves[1], leaves[3], bias)
        expected = share_q @ mix(share_q.sum(-2), share_k.sum(-2), share_k.mT @ leaves[2])
        (slope,) = torch.autograd.grad(expected.square().sum(), leaves[0], create_graph=True)
        (wanted,) = torch.autograd.grad(slope.square().sum(), leaves[1])
        torch.testing.assert_close(second, wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
@pytest.mark.skipif(INTERPRETED, reason="needs the compiler, not the interpreter")
@pytest.mark.parametrize(("token", "precision"), [("*bf16", "tf32"), ("*fp32", "ieee")])
def test_the_compiler_takes_what_the_interpreter_runs(token, precision):
    """Machine code for a device that need not be there: the interpreter is more lenient than the compiler."""
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from monge.kernels.attention.pivots import triton as kernels

    def compile_for(kernel, pointers, constants):
        names = kernel.arg_names
        types = {name: "constexpr" if name in constants else pointers.get(name, "i32") for name in names}
        constants = {(names.index(name),): value for name, value in constants.items()}
        source = ASTSource(fn=kernel, signature=types, constexprs=constants)
        return triton.compile(source, target=GPUTarget("cuda", 80, 32))

    single = dict.fromkeys(
        ("pivots", "bias", "unpadded", "table", "d_use", "sums", "use_q", "use_k", "totals"), "*fp32"
    )
    sizes = {"R": 32, "D": 64, "C": 64, "BLOCK": 32, "HAS_PADDING": True, "PRECISION": precision}
    for task in ("pack", "unpack", "gradient"):
        pointers = {**single, "x": token, "y": token, "out": token}
        made = compile_for(kernels._pass, pointers, {**sizes, "HAS_Y": task != "unpack", "TASK": task})
        assert made.metadata.shared < 100_000
    for slope in (False, True):
        pointers = {**single, **dict.fromkeys(("d_table", "out", "d_use_q", "d_use_k"), "*fp32")}
        compile_for(kernels._mix, pointers, {"R": 32, "C": 64, "TINY": TINY, "GRADIENT": slope})


class TestDispatch:
    def test_the_processor_has_its_own(self):
        x = torch.zeros(1, 3, 2)
        assert not operators.takes((x,), torch.zeros(1, 2, 2))

    def test_what_fits(self):
        with FakeTensorMode():

            def tokens(dtype=torch.float32, width=64):
                return torch.empty(1, 8, 10, width, dtype=dtype, device="cuda")

            def pivots(count=32):
                return torch.empty(8, count, 64, device="cuda")

            half = tokens(torch.bfloat16)
            assert operators.takes((tokens(), tokens(), tokens()), pivots())
            assert operators.takes((half, half, half), pivots())
            assert not operators.takes((half, tokens(), half), pivots())
            assert not operators.takes((tokens(torch.float64),), pivots())
            assert not operators.takes((tokens(), tokens(width=129)), pivots())
            assert not operators.takes((tokens(),), pivots(65))
            assert not operators.takes((tokens(),), None)

    def test_a_missing_triton_is_said_once(self, monkeypatch):
        monkeypatch.setattr(operators, "_INSTALLED", False)
        with FakeTensorMode():
            x, z = torch.empty(1, 2, 3, 16, device="cuda"), torch.empty(2, 4, 16, device="cuda")
            with pytest.warns(RuntimeWarning, match=r"Triton is missing.*install the package triton"):
                assert not operators.takes((x,), z)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert not operators.takes((x,), z)
        operators._missing.cache_clear()
