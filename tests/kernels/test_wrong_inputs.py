"""Operators that are called with wrong inputs: each call answers or refuses, and no process dies of it."""

import random
import subprocess
import sys

import pytest
import torch

import monge.kernels  # noqa: F401  registers the operators
from monge.errors import ShapeError
from sweep import sweep

ops = torch.ops.monge
D = torch.float64
# What a problem of two clouds of 3 and 5 points is made of, by the name of the argument; the leading sizes are rows.
SIZES = {"n": 3, "m": 5, "d": 2, "k": 2, "r": 4}
COST = ("first:nd", "second:md", "=square", "=2.0", "=2.0")
STORED = ("first:nm", "=None", "=matrix", "=2.0", "=2.0")
LINE = ("x:rn", "y:rm", "a:rn", "b:rm", "=2.0")
OPERATORS = {
    "softmin": (*COST, "bias:m", "epsilon:"),
    "apply": (*COST, "row:n", "col:m", "v:mk", "epsilon:"),
    "attend": (*COST, "col:m", "v:mk", "epsilon:"),
    "moment": (*COST, "row:n", "col:m", "l:nk", "r:mk", "epsilon:"),
    "plan": (*STORED, "row:n", "col:m", "l:nk", "r:mk", "epsilon:"),
    "sinkhorn": (*COST, "g:m", "log_a:n", "log_b:m", "epsilon:"),
    "top_k": (*STORED, "g:m", "epsilon:", "=2"),
    "sort": ("x:rn",),
    "argsort": ("x:rn",),
    "monotone": ("a:rn", "b:rm"),
    "line_distance": (*LINE, "=True", "=True"),
    "circle_distance": (*LINE, "shift:r1", "=True", "=True"),
    "partial_plan": (*LINE, "=0.0", "=1", "level:r1", "=8", "=True"),
    "partial_profile": ("x:rn", "y:rm", "=1.0", "=0.0", "=inf", "=3"),
}
WORDS = {"None": None, "True": True, "inf": float("inf"), "square": "square", "matrix": "matrix"}
NUMBERS = (-1, 0, 1, 2, 3, 8, 1000, 0.0, 0.5, 1.0, float("inf"), float("nan"), True, None, "dot", "matrix")


def right(told, seed):
    """An argument as it should be."""
    if told.startswith("="):
        word = told[1:]
        return WORDS[word] if word in WORDS else float(word) if "." in word else int(word)
    shape = [SIZES.get(letter, 1) for letter in told.partition(":")[2]]
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=D)


def wronged(value, rng):
    """The same, or what a careless caller may put in its place."""
    if not isinstance(value, torch.Tensor):
        return rng.choice([value, *NUMBERS])
    size = rng.choice((0, 1, 2, 6, 100))
    dim = rng.randrange(value.ndim) if value.ndim else 0
    ways = (
        lambda: value.float() if rng.random() < 0.5 else value.long(),
        lambda: value.half() if rng.random() < 0.5 else value.to(torch.complex64),
        lambda: value[None] if rng.random() < 0.5 else value.reshape(-1),
        lambda: torch.rand([size if k == dim else n for k, n in enumerate(value.shape)] or [size], dtype=value.dtype),
        lambda: value.mT if value.ndim > 1 else value.expand(size, *value.shape),
        lambda: torch.full_like(value, rng.choice((float("nan"), float("inf"), -float("inf"), -1.0, 1e300, 0.0))),
        lambda: torch.empty(0, dtype=value.dtype),
        lambda: value.to("meta"),
        lambda: value.to_sparse() if value.ndim else value,
        lambda: None,
    )
    return rng.choice(ways)()


def calls(seeds):
    """Wrong calls: the name of an operator and its arguments, one or two of which are not as they should be."""
    names = list(OPERATORS)
    for seed in seeds:
        rng = random.Random(seed)
        name = names[seed % len(names)]
        arguments = [right(told, seed) for told in OPERATORS[name]]
        for k in rng.sample(range(len(arguments)), min(rng.choice((1, 1, 2)), len(arguments))):
            arguments[k] = wronged(arguments[k], rng)
        yield seed, name, arguments


def attempt(seeds):
    """Make wrong calls, by the dispatcher and past it; tell the number of each before it is made."""
    from monge.kernels.line.circle.native import _circle_distance
    from monge.kernels.line.monotone.native import _monotone
    from monge.kernels.line.partial.native import _partial_plan, _partial_profile
    from monge.kernels.line.sort import native as sorts
    from monge.kernels.line.straight.native import _line_distance
    from monge.kernels.stream import native as stream

    direct = {
        "sort": sorts.sort,
        "argsort": sorts.argsort,
        "monotone": _monotone,
        "line_distance": _line_distance,
        "circle_distance": _circle_distance,
        "partial_plan": _partial_plan,
        "partial_profile": _partial_profile,
    }
    torch.set_num_threads(2)
    for seed, name, arguments in calls(seeds):
        print(seed, flush=True)
        run = direct[name] if name in direct else getattr(stream, f"{name}_native")
        for way in (getattr(ops, name), run.run):
            try:
                way(*arguments)
            except Exception as error:
                if isinstance(error, MemoryError | SystemError):
                    raise


@sweep(default=280, slow=20_000)
def test_no_wrong_input_ends_the_process(seeds):
    told = f"import test_wrong_inputs as t; t.attempt(range({seeds.start}, {seeds.stop}))"
    folder = __file__.rpartition("/")[0]
    paths = [folder, *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {paths!r}; {told}"],
        capture_output=True,
        text=True,
        timeout=1800,
    )
    last = done.stdout.split()[-1:] or ["none"]
    assert done.returncode == 0, f"seed {last[0]}: status {done.returncode}\n{done.stderr[-2000:]}"


@pytest.mark.parametrize("name", OPERATORS)
def test_right_inputs_are_answered(name):
    found = getattr(ops, name)(*(right(told, 0) for told in OPERATORS[name]))
    assert all(isinstance(out, torch.Tensor) for out in ([found] if isinstance(found, torch.Tensor) else found))


@pytest.mark.parametrize("name", [name for name in OPERATORS if name not in ("sort", "argsort")])
def test_a_row_of_another_length_is_refused(name):
    """Of two tensors that share a size, one may not be longer alone."""
    told = OPERATORS[name]
    given = [right(each, 0) for each in told]
    for letter, dim in (("n", -1), ("m", -1), ("r", 0)):
        sharing = [k for k, each in enumerate(told) if letter in each.partition(":")[2]]
        ends = [k for k in sharing if told[k].partition(":")[2][dim] == letter]
        for k in ends if len(sharing) > 1 else ():
            longer = torch.cat([given[k], given[k]], dim)
            with pytest.raises((ValueError, RuntimeError)):
                getattr(ops, name)(*given[:k], longer, *given[k + 1 :])


def test_a_plan_needs_room_for_its_entries():
    x, y = torch.rand(1, 5, dtype=D), torch.rand(1, 4, dtype=D)
    level = torch.ones(1, 1, dtype=D)
    for width in (0, 1, 3):
        with pytest.raises(ShapeError, match=f"width must be at least 4, .* but is {width}"):
            ops.partial_plan(x, y, None, None, 2.0, 0.0, 0, level, width, False)
    assert ops.partial_plan(x, y, None, None, 2.0, 0.0, 0, level, 4, False)[0].shape == (1, 4)


def test_a_row_too_few_is_refused():
    with pytest.raises(ShapeError, match=r"y must have shape \(4, 5\), but has shape \(3, 5\)"):
        ops.line_distance(torch.rand(4, 3), torch.rand(3, 5), None, None, 2.0, False, False)
