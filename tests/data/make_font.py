"""Build the font that pictures are measured with and written in.

    pip install fonttools brotli
    apt-get download fonts-roboto-unhinted fonts-dejavu-core fonts-dejavu-extra
    for file in fonts-*.deb; do dpkg-deb -x $file fonts; done
    python tests/data/make_font.py fonts/usr/share/fonts/truetype

Roboto Condensed, and from DejaVu Sans Condensed the signs that it lacks, cut down to the characters
of formulas and merged under a name of their own, as DejaVu's licence demands. Kerning, ligatures
and hinting are dropped: the width of a text is the sum of the advances in ``metrics.json``, in
every program. A rebuild gives the same bytes.
"""

import argparse
import json
from pathlib import Path

from fontTools import subset
from fontTools.misc.timeTools import timestampFromString
from fontTools.pens.recordingPen import DecomposingRecordingPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont

FAMILY = "tinygraph sans"
FOLDER = Path(__file__).parents[2] / "tinygraph" / "drawing" / "fonts"
MADE = timestampFromString("Sat Jan  1 00:00:00 2000")

LETTERS = (
    "".join(map(chr, range(0x20, 0x7F)))
    + "ÄÅÇÉÖØÜßàáâäåæçèéêëíîïñóôöøúûüÿ"
    + "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩαβγδεζηθικλμνξοπρςστυφχψωϑϕϵ"
    + "\u00a0¬°±²³·¹½×÷"
    + "₀₁₂₃₄₅₆₇₈₉⁰⁴⁵⁶⁷⁸⁹⁻ᵀᵗⁿ"
    + "–—‘’“”…′″−√∂∏∑∞∫≈≠≤≥◊"
)
SIGNS = "∇∈∘⊙→←⇠↦↵✓✗○◎▭⟨⟩⁽⁾\ufffd"
FACES = {"regular": ("Regular", ""), "bold": ("Bold", "-Bold")}


def cut(font: TTFont, characters: str) -> TTFont:
    """Keep the outlines of `characters` and what places them, and nothing else."""
    options = subset.Options()
    options.layout_features = []
    options.hinting = False
    options.notdef_outline = True
    options.glyph_names = False
    options.name_IDs = []
    options.drop_tables += ["GSUB", "GPOS", "GDEF", "kern", "DSIG", "FFTM", "gasp", "LTSH", "VDMX"]
    subsetter = subset.Subsetter(options)
    subsetter.populate(text=characters)
    subsetter.subset(font)
    return font


def decompose(font: TTFont) -> None:
    """Write every glyph out, so that a reader needs to know of simple ones only."""
    glyphs, table = font.getGlyphSet(), font["glyf"]
    for name in [name for name in font.getGlyphOrder() if table[name].isComposite()]:
        recording = DecomposingRecordingPen(glyphs)
        glyphs[name].draw(recording)
        pen = TTGlyphPen(None)
        recording.replay(pen)
        table[name] = pen.glyph()


def add_signs(font: TTFont, other: TTFont, signs: str) -> None:
    """Copy the outlines of `signs`, which both fonts draw in the same units."""
    if font["head"].unitsPerEm != other["head"].unitsPerEm:
        raise ValueError("the two fonts have different units")
    names, glyphs = other.getBestCmap(), other.getGlyphSet()
    for sign in signs:
        recording = DecomposingRecordingPen(glyphs)
        glyphs[names[ord(sign)]].draw(recording)
        pen = TTGlyphPen(None)
        recording.replay(pen)
        name = f"uni{ord(sign):04X}"
        font["glyf"][name] = pen.glyph()  # which also adds it to the order of glyphs
        font["hmtx"][name] = other["hmtx"][names[ord(sign)]]
        for table in font["cmap"].tables:
            table.cmap[ord(sign)] = name


def name_it(font: TTFont, face: str) -> None:
    """Give the font its own name, and dates that do not change."""
    style = face.title()
    postscript = f"{FAMILY.title().replace(' ', '')}-{style}"
    for number, text in {
        0: "Roboto: Copyright 2011 Google Inc. DejaVu: see LICENSE-DejaVu.txt.",
        1: FAMILY,
        2: style,
        3: postscript,
        4: f"{FAMILY} {style}",
        5: "Version 1.0",
        6: postscript,
        13: "Apache License 2.0, and the licence of DejaVu; see the files beside this one.",
    }.items():
        font["name"].setName(text, number, 3, 1, 0x409)
    font["head"].created = font["head"].modified = MADE
    font.recalcTimestamp = False


def build(sources: Path, face: str) -> TTFont:
    """Merge one face."""
    roboto, dejavu = FACES[face]
    (main,) = sources.rglob(f"RobotoCondensed-{roboto}.ttf")
    (rest,) = sources.rglob(f"DejaVuSansCondensed{dejavu}.ttf")
    font = TTFont(main, recalcTimestamp=False)
    missing = "".join(c for c in SIGNS if ord(c) not in font.getBestCmap())
    font = cut(font, LETTERS + SIGNS)
    decompose(font)
    add_signs(font, TTFont(rest), missing)
    name_it(font, face)
    return font


def metrics(font: TTFont) -> dict[str, tuple[int, int]]:
    """Give advance and glyph number of every character."""
    names = sorted(font.getBestCmap().items())
    return {chr(code): (font["hmtx"][name][0], font.getGlyphID(name)) for code, name in names}


def main() -> None:
    """Write both faces as TTF and WOFF2, and the table of advances and glyphs."""
    parser = argparse.ArgumentParser(description="Build the font of pictures.")
    parser.add_argument("sources", type=Path, help="folder with both fonts' .ttf files")
    parser.add_argument("-o", "--output", type=Path, default=FOLDER)
    options = parser.parse_args()
    table: dict[str, object] = {}
    for face in FACES:
        font = build(options.sources, face)
        path = options.output / f"tinygraph-sans-{face}.ttf"
        font.save(path)
        font = TTFont(path, recalcTimestamp=False)
        table["units"] = font["head"].unitsPerEm
        table["ascent"], table["descent"] = font["hhea"].ascent, -font["hhea"].descent
        table[face] = metrics(font)
        font.flavor = "woff2"
        font.save(path.with_suffix(".woff2"))
    text = json.dumps(table, ensure_ascii=False, separators=(",", ":"))
    (options.output / "metrics.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
