"""A picture for a page: legible at its width, by folding or by turning."""

import xml.etree.ElementTree as ET

import pytest
from functions import NAMES, make

from tinygraph import draw
from tinygraph.drawing.fitting import LEGIBLE, PAGE, fold
from tinygraph.drawing.sheet import NUMBER


def lettering(picture, width):
    """Give the smallest lettering at a width, in points."""
    return NUMBER * min(1, width / picture.natural_width())


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_is_legible_on_a_page(name):
    picture = draw(make(name), width=PAGE)
    assert lettering(picture, PAGE) >= LEGIBLE
    root = ET.fromstring(picture.pipe("svg"))
    assert float(root.get("width").removesuffix("pt")) <= PAGE + 0.01


def test_batchnorm_is_folded_before_it_is_turned():
    wide, page, column = (draw(make("staged"), width=w) for w in (1500, PAGE, 200))
    assert [p.sheet.direction for p in (wide, page, column)] == ["LR", "LR", "TB"]
    free = [[road.ident for road in p.sheet.roads if road.free] for p in (wide, page, column)]
    assert free == [[], ["v-ivar"], []]
    assert page.natural_width() < 0.75 * wide.natural_width()
    assert lettering(column, 200) >= LEGIBLE


def test_a_direction_that_is_asked_for_is_kept():
    out = make("lstm_step")
    assert draw(out, width=PAGE).sheet.direction == "TB"
    assert draw(out, width=PAGE, direction="LR").sheet.direction == "LR"
    assert draw(out, direction="auto").sheet.direction == "TB"
    assert draw(out).sheet.direction == "LR"
    assert draw(make("residual"), direction="auto").sheet.direction == "LR"


def test_without_a_side_chain_there_is_nothing_to_fold():
    assert fold(draw(make("attention")).sheet) is None


def test_a_picture_is_never_made_larger():
    picture = draw(make("residual"), width=10_000)
    root = ET.fromstring(picture.pipe("svg"))
    assert float(root.get("width").removesuffix("pt")) == pytest.approx(
        picture.natural_width(), abs=0.01
    )


def test_a_legend_can_be_left_out():
    shown, bare = draw(make("residual")), draw(make("residual"), legend=False)
    assert b'id="legend"' in shown.pipe("svg")
    assert b'id="legend"' not in bare.pipe("svg")
    assert "○ input" not in bare.source


@pytest.mark.parametrize("width", [0, -3, float("nan")])
def test_a_width_is_positive(width):
    with pytest.raises(ValueError, match=r"width is .*must be a positive number of points"):
        draw(make("residual"), width=width)
