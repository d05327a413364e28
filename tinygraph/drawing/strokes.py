"""The strokes along a road: side by side, from outline to outline, each with its head.

A road is a chain of cubic Bézier curves from the middle of one block to the middle of another. A
track is that curve moved sideways; it is cut where it leaves the one outline and where it meets the
other. Only square roots and the four operations are used, so the result is the same on every
machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

from tinygraph.drawing.layout import Point
from tinygraph.drawing.sheet import Look

__all__ = ["Arrow", "arrow", "outline", "track"]

HEAD, HALF = 6.5, 3.0  # length of an arrow's head, and half its width
SAMPLES, HALVINGS = 24, 30

Inside = Callable[[Point], bool]
Cubic = tuple[Point, Point, Point, Point]


@dataclass(frozen=True, slots=True)
class Arrow:
    """A stroke: control points of its line, and the corners of its head, tip first."""

    points: tuple[Point, ...]
    head: tuple[Point, Point, Point]


def track(road: Sequence[Point], shift: float) -> list[Point]:
    """Move a curve to its left, as seen along it, by moving its control points.

    Parameters
    ----------
    road : sequence of points
        3 n + 1 control points, y downwards.
    shift : float
        In points.

    Returns
    -------
    list of points
    """
    normals = _normals(road)
    return [
        (x + shift * nx, y + shift * ny) for (x, y), (nx, ny) in zip(road, normals, strict=True)
    ]


def arrow(points: Sequence[Point], leaves: Inside, enters: Inside) -> Arrow | None:
    """Cut a curve between two outlines and give it a head.

    Parameters
    ----------
    points : sequence of points
        Control points.
    leaves, enters : callable
        Whether a point lies within the block at the start, and at the end.

    Returns
    -------
    Arrow or None
        None where nothing of it is to be seen.
    """
    cubics = [_cubic(points, k) for k in range(0, len(points) - 1, 3)]
    end = _last(cubics, lambda p: not enters(p))
    start = _first(cubics, lambda p: not leaves(p))
    if start is None or end is None or not start < end:
        return None
    tip, begin = _at(cubics, end), _at(cubics, start)
    length = min(HEAD, 0.6 * _distance(tip, begin))
    base = _last(cubics, lambda p: _distance(p, tip) >= length, end)
    if base is None or not start < base:
        base = start
    foot = _at(cubics, base)
    return Arrow(tuple(_between(cubics, start, base)), _triangle(tip, foot))


def outline(look: Look, middle: Point, size: tuple[float, float]) -> Inside:
    """Say which points lie within a block.

    Parameters
    ----------
    look : Look
    middle : point
    size : pair of float

    Returns
    -------
    callable
    """
    (cx, cy), rx, ry = middle, size[0] / 2, size[1] / 2
    if look.shape == "ellipse":
        return lambda p: ((p[0] - cx) / rx) ** 2 + ((p[1] - cy) / ry) ** 2 < 1
    r = min(look.radius, rx, ry)

    def rounded(p: Point) -> bool:
        x, y = abs(p[0] - cx), abs(p[1] - cy)
        if x >= rx or y >= ry:
            return False
        beyond = max(x - rx + r, 0.0) ** 2 + max(y - ry + r, 0.0) ** 2
        return beyond < r * r or r == 0

    return rounded


# --------------------------------------------------------------------------- along a curve

Place = tuple[int, float]  # which cubic, and where on it


def _cubic(points: Sequence[Point], k: int) -> Cubic:
    a, b, c, d = points[k : k + 4]
    return a, b, c, d


def _split(cubic: Cubic, t: float) -> tuple[Cubic, Cubic]:
    """Split a curve in two, by de Casteljau's construction."""
    a, b, c, d = cubic
    ab, bc, cd = _mix(a, b, t), _mix(b, c, t), _mix(c, d, t)
    abc, bcd = _mix(ab, bc, t), _mix(bc, cd, t)
    middle = _mix(abc, bcd, t)
    return (a, ab, abc, middle), (middle, bcd, cd, d)


def _at(cubics: Sequence[Cubic], place: Place) -> Point:
    return _split(cubics[place[0]], place[1])[0][3]


def _between(cubics: Sequence[Cubic], start: Place, end: Place) -> list[Point]:
    """Give the control points of the part between two places."""
    (i, s), (j, t) = start, end
    if i == j:
        first = _split(cubics[i], t)[0]
        return list(_split(first, s / t)[1])
    points = list(_split(cubics[i], s)[1])
    for k in range(i + 1, j):
        points += cubics[k][1:]
    return points + list(_split(cubics[j], t)[0][1:])


def _first(cubics: Sequence[Cubic], wanted: Inside) -> Place | None:
    """Find the first place that is wanted, coming from the start."""
    places = [(k, s / SAMPLES) for k in range(len(cubics)) for s in range(SAMPLES + 1)]
    return _edge(cubics, places, wanted)


def _last(cubics: Sequence[Cubic], wanted: Inside, before: Place | None = None) -> Place | None:
    """Find the last place that is wanted, coming from the end or from a place before it."""
    last = before or (len(cubics) - 1, 1.0)
    places = [(k, s / SAMPLES) for k in range(len(cubics)) for s in range(SAMPLES + 1)]
    return _edge(cubics, [last, *(p for p in reversed(places) if p < last)], wanted)


def _edge(cubics: Sequence[Cubic], places: Sequence[Place], wanted: Inside) -> Place | None:
    """Walk over places to the first that is wanted, and back to the edge by halving."""
    for k, place in enumerate(places):
        if not wanted(_at(cubics, place)):
            continue
        before = places[k - 1] if k else place
        if before[0] != place[0]:
            return place
        out, into = place[1], before[1]
        for _ in range(HALVINGS):
            half = (out + into) / 2
            if wanted(_at(cubics, (place[0], half))):
                out = half
            else:
                into = half
        return place[0], out
    return None


# --------------------------------------------------------------------------- plane geometry


def _mix(p: Point, q: Point, t: float) -> Point:
    return p[0] + (q[0] - p[0]) * t, p[1] + (q[1] - p[1]) * t


def _distance(p: Point, q: Point) -> float:
    return sqrt((p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2)


def _triangle(tip: Point, foot: Point) -> tuple[Point, Point, Point]:
    length = _distance(tip, foot) or 1.0
    nx, ny = (foot[1] - tip[1]) / length * HALF, (tip[0] - foot[0]) / length * HALF
    return tip, (foot[0] + nx, foot[1] + ny), (foot[0] - nx, foot[1] - ny)


def _normals(road: Sequence[Point]) -> list[Point]:
    """Give the unit normal to the left at every control point; legs of no length have none."""
    legs = []
    for (ax, ay), (bx, by) in pairwise(road):
        length = _distance((ax, ay), (bx, by))
        legs.append(((by - ay) / length, (ax - bx) / length) if length > 1e-6 else None)
    before: list[Point | None] = [None, *legs]
    after: list[Point | None] = [*legs, None]
    for k in range(1, len(before)):
        before[k] = before[k] or before[k - 1]
    for k in range(len(after) - 2, -1, -1):
        after[k] = after[k] or after[k + 1]
    return [_bisector(a or b, b or a) for a, b in zip(before, after, strict=True)]


def _bisector(a: Point | None, b: Point | None) -> Point:
    if a is None or b is None:
        return 0.0, 0.0
    x, y = a[0] + b[0], a[1] + b[1]
    length = sqrt(x * x + y * y)
    return (x / length, y / length) if length > 1e-6 else a
