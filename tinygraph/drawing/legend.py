"""How roles look, and the legend that says so.

Roles are told apart by colour and by shape or line, so that print and colour-blind readers lose
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tinygraph.drawing.sheet import Block, Look, Road, Sheet
from tinygraph.drawing.typography import BLUE, GREY, INK, LIGHT, RED, Line, printable

__all__ = ["legend", "line_of", "mentions"]

STEP = Look()
INPUT = Look("ellipse", "#dcebfa", BLUE)
OUTPUT = Look("none")
ELSEWHERE = Look(fill="white", dash="dotted")
GROUP = Look(radius=0, deep=True)
BACKWARD = Look(fill="#fdeaea", border=RED, radius=0)
ADDED = Look(fill="#fdeaea", border=RED, radius=0, rings=2)
SUM = Look("ellipse", "#fdeaea", RED, rings=2)
AGAIN = Look("ellipse", "white", BLUE)
READ = Look(fill="white", border=GREY, radius=3, dash="dotted")


def legend(
    sheet: Sheet,
    entries: Sequence[str],
    values: Mapping[str, str],
    signs: Mapping[str, str],
    *,
    numbers: bool,
) -> list[Line]:
    """Say what those of a picture's marks mean that are seen on it.

    Parameters
    ----------
    sheet : Sheet
    entries : sequence of str
        Which marks the view has, in their order.
    values, signs : mapping of str to str
        What constants are, and what signs mean.
    numbers : bool
        Whether values and gradients stand in the boxes.

    Returns
    -------
    list of Lines
    """
    blocks = sheet.blocks.values()
    looks = {block.look for block in blocks}
    kinds = {stroke.kind for road in sheet.roads for stroke in road.strokes}
    marks = {
        "input": (Line("○ input", BLUE), INPUT in looks),
        "step": (Line("▭ step"), STEP in looks),
        "primitive": (Line("▭ primitive"), STEP in looks),
        "value": (Line("→ value"), "value" in kinds),
        "gradient": (Line("⇠ gradient", RED), "gradient" in kinds),
        "sum": (Line("◎ gradients add up", RED), bool({SUM, ADDED} & looks)),
        "read": (Line("→ value that a rule reads", LIGHT), "read" in kinds),
    }
    seen = [mark for entry in entries for mark, is_seen in [marks[entry]] if is_seen]
    text = _text(sheet)
    explained = ["numbers: value | gradient"] * numbers
    explained += [f"{name} = {value}" for name, value in values.items() if _has(text, name)]
    explained += [f"{sign}: {meaning}" for sign, meaning in signs.items() if _shows(text, sign)]
    return seen + [line_of(one, GREY) for one in explained]


def mentions(sheet: Sheet, name: str) -> bool:
    """Whether a name stands somewhere on a picture."""
    return _has(_text(sheet), name)


def _text(sheet: Sheet) -> str:
    """Give all that is written on a picture."""
    things: list[Block | Road] = [*sheet.blocks.values(), *sheet.roads]
    written = [line.text for thing in things for line in thing.lines]
    written += [frame.title.text for frame in sheet.frames.values()]
    return "\n".join(written + sheet.rules)


def _has(text: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(printable(word))}(?!\w)", text) is not None


def _shows(text: str, sign: str) -> bool:
    """Whether a sign is seen: the σ of σ(z), the ᵀ of aᵀ, and of Σ₁ not the beginning of Σ₁₂."""
    mark = re.sub(r"\(.*|[a-z]", "", sign)
    return re.search(rf"{re.escape(mark)}(?![₀-₉])", text) is not None


def line_of(text: str, color: str = INK, *, bold: bool = False, size: int = 13) -> Line:
    """Give a line of text, of which every character can be printed."""
    return Line(printable(text), color, bold, size)
