"""The papers whose methods stand in this distribution: ``rows.csv`` lists them, and a test runs each line."""

from __future__ import annotations

import csv
from pathlib import Path

from .paper import Paper

__all__ = ["PAPERS"]

with Path(__file__).with_name("rows.csv").open(encoding="utf-8", newline="") as _table:
    PAPERS = tuple(Paper(**row) for row in csv.DictReader(_table))
