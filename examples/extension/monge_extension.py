"""What a package adds to Monge from outside: a cost, a coupler, a solver and a recipe; pyproject.toml declares them."""

import torch
from jaxtyping import Float
from torch import Tensor

from monge.coupling import DenseCoupling, PermutationCoupling
from monge.data import Split, Task
from monge.geometry import Geometry, value
from monge.nn.couplers import Coupler, Promise
from monge.sequences import Recipe, ScheduleConfig
from monge.solver import Capability, Exact


@value
class LogCosh(Geometry):
    """The sum of log cosh of all differences: half a square where points are near, a distance where they are far."""

    x: Float[Tensor, "*b n d"]
    y: Float[Tensor, "*b m d"]
    _sides = (("x", "y"),)

    def _block(self, rows):
        apart = self.x[..., rows, :][..., :, None, :] - self.y[..., None, :, :]
        return torch.logaddexp(apart, -apart).sum(-1) - self.x.shape[-1] * torch.log(apart.new_tensor(2.0))


class Near(Coupler):
    """A query reads the keys that are near it: the softmax of minus the distance."""

    promise = Promise.of_rows(time="n² d", memory="n²", source="examples/extension")

    def _couple(self, heads):
        heads, _ = heads.single()
        scores = -torch.cdist(heads.q, heads.k, p=1.0)
        allowed, empty = heads.mask()
        if allowed is not None:
            scores = scores.masked_fill(~allowed, -torch.inf)
        matrix = scores.softmax(-1) if empty is None else scores.softmax(-1).masked_fill(empty, 0.0)
        absent = torch.zeros_like(matrix[..., 0]) if heads.query_padding is None else heads.query_padding
        weights = 1.0 - absent.to(matrix.dtype)
        return DenseCoupling((weights / weights.sum(-1, keepdim=True).clamp_min(1))[..., None] * matrix)


@value
class Ranks(Exact):
    """On a line, equal weights on both sides: the k-th smallest source goes to the k-th smallest target."""

    treats = frozenset({"linear", "exact", "priced", "line", "balanced", "square", "uniform"})

    def _capability(self, case):
        return Capability(True, 20.0 * case.problem.shape[0], "two rankings.")

    def _optimal(self, problem, exact):
        n, batch = problem.shape[0], problem.batch_shape
        x, y = (side.expand(*batch, n).argsort(-1) for side in exact.geometry._on_line())
        cost = exact.geometry._entries(x, y)
        rise = exact.geometry._entries(x[..., 1:], y[..., :-1]) - cost[..., :-1]
        f = torch.cat([torch.zeros_like(cost[..., :1]), rise.cumsum(-1)], -1)
        perm, *potentials = (torch.empty_like(z).scatter_(-1, at, z) for at, z in ((x, y), (x, f), (y, cost - f)))
        return PermutationCoupling(perm, exact.a.expand(*batch, n)), *potentials


def majority() -> Task:
    """Fifteen tokens of two kinds each; the label is the kind that there are more of."""
    tokens = torch.randint(1, 3, (600, 15), generator=torch.Generator().manual_seed(0))
    parts = [Split(part, (part == 2).sum(-1) // 8) for part in tokens.split([400, 100, 100])]
    return Task("majority", *parts, vocabulary=3, classes=2)


MAJORITY = Recipe("majority", "Which of two tokens is more frequent?", majority, schedule=ScheduleConfig(100, warmup=5))
