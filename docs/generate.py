"""Parts of pages that come from the code: which solver, which gradient, what was measured, what the face offers."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import json
import math
import re
import textwrap
from pathlib import Path

import reference
import torch
import translations

import monge
from monge import explain
from monge.cli.cite import cited
from monge.cli.registries import REGISTRIES
from monge.geometry import CostMatrix, Line, PointCloud
from monge.gradient import INPUTS, MODE_TABLE, MODES, OUTPUTS, TABLE
from monge.nn import couplers
from monge.papers import CATALOGUE, Paper, papers
from monge.problem import AtMost, Linear, Relaxed

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = ROOT / "benchmarks" / "results"


def write(folder: Path) -> None:
    """Write every generated part; a file that would not change is left alone, so that nothing is built twice."""
    folder.mkdir(exist_ok=True)
    parts = {
        "explained": explained(),
        "solvers": solvers(),
        "gradients": gradients(),
        "modes": modes(),
        "benchmarks": benchmarks(),
        "couplers": couplers.table() + "\n",
        "lengths": lengths(),
        "couplers-measured": measured("couplers"),
        "conversion-measured": measured("conversion"),
        "training-measured": measured("training"),
        "long-range-measured": measured("long_range"),
        "registration-measured": measured("registration"),
        "face": face(),
        "papers": registered(),
        "registries": registries(),
        "translations": translations.table(),
    }
    for name, text in ({f"{part}.md": text for part, text in parts.items()} | recipes()).items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def problems() -> dict[str, Linear]:
    """Problems that people have, by the words they use."""
    generator = torch.Generator().manual_seed(0)

    def cloud(n: int, m: int, d: int = 3) -> PointCloud:
        return PointCloud(torch.randn(n, d, generator=generator), torch.randn(m, d, generator=generator))

    def uneven(n: int) -> torch.Tensor:
        weights = torch.rand(n, generator=generator)
        return weights / weights.sum()

    small, large = cloud(500, 500), cloud(20_000, 20_000)
    line = Line(torch.randn(5000, generator=generator), torch.randn(5000, generator=generator))
    a = torch.full((500,), 1 / 500)
    return {
        "exact, 500 × 500, uniform": Linear(small),
        "exact, 500 × 500, weights": Linear(small, uneven(500), uneven(500)),
        "exact, on a line, 5000 points": Linear(line),
        "entropic, 500 × 500": Linear(small, epsilon=monge.relative(0.05)),
        "entropic, small ε, 500 × 500": Linear(small, epsilon=monge.relative(0.001)),
        "entropic, 20,000 × 20,000": Linear(large, epsilon=monge.relative(0.05)),
        "entropic, a cost matrix": Linear(CostMatrix(torch.rand(500, 500, generator=generator)), epsilon=0.05),
        "unbalanced": Linear(small, Relaxed(a, 1.0), Relaxed(a, 1.0), epsilon=monge.relative(0.05)),
        "partial, entropic": Linear(small, AtMost(a), AtMost(a), epsilon=monge.relative(0.05), mass=0.5),
        "partial, exact": Linear(small, AtMost(a), AtMost(a), mass=0.5),
    }


def explained() -> str:
    """What the last lines of the page about first steps print."""
    page = (HERE / "start.md").read_text(encoding="utf-8")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec("\n".join(re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)), {})
    lines = printed.getvalue().splitlines()
    why = next(line.index("why") for line in lines if line.startswith("solver"))
    folded = (textwrap.fill(line, 118, subsequent_indent=(4 if "(" in line[:why] else why) * " ") for line in lines)
    return "\n".join(["```text", *folded, "```", ""])


def solvers() -> str:
    """A row for each problem, a column for each solver, in estimated operations; the one that is taken is bold."""
    told = {title: explain(problem) for title, problem in problems().items()}
    names = sorted({type(solver).__name__ for solver, _ in next(iter(told.values())).rows})
    lines = [row(["problem", *(f"`{name}`" for name in names)]), row(["---"] * (len(names) + 1))]
    for title, explanation in told.items():
        chosen = type(explanation.chosen).__name__
        cells = {}
        for solver, capability in explanation.rows:
            name = type(solver).__name__
            cost = "on request" if capability.cost == math.inf else f"{capability.cost:.0e}"
            cell = cost if capability.supported else "–"
            cells[name] = f"**{cell}**" if name == chosen else cell
        lines.append(row([title, *(cells[name] for name in names)]))
    return "\n".join(lines) + "\n"


def gradients() -> str:
    """One table a gradient: what is asked against what it depends on."""
    lines = []
    for gradient in dict.fromkeys(key[0] for key in TABLE):
        lines += [
            f"### `{gradient}`",
            "",
            row(["", *(f"`{given}`" for given in INPUTS)]),
            row(["---"] * (len(INPUTS) + 1)),
        ]
        lines += [row([output, *(TABLE[gradient, output, given] for given in INPUTS)]) for output in OUTPUTS]
        lines.append("")
    return "\n".join(lines)


def modes() -> str:
    """A row for each function, a column for each way to differentiate it."""
    rows = dict.fromkeys(name for name, _ in MODE_TABLE)
    lines = [row(["", *(f"`{mode}`" if "." in mode or "_" in mode else mode for mode in MODES)])]
    lines.append(row(["---"] * (len(MODES) + 1)))
    lines += [row([name, *(MODE_TABLE[name, mode] for mode in MODES)]) for name in rows]
    return "\n".join([*lines, ""])


def benchmarks() -> str:
    """The tables of every results file."""
    files = sorted(RESULTS.glob("*.json"))
    if not files:
        return "No results are kept in this checkout: run `make bench`.\n"
    lines = []
    for path in files:
        lines += [f"## {path.stem.replace('_', ' ').capitalize()}", ""]
        for title, held in json.loads(path.read_text()).items():
            lines += table(f"### {title}", held)
    return "\n".join(lines)


def measured(name: str) -> str:
    """The tables of one results file, for a page that talks about them."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return f"Nothing is kept in this checkout: run `python -m benchmarks {name}`.\n"
    kept = json.loads(path.read_text())
    return "\n".join(line for title, held in kept.items() for line in table(f"**{title}**", held))


def recipes() -> dict[str, str]:
    """The table of each recipe, in the language of its page, which is no Markdown."""
    kept = RESULTS / "recipes.json"
    tables = json.loads(kept.read_text()) if kept.exists() else {}
    names = [path.stem for path in sorted((ROOT / "benchmarks" / "recipes").glob("[!_]*.py"))]
    nothing = "Nothing is kept in this checkout: run ``python -m benchmarks recipes``.\n"
    return {f"recipe-{name}.rst": compared(tables[name]) if name in tables else nothing for name in names}


def compared(held: dict) -> str:
    """A list of rows, the first of which is the head."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for cells in (held["columns"], *held["rows"]):
        lines += [f"   {'-' if k else '* -'} {cell}".replace("   - ", "     - ", 1) for k, cell in enumerate(cells)]
    peer, ratio = held["rows"][1][0], held["facts"]["times_as_fast"]
    threads = "one thread" if held["threads"] == 1 else f"{held['threads']} threads"
    return "\n".join([*lines, "", f"{peer} takes {ratio} times as long as Monge, measured in turn with {threads}.", ""])


def lengths() -> str:
    """Attention by pivots beside softmax attention, by the number of tokens."""
    kept = json.loads((RESULTS / "attention.json").read_text())
    races = {int(match[1]): held for title, held in kept.items() if (match := re.search(r"n = (\d+)", title))}
    softmax, pivots = "softmax (fused)", "pivots, r = 32"
    lines = [row(["tokens", "softmax (fused), ms", "pivots, ms", "pivots are so many times as fast"])]
    lines.append(row(["---"] * 4))
    for tokens, held in sorted(races.items()):
        slow, fast = (1000 * held["timings"][who]["median"] for who in (softmax, pivots))
        told = (f"{value:,.{1 if value < 100 else 0}f}" for value in (slow, fast))
        lines.append(row([f"{tokens:,}", *told, f"{slow / fast:.2g}"]))
    return "\n".join([*lines, ""])


def table(heading: str, held: dict) -> list[str]:
    """One measurement: a race, or whatever columns it has."""
    facts = "; ".join(f"{fact}: {told}" for fact, told in held["facts"].items())
    foot = ["", f"{facts + '. ' if facts else ''}torch {held['torch']}, {held['threads']} threads.", ""]
    if "rows" in held:
        columns = held["columns"]
        return [heading, "", row(columns), row(["---"] * len(columns)), *map(row, held["rows"]), *foot]
    return [heading, "", *race(held), *foot]


def race(held: dict) -> list[str]:
    """A race: contestants, seconds, memory, and how they compare."""
    base = held["timings"][held["baseline"]]["median"]
    columns = ["", "median s", "min", "max", "MB", f"times {held['baseline']}"]
    lines = [row(columns), row(["---"] * len(columns))]
    for who, timing in held["timings"].items():
        numbers = [f"{timing[key]:.4g}" for key in ("median", "least", "most")]
        lines.append(row([who, *numbers, f"{timing['megabytes']:.0f}", f"{base / timing['median']:.2f} ×"]))
    return lines


def face() -> str:
    """Every public function and class of the face, in the order of the alphabet."""
    offered = {name: getattr(monge, name) for name in sorted(monge.__all__)}
    functions = {f"monge.{name}": thing for name, thing in offered.items() if inspect.isfunction(thing)}
    classes = {f"{home(thing)}.{name}": thing for name, thing in offered.items() if inspect.isclass(thing)}
    lines = ["```{eval-rst}"]
    for heading, held in (("Functions", functions), ("Classes, shown on the pages of their rooms", classes)):
        rows = {name: reference.sentence(thing) for name, thing in held.items()}
        lines += reference.markup(reference.table(rows, heading))
    lines += [f".. autofunction:: {name}" for name in functions]
    return "\n".join([*lines, "```", ""])


def home(thing: type) -> str:
    """The room whose page shows a class of the face: the shortest name of a package that offers it."""
    parts = thing.__module__.split(".")
    rooms = (".".join(parts[:length]) for length in range(2, len(parts) + 1))
    return next(room for room in rooms if hasattr(importlib.import_module(room), thing.__name__))


def registered() -> str:
    """Every paper that an installed distribution registers, by group: its example, its test, and what to cite."""
    rows = papers()
    lines = []
    for group in dict.fromkeys(row["group"] for row in CATALOGUE.values()):
        of_group = [paper for paper in rows if paper.group == group]
        if of_group:
            lines += [f"## {group.capitalize()}", ""]
        for paper in of_group:
            lines += described(paper)
    covered = CATALOGUE.keys() & {paper.key for paper in rows}
    return "\n".join([f"Of the {len(CATALOGUE)} papers of the catalogue, {len(covered)} are here.", "", *lines])


def described(paper: Paper) -> list[str]:
    """One paper: where it is, and its example and its citation, which open on a click."""
    link = f"[arXiv {paper.arxiv}](https://arxiv.org/abs/{paper.arxiv})"
    lines = [f"### {paper.title}", "", f"{link}, `monge papers {paper.key}`", ""]
    if paper.kind == "page":
        return [*lines, f"A survey: {{doc}}`{Path(paper.implements).stem}`.", ""]
    script = paper.script.read_text(encoding="utf-8").rstrip()
    lines += [f"- implemented by {{py:obj}}`{paper.implements}`", f"- verified by `{paper.test}`", ""]
    lines += opens(f"<code>python -m {paper.example}</code>", "python", script)
    return [*lines, *opens("what to cite", "bibtex", cited(paper))]


def opens(title: str, language: str, text: str) -> list[str]:
    """A block of code that opens on a click."""
    return ["<details>", f"<summary>{title}</summary>", "", f"```{language}", text, "```", "", "</details>", ""]


def registries() -> str:
    """A table for every kind of thing that is chosen by name."""
    lines = []
    for kind, registry in REGISTRIES.items():
        lines += [f"### {kind.capitalize()}", "", row(["name", "what it is"]), row(["---"] * 2)]
        lines += [row([f"`{name}`", registry.sentence(name).replace("|", "\\|")]) for name in registry]
        lines.append("")
    return "\n".join(lines)


def row(cells: list[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"
