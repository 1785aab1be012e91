"""``monge doctor``: what is installed, which kernels were found, and whether they tell the truth."""

from __future__ import annotations

import importlib.metadata
import platform
from importlib.util import find_spec

import torch
import typer

from monge._version import __version__
from monge.kernels import AVAILABLE

from . import console
from .self_test import CHECKS

__all__ = ["doctor"]

REQUIRED = ("torch", "numpy", "scipy", "jaxtyping", "typer", "rich")
OPTIONAL = {
    "scikit-learn": "embed",
    "matplotlib": "plot",
    "pyarrow": "parquet",
    "triton": "CUDA kernels",
    "POT": "test",
    "monge-papers": "papers that are no transport",
}


def doctor() -> None:
    """Show versions and kernels, then solve small problems whose answers are known."""
    console.answer(console.table("Versions", _versions()))
    console.answer(console.table("\nKernels", _kernels()))
    rows, healthy = [], True
    for name, check in CHECKS.items():
        error, allowed = check()
        good = error <= allowed
        healthy &= good
        rows.append((name, f"{'ok' if good else 'WRONG'}: error {error:.1e}, allowed {allowed:.0e}"))
    console.answer(console.table("\nSelf-test", rows))
    if not healthy:
        console.complain(
            "The self-test failed: the installation is broken; build it anew with `pip install --force-reinstall`."
        )
        raise typer.Exit(1)


def _versions() -> list[tuple[str, str]]:
    rows = [("monge", __version__), ("python", f"{platform.python_version()} on {platform.platform()}")]
    rows += [(name, importlib.metadata.version(name)) for name in REQUIRED]
    for name, use in OPTIONAL.items():
        try:
            rows.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            rows.append((name, f"not installed (for {use})"))
    return rows


def _kernels() -> list[tuple[str, str]]:
    cuda = torch.cuda.is_available()
    return [
        ("native (C++)", "found" if AVAILABLE else "missing: every operation runs as plain torch, correct but slower"),
        ("triton", "importable" if find_spec("triton") else "not installed"),
        ("cuda", f"{torch.cuda.get_device_name()}" if cuda else "no device"),
        ("threads", str(torch.get_num_threads())),
    ]
