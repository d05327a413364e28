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
    "advance",
    "font_file",
    "glyph",
    "height",
    "metrics",
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
    return size * sum(advance(character, bold) for character in text)


def advance(character: str, bold: bool = False) -> float:
    """Give how far a character moves the pen, in units of the size.

    Parameters
    ----------
    character : str
    bold : bool, optional

    Returns
    -------
    float
    """
    table = metrics()
    found = table["bold" if bold else "regular"].get(character)
    return float(found[0] / table["units"]) if found else _estimate(character)


def glyph(character: str, bold: bool = False) -> int:
    """Give the number of a character's glyph in the font; 0 if it lacks it.

    Parameters
    ----------
    character : str
    bold : bool, optional

    Returns
    -------
    int
    """
    found = metrics()["bold" if bold else "regular"].get(character)
    return int(found[1]) if found else 0


def height(lines: Iterable[Line]) -> float:
    """Give the height of lines on top of one another, in points."""
    return sum(line.height for line in lines)


_FONTS = files("tinygraph.drawing") / "fonts"


@cache
def metrics() -> dict[str, Any]:
    """Give units, ascent and descent of the font, and advance and glyph of every character.

    Returns
    -------
    dict
    """
    table: dict[str, Any] = json.loads((_FONTS / "metrics.json").read_text(encoding="utf-8"))
    return table


def _estimate(character: str) -> float:
    if unicodedata.combining(character):
        return 0
    return WIDE if unicodedata.east_asian_width(character) in "WF" else OTHER
