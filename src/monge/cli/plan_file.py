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
from typing import IO, Any

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
    held: dict[str, Any] = _potential(plan) if isinstance(plan, PotentialCoupling) else _sparse(plan)
    held |= {
        "shape": np.array(plan.shape),
        "cost": np.array(cloud.cost),
        "value": _array(solution.value),
        "transport_cost": _array(plan.transport_cost()),
        "marginal_error": _array(report.marginal_error),
        "duality_gap": _array(report.duality_gap),
        "iterations": _array(report.iterations),
        "epsilon": _array(report.epsilon),
        "status": np.array(report.status.name),
        "version": np.array(__version__),
        "barycentric": _array(plan.barycentric(cloud.y)),
        "pairs": _array(torch.stack(plan.pair(generator=generator), -1)),
    }

    def write(stream: IO[bytes]) -> None:
        np.savez_compressed(stream, allow_pickle=False, **held)

    write_whole(path, write)
    return str(held["form"])


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
            held = dict(archive)
        if str(held["form"]) == "sparse":
            i, j, w = (torch.from_numpy(held[name]) for name in ("i", "j", "w"))
            n, m = (int(size) for size in held["shape"])
            return SparseCoupling(i, j, w, n, m)
        x, y, f, g, a, b = (torch.from_numpy(held[name]) for name in ("x", "y", "f", "g", "a", "b"))
        cloud = PointCloud(x, y, cost=str(held["cost"]))
        return PotentialCoupling(cloud, f, g, a, b, torch.as_tensor(held["epsilon"]))
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} is no plan that `monge couple --out` wrote ({error}): write it anew.") from error


def _potential(plan: PotentialCoupling) -> dict[str, Any]:
    cloud: Any = plan.geometry
    held = {"x": cloud.x, "y": cloud.y, "f": plan.f, "g": plan.g, "a": plan.a, "b": plan.b}
    return {"form": np.array("potential")} | {name: _array(tensor) for name, tensor in held.items()}


def _sparse(plan: Coupling) -> dict[str, Any]:
    kept = plan.sparse(threshold=0.0)
    return {"form": np.array("sparse"), "i": _array(kept.i), "j": _array(kept.j), "w": _array(kept.w)}


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
