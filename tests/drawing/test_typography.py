"""The font: what is measured is what is in it, and what pictures say can be written in it."""

import struct
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygraph.drawing import dot, typography
from tinygraph.drawing.glyphs import contours
from tinygraph.drawing.typography import (
    Line,
    advance,
    font_file,
    glyph,
    height,
    metrics,
    printable,
    width,
)

FACES = ["regular", "bold"]
WRITTEN = "√(var + eps) 1/N Σ xmu² · − Σ₀ ₁₂ (aᵀ @ b)ᵀ ≤ ≥ ≠ ∞ ∂ ½ … ↵ ○ ▭ → ⇠ ◎ γ ε é – \ufffd"


def table(file, tag):
    (count,) = struct.unpack_from(">H", file, 4)
    for k in range(count):
        name, _, place, length = struct.unpack_from(">4s3I", file, 12 + 16 * k)
        if name == tag:
            return file[place : place + length]
    raise KeyError(tag)


@pytest.mark.parametrize("face", FACES)
def test_the_table_of_advances_is_that_of_the_font(face):
    file, found = font_file(face, "ttf"), metrics()
    (units,) = struct.unpack_from(">H", table(file, b"head"), 18)
    (long,) = struct.unpack_from(">H", table(file, b"hhea"), 34)
    advances = struct.unpack_from(f">{'Hh' * long}", table(file, b"hmtx"))[::2]
    assert units == found["units"]
    assert len(found[face]) >= 240
    for character, (advanced, number) in found[face].items():
        assert advances[min(number, long - 1)] == advanced, character
        assert glyph(character, face == "bold") == number > 0


@pytest.mark.parametrize("face", FACES)
def test_the_font_has_no_kerning_and_a_name_of_its_own(face):
    file = font_file(face, "ttf")
    for tag in (b"GPOS", b"GSUB", b"kern", b"fpgm"):
        with pytest.raises(KeyError):
            table(file, tag)
    names = table(file, b"name").decode("utf-16-be", errors="replace")
    assert "tinygraph sans" in names
    assert "Bitstream" not in names
    assert font_file(face, "woff2").startswith(b"wOF2")


def test_both_licences_lie_beside_the_font():
    folder = files("tinygraph.drawing") / "fonts"
    assert "Apache License" in (folder / "LICENSE-Roboto.txt").read_text()
    assert "Bitstream" in (folder / "LICENSE-DejaVu.txt").read_text()


def test_every_sign_of_a_picture_is_in_the_font():
    for face in FACES:
        assert set(WRITTEN) <= set(metrics()[face])


@given(st.text(max_size=20), st.text(max_size=20), st.booleans())
def test_a_width_is_a_sum(one, other, bold):
    total = width(one + other, 13, bold)
    assert total == pytest.approx(width(one, 13, bold) + width(other, 13, bold))
    assert width(one, 26, bold) == pytest.approx(2 * width(one, 13, bold))
    assert Line(one, bold=bold).width == width(one, 13, bold)


def test_what_the_font_lacks_is_estimated():
    assert advance("学") == 1
    assert 0.4 < advance("ℵ") < 1
    assert advance("\u0301") == 0
    assert width("学習率🙂", 10) == 40
    assert glyph("学") == 0


def test_lines_stand_on_top_of_one_another():
    lines = [Line("a"), Line("b", size=12)]
    assert height(lines) == pytest.approx(typography.LEADING * 25)


@given(st.text(st.characters(codec=None, categories=None), max_size=12))
def test_printable_text_is_on_one_line_and_can_be_encoded(text):
    shown = printable(text)
    assert len(shown) == len(text)
    assert shown.isprintable() or "\ufffd" in shown or not shown
    shown.encode("utf-8")
    assert len(shown.splitlines()) <= 1


def contrast(a, b):
    def light(color):
        parts = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return sum(v * w for v, w in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))

    high, low = sorted((light(a), light(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("ground", ["#ffffff", "#f7f7f7", "#dcebfa", "#fdeaea"])
@pytest.mark.parametrize("color", [typography.INK, typography.GREY, typography.RED])
def test_text_is_dark_enough_on_every_filling(color, ground):
    assert contrast(color, ground) >= 4.5


def test_colours_of_the_legend_are_dark_enough_on_paper():
    for color in (typography.BLUE, typography.LIGHT, *dot.COLORS.values()):
        assert contrast(color, "#ffffff") >= 4.5


def test_contours_lie_between_start_and_advance():
    for bold in (False, True):
        for character in "xhatΣ√0g":
            found = contours(character, bold)
            assert found
            for contour in found:
                assert contour[:, 0].min() > -0.1
                assert contour[:, 0].max() < advance(character, bold) + 0.1
                assert contour[:, 1].min() > -0.3
                assert contour[:, 1].max() < 1.1
    assert len(contours("o", False)) == 2
    assert contours(" ", False) == ()
