"""Pivot attention over two processes that hold a shard of the tokens each, against one process that holds all."""

from __future__ import annotations

import copy
import os
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from monge.nn.couplers import CausalPivots, EntropicPivots, Pivots

HEADS, WIDTH, VALUES, MOST = 2, 4, 3, 9
# Tokens of two sequences on two processes: unequal shards, and padding that empties the second shard of a sequence.
SHARDS = {"queries": (7, 4), "keys": (5, 8)}
CASES = {
    "exact": (Pivots, {}),
    "two rounds": (Pivots, {"iterations": 2}),
    "at the fixed point": (Pivots, {"iterations": 60, "gradient": "implicit"}),
    "learned epsilon": (Pivots, {"iterations": 1, "learn_epsilon": True}),
    "entropic": (EntropicPivots, {}),
    "pack and unpack": (EntropicPivots, {"n_half": 1}),
    "entropic at the fixed point": (EntropicPivots, {"n_half": 101, "gradient": "implicit"}),
}


def inputs():
    generator = torch.Generator().manual_seed(3)

    def draw(n, width):
        return torch.randn(2, HEADS, n, width, dtype=torch.float64, generator=generator)

    n, m = sum(SHARDS["queries"]), sum(SHARDS["keys"])
    q, k, v, cotangent = draw(n, WIDTH), draw(m, WIDTH), draw(m, VALUES), draw(n, VALUES)
    absent_q, absent_k = torch.zeros(2, n, dtype=torch.bool), torch.zeros(2, m, dtype=torch.bool)
    absent_q[0, 2] = absent_k[0, 3] = absent_k[1, 4:] = True
    return {"queries": (q, cotangent, absent_q), "keys": (k, v, absent_k)}


def coupler(case, group=None):
    kind, options = CASES[case]
    torch.manual_seed(0)
    made = kind(HEADS, WIDTH, 5, group=group, **options).double()
    with torch.no_grad():
        made.mass_logits.normal_()
    return made


def attend(made, everything, masked):
    """The output, the gradients of tokens and of parameters, and the plan."""
    (q, cotangent, absent_q), (k, v, absent_k) = everything["queries"], everything["keys"]
    q, k, v = (t.detach().clone().requires_grad_() for t in (q, k, v))
    masks = (absent_q, absent_k) if masked else (None, None)
    out = made.attend(q, k, v, *masks)
    out.backward(cotangent)
    slopes = {name: p.grad for name, p in made.named_parameters() if p.grad is not None}
    return out.detach(), (q.grad, k.grad, v.grad), slopes, made(q, k, *masks).dense().detach()


def shard(everything, rank):
    parts = {}
    for side, tensors in everything.items():
        first = sum(SHARDS[side][:rank])
        own = slice(first, first + SHARDS[side][rank])
        parts[side] = tuple(t[:, own] if t.dtype == torch.bool else t[:, :, own] for t in tensors)
    return parts


def work(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    answers = {
        (case, masked): attend(coupler(case, dist.group.WORLD), shard(inputs(), rank), masked)
        for case in CASES
        for masked in (False, True)
    }
    torch.save((answers, count_bytes(rank)), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def count_bytes(rank):
    """Bytes that one process hands to collectives, forward and in all."""
    sent, reduce = [0], dist.all_reduce

    def counting(tensor, *arguments, **named):
        sent[0] += tensor.numel() * tensor.element_size()
        return reduce(tensor, *arguments, **named)

    counts = []
    for n in (20, 2000):
        q, k, v = (torch.randn(1, HEADS, n + rank, WIDTH, requires_grad=True) for _ in range(3))
        sent[0], dist.all_reduce = 0, counting
        out = Pivots(HEADS, WIDTH, 5, group=dist.group.WORLD).attend(q, k, v)
        forward = sent[0]
        out.sum().backward()
        dist.all_reduce = reduce
        counts.append((forward, sent[0] - forward))
    return counts


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("shards"))
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    mp.spawn(work, (folder,), nprocs=2)
    return [torch.load(f"{folder}/{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("case", list(CASES))
def test_two_shards_are_one_sequence(shards, case, masked):
    out, tokens, slopes, plan = attend(coupler(case), inputs(), masked)
    parts = [shards[rank][0][case, masked] for rank in range(2)]
    torch.testing.assert_close(torch.cat([part[0] for part in parts], -2), out, rtol=1e-9, atol=1e-11)
    for side, whole in enumerate(tokens):
        torch.testing.assert_close(torch.cat([part[1][side] for part in parts], -2), whole, rtol=1e-7, atol=1e-9)
    assert slopes
    for name, whole in slopes.items():
        torch.testing.assert_close(sum(part[2][name] for part in parts), whole, rtol=1e-6, atol=1e-8)
    (n, _), (m, _) = SHARDS["queries"], SHARDS["keys"]
    torch.testing.assert_close(parts[0][3], plan[..., :n, :m], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(parts[1][3], plan[..., n:, m:], rtol=1e-9, atol=1e-12)


def test_what_travels_does_not_grow_with_the_sequence(shards):
    r, c = 5, WIDTH
    for rank in range(2):
        assert shards[rank][1] == [(4 * HEADS * r * (c + 2), 4 * HEADS * r * c)] * 2


def test_copies_share_the_group(shards):
    # A process group cannot be copied, but modules are, by every stack of layers.
    class Group:
        def __deepcopy__(self, memo):
            raise TypeError("cannot copy")

    group = Group()
    assert copy.deepcopy(Pivots(2, 4, 5, group=group)).group is group


def test_causal_pivots_cannot_be_sharded():
    with pytest.raises(TypeError, match="group"):
        CausalPivots(2, 4, 5, group=object())
