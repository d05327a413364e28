"""How a text too wide for one line is broken: at an operator, and outside brackets first."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, pairwise, takewhile

from tinygraph.drawing.typography import width

__all__ = ["broken", "filled"]

# By how loosely they bind; a line ends with those of TRAILING and begins with the others.
BINDING = {"=": 0, "+": 1, "−": 1, "·": 2, "/": 2, "@": 2, ",": 3}
TRAILING = "=,"
LOOSE = 1


def broken(text: str, widest: float, loosely: float | None = None) -> list[str]:
    """Break a text at its operators, the loosest first, until its lines are no wider than asked.

    Parameters
    ----------
    text : str
    widest : float
        In points. What has no operator is as wide as it is.
    loosely : float, optional
        A smaller width for what can be broken at an equals sign or between the terms of a sum.

    Returns
    -------
    list of str

    Examples
    --------
    >>> broken("dW = xᵀ @ (dh · (1 − h²)) + dV", 100)
    ['dW =', 'xᵀ @ (dh · (1 − h²))', '+ dV']
    """
    breaks = list(_breaks(text))
    level = min((level for _, level in breaks), default=None)
    is_loose = level is not None and level <= (0, LOOSE)
    room = min(widest, loosely or widest) if is_loose else widest
    if level is None or width(text) <= room:
        return [text]
    ends = [0, *(end for end, found in breaks if found == level), len(text)]
    lines: list[str] = []
    for start, end in pairwise(ends):
        part = text[start:end].strip()
        if lines and not lines[-1].endswith(" =") and width(f"{lines[-1]} {part}") <= room:
            lines[-1] += f" {part}"
        else:
            lines += broken(part, widest, loosely)
    return lines


def filled(text: str, widest: float) -> list[str]:
    """Fill lines with a text that runs on: broken at any operator, and within a long word.

    Parameters
    ----------
    text : str
    widest : float
        In points.

    Returns
    -------
    list of str
    """
    lines = [""]
    ends = [0, *(end for end, _ in _breaks(text)), len(text)]
    for start, end in pairwise(ends):
        part = text[start:end].strip()
        longer = f"{lines[-1]} {part}".lstrip()
        if width(longer) <= widest:
            lines[-1] = longer
        else:
            lines += _cut(part, widest)
    return lines if lines[0] else lines[1:]


def _cut(word: str, widest: float) -> list[str]:
    """Cut a word into pieces that are no wider than asked, but for single letters."""
    pieces = []
    while width(word) > widest and len(word) > 1:
        reach = accumulate(width(character) for character in word)
        fits = max(1, sum(1 for _ in takewhile(lambda so_far: so_far <= widest, reach)))
        pieces.append(word[:fits])
        word = word[fits:]
    return [*pieces, word] if word else pieces


def _breaks(text: str) -> Iterator[tuple[int, tuple[int, int]]]:
    """Give where a line may end, and how deep in brackets and how loosely bound that is."""
    depth = 0
    for k, c in enumerate(text):
        depth += (c in "([{") - (c in ")]}")
        spaced = text[k + 1 : k + 2] == " " and (c == "," or text[k - 1 : k] == " ")
        if k and c in BINDING and spaced:
            yield (k + 1 if c in TRAILING else k), (depth, BINDING[c])
