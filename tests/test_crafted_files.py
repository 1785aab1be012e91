"""Crafted files, a hundred and more for each reader: refused in a sentence, or read as they are, within the budget."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import pickle
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import crafted
from data.test_long_range_arena import write_list_operations, write_papers, write_pathfinder, write_pickled
from monge._reading import Budget
from monge.data import list_operations, long_range_arena, read_points
from monge.train import Checkpoint, read_records
from mutants import outcome

LIMIT = 2**23
# What reading takes besides what it asks for: headers, messages, and the objects of Python that a pickle makes.
ROOM = 2**22
POINTS = np.arange(8.0).reshape(4, 2)
WATCHED = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.remove",
    "subprocess.Popen",
    "pickle.find_class",
    "socket.",
)
seen: list[str] = []
chosen = {"every": 1}


@pytest.fixture(scope="module", autouse=True)
def watch() -> None:
    """What a file must not bring about is written down; such a watch cannot be taken away again."""
    sys.addaudithook(lambda event, _: seen.append(event) if event.startswith(WATCHED) else None)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A budget that the files of a test exceed, in an empty folder."""
    monkeypatch.setattr(Budget.__init__, "__defaults__", (LIMIT,))
    monkeypatch.setattr("monge.train.checkpoint.MAX_BYTES", LIMIT)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=[8, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"], autouse=True)
def every(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the files one in so many is read."""
    monkeypatch.setitem(chosen, "every", request.param)


def read(
    files: Iterable[tuple[str, bytes]], path: Path, reader: Callable[[], Any], right: Callable[[Any, bytes], bool]
) -> dict[str, int]:
    """Read each of the files in the place of ``path``; how many were refused, and how many read as they are."""
    reader()
    counts, files = {"refused": 0, "read": 0}, list(files)
    assert len(files) >= 100
    for name, content in files[:: chosen["every"]]:
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        seen.clear()
        tracemalloc.start()
        try:
            found = outcome(reader, name)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < LIMIT + ROOM + 2 * len(content), (name, peak)
        assert not seen, (name, seen)
        assert found is None or right(found, content), name
        counts["refused" if found is None else "read"] += 1
    assert counts["refused"] >= (100 if chosen["every"] == 1 else 1), counts
    assert not Path("harm").exists()
    return counts


def test_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(crafted.npy())
    read(crafted.arrays(), path, lambda: read_points(path), as_numpy)


def as_numpy(found: torch.Tensor, content: bytes) -> bool:
    held = np.load(io.BytesIO(content), allow_pickle=False)
    return np.array_equal(found.numpy(), (held[:, None] if held.ndim == 1 else held).astype(float))


def test_archives_of_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    whole = crafted.packed({"x.npy": crafted.npy(body=POINTS.tobytes())})
    path.write_bytes(whole)
    files = itertools.chain(crafted.archives(whole, "x.npy"), crafted.in_archives(crafted.arrays(), whole, "x.npy"))
    read(files, path, lambda: read_points(path), as_archive)


def as_archive(found: torch.Tensor, content: bytes) -> bool:
    with zipfile.ZipFile(io.BytesIO(content)) as held:
        names = held.namelist()
        return as_numpy(found, held.read("x.npy" if "x.npy" in names else names[0]))


def test_tensors(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    whole = crafted.saved(torch.eye(3))
    path.write_bytes(whole)
    of_pickles = itertools.chain(crafted.pickles(), crafted.tensors())
    files = itertools.chain(
        crafted.archives(whole, "archive/data/0"),
        crafted.archives(whole, "archive/data.pkl"),
        crafted.in_archives(of_pickles, whole, "archive/data.pkl"),
    )
    read(files, path, lambda: read_points(path), lambda found, content: found.numel() <= 9)


def test_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1,2\n3,4\n")
    read(crafted.tables(), path, lambda: read_points(path), as_csv)


def as_csv(found: torch.Tensor, content: bytes) -> bool:
    text = content.decode("utf-8-sig")
    separator = next((mark for mark in ",;\t" if mark in text), ",")
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=separator) if row]
    return found.tolist()[-1] == [float(cell) for cell in rows[-1]] and len(rows) - len(found) in (0, 1)


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    path.write_bytes(crafted.parquet())
    assert read_points(path)[:, 0].tolist() == [0, 1, 2, 3]
    pool = pyarrow.default_memory_pool()
    before = pool.max_memory()

    def as_arrow(found: torch.Tensor, content: bytes) -> bool:
        assert max(before, LIMIT) >= pool.max_memory()
        return np.array_equal(
            found[:, 0].numpy(), parquet.read_table(io.BytesIO(content))["x"].to_numpy().astype(float)
        )

    def reader() -> torch.Tensor:
        try:
            return read_points(path)
        finally:
            assert pool.max_memory() <= max(before, LIMIT), pool.max_memory()

    read(crafted.parquets(), path, reader, as_arrow)


def test_journals(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "part": "train"}\n')
    read(
        crafted.journals(),
        path,
        lambda: read_records(path),
        lambda found, content: found == [json.loads(line) for line in content.splitlines()],
    )


def test_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    weights = {"w": torch.eye(3)}
    held = Checkpoint(identity={"seed": 0}, step=3, model=weights)
    held.save(path)
    whole = path.read_bytes()
    root = "archive" if b"archive/data.pkl" in whole else path.stem

    def same(found: Checkpoint, content: bytes) -> bool:
        return found.step == 3 and found.identity == {"seed": 0} and torch.equal(found.model["w"], weights["w"])

    things: tuple[Any, ...] = (None, 1, "x", b"x", [], {}, (), 1.5, torch.eye(2), [[1]], -1)
    kinds = {"format": str, "identity": dict, "step": int, "model": dict, "window": tuple}
    changed = (
        (f"{name} {k}", crafted.saved({"format": "monge-train-2", **vars(held), name: thing}))
        for (name, kind), (k, thing) in itertools.product(kinds.items(), enumerate(things))
        if not isinstance(thing, kind) or thing == "x"
    )
    files = itertools.chain(
        crafted.archives(whole, f"{root}/data/0"),
        crafted.in_archives(itertools.chain(crafted.pickles(), crafted.tensors()), whole, f"{root}/data.pkl"),
        changed,
    )
    read(files, path, lambda: Checkpoint.load(path), same)


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_plans(epsilon: float, tmp_path: Path) -> None:
    pytest.importorskip("typer")
    import monge
    from monge.cli.plan_file import read_plan, write_plan

    x, y = torch.rand(3, 2, dtype=torch.float64), torch.rand(4, 2, dtype=torch.float64)
    solution = monge.solve(monge.problem.Linear.between(x, y, epsilon=epsilon))
    path = tmp_path / "plan.npz"
    form = write_plan(path, solution, generator=torch.Generator().manual_seed(0))
    whole, held = path.read_bytes(), solution.coupling.dense()
    names = ("i", "w", "shape", "form", "cost") if form == "sparse" else ("x", "f", "a", "epsilon", "shape", "cost")
    files = itertools.chain(
        crafted.archives(whole, f"{names[1]}.npy"),
        *(crafted.in_archives(crafted.arrays(), whole, f"{name}.npy") for name in names),
    )
    read(files, path, lambda: read_plan(path), lambda found, content: torch.allclose(found.dense(), held, rtol=1e-12))


def test_stored_tasks(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"

    def reader() -> Any:
        return list_operations(lengths=(3, 20), depth=3, counts=(4, 2, 2), folder=folder)

    held = reader()
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    files = itertools.chain(
        crafted.archives(whole, "test_labels.npy"),
        crafted.in_archives(crafted.arrays(), whole, "test_labels.npy"),
        crafted.in_archives(crafted.arrays(), whole, "train_tokens.npy"),
    )
    read(files, path, reader, lambda found, content: torch.equal(found.train.tokens, held.train.tokens))


# ---------------------------------------------------------------------- the Long Range Arena


def batches() -> crafted.Files:
    """Batches of CIFAR-10 whose parts are something else."""
    array = np.zeros((10, 3072), dtype=np.uint8)
    things: tuple[Any, ...] = (
        None, 1, 1.5, "x", b"x", [], {}, (), [1.5] * 10, [True] * 10, [[1]] * 10, [11] * 10, [-1] * 10, [None] * 10,
        [1] * 9, ["1"] * 10,
        [10**4000] * 10, array, array.astype(float), array[:9], array.reshape(-1), array.astype(">u2"),
        array[:, :3071], array > 0,
        array.astype(object), array.astype("S1"), [array] * 10, np.zeros(10), array.astype("i1"),
        np.zeros((10, 3072, 0), np.uint8),
    )  # fmt: skip
    for name, thing in itertools.product((b"data", b"labels", "data", b"other"), things):
        held = {b"data": array, b"labels": [1] * 10} | {name: thing}
        if name == "data":
            del held[b"data"]
        if name != b"other" and not (name == b"data" and thing is array):
            for protocol in (0, 2, 4):
                yield f"{name!r} {type(thing)!s} {protocol}", pickle.dumps(held, protocol=protocol)
    start = b"\x80\x02}(" + b"U\x06labels]" + b"K\x01a" * 1 + b"U\x04data"
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R"
    kind = b"cnumpy\ndtype\n%sK\0K\x01\x87R"
    shape = b"K\x01M\x00\x0c\x86"
    bodies = {"kind": kind % b"U\x02u1", "shape": shape, "order": b"\x89", "raw": b"T\0\x0c\0\0" + bytes(3072)}
    for place in bodies:
        for thing in (
            b"N",
            b"]",
            b"}",
            b"K\x01",
            crafted.laughs(60),
            b"X\x01\0\0\0x",
            b"cnumpy\ndtype\n",
            b"cnumpy\nndarray\n",
            b"K\xff\x85",
        ):
            state = {**bodies, place: thing}
            yield (
                f"{place} {thing[:5]!r}",
                start + made + b"(K\x01" + state["shape"] + state["kind"] + state["order"] + state["raw"] + b"tbu.",
            )
    for word in (crafted.laughs(60), b"N", b"]", b"K\x01", b"X\x02\0\0\0f8", b"U\x03\xff\xff\xff"):
        yield f"name {word[:5]!r}", start + made + b"(K\x01" + shape + kind % word + b"\x89" + bodies["raw"] + b"tbu."


def test_pickled_batches(tmp_path: Path) -> None:
    path = write_pickled(tmp_path) / "cifar-10-batches-py" / "data_batch_1"
    files = itertools.chain(crafted.pickles(), batches())
    read(files, path, lambda: long_range_arena("image", tmp_path), lambda found, content: len(found.train) == 45)


def test_pictures(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    home = write_pathfinder(tmp_path) / "pathfinder32" / "curv_contour_length_14"
    path = home / "imgs" / "0" / "sample_3.png"
    for metadata in (home / "metadata").iterdir():
        metadata.write_text("imgs/0 sample_3.png 3 1 1.0 14 2 1\n" * 3)

    def as_pillow(found: Any, content: bytes) -> bool:
        with image.open(io.BytesIO(content)) as held:
            return np.array_equal(found.test.tokens[0].numpy(), np.asarray(held.convert("L")).reshape(-1))

    read(crafted.pictures(), path, lambda: long_range_arena("pathfinder", tmp_path), as_pillow)


def test_lists_of_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "release"
    home = write_pathfinder(folder) / "pathfinder32" / "curv_contour_length_14"
    (tmp_path / "outside.png").write_bytes((home / "imgs" / "0" / "sample_0.png").read_bytes())
    (home / "imgs" / "0" / "link.png").symlink_to(tmp_path / "outside.png")
    (home / "imgs" / "0" / "loop.png").symlink_to(home / "imgs" / "0" / "loop.png")
    (home / "imgs" / "0" / "folder.png").mkdir()
    os.mkfifo(home / "imgs" / "0" / "pipe.png")
    places = (
        "..", "/", "/etc passwd", "../../.. outside.png", f"{tmp_path} outside.png", "imgs/0 link.png",
        "imgs/0 loop.png", "imgs/0 pipe.png",
        "imgs/0 folder.png", "imgs/0 nothing.png", "imgs/0 sample_0.png\0", "~ .bashrc", "imgs/0 ..", ". .",
        "/dev zero", "/proc/self environ",
        "http://x y", "imgs/0 " + "x" * 300, "imgs/0 " + "x" * 5000, "imgs/" * 3000 + " x", "$HOME x", "|touch harm",
        "imgs/0/../../../.. outside.png",
    )  # fmt: skip
    labels = ("2", "-1", "x", "", "1.0", "0x1", "\u0661", "True")
    lines = [f"{place} 0 1" for place in places] + [
        f"imgs/0 sample_0.png {n} {label}" for n, label in itertools.product((0, "x"), labels)
    ]
    lines += ["", " ", "x", "imgs/0", "imgs/0 sample_0.png", "\0", "imgs/0,sample_0.png,0,1", "x" * 10**5]
    right = "imgs/0 sample_0.png 0 1"
    files = [
        (f"{line[:30]!r} {place}", "\n".join([right] * place + [line] + [right] * 3).encode())
        for line, place in itertools.product(lines, (0, 1, 2))
    ]
    files += [
        (f"{content[:9]!r}", content)
        for content in (b"\xff\xfe" + b"x\0" * 9, b"\x93NUMPY" + bytes(99), right.encode("utf-16"), b"")
    ]
    (home / "metadata" / "1.npy").unlink()
    path = home / "metadata" / "0.npy"
    read(iter(files), path, lambda: long_range_arena("pathfinder", folder), lambda found, content: True)


@pytest.mark.parametrize("kind", ["listops", "retrieval"])
def test_tables_of_the_arena(kind: str, tmp_path: Path) -> None:
    path = (write_papers if kind == "retrieval" else write_list_operations)(tmp_path)
    path = path / ("new_aan_pairs.train.tsv" if kind == "retrieval" else "basic_train.tsv")
    lines = path.read_text().splitlines()
    files = []
    for cell, line, column in itertools.product(crafted.CELLS, range(len(lines)), range(2 if kind == "listops" else 3)):
        cells = lines[line].split("\t")
        cells[column if kind == "listops" else (0, 3, 4)[column]] = cell
        files.append(
            (f"{cell[:9]!r} {line} {column}", "\n".join([*lines[:line], "\t".join(cells), *lines[line + 1 :]]).encode())
        )
        files.append(
            (f"more {cell[:9]!r} {line} {column}", "\n".join([*lines[:line], f"{cell}\t{lines[line]}"]).encode())
        )
    read(
        iter(files),
        path,
        lambda: long_range_arena(kind, tmp_path),
        lambda found, content: len(found.train) == len(content.split(b"\n")) - (kind == "listops"),
    )
