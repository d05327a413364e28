"""Batches of fractions for BatchNorm: from floats, at random, and with var + eps a square.

The square root of a fraction is seldom a fraction. **Where √(var + eps) is none, the distances from
the mean are stretched a little.** A stretch by k multiplies the variance by k². If eps is the
square of a fraction, it remains to find fractions k and r with k²·w + 1 = r², where w = var / eps.
One point of this curve is known, k = 0 and r = 1, and for every fraction m the line r = 1 + m·k
through it meets the curve once more, in fractions:

    k = 2·m / (w − m²),   r = (w + m²) / (w − m²).

At m = √(w + 1) − 1, k is 1, so that with a fraction m nearby the data move hardly at all. With
eps = 0 there is no such way out: k² makes no square of a variance that is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from itertools import count
from typing import Any

import numpy as np

from tinygraph.checks.batches import feature_name
from tinygraph.engine.ops import rational_root
from tinygraph.engine.tensor import Tensor

__all__ = [
    "EPS",
    "draw_fractions",
    "fraction_array",
    "mean",
    "stretch",
    "to_fractions",
    "with_square_variance",
]

EPS = Fraction(1, 300**2)


def to_fractions(a: Any, name: str) -> Any:
    """Take every float for the decimal that it prints as: 14.23 is 1423/100."""
    Tensor(a, name=name)  # refuses what is no array of numbers
    array = np.asarray(a)
    return fraction_array((_fraction(v, name) for v in array.flat), array.shape)


def _fraction(v: Any, name: str) -> Fraction:
    try:
        return Fraction(str(v))
    except ValueError:
        raise ValueError(
            f"compare: {name} holds {v}, which is no fraction; leave its feature out"
        ) from None


def draw_fractions(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Draw fractions of one digit over one digit, of either sign and never 0."""
    tops = rng.integers(1, 10, size=shape) * rng.choice([-1, 1], size=shape)
    bottoms = rng.integers(1, 10, size=shape)
    pairs = zip(np.ravel(tops).tolist(), np.ravel(bottoms).tolist(), strict=True)
    return fraction_array((Fraction(top, bottom) for top, bottom in pairs), shape)


def fraction_array(values: Iterable[Fraction], shape: tuple[int, ...]) -> Any:
    """Put fractions, row by row, into an array."""
    return np.fromiter(values, dtype=object).reshape(shape)


def mean(a: Any, axis: tuple[int, ...]) -> Any:
    """Give 1/N Σ over axes, which stay with length 1. N is an int of Python, which has no end."""
    return np.sum(a, axis=axis, keepdims=True) / math.prod(a.shape[k] for k in axis)


def stretch(var: Fraction, eps: Fraction, near: Fraction) -> Fraction:
    """Give a k with |k − 1| ≤ near for which k²·var + eps is the square of a fraction.

    It is 1 where var + eps is a square already, and otherwise one of few digits.

    Examples
    --------
    >>> k = stretch(Fraction(3), Fraction(1, 4), near=Fraction(1, 100))
    >>> k, rational_root(k * k * 3 + Fraction(1, 4))
    (Fraction(130, 131), Fraction(469, 262))
    """
    if rational_root(var + eps) is not None:
        return Fraction(1)
    if not eps or rational_root(eps) is None:
        raise ValueError(
            f"var + eps = {var + eps} is no square of a fraction, and x is stretched until it is "
            f"one only if eps is a square other than 0; here eps = {eps}; {_squares_near(eps)}"
        )
    w = var / eps
    top, bottom = (w + 1).as_integer_ratio()
    for bits in count():
        r = Fraction(math.isqrt(top * bottom << 6 * bits), bottom << 3 * bits)
        m = (w / (r + 1)).limit_denominator(1 << bits)  # near r − 1 = (r² − 1)/(r + 1)
        if abs(2 * m - (w - m * m)) <= near * (w - m * m):
            break
    return 2 * m / (w - m * m)


def _squares_near(eps: Fraction) -> str:
    if not eps:
        return f"give eps a square, such as {EPS}"
    s = math.sqrt(eps)
    roots = {Fraction(s).limit_denominator(math.ceil(k / s)) for k in (2, 20)}
    return "squares near it are " + " and ".join(f"{r * r} = ({r})²" for r in sorted(roots))


def with_square_variance(
    x: Any, eps: Fraction, axis: tuple[int, ...], near: Fraction
) -> tuple[Any, Fraction]:
    """Stretch every feature so that var + eps is a square; give x, and how far it moved."""
    mu = mean(x, axis)
    var = mean((x - mu) ** 2, axis)
    stretches = np.ones_like(var)
    for place in np.ndindex(var.shape):
        feature = f"compare: x, {feature_name(place, axis)}"
        if var[place] + eps == 0:
            raise ValueError(f"{feature}: all values are equal and eps is 0: 1/√0; use eps > 0")
        try:
            stretches[place] = stretch(var[place], eps, near)
        except ValueError as error:
            raise ValueError(f"{feature}: {error}") from None
    return mu + stretches * (x - mu), np.max(np.abs(stretches - 1))
