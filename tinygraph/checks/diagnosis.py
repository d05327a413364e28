"""Why a gradient is wrong, as far as its numbers show it.

Every function here is given what a backward pass found, the analytic gradient, and what differences
give, the numeric one, and tells a likely cause: a keyword, a colon and an explanation. It gives ""
where the numbers do not look like that mistake.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from tinygraph.checks.differences import CENTRAL_STEP

__all__ = ["kink", "likely_cause", "not_analytic", "not_finite", "rounding"]


def not_finite(name: str, analytic: Any, numeric: Any) -> str:
    """Tell nan and inf."""
    if not np.isfinite(analytic).all():
        return f"not finite: the gradient of {name} has nan or inf where the value has none"
    if not np.isfinite(numeric).all():
        return f"not finite: a step of {CENTRAL_STEP:.0e} leaves the domain of the function"
    return ""


def kink(name: str, far: tuple[float, float], near: tuple[float, float], rounding: float) -> str:
    """Tell slopes on both sides, left and right, that do not meet in proportion to the step.

    `far` are those of the usual step, `near` those of a much smaller one, to which rounding may do
    as much as `rounding`.
    """
    (left, right), (near_left, near_right) = far, near
    jump = abs(right - left)
    least = 1e-3 * max(abs(left), abs(right)) + 8 * rounding
    if not (jump > least and abs(near_right - near_left) > jump / 2):
        return ""  # also where a slope is nan
    return (
        f"kink: the slope of {name} is {left:.6g} on one side and {right:.6g} on the "
        "other, so there is no derivative to compare with; check at another point"
    )


def not_analytic(analytic: Any, numeric: Any, central_gap: float) -> str:
    """Tell a complex step that alone disagrees: central differences are off by `central_gap`."""
    if not central_gap < np.abs(analytic - numeric).max() / 10:
        return ""
    return (
        "not analytic: central differences agree with the gradient, so the function "
        'takes a real part somewhere; use method="central"'
    )


def rounding(analytic: Any, numeric: Any, size: float) -> str:
    """Tell differences that drown in rounding of this size."""
    if not np.abs(analytic - numeric).max() < 8 * size:
        return ""
    return (
        "rounding: the values of the function are too large next to their changes; "
        'subtract a constant from them or use method="complex"'
    )


def likely_cause(name: str, analytic: Any, numeric: Any, *, entries: bool = True) -> str:
    """Tell the mistake in a rule or a backward pass that makes `analytic` out of `numeric`.

    Parameters
    ----------
    name : str
        Of the input.
    analytic, numeric : ndarray
        Finite, of one shape.
    entries : bool, optional
        Whether they are the entries of a gradient, and not derivatives along random directions.

    Returns
    -------
    str

    Examples
    --------
    >>> right = np.array([[1.0, 2.0], [4.0, 8.0]])
    >>> likely_cause("w", right.T, right)
    'transposed: the transpose of the gradient is right'
    >>> likely_cause("w", right / 2, right)
    'factor: every entry is 1/2 times what it should be'
    """
    if cause := _no_path(name, analytic) or _factor(analytic, numeric):
        return cause
    return (_transposed(analytic, numeric) or _lost_sum(analytic, numeric)) if entries else ""


def _no_path(name: str, analytic: Any) -> str:
    if analytic.any():
        return ""
    return (
        f"missing path: no gradient arrives at {name}, although the result depends on it; "
        "somewhere between, its plain array is used (.data, .detach(), float())"
    )


def _factor(analytic: Any, numeric: Any) -> str:
    factor = np.vdot(analytic, numeric) / np.vdot(numeric, numeric) if numeric.any() else 0.0
    rest, gap = np.abs(analytic - factor * numeric).max(), np.abs(analytic - numeric).max()
    if analytic.size == 1 or rest > 1e-3 * gap:
        return ""
    exact = Fraction(factor).limit_denominator(100)
    near = abs(exact - factor) < 1e-3 * abs(exact - 1)
    ratio = exact if near else f"{1 + float(f'{factor - 1:.4g}'):.12g}"
    return f"factor: every entry is {ratio} times what it should be"


def _transposed(analytic: Any, numeric: Any) -> str:
    square = len(set(analytic.shape)) == 1 < analytic.ndim
    if square and np.allclose(analytic.T, numeric, 0, 1e-6 * np.abs(numeric).max()):
        return "transposed: the transpose of the gradient is right"
    return ""


def _lost_sum(analytic: Any, numeric: Any) -> str:
    gap = numeric - analytic
    for axis, length in enumerate(gap.shape):
        if length > 1 and np.ptp(gap, axis).max() <= 1e-6 * np.abs(gap).max():
            return (
                f"missing path: what is missing is the same all along axis {axis}, as if "
                "a path through a sum or mean over that axis were lost"
            )
    return ""
