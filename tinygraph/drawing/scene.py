"""A sheet with its places becomes marks: paths, ellipses, polygons and texts, in groups.

What writes a file (`svg`, `pdf`, `png`) knows these marks and nothing of graphs. The group of a
block, a value or a gradient has an id and classes that stay the same, so that a page can find it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tinygraph.drawing.dot import COLORS, FRAME, frame_names
from tinygraph.drawing.layout import Places, Point
from tinygraph.drawing.sheet import (
    CORNER,
    LEGEND_GAP,
    NUMBER,
    RING,
    Block,
    Road,
    Sheet,
    row_width,
)
from tinygraph.drawing.strokes import arrow, outline, track
from tinygraph.drawing.typography import CAPITAL, GREY, Line, height

__all__ = [
    "PAPER",
    "Ellipse",
    "Group",
    "Mark",
    "Path",
    "Rectangle",
    "Scene",
    "Text",
    "curves",
    "draw_scene",
]

MARGIN = 4.0
PAPER = "white"
NARROWEST, RULES = 240.0, 420.0  # for a legend to stand in, and for numbered rules
DASHES = {"gradient": "5 2.6", "dotted": "1 2.5"}


@dataclass(frozen=True, slots=True)
class Path:
    """A start and cubic curves, or straight lines between corners."""

    points: tuple[Point, ...]
    stroke: str = ""
    fill: str = ""
    width: float = 1.25
    dash: str = ""
    straight: bool = False
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Ellipse:
    """An ellipse by its middle and half axes."""

    middle: Point
    rx: float
    ry: float
    stroke: str
    fill: str
    width: float = 1.2


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A box by its corners, with rounded corners."""

    left: float
    top: float
    right: float
    bottom: float
    radius: float
    stroke: str
    fill: str
    width: float = 1.2
    dash: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """A line of text by the left end of its baseline."""

    x: float
    y: float
    line: Line


Mark = Path | Ellipse | Rectangle | Text


@dataclass(frozen=True, slots=True)
class Group:
    """Marks that belong together.

    Attributes
    ----------
    ident : str
    classes : str
    marks : tuple of marks
    title : str
        Shown where a pointer rests on it.
    data : dict
        What else a page wants to know of it.
    """

    ident: str
    classes: str
    marks: tuple[Mark, ...]
    title: str = ""
    data: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scene:
    """Groups in the order in which they are painted, and the rectangle that holds them."""

    groups: tuple[Group, ...]
    left: float
    top: float
    width: float
    height: float


def draw_scene(sheet: Sheet, places: Places) -> Scene:
    """Draw a sheet at its places, with its legend below.

    Parameters
    ----------
    sheet : Sheet
    places : Places

    Returns
    -------
    Scene
    """
    groups = [*_frames(sheet, places), *_roads(sheet, places), *_titles(sheet, places)]
    groups += [_block(block, places.blocks[block.key]) for block in sheet.blocks.values()]
    left, top, right, bottom = _bounds(groups)
    legend = list(_legend(sheet, (left + right) / 2, bottom + 10, right - left))
    groups += legend
    left, top, right, bottom = _bounds(groups)
    return Scene(
        tuple(groups),
        left - MARGIN,
        top - MARGIN,
        right - left + 2 * MARGIN,
        bottom - top + 2 * MARGIN,
    )


ROUND = 0.5522847498  # where the control points of a quarter of a circle lie


def curves(mark: Path | Ellipse | Rectangle) -> list[tuple[Point, ...]]:
    """Give a shape as a start, lines (one point each) and cubic curves (three).

    Parameters
    ----------
    mark : Path, Ellipse or Rectangle

    Returns
    -------
    list of tuples of points
    """
    match mark:
        case Path(points, straight=straight):
            each = 1 if straight else 3
            return [points[:1], *(points[k : k + each] for k in range(1, len(points), each))]
        case Ellipse((x, y), rx, ry):
            return _rounded(x - rx, y - ry, x + rx, y + ry, rx, ry)
        case Rectangle(left, top, right, bottom, r):
            r = min(r, (right - left) / 2, (bottom - top) / 2)
            return _rounded(left, top, right, bottom, r, r)


def _rounded(
    left: float, top: float, right: float, bottom: float, rx: float, ry: float
) -> list[tuple[Point, ...]]:
    """Go around a box with rounded corners, clockwise."""
    u, v = rx * (1 - ROUND), ry * (1 - ROUND)
    return [
        ((left + rx, top),),
        ((right - rx, top),),
        ((right - u, top), (right, top + v), (right, top + ry)),
        ((right, bottom - ry),),
        ((right, bottom - v), (right - u, bottom), (right - rx, bottom)),
        ((left + rx, bottom),),
        ((left + u, bottom), (left, bottom - v), (left, bottom - ry)),
        ((left, top + ry),),
        ((left, top + v), (left + u, top), (left + rx, top)),
    ]


# --------------------------------------------------------------------------- blocks and frames


def _block(block: Block, middle: Point) -> Group:
    (cx, cy), (w, h), look = middle, block.size, block.look
    marks: list[Mark] = []
    for ring in range(look.rings):
        rx, ry = w / 2 - RING * ring, h / 2 - RING * ring
        if look.shape == "ellipse":
            marks.append(Ellipse(middle, rx, ry, look.border, look.fill))
        elif look.shape == "box":
            shifts = (3.0, 0.0) if look.deep else (0.0,)
            marks += [
                Rectangle(
                    *(cx - rx + d, cy - ry + d, cx + rx + d, cy + ry + d),
                    *(look.radius, look.border, look.fill),
                    dash=DASHES.get(look.dash, ""),
                )
                for d in shifts
            ]
    if block.number:
        number = Line(block.number, GREY, size=NUMBER)
        rings = RING * (look.rings - 1)
        x, y = cx - w / 2 + rings + CORNER, cy - h / 2 + rings + 3 + CAPITAL * NUMBER
        marks.append(Text(x, y, number))
    marks += _centred(block.lines, middle)
    return Group(block.ident, f"node step{block.step}", tuple(marks))


def _frames(sheet: Sheet, places: Places) -> Iterator[Group]:
    for name, scope in frame_names(sheet).items():
        if name not in places.frames or not sheet.frames[scope].shown:
            continue
        (left, top, right, bottom), _ = places.frames[name]
        frame = sheet.frames[scope]
        box = Rectangle(left, top, right, bottom, 6, FRAME["color"], "", 1)
        yield Group(name, f"frame step{frame.step}", (box,))


def _titles(sheet: Sheet, places: Places) -> Iterator[Group]:
    for name, scope in frame_names(sheet).items():
        if name in places.frames and sheet.frames[scope].shown:
            frame, (_, middle) = sheet.frames[scope], places.frames[name]
            marks = tuple(_on_paper(_centred((frame.title,), middle)))
            yield Group(f"{name}-title", f"title step{frame.step}", marks)


def _centred(lines: Sequence[Line], middle: Point) -> Iterator[Text]:
    """Place lines on top of one another; capitals stand in the middle of a line."""
    y = middle[1] - height(lines) / 2
    for line in lines:
        baseline = y + line.height / 2 + CAPITAL * line.size / 2
        if line.text:
            yield Text(middle[0] - line.width / 2, baseline, line)
        y += line.height


def _on_paper(texts: Iterable[Text]) -> Iterator[Mark]:
    """Lay paper under texts, so that no road strikes them through."""
    for text in texts:
        size, right = text.line.size, text.x + text.line.width
        above, below = text.y - CAPITAL * size, text.y + 0.2 * size
        yield Rectangle(text.x - 1, above, right + 1, below, 0, "", PAPER)
        yield text


# --------------------------------------------------------------------------- roads


def _roads(sheet: Sheet, places: Places) -> Iterator[Group]:
    for road in sheet.roads:
        ends = tuple(places.blocks[key] for key in (road.tail, road.head))
        curve = places.roads.get(road.ident) or (ends[0], *ends, ends[1])
        yield from _strokes(road, sheet, curve, ends, places.labels.get(road.ident))


def _strokes(
    road: Road, sheet: Sheet, curve: Sequence[Point], ends: Sequence[Point], label: Point | None
) -> Iterator[Group]:
    """Draw the strokes of one road side by side, the value's nearest to the label."""
    blocks = [sheet.blocks[key] for key in (road.tail, road.head)]
    leaves, enters = (
        outline(block.look, middle, block.size) for block, middle in zip(blocks, ends, strict=True)
    )
    side = 1 if sheet.direction in ("LR", "TB") else -1
    texts = iter(_labels(road, sheet.upright, label))
    for k, stroke in enumerate(road.strokes):
        points = track(curve, side * road.apart * ((len(road.strokes) - 1) / 2 - k))
        back = stroke.kind == "gradient"
        drawn = arrow(points[::-1], enters, leaves) if back else arrow(points, leaves, enters)
        color, marks = COLORS[stroke.kind], list[Mark]()
        if drawn is not None:
            dash = DASHES.get(stroke.kind, "")
            marks.append(Path(drawn.points, color, dash=dash))
            marks.append(Path(drawn.head, fill=color, straight=True, closed=True))
        marks += _on_paper(next(texts) for line in stroke.lines if line.text and label)
        way = (road.head, road.tail) if back else (road.tail, road.head)
        yield Group(
            stroke.ident,
            f"edge {stroke.kind} step{stroke.step}",
            tuple(marks),
            stroke.title,
            {"from": sheet.blocks[way[0]].ident, "to": sheet.blocks[way[1]].ident},
        )


def _labels(road: Road, upright: bool, label: Point | None) -> Iterator[Text]:
    """Place the label beside the strokes, which take up a part of its room."""
    if label is not None:
        x, y = label
        room = road.reach / 2
        yield from _centred(road.lines, (x + room, y) if upright else (x, y - room))


# --------------------------------------------------------------------------- around it


def _legend(sheet: Sheet, middle: float, top: float, room: float) -> Iterator[Group]:
    rows = [[sheet.note]] if sheet.note else []
    rows += list(sheet.legend_rows(max(room, NARROWEST)))
    rules = [[rule] for rule in sheet.rule_rows(max(room, RULES))]
    widest = max(map(row_width, rules), default=0)
    marks = []
    for row in rows + rules:
        x, line = middle - (widest if row in rules else row_width(row)) / 2, row[0]
        baseline = top + line.height / 2 + CAPITAL * line.size / 2
        for entry in row:
            marks.append(Text(x, baseline, entry))
            x += entry.width + LEGEND_GAP
        top += line.height + 3
    if marks:
        yield Group("legend", "legend", tuple(marks))


def _bounds(groups: Sequence[Group]) -> tuple[float, float, float, float]:
    """Give the rectangle around all marks; a curve lies between its control points."""
    corners = [corner for group in groups for mark in group.marks for corner in _corners(mark)]
    xs, ys = [x for x, _ in corners] or [0.0], [y for _, y in corners] or [0.0]
    return min(xs), min(ys), max(xs), max(ys)


def _corners(mark: Mark) -> Sequence[Point]:
    match mark:
        case Path():
            return mark.points
        case Ellipse((x, y), rx, ry):
            return (x - rx, y - ry), (x + rx, y + ry)
        case Rectangle():
            return (mark.left, mark.top), (mark.right, mark.bottom)
        case Text():
            above, below = CAPITAL * mark.line.size, 0.25 * mark.line.size
            return (mark.x, mark.y - above), (mark.x + mark.line.width, mark.y + below)
