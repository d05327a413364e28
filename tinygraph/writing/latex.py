"""LaTeX: the names and numbers of a graph as mathematics.

Whatever a person calls a variable is written with the commands that LaTeX has in math mode, so that
no name breaks a formula; amsmath and matplotlib's mathtext both take the result.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from tinygraph.graph.marks import part_of
from tinygraph.writing.names import GREEK, parsed

__all__ = ["axes", "broken", "exact_name", "gradient", "length", "name", "number", "operator"]

ACCENTS = {
    "\u0302": "hat", "\u0304": "bar", "\u0303": "tilde", "\u0307": "dot", "\u0308": "ddot",
    "\u0301": "acute", "\u0300": "grave", "\u030c": "check", "\u0306": "breve",
}  # fmt: skip
SIGNS = {c: c for c in map(chr, range(33, 127)) if c not in '"&`'}  # those mathtext does not know
SIGNS |= {c: rf"\{c}" for c in "{}$%_"}
SIGNS |= {"\\": r"\backslash ", "^": r"\wedge ", "~": r"\sim ", "#": r"\# ", " ": r"\ "}
PRIMES = {2: "'", 3: "''"}


def name(name: str) -> str:
    r"""Write a variable: a letter in italics, a word upright, with hat and index where it has them.

    The mark of a version stays above, in braces, so that a power can follow.

    Examples
    --------
    >>> print(*map(name, ("mu", "xhat", "h[0]", "w_out", "Wx", "sqrtvar", "γ", "eps")))
    \mu \hat{x} h_{0} w_{\mathrm{out}} W_{x} \mathrm{sqrtvar} \gamma \varepsilon
    >>> print(*map(name, ("S′", "S⁽⁴⁾")))
    {S'} {S^{(4)}}
    """
    letter, word, accent, indices, version = parsed(name)
    stem = exact_name(word) if word or not letter else _letter(letter)
    stem = rf"\{accent}{{{stem}}}" if accent else stem
    below = ",".join(_index(index) for index in indices)
    written = f"{stem}_{{{below}}}" if below else stem
    if version == 1:
        return written
    return f"{{{written}{PRIMES.get(version) or f'^{{({version})}}'}}}"


def _letter(letter: str) -> str:
    return "\\" + GREEK[letter] if letter in GREEK else letter


def _index(index: str) -> str:
    is_letter = len(index) == 1 and (index in GREEK or (index.isascii() and index.isalpha()))
    return _letter(index) if is_letter else index if index.isdecimal() else exact_name(index)


def exact_name(name: str) -> str:
    r"""Write a name upright, letter by letter, and a letter that LaTeX lacks by its code point.

    Examples
    --------
    >>> print(exact_name("h[0]"), exact_name("50%_é"), exact_name("x🙂"))
    \mathrm{h[0]} \mathrm{50\%\_\acute{e}} \mathrm{xU{+}1F642}
    """
    written: list[str] = []
    for c in unicodedata.normalize("NFD", name):
        if c in ACCENTS and written:
            written[-1] = rf"\{ACCENTS[c]}{{{written[-1]}}}"
        elif c in GREEK:
            written.append(rf"\{GREEK[c]} ")
        elif c in SIGNS and not name.isspace():
            written.append(SIGNS[c])
        else:
            written.append(f"U{{+}}{ord(c):04X}")
    return rf"\mathrm{{{''.join(written)}}}" if written else r"\mathrm{?}"


def operator(name: str) -> str:
    r"""Write the name of an operation, as in a call.

    Examples
    --------
    >>> print(operator("relu"), operator("greater_equal"))
    \operatorname{relu} \operatorname{greater\_equal}
    """
    return exact_name(name).replace(r"\mathrm", r"\operatorname", 1)


def gradient(of: str, part: str) -> str:
    r"""Write the gradient of a written variable, or one part of it.

    The d is upright, as no variable of one letter is. A part whose number is lowered in the name
    has it in brackets, because an index has none.

    Examples
    --------
    >>> print(gradient(r"\mu", ""), gradient("x", "1"), gradient("h_{0}", "₂"))
    \mathrm{d}\mu \mathrm{d}x_{1} \mathrm{d}h_{0,(2)}
    """
    d = r"\mathrm{d}"
    if not part:
        return d + of
    _, number = part_of(f"{of}{part}")
    if number:
        part = f"({number})"
    elif not part.isdecimal():
        part = exact_name(part.strip("_"))
    indexed = re.fullmatch(r"([^{].*)_\{(.*)\}", of)
    return f"{d}{indexed[1]}_{{{indexed[2]},{part}}}" if indexed else f"{d}{of}_{{{part}}}"


def number(number: str) -> str:
    r"""Write a number that Python has written.

    Examples
    --------
    >>> print(number("1e-05"), number("2.5e+17"), number("-inf"))
    10^{-5} 2.5 \cdot 10^{17} -\infty
    """
    power = re.sub(r"e([+-]\d+)", lambda e: rf" \cdot 10^{{{int(e[1])}}}", number)
    return re.sub(r"(?<![\d.])1 \\cdot ", "", power).replace("inf", r"\infty")


def axes(axes: Iterable[int]) -> str:
    """Write the axes of a sum."""
    return f"_{{{','.join(map(str, axes))}}}"


UNSEEN = re.compile(r"\\(?:mathrm|operatorname|frac|left|right|sqrt|hat|bar|tilde)(?![a-z])")
"""Commands that print nothing themselves."""


def length(text: str) -> int:
    r"""Count about as many characters as are seen.

    Examples
    --------
    >>> length(r"\frac{\mathrm{dout}}{2 \cdot \gamma}")
    7
    """
    shown = re.sub(r"\\[A-Za-z]+|\\.", "x", UNSEEN.sub("", text))
    return len(re.sub(r"[{}^_ ]", "", shown))


SUMS, PRODUCTS = r"\+|-", r"\\cdot|\\odot"
"""Operators at which a line is broken, the looser ones first."""


def broken(text: str, longest: int) -> list[str]:
    r"""Break a formula at operators that stand in no brackets; an operator begins a new line.

    Examples
    --------
    >>> broken(r"a \cdot b + \left(c + d\right) - e", 7)
    ['a \\cdot b', '+ \\left(c + d\\right)', '- e']
    """
    if length(text) <= longest:
        return [text]
    lines: list[str] = []
    for piece in _split(text, SUMS):
        for part in [piece] if length(piece) <= longest else _split(piece, PRODUCTS):
            if lines and length(lines[-1]) + length(part) <= longest:
                lines[-1] += f" {part}"
            else:
                lines.append(part)
    return lines


def _split(text: str, operators: str) -> list[str]:
    """Split in front of every operator that stands between spaces and in no brackets."""
    pieces, depth, start = [], 0, 0
    for found in re.finditer(rf"\\left|\\right|\\.|[{{}}]| (?=(?:{operators}) )", text):
        token = found[0]
        if token == " ":
            if not depth:
                pieces.append(text[start : found.start()])
                start = found.end()
        else:
            depth += (token in ("{", r"\left")) - (token in ("}", r"\right"))
    return [*pieces, text[start:]]
