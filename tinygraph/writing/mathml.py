"""MathML: the names, numbers and operations of a graph as elements that every browser shows.

Ordinary serif letters serve, since no font for mathematics can be assumed: a variable of one letter
has the class ``i``, for italics, and hats are combining characters. Whatever a person calls a
variable is escaped. An operation whose row has no MathML is written as its text is, sign by sign.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from html import escape
from string import Formatter

from tinygraph.graph.marks import part_of
from tinygraph.writing.names import parsed

__all__ = [
    "axes",
    "exact_name",
    "from_text",
    "gradient",
    "length",
    "linked",
    "name",
    "number",
    "operator",
    "parameter",
    "printed",
]

PRIMES = {2: "<mo>′</mo>", 3: "<mo>″</mo>"}
ACCENTS = {"hat": "\u0302", "bar": "\u0304", "tilde": "\u0303"}


def name(name: str) -> str:
    """Write a variable: a letter in italics, a word upright, with hat and index where it has them.

    Examples
    --------
    >>> print(name("mu"), name("sqrtvar"), name("Wx"))
    <mi class="i">μ</mi> <mi>sqrtvar</mi> <msub><mi class="i">W</mi><mi class="i">x</mi></msub>
    >>> print(name("S′"))
    <msup><mi class="i">S</mi><mo>′</mo></msup>
    """
    letter, word, accent, indices, version = parsed(name)
    stem = _letter(letter + ACCENTS.get(accent, "")) if letter else exact_name(word)
    written = _below(stem, [_index(index) for index in indices])
    mark = PRIMES.get(version, f"<mrow><mo>(</mo><mn>{version}</mn><mo>)</mo></mrow>")
    return written if version == 1 else f"<msup>{written}{mark}</msup>"


def _letter(letter: str) -> str:
    return f'<mi class="i">{unicodedata.normalize("NFC", letter)}</mi>'


def _index(index: str) -> str:
    if index.isdecimal():
        return f"<mn>{index}</mn>"
    return _letter(index) if len(index) == 1 and index.isalpha() else exact_name(index)


def _below(stem: str, indices: list[str]) -> str:
    if not indices:
        return stem
    below = "<mo>,</mo>".join(indices)
    is_one = below.count("<m") == 1
    return f"<msub>{stem}{below if is_one else f'<mrow>{below}</mrow>'}</msub>"


def exact_name(name: str) -> str:
    r"""Write a name upright, as it is, and what no page can hold by its code point.

    Examples
    --------
    >>> print(exact_name("a<b"), exact_name("x\n"))
    <mi>a&lt;b</mi> <mi>xU+000A</mi>
    """
    return f"<mi>{escape(printed(name)) or '?'}</mi>"


def printed(name: str) -> str:
    """Write what no page can hold by its code point."""
    return "".join(c if c.isprintable() else f"U+{ord(c):04X}" for c in name)


def linked(name: str, written: str) -> str:
    """Link a written variable to its value, by its name.

    Examples
    --------
    >>> print(linked("x", "<mi>x</mi>"))
    <mrow data-v="x"><mi>x</mi></mrow>
    """
    return f'<mrow data-v="{escape(printed(name))}">{written}</mrow>'


def operator(name: str) -> str:
    """Write the name of an operation, as in a call."""
    return exact_name(name)


def gradient(of: str, part: str) -> str:
    """Write the gradient of a written variable, or one part of it.

    Examples
    --------
    >>> print(gradient("<mi>x</mi>", ""))
    <mrow><mi mathvariant="normal">d</mi><mi>x</mi></mrow>
    >>> print(gradient("<mi>x</mi>", "1"))
    <msub><mrow><mi mathvariant="normal">d</mi><mi>x</mi></mrow><mn>1</mn></msub>
    """
    indexed = re.fullmatch(r"<msub>(<mi[^>]*>[^<]*</mi>)(.*)</msub>", of)
    of, below = (indexed[1], [re.sub(r"^<mrow>|</mrow>$", "", indexed[2])]) if indexed else (of, [])
    _, number = part_of(f"x{part}")
    number = f"<mo>(</mo><mn>{number}</mn><mo>)</mo>" if number else _index(part.strip("_"))
    below += [number] if part else []
    return _below(f'<mrow><mi mathvariant="normal">d</mi>{of}</mrow>', below)


def number(number: str) -> str:
    """Write a number that Python has written.

    Examples
    --------
    >>> print(number("-0.5"), number("1e-05"))
    <mo form="prefix">−</mo><mn>0.5</mn> <msup><mn>10</mn><mn>−5</mn></msup>
    """
    if number.startswith("-"):
        return f'<mo form="prefix">−</mo>{_positive(number[1:])}'
    return _positive(number)


def _positive(number: str) -> str:
    digits, _, power = number.partition("e")
    if not power or not re.fullmatch(r"[+-]?\d+", power):
        return f"<mn>{escape(number.replace('inf', '∞'))}</mn>"
    exponent = str(int(power)).replace("-", "−")
    scale = f"<msup><mn>10</mn><mn>{exponent}</mn></msup>"
    return scale if digits == "1" else f"<mrow><mn>{digits}</mn><mo>·</mo>{scale}</mrow>"


def axes(axes: Iterable[int]) -> str:
    """Write the axes of a sum, which stand below its sign."""
    return f"<mn>{','.join(map(str, axes))}</mn>"


def parameter(text: str) -> str:
    """Write a parameter that is plain text."""
    return f"<mtext>{escape(printed(text))}</mtext>"


def length(markup: str) -> int:
    """Count the characters that are seen."""
    return len(re.sub(r"<[^>]*>", "", markup))


def from_text(template: str) -> str:
    """Turn how an operation is written as text into elements, sign by sign.

    Examples
    --------
    >>> print(from_text("{0:sum} − {1:matmul}"))
    {0:sum}<mo>−</mo>{1:matmul}
    """
    parts = []
    for literal, field, need, _ in Formatter().parse(template):
        parts += [_sign(sign) for sign in re.findall(r"\w+|[^\w\s]", literal)]
        if field is not None:
            parts.append(f"{{{field}:{need}}}" if need else f"{{{field}}}")
    return "".join(parts)


def _sign(sign: str) -> str:
    kind = "mn" if sign.isdecimal() else "mi" if sign.isidentifier() else "mo"
    text = escape(sign).replace("{", "{{").replace("}", "}}")
    return f"<{kind}>{text}</{kind}>"
