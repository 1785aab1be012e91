"""The plan that `monge couple` and `monge map` ask for: its options, and its solution."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer
from torch import Tensor

from monge._checks import check_choice
from monge.errors import InfeasibleError, InputError
from monge.geometry import COSTS
from monge.problem import Linear
from monge.solver import SOLVERS, Auto, Solution, Solver, estimated_seconds, solve

from . import console
from .inputs import epsilon_of, read_clouds, read_masses

__all__ = ["Question", "asking"]

# Solving that takes longer by estimate is announced.
_LONG = 60.0


@dataclasses.dataclass(frozen=True)
class Question:
    """Two clouds in files, and which plan between them is wanted; every field is an argument of the command."""

    source: Annotated[
        str, typer.Argument(help="Points, one a row: .npy, .npz, .csv, .parquet or .pt; - reads standard input.")
    ]
    target: Annotated[str, typer.Argument(help="Points of the same dimension; FILE.npz:NAME picks an array.")]
    weights_source: Annotated[str | None, typer.Option(help="One weight per source point; uniform if left out.")] = None
    weights_target: Annotated[str | None, typer.Option(help="One weight per target point; uniform if left out.")] = None
    cost: Annotated[str, typer.Option(help=f"What a pair of points costs: {', '.join(COSTS)}.")] = "sqeuclidean"
    epsilon: Annotated[
        str, typer.Option(help="Entropy in units of the cost, or relative:FRACTION of the mean cost; 0 is exact.")
    ] = "relative:0.05"
    mass: Annotated[float | None, typer.Option(help="Move only this much mass (partial transport).")] = None
    rho: Annotated[
        str | None, typer.Option(help="Price of not meeting the weights, or SOURCE,TARGET; inf means they are met.")
    ] = None
    normalise: Annotated[bool, typer.Option("--normalise", help="Divide the weights of each side by their total.")] = (
        False
    )
    solver: Annotated[
        str, typer.Option(help=f"One of auto, {', '.join(SOLVERS)}; auto takes the cheapest that fits.")
    ] = "auto"
    tol: Annotated[float | None, typer.Option(help="Marginal error to reach, relative to the mass.")] = None
    max_iter: Annotated[int | None, typer.Option(help="Limit of the solver's iterations.")] = None
    dtype: Annotated[str, typer.Option(help="Precision to compute in, float32 or float64.")] = "float64"

    def read(self, **more: str) -> tuple[Linear, list[Tensor]]:
        """The problem, and all clouds: source, target, and the further files that are named."""
        weights = {"--weights-source": self.weights_source, "--weights-target": self.weights_target}
        files = {"SOURCE": self.source, "TARGET": self.target, **more}
        clouds = read_clouds(self.dtype, files, tuple(weights.values()))
        a, b = (
            read_masses(name, path, points, self.normalise)
            for (name, path), points in zip(weights.items(), clouds, strict=False)
        )
        settings = {"cost": self.cost, "epsilon": epsilon_of(self.epsilon), "mass": self.mass, "rho": _prices(self.rho)}
        try:
            return Linear.between(clouds[0], clouds[1], a, b, **settings), clouds
        except InfeasibleError as error:
            if self.mass is not None:
                raise
            raise InfeasibleError(f"{error} On the command line: --normalise, --rho or --mass.") from error

    def solve(self, problem: Linear) -> Solution:
        """The solution; before one that will take minutes, a note says so."""
        solver = _solver(self.solver, tol=self.tol, max_iter=self.max_iter)
        seconds = estimated_seconds(problem, solver)
        if seconds > _LONG:
            console.note(
                f"Solving will take about {seconds / 60:,.0f} minutes by estimate: a positive --epsilon or fewer "
                "points are faster."
            )
        return solve(problem, solver)


def asking(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose first parameter is a `Question`: the fields of the question stand in its place."""
    hints, fields = get_type_hints(command, include_extras=True), get_type_hints(Question, include_extras=True)
    _, *rest = inspect.signature(command).parameters.values()
    asked = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default,
            annotation=fields[field.name],
        )
        for field in dataclasses.fields(Question)
    ]
    own = [part.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=hints[part.name]) for part in rest]
    # A required argument stands before all options.
    parameters = sorted([*asked, *own], key=lambda part: part.default is not inspect.Parameter.empty)

    @functools.wraps(command)
    def asked_command(**given: Any) -> None:
        question = Question(**{part.name: given.pop(part.name) for part in asked})
        command(question, **given)

    asked_command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    asked_command.__annotations__ = {part.name: part.annotation for part in parameters}
    del asked_command.__wrapped__  # type: ignore[attr-defined]
    return asked_command


def _prices(text: str | None) -> Any:
    """``1.0``, or ``1.0,inf`` for source and target."""
    if text is None:
        return None
    try:
        prices = [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--rho {text} must be a price or two of them, as in 1.0 or 1.0,inf.") from None
    return tuple(prices) if len(prices) > 1 else prices[0]


def _solver(name: str, **settings: float | None) -> Solver:
    check_choice("--solver", name, ("auto", *SOLVERS))
    kind: type[Solver] = Auto if name == "auto" else SOLVERS[name]
    given: dict[str, Any] = {key: held for key, held in settings.items() if held is not None}
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = [f"--{key.replace('_', '-')}" for key in given if key not in known]
    if unknown:
        raise InputError(
            f"{' and '.join(unknown)} cannot be used with --solver {name}: choose an iterative one, such as sinkhorn."
        )
    return kind(**given)
