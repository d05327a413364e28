"""Tables of plain text, whose columns stand in line in a terminal.

A name may hold any letter. A Chinese one takes two columns, a combining accent none, and what
would start a new line is written as a space.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Sequence
from functools import cache

__all__ = ["printable", "table"]


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Collection[int] = ()
) -> list[str]:
    r"""Lay cells out in columns, below a head and a rule.

    Parameters
    ----------
    head : sequence of str
    rows : iterable of sequences of str
        As many cells each as the head has.
    right : collection of int, optional
        Columns that end in line, as numbers do; the others begin in line.

    Returns
    -------
    list of str
        A line per row, after the two of head and rule.

    Examples
    --------
    >>> print("\n".join(table(("n", "name"), [("9", "方差"), ("10", "mu")], right=[0])))
     n  name
    --  ----
     9  方差
    10  mu
    """
    columns = []
    for k, column in enumerate(zip(head, *rows, strict=True)):
        cells = [printable(cell) for cell in column]
        lengths = [_columns(cell) for cell in cells]
        width = max(lengths)
        room = [" " * (width - n) for n in lengths]
        sides = (room, cells) if k in right else (cells, room)
        first, *below = map("".join, zip(*sides, strict=True))
        columns.append([first, "-" * width, *below])
    return ["  ".join(line).rstrip() for line in zip(*columns, strict=True)]


def printable(text: str) -> str:
    """Keep text on its line."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def _columns(text: str) -> int:
    """Count the columns that a terminal shows."""
    return len(text) if text.isascii() else sum(map(_width, text))


@cache
def _width(c: str) -> int:
    wide = unicodedata.east_asian_width(c) in ("W", "F")
    return 1 + wide - (unicodedata.combining(c) > 0)
