"""Strokes: tracks side by side, cut at the outlines, each with a head that touches its block."""

import math

import numpy as np
import pytest

from tinygraph.drawing.sheet import Look
from tinygraph.drawing.strokes import HEAD, arrow, outline, track

STRAIGHT = [(0.0, 0.0), (40.0, 0.0), (80.0, 0.0), (120.0, 0.0)]
SLANTED = [(0.0, 0.0), (30.0, 50.0), (90.0, 50.0), (120.0, 100.0)]
TWO = [*SLANTED, (150.0, 150.0), (150.0, 180.0), (200.0, 190.0)]
LOOKS = {
    "box": (Look(), (40.0, 20.0)),
    "sharp box": (Look(radius=0), (40.0, 20.0)),
    "ellipse": (Look("ellipse"), (40.0, 26.0)),
    "rings": (Look("ellipse", rings=2), (30.0, 30.0)),
}


def at(points, n=60):
    """Give points along a chain of cubic curves."""
    t = np.linspace(0, 1, n)[:, None]
    s = 1 - t
    cubics = (np.array(points[k : k + 4]) for k in range(0, len(points) - 1, 3))
    return np.concatenate(
        [a * s**3 + 3 * b * s * s * t + 3 * c * s * t * t + d * t**3 for a, b, c, d in cubics]
    )


def test_a_track_lies_to_the_left():
    assert track(STRAIGHT, 2.5) == [(x, -2.5) for x, _ in STRAIGHT]
    assert track(STRAIGHT[::-1], 2.5) == [(x, 2.5) for x, _ in STRAIGHT[::-1]]


@pytest.mark.parametrize("road", [SLANTED, TWO], ids=["one curve", "two"])
@pytest.mark.parametrize("shift", [-4.6, 2.3])
def test_a_track_keeps_its_distance(road, shift):
    way, moved = at(road, 400), at(track(road, shift))
    nearest = np.sqrt(((moved[:, None] - way[None]) ** 2).sum(-1)).min(axis=1)
    assert abs(nearest - abs(shift)).max() < 0.3 * abs(shift)


def test_legs_of_no_length_do_no_harm():
    twice = [(0.0, 0.0), (0.0, 0.0), (120.0, 0.0), (120.0, 0.0)]
    assert track(twice, 1.0) == [(x, -1.0) for x, _ in twice]
    assert track([(5.0, 5.0)] * 4, 1.0) == [(5.0, 5.0)] * 4


@pytest.mark.parametrize("first", LOOKS)
@pytest.mark.parametrize("last", LOOKS)
@pytest.mark.parametrize("road", [STRAIGHT, SLANTED, TWO], ids=["straight", "slanted", "two"])
@pytest.mark.parametrize("shift", [-2.3, 0.0, 2.3])
def test_a_stroke_goes_from_outline_to_outline(first, last, road, shift):
    (a, size_a), (b, size_b) = LOOKS[first], LOOKS[last]
    leaves, enters = outline(a, road[0], size_a), outline(b, road[-1], size_b)
    drawn = arrow(track(road, shift), leaves, enters)
    tip, *corners = drawn.head
    # the tip touches the outline from outside, and nothing else of it lies in a block
    inward = np.array(tip) - np.mean(corners, axis=0)
    inward /= np.hypot(*inward)
    assert not enters(tip)
    assert enters(tuple(np.array(tip) + 0.05 * inward))
    assert not any(leaves(tuple(p)) or enters(tuple(p)) for p in at(drawn.points)[2:])
    # the head is as long as it should be, and the line ends where the head begins
    foot = np.mean(corners, axis=0)
    assert math.dist(tip, foot) == pytest.approx(HEAD, abs=0.01)
    assert np.allclose(drawn.points[-1], foot, atol=0.01)


def test_a_stroke_between_touching_blocks_is_not_drawn():
    box, _ = LOOKS["box"]
    near = outline(box, (0.0, 0.0), (40.0, 20.0)), outline(box, (30.0, 0.0), (40.0, 20.0))
    assert arrow([(0.0, 0.0), (10.0, 0.0), (20.0, 0.0), (30.0, 0.0)], *near) is None


def test_a_short_stroke_has_a_short_head():
    box, _ = LOOKS["box"]
    ends = outline(box, (0.0, 0.0), (40.0, 20.0)), outline(box, (44.0, 0.0), (40.0, 20.0))
    drawn = arrow([(0.0, 0.0), (15.0, 0.0), (30.0, 0.0), (44.0, 0.0)], *ends)
    assert 20 <= drawn.points[0][0] < drawn.points[-1][0] < drawn.head[0][0] <= 24


def test_an_outline_is_that_of_its_shape():
    ellipse = outline(Look("ellipse"), (0.0, 0.0), (40.0, 20.0))
    box = outline(Look(radius=0), (0.0, 0.0), (40.0, 20.0))
    rounded = outline(Look(radius=6), (0.0, 0.0), (40.0, 20.0))
    for inside in (ellipse, box, rounded):
        assert inside((0.0, 0.0))
        assert inside((19.9, 0.0))
        assert not inside((20.1, 0.0))
    corner = (19.0, 9.0)
    assert [inside(corner) for inside in (ellipse, box, rounded)] == [False, True, False]
