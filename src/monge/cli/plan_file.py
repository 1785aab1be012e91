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
from monge._version import __version__
from monge.coupling import Coupling, PotentialCoupling, SparseCoupling
from monge.errors import InputError
from monge.geometry import PointCloud
from monge.solver import Solution

__all__ = ["read_plan", "write_plan"]


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
    """The plan of a file that ``monge couple --out`` wrote.

    Args:
        path: The archive.

    Returns:
        The coupling: sparse, or by its potentials.

    Raises:
        InputError: If the file is not such an archive.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            text = {name: str(archive[name]) for name in ("form", "cost")}
            sparse = text["form"] == "sparse"
            names = ("i", "j", "w", "shape") if sparse else ("x", "y", "f", "g", "a", "b", "epsilon")
            held = [torch.as_tensor(archive[name]) for name in names]
        if sparse:
            i, j, w, shape = held
            n, m = shape.tolist()
            return SparseCoupling(i, j, w, n, m)
        x, y, f, g, a, b, epsilon = held
        return PotentialCoupling(PointCloud(x, y, cost=text["cost"]), f, g, a, b, epsilon)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} is no plan that `monge couple --out` wrote ({error}): write it anew.") from error


def _potential(plan: PotentialCoupling, cloud: PointCloud) -> dict[str, Any]:
    return {"form": "potential", "x": cloud.x, "y": cloud.y, "f": plan.f, "g": plan.g, "a": plan.a, "b": plan.b}


def _sparse(plan: Coupling) -> dict[str, Any]:
    kept = plan.sparse(threshold=0.0)
    return {"form": "sparse", "i": kept.i, "j": kept.j, "w": kept.w}


def _array(held: Any) -> np.ndarray:
    return held.detach().cpu().numpy() if isinstance(held, Tensor) else np.array(held)
