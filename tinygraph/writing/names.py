"""Names: what a person calls a variable, taken apart as mathematics writes it.

A letter stands in italics, a word upright; ``xhat`` is an x with a hat, ``h_prev`` and ``Wx`` an h
and a W with an index.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

__all__ = ["GREEK", "Name", "parsed"]

LETTERS = "αβγδϵεζηθϑικλμνξπρσςτυφϕχψωΓΔΘΛΞΠΣΥΦΨΩ"
COMMANDS = """
    alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi
    rho sigma varsigma tau upsilon varphi phi chi psi omega
    Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega
"""
GREEK = dict(zip(LETTERS, COMMANDS.split(), strict=True))
"""What a Greek letter is called, in LaTeX and by people who write programs."""

_CHARACTER = {command: letter for letter, command in GREEK.items()}
_LETTER = rf"[A-Za-z{LETTERS}]|{'|'.join(_CHARACTER)}"


class Name(NamedTuple):
    """A letter or a word, what stands above it, and its indices."""

    letter: str
    word: str
    accent: str
    indices: tuple[str, ...]


def parsed(name: str) -> Name:
    """Take a name apart.

    Examples
    --------
    >>> parsed("xhat"), parsed("W_out2")
    (Name(letter='x', word='', accent='hat', indices=()), \
Name(letter='W', word='', accent='', indices=('out', '2')))
    >>> parsed("Wx").indices, parsed("mu").letter, parsed("sqrtvar").word
    (('x',), 'μ', 'sqrtvar')
    """
    name = unicodedata.normalize("NFC", name)
    indexed = re.fullmatch(r"(.*[^\W\d_])(?:_?([0-9]+)|\[([0-9]+)\])", name)
    base, index = (indexed[1], indexed[2] or indexed[3]) if indexed else (name, "")
    letter = re.fullmatch(rf"({_LETTER})_?(hat|bar|tilde)?(?:_(.+))?", base)
    short = re.fullmatch(r"([A-Z])([a-z])", base)
    if base == "eps":
        stem, word, accent, inner = "ε", "", "", ""
    elif letter:
        stem, word = _CHARACTER.get(letter[1], letter[1]), ""
        accent, inner = letter[2] or "", letter[3] or ""
    elif short:
        stem, word, accent, inner = short[1], "", "", short[2]
    else:
        stem, word, accent, inner = "", base, "", ""
    return Name(stem, word, accent, tuple(filter(None, [inner, index])))
