"""Run in an interpreter where the package of examples/extension looks installed: what it declares, through the library.

Nothing here imports the package; it is found by its entry points.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import torch

import monge
from monge.geometry import COSTS, CostMatrix, Line
from monge.nn.couplers import COUPLERS
from monge.problem import Linear
from monge.sequences import Classifier, ModelConfig, classification, recipe
from monge.solver import SOLVERS, Sorted
from monge.testing import check_coupler, check_geometry, check_objective, check_solver

assert "monge_extension" not in sys.modules

generator = torch.Generator().manual_seed(0)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


# The cost, by name.
x, y = draw(6, 2), draw(5, 2)
geometry = COSTS["log-cosh"](x, y)
matrix = torch.log(torch.cosh(x[:, None] - y)).sum(-1)
check_geometry(geometry, matrix)
check_geometry(COSTS["log-cosh"](draw(2, 3, 1), draw(4, 1)))
plan = monge.couple(x, y, cost="log-cosh", epsilon=0.1).dense()
same = monge.couple(CostMatrix(matrix), epsilon=0.1).dense()
torch.testing.assert_close(plan, same)

# The coupler, by name.
check_coupler("near")
attention = monge.nn.Attention(8, 2, coupler="near")
tokens = draw(3, 7, 8).float()
rows, _ = attention.couple(tokens).marginals()
torch.testing.assert_close(rows, torch.full((3, 2, 7), 1 / 7))
assert attention(tokens)[0].shape == tokens.shape

# The solver, by the router: the most special one where points lie on a line and weights are equal, and nowhere else.
on_line = Linear(Line(draw(9), draw(9)))
told = monge.explain(on_line)
assert type(told.chosen) is SOLVERS["ranks"]
assert "Ranks" in str(told).splitlines()[1]
torch.testing.assert_close(monge.solve(on_line).value, monge.solve(on_line, Sorted()).value)
assert type(monge.explain(Linear(Line(draw(9), draw(8)))).chosen) is Sorted
check_solver(SOLVERS["ranks"](), {"equal": on_line, "batch": Linear(Line(draw(2, 4), draw(2, 4), p=1.5))})

# The recipe, and its objective.
found = recipe("majority")
task, schedule = found.task(), replace(found.schedule, batch=4)
objective, data = classification(task, schedule, seed=0)
small = ModelConfig(dim=8, layers=1, hidden=8, head=8, embedding_std=0.5)
torch.manual_seed(0)
check_objective(objective, data, Classifier(task.vocabulary, task.classes, task.length, small, coupler="near"))

assert {"near": COUPLERS["near"]}.items() <= dict(COUPLERS.items()).items()
