"""What stands on a picture, measured but not yet placed: blocks, roads, frames and a legend.

A *block* is a box with lines of text in it. A *road* leads from one block to another; along it runs
a stroke for the value and one for every gradient that comes back, each with its own label. A
*frame* stands around the blocks of a call or a step. `dot` writes a sheet as DOT, `layout` places
it, `scene` draws it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil, sqrt

from tinygraph.drawing.breaking import filled
from tinygraph.drawing.typography import Line, height, width
from tinygraph.graph.nodes import Gradient, Node

__all__ = [
    "CORNER",
    "LEGEND_GAP",
    "NUMBER",
    "RING",
    "TITLE",
    "Block",
    "Frame",
    "Look",
    "Road",
    "Scope",
    "Sheet",
    "Stroke",
    "row_width",
]

Scope = tuple[str, ...]

TITLE = "title_"  # what the name of a frame's title begins with, where it is a node of its own
NUMBER = 12  # size of a step's number
CORNER, PAD, RING = 3, 6, 3.5
TRACKS = 4.6  # between two strokes of one road
BREADTH = 18.0  # of all strokes of one road


@dataclass(frozen=True, slots=True)
class Look:
    """How a block looks; roles differ in shape or border too, not in colour alone."""

    shape: str = "box"  # or ellipse, or none for text without a border
    fill: str = "#f7f7f7"
    border: str = "#555555"
    radius: float = 6
    dash: str = ""
    rings: int = 1
    deep: bool = False  # a box with two faces, for several in one


@dataclass(frozen=True, slots=True)
class Block:
    """A box with text in it.

    Attributes
    ----------
    key : str
        Its name in DOT.
    ident : str
        Its id in SVG.
    lines : tuple of Lines
    look : Look
    number : str
        Of its step, for the corner.
    scope : tuple of str
        Keys of the frames that it stands in, outermost first.
    step : int
    """

    key: str
    ident: str
    lines: tuple[Line, ...]
    look: Look
    number: str = ""
    scope: Scope = ()
    step: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in points: even, so that half of each is a whole number."""
        w, h = _ellipse(self.lines) if self.look.shape == "ellipse" else self._box()
        more = 2 * RING * (self.look.rings - 1)
        return _even(w + more), _even(h + more)

    def _box(self) -> tuple[float, float]:
        side = CORNER + width(self.number, NUMBER) + 2 if self.number else PAD
        widths = [line.width + 2 * PAD for line in self.lines[1:]]
        first = self.lines[0].width + 2 * max(side, PAD) if self.lines else 0
        return max([first, *widths, 16]), max(height(self.lines) + PAD, 16)


@dataclass(frozen=True, slots=True)
class Stroke:
    """One arrow along a road.

    Attributes
    ----------
    ident : str
        Its id in SVG.
    kind : {"value", "gradient", "read"}
        A gradient runs against the road.
    lines : tuple of Lines
        Its label.
    title : str
        What it is, in full: shown where a pointer rests on it.
    step : int
    shows : Node or Gradient, optional
        The value that flows here, or the gradient that comes back.
    """

    ident: str
    kind: str
    lines: tuple[Line, ...] = ()
    title: str = ""
    step: int = 0
    shows: Node | Gradient | None = None


@dataclass(frozen=True, slots=True)
class Road:
    """The strokes between two blocks, given by their keys."""

    tail: str
    head: str
    strokes: tuple[Stroke, ...]
    main: bool = False
    free: bool = False  # does not say that the head stands behind the tail

    @property
    def ident(self) -> str:
        """The id of its first stroke."""
        return self.strokes[0].ident

    @property
    def lines(self) -> tuple[Line, ...]:
        """The labels of all its strokes, on top of one another."""
        return tuple(line for stroke in self.strokes for line in stroke.lines)

    @property
    def reach(self) -> float:
        """How far strokes reach from the middle of the road towards its label."""
        return (len(self.strokes) - 1) * self.apart / 2 + 2.5

    @property
    def apart(self) -> float:
        """How far two strokes are apart; many stay within the height of a box."""
        return min(TRACKS, BREADTH / max(len(self.strokes) - 1, 1))

    def label_size(self, upright: bool) -> tuple[int, int]:
        """Width and height of the label, with the room that the strokes take up beside it."""
        w = max(line.width for line in self.lines) + 2
        h = height(self.lines)
        return (ceil(w + self.reach), ceil(h)) if upright else (ceil(w), ceil(h + self.reach))


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame with its title; its key is the path of frames around it and itself.

    One that is not `shown` only keeps its blocks together.
    """

    title: Line
    step: int = 0
    shown: bool = True


@dataclass
class Sheet:
    """Everything that stands on one picture.

    Attributes
    ----------
    direction : {"LR", "TB", "RL", "BT"}
        Where values flow to.
    blocks : dict of Blocks, by key
    roads : list of Roads
    frames : dict of Frames, by scope
    legend : list of Lines
        Side by side below the picture.
    note : Line, optional
        Above the legend.
    rules : list of str
        What is too long to stand in the picture: numbered, below the legend.
    order : list of triples
        A block, one that stands at least so many ranks behind it, and that number.
    above : str
        The outermost frame that shall lie above all others, or to the left of them.
    is_mirrored : bool
        Whether it is laid out upside down, and shown the right way up.
    width : float, optional
        That it is shown in at most, in points; what is wider is made smaller.
    """

    direction: str
    blocks: dict[str, Block] = field(default_factory=dict)
    roads: list[Road] = field(default_factory=list)
    frames: dict[Scope, Frame] = field(default_factory=dict)
    legend: list[Line] = field(default_factory=list)
    note: Line | None = None
    rules: list[str] = field(default_factory=list)
    order: list[tuple[str, str, int]] = field(default_factory=list)
    above: str = ""
    is_mirrored: bool = False
    width: float | None = None

    @property
    def gap(self) -> float:
        """Between two ranks, in inches; the label of a road is a rank of its own."""
        return 0.12 if any(road.lines for road in self.roads) else 0.35

    @property
    def upright(self) -> bool:
        """Whether values flow up or down."""
        return self.direction in ("TB", "BT")

    def legend_rows(self, room: float) -> Iterator[list[Line]]:
        """Break the legend into rows that are at most `room` points wide."""
        row: list[Line] = []
        for entry in self.legend:
            if row and row_width([*row, entry]) > room:
                yield row
                row = []
            row.append(entry)
        if row:
            yield row

    def rule_rows(self, room: float) -> Iterator[Line]:
        """Break the numbered rules into rows; those that go on are indented."""
        for number, rule in enumerate(self.rules, 1):
            for k, part in enumerate(filled(rule, max(room - RULE_INDENT, RULE_INDENT))):
                yield Line(f"({number})  {part}" if k == 0 else f"{RULE_SPACE}{part}")


RULE_SPACE = 8 * "\xa0"
RULE_INDENT = width(RULE_SPACE)
LEGEND_GAP = 16


def row_width(row: list[Line]) -> float:
    """Give the width of legend entries side by side."""
    return sum(entry.width for entry in row) + LEGEND_GAP * (len(row) - 1)


def _ellipse(lines: tuple[Line, ...]) -> tuple[float, float]:
    """Give the axes of an ellipse that holds the corners of every line.

    A line of width w whose farther edge is at height y fits where (w/2)²/rx² + y²/ry² ≤ 1.
    """
    h = height(lines)
    ry, top, rx = 0.74 * h + 3, -h / 2, 12.0
    for line in lines:
        y = max(abs(top + 2), abs(top + line.height - 2))
        rx = max(rx, (line.width / 2 + 3) / sqrt(1 - (y / ry) ** 2))
        top += line.height
    return 2 * max(rx, ry), 2 * ry


def _even(length: float) -> int:
    return 2 * ceil(length / 2)
