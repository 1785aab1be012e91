"""Mathematics is written into the pages as MathML. Browsers draw it themselves: no script runs and nothing is fetched.

``math_core`` (MIT licence) translates LaTeX, and ``font.py`` says where the font comes from.
"""

from __future__ import annotations

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.util import logging

TRANSLATOR = LatexToMathML(fancy_error=False)


def mathml(latex: str, *, block: bool) -> str:
    """One formula; lines that end in two backslashes are aligned at their ampersands."""
    if block and r"\\" in latex and r"\begin" not in latex:
        latex = rf"\begin{{aligned}}{latex}\end{{aligned}}"
    return TRANSLATOR.convert_with_local_state(latex, displaystyle=block)


def written(page, node: nodes.Element, *, block: bool) -> str:
    """The formula of a node; what cannot be translated is a warning at its place, and then stands there as it is."""
    try:
        return mathml(node.astext(), block=block)
    except LatexError as fault:
        logging.getLogger(__name__).warning("%s in %r", fault, node.astext(), location=node)
        return page.encode(node.astext())


def inline(page, node: nodes.math) -> None:
    page.body.append(f'<span class="math notranslate">{written(page, node, block=False)}</span>')
    raise nodes.SkipNode


def display(page, node: nodes.math_block) -> None:
    page.body.append(page.starttag(node, "div", CLASS="math notranslate"))
    page.body.append(f"{written(page, node, block=True)}</div>\n")
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
