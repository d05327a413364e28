"""Products: a sign, numbers, and factors over factors, in the order in which they are met.

However a person or a rule brackets it, ``−(−a · o) · o / 2`` is one product: a · o² / 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from tinygraph.graph.nodes import Node

__all__ = ["ONE", "Factor", "Product", "exact", "inverted", "powered", "times"]

LONGEST = 24  # factors; what has more stays in its parts
SHORT = 2**20


class Factor(NamedTuple):
    """A node, and how often it is taken."""

    node: Node
    exponent: int = 1


class Product(NamedTuple):
    """± number · over / (divisor · under); both numbers are positive or 0."""

    negative: bool = False
    number: Fraction = Fraction(1)
    divisor: Fraction = Fraction(1)
    over: tuple[Factor, ...] = ()
    under: tuple[Factor, ...] = ()


ONE = Product()


def exact(value: Fraction) -> bool:
    """Whether a fraction is a float, so that writing it as one loses nothing.

    Examples
    --------
    >>> exact(Fraction(1, 4)), exact(Fraction(1, 3)), exact(Fraction(10**400))
    (True, False, False)
    """
    try:
        return Fraction(float(value)) == value
    except OverflowError:
        return False


def times(a: Product, b: Product) -> Product | None:
    """Multiply; None where a number would have more digits, or the product too many factors."""
    number, divisor = _short(a.number, b.number), _short(a.divisor, b.divisor)
    over, under = _merged(a.over, b.over), _merged(a.under, b.under)
    if number is None or divisor is None or len(over) + len(under) > LONGEST:
        return None
    if divisor and (number / divisor).denominator == 1:
        number, divisor = number / divisor, Fraction(1)
    elif number.denominator == 1 and number and (divisor / number).denominator == 1:
        number, divisor = Fraction(1), divisor / number
    return Product(a.negative != b.negative, number, divisor, over, under)


def _short(a: Fraction, b: Fraction) -> Fraction | None:
    """Multiply numbers of which one is 1, or that are short and stay so."""
    if 1 in (a, b):
        return a * b
    numbers = (a, b, a * b)
    is_short = all(x.numerator < SHORT and x.denominator < SHORT for x in numbers)
    return a * b if is_short and exact(a * b) else None


def inverted(p: Product) -> Product:
    """Take the reciprocal."""
    return Product(p.negative, p.divisor, p.number, p.under, p.over)


def powered(p: Product) -> Product | None:
    """Square what is one factor; None for what is more."""
    if p._replace(over=()) == ONE and len(p.over) == 1:
        (factor,) = p.over
        return p._replace(over=(factor._replace(exponent=2 * factor.exponent),))
    return None


def _merged(a: Sequence[Factor], b: Sequence[Factor]) -> tuple[Factor, ...]:
    """Put factors behind each other, and equal ones together where the first one stands."""
    found: dict[int, Factor] = {}
    for factor in (*a, *b):
        before = found.get(factor.node.index)
        total = factor.exponent + (before.exponent if before else 0)
        found[factor.node.index] = Factor(factor.node, total)
    return tuple(found.values())
