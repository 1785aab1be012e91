"""Pictures show the numbers that they claim to show, and leave matplotlib's global state alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from monge.coupling import Coupling, DenseCoupling, PermutationCoupling, ProductCoupling
from monge.errors import InputError, ShapeError

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

from monge.plot import colour_transfer, curves, links, marginals, palette, plan
from monge.plot.links import strongest_links
from monge.plot.plan import averaged


def random_plan(n: int, m: int) -> DenseCoupling:
    matrix = torch.rand(n, m, dtype=torch.float64)
    return DenseCoupling(matrix / matrix.sum())


@pytest.mark.parametrize(("n", "m"), [(1, 1), (7, 5), (63, 100)])
@pytest.mark.parametrize("resolution", [1, 5, 16, 200])
def test_cells_are_means_of_the_matrix(n: int, m: int, resolution: int) -> None:
    P = random_plan(n, m)
    rows, columns = torch.randperm(n), torch.randperm(m)
    cells = averaged(P, rows, columns, resolution)
    height, width = min(n, resolution), min(m, resolution)
    ordered = P.dense()[rows][:, columns]
    place_row, place_column = torch.arange(n) * height // n, torch.arange(m) * width // m
    for r in range(height):
        for c in range(0, width, max(1, width // 4)):
            expected = ordered[place_row == r][:, place_column == c].mean()
            torch.testing.assert_close(cells[r, c], expected)


def test_plan_draws_cells_and_marginals() -> None:
    P = random_plan(4, 3)
    picture = plan(P)
    torch.testing.assert_close(torch.from_numpy(picture.images[0].get_array().data), P.dense().sqrt())
    assert len(picture.child_axes) == 2
    assert picture.get_title() == "DenseCoupling 4 × 3"


@pytest.mark.parametrize("d", [1, 2, 5])
def test_links_are_the_strongest(d: int) -> None:
    x, y = torch.randn(6, d), torch.randn(9, d)
    P = random_plan(6, 9)
    i, j, w = strongest_links(P, 10)
    assert w.tolist() == sorted(w.tolist())
    torch.testing.assert_close(w, P.dense()[i, j])
    torch.testing.assert_close(w, P.dense().flatten().sort().values[-10:])
    picture = links(P, x, y, strongest=10)
    assert len(picture.collections[0].get_segments()) == 10
    if d == 2:
        torch.testing.assert_close(torch.tensor(picture.collections[0].get_segments()[-1][0]), x[i[-1]].double())


def test_links_of_a_permutation_join_partners() -> None:
    x = torch.randn(5, 2)
    order = torch.tensor([3, 1, 4, 0, 2])
    picture = links(PermutationCoupling(order, torch.full((5,), 0.2)), x, x[order.argsort()])
    for start, end in picture.collections[0].get_segments():
        assert (start == end).all()


def test_a_plan_without_mass_has_no_links() -> None:
    picture = links(DenseCoupling(torch.zeros(3, 3)), torch.rand(3, 2), torch.rand(3, 2))
    assert picture.collections[0].get_segments() == []


def test_marginals_show_what_the_plan_has() -> None:
    a, b = torch.tensor([0.25, 0.75]), torch.tensor([0.5, 0.25, 0.25])
    figure = marginals(ProductCoupling(a, b), a, b)
    has, wanted = figure.axes[1].patches
    assert has.get_data().values.tolist() == pytest.approx(b.tolist())
    assert wanted.get_data().values.tolist() == pytest.approx(b.tolist())


def test_palette_keeps_the_mean_colour_and_sorts_by_light() -> None:
    image = torch.rand(24, 40, 3, dtype=torch.float64)
    swatches = palette(image, columns=8, rows=4)
    torch.testing.assert_close(swatches.mean((0, 1)), image.mean((0, 1)))
    light = (swatches @ swatches.new_tensor([0.2126, 0.7152, 0.0722])).mean(0)
    assert (light.diff() > 0).all()


def test_colour_transfer_draws_each_photograph(tmp_path: Path) -> None:
    images = [torch.rand(30, 40, 3), torch.rand(20, 30, 3), torch.rand(30, 40, 3), torch.rand(20, 30, 3)]
    figure = colour_transfer(*images, caption="one line")
    assert isinstance(figure, Figure)
    for image, panel in zip(images, figure.axes[::3], strict=True):
        torch.testing.assert_close(torch.from_numpy(panel.images[0].get_array().data), image.double())
    figure.savefig(tmp_path / "picture.png", dpi=40)
    assert (tmp_path / "picture.png").stat().st_size > 1000


def test_no_window_and_no_global_figure() -> None:
    before = "matplotlib.pyplot" in sys.modules
    plan(random_plan(3, 3))
    assert before or "matplotlib.pyplot" not in sys.modules


def test_axes_given_are_drawn_into() -> None:
    ax = Figure().add_subplot()
    assert plan(random_plan(3, 3), ax=ax) is ax
    assert links(random_plan(3, 4), torch.rand(3, 2), torch.rand(4, 2), ax=ax) is ax


@pytest.mark.parametrize(
    ("draw", "error", "told"),
    [
        (lambda P: plan(stacked(P)), ShapeError, r"batch of shape \(2,\): draw P\[0\]"),
        (lambda P: links(stacked(P), torch.rand(3, 2), torch.rand(4, 2)), ShapeError, "batch of shape"),
        (lambda P: marginals(stacked(P)), ShapeError, "batch of shape"),
        (lambda P: links(P, torch.rand(4, 2), torch.rand(4, 2)), ShapeError, "3 sources and 4 targets"),
        (lambda P: marginals(P, a=torch.rand(4)), ShapeError, r"a must have shape \(3,\)"),
        (lambda P: plan(P, resolution=0), InputError, "resolution must be a positive integer"),
        (lambda P: palette(torch.rand(3, 3)), ShapeError, r"image must have shape \(h, w, 3\)"),
    ],
)
def test_errors_say_what_to_do(draw: object, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        draw(random_plan(3, 4))


def stacked(P: DenseCoupling) -> Coupling:
    return DenseCoupling(torch.stack([P.matrix, P.matrix]))


def test_curves_show_runs_and_their_mean() -> None:
    picture = curves({"a": [([1, 2, 3], [0.0, 1.0, 2.0]), ([1, 2], [2.0, 3.0])], "b": [([1], [5.0])]}, floor=0.5)
    lines = [(list(line.get_xdata()), list(line.get_ydata())) for line in picture.lines]
    assert ([1, 2, 3], [1.0, 2.0, 2.0]) in lines
    assert [text.get_text() for text in picture.get_legend().get_texts()] == ["a", "b"]
