"""Names: what a person calls a variable, taken apart as mathematics writes it.

A letter stands in italics, a word upright; ``xhat`` is an x with a hat, ``h_prev`` and ``Wx`` an h
and a W with an index, ``S′`` the second value of S.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from tinygraph.graph.marks import unmarked

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
    """A letter or a word, what stands above it, its indices, and which of its values it is."""

    letter: str
    word: str
    accent: str
    indices: tuple[str, ...]
    version: int = 1


def parsed(name: str) -> Name:
    """Take a name apart.

    Examples
    --------
    >>> parsed("xhat")
    Name(letter='x', word='', accent='hat', indices=(), version=1)
    >>> parsed("W_out2").indices, parsed("Wx").indices, parsed("mu").letter, parsed("S″").version
    (('out', '2'), ('x',), 'μ', 3)
    """
    name, version = unmarked(unicodedata.normalize("NFC", name))
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
    return Name(stem, word, accent, tuple(filter(None, [inner, index])), version)
