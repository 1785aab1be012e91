"""Readers: every format gives back what was written, and no broken or hostile file gets past one clear sentence."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monge.data import FORMATS, read_points, read_weights
from monge.errors import InputError, ShapeError

POINTS = np.random.default_rng(0).normal(size=(5, 3))


def write(path: Path, points: np.ndarray) -> Path:
    """Write points in the format that the file's ending asks for."""
    if path.suffix == ".npy":
        np.save(path, points)
    elif path.suffix == ".npz":
        np.savez_compressed(path, points=points)
    elif path.suffix == ".csv":
        np.savetxt(path, points, delimiter=",", header="u,v,w", comments="")
    elif path.suffix == ".pt":
        torch.save(torch.from_numpy(points), path)
    else:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({f"c{k}": column for k, column in enumerate(points.T)}), path)
    return path


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip(ending: str, dtype: torch.dtype, tmp_path: Path) -> None:
    read = read_points(write(tmp_path / f"cloud{ending}", POINTS), dtype=dtype)
    assert read.dtype == dtype
    torch.testing.assert_close(read, torch.tensor(POINTS, dtype=dtype))


@pytest.mark.parametrize("text", ["1;2\n3;4\n", "1\t2\n3\t4\n", "a,b\n1,2\n3,4\n", "\ufeff1,2\n3,4\n", "1,2\n3,4"])
def test_flavours_of_csv(text: str, tmp_path: Path) -> None:
    path = tmp_path / "cloud.csv"
    path.write_text(text, encoding="utf-8")
    torch.testing.assert_close(read_points(path), torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64))


@pytest.mark.parametrize(
    "held", [np.arange(6), np.arange(6, dtype=">f4"), np.asfortranarray(np.eye(3)), np.eye(4)[::2]]
)
def test_dtypes_and_layouts(held: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "cloud.npy", held)
    expected = torch.tensor(held.astype(np.float64))
    torch.testing.assert_close(read_points(tmp_path / "cloud.npy"), expected[:, None] if held.ndim == 1 else expected)


def test_arrays_have_names(tmp_path: Path) -> None:
    path = tmp_path / "clouds.npz"
    np.savez(path, source=POINTS, target=2 * POINTS)
    assert read_points(f"{path}:target")[0, 0] == 2 * POINTS[0, 0]
    with pytest.raises(InputError, match="holds 'source', 'target': name one, as in file"):
        read_points(path)
    with pytest.raises(InputError, match="no array 'middle', only 'source', 'target'"):
        read_points(f"{path}:middle")
    torch.save({"a": torch.ones(3), "x": torch.eye(3)}, tmp_path / "both.pt")
    assert read_points(tmp_path / "both.pt").shape == (3, 3)
    assert read_weights(f"{tmp_path / 'both.pt'}:a", 3).shape == (3,)


def test_a_file_may_hold_a_colon(tmp_path: Path) -> None:
    assert read_points(write(tmp_path / "run:1.npy", POINTS)).shape == (5, 3)


class Bomb:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    harm = tmp_path / "harm"
    np.save(tmp_path / "a.npy", np.array([Bomb(harm)], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=np.array([Bomb(harm)], dtype=object))
    torch.save({"x": Bomb(harm)}, tmp_path / "a.pt")
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Bomb(harm)))
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Bomb(harm)))
    for name in ("a.npy", "a.npz", "a.pt", "b.npy", "b.pt"):
        with pytest.raises(InputError, match=name):
            read_points(tmp_path / name)
        assert not harm.exists()


def forged(shape: str) -> bytes:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
    header = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(64)


def test_forged_sizes_allocate_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(forged("(1000000000000, 3)"))
    with pytest.raises(InputError, match=r"promises 24000000000000 bytes but 64 follow"):
        read_points(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", forged("(1000000000000, 3)"))
    with pytest.raises(InputError, match="cut short or forged"):
        read_points(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.npy", b"", "not a readable .npy file"),
        ("a.npz", b"PK", "not a readable .npz file"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"x,y\n1,2\n3,four\n", "not a readable .csv file .*four"),
        ("a.csv", b"1,2\n3\n", "not a readable .csv file"),
        ("a.csv", b"1,2\n3,nan\n", "row 2, column 2 must hold neither NaN nor inf, but holds nan"),
        ("a.csv", b"1,2\n3,inf\n", "must hold neither NaN nor inf"),
        ("a.csv", b"\xff\xfe\x00", "not a readable .csv file"),
        ("a.pt", b"nonsense", "holds more than plain tensors"),
        ("a.txt", b"1 2", "ends in '.txt': the formats known are .npy, .npz, .csv, .parquet, .pt"),
        ("a", b"1 2", "ends in 'nothing'"),
    ],
)
def test_broken_files(name: str, content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=told):
        read_points(tmp_path / name)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist: check the path"):
        read_points(tmp_path / "cloud.npy")
    with pytest.raises(InputError, match="not a regular file"):
        read_points(tmp_path)
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(InputError, match="not a regular file"):
        read_points(tmp_path / "pipe.npy")


def test_what_is_no_cloud(tmp_path: Path) -> None:
    for held in (np.zeros((2, 2), complex), np.array(["a"]), np.zeros(2, "datetime64[s]")):
        np.save(tmp_path / "a.npy", held)
        with pytest.raises(InputError, match="not real numbers"):
            read_points(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.zeros((2, 2, 2)))
    with pytest.raises(InputError, match=r"table of points \(n, d\), but holds shape \(2, 2, 2\)"):
        read_points(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.zeros((0, 2)))
    with pytest.raises(ShapeError, match="at least one point"):
        read_points(tmp_path / "a.npy")
    torch.save([1.0], tmp_path / "a.pt")
    with pytest.raises(InputError, match="holds list, not a tensor"):
        read_points(tmp_path / "a.pt")
    torch.save(torch.eye(2).to_sparse(), tmp_path / "a.pt")
    with pytest.raises(InputError, match="save plain real numbers"):
        read_points(tmp_path / "a.pt")


def test_parquet_must_be_numbers(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"u": [1.0, None]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="column 'u' has 1 missing"):
        read_points(tmp_path / "a.parquet")
    parquet.write_table(pyarrow.table({"u": ["one"]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="column 'u' holds string, not numbers"):
        read_points(tmp_path / "a.parquet")


def test_weights(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[0.25], [0.75]]))
    torch.testing.assert_close(read_weights(tmp_path / "a.npy", 2), torch.tensor([0.25, 0.75], dtype=torch.float64))
    with pytest.raises(ShapeError, match="one weight per point, but has"):
        read_weights(tmp_path / "a.npy", 3)
    np.save(tmp_path / "a.npy", np.array([0.5, -0.5]))
    with pytest.raises(InputError, match="non-negative, but its smallest entry is"):
        read_weights(tmp_path / "a.npy", 2)
    np.save(tmp_path / "a.npy", np.eye(2))
    with pytest.raises(InputError, match="flatten it"):
        read_weights(tmp_path / "a.npy", 2)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_give_one_sentence(data: st.DataObject, tmp_path: Path) -> None:
    """Files with bytes changed or cut off are read, or refused with an error of ours: never anything else."""
    ending = data.draw(st.sampled_from([".npy", ".npz", ".csv", ".pt"]))
    path = write(tmp_path / f"cloud{ending}", POINTS)
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(InputError):
        read_points(path)


@pytest.mark.parametrize(
    ("names", "taken"),
    [(("x", "labels"), "x"), (("a", "points"), "points"), (("a", "labels"), "a"), (("weights", "x", "a"), "x")],
)
def test_the_usual_names(names: tuple[str, ...], taken: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    held = {name: np.full((2, 2), float(k)) for k, name in enumerate(names)}
    np.savez(tmp_path / "cloud.npz", **held)
    caplog.set_level(logging.INFO, "monge.data")
    assert read_points(tmp_path / "cloud.npz").tolist() == held[taken].tolist()
    assert [record.getMessage() for record in caplog.records] == [f"cloud.npz, array {taken!r} (2 x 2)"]


@pytest.mark.parametrize("names", [("x", "points"), ("weights", "a"), ("points", "x", "a")])
def test_two_names_of_a_kind_are_refused(names: tuple[str, ...], tmp_path: Path) -> None:
    np.savez(tmp_path / "cloud.npz", **{name: np.ones((2, 2)) for name in names})
    with pytest.raises(InputError, match=r"could both be meant: name one, as in file\.npz:"):
        read_points(tmp_path / "cloud.npz")


def test_one_array_needs_no_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    np.savez(tmp_path / "cloud.npz", anything=np.ones((2, 2)))
    caplog.set_level(logging.DEBUG, "monge.data")
    read_points(tmp_path / "cloud.npz")
    assert caplog.records == []
