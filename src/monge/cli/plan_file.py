"""Plans in files: the NumPy archives that ``monge couple --out`` writes.

Every archive holds ``form`` (``"sparse"`` or ``"potential"``), ``shape`` (n, m), ``cost``, and what was measured:
``value``, ``transport_cost``, ``marginal_error``, ``duality_gap``, ``iterations``, ``epsilon``, ``status`` and
``version``; besides, ``barycentric`` (n, d), the mean target of each source, and ``pairs`` (k, 2), one target drawn for
each source that has mass.

sparse: ``i``, ``j``, ``w`` (k,): P[i, j] = w.
potential: ``x`` (n, d), ``y`` (m, d), ``f``, ``a`` (n,), ``g``, ``b`` (m,):
P_ij = a_i b_j exp((f_i + g_j - C_ij) / epsilon).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monge._files import write_whole
from monge._reading import Budget, open_archive, read_array, refused
from monge._version import __version__
from monge.coupling import Coupling, PotentialCoupling, SparseCoupling
from monge.errors import InputError
from monge.geometry import PointCloud
from monge.solver import Solution

__all__ = ["read_plan", "write_plan"]

_ARRAYS = {"sparse": ("i", "j", "w"), "potential": ("x", "y", "f", "g", "a", "b", "epsilon")}
"""What makes a plan, by its form."""


def write_plan(path: Path, solution: Solution, *, generator: torch.Generator) -> str:
    """Write a solution in the smaller of its two forms.

    Args:
        path: Where to.
        solution: A plan between two point clouds, no batch.
        generator: Source of randomness of ``pairs``.

    Returns:
        ``"sparse"`` or ``"potential"``.
    """
    plan, report = solution.coupling, solution.report
    cloud: Any = plan.geometry
    held = _potential(plan, cloud) if isinstance(plan, PotentialCoupling) else _sparse(plan)
    held |= {name: getattr(report, name) for name in ("marginal_error", "duality_gap", "iterations", "epsilon")}
    held |= {
        "shape": plan.shape,
        "cost": cloud.cost,
        "value": solution.value,
        "transport_cost": plan.transport_cost(),
        "status": report.status.name,
        "version": __version__,
        "barycentric": plan.barycentric(cloud.y),
        "pairs": torch.stack(plan.pair(generator=generator), -1),
    }
    arrays = {name: _array(part) for name, part in held.items()}
    write_whole(path, lambda stream: np.savez_compressed(stream, allow_pickle=False, **arrays))
    return held["form"]


def read_plan(path: str | os.PathLike[str]) -> Coupling:
    """The plan of a file that ``monge couple --out`` wrote; every part is compared with its checksum.

    Args:
        path: The archive.

    Returns:
        The coupling: sparse, or by its potentials.

    Raises:
        InputError: If the file is not such an archive.
    """
    with refused(f"{path} is no plan that `monge couple --out` wrote (", "): write it again."):
        budget = Budget()
        with open_archive(path, budget) as archive:

            def array(name: str, kinds: str = "fiu") -> np.ndarray:
                return read_array(archive.read(f"{name}.npy"), kinds)

            form, cost = (str(array(name, "U")) for name in ("form", "cost"))
            if form not in _ARRAYS:
                raise InputError(f"its form {form[:40]!r} is unknown, only {' and '.join(_ARRAYS)} are")
            held = [torch.from_numpy(array(name)) for name in _ARRAYS[form]]
            n, m = array("shape", "iu").tolist()
        # What a plan answers is as large as its two sides, which a sparse one does not store.
        budget.take(8 * (n + m))
        if form == "sparse":
            i, j, w = held
            return SparseCoupling(i, j, w, n, m)
        x, y, f, g, a, b, epsilon = held
        plan = PotentialCoupling(PointCloud(x, y, cost=cost), f, g, a, b, epsilon)
        if plan.shape != (n, m):
            raise InputError(f"its shape is {n} x {m}, but it has {len(x)} and {len(y)} points")
        return plan


def _potential(plan: PotentialCoupling, cloud: PointCloud) -> dict[str, Any]:
    return {"form": "potential", "x": cloud.x, "y": cloud.y, "f": plan.f, "g": plan.g, "a": plan.a, "b": plan.b}


def _sparse(plan: Coupling) -> dict[str, Any]:
    kept = plan.sparse(threshold=0.0)
    return {"form": "sparse", "i": kept.i, "j": kept.j, "w": kept.w}


def _array(held: Any) -> np.ndarray:
    return held.detach().cpu().numpy() if isinstance(held, Tensor) else np.array(held)
