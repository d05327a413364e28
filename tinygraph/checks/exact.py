"""`compare(…, exact=True)`: in fractions, staged and closed form are equal and not only close.

Nothing is rounded here and there is no tolerance. The one thing in BatchNorm that fractions cannot
do is its square root, so that var + eps must be the square of a fraction in every feature; where it
is none, `rational` moves the data a little.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from fractions import Fraction
from numbers import Rational
from typing import Any

import numpy as np

from tinygraph.batchnorm.formulas import Axis, closed_form, layout
from tinygraph.checks.batches import Batch, ClosedForm
from tinygraph.checks.by_hand import Derivation
from tinygraph.checks.evidence import collect
from tinygraph.checks.rational import (
    draw_fractions,
    fraction_array,
    mean,
    to_fractions,
    with_square_variance,
)
from tinygraph.checks.reports import Equality, Report
from tinygraph.engine.functions import normalize_axes
from tinygraph.engine.ops import rational_root
from tinygraph.writing.tables import table

__all__ = ["compare_exactly", "equality", "written_out"]

NEAR, COARSE = Fraction(1, 10**6), Fraction(1, 10)


def compare_exactly(
    batch: Batch, closed: ClosedForm = closed_form, near: Fraction = NEAR
) -> Report:
    """Hold staged BatchNorm of fractions against the derivation, closed form and Jacobian."""
    if not batch.x.size:
        raise ValueError(f"compare: x of shape {batch.x.shape} has no feature to compare")
    eps = Fraction(str(batch.eps))
    x, moved = with_square_variance(batch.x, eps, batch.layout.axis, near)

    @functools.wraps(closed)
    def in_fractions(*given: Any, **options: Any) -> Any:
        try:
            return closed(*given, **options)
        except TypeError as error:
            if "ufunc" not in str(error) and "Fraction" not in str(error):
                raise
            raise TypeError(
                f"compare: the closed form cannot compute in fractions ({error}); "
                "take square roots by tinygraph.ops.sqrt, which can"
            ) from None

    return collect(Derivation(replace(batch, x=x, eps=eps)), in_fractions, equality, moved=moved)


def equality(name: str, found: Any, expected: Any) -> Equality:
    """Compare entry by entry. A float is never equal, because it may have been rounded."""
    expected = np.asarray(expected)
    if found.shape != expected.shape:
        shapes = f"shape {found.shape}", f"shape {expected.shape}"
        return Equality(name, found.size, (name, *shapes))
    for place in np.ndindex(found.shape):
        a, b = found[place], expected[place]
        if not (isinstance(a, Rational) and isinstance(b, Rational) and a == b):
            at = f"{name}{list(place)}"
            return Equality(name, found.size, (at, _written(a), _written(b)))
    return Equality(name, found.size, None)


def _written(v: Any) -> str:
    if isinstance(v, Rational):
        return str(v)
    return f"{v!r}, which is no fraction: somewhere it is computed in floats, as 0.5 and **0.5 are"


# --------------------------------------------------------------------------- a case to read


def written_out(x: Any, *, axis: Axis = 0, seed: int = 0) -> str:
    """Compare a few values of x, and write every fraction out.

    The fractions are kept short: x is rounded to one digit of its spread, eps is a square as large
    as the variance, gamma and dout are whole numbers, and x is stretched by up to a tenth.

    Parameters
    ----------
    x : array_like
        Values; the first three of the first two features are taken.
    axis : int or tuple of int, optional
        Axes that a feature lies along, as in `compare`.
    seed : int, optional
        Of gamma and dout.

    Returns
    -------
    str

    Examples
    --------
    >>> print(written_out([[1.0], [4.0]]))
    feature 0: the first 2 values, rounded to one digit of their spread, then moved by 0.6 % of it
    eps = 1, gamma = 8, mu = 5/2, var = 57600/25921, sqrtvar = 289/161
                     value 0             value 1
    ---------------  ------------------  -----------------
    x                325/322             1285/322
    dout             -1                  1
    dx, autodiff     -33386248/24137569  33386248/24137569
    dx, by hand      -33386248/24137569  33386248/24137569
    dx, closed form  -33386248/24137569  33386248/24137569
    dx, Jacobian     -33386248/24137569  33386248/24137569
    """
    x = to_fractions(x, "x")
    axes = normalize_axes(x.shape, axis, of="batchnorm")
    x = np.moveaxis(x, axes, range(len(axes))).reshape(math.prod(x.shape[k] for k in axes), -1)
    rng = np.random.default_rng(seed)
    return "\n\n".join(_feature(k, x[:3, k : k + 1], rng) for k in range(min(2, x.shape[1])))


def _feature(k: int, x: Any, rng: np.random.Generator) -> str:
    spread = np.max(np.abs(x - mean(x, (0,))))
    digits = -math.floor(math.log10(spread)) if spread else 0
    x = fraction_array((round(v, digits) for v in x.flat), x.shape)
    eps = Fraction(10) ** (-2 * digits)
    gamma, beta, dout = (
        fraction_array((Fraction(v.numerator) for v in draw_fractions(rng, shape).flat), shape)
        for shape in ((1,), (1,), x.shape)
    )
    where = layout(x, gamma, beta, eps, 0)
    report = compare_exactly(Batch(x, gamma, beta, dout, eps, 0, where), near=COARSE)
    x = report.arrays["x"]
    mu = mean(x, (0,))
    var = mean((x - mu) ** 2, (0,)).item()
    rows = [("x", *map(str, x.flat)), ("dout", *map(str, dout.flat))]
    rows += [
        (f"dx, {way}", *map(str, gradients["dx"].flat))
        for way, gradients in report.gradients.items()
    ]
    moved, sqrtvar = 100 * float(report.moved), rational_root(var + eps)
    lines = [
        f"feature {k}: the first {len(x)} values, rounded to one digit of their spread, then moved "
        f"by {moved:.1f} % of it",
        f"eps = {eps}, gamma = {gamma[0]}, mu = {mu.item()}, var = {var}, sqrtvar = {sqrtvar}",
        *table(("", *(f"value {i}" for i in range(len(x)))), rows),
    ]
    return "\n".join(lines)
