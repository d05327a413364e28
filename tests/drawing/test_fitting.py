"""A picture for a page: legible at its width, by folding or by turning."""

import re
import xml.etree.ElementTree as ET

import pytest
from functions import NAMES, make
from svg import SVG

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
    out = make("vae_loss")
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


@pytest.mark.parametrize("direction", ["LR", "TB", "RL", "BT"])
@pytest.mark.parametrize("detail", ["steps", "primitives"])
def test_no_road_crosses_the_title_of_a_frame(direction, detail):
    picture = draw(make("lstm_step"), direction=direction, detail=detail)
    root = ET.fromstring(picture.pipe("svg"))
    groups = {kind: [] for kind in ("title", "frame", "edge")}
    for group in root.iter(f"{SVG}g"):
        groups.get(group.get("class").split()[0], []).append(group)
    assert len(groups["title"]) == len(groups["frame"]) >= 3
    roads = [list(along(path)) for edge in groups["edge"] for path in edge.iter(f"{SVG}path")]
    for title, frame in zip(groups["title"], groups["frame"], strict=True):
        x, y, length = (float(title[-1].get(name)) for name in ("x", "y", "textLength"))
        box = {name: float(frame[0].get(name)) for name in ("x", "y", "width", "height")}
        assert box["x"] <= x - length / 2
        assert x + length / 2 <= box["x"] + box["width"]
        assert box["y"] <= y - 8
        assert y <= box["y"] + box["height"]
        if direction in ("TB", "BT"):
            assert not any(
                abs(p - x) < length / 2 and y - 8 < q < y for road in roads for p, q in road
            ), title[-1].text


def along(path):
    """Give points along a chain of cubic curves or a polygon."""
    numbers = [float(v) for v in re.findall(r"-?[\d.]+", path.get("d"))]
    points = list(zip(numbers[::2], numbers[1::2], strict=True))
    if "C" not in path.get("d"):
        yield from points
        return
    for k in range(0, len(points) - 3, 3):
        for t in (step / 40 for step in range(41)):
            weights = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
            yield tuple(
                sum(w * p[axis] for w, p in zip(weights, points[k : k + 4], strict=True))
                for axis in (0, 1)
            )
