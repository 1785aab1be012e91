"""The Long Range Arena: small files in the formats of its release come back as written, others are refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from monge.data import list_operations, list_operations_text, long_range_arena
from monge.errors import InputError

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(256, size=(6, 10, 3, 1024), dtype=np.uint8)
CLASSES = RNG.integers(10, size=(6, 10))
BATCHES = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]


def write_list_operations(folder: Path) -> Path:
    """Generated trees in the format of the release, where a round bracket is opened for every symbol."""
    task = list_operations(lengths=(3, 30), depth=3, counts=(5, 3, 2))
    folder.mkdir(parents=True, exist_ok=True)
    for part, split in (("train", task.train), ("val", task.valid), ("test", task.test)):
        lines = ["Source\tTarget"]
        for tokens, label in zip(split.tokens, split.labels.tolist(), strict=True):
            symbols = list_operations_text(tokens).split()
            grouped = "( " * symbols.count("]") + " ) ".join(symbols)
            lines.append(f"{grouped}\t{label}")
        (folder / f"basic_{part}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def write_reviews(folder: Path) -> Path:
    for part in ("train", "test"):
        for mood in ("neg", "pos"):
            (folder / "aclImdb" / part / mood).mkdir(parents=True)
            for k in range(3):
                path = folder / "aclImdb" / part / mood / f"{k}_7.txt"
                path.write_bytes(f"{part} {mood} {k} é".encode() + b"!" * (5000 if k == 2 else 0))
    return folder


def write_papers(folder: Path) -> Path:
    for k, part in enumerate(("train", "eval", "test")):
        lines = [f'{label}\tA00\tB11\tb\'{part} one\'\t"b""{part} it\'s two"""' for label in ("0.0", "1", "1.0")[k:]]
        (folder / f"new_aan_pairs.{part}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def write_binary(folder: Path) -> Path:
    home = folder / "cifar-10-batches-bin"
    home.mkdir(parents=True)
    for name, colours, labels in zip(BATCHES, COLOURS, CLASSES, strict=True):
        held = np.concatenate([labels.astype(np.uint8)[:, None], colours.reshape(10, -1)], axis=1)
        held.tofile(home / f"{name}.bin")
    return folder


def write_pickled(folder: Path) -> Path:
    home = folder / "cifar-10-batches-py"
    home.mkdir(parents=True)
    for name, colours, labels in zip(BATCHES, COLOURS, CLASSES, strict=True):
        held = {
            b"batch_label": b"batch",
            b"labels": labels.tolist(),
            b"data": colours.reshape(10, -1),
            b"filenames": [b"x"],
        }
        (home / name).write_bytes(pickle.dumps(held, protocol=2))
    return folder


def write_pathfinder(folder: Path, side: int = 32, count: int = 20) -> Path:
    image = pytest.importorskip("PIL.Image")
    home = folder / f"pathfinder{side}" / "curv_contour_length_14"
    (home / "metadata").mkdir(parents=True)
    for k in (0, 1):
        (home / "imgs" / str(k)).mkdir(parents=True)
        lines = []
        for n in range(count // 2):
            picture = np.full((side, side), 10 * k + n, dtype=np.uint8)
            picture[0, 1] = 200
            image.fromarray(picture).save(home / "imgs" / str(k) / f"sample_{n}.png")
            lines.append(f"imgs/{k} sample_{n}.png {n} {(n + k) % 2} 1.0 14 2 1")
        (home / "metadata" / f"{k}.npy").write_text("\n".join(lines) + "\n")
    return folder


def test_list_operations(tmp_path: Path) -> None:
    generated = list_operations(lengths=(3, 30), depth=3, counts=(5, 3, 2))
    read = long_range_arena("listops", write_list_operations(tmp_path / "lra_release" / "listops-1000").parents[1])
    assert (read.name, read.vocabulary, read.classes, read.pad, read.length) == ("listops", 16, 10, 0, 2000)
    for part in ("train", "valid", "test"):
        one, two = getattr(generated, part), getattr(read, part)
        assert torch.equal(one.tokens, two.tokens[:, :30])
        assert int(two.tokens[:, 30:].max()) == 0
        assert torch.equal(one.labels, two.labels)


def test_reviews(tmp_path: Path) -> None:
    task = long_range_arena("text", write_reviews(tmp_path))
    assert (task.vocabulary, task.classes, task.pad, task.length) == (257, 2, 0, 4000)
    assert task.valid is task.test
    assert task.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    text = b"train pos 0 \xc3\xa9"
    assert task.train.tokens[3].tolist() == [byte + 1 for byte in text] + [0] * (4000 - len(text))
    assert int(task.train.tokens[5, -1]) == ord("!") + 1


def test_papers(tmp_path: Path) -> None:
    task = long_range_arena("retrieval", write_papers(tmp_path))
    assert task.train.tokens.shape == (3, 2, 4000)
    assert [split.labels.tolist() for split in (task.train, task.valid, task.test)] == [[0, 1, 1], [1, 1], [1]]
    pair = [bytes(token - 1 for token in row if token) for row in task.valid.tokens[0].tolist()]
    assert pair == [b"b'eval one'", b'b"eval it\'s two"']


@pytest.mark.parametrize("write", [write_binary, write_pickled])
def test_images(write: Callable[[Path], Path], tmp_path: Path) -> None:
    task = long_range_arena("image", write(tmp_path))
    assert (task.vocabulary, task.classes, task.pad, task.length) == (256, 10, None, 1024)
    assert [len(split) for split in (task.train, task.valid, task.test)] == [45, 5, 10]
    grey = np.rint(np.tensordot(COLOURS.astype(np.float64), [0.2989, 0.5870, 0.1140], axes=(2, 0)))
    held = torch.cat([task.train.tokens, task.valid.tokens, task.test.tokens])
    assert np.abs(held.numpy() - grey.reshape(-1, 1024)).max() <= 1
    assert (held.numpy() == grey.reshape(-1, 1024)).mean() > 0.999
    labels = torch.cat([task.train.labels, task.valid.labels, task.test.labels])
    assert labels.tolist() == CLASSES.reshape(-1).tolist()


@pytest.mark.parametrize(("name", "side"), [("pathfinder", 32), ("path-x", 128)])
def test_pathfinder(name: str, side: int, tmp_path: Path) -> None:
    folder = write_pathfinder(tmp_path, side)
    task = long_range_arena(name, folder)
    assert (task.vocabulary, task.classes, task.pad, task.length) == (256, 2, None, side**2)
    assert [len(split) for split in (task.train, task.valid, task.test)] == [16, 2, 2]
    seen = set()
    for split in (task.train, task.valid, task.test):
        for row, label in zip(split.tokens, split.labels.tolist(), strict=True):
            shade = int(row[0])
            seen.add(shade)
            assert int(row[1]) == 200
            assert bool((row[2:] == shade).all())
            assert label == (shade % 10 + shade // 10) % 2
    assert seen == set(range(20))
    again, other = long_range_arena(name, folder), long_range_arena(name, folder, seed=1)
    assert torch.equal(again.train.tokens, task.train.tokens)
    assert not torch.equal(other.train.tokens, task.train.tokens)


def test_black_pixels_as_padding(tmp_path: Path) -> None:
    write_binary(tmp_path)
    assert long_range_arena("image", tmp_path, legacy_pixel_mask=True).pad == 0
    with pytest.raises(InputError, match="legacy_pixel_mask is about pixels, but name='text' is a text with padding"):
        long_range_arena("text", tmp_path, legacy_pixel_mask=True)


def test_progress_is_told(tmp_path: Path) -> None:
    for write in (write_list_operations, write_reviews, write_papers, write_binary, write_pathfinder):
        write(tmp_path)
    expected = {"listops": 3, "text": 12, "retrieval": 3, "image": 6, "pathfinder": 20}
    for name, total in expected.items():
        told: list[tuple[int, int]] = []
        long_range_arena(name, tmp_path, progress=lambda *counts, told=told: told.append(counts))
        assert told == [(k + 1, total) for k in range(total)]


def test_names_and_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name='mnist' is unknown: choose one of 'listops'"):
        long_range_arena("mnist", tmp_path)
    with pytest.raises(InputError, match="is no folder: pass the one that the Long Range Arena was unpacked in"):
        long_range_arena("text", tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("listops", r"holds no basic_train.tsv or listops-1000/basic_train.tsv"),
        ("text", "holds no aclImdb"),
        ("retrieval", "holds no new_aan_pairs.train.tsv"),
        ("image", "holds no cifar-10-batches-bin or cifar-10-batches-py"),
        ("pathfinder", "holds no pathfinder32/curv_contour_length_14"),
        ("path-x", "holds no pathfinder128/curv_contour_length_14"),
    ],
)
def test_missing_files(name: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{told}.*: unpack the release"):
        long_range_arena(name, tmp_path)


def test_one_file_is_missing(tmp_path: Path) -> None:
    (write_list_operations(tmp_path) / "basic_val.tsv").unlink()
    with pytest.raises(InputError, match=r"holds no basic_val\.tsv"):
        long_range_arena("listops", tmp_path)
    (write_binary(tmp_path) / "cifar-10-batches-bin" / "test_batch.bin").unlink()
    with pytest.raises(InputError, match=r"holds no test_batch\.bin"):
        long_range_arena("image", tmp_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Tree\tValue\n", "must begin with Source and Target, not with"),
        ("Source\tTarget\n[MAX 1 2 ]\n", "line 2: 2 columns separated by tabs are expected, but there are 1"),
        ("Source\tTarget\n1\t1\n[AVG 1 2 ]\t1\n", r"line 3: '\[AVG' is no symbol of list operations"),
        ("Source\tTarget\n( )\t1\n", "line 2: a tree has 1 to 2000 symbols, this one 0"),
        (f"Source\tTarget\n{'1 ' * 2001}\t1\n", "line 2: a tree has 1 to 2000 symbols, this one 2001"),
        ("Source\tTarget\n1\tone\n", "line 2: 'one' is no label"),
        ("Source\tTarget\n1\tnan\n", "line 2: 'nan' is no label"),
        (
            "Source\tTarget\n1\t12\n",
            r"labels of train of the task 'listops' must lie in 0\.\.9, but reach from 12 to 12",
        ),
        ("Source\tTarget\n", "train of the task 'listops' is empty"),
    ],
)
def test_broken_list_operations(text: str, told: str, tmp_path: Path) -> None:
    (write_list_operations(tmp_path) / "basic_train.tsv").write_text(text)
    with pytest.raises(InputError, match=told):
        long_range_arena("listops", tmp_path)


def test_broken_texts(tmp_path: Path) -> None:
    (write_reviews(tmp_path) / "aclImdb" / "test" / "pos" / "1_7.txt").write_text("")
    with pytest.raises(InputError, match=r"1_7.txt is empty: download the reviews again"):
        long_range_arena("text", tmp_path)
    path = write_papers(tmp_path) / "new_aan_pairs.eval.tsv"
    path.write_text("1\tA\tB\tone\n")
    with pytest.raises(InputError, match=r"eval.tsv, line 1: 5 columns .* are expected, but there are 4"):
        long_range_arena("retrieval", tmp_path)
    path.write_text("1\tA\tB\tone\ttwo\n0\tA\tB\tone\t\n")
    with pytest.raises(InputError, match=r"eval.tsv, line 2: a text is empty"):
        long_range_arena("retrieval", tmp_path)
    path.write_text("2\tA\tB\tone\ttwo\n")
    with pytest.raises(InputError, match=r"labels of valid of the task 'retrieval' must lie in 0\.\.1"):
        long_range_arena("retrieval", tmp_path)


def test_broken_images(tmp_path: Path) -> None:
    path = write_binary(tmp_path) / "cifar-10-batches-bin" / "data_batch_3.bin"
    whole = path.read_bytes()
    for held in (whole[:-1], b""):
        path.write_bytes(held)
        with pytest.raises(InputError, match=f"images of 3073 bytes, but holds {len(held)} bytes: download"):
            long_range_arena("image", tmp_path)
    path.write_bytes(bytes([10]) + whole[1:])
    with pytest.raises(InputError, match=r"labels of train of the task 'image' must lie in 0\.\.9"):
        long_range_arena("image", tmp_path)


class Hostile:
    """Unpickling this would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (b"no pickle", "is no batch of CIFAR-10 .*: take the binary version"),
        ({b"labels": [1]}, r"is no batch of CIFAR-10 \(it has no entries b'data' and b'labels'\)"),
        ({b"labels": [1, 2], b"data": COLOURS[0].reshape(10, -1)}, "2 labels stand beside 'u1' of shape"),
        ({b"labels": [1] * 10, b"data": COLOURS[0].reshape(10, -1).astype("f4")}, "10 labels stand beside 'f4'"),
        ({b"labels": [1], b"data": "text"}, "is no batch of CIFAR-10"),
        ({b"labels": [1], b"data": np.array([Hostile], dtype=object)}, "it asks for"),
    ],
)
def test_broken_pickles(held: object, told: str, tmp_path: Path) -> None:
    path = write_pickled(tmp_path) / "cifar-10-batches-py" / "data_batch_2"
    path.write_bytes(held if isinstance(held, bytes) else pickle.dumps(held, protocol=2))
    with pytest.raises(InputError, match=told):
        long_range_arena("image", tmp_path)


def test_no_pickle_is_executed(tmp_path: Path) -> None:
    written = tmp_path / "written"
    path = write_pickled(tmp_path) / "cifar-10-batches-py" / "data_batch_2"
    path.write_bytes(pickle.dumps({b"labels": Hostile(written), b"data": 0}, protocol=2))
    with pytest.raises(InputError, match=r"it asks for .*, which no array needs"):
        long_range_arena("image", tmp_path)
    assert not written.exists()
    pickle.loads(path.read_bytes())
    assert written.exists()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("imgs/0 sample_0.png 0", "line 1: folder, file, number and a label of 0 or 1 are expected"),
        ("imgs/0 sample_0.png 0 2 1", "line 1: folder, file, number and a label of 0 or 1 are expected"),
        ("imgs/0 absent.png 0 1 1", "absent.png is missing or damaged"),
        ("imgs/0 cut.png 0 1 1", "cut.png is missing or damaged: download it again, or remove its line"),
        ("imgs/0 text.png 0 1 1", "text.png is missing or damaged"),
        ("imgs/0 large.png 0 1 1", "large.png must have 32 x 32 pixels, but has 33 x 32"),
    ],
)
def test_broken_pathfinder(line: str, told: str, tmp_path: Path) -> None:
    home = write_pathfinder(tmp_path) / "pathfinder32" / "curv_contour_length_14"
    image = pytest.importorskip("PIL.Image")
    noise = RNG.integers(256, size=(32, 33), dtype=np.uint8)
    image.fromarray(noise).save(home / "imgs" / "0" / "large.png")
    image.fromarray(noise[:, :32]).save(home / "imgs" / "0" / "cut.png")
    whole = (home / "imgs" / "0" / "cut.png").read_bytes()
    (home / "imgs" / "0" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (home / "imgs" / "0" / "text.png").write_text("no picture")
    (home / "metadata" / "0.npy").write_text(line + "\n")
    with pytest.raises(InputError, match=told):
        long_range_arena("pathfinder", tmp_path)


def test_no_pictures_listed(tmp_path: Path) -> None:
    home = write_pathfinder(tmp_path) / "pathfinder32" / "curv_contour_length_14"
    for path in (home / "metadata").iterdir():
        path.write_text("")
    with pytest.raises(InputError, match=r"lists 0 pictures in \*.npy: download the release again"):
        long_range_arena("pathfinder", tmp_path)
