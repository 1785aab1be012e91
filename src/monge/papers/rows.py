"""The papers whose methods stand in this distribution; each line is run by a test."""

from __future__ import annotations

from .paper import Paper

__all__ = ["PAPERS"]


def _python(*statements: str) -> str:
    """A line for the shell that runs statements of Python."""
    return f'python -c "{"; ".join(("import torch, monge", *statements))}"'


_CLOUDS = "x, y = torch.rand(2, 200, 3)"
_TOKENS = "x = torch.randn(256, 32)"
_SPHERE = "x, y = torch.nn.functional.normalize(torch.randn(2, 200, 3), dim=-1)"

PAPERS = (
    Paper(
        key="lotformer",
        title="LOTFormer: Doubly-Stochastic Linear Attention via Low-Rank Optimal Transport",
        arxiv="2509.23436",
        where="monge.nn",
        line=_python(_TOKENS, "print(monge.nn.Attention(32, 4, coupler='pivots').couple(x).marginals())"),
    ),
    Paper(
        key="espformer",
        title="ESPFormer: Doubly-Stochastic Attention with Expected Sliced Transport Plans",
        arxiv="2502.07962",
        where="monge.nn",
        line=_python(_TOKENS, "print(monge.nn.Attention(32, 4, coupler='expected-slices').couple(x).marginals())"),
    ),
    Paper(
        key="luna",
        title="LUNA: Linear Universal Neural Attention with Generalization Guarantees",
        arxiv="2512.08061",
        where="monge.nn",
        line=_python(_TOKENS, "print(monge.nn.Attention(32, 4, coupler='luna')(x)[0])"),
    ),
    Paper(
        key="qdsformer",
        title="Quantum Doubly Stochastic Transformers",
        arxiv="2504.16275",
        where="monge.nn",
        line=_python(
            "x = torch.randn(8, 32)", "print(monge.nn.Attention(32, 4, coupler='circuit').couple(x).marginals())"
        ),
    ),
    Paper(
        key="geometric-attention",
        title="Geometric Attention: A Regime-Explicit Operator Semantics for Transformer Attention",
        arxiv="2601.11618",
        where="monge.nn",
        line=_python("print(monge.nn.functional.anchored_matrix(torch.randn(5, 5), 'plan'))"),
    ),
    Paper(
        key="sopt",
        title="Sliced Optimal Partial Transport",
        arxiv="2212.08049",
        where="monge.sliced.partial",
        line=_python(_CLOUDS, "print(monge.sliced.sliced_partial_wasserstein(x, y + 0.5, penalty=0.1).cost)"),
    ),
    Paper(
        key="ptlp",
        title="PTLp: Partial Transport Lp Distances",
        arxiv="2307.13571",
        where="monge.sliced.partial",
        line=_python(
            "f, g = torch.rand(2, 99, 1)", "print(monge.sliced.partial.partial_transport_lp(f, g, penalty=0.1))"
        ),
    ),
    Paper(
        key="partial-registration",
        title="Partial Transport for Point-Cloud Registration",
        arxiv="2309.15787",
        where="monge.registration",
        line=_python(
            "x = torch.rand(100, 2)",
            "y = x + 0.1 * torch.sin(3 * x.flip(-1))",
            "print((monge.registration.nonrigid(x, y).transformation(x) - y).abs().mean())",
        ),
    ),
    Paper(
        key="lcot",
        title="LCOT: Linear Circular Optimal Transport",
        arxiv="2310.06002",
        where="monge.sliced.sphere",
        line=_python("print(monge.sliced.sphere.linear_circular_wasserstein(torch.rand(50), torch.rand(70)))"),
    ),
    Paper(
        key="s3w",
        title="Stereographic Spherical Sliced Wasserstein Distances",
        arxiv="2402.02345",
        where="monge.sliced.sphere",
        line=_python(_SPHERE, "print(monge.sliced.spherical_sliced_wasserstein(x, y, family='stereographic').cost)"),
    ),
    Paper(
        key="lssot",
        title="Linear Spherical Sliced Optimal Transport: A Fast Metric for Comparing Spherical Data",
        arxiv="2411.06055",
        where="monge.sliced.sphere",
        line=_python(_SPHERE, "print(monge.sliced.spherical_sliced_wasserstein(x, y, family='linear').cost)"),
    ),
    Paper(
        key="est",
        title="Expected Sliced Transport Plans",
        arxiv="2410.12176",
        where="monge.sliced.plan",
        line=_python(
            _CLOUDS,
            "slicer = monge.sliced.LinearSlicer(monge.sliced.directions(50, 3))",
            "print(monge.sliced.expected_sliced_plan(x, y, slicer=slicer).marginals())",
        ),
    ),
    Paper(
        key="min-stp",
        title="Efficient Transferable Optimal Transport via Min-Sliced Transport Plans",
        arxiv="2511.19741",
        where="monge.sliced.plan",
        line=_python(
            _CLOUDS,
            "slicer = monge.sliced.plan.TransferableSlicer(torch.nn.Linear(3, 1))",
            "print(slicer.fit(x, y, steps=50)[[0, -1]])",
        ),
    ),
    Paper(
        key="min-gsgw",
        title="Min Generalized Sliced Gromov Wasserstein: A Scalable Path to Gromov Wasserstein",
        arxiv="2605.13753",
        where="monge.sliced.gromov",
        line=_python(
            "x, y = torch.randn(40, 2), torch.randn(40, 3)",
            "slicer = monge.sliced.gromov.GromovSlicer(dimensions=(2, 3))",
            "print(slicer.fit(x, y, steps=40, restarts=1)[[0, -1]])",
        ),
    ),
    Paper(
        key="informative-slices",
        title="Understanding Learning with Sliced-Wasserstein Requires Rethinking Informative Slices",
        arxiv="2411.10651",
        where="monge.sliced",
        line=_python(_CLOUDS, "print(monge.sliced.sliced_wasserstein(x, y, scale='effective').distance)"),
    ),
    Paper(
        key="sinkhorn-newton-sparse",
        title="Accelerating Sinkhorn Algorithm with Sparse Newton Iterations",
        arxiv="2401.12253",
        where="monge.solver",
        line=_python(_CLOUDS, "print(monge.couple(x, y, epsilon=0.01, solver=monge.solver.Newton()).transport_cost())"),
    ),
)
