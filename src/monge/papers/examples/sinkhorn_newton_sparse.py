"""Sinkhorn-Newton-sparse: entropic plans at a small epsilon to many digits, in a few dozen iterations.

The Hessian of the dual is made of the plan, which has few large entries when epsilon is small. Newton's method keeps
those, solves a sparse system by conjugate gradients, and converges superlinearly where Sinkhorn's iterations crawl.
"""

import torch

from monge.geometry import CostMatrix
from monge.problem import Linear
from monge.solver import DualSolution, Newton, Sinkhorn, solve

# A random assignment problem with eta = 1 / epsilon = 1200, as in the paper.
generator = torch.Generator().manual_seed(0)
n = 300
cost = torch.rand(n, n, generator=generator, dtype=torch.float64)
problem = Linear(CostMatrix(cost), epsilon=1 / 1200)

newton = solve(problem, Newton(tol=1e-12))
assert isinstance(newton, DualSolution)  # with potentials
iterations = int(newton.report.iterations)
assert newton.report.marginal_error < 1e-12
plain = solve(problem, Sinkhorn(tol=1e-12, max_iter=iterations, strict=False))
assert plain.report.marginal_error > 1e-4

# The potentials are those of the dual: P = a b exp((f + g - C) / epsilon), and the dual equals the primal.
plan = (newton.f[:, None] + newton.g - cost).mul(1200).exp() / n**2
torch.testing.assert_close(newton.coupling.dense(), plan)
torch.testing.assert_close(problem.dual(newton.f, newton.g), problem.primal(newton.coupling))
large = (plan > 1e-3 / n).sum() / n

print(
    f"{iterations} iterations to an error of {newton.report.marginal_error:.0e}, {plain.report.marginal_error:.0e} "
    f"without Newton; {large:.0f} entries a row matter."
)
