"""All distances between many measures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from monge._arrays import pieces
from monge._checks import check_choice, check_number, check_same
from monge._progress import Progress
from monge._users_arrays import takes_arrays
from monge.errors import InputError, ShapeError
from monge.geometry import PointCloud
from monge.problem import Linear
from monge.problem.epsilon import Relative
from monge.solver import Solver

from ._kept import InFile, InMemory, Kept, fingerprint
from ._measures import GivenMeasure, Measure, as_measures, by_size, stacked
from .divergence import Own, check_entropic, debiased, dual_solution, self_solution
from .wasserstein import wasserstein

__all__ = ["pairwise"]

Metric = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Pairs = tuple[Int[Tensor, " k"], Int[Tensor, " k"]]
Compare = Callable[[Tensor, Tensor], Tensor]

# So many costs take some ten times longer to solve than a call of its own takes.
_OWN_CALL = 2**20


@takes_arrays
def pairwise(
    measures: Sequence[GivenMeasure] | Float[Tensor, "k n d"],
    others: Sequence[GivenMeasure] | Float[Tensor, "l m d"] | None = None,
    *,
    metric: str | Metric = "wasserstein",
    p: float = 2.0,
    epsilon: float | Tensor | Relative = 0.0,
    solver: Solver | None = None,
    max_bytes: int = 2**27,
    into: str | Path | None = None,
    progress: bool | Callable[[int, int], None] = False,
) -> Float[Tensor, "k l"]:
    r"""The matrix of distances between the measures of a list, or of two lists.

    Pairs of measures of equal sizes are solved together, as many at a time as ``max_bytes`` allows. Where only few
    have one size they are joined by others, and points without weight make up the difference; a metric that is a
    function sees none. For a single list, only the half above the diagonal is computed, because the metric is supposed
    to be symmetric. For divergences, the term of each measure with itself is computed only once, not for every pair.

    Args:
        measures: Clouds (n, d) of any sizes, or pairs (cloud, weights), or one tensor of clouds.
        others: A second list; None compares the first with itself.
        metric: ``"wasserstein"`` (rooted), ``"divergence"`` (Sinkhorn's, not rooted), or a symmetric function
            ``(x, y, a, b) -> values`` of batches of clouds (k, n, d), (k, m, d) and weights (k, n), (k, m).
        p: The cost is the p-th power of the Euclidean distance.
        epsilon: Strength of the entropy, or `relative`. For ``"wasserstein"`` it is relative to the mean cost of each
            pair, for ``"divergence"`` to the mean cost of all points, because all terms must have the same epsilon.
        solver: How to solve each batch; None chooses.
        max_bytes: Bound on the memory of a batch; a batch has at least one pair, and the answer is not counted.
        into: A file ``.npy`` that keeps each batch of distances as soon as it is known; entries that are still open are
            NaN there. If the work stops, for whatever reason, the same call goes on where it stopped. A file that
            belongs to other measures or options is refused. Files keep numbers and no derivatives.
        progress: True draws a bar on standard error; a function is called with (pairs done, pairs in all). Otherwise
            the logger ``monge.api`` has a record each minute.

    Returns:
        One number per pair; a metric that is a function is evaluated on the diagonal, too.

    Raises:
        InputError: If a measure or an option is wrong, or ``into`` cannot be used.

    Example:
        >>> import torch
        >>> import monge
        >>> clouds = [torch.zeros(3, 2), torch.ones(3, 2), torch.ones(5, 2)]
        >>> monge.pairwise(clouds, p=1.0).round(decimals=4)
        tensor([[0.0000, 1.4142, 1.4142],
                [1.4142, 0.0000, 0.0000],
                [1.4142, 0.0000, 0.0000]])
    """
    check_number("p", p, low=1.0, high=1e6)
    check_number("max_bytes", max_bytes, low=1)
    if not callable(metric):
        check_choice("metric", metric, ("wasserstein", "divergence"))
    elif solver is not None or epsilon != 0.0 or p != 2.0:
        raise InputError(
            "p, epsilon and solver have no effect if metric is a function, but one of them is given: use it inside "
            "your function."
        )
    left = as_measures("measures", measures)
    right = left if others is None else as_measures("others", others)
    check_same(measures=left[0].x, others=right[0].x)
    if left[0].x.shape[-1] != right[0].x.shape[-1]:
        raise ShapeError(
            f"measures and others must live in one space, but have dimensions {left[0].x.shape[-1]} and "
            f"{right[0].x.shape[-1]}."
        )
    same = others is None
    if metric == "divergence":
        compare, diagonal = _by_divergence(left, right, p, epsilon, solver, max_bytes), not same
    else:
        known = partial(wasserstein, p=p, epsilon=epsilon, solver=solver)
        compare = _by_function(metric if callable(metric) else known, left, right)
        # An entropic plan of a measure with itself has a cost.
        diagonal = callable(metric) or not (isinstance(epsilon, (int, float)) and epsilon == 0)
    batches = list(_batches(left, right, same, diagonal, not callable(metric), max_bytes))
    asked = (f"{metric.__module__}.{metric.__qualname__}" if callable(metric) else metric, p, epsilon, solver)
    with _kept(into, left, right, *asked) as kept, _progress(progress) as tell:
        _fill(kept, compare, batches, same, tell)
        if same and not diagonal:
            itself = torch.arange(len(left))
            kept.put(itself, itself, left[0].x.new_zeros(len(left)))
        return kept.whole()


def _fill(kept: Kept, compare: Compare, batches: list[Pairs], same: bool, tell: Callable[[int, int], object]) -> None:
    """Compare the pairs that are still open."""
    done, total = 0, sum(len(i) for i, _ in batches)
    for i, j in batches:
        left = kept.open(i, j)
        if bool(left.any()):
            rows, columns = i[left], j[left]
            values = compare(rows, columns)
            kept.put(rows, columns, values)
            if same:
                kept.put(columns, rows, values)
        done += len(i)
        tell(done, total)


@contextmanager
def _kept(into: str | Path | None, left: list[Measure], right: list[Measure], *asked: object) -> Iterator[Kept]:
    """Where the distances go; what is asked of the measures tells a file from those of other work."""
    out = torch.zeros(len(left), len(right), dtype=left[0].x.dtype, device=left[0].x.device)
    if into is None:
        yield InMemory(out)
        return
    given = [part for measure in (*left, *right) for part in (measure.x, measure.a)]
    if any(part.requires_grad for part in given):
        raise InputError(
            "into keeps numbers and no derivatives, but a measure requires a gradient: detach the measures, or leave "
            "into out."
        )
    with InFile(Path(into), out, fingerprint(*asked, right is left, *given)) as kept:
        yield kept


def _by_function(metric: Metric, left: list[Measure], right: list[Measure]) -> Compare:
    def compare(i: Tensor, j: Tensor) -> Tensor:
        (x, a), (y, b) = stacked(left, i), stacked(right, j)
        values = metric(x, y, a, b)
        if not isinstance(values, Tensor) or values.shape != (len(i),):
            told = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ShapeError(
                f"metric must return one number for each of {len(i)} pairs, but returned {told}: it is called with "
                f"batches of clouds of shapes {tuple(x.shape)} and {tuple(y.shape)}."
            )
        return values

    return compare


def _by_divergence(
    left: list[Measure], right: list[Measure], p: float, epsilon: Any, solver: Any, max_bytes: int
) -> Compare:
    if isinstance(epsilon, Relative):
        epsilon = _pooled_epsilon(left if right is left else [*left, *right], p, epsilon)

    def own(measures: list[Measure]) -> list[Own]:
        """Each measure with itself, those of one size together."""
        found: dict[int, Own] = {}
        for (n, _), members in by_size(measures).items():
            size = max(1, max_bytes // _pair_bytes(n, n, measures[0].x.shape[-1]))
            for chunk in (members[some] for some in pieces(len(members), size)):
                x, a = stacked(measures, chunk)
                problem = Linear.between(PointCloud(x, x, "euclidean", power=float(p)), None, a, a, epsilon=epsilon)
                check_entropic(problem)
                solved = self_solution(problem, solver)
                found |= {k: Own(solved.value[place], solved.potential[place]) for place, k in enumerate(chunk)}
        return [found[k] for k in range(len(measures))]

    own_left = own(left)
    own_right = own_left if right is left else own(right)

    def compare(i: Tensor, j: Tensor) -> Tensor:
        (x, a), (y, b) = stacked(left, i), stacked(right, j)
        problem = Linear.between(PointCloud(x, y, "euclidean", power=float(p)), None, a, b, epsilon=epsilon)
        itself = (_joined(*given) for given in zip((own_left, own_right), (i, j), problem.shape, strict=True))
        return debiased(problem, dual_solution(problem, solver), *itself)

    return compare


def _joined(own: list[Own], members: Tensor, n: int) -> Own:
    """What some measures have with themselves, as a batch of measures of n points."""
    different, place = members.unique(return_inverse=True)
    chosen = [own[k] for k in different.tolist()]
    where = place.to(chosen[0].value.device)
    # Points without weight have no part in the answer, whatever their potential.
    potentials = [pad(one.potential, (0, n - len(one.potential))) for one in chosen]
    return Own(torch.stack([one.value for one in chosen])[where], torch.stack(potentials)[where])


def _pooled_epsilon(measures: list[Measure], p: float, epsilon: Relative) -> Tensor:
    """A fraction of the mean cost between all points of all measures."""
    x = torch.cat([measure.x.detach() for measure in measures])
    a = torch.cat([measure.a.detach() / measure.a.detach().sum() for measure in measures]) / len(measures)
    return Linear(PointCloud(x, x, "euclidean", power=float(p)), a, a, epsilon).epsilon


def _batches(
    left: list[Measure], right: list[Measure], same: bool, diagonal: bool, joined: bool, max_bytes: int
) -> Iterator[Pairs]:
    """The pairs to compare, in batches, in an order that depends on nothing else.

    Pairs of one shape stand together. Where those of a shape are too little work for a call and may be joined, they
    stand with all whose sizes have the same power of two above them.
    """
    n, m = (torch.tensor([one.size for one in side]) for side in (left, right))
    even = [torch.tensor([one.uniform for one in side]) for side in (left, right)]
    if same:
        i, j = torch.triu_indices(len(left), len(left), 0 if diagonal else 1)
        # The smaller measure first, so that pairs of one shape meet, in whatever order they were listed.
        swapped = n[i] > m[j]
        i, j = torch.where(swapped, j, i), torch.where(swapped, i, j)
        if len(i) == 0:  # one measure has no other
            return
    else:
        i, j = (
            part.flatten() for part in torch.meshgrid(torch.arange(len(left)), torch.arange(len(right)), indexing="ij")
        )
    group = _groups(n[i], m[j], even[0][i] & even[1][j], joined)
    order = group.argsort(stable=True)
    members = order.split(group.bincount().tolist())
    for some in sorted(members, key=lambda one: int(one[0])):
        rows, columns = i[some], j[some]
        size = max(1, max_bytes // _pair_bytes(int(n[rows].max()), int(m[columns].max()), left[0].x.shape[-1]))
        yield from zip(rows.split(size), columns.split(size), strict=True)


def _groups(n: Tensor, m: Tensor, even: Tensor, joined: bool) -> Int[Tensor, " k"]:
    """A number for each pair of measures, n and m points large: pairs of one number are solved together."""
    # Shapes are told apart by one number each; the two kinds of groups by its sign.
    shape, of_shape, count = ((n * (m.max() + 1) + m) * 2 + even).unique(return_inverse=True, return_counts=True)
    alone = n * m * count[of_shape] >= _OWN_CALL
    if not joined:
        alone = torch.ones_like(alone)
    power_n, power_m = (torch.frexp(size.double()).exponent.long() for size in (n, m))
    return torch.where(alone, shape[of_shape], -(64 * power_n + power_m)).unique(return_inverse=True)[1]


def _pair_bytes(n: int, m: int, d: int) -> int:
    """What one pair of a batch may take: its costs, and what solvers keep for each point."""
    return 8 * (n * m + 32 * (n + m) * (d + 1))


@contextmanager
def _progress(told: bool | Callable[[int, int], object]) -> Iterator[Callable[[int, int], object]]:
    """A function to be called with how many pairs are done, and how many there are in all."""
    if callable(told):
        yield told
        return
    progress = Progress(shown=told, room="api")
    with progress if told else nullcontext():
        yield progress.of("pairs")
