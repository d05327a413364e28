"""Why a gradient is wrong, as far as its numbers show it.

Every function here is given what a backward pass found, the analytic gradient, and what differences
give, the numeric one, and tells a likely cause: a keyword, a colon and an explanation. It gives ""
where the numbers do not look like that mistake.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fractions import Fraction
from itertools import combinations
from types import MappingProxyType
from typing import Any

import numpy as np

from tinygraph.checks.differences import CENTRAL_STEP

__all__ = [
    "PERHAPS",
    "kink",
    "likely_cause",
    "not_analytic",
    "not_finite",
    "rounding",
    "wrong_shape",
]

PERHAPS = "missing path: what is missing"
"""Begins what is told by a pattern of the numbers, and may have another cause."""


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


def likely_cause(
    name: str,
    analytic: Any,
    numeric: Any,
    *,
    entries: bool = True,
    at: Any = None,
    paths: Mapping[str, Any] = MappingProxyType({}),
    lengths: Collection[int] = (),
) -> str:
    """Tell the mistake in a rule or a backward pass that makes `analytic` out of `numeric`.

    Parameters
    ----------
    name : str
        Of the input.
    analytic, numeric : ndarray
        Finite, of one shape.
    entries : bool, optional
        Whether they are the entries of a gradient, and not derivatives along random directions.
    at : ndarray, optional
        The value that it is the gradient of.
    paths : mapping, optional
        What the gradient is the sum of, by a text that names the path: ``mu, dx2``.
    lengths : collection of int, optional
        How many values the sums of the function add up: a factor that is one of them, or one more
        or less, is a forgotten 1/N, or N − 1 in place of N.

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
    >>> likely_cause("w", right - 1, right, paths={"mu, dw2": np.ones((2, 2))})
    'missing path: dw lacks the path through mu, dw2'
    """
    cause = _no_path(name, analytic) or _factor(analytic, numeric, lengths)
    if cause := cause or _lost_paths(name, analytic, numeric, paths):
        return cause
    if not entries:
        return ""
    return (
        _transposed(analytic, numeric)
        or _lost_sum(analytic, numeric)
        or _lost_variance(analytic, numeric, at)
    )


def wrong_shape(name: str, analytic: Any, numeric: Any) -> str:
    """Tell why a gradient has another shape than what it is the gradient of.

    Examples
    --------
    >>> wrong_shape("b", np.ones((4, 2)), np.full(2, 4.0))
    'missing sum: db has shape (4, 2) and not (2,); summed over axis 0 it is right'
    """
    if analytic.shape == numeric.shape:
        return ""
    said = f"d{name} has shape {analytic.shape} and not {numeric.shape}"
    close = 1e-9 * float(np.max(np.abs(numeric), initial=0.0))
    for count in range(1, analytic.ndim + 1):
        for axes in combinations(range(analytic.ndim), count):
            total = analytic.sum(axes)
            if total.size == numeric.size and np.allclose(total.ravel(), numeric.ravel(), 0, close):
                if all(analytic.shape[k] == 1 for k in axes):
                    return f"keepdims: {said}; the numbers are right"
                over = ", ".join(map(str, axes))
                return f"missing sum: {said}; summed over axis {over} it is right"
    if analytic.size == numeric.size and np.allclose(analytic.ravel(), numeric.ravel(), 0, close):
        return f"keepdims: {said}; the numbers are right"
    if analytic.T.shape == numeric.shape and np.allclose(analytic.T, numeric, 0, close):
        return f"transposed: {said}; its transpose is right"
    return ""


def _no_path(name: str, analytic: Any) -> str:
    if analytic.any():
        return ""
    return (
        f"missing path: no gradient arrives at {name}, although the result depends on it; "
        "somewhere between, its plain array is used (.data, .detach(), float())"
    )


def _lost_paths(name: str, analytic: Any, numeric: Any, paths: Mapping[str, Any]) -> str:
    """Tell one path, or two, whose gradients are all that is missing."""
    gap = numeric - analytic
    known = {label: g for label, g in paths.items() if np.any(g)}
    for count in (1, 2) if len(known) > 2 else (1,):
        for labels in combinations(known, count):
            parts = [np.broadcast_to(known[label], gap.shape) for label in labels]
            if np.allclose(sum(parts), gap, 1e-6, 1e-9 * np.abs(numeric).max()):
                return f"missing path: d{name} lacks the path through {' and '.join(labels)}"
            if np.allclose(sum(parts), -gap, 1e-6, 1e-9 * np.abs(numeric).max()):
                return f"factor: d{name} has the path through {' and '.join(labels)} twice"
            if np.allclose(sum(parts), gap / 2, 1e-6, 1e-9 * np.abs(numeric).max()):
                return f"factor: d{name} has -1 times the path through {' and '.join(labels)}"
    return ""


def _factor(analytic: Any, numeric: Any, lengths: Collection[int] = ()) -> str:
    factor = np.vdot(analytic, numeric) / np.vdot(numeric, numeric) if numeric.any() else 0.0
    rest, gap = np.abs(analytic - factor * numeric).max(), np.abs(analytic - numeric).max()
    if analytic.size == 1 or rest > 1e-3 * gap:
        return ""
    for n in sorted(set(lengths) - {0, 1}):
        for text, value in _ratios(n).items():
            if abs(factor - value) < 1e-6 * abs(value):
                told = f"where N = {n}, the length of an axis"
                return f"factor: every entry is {text} times what it should be, {told}"
    exact = Fraction(factor).limit_denominator(100)
    near = abs(exact - factor) < 1e-3 * abs(exact - 1)
    ratio = exact if near else f"{1 + float(f'{factor - 1:.4g}'):.12g}"
    return f"factor: every entry is {ratio} times what it should be"


def _ratios(n: int) -> dict[str, float]:
    """Give the factors that a forgotten or misplaced length makes."""
    ratios = {"N": n, "1/N": 1 / n, "N²": n * n, "2/N": 2 / n, "N/2": n / 2}
    ratios |= {f"-{text}": -value for text, value in ratios.items()}
    ratios |= {"N/(N − 1)": n / (n - 1), "(N − 1)/N": (n - 1) / n}
    # a small number is more likely itself: ½, and no 1/N where N = 2
    return {text: value for text, value in ratios.items() if value not in _PLAIN}


_PLAIN = (2.0, 0.5, -2.0, -0.5, 1.0, -1.0)


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
                f"{PERHAPS} is the same all along axis {axis}, as if "
                "a path through a sum or mean over that axis were lost"
            )
    return ""


def _lost_variance(analytic: Any, numeric: Any, at: Any) -> str:
    """Tell a gap that along some axis is a multiple of the distance from the mean."""
    gap = numeric - analytic
    for axis, length in enumerate(gap.shape) if np.shape(at) == gap.shape else ():
        if length < 3:
            continue
        away = at - np.mean(at, axis=axis, keepdims=True)
        with np.errstate(all="ignore"):  # what is the same all along an axis has no slope
            slope = np.sum(gap * away, axis, keepdims=True)
            slope = slope / np.sum(away * away, axis, keepdims=True)
        if np.abs(gap - slope * away).max() <= 1e-6 * np.abs(gap).max():
            return (
                f"{PERHAPS} grows along axis {axis} with the distance from "
                "the mean, as if a path through a variance over that axis were lost"
            )
    return ""
