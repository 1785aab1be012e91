"""Tries an installed wheel where nothing but its dependencies is: plans, attention, and the kernels that came along.

With ``--plain`` the compiled kernels must be missing, and everything must work in plain torch.
"""

from __future__ import annotations

import sys
import warnings

import torch

with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    import monge
    from monge import kernels

native = sys.platform != "win32" and "--plain" not in sys.argv
said = [one for one in told if "native kernels" in str(one.message)]
assert native == kernels.AVAILABLE, f"native kernels: {kernels.AVAILABLE}, expected {native}"
assert len(said) == (not native), "missing kernels are told once"

generator = torch.Generator().manual_seed(0)
x = torch.randn(50, 3, generator=generator, dtype=torch.float64)
y = x[torch.randperm(50, generator=generator)] + 1.0
exact = monge.couple(x, y)
assert abs(float(exact.transport_cost()) - 3.0) < 1e-12, "a shift by one in three dimensions costs three"
unequal = monge.couple(x, y[:40])
assert abs(float(unequal.mass) - 1.0) < 1e-12
_, columns = monge.couple(x, y, epsilon=monge.relative(0.05)).marginals()
assert torch.allclose(columns, columns.new_full((50,), 1 / 50), atol=1e-6)
assert float(monge.sliced.sliced_wasserstein(x, y, generator=generator).distance) > 0
attention = monge.nn.Attention(16, heads=2, coupler="pivots")
tokens = torch.randn(2, 40, 16, generator=generator)
out, _ = attention(tokens)
rows, columns = attention.couple(tokens).marginals()
assert out.shape == tokens.shape
assert torch.allclose(rows, columns, atol=1e-5)
print("monge", monge.__version__, "with native kernels" if native else "in plain torch", "on", sys.platform)
