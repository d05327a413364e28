"""Expressions: a formula as a tree, and the tree as text or LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from tinygraph.algebra.atoms import Label
from tinygraph.writing import latex

__all__ = ["Expression", "named", "number", "product", "written"]


@dataclass(frozen=True)
class Expression:
    """One node of a formula.

    Attributes
    ----------
    kind : str
        ``name``, of what is there already; ``number``; ``product``, of some operands over others;
        ``sum``; ``power``; ``total``, over labels; ``call``.
    operands : tuple of Expressions
        Of a product, those above the line, `over` of them, then those below it.
    data : object
        The name, the number, the exponent, or the name of the function; of a sum, the signs. What
        has no name is a pair, how it is written as text and in LaTeX.
    labels : frozenset
        What it varies along.
    over : int
    bound : tuple
        Of a total: the labels, and how they are written.
    source : object
        Of a name: what it refers to.
    """

    kind: str
    operands: tuple[Expression, ...] = ()
    data: Any = None
    labels: frozenset[Label] = frozenset()
    over: int = 0
    bound: tuple[Any, ...] = ()
    source: Any = None

    @property
    def above(self) -> tuple[Expression, ...]:
        """The factors above the line."""
        return self.operands[: self.over]

    @property
    def below(self) -> tuple[Expression, ...]:
        """The factors below the line."""
        return self.operands[self.over :]


def named(name: Any, labels: frozenset[Label] = frozenset(), source: Any = None) -> Expression:
    """Refer to something by name."""
    return Expression("name", data=name, labels=labels, source=source)


def number(value: Any) -> Expression:
    """Write a number."""
    return Expression("number", data=Fraction(value))


def product(above: Sequence[Expression], below: Sequence[Expression] = ()) -> Expression:
    """Multiply; what is 1 is left out, and one factor alone is itself."""
    up = [x for x in above if x != number(1)]
    down = [x for x in below if x != number(1)]
    if len(up) == 1 and not down:
        return up[0]
    if not up and not down:
        return number(1)
    labels = frozenset[Label]().union(*(x.labels for x in (*up, *down)))
    return Expression("product", (*up, *down), labels=labels, over=len(up))


# --------------------------------------------------------------------------- writing


@dataclass(frozen=True)
class _Dialect:
    """How a formula is written."""

    name: Callable[[str], str]
    times: str
    minus: str
    fraction: Callable[[str, str, bool, bool], str]
    power: Callable[[str, str], str]
    root: Callable[[str, bool], str]
    total: Callable[[str, str], str]
    call: Callable[[str, str], str]
    brackets: str


SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def _text_fraction(above: str, below: str, a: bool, b: bool) -> str:
    above, below = (f"({x})" if wrap else x for x, wrap in ((above, a), (below, b)))
    return f"{above}/{below}" if len(above) < 12 and " " not in above else f"{above} / {below}"


def _text_power(base: str, exponent: str) -> str:
    return (
        base + exponent.translate(SUPERSCRIPTS) if "/" not in exponent else f"{base}^({exponent})"
    )


TEXT = _Dialect(
    name=str,
    times=" · ",
    minus="−",
    fraction=_text_fraction,
    power=_text_power,
    root=lambda x, simple: f"√{x}" if simple else f"√({x})",
    total=lambda along, x: f"Σ{'_' if along else ''}{along}{'' if x.startswith('(') else ' '}{x}",
    call=lambda name, x: f"{name}({x})",
    brackets="({})",
)
LATEX = _Dialect(
    name=latex.name,
    times=r" \, ",
    minus="-",
    fraction=lambda above, below, a, b: rf"\frac{{{above}}}{{{below}}}",
    power=lambda base, exponent: f"{base}^{{{exponent}}}",
    root=lambda x, simple: rf"\sqrt{{{x}}}",
    total=lambda along, x: rf"\sum_{{{along}}} {x}" if along else rf"\sum {x}",
    call=lambda name, x: rf"\operatorname{{{name}}}\left({x}\right)",
    brackets=r"\left({}\right)",
)
DIALECTS: Mapping[str, _Dialect] = {"text": TEXT, "latex": LATEX}


def written(x: Expression, dialect: str = "text", name: Callable[[str], str] | None = None) -> str:
    r"""Write a formula, and names by `name` if it is given.

    Examples
    --------
    >>> a, b = named("a"), named("b")
    >>> written(product([number(2), a], [b]))
    '2 · a / b'
    >>> written(Expression("sum", (a, product([a, b])), data=(1, -1)), "latex")
    'a - a \\, b'
    """
    to = DIALECTS[dialect]
    return _write(x, to if name is None else replace(to, name=name))


def _write(x: Expression, to: _Dialect) -> str:
    return WRITERS[x.kind](x, to)


def _number(x: Expression, to: _Dialect) -> str:
    value = Fraction(x.data)
    sign = to.minus if value < 0 else ""
    value = abs(value)
    if value.denominator == 1:
        return f"{sign}{value.numerator}"
    short = repr(float(value))
    if value.denominator > 10**4 and Fraction(short) == value:
        return sign + (short if to.times is TEXT.times else latex.number(short))
    return sign + to.fraction(str(value.numerator), str(value.denominator), False, False)


def _factor(x: Expression, to: _Dialect, *, last: bool = True) -> str:
    """Write a factor of a product; a sum in brackets, and Σ too, unless nothing follows it."""
    text = _write(x, to)
    negative = x.kind == "number" and x.data < 0
    wrap = x.kind == "sum" or negative or (x.kind == "total" and not last)
    return to.brackets.format(text) if wrap else text


def _product(x: Expression, to: _Dialect) -> str:
    above = x.above or (number(1),)
    if x.below:
        up = _joined(above, to, closed=to.times is TEXT.times)
        down = _joined(x.below, to, closed=to.times is TEXT.times and len(x.below) > 1)
        one = x.below[0]
        wrap = len(x.below) > 1 or one.kind in ("sum", "total", "product")
        return to.fraction(up, down, False, wrap and to.times is TEXT.times)
    return _joined(above, to)


def _joined(factors: Sequence[Expression], to: _Dialect, *, closed: bool = False) -> str:
    """Write a product; −1 is a sign in front of it, and no Σ swallows what follows if `closed`."""
    if len(factors) == 1 and not closed:
        return _write(factors[0], to)
    rest = [x for x in factors if not (x.kind == "number" and x.data == -1)]
    last = len(rest) - 1
    parts = [_factor(x, to, last=k == last and not closed) for k, x in enumerate(rest)]
    return to.minus * ((len(factors) - len(rest)) % 2) + (to.times.join(parts) or "1")


def _sum(x: Expression, to: _Dialect) -> str:
    parts: list[str] = []
    for sign, term in zip(x.data, x.operands, strict=True):
        text = _write(term, to)
        if text.startswith(to.minus):
            sign, text = -sign, text[len(to.minus) :]
        joint = f" {to.minus} " if sign < 0 else " + "
        parts += [joint, text] if parts else [to.minus * (sign < 0), text]
    return "".join(parts)


def _power(x: Expression, to: _Dialect) -> str:
    (base,) = x.operands
    text = _write(base, to)
    simple = base.kind in ("name", "call") or (base.kind == "number" and base.data >= 0)
    if x.data == Fraction(1, 2):
        return to.root(text, simple)
    closed = text if simple else to.brackets.format(text)
    return to.power(closed, str(x.data))


def _total(x: Expression, to: _Dialect) -> str:
    (inner,) = x.operands
    text = _write(inner, to)
    if inner.kind == "sum" or (inner.kind == "product" and to.times is TEXT.times):
        text = to.brackets.format(text)
    return to.total("".join(to.name(b) for b in x.bound[1]), text)


def _call(x: Expression, to: _Dialect) -> str:
    return to.call(x.data, ", ".join(_write(one, to) for one in x.operands))


WRITERS: Mapping[str, Callable[[Expression, _Dialect], str]] = {
    "name": lambda x, to: (
        to.name(x.data) if isinstance(x.data, str) else x.data[to.times is LATEX.times]
    ),
    "number": _number,
    "product": _product,
    "sum": _sum,
    "power": _power,
    "total": _total,
    "call": _call,
}
