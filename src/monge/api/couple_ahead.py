"""Plans for the batches of a training loop, computed while the loop trains."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor

from monge._checks import check_count
from monge.coupling import Coupling
from monge.errors import InputError
from monge.problem.epsilon import Relative
from monge.solver import Solver

from .couple import couple

__all__ = ["couple_ahead"]

_Batch = TypeVar("_Batch", bound=Sequence[Any])


def couple_ahead(
    batches: Iterable[_Batch],
    *,
    cost: str | Callable[[Tensor, Tensor], Tensor] = "sqeuclidean",
    epsilon: float | Tensor | Relative = 0.0,
    mass: float | Tensor | None = None,
    rho: float | Tensor | tuple[float | Tensor, float | Tensor] | None = None,
    penalty: str = "kl",
    solver: Solver | None = None,
    ahead: int = 2,
    workers: int = 1,
) -> Iterator[tuple[_Batch, Coupling]]:
    r"""Each batch with the plan between its first two entries; the plans of the next batches are computed meanwhile.

    In a training loop that pairs noise with data, plans depend on neither the model nor its gradient. So other threads
    can compute them during the training steps. The solvers of Monge leave Python alone while they work, so that a step
    goes on as if it were alone. Plans are those of `couple`, batch by batch, whatever ``ahead`` and ``workers`` are.

    Batches are fetched in the thread of the loop and in their order, ``ahead`` of them before they are needed. So
    random numbers are drawn in an order that depends on ``ahead`` only.

    Args:
        batches: What the loop goes through, such as a ``DataLoader`` or a generator: sequences whose first two entries
            are clouds x (\*b, n, d) and y (\*b, m, d). Images are flattened first; further entries are handed on.
        cost: As in `couple`, like ``epsilon``, ``mass``, ``rho``, ``penalty`` and ``solver``.
        epsilon: Strength of the entropy in units of the cost, or `relative`; zero is exact transport.
        mass: Total mass to move.
        rho: Price of missing a marginal.
        penalty: How a marginal may be missed.
        solver: How to solve; None chooses.
        ahead: How many batches are fetched before they are needed; 0 computes each plan when it is asked for.
        workers: How many threads compute plans.

    Returns:
        An iterator over pairs (batch, plan). The batch is the object that was fetched. The plan is a constant of
        autograd. ``i, j = plan.pair(generator=generator)`` are partners: ``x[i], y[j]``.

    Raises:
        InputError: If an option is wrong; also, when its turn comes, whatever `couple` raises for a batch.

    Example:
        >>> import torch
        >>> import monge
        >>> g = torch.Generator().manual_seed(0)
        >>> batches = ((torch.randn(64, 2, generator=g), torch.rand(64, 2, generator=g)) for _ in range(3))
        >>> for (noise, data), plan in monge.couple_ahead(batches):
        ...     i, j = plan.pair(generator=g)
        ...     target = data[j] - noise[i]  # the model learns this velocity
    """
    check_count("ahead", ahead, low=0)
    check_count("workers", workers, low=1)
    options = {"cost": cost, "epsilon": epsilon, "mass": mass, "rho": rho, "penalty": penalty, "solver": solver}

    def plan(batch: _Batch) -> Coupling:
        x, y = (part.detach() if isinstance(part, Tensor) else part for part in batch[:2])
        with torch.no_grad():
            return couple(x, y, **options)

    return _paired(iter(batches), plan, int(ahead), int(workers))


def _paired(
    batches: Iterator[_Batch], plan: Callable[[_Batch], Coupling], ahead: int, workers: int
) -> Iterator[tuple[_Batch, Coupling]]:
    if ahead == 0:
        yield from ((batch, plan(_checked(batch))) for batch in batches)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="monge-couple")
    waiting: deque[tuple[_Batch, Future[Coupling]]] = deque()
    try:
        while True:
            # One more than `ahead`: the batch that is handed out next is waited for in any case.
            for batch in islice(batches, ahead + 1 - len(waiting)):
                waiting.append((batch, pool.submit(plan, _checked(batch))))
            if not waiting:
                return
            batch, found = waiting.popleft()
            yield batch, found.result()
    finally:
        # Nothing is left behind when the loop is left early.
        pool.shutdown(wait=True, cancel_futures=True)


def _checked(batch: Any) -> Any:
    if not isinstance(batch, Sequence) or len(batch) < 2:
        told = f"a sequence of {len(batch)}" if isinstance(batch, Sequence) else type(batch).__name__
        raise InputError(f"batches must yield sequences (x, y, ...), but one is {told}: yield a tuple of clouds.")
    return batch
