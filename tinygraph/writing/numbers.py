"""Numbers and shapes as a person writes them, short and for eyes; `literals` keeps every bit."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

__all__ = ["number_text", "root_of", "shape_text"]


def number_text(value: Any) -> str:
    """Write a number shortly: 3 for 3.0, 1e-05 for 0.00001."""
    if isinstance(value, Fraction):
        is_float = value.numerator.bit_length() <= 1023 or value.denominator > 1
        value = float(value) if is_float else value.numerator
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e16:
        return str(int(value))
    return repr(value)


def root_of(value: Any) -> int:
    """Give n where a number is the float nearest to √n, and no fraction that is shorter; or 0.

    Examples
    --------
    >>> root_of(np.sqrt(8)), root_of(2.0), root_of(1.41)
    (8, 0, 0)
    """
    number = float(value) if isinstance(value, float | Fraction) else 0.0
    if not 1 < number < 1e3:
        return 0
    n = round(number * number)
    return n if float(np.sqrt(n)) == number != int(number) else 0


def shape_text(shape: tuple[int, ...]) -> str:
    """Write a shape as Python does: (64, 100), (100,), ()."""
    return str(tuple(shape))
