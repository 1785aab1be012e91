"""How the documentation is built; pages that depend on the code are generated first."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402
import reference  # noqa: E402

import monge  # noqa: E402

project = "Monge"
author = "The Monge developers"
copyright = "The Monge developers"
release = version = monge.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    # These are modules of this folder.
    "mathematics",
    "offline",
    "reference",
]
html_math_renderer_name = "mathml"
# Where pictures of a distribution are drawn from, by where they go.
GALLERIES = {"recipes": "../recipes", "gallery": "../examples", "gallery_papers": "../papers/examples"}
NOT_PAGES = ("ipynb", "py", "md5", "zip")
exclude_patterns = [
    "_build",
    "generated",
    "**sg_*.rst",
    *(f"{gallery}/*.{kind}" for gallery in GALLERIES for kind in NOT_PAGES),
]
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
    # The last line of a block is shown if it is an answer, but not if it has drawn something.
    "ignore_repr_types": r"matplotlib",
    "show_signature": False,
    "backreferences_dir": reference.BACKREFERENCES,
    "doc_module": ("monge", "monge_papers"),
    # Names in the code of examples are links to their API pages.
    "reference_url": {"monge": None, "monge_papers": None},
}
# A copied block has no prompts and no output; what a gallery prints has no button.
copybutton_selector = "div:not(.sphx-glr-script-out) > div.highlight > pre"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
# Sphinx: a picture settings function is no cached value; names such as Linear live in two rooms.
suppress_warnings = ["config.cache", "ref.python"]


def setup(app):
    """Generate the pages that come from the code, then read."""
    generate.write(HERE / "generated")
