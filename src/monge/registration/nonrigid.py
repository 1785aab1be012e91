"""Non-rigid registration: smooth warps on control points."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_choice, check_number
from monge._users_arrays import takes_arrays

from .clouds import Frame, prepared, spread
from .correspondence import Correspondence, Goals, Slices
from .result import Progress, Registration, Steps
from .transformation import KERNELS, Rigid, Warp, radial

__all__ = ["nonrigid"]

PATIENCE = 18  # turns at one price before it is the last


@takes_arrays
@torch.no_grad()
def nonrigid(
    source: Float[Tensor, "n d"],
    target: Float[Tensor, "m d"],
    *,
    start: Rigid | None = None,
    matching: Correspondence | None = None,
    controls: int = 60,
    kernel: str = "thin-plate",
    stiffness: tuple[float, float] = (1.0, 1e-3),
    penalty: float | None = None,
    steps: int = 120,
    generator: torch.Generator | None = None,
    progress: Progress | None = None,
) -> Registration:
    r"""The smooth map that moves a part of one cloud onto a part of another; outliers on both sides are ignored.

    $$\min_{T, \gamma} \sum_{ij} \gamma_{ij} |T(x_i) - y_j|^2 + \lambda (n + m - 2 |\gamma|) + \eta \|w\|_K^2,
    \qquad T(x) = A x + t + \sum_k w_k K(|x - c_k|)$$
    Two steps alternate: partial transport finds the goals of the points, and a weighted ridge regression finds the map.
    Penalty and stiffness become smaller together, so that large motions are found first and details later.

    Args:
        source: Points to move; they may contain outliers.
        target: Points to move them to; they may contain outliers, too.
        start: A motion to begin with, such as `rigid` finds; None begins without a motion.
        matching: How partners are found, `Slices` (default) or `Plans`.
        controls: Control points, spread over the source points that find partners.
        kernel: ``"thin-plate"`` or ``"gaussian"``, whose width is half the spread of the cloud.
        stiffness: First and last $\eta$.
        penalty: The last penalty, in squared units of the target. None finds it: when fewer points are matched than
            before, the penalty has reached the size of the noise.
        steps: The largest number of steps.
        generator: Source of slices.
        progress: Called after every step with the number of steps made and the most there can be.

    Returns:
        A `Registration` whose transformation is a `Warp`.

    Source:
        Bai, Tran, Damelin, Kolouri, Partial transport for point-cloud registration (arXiv 2309.15787); Bai, Schmitzer,
        Thorpe, Kolouri, Sliced optimal partial transport (arXiv 2212.08049).

    Example:
        >>> import torch
        >>> from monge.registration import nonrigid
        >>> g = torch.Generator().manual_seed(0)
        >>> x = torch.rand(150, 2, generator=g)
        >>> bent = x + 0.1 * torch.sin(3 * x.flip(-1))
        >>> found = nonrigid(x, bent, generator=g)
        >>> bool((found.transformation(x) - bent).norm(dim=-1).median() < 0.01)
        True
    """
    x, y = prepared(source, target)
    if penalty is not None:
        check_number("penalty", float(penalty), low=0.0, strict=True)
    matching = Slices() if matching is None else matching
    check_choice("kernel", kernel, KERNELS)
    for name, number in (("controls", controls), ("steps", steps)):
        check_number(name, number, low=1)
    for number in stiffness:
        check_number("stiffness", float(number), low=0.0, strict=True)
    d = x.shape[-1]
    still = Rigid(torch.eye(d), torch.zeros(d), torch.ones(())).to(x.device, torch.float64)
    start = still if start is None else start.to(x.device, torch.float64)
    frame = Frame(y.median(0).values, spread(y))
    x, y = frame.inside(start._apply(x)), frame.inside(y)
    last = 1e-9 if penalty is None else float(penalty) / frame.unit**2
    first, told = max(0.03, last), Steps(progress, steps)
    goals = matching._match(x[None], y, first, generator)
    control = _farthest(x[goals.weight[0] >= goals.weight[0].median()], controls)
    fit = _Ridge(still, x, control, 0.5, kernel)
    warp = fit.solve(goals, stiffness[0])
    price, eta, seen, waited, best = first, stiffness[0], 0.0, 0, None
    while told.done < steps:
        goals = matching._match(warp._apply(x)[None], y, price, generator)
        mass = float(goals.weight.sum())
        if best is not None and mass < 0.75 * seen:
            # Too stiff to follow: give way, for a while; then this is the noise.
            waited += 1
            eta = max(eta * 0.6, stiffness[1])
            if waited > PATIENCE and penalty is None:
                break
        else:
            seen, waited = max(seen, mass) if price < 1e-3 else mass, 0
            best = (warp, goals, price)
            price = max(price * 0.75, last)
        warp = fit.solve(goals, eta)
        told.tell()
    assert best is not None
    warp, goals, price = best
    goals = goals._replace(place=frame.centre + frame.unit * goals.place)
    return Registration._of(_outside(warp, start, frame), goals, price * frame.unit**2, told.done, source.dtype)


def _outside(warp: Warp, start: Rigid, frame: Frame) -> Warp:
    """A warp in the frame as one after the motion ``start``, in the units and the place of the target."""
    translation = frame.centre + frame.unit * warp.translation - warp.matrix @ frame.centre
    return warp._replace(
        start=start,
        translation=translation,
        weights=frame.unit * warp.weights,
        control=frame.centre + frame.unit * warp.control,
        length=frame.unit * warp.length,
    )


class _Ridge:
    """Weighted least squares for an affine map and displacements on control points.

    Thin plates are conditionally positive: their displacements are orthogonal to affine maps.
    """

    def __init__(self, still: Rigid, x: Tensor, control: Tensor, length: float, kernel: str) -> None:
        self.still, self.control, self.kernel = still, control, kernel
        self.length = x.new_tensor(length)
        self.free = _free_of_affine(control) if kernel == "thin-plate" else torch.eye(len(control)).to(x)
        bend = radial(x, control, self.length, kernel) @ self.free
        self.design = torch.cat([x, torch.ones_like(x[:, :1]), bend], -1)
        self.energy = self.free.T @ radial(control, control, self.length, kernel) @ self.free

    def solve(self, goals: Goals, eta: float) -> Warp:
        """The best map; eta prices the displacements in units of the mean square that is left."""
        weight = goals.weight[0].clamp_min(0)
        weight = weight / weight.sum().clamp_min(1e-300)
        design, d = self.design, self.control.shape[-1]
        identity = torch.eye(design.shape[-1], d).to(design)
        normal = design.T @ (weight[:, None] * design)
        normal[d + 1 :, d + 1 :] += eta * self.energy
        # A touch of pull towards the identity, for points that do not span the space.
        normal.diagonal().add_(1e-12 * normal.diagonal().mean() + 1e-300)
        residual = goals.place[0] - design @ identity
        found = identity + torch.linalg.solve(normal, design.T @ (weight[:, None] * residual))
        return Warp._make(
            start=self.still,
            matrix=found[:d].T.contiguous(),
            translation=found[d],
            weights=self.free @ found[d + 1 :],
            control=self.control,
            length=self.length,
            kernel=self.kernel,
        )


def _free_of_affine(control: Tensor) -> Tensor:
    """A basis of the displacements that sum to zero against every affine function."""
    affine = torch.cat([control, torch.ones_like(control[:, :1])], -1)
    left, size, _ = torch.linalg.svd(affine)
    rank = int((size > 1e-10 * size.max()).sum())
    return left[:, rank:]


def _farthest(points: Tensor, count: int) -> Tensor:
    """Points that cover the others: each one is the farthest from those before."""
    chosen = [int((points - points.mean(0)).square().sum(-1).argmin())]
    distance = torch.full_like(points[:, 0], torch.inf)
    for _ in range(min(count, len(points)) - 1):
        distance = torch.minimum(distance, (points - points[chosen[-1]]).square().sum(-1))
        chosen.append(int(distance.argmax()))
    return points[chosen]
