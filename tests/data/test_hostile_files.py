"""Files that are broken or forged: read as they are, or refused in one sentence, within the budget, never executed."""

from __future__ import annotations

import io
import os
import pickle
import re
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.test_long_range_arena import BATCHES, write_binary, write_papers, write_pathfinder, write_pickled
from data.test_readers import Bomb, forged, write
from monge._reading import Budget
from monge.data import _parsers, long_range_arena, read_points
from monge.errors import InputError
from mutants import flipped, mutant, outcome
from sweep import sweep

POINTS = np.random.default_rng(0).normal(size=(5, 3))


def refused(read: Callable[[], Any]) -> str:
    """The one sentence that a reader says, having taken next to nothing to say it."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as told:
            read()
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
    sentence = str(told.value)
    assert "\n" not in sentence
    assert len(sentence) < 600
    return sentence


@sweep(40, 1000)
@pytest.mark.parametrize("ending", [".npy", ".npz", ".csv", ".parquet", ".pt"])
def test_mutated_points(ending: str, seeds: range, tmp_path: Path) -> None:
    path = write(tmp_path / f"cloud{ending}", POINTS)
    content, held = path.read_bytes(), read_points(path)
    for seed in seeds:
        path.write_bytes(mutant(content, seed))
        found = outcome(lambda: read_points(path), seed)
        # Archives have checksums; of the others nobody can tell another file from a changed one.
        if ending in (".npz", ".pt") and found is not None:
            assert torch.equal(found, held), seed


@pytest.mark.parametrize("ending", [".npz", ".pt"])
def test_flipped_bits_of_archives(ending: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"cloud{ending}", POINTS)
    content, held = path.read_bytes(), read_points(path)
    bits = np.random.default_rng(0).choice(8 * len(content), 400, replace=False).tolist()
    kept = 0
    for bit in bits:
        path.write_bytes(flipped(content, bit))
        found = outcome(lambda: read_points(path), bit)
        kept += found is not None
        assert found is None or torch.equal(found, held), bit
    assert kept < len(bits)


RELEASE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "image": (write_binary, "cifar-10-batches-bin/data_batch_1.bin"),
    "pickled": (write_pickled, "cifar-10-batches-py/data_batch_1"),
    "retrieval": (write_papers, "new_aan_pairs.train.tsv"),
    "metadata": (write_pathfinder, "pathfinder32/curv_contour_length_14/metadata/0.npy"),
    "picture": (write_pathfinder, "pathfinder32/curv_contour_length_14/imgs/0/sample_3.png"),
}


@sweep(25, 1000)
@pytest.mark.parametrize("kind", RELEASE)
def test_mutated_releases(kind: str, seeds: range, tmp_path: Path) -> None:
    make, name = RELEASE[kind]
    path = make(tmp_path) / name
    task = {"pickled": "image", "metadata": "pathfinder", "picture": "pathfinder"}.get(kind, kind)
    content, held = path.read_bytes(), long_range_arena(task, tmp_path)
    for seed in seeds:
        path.write_bytes(mutant(content, seed))
        found = outcome(lambda: long_range_arena(task, tmp_path), seed)
        if kind == "picture" and found is not None:
            assert torch.equal(found.train.tokens, held.train.tokens), seed


# ---------------------------------------------------------------------- forged by hand


def archive(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(f"{name}.npy", content)
    return stream.getvalue()


def npy(shape: str, descr: str = "<f8", body: int = 64) -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(body)


def saved(held: Any, change: Callable[[bytes], bytes] = bytes) -> bytes:
    """A file of torch.save whose pickle is changed and has the right checksum."""
    stream, made = io.BytesIO(), io.BytesIO()
    torch.save(held, stream)
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(made, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            new.writestr(info.filename, change(content) if info.filename.endswith("data.pkl") else content)
    return made.getvalue()


def expanded(count: int) -> bytes:
    stream = io.BytesIO()
    torch.save(torch.ones(1).expand(count, 3), stream)
    return stream.getvalue()


def shared_pickle(text: bytes) -> Callable[[bytes], bytes]:
    return lambda _: text


FORGED: list[tuple[str, Callable[[], bytes], str]] = [
    ("a.npy", lambda: npy("(2, 3)"), "its header promises 48 bytes but 64 follow"),
    ("a.npy", lambda: npy("(-8, -1)"), "negative number of entries"),
    ("a.npy", lambda: npy("(-8,)"), "negative number of entries"),
    ("a.npy", lambda: npy("(99999999999999999999999999, 3)"), r"promises more than 2\*\*64 bytes"),
    ("a.npy", lambda: npy("(8,)", "|O"), "it holds Python objects, which are never unpickled"),
    ("a.npy", lambda: npy("(4,)", "<f16"), "not real numbers"),
    ("a.npy", lambda: npy("(4,)", "<c16"), "not real numbers"),
    ("a.npy", lambda: npy("(4,)", "<U4"), "not real numbers"),
    ("a.npy", lambda: npy("(4,)", "|V16"), "not real numbers"),
    ("a.npy", lambda: npy("(0,)", "<U0", body=0), "not real numbers"),
    ("a.npy", lambda: npy("(4,)", "nonsense"), "not a readable .npy file"),
    ("a.npy", lambda: npy("(" * 5000 + ")" * 5000), "not a readable .npy file"),
    ("a.npy", lambda: npy("(8.0,)"), "not a readable .npy file"),
    ("a.npy", lambda: b"\x93NUMPY\x03\x00" + bytes(80), "it is in version"),
    ("a.npy", lambda: b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "not a readable .npy file"),
    ("a.npz", lambda: archive(), "it holds nothing"),
    ("a.npz", lambda: archive(x=npy("(2, 3)")), "48 bytes but 64 follow"),
    ("a.npz", lambda: archive(x=b"no array"), "not a readable .npz file"),
    ("a.pt", lambda: archive(x=b"no pickle"), "it is no file of torch.save"),
    ("a.pt", lambda: saved(torch.eye(3), shared_pickle(b"\x80\x02N.")), "it holds NoneType, not a tensor"),
    ("a.pt", lambda: saved(torch.eye(3), lambda held: held[:-1]), "it is damaged"),
    ("a.pt", lambda: saved(torch.eye(3), lambda held: held + b"N."), "something follows where its pickle ends"),
    ("a.pt", lambda: saved(torch.eye(3), shared_pickle(b"\x80\x02cos\nsystem\nX\x02\0\0\0ls\x85R.")), "os.system"),
    ("a.pt", lambda: saved(torch.eye(3), shared_pickle(b"\x80\x02Nr\xff\xff\xff\x7f.")), "it holds NoneType"),
    ("a.pt", lambda: saved(torch.eye(3), shared_pickle(b"\x80\x02" + b"]" * 9)), "it is damaged"),
    ("a.pt", lambda: saved(torch.eye(3), lambda held: held.replace(b"K\tt", b"K\xfft")), "promises 255 numbers"),
    ("a.pt", lambda: saved(torch.eye(3), lambda held: held.replace(b"K\x03K\x03\x86", b"K\x09K\x09\x86")), "behind"),
    ("a.pt", lambda: saved(torch.eye(3), lambda held: held.replace(b"FloatStorage", b"FloatStorags")), "it asks for"),
    ("a.pt", lambda: saved(torch.eye(3).to_sparse()), "save plain real numbers"),
    ("a.pt", lambda: saved(torch.ones(2, dtype=torch.complex64)), "save plain real numbers"),
    ("a.pt", lambda: expanded(10**12), "reading it takes"),
    ("a.csv", lambda: b"1,,3\n4,5,6\n", "row 1, column 2 is empty"),
    ("a.csv", lambda: b"x,1\n4,5\n", "row 1, column 1 holds 'x', which is no number"),
    ("a.csv", lambda: b"1,2\n# 3,4\n5,6\n", "row 2, column 1 holds '# 3', which is no number"),
    ("a.csv", lambda: b"1,2\n\n5,6\n", "row 2 is empty"),
    ("a.csv", lambda: b"1,2\n3,4,5\n", "row 2 has 3 columns, but the first row has 2 columns"),
    ("a.csv", lambda: b"1,2\n3,\n", "row 2, column 2 is empty"),
    ("a.csv", lambda: b"1,2\n3,1_000\n", "row 2, column 2 holds '1_000'"),
    ("a.csv", lambda: "1,2\n3,\u0664\n".encode(), "row 2, column 2 holds"),
    ("a.csv", lambda: b'1,2\n3,"4\n', "row 2 cannot be taken apart"),
    ("a.csv", lambda: b"1,2\n3,\x004\n", "row 2, column 2 holds"),
    ("a.csv", lambda: b"1,2\n3,-inf\n", "row 2, column 2 must hold neither NaN nor inf, but holds -inf"),
    ("a.csv", lambda: b"1,2\n3,1e999\n", "row 2, column 2 must hold neither NaN nor inf, but holds 1e999"),
    ("a.csv", lambda: b"1,2\n3,\xe9\n", "line 2 is no text in UTF-8, at byte 3 of the line"),
    ("a.csv", lambda: b"1,2\n3," + b"x" * 1000 + b"\n", "row 2, column 2 holds 'xxx"),
    ("a.csv", lambda: b"1,2\n" + b"1" * 200_000 + b",2\n", "row 2 cannot be taken apart"),
    ("a.csv", lambda: b",,\n1,2,3\n", "row 1, column 1 is empty"),
    ("a.parquet", lambda: b"PAR1" + bytes(20) + b"PAR1", "not a readable .parquet file"),
    ("a.parquet", lambda: b"", "not a readable .parquet file"),
]


@pytest.mark.parametrize(("name", "content", "told"), FORGED, ids=range(len(FORGED)))
def test_forged_points(name: str, content: Callable[[], bytes], told: str, tmp_path: Path) -> None:
    if name == "a.parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    path.write_bytes(content())
    if name == "a.pt":
        read_points_once(tmp_path)
    sentence = refused(lambda: read_points(path))
    assert re.search(told, sentence), sentence
    assert sentence.startswith(str(path))


def read_points_once(tmp_path: Path) -> None:
    """What is imported at the first reading is no part of what reading takes."""
    write(tmp_path / "whole.pt", POINTS)
    read_points(tmp_path / "whole.pt")


def test_rows_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for text in (",x,y\n0,1,2\n", "# x,y,z\n0,1,2\n", '"x";"y";"z"\n"0";1; 2\n\n\n', "0,1,2"):
        path.write_text(text)
        assert read_points(path).tolist() == [[0, 1, 2]]


def test_trailing_bytes_of_an_array_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npy", POINTS)
    path.write_bytes(path.read_bytes() + b"?")
    assert "120 bytes but 121 follow" in refused(lambda: read_points(path))


def test_what_a_file_unpacks_to_is_asked_for_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("x.npy", bytes(2**20))
    content = path.read_bytes()
    # The true sizes stand in the directory at the end of the file.
    at = content.rindex(b"PK\1\2")
    path.write_bytes(content[: at + 24] + struct.pack("<I", 2**32 - 2) + content[at + 28 :])
    assert "promises more bytes than it can hold" in refused(lambda: read_points(path))
    path.write_bytes(content[: at + 20] + struct.pack("<II", 2**28, 2**32 - 2) + content[at + 28 :])
    assert "cannot be used" in refused(lambda: read_points(path))


def test_columns_that_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    monkeypatch.setattr(_parsers, "Budget", partial(Budget, 2**23))
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"x": np.zeros(10**6), "y": np.zeros(10**6)}), path)
    assert path.stat().st_size < 2**14
    assert "reading it takes" in refused(lambda: read_points(path))
    parquet.write_table(pyarrow.table({"x": ["long" * 2**8] * 10**5}), path)
    assert "column 'x' holds string, not numbers" in refused(lambda: read_points(path))


def test_members_are_packed_as_usual(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as made:
        made.writestr("x.npy", forged("(8, 1)"))
    assert "packed in another way than deflate" in refused(lambda: read_points(path))
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as made:
        warnings.simplefilter("ignore")
        made.writestr("x.npy", forged("(8, 1)"))
        made.writestr("x.npy", forged("(4, 2)"))
    assert "two of its members have one name" in refused(lambda: read_points(path))


# ---------------------------------------------------------------------- the Long Range Arena


def batch(held: dict[bytes, Any] | bytes) -> bytes:
    return held if isinstance(held, bytes) else pickle.dumps(held, protocol=2)


ARRAY = np.arange(10 * 3072, dtype=np.uint8).reshape(10, 3072)


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (b"\x80\x02Nr\xff\xff\xff\x7f.", "no entries"),
        (b"\x80\x02j\xff\xff\xff\x7f.", "it is damaged"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "it is damaged"),
        (b"\x80\x02}(U\x04dataK\x01U\x06labels(" + b"]" * 50 + b"tu.", "no list of whole numbers"),
        (b"\x80\x02cnumpy\ndtype\n}U\x05givenK\x01sb.", "it changes something that is no array"),
        ({b"labels": [1.5] * 10, b"data": ARRAY}, "no list of whole numbers"),
        ({b"labels": [True] * 10, b"data": ARRAY}, "no list of whole numbers"),
        ({b"labels": [[1]] * 10, b"data": ARRAY}, "no list of whole numbers"),
        ({b"labels": [11] * 10, b"data": ARRAY}, "no list of whole numbers"),
        ({b"labels": 7, b"data": ARRAY}, "no list of whole numbers"),
        ({b"labels": [1] * 10, b"data": ARRAY.astype(float)}, "10 labels stand beside 'f8'"),
        ({b"labels": [1] * 10, b"data": [1, 2]}, "its data are no array"),
        ({b"labels": [1] * 10, b"data": Bomb(Path("harm"))}, "it asks for"),
        (b"\x80\x02}q\x00.garbage", "something follows"),
        (b"(dp0\nS'labels'\np1\n.", "it takes|damaged|no entries|ends|takes"),
    ],
)
def test_forged_batches(held: Any, told: str, tmp_path: Path) -> None:
    path = write_pickled(tmp_path) / "cifar-10-batches-py" / "data_batch_1"
    path.write_bytes(batch(held))
    sentence = refused(lambda: long_range_arena("image", tmp_path))
    assert re.search(told, sentence), sentence
    assert not Path("harm").exists()
    # What was refused leaves nothing behind.
    write_again = pickle.dumps({b"labels": [1] * 10, b"data": ARRAY}, protocol=2)
    path.write_bytes(write_again)
    assert len(long_range_arena("image", tmp_path).train) == 45


def test_columns_first(tmp_path: Path) -> None:
    home = write_pickled(tmp_path) / "cifar-10-batches-py"
    right = long_range_arena("image", tmp_path)
    for name in BATCHES:
        held = pickle.loads((home / name).read_bytes())
        held[b"data"] = np.asfortranarray(held[b"data"])
        (home / name).write_bytes(pickle.dumps(held, protocol=2))
    assert torch.equal(long_range_arena("image", tmp_path).train.tokens, right.train.tokens)


@pytest.mark.parametrize(
    "place", ["../../.. outside.png", "/ outside.png", "imgs/0 link.png", "imgs/0 ../../../../outside.png"]
)
def test_pictures_outside_of_the_folder(place: str, tmp_path: Path) -> None:
    folder = tmp_path / "release"
    home = write_pathfinder(folder) / "pathfinder32" / "curv_contour_length_14"
    os.link(home / "imgs" / "0" / "sample_0.png", tmp_path / "outside.png")
    (home / "imgs" / "0" / "link.png").symlink_to(tmp_path / "outside.png")
    place = place.replace("/ ", f"{tmp_path} ")
    (home / "metadata" / "0.npy").write_text(f"{place} 0 1\n" * 3)
    assert "lies outside of" in refused(lambda: long_range_arena("pathfinder", folder))


def test_pictures_that_are_no_pictures(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    home = write_pathfinder(tmp_path) / "pathfinder32" / "curv_contour_length_14"
    path = home / "imgs" / "0" / "sample_0.png"
    grey = image.fromarray(np.zeros((32, 32), np.uint8))
    for format in ("EPS", "BMP", "TIFF", "GIF"):
        path.unlink()
        grey.save(path, format=format)
        assert "damaged or no PNG" in refused(lambda: long_range_arena("pathfinder", tmp_path))
    path.unlink()
    image.fromarray(np.zeros((32, 32), np.uint16)).save(path)
    assert "has the mode I;16" in refused(lambda: long_range_arena("pathfinder", tmp_path))
    path.unlink()
    os.mkfifo(path)
    assert "it is no regular file" in refused(lambda: long_range_arena("pathfinder", tmp_path))
    path.unlink()
    path.write_bytes(bytes(2**23))
    assert "reading it takes" in refused(lambda: long_range_arena("pathfinder", tmp_path))


def test_bytes_of_texts_are_kept(tmp_path: Path) -> None:
    path = write_papers(tmp_path) / "new_aan_pairs.train.tsv"
    path.write_bytes(b"1\tA\tB\tone \xff\ttwo\n")
    tokens = long_range_arena("retrieval", tmp_path).train.tokens
    assert tokens[0, 0, :5].tolist() == [letter + 1 for letter in b"one \xff"]
