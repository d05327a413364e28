"""LaTeX: the names and numbers of a graph as mathematics.

Whatever a person calls a variable is written with the commands that LaTeX has in math mode, so that
no name breaks a formula; amsmath and matplotlib's mathtext both take the result.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

__all__ = ["axes", "exact_name", "gradient", "length", "name", "number", "operator"]

LETTERS = "αβγδϵεζηθϑικλμνξπρσςτυφϕχψωΓΔΘΛΞΠΣΥΦΨΩ"
COMMANDS = """
    alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi
    rho sigma varsigma tau upsilon varphi phi chi psi omega
    Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega
"""
GREEK = dict(zip(LETTERS, COMMANDS.split(), strict=True))
ACCENTS = {
    "\u0302": "hat", "\u0304": "bar", "\u0303": "tilde", "\u0307": "dot", "\u0308": "ddot",
    "\u0301": "acute", "\u0300": "grave", "\u030c": "check", "\u0306": "breve",
}  # fmt: skip
SIGNS = {c: c for c in map(chr, range(33, 127)) if c not in '"&`'}  # those mathtext does not know
SIGNS |= {c: rf"\{c}" for c in "{}$%_"}
SIGNS |= {"\\": r"\backslash ", "^": r"\wedge ", "~": r"\sim ", "#": r"\# ", " ": r"\ "}

LETTER = rf"[A-Za-z{''.join(GREEK)}]|{'|'.join(GREEK.values())}"


def name(name: str) -> str:
    r"""Write a variable: a letter in italics, a word upright, with hat and index where it has them.

    Examples
    --------
    >>> print(*map(name, ("mu", "xhat", "h[0]", "w_out", "sqrtvar", "γ", "eps")))
    \mu \hat{x} h_{0} w_{\mathrm{out}} \mathrm{sqrtvar} \gamma \varepsilon
    """
    name = unicodedata.normalize("NFC", name)
    indexed = re.fullmatch(r"(.*[^\W\d_])(?:_?([0-9]+)|\[([0-9]+)\])", name)
    base, index = (indexed[1], indexed[2] or indexed[3]) if indexed else (name, "")
    letter = re.fullmatch(rf"({LETTER})_?(hat|bar|tilde)?(?:_(.+))?", base)
    if base == "eps":
        stem, word = r"\varepsilon", ""
    elif letter:
        stem, word = _letter(letter[1]), letter[3]
        stem = rf"\{letter[2]}{{{stem}}}" if letter[2] else stem
    else:
        stem, word = exact_name(base), ""
    indices = ",".join(filter(None, [word and exact_name(word), index]))
    return f"{stem}_{{{indices}}}" if indices else stem


def _letter(letter: str) -> str:
    return letter if letter.isascii() and len(letter) == 1 else "\\" + GREEK.get(letter, letter)


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

    Examples
    --------
    >>> print(gradient(r"\mu", ""), gradient("x", "1"), gradient("h_{0}", "2"))
    d\mu dx_{1} dh_{0,2}
    """
    if not part:
        return f"d{of}"
    part = part if part.isdecimal() else exact_name(part.strip("_"))
    indexed = re.fullmatch(r"(.*)_\{(.*)\}", of)
    return f"d{indexed[1]}_{{{indexed[2]},{part}}}" if indexed else f"d{of}_{{{part}}}"


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


def length(text: str) -> int:
    r"""Count about as many characters as are seen.

    Examples
    --------
    >>> length(r"\frac{\mathrm{dout}}{2 \cdot \gamma}")
    7
    """
    shown = re.sub(
        r"\\(?:mathrm|operatorname|frac|left|right|sqrt|hat|bar|tilde)(?![a-z])", "", text
    )
    return len(re.sub(r"\\[A-Za-z]+|\\.", "x", shown).translate(UNSEEN))


UNSEEN = dict.fromkeys(map(ord, "{}^_ "))
