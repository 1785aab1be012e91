"""Mathematics is written into the pages as MathML. Browsers draw it themselves: no script runs and nothing is fetched.

``math_core`` (MIT licence) translates LaTeX. The glyphs are those of STIX Two Math (SIL Open Font License, see
``_static/fonts``), cut down to letters, Greek, operators, arrows and delimiters, without hints:

    pyftsubset stix-two-math.woff2 --flavor=woff2 --no-hinting --unicodes=U+0020-007E,U+00A0-00FF,U+0131,U+0237,\
U+02C6-02DD,U+0300-0338,U+0391-03F5,U+2010-2044,U+2057,U+20D0-20EF,U+2102,U+210A-2131,U+2133-2138,U+2190-22FF,\
U+2308-230B,U+23B4,U+23B5,U+23DC-23DF,U+25A0-25FF,U+27E6-27EF,U+27F5-27FC,U+2A00-2A0C,U+2A3F,U+2A7D,U+2A7E,\
U+2AAF,U+2AB0,U+1D400-1D467,U+1D49C-1D56B,U+1D6A4-1D71B
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
