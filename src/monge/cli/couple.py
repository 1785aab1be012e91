"""``monge couple``: the transport plan between two files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from monge._checks import check_choice, check_seed
from monge._files import check_destination, write_whole
from monge.data import read_points, read_weights
from monge.errors import InfeasibleError, InputError, ShapeError
from monge.geometry import COSTS
from monge.problem import Linear, relative
from monge.solver import SOLVERS, Auto, Solution, Solver, solve

from . import console
from .measured import measured
from .plan_file import write_plan

__all__ = ["couple"]

PICTURES = (".png", ".jpg", ".jpeg", ".pdf", ".svg")


def couple(
    source: Annotated[str, typer.Argument(help="Points, one a row: .npy, .npz, .csv, .parquet or .pt.")],
    target: Annotated[str, typer.Argument(help="Points of the same dimension; FILE.npz:NAME picks an array.")],
    weights_source: Annotated[
        str | None, typer.Option(help="One weight per source point; uniform if left out.")
    ] = None,
    weights_target: Annotated[
        str | None, typer.Option(help="One weight per target point; uniform if left out.")
    ] = None,
    cost: Annotated[str, typer.Option(help=f"What a pair of points costs: {', '.join(COSTS)}.")] = "sqeuclidean",
    epsilon: Annotated[
        str, typer.Option(help="Entropy in units of the cost, or relative:FRACTION of the mean cost; 0 is exact.")
    ] = "relative:0.05",
    mass: Annotated[float | None, typer.Option(help="Move only this much mass (partial transport).")] = None,
    rho: Annotated[
        str | None, typer.Option(help="Price of not meeting the weights, or SOURCE,TARGET; inf means they are met.")
    ] = None,
    normalise: Annotated[
        bool, typer.Option("--normalise", help="Divide the weights of each side by their total.")
    ] = False,
    solver: Annotated[
        str, typer.Option(help=f"One of auto, {', '.join(SOLVERS)}; auto takes the cheapest that fits.")
    ] = "auto",
    tol: Annotated[float | None, typer.Option(help="Marginal error to reach, relative to the mass.")] = None,
    max_iter: Annotated[int | None, typer.Option(help="Limit of the solver's iterations.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the plan to this .npz file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the plan into this .png, .jpg, .pdf or .svg file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there already.")] = False,
    dtype: Annotated[str, typer.Option(help="Precision to compute in, float32 or float64.")] = "float64",
    seed: Annotated[int, typer.Option(help="Seed of the pairs that --out draws.")] = 0,
) -> None:
    """Compute the transport plan between two point clouds.

    Prints what the plan costs and how well it was solved; [cyan]--out[/] keeps the plan, [cyan]--plot[/] draws it.
    """
    if out:
        check_destination(out, "--out", (".npz",), replace=force)
    if plot:
        check_destination(plot, "--plot", PICTURES, replace=force)
    check_seed("--seed", seed)
    check_choice("--dtype", dtype, ("float32", "float64"))
    with console.phases() as phases:
        with phases.phase("read"):
            x, y = _points(source, target, getattr(torch, dtype))
            a, b = _weights(weights_source, x, normalise), _weights(weights_target, y, normalise)
        with phases.phase("solve"):
            problem = _problem(x, y, a, b, cost=cost, epsilon=_epsilon(epsilon), mass=mass, rho=_prices(rho))
            solution = solve(problem, _solver(solver, tol=tol, max_iter=max_iter))
        with phases.phase("measure"):
            rows = measured(solution)
        if out:
            with phases.phase("write"):
                form = write_plan(out, solution, generator=torch.Generator().manual_seed(seed))
                rows.append(("plan", f"{out} ({form} form)"))
        if plot:
            with phases.phase("draw"):
                _draw(solution, x, y, plot)
                rows.append(("picture", str(plot)))
    n, m = problem.shape
    console.answer(console.table(f"{type(solution.coupling).__name__} {n:,} × {m:,}", rows + phases.spent()))
    if not solution.report.status.ok:
        console.note(f"The tolerance was not met. {solution.report.status.value}")
        raise typer.Exit(1)


def _points(source: str, target: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    x, y = read_points(source, dtype=dtype), read_points(target, dtype=dtype)
    if x.shape[1] != y.shape[1]:
        raise ShapeError(
            f"SOURCE and TARGET must have equally many columns, but {source} has {x.shape[1]} and {target} has "
            f"{y.shape[1]}: drop or add coordinates."
        )
    return x, y


def _weights(path: str | None, points: Tensor, normalise: bool) -> Tensor | None:
    if path is None:
        return None
    weights = read_weights(path, len(points), dtype=points.dtype)
    return weights / weights.sum() if normalise else weights


def _problem(x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None, **settings: Any) -> Linear:
    try:
        return Linear.between(x, y, a, b, **settings)
    except InfeasibleError as error:
        if settings["mass"] is not None:
            raise
        raise InfeasibleError(f"{error} On the command line: --normalise, --rho or --mass.") from error


def _prices(text: str | None) -> Any:
    """``1.0``, or ``1.0,inf`` for source and target."""
    if text is None:
        return None
    try:
        prices = [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--rho {text} must be a price or two of them, as in 1.0 or 1.0,inf.") from None
    return tuple(prices) if len(prices) > 1 else prices[0]


def _epsilon(text: str) -> Any:
    """``0.05`` or ``relative:0.05``."""
    name, colon, number = text.rpartition(":")
    try:
        parsed = float(number)
    except ValueError:
        parsed = float("nan")
    if name not in ("", "relative") or bool(colon) != bool(name) or not 0 <= parsed < float("inf"):
        raise InputError(
            f"--epsilon {text} must be a non-negative number or relative:FRACTION, as in 0.05, relative:0.05 or 0."
        )
    return relative(parsed) if name and parsed > 0 else parsed


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


def _draw(solution: Solution, x: Tensor, y: Tensor, path: Path) -> None:
    """The two clouds with the strongest links, beside the matrix in the order of the first coordinate."""
    from monge.plot import figure, links, plan

    picture = figure(11.0, 5.6)
    left, right = picture.subplots(1, 2)
    links(solution.coupling, x, y, ax=left)
    plan(solution.coupling, rows=x[:, 0].argsort(), columns=y[:, 0].argsort(), ax=right)
    write_whole(path, lambda stream: picture.savefig(stream, format=path.suffix[1:].lower(), dpi=130))
