"""How the documentation is built; pages that depend on the code are generated first."""

from __future__ import annotations

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402

import monge  # noqa: E402

project = "Monge"
author = "The Monge developers"
copyright = "The Monge developers"
release = version = monge.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
# Where pictures of a distribution are drawn from, by where they go.
GALLERIES = {"recipes": "../recipes", "gallery": "../examples", "gallery_papers": "../papers/examples"}
NOT_PAGES = ("ipynb", "py", "md5", "zip")
exclude_patterns = ["_build", "generated", *(f"{gallery}/*.{kind}" for gallery in GALLERIES for kind in NOT_PAGES)]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
# In docstrings, `name` is a link where the name is known and code where it is not.
default_role = "py:obj"

html_theme = "furo"
html_title = "Monge"
html_static_path = ["_static"]
html_css_files = ["monge.css"]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#2a6f97", "color-brand-content": "#2a6f97"},
    "dark_css_variables": {"color-brand-primary": "#8ecae6", "color-brand-content": "#8ecae6"},
}

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

sphinx_gallery_conf = {
    "examples_dirs": list(GALLERIES.values()),
    "gallery_dirs": list(GALLERIES),
    "filename_pattern": r"/plot_|/recipes/",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "remove_config_comments": True,
    "image_scrapers": ("matplotlib", "scraper.scrape"),
    "min_reported_time": 0,
    "show_signature": False,
}
# Sphinx: a picture settings function is no cached value; names such as Linear live in two rooms.
suppress_warnings = ["config.cache", "ref.python"]

DISPLAY = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
INLINE = re.compile(r"\$([^$\n]+?)\$")
# What must stay as it is: literals, roles, links, and mathematics.
FIXED = re.compile(r"(``.+?``|:\w+:`[^`]+`|`[^`]+`)")


def docstrings(app, what, name, thing, options, lines):
    """Docstrings are written as the pages are: dollar signs are mathematics, stars and bars are just themselves."""

    def display(match: re.Match[str]) -> str:
        body = " ".join(line.strip() for line in match[1].strip().splitlines())
        return f"\n\n.. math:: {body}\n\n"

    text = INLINE.sub(r":math:`\1`", DISPLAY.sub(display, "\n".join(lines)))
    example, fresh = False, []
    for line in text.splitlines():
        example = bool(line.strip()) and (example or line.lstrip().startswith(">>>"))
        fresh.append(line if example or ".. math::" in line else plain(line))
    lines[:] = fresh


def plain(line: str) -> str:
    """Escape what reStructuredText would take for markup: ``(*b, n)``, ``|x - y|``."""
    parts = FIXED.split(line)
    parts[::2] = [re.sub(r"(?<!\*)\*(?=\w)(?!\w[^*]*\w\*)|\|", r"\\\g<0>", part) for part in parts[::2]]
    return "".join(parts)


def setup(app):
    """Generate the pages that come from the code, then read."""
    generate.write(HERE / "generated")
    app.connect("autodoc-process-docstring", docstrings)
