"""Figures that belong to nobody, shown in the gallery: what `monge.plot` returns does not pass through pyplot."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst


def scrape(block, block_vars, gallery_conf):
    """Save the figure that a block called ``picture``, once."""
    held = block_vars["example_globals"].pop("picture", None)
    if not isinstance(held, Figure):
        return ""
    path = next(block_vars["image_path_iterator"])
    held.savefig(path, dpi=80)
    return figure_rst([str(Path(path))], gallery_conf["src_dir"])
