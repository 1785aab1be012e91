"""What a comparison found, as a page to read: Markdown with pictures beside it, and HTML in one file."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import __version__ as torch_version

from monge._files import make_folder, write_whole
from monge._version import __version__
from monge.data import Task
from monge.plot import attention_maps, curves, figure
from monge.train import Trained

from .classification import couplings_of, sample
from .classifier import Classifier
from .model_config import ModelConfig
from .result import Result
from .schedule_config import ScheduleConfig
from .summary import HEADINGS, summarise

__all__ = ["write_report"]

# Learned couplings are drawn up to this number of tokens: some couplers hold all pairs.
_DRAWN = 2048

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #22223b; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid #d0d0d8; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; }
code { background: #f2f2f6; padding: 0 .2rem; }
"""


def write_report(
    folder: Path,
    task: Task,
    runs: Sequence[Trained[Classifier, Result]],
    *,
    model: ModelConfig,
    schedule: ScheduleConfig,
) -> list[Path]:
    """Write ``report.md`` with its pictures, ``report.html`` that holds everything, and ``results.json``.

    Without matplotlib there are no pictures.

    Args:
        folder: where to.
        task: what was learned.
        runs: as `grid` answers them.
        model: the size of the encoders.
        schedule: what was done at every step.

    Returns:
        What was written.

    Raises:
        InputError: a file could not be written; the others are whole.
    """
    results = [run.result for run in runs]
    pictures = _pictures(task, runs) if find_spec("matplotlib") is not None else {}
    rows = [summary.cells() for summary in summarise(results)]
    title = f"{task.name}: {len(rows)} couplers, one schedule"
    facts = _facts(task, runs, model, schedule)
    contents = {
        "results.json": (json.dumps([result.plain() for result in results], indent=2) + "\n").encode(),
        **{f"{name}.png": image for name, (_, image) in pictures.items()},
        "report.md": _markdown(title, rows, facts, pictures).encode(),
        "report.html": _html(title, rows, facts, pictures).encode(),
    }
    make_folder(folder)
    for name, content in contents.items():
        write_whole(folder / name, lambda stream, content=content: stream.write(content))
    return [folder / name for name in contents]


def _facts(
    task: Task, runs: Sequence[Trained[Classifier, Result]], model: ModelConfig, schedule: ScheduleConfig
) -> list[str]:
    seeds = sorted({run.result.seed for run in runs})
    counts = f"{len(task.train):,} / {len(task.valid):,} / {len(task.test):,}"
    return [
        f"Always guessing the most frequent class is right {task.majority_rate:.4f} of the time.",
        "Accuracy is that of the test part, with the weights that were best on the validation part; ± is the standard "
        f"deviation over seeds {', '.join(map(str, seeds))}.",
        "Row and column errors are the largest deviations of learned attention matrices from balance, on test "
        "sequences. Memory is that of one step, weights left out.",
        f"Task: {counts} sequences of up to {task.length:,} tokens, vocabulary {task.vocabulary}, "
        f"{task.classes} classes.",
        f"Model: {_told(model)}.",
        f"Schedule: {_told(schedule)}.",
        f"monge {__version__}, torch {torch_version}.",
    ]


def _told(config: Any) -> str:
    return ", ".join(f"{name} {getattr(config, name)}" for name in config.__dataclass_fields__)


def _pictures(task: Task, runs: Sequence[Trained[Classifier, Result]]) -> dict[str, tuple[str, bytes]]:
    """Name, what it shows, and the picture as a file."""
    seeds: dict[str, list[Trained[Classifier, Result]]] = {}
    for run in runs:
        seeds.setdefault(run.result.coupler, []).append(run)
    accuracy, loss = (
        {name: [_points(run, part, what) for run in group] for name, group in seeds.items()}
        for part, what in (("valid", "accuracy"), ("train", "loss"))
    )
    drawn = figure(11.0, 3.8)
    left, right = drawn.subplots(1, 2)
    curves(accuracy, title="accuracy on the validation part, by step", floor=task.majority_rate, ax=left)
    curves(loss, title="loss on the training part, by step", ax=right)
    right.set_yscale("log")
    found = {"curves": ("How they learned; thin lines are seeds, the dashed one is guessing.", _png(drawn))}
    looked_at = sample(task.test, 1, task.pad)
    if looked_at.tokens.shape[-1] <= _DRAWN:
        heads = {
            f"{name}, {i}.{j + 1}": layer[0, j]
            for name, (run, *_) in seeds.items()
            for i, layer in enumerate(couplings_of(run.model, looked_at), start=1)
            for j in range(layer.batch_shape[-1])
        }
        told = "What they couple in one test sequence: a row a coupler, then by layer and head, as in 2.1."
        found["couplings"] = (told, _png(attention_maps(heads, columns=len(heads) // len(seeds))))
    return found


def _points(run: Trained[Classifier, Result], part: str, figure: str) -> tuple[list[float], list[float]]:
    records = [record for record in run.records if record["part"] == part]
    return [record["step"] for record in records], [record[figure] for record in records]


def _png(drawn: Any) -> bytes:
    stream = io.BytesIO()
    drawn.savefig(stream, format="png", dpi=110)
    return stream.getvalue()


def _markdown(title: str, rows: list[tuple[str, ...]], facts: list[str], pictures: dict) -> str:
    lines = [f"# {title}", ""]
    lines += [f"| {' | '.join(cells)} |" for cells in (HEADINGS, ("---",) * len(HEADINGS), *rows)]
    lines += ["", *(f"- {fact}" for fact in facts), ""]
    for name, (told, _) in pictures.items():
        lines += [f"![{name}]({name}.png)", "", told, ""]
    return "\n".join(lines)


def _html(title: str, rows: list[tuple[str, ...]], facts: list[str], pictures: dict) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    lines = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{html.escape(title)}</h1>",
        f"<table><thead>{row(HEADINGS, 'th')}</thead><tbody>",
        *(row(cells, "td") for cells in rows),
        "</tbody></table><ul>",
        *(f"<li>{html.escape(fact)}</li>" for fact in facts),
        "</ul>",
    ]
    for name, (told, image) in pictures.items():
        source = base64.b64encode(image).decode()
        lines.append(f'<p><img alt="{name}" src="data:image/png;base64,{source}"><br>{html.escape(told)}</p>')
    return "\n".join([*lines, "</body></html>", ""])
