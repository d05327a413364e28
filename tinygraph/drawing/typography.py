"""How wide a text is, in the one font that every picture is written in.

The font has neither kerning nor ligatures, so the width of a text is the sum of its characters'
advances; they stand in a table that is made together with the font. No font library is needed, and
no font of the machine is asked.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

__all__ = [
    "BLUE",
    "CAPITAL",
    "FAMILY",
    "GREY",
    "INK",
    "LEADING",
    "LIGHT",
    "RED",
    "Line",
    "font_file",
    "height",
    "printable",
    "width",
]

# Each at least 4.5 : 1 on white and on the filling that it stands on.
INK, GREY, LIGHT, RED, BLUE = "#222222", "#5f5f5f", "#767676", "#b71c1c", "#2b6cb0"

FAMILY = "tinygraph sans"
LEADING = 1.18
"""Distance of two baselines, in units of the size."""
CAPITAL = 0.711
"""Height of a capital letter, in units of the size; what a line is centred by."""

WIDE, OTHER = 1.0, 0.6  # advances of characters that the font lacks, in units of the size


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text in one colour.

    Attributes
    ----------
    text : str
        Printable, on one line; not escaped.
    color : str
    bold : bool
    size : int
        In points.
    """

    text: str
    color: str = INK
    bold: bool = False
    size: int = 13

    @property
    def width(self) -> float:
        """Its width in points."""
        return width(self.text, self.size, self.bold)

    @property
    def height(self) -> float:
        """The height that it takes up, in points."""
        return LEADING * self.size


def font_file(face: str, suffix: str) -> bytes:
    """Read the font.

    Parameters
    ----------
    face : {"regular", "bold"}
    suffix : {"ttf", "woff2"}

    Returns
    -------
    bytes
    """
    return (_FONTS / f"tinygraph-sans-{face}.{suffix}").read_bytes()


def printable(text: str) -> str:
    """Give a text on one line, in which what cannot be seen is replaced.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Examples
    --------
    >>> printable("a" + chr(10) + "b")
    'a↵b'
    """
    return "".join("↵" if c == "\n" else c if c.isprintable() else "\ufffd" for c in text)


def width(text: str, size: float = 13, bold: bool = False) -> float:
    """Give the width of a text in points: the sum of its characters' advances.

    Characters that the font lacks are estimated, by their East Asian width.

    Parameters
    ----------
    text : str
    size : float, optional
        In points.
    bold : bool, optional

    Returns
    -------
    float

    Examples
    --------
    >>> round(width("xmu"), 2), round(width("xmu", bold=True), 2)
    (21.78, 21.92)
    """
    table = _metrics()
    face, units = table["bold" if bold else "regular"], table["units"]
    return float(
        sum(face[c][0] if c in face else units * _estimate(c) for c in text) * size / units
    )


def height(lines: Iterable[Line]) -> float:
    """Give the height of lines on top of one another, in points."""
    return sum(line.height for line in lines)


_FONTS = files("tinygraph.drawing") / "fonts"


@cache
def _metrics() -> dict[str, Any]:
    table: dict[str, Any] = json.loads((_FONTS / "metrics.json").read_text(encoding="utf-8"))
    return table


def _estimate(character: str) -> float:
    if unicodedata.combining(character):
        return 0
    return WIDE if unicodedata.east_asian_width(character) in "WF" else OTHER
