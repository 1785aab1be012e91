"""The font of the mathematics on the pages, made of STIX Two Math (SIL Open Font License, no reserved name).

``python docs/font.py stix-two-math.woff2`` writes ``_static/fonts/monge-math.woff2``; it needs ``fonttools[woff]``. The
glyphs are cut down to letters, Greek, operators, arrows and delimiters. Accents stand a little higher, and all sizes of
the root sign are equally wide, because browsers leave room for the widest of them beside every root.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fontTools.subset import Options, Subsetter, parse_unicodes
from fontTools.ttLib import TTFont

HELD = """0020-007E 00A0-00FF 0131 0237 02C6-02DD 0300-0338 0391-03F5 2010-2044 2057 20D0-20EF 2102 210A-2131 2133-2138
2190-22FF 2308-230B 23B4 23B5 23DC-23DF 25A0-25FF 27E6-27EF 27F5-27FC 2A00-2A0C 2A3F 2A7D 2A7E 2AAF 2AB0 1D400-1D467
1D49C-1D56B 1D6A4-1D71B"""
ROOT, ACCENTS_FROM = 0x221A, 390
FAMILY = "Monge Math"


def main() -> None:
    font = TTFont(sys.argv[1])
    cutter = Subsetter(Options(layout_features=["*"], hinting=False))
    cutter.populate(unicodes=parse_unicodes(HELD))
    cutter.subset(font)

    mathematics = font["MATH"].table
    mathematics.MathConstants.AccentBaseHeight.Value = ACCENTS_FROM
    root = font.getBestCmap()[ROOT]
    variants = mathematics.MathVariants
    sizes = variants.VertGlyphConstruction[variants.VertGlyphCoverage.glyphs.index(root)]
    names = {size.VariantGlyph for size in sizes.MathGlyphVariantRecord}
    names |= {part.glyph for part in sizes.GlyphAssembly.PartRecords}
    outlines, measures = font["glyf"], font["hmtx"]
    width = measures[root][0]
    for name in names - {root}:
        outlines[name].coordinates.scale((width / measures[name][0], 1))
        outlines[name].coordinates.toInt()
        outlines[name].recalcBounds(outlines)
        measures[name] = (width, outlines[name].xMin)

    for record in font["name"].names:
        if record.nameID in (1, 4, 6):
            record.string = FAMILY.replace(" ", "") if record.nameID == 6 else FAMILY
    font.flavor = "woff2"
    font.save(Path(__file__).parent / "_static" / "fonts" / "monge-math.woff2")


if __name__ == "__main__":
    main()
