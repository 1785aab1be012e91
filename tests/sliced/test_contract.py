"""What every public name of slices does with batches, weights, absent points, half precision and far-away clouds.

A name that is new has to declare itself here: the first test compares the list with the faces of the room.
"""

import math
from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import pytest
import torch

import monge.sliced as room
from draws import generator
from monge.coupling import Coupling
from monge.errors import ShapeError
from monge.geometry import PointCloud
from monge.sliced import (
    Augmented,
    Balanced,
    Circular,
    Estimate,
    GreatCircles,
    Gromov,
    Linear,
    LinearCircular,
    Network,
    Partial,
    Polynomial,
    Spheres,
    Unbalanced,
)
from monge.sliced.gromov import GromovSlicer
from monge.sliced.partial import CircularPartial, PartialProfile
from monge.sliced.plan import SetTransformer, TransferableSlicer
from monge.sliced.sphere import Stereographic
from sweep import sweep

D = torch.float64
CLASSES = {"Estimate", "LineProblem", "Slicer", "SphericalTreeSystem", "TreeSystem", "Sliced"}  # values and bases
DRAWS = {"directions", "frames", "rotations", "rotated_frames", "spherical_tree_system", "sine_network"}  # no cloud
SINGLE = {"refine"}  # takes a function


THETA = room.directions(6, 3, generator=generator(1), dtype=D)
FRAME = room.frames(5, 3, generator=generator(2), dtype=D)
CUBIC = room.directions(5, 10, generator=generator(3), dtype=D)
LIFTED = room.directions(5, 6, generator=generator(4), dtype=D)
TREES = room.tree_system(
    torch.zeros(1, 3, dtype=D), torch.ones(1, 3, dtype=D), trees=4, lines=3, generator=generator(5)
)
ARCS = room.sphere.spherical_tree_system(3, trees=4, rays=3, generator=generator(6), dtype=D)


class Entry(NamedTuple):
    """One way to call a name with two clouds; what comes back is looked at tensor by tensor."""

    call: Callable
    sphere: bool = False
    weights: bool = True  # zero weight is absence
    masses: bool = False  # weights are masses, which no default replaces
    pointwise: bool = False  # an answer per point: absent points have an entry too
    far: bool = False  # the answer does not depend on where the clouds are
    half: float = 1.0  # how many units in the last place of half precision the answer may be off
    equal: bool = False  # needs equal numbers of points


def lines(line=None, slicer=None, **more):
    def call(x, y, a, b):
        return room.estimate(x, y, a, b, slicer=Linear(THETA) if slicer is None else slicer, line=line, **more)

    return call


def seeded(module, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return module()


SLICER = seeded(lambda: TransferableSlicer(dimension=3).double())
PAIR = seeded(lambda: GromovSlicer(dimensions=(3, 3)).double())
SET = seeded(lambda: SetTransformer(3, width=8, heads=2, inducing=3).double())
NET = seeded(lambda: torch.nn.Linear(3, 4).double())


def flat(function, **more):
    return lambda x, y, a, b: function(x[..., 0], y[..., 0], a, b, **more)


def one(function):
    return lambda x, y, a, b: function(x, a)


def profile(function):
    def call(x, y, a, b):
        found = function(x[..., 0], y[..., 0])
        return found.cost, found.plan(1).dense(), found.count(0.3)

    return call


ENTRIES = {
    "Augmented": Entry(lines(slicer=Augmented(LIFTED, torch.sin))),
    "Balanced": Entry(lines(Balanced(1.5)), far=True),
    "Circular": Entry(lines(Circular(1.0), GreatCircles(FRAME)), sphere=True),
    "CircularPartial": Entry(lines(CircularPartial(mass=0.5), GreatCircles(FRAME)), sphere=True, masses=True),
    "GreatCircles": Entry(lines(Circular(2.0), GreatCircles(FRAME)), sphere=True),
    "Gromov": Entry(lines(Gromov()), far=True),
    "GromovSlicer": Entry(lambda x, y, a, b: PAIR.couple(x, y, a, b), half=math.inf),
    "LinearSlicer": Entry(lines(), far=True),
    "LinearCircular": Entry(lines(LinearCircular(), GreatCircles(FRAME)), sphere=True),
    "Network": Entry(lines(slicer=Network(NET, 4)), half=math.inf),
    "Partial": Entry(lines(Partial(penalty=0.4)), masses=True, far=True, half=4),
    "PartialProfile": Entry(profile(room.partial_profile), weights=False),
    "Polynomial": Entry(lines(slicer=Polynomial(CUBIC, 3))),
    "SetTransformer": Entry(lambda x, y, a, b: SET(x), weights=False, half=math.inf),
    "Spheres": Entry(lines(slicer=Spheres(THETA, 4.0))),
    "Stereographic": Entry(lines(Balanced(), Stereographic(FRAME)), sphere=True),
    "TransferableSlicer": Entry(lambda x, y, a, b: SLICER.couple(x, y, a, b), half=math.inf),
    "Unbalanced": Entry(lines(Unbalanced(0.7, tol=1e-9)), masses=True, half=4),
    "best_gromov_plan": Entry(
        lambda x, y, a, b: room.gromov.best_gromov_plan(x, y, a, b, slicer=Linear(THETA)), far=True
    ),
    "best_sliced_plan": Entry(lambda x, y, a, b: room.best_sliced_plan(x, y, a, b, slicer=Linear(THETA)), far=True),
    "circular_barycenter_density": Entry(
        lambda x, y, a, b: room.sphere.circular_barycenter_density(
            room.sphere.circular_embedding(x[..., 0].double(), a, size=32), bins=8
        ),
        half=math.inf,
    ),
    "circular_embedding": Entry(lambda x, y, a, b: room.sphere.circular_embedding(x[..., 0], a, size=16), half=4),
    "circular_partial_cost": Entry(flat(room.partial.circular_partial_cost, mass=0.5), masses=True),
    "circular_partial_plan": Entry(flat(room.partial.circular_partial_plan, mass=0.5), masses=True),
    "circular_partial_profile": Entry(profile(room.partial.circular_partial_profile), weights=False),
    "circular_plan": Entry(flat(room.sphere.circular_plan)),
    "circular_uniformity": Entry(lambda x, y, a, b: room.sphere.circular_uniformity(x[..., 0], a), half=4),
    "circular_wasserstein": Entry(flat(room.circular_wasserstein)),
    "distance_profiles": Entry(
        lambda x, y, a, b: room.gromov.distance_profiles(PointCloud(x, x), size=3), weights=False, half=math.inf
    ),
    "distributional_sliced_wasserstein": Entry(
        lambda x, y, a, b: room.distributional_sliced_wasserstein(
            x, y, a, b, slices=6, steps=5, generator=generator(7)
        ),
        far=True,
        half=32,
    ),
    "energy_based_sliced_wasserstein": Entry(
        lambda x, y, a, b: room.energy_based_sliced_wasserstein(x, y, a, b, slicer=Linear(THETA)), far=True, half=4
    ),
    "estimate": Entry(lines(control_variate="quadratic"), far=True),
    "expected_sliced_plan": Entry(
        lambda x, y, a, b: room.expected_sliced_plan(x, y, a, b, slicer=Linear(THETA), inverse_temperature=2.0),
        half=8,
    ),
    "gromov_cost": Entry(
        lambda x, y, a, b: tuple(
            room.gromov_cost(
                room.plan.monotone_plan(x[..., 0], y[..., 0], a, b), PointCloud(x, x, cost), PointCloud(y, y, cost)
            )
            for cost in ("sqeuclidean", "euclidean")
        ),
        half=math.inf,
    ),
    "lap_sort": Entry(lambda x, y, a, b: room.plan.lap_sort(x[..., 0], 0.5), weights=False),
    "lifted_plans": Entry(lambda x, y, a, b: room.plan.lifted_plans(x, y, a, b, slicer=Linear(THETA)), far=True),
    "linear_circular_wasserstein": Entry(flat(room.sphere.linear_circular_wasserstein)),
    "max_sliced_wasserstein": Entry(
        lambda x, y, a, b: room.max_sliced_wasserstein(x, y, a, b, steps=6, restarts=3, generator=generator(8))[0].cost,
        far=True,
        half=32,
    ),
    "monotone_plan": Entry(flat(room.plan.monotone_plan)),
    "pairwise_sliced_wasserstein": Entry(
        lambda x, y, a, b: room.pairwise_sliced_wasserstein([x, y, x], [a, b, None], theta=THETA.to(x)),
        weights=False,
        far=True,
        half=4,
    ),
    "partial_cost": Entry(flat(room.partial_cost, penalty=0.3), masses=True, half=4),
    "partial_plan": Entry(flat(room.partial.partial_plan, penalty=0.3), masses=True),
    "partial_profile": Entry(profile(room.partial_profile), weights=False),
    "partial_transport_lp": Entry(
        lambda x, y, a, b: room.partial.partial_transport_lp(
            x[..., :1], y[..., :1], a, b, penalty=0.5, x=x[..., 1:], y=y[..., 1:]
        ),
        masses=True,
        half=4,
    ),
    "random_path_directions": Entry(
        lambda x, y, a, b: room.random_path_directions(x, y, 5, a=a, b=b, generator=generator(9)), half=4, far=True
    ),
    "search_direction": Entry(
        lambda x, y, a, b: room.search_direction(x, y, a, b, steps=4, samples=6, generator=generator(10))[1],
        far=True,
        half=32,
    ),
    "signal_graph": Entry(
        lambda x, y, a, b: room.partial.signal_graph(x[..., :1], x[..., 1:], beta=0.5), weights=False
    ),
    "sliced_embedding": Entry(lambda x, y, a, b: room.sliced_embedding(x, a, theta=THETA.to(x), size=7), half=8),
    "sliced_gromov_wasserstein": Entry(
        lambda x, y, a, b: room.sliced_gromov_wasserstein(x, y, a, b, slices=6, generator=generator(11)),
        far=True,
        half=8,
    ),
    "sliced_partial_transport_lp": Entry(
        lambda x, y, a, b: room.partial.sliced_partial_transport_lp(
            x[..., :1], y[..., :1], a, b, penalty=0.2, x=x[..., 1:], y=y[..., 1:], slices=6, generator=generator(12)
        ),
        masses=True,
        half=8,
    ),
    "sliced_partial_wasserstein": Entry(
        lambda x, y, a, b: room.sliced_partial_wasserstein(x, y, a, b, mass=0.5, slices=6, generator=generator(13)),
        masses=True,
        far=True,
        half=4,
    ),
    "sliced_wasserstein": Entry(
        lambda x, y, a, b: room.sliced_wasserstein(x, y, a, b, slices=6, scale="effective", generator=generator(14)),
        far=True,
        half=4,
    ),
    "soft_sort": Entry(lambda x, y, a, b: room.plan.soft_sort(x[..., 0], 0.3), weights=False, half=math.inf),
    "spherical_embedding": Entry(
        lambda x, y, a, b: room.sphere.spherical_embedding(x, a, frame=FRAME, size=6), sphere=True, half=4
    ),
    "spherical_sliced_partial_wasserstein": Entry(
        lambda x, y, a, b: room.partial.spherical_sliced_partial_wasserstein(x, y, a, b, mass=0.5, frame=FRAME),
        sphere=True,
        masses=True,
        half=4,
    ),
    "spherical_sliced_wasserstein": Entry(
        lambda x, y, a, b: room.spherical_sliced_wasserstein(x, y, a, b, slices=5, generator=generator(15)),
        sphere=True,
        half=4,
    ),
    "spherical_tree_sliced_wasserstein": Entry(
        lambda x, y, a, b: room.sphere.spherical_tree_sliced_wasserstein(x, y, a, b, system=ARCS), sphere=True, half=4
    ),
    "spherical_uniformity": Entry(
        lambda x, y, a, b: room.sphere.spherical_uniformity(x, a, frame=FRAME), sphere=True, half=4
    ),
    "tree_sliced_wasserstein": Entry(
        lambda x, y, a, b: room.tree_sliced_wasserstein(x, y, a, b, generator=generator(16)), far=True, half=8
    ),
    "tree_system": Entry(
        lambda x, y, a, b: room.tree_system(x, y, a=a, b=b, trees=3, lines=2, generator=generator(17)).root,
        half=math.inf,
    ),
    "unbalanced_sliced_wasserstein": Entry(
        lambda x, y, a, b: (
            room.unbalanced_sliced_wasserstein(x, y, a, b, slicer=Linear(THETA), rho=0.7, tol=1e-9)[0].cost
        ),
        masses=True,
        far=True,
        half=8,
    ),
}
every = pytest.mark.parametrize("name", ENTRIES)


def those(condition):
    """The names that the condition holds for."""
    return pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if condition(entry)])


def told(found):
    """All tensors of an answer."""
    if isinstance(found, Estimate):
        return [found.cost, found.slices]
    if isinstance(found, Coupling):
        return [found.dense()]
    return [part for held in found for part in told(held)] if isinstance(found, tuple) else [found]


def points(name, g, batch, n, dtype=D):
    drawn = torch.randn(*batch, n, 3, generator=g, dtype=D)
    if ENTRIES[name].sphere:
        drawn = torch.nn.functional.normalize(drawn, dim=-1)
    return drawn.to(dtype)


def weights(g, batch, n):
    drawn = torch.rand(*batch, n, generator=g, dtype=D) + 0.1
    return drawn / drawn.sum(-1, keepdim=True)


def instance(name, seed, batched=True):
    """Two clouds with weights, of batches that broadcast."""
    g = generator(seed)
    shapes = [((), ()), ((1,), ()), ((3,), (1,)), ((), (3,)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((3,), (3,))]
    left, right = shapes[seed % len(shapes)] if batched else ((), ())
    n, m = (int(k) for k in torch.randint(1, 7, (2,), generator=g))
    x, y = points(name, g, left, n), points(name, g, right, m)
    a, b = weights(g, right if seed % 3 else (), n), weights(g, left if seed % 2 else (), m)
    return x, y, a, b


def test_every_name_has_declared_itself():
    declared = set(ENTRIES) | CLASSES | DRAWS | SINGLE
    faces = [room.partial, room.sphere, room.plan, room.gromov]
    public = set(room.__all__).union(*(face.__all__ for face in faces)) - {"Linear"}
    assert declared == public
    assert len(ENTRIES) + len(CLASSES) + len(DRAWS) + len(SINGLE) == len(public)
    assert room.Linear is room.LinearSlicer


def test_names_that_moved_to_a_face_say_where():
    with pytest.warns(DeprecationWarning, match=r"monge\.sliced\.lap_sort is now monge\.sliced\.plan\.lap_sort\."):
        assert room.lap_sort is room.plan.lap_sort
    with pytest.raises(AttributeError, match="no attribute 'lap'"):
        _ = room.lap


@sweep(8, 200)
@every
def test_batches_are_loops(name, seeds):
    for seed in seeds:
        given = instance(name, seed)
        batch = torch.broadcast_shapes(*(t.shape[: -k or None] for t, k in zip(given, (2, 2, 1, 1), strict=True)))
        whole = [t.expand(*batch, *t.shape[-k:]) for t, k in zip(given, (2, 2, 1, 1), strict=True)]
        found = told(ENTRIES[name].call(*given))
        for at in product(*map(range, batch)):
            expected = told(ENTRIES[name].call(*(t[at] for t in whole)))
            for together, alone in zip(found, expected, strict=True):
                # What depends on one cloud only has the batch of that cloud.
                own = together.shape[: together.ndim - alone.ndim]
                place = tuple(k % size for k, size in zip(at[len(at) - len(own) :], own, strict=True))
                torch.testing.assert_close(together[place], alone, rtol=1e-6, atol=1e-9, msg=f"{name}, seed {seed}")


@every
def test_an_empty_batch_has_empty_answers(name):
    g = generator()
    x, y = points(name, g, (0,), 4), points(name, g, (0,), 3)
    for part in told(ENTRIES[name].call(x, y, weights(g, (0,), 4), weights(g, (), 3))):
        assert part.shape[0] == 0


@every
def test_batches_that_do_not_broadcast_are_told(name):
    g = generator()
    x, y = points(name, g, (2,), 4), points(name, g, (3,), 4)
    a, b = weights(g, (3,), 4), weights(g, (2,), 4)
    one_sided = {"SetTransformer", "distance_profiles", "lap_sort", "signal_graph", "soft_sort"}
    if name in one_sided:
        assert all(part.shape[0] == 2 for part in told(ENTRIES[name].call(x, y, a, b)))
    else:
        with pytest.raises(ShapeError, match="broadcast"):
            ENTRIES[name].call(x, y, a, b)


@sweep(8, 200)
@those(lambda entry: entry.weights)
def test_zero_weight_is_absence(name, seeds):
    for seed in seeds:
        x, y, a, b = instance(name, seed, batched=False)
        g = generator(seed + 1)
        far = points(name, g, (), 2) * (1 if ENTRIES[name].sphere else 30)
        expected = told(ENTRIES[name].call(x, y, a, b))
        padded = ENTRIES[name].call(torch.cat([far, x]), torch.cat([y, far]), *(
            torch.cat(parts) for parts in ((torch.zeros(2, dtype=D), a), (b, torch.zeros(2, dtype=D)))
        ))  # fmt: skip
        for found, wanted in zip(told(padded), expected, strict=True):
            if isinstance(padded, Coupling):
                assert (found[..., :2, :] == 0).all()
                assert (found[..., -2:] == 0).all()
                found = found[..., 2:, :-2]
            torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9, msg=f"{name}, seed {seed}")


@sweep(6, 200)
@those(lambda entry: entry.half < math.inf)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_loses_no_more_than_itself(name, dtype, seeds):
    """Compared with double precision on the very same numbers: what is off is the rounding of the answer."""
    for seed in seeds:
        g = generator(seed)
        x, y = points(name, g, (), 30, dtype), points(name, g, (), 20, dtype)
        given = [weights(g, (), n).to(dtype) for n in (30, 20)]
        found = told(ENTRIES[name].call(x, y, *given))
        wide = [t.double() for t in (x, y)]
        if ENTRIES[name].sphere:
            wide = [torch.nn.functional.normalize(t, dim=-1) for t in wide]
        expected = told(ENTRIES[name].call(*wide, *(w.double() for w in given)))
        for half, exact in zip(found, expected, strict=True):
            if half.is_floating_point():
                assert half.dtype == dtype, name
            size = max(float(exact.abs().max()), 1e-3)
            error = float((half.double() - exact).abs().max())
            assert error <= ENTRIES[name].half * torch.finfo(dtype).eps * size, f"{name}, seed {seed}: {error / size}"


@sweep(6, 200)
@those(lambda entry: entry.far)
@pytest.mark.parametrize("offset", [1e4, 1e6])
def test_clouds_far_from_the_origin(name, offset, seeds):
    """Float32 points far away, compared with the same numbers moved back in double precision."""
    for seed in seeds:
        g = generator(seed)
        way = offset * torch.tensor([1.0, -0.7, 0.4], dtype=D)
        spread = 1.0 if offset < 1e5 else 30.0
        x, y = ((spread * points(name, g, (), n) + way).float() for n in (9, 7))
        a, b = weights(g, (), 9), weights(g, (), 7)
        found = told(ENTRIES[name].call(x, y, a.float(), b.float()))
        expected = told(ENTRIES[name].call(x.double() - way, y.double() - way, a.float().double(), b.float().double()))
        for single, exact in zip(found, expected, strict=True):
            size = max(float(exact.abs().max()), 1e-6)
            error = float((single.double() - exact).abs().max())
            assert error <= 1e-3 * size, f"{name}, seed {seed}: {error / size}"


def test_training_takes_single_clouds():
    x = torch.randn(2, 5, 3)
    for train in (TransferableSlicer(dimension=3).fit, GromovSlicer(dimensions=(3, 3)).fit):
        with pytest.raises(ShapeError, match="one by one"):
            train(x, x, steps=1)


def test_slices_of_their_own_for_every_problem():
    x, y = torch.randn(2, 5, 3, generator=generator(), dtype=D), torch.randn(2, 4, 3, generator=generator(1), dtype=D)
    found, theta = room.max_sliced_wasserstein(x, y, steps=3, generator=generator())
    again = room.sliced_wasserstein(x, y, theta=theta)
    torch.testing.assert_close(again.cost, found.cost)
    assert theta.shape == (2, 1, 3)
    assert isinstance(room.partial_profile(x[..., 0], y[..., 0]), PartialProfile)
