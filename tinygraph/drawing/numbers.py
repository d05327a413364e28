"""A value and its gradient as a few short rows, for a box."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = ["value_rows"]


def value_rows(value: Any, grad: Any) -> Iterable[str]:
    """Write small arrays entry by entry, larger ones as min, mean, max and norm.

    Parameters
    ----------
    value : array_like
    grad : array_like or None
        Of the same shape; None where there is none yet.

    Returns
    -------
    iterable of str

    Examples
    --------
    >>> list(value_rows([1.0, 2.5], None))
    ['1 | –', '2.5 | –']
    """
    if np.size(value) <= 6:
        left = [_number(v) for v in np.ravel(value)]
        right = ["–"] * len(left) if grad is None else [_number(g) for g in np.ravel(grad)]
        return [f"{v} | {g}" for v, g in zip(left, right, strict=True)]
    measures: dict[str, Any] = {"min": np.min, "mean": np.mean, "max": np.max, "norm": _norm}
    with np.errstate(all="ignore"):
        return [
            f"{what} {_number(f(value))} | {'–' if grad is None else _number(f(grad))}"
            for what, f in measures.items()
        ]


def _norm(a: Any) -> Any:
    sizes = np.abs(a).astype(np.float64)
    largest = np.max(sizes)  # taken out, so that no square overflows
    if not 0 < largest < np.inf:
        return largest
    return largest * np.sqrt(np.sum((sizes / largest) ** 2))


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
