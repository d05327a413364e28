"""What elementwise operations are on polynomials, and what a number stands for.

Comparisons are numbers: [d > 0] and [d = 0], of a difference whose sign is always the same one, so
that a > b and b < a are one. With them relu, |x|, where, max and min are sums of products.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from tinygraph.algebra.atoms import Polynomial
from tinygraph.algebra.polynomials import Algebra, UndecidedError

__all__ = ["ELEMENTWISE", "literal", "negative"]


def negative(p: Polynomial) -> Polynomial:
    """Give −p."""
    return {m: -c for m, c in p.items()}


def literal(value: Any) -> Any:
    """Give the simplest fraction that is rounded to a number: 1/3, 1/10, and not what is stored.

    Examples
    --------
    >>> literal(0.1), literal(1 / 3), literal(1 + 2**-40) == 1
    (Fraction(1, 10), Fraction(1, 3), False)
    """
    if isinstance(value, bool | np.bool_):
        return Fraction(int(value))
    if isinstance(value, np.ndarray):
        value = value.item()
    if isinstance(value, complex | np.complexfloating):
        raise UndecidedError("complex numbers: √ and |x| are of real ones here")
    exact = Fraction(value) if isinstance(value, Fraction | int) else None
    if exact is not None and exact.denominator < 2**20:
        return exact
    number = float(value)
    if not np.isfinite(number):
        raise UndecidedError(f"{number} is no number to compute with")
    simple = Fraction(number).limit_denominator(10**6)
    return simple if float(simple) == number else Fraction(repr(number))


def _compared(positive: int, zero: int, negative: int) -> Any:
    """Give a function of a − b that has one value where it is positive, zero or negative."""

    def read(algebra: Algebra, a: Polynomial, b: Polynomial | None = None) -> Polynomial:
        greater, equal = algebra.signs(a if b is None else algebra.plus(a, b, -1))
        out = algebra.plus(algebra.number(negative), greater, positive - negative)
        return algebra.plus(out, equal, zero - negative)

    return read


def _where(algebra: Algebra, c: Polynomial, a: Polynomial, b: Polynomial) -> Polynomial:
    return algebra.plus(b, algebra.times(c, algebra.plus(a, b, -1)))


def _extreme(sign: int) -> Any:
    def read(algebra: Algebra, a: Polynomial, b: Polynomial) -> Polynomial:
        larger = (
            _compared(1, 0, 0)(algebra, a, b) if sign > 0 else _compared(0, 0, 1)(algebra, a, b)
        )
        return _where(algebra, larger, a, b)

    return read


def _relu(algebra: Algebra, x: Polynomial) -> Polynomial:
    return algebra.times(x, _compared(1, 0, 0)(algebra, x))


def _abs(algebra: Algebra, x: Polynomial) -> Polynomial:
    return algebra.times(x, _compared(1, 0, -1)(algebra, x))


def _power(algebra: Algebra, x: Polynomial, *exponent: Polynomial, n: Any = None) -> Polynomial:
    if exponent:
        (p,) = exponent
        if set(p) - {frozenset()}:
            raise UndecidedError("a power whose exponent is computed")
        n = p.get(frozenset(), 0)
    return algebra.power(x, literal(n))


def _call(name: str) -> Any:
    return lambda algebra, x: algebra.function(name, x)


ELEMENTWISE: Mapping[str, Callable[..., Polynomial]] = {
    "add": lambda algebra, a, b: algebra.plus(a, b),
    "sub": lambda algebra, a, b: algebra.plus(a, b, -1),
    "mul": lambda algebra, a, b: algebra.times(a, b),
    "div": lambda algebra, a, b: algebra.times(a, algebra.power(b, -1)),
    "neg": lambda algebra, x: negative(x),
    "inverse": lambda algebra, x: algebra.power(x, -1),
    "square": lambda algebra, x: algebra.power(x, 2),
    "sqrt": lambda algebra, x: algebra.power(x, Fraction(1, 2)),
    "pow": _power,
    "power": _power,
    "exp": lambda algebra, x: algebra.exponential(x),
    **{name: _call(name) for name in ("log", "sin", "cos", "tanh")},
    "cast": lambda algebra, x: x,
    "stop": lambda algebra, x: x,
    "abs": _abs,
    "relu": _relu,
    "maximum": _extreme(1),
    "minimum": _extreme(-1),
    "where": _where,
    "sign": _compared(1, 0, -1),
    "greater": _compared(1, 0, 0),
    "greater_equal": _compared(1, 1, 0),
    "less": _compared(0, 0, 1),
    "less_equal": _compared(0, 1, 1),
    "equal": _compared(0, 1, 0),
    "not_equal": _compared(1, 0, 1),
}
