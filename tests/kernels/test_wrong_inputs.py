"""Operators that are called with wrong inputs: each call answers or is refused in a sentence, and no process dies."""

import contextlib
import random
import subprocess
import sys
import warnings

import pytest
import torch

import monge.kernels  # noqa: F401  registers the operators
from monge.errors import DeviceError, DtypeError, InputError, ShapeError
from sweep import sweep

ops = torch.ops.monge
D = torch.float64
# What a problem of two clouds of 3 and 5 points is made of, by the name of the argument; the leading sizes are rows.
SIZES = {"n": 3, "m": 5, "d": 2, "k": 2, "r": 4, "s": 2, "h": 1}
COST = ("first:nd", "second:md", "=norm", "=2.0", "=2.0")
STORED = ("first:nm", "=None", "=matrix", "=2.0", "=2.0")
LINE = ("x:rn", "y:rm", "a:rn", "b:rm", "=2.0")
BALANCED = ("q:nd", "k:md", "v:mk", "a:n", "b:m", "=5")
DROPPED = ("q:rnd", "k:rmd", "v:rmk", "mask:rnm", "=seed", "=0.5")
SIDE = ("x:hhnd", "pivots:hhrd", "bias:hhr", "unpadded:hhn")
USES = ("use_q:hhr", "use_k:hhr", "totals:hhrk")
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
    "balanced": BALANCED,
    "balanced_gradients": (*BALANCED, "out:nk", "rows:sn", "columns:sm", "=scaled", "d_out:nk"),
    "dropped_softmax": DROPPED,
    "dropped_softmax_gradients": (*DROPPED, "out:rnk", "d_out:rnk"),
    "doubly_stochastic": ("scores:rnn", "=3", "=rows"),
    "doubly_stochastic_gradient": ("scores:rnn", "upstream:rnn", "=3", "=rows"),
}
# Those of CUDA are asked for the shapes of their answers, for which no device is needed.
PIVOTS = {
    "pivot_pack": (*SIDE, "y:hhnk"),
    "pivot_unpack": (*SIDE, "table:hhrk"),
    "pivot_gradient": (*SIDE, "y:hhnk", "table:hhrk", "d_use:hhr"),
    "pivot_mix": USES,
    "pivot_mix_gradient": (*USES, "d_table:hhrk"),
}
# What may be left out.
OPTIONAL = {
    **dict.fromkeys(("line_distance", "partial_plan"), ("a", "b")),
    "circle_distance": ("a", "b", "shift"),
    **dict.fromkeys(("dropped_softmax", "dropped_softmax_gradients"), ("mask",)),
    "pivot_pack": ("unpadded", "y"),
    "pivot_unpack": ("unpadded",),
    "pivot_gradient": ("unpadded", "y", "table"),
}
WORDS = {
    "None": None,
    "True": True,
    "inf": float("inf"),
    "norm": "norm",
    "matrix": "matrix",
    "rows": "rows",
    "seed": torch.tensor(7),
    "scaled": torch.tensor(True),
}
NUMBERS = (-1, 0, 1, 2, 3, 8, 1000, 10**15, 0.0, 0.5, 1.0, float("inf"), float("nan"), True, None, "dot", "matrix")


def right(told, seed=0):
    """An argument as it should be."""
    if told.startswith("="):
        word = told[1:]
        return WORDS[word] if word in WORDS else float(word) if "." in word else int(word)
    shape = [SIZES.get(letter, 1) for letter in told.partition(":")[2]]
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=D)


def rightly(name, seed=0):
    """All arguments of an operator as they should be."""
    if name in OPERATORS:
        return [right(told, seed) for told in OPERATORS[name]]
    return [right(told, seed).float().to("meta") for told in PIVOTS[name]]


def test_no_operator_is_left_out():
    known = [name.removeprefix("monge::") for name in torch._C._dispatch_get_all_op_names() if name[:7] == "monge::"]
    assert sorted(known) == sorted([*OPERATORS, *PIVOTS])


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
        lambda: torch.rand([size if k == dim else n for k, n in enumerate(value.shape)] or [size]).to(value),
        lambda: value.mT if value.ndim > 1 else value.expand(size, *value.shape),
        lambda: torch.full_like(value, rng.choice((float("nan"), float("inf"), -float("inf"), -1.0, 1e300, 0.0))),
        lambda: torch.empty(0).to(value),
        lambda: value.to("meta"),
        lambda: value.to_sparse() if value.ndim and value.device.type == "cpu" else value,
        lambda: None,
    )
    if not value.is_floating_point():
        return rng.choice((ways[0], ways[2], ways[6], ways[7], ways[9]))()
    return rng.choice(ways)()


def calls(seeds):
    """Wrong calls: the name of an operator and its arguments, one or two of which are not as they should be."""
    names = [*OPERATORS, *PIVOTS]
    for seed in seeds:
        rng = random.Random(seed)
        name = names[seed % len(names)]
        arguments = rightly(name, seed)
        faults = rng.choice((0, 1, 1, 1, 1, 2, 2, 2))
        for k in rng.sample(range(len(arguments)), min(faults, len(arguments))):
            arguments[k] = wronged(arguments[k], rng)
        if not faults:
            arguments = rng.choice((arguments[1:], arguments[:-1], [*arguments, 1]))
        yield seed, name, arguments


def refused(name, error):
    """Whether a refusal is a sentence that names the operator: ours, or of torch where a type is not that declared."""
    told = str(error)
    if isinstance(error, InputError):
        return told.startswith(f"torch.ops.monge.{name}: ") and told.endswith(".") and "\n" not in told
    # More steps than there is memory for are no fault of the arguments.
    return type(error) is RuntimeError and (told.startswith(f"monge::{name}() ") or "can't allocate memory" in told)


def attempt(seeds):
    """Make wrong calls, by the dispatcher and past it; tell the number of each before it is made."""
    from monge.kernels.attention.balanced.tiled import balanced
    from monge.kernels.attention.dropped.tiled import _dropped
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
        "balanced": balanced,
        "dropped_softmax": _dropped,
    }
    torch.set_num_threads(2)
    warnings.simplefilter("error")
    for seed, name, arguments in calls(seeds):
        print(seed, flush=True)
        try:
            getattr(ops, name)(*arguments)
        except Exception as error:
            if not refused(name, error):
                raise
        # Past the dispatcher only the loops look, and they refuse whatever they could not read.
        run = direct.get(name) or getattr(stream, f"{name}_native", None)
        if run is not None:
            with contextlib.suppress(Exception):
                run.run(*arguments)


@sweep(default=460, slow=20_000)
def test_wrong_inputs_are_refused_in_a_sentence(seeds):
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


@pytest.mark.parametrize("name", [*OPERATORS, *PIVOTS])
def test_right_inputs_are_answered(name):
    found = getattr(ops, name)(*rightly(name))
    assert all(isinstance(out, torch.Tensor) for out in ([found] if isinstance(found, torch.Tensor) else found))


def tensors_of(name):
    """All arguments of an operator, and the number, the name and the value of each that is a tensor."""
    given = rightly(name)
    names = (told.strip("=").partition(":")[0] for told in OPERATORS.get(name) or PIVOTS[name])
    return given, [(k, each, given[k]) for k, each in enumerate(names) if isinstance(given[k], torch.Tensor)]


@pytest.mark.parametrize("name", [*OPERATORS, *PIVOTS])
def test_every_tensor_has_its_rank_its_dtype_and_its_device(name):
    given, tensors = tensors_of(name)

    def refuses(error, k, wrong, told):
        with pytest.raises(error, match=rf"^torch\.ops\.monge\.{name}: {told}"):
            getattr(ops, name)(*given[:k], wrong, *given[k + 1 :])

    for k, argument, value in tensors:
        if value.ndim:
            refuses(ShapeError, k, value.new_empty(()), rf"{argument} must have shape \(.*\), but has shape \(\)")
            refuses(ShapeError, k, value[..., :0], rf"{argument} must have shape \(.*\), but has shape \(.*0,?\)")
            if value.is_meta:
                with pytest.raises(DeviceError, match=rf"{name}: Tensors must be dense and live on cuda, but one is"):
                    getattr(ops, name)(*(torch.rand(each.shape) for each in given))
            else:
                refuses(DeviceError, k, value.to_sparse(), "Tensors must be dense and live on cpu")
        if argument != "second" and argument not in OPTIONAL.get(name, ()):
            refuses(InputError, k, None, f"{argument} must be a tensor, but is None")
        for dtype in (torch.complex64, torch.int32, torch.float8_e5m2):
            refuses(DtypeError, k, value.to(dtype), rf"{argument} must be of dtype \w+( or \w+)*, but is \w+: convert")
        if len(tensors) > 1:
            refuses(DeviceError, k, torch.empty_like(value, device="cpu" if value.is_meta else "meta"), r"\w+ lives on")
