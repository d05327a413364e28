"""The arrays that a graph holds: numbers, of a dtype that can be differentiated, and read-only."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from numbers import Number
from typing import Any

import numpy as np

from tinygraph.engine.lengths import Measured
from tinygraph.engine.operators import Operand

__all__ = ["constants", "leaf", "locked", "numbers", "relocked"]


def locked(value: Any) -> Any:
    """Make an array read-only; scalars are immutable, and other numbers become object arrays."""
    if isinstance(value, np.ndarray):
        value.setflags(write=False)
        return value
    return value if isinstance(value, np.generic) else locked(np.array(value, dtype=object))


def relocked(value: Any) -> Any:
    """Make arrays read-only again, in tuples too, after a copy of what a graph held."""
    if isinstance(value, tuple):
        return tuple(relocked(x) for x in value)
    return locked(value) if isinstance(value, np.ndarray) else value


def numbers(data: Any, what: str) -> Any:
    """Give `data` as an array of numbers, without a copy where it is one; raise where it is not."""
    if isinstance(data, np.ma.MaskedArray):
        raise TypeError(f"{what} is a masked array, whose mask would be lost; fill it first")
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ValueError(f"{what} does not form an array: {error}") from None
    kind = array.dtype.kind
    if kind == "O" and all(isinstance(x, int) for x in array.flat):
        return array.astype(np.float64)  # ints beyond 64 bits
    if kind not in "iubfcO" or (
        kind == "O" and not all(isinstance(x, Number) for x in array.ravel())
    ):
        raise TypeError(f"{what} must be numbers, not {type(data).__name__} of {array.dtype}")
    return array


def leaf(data: Any, name: str | None = None) -> Any:
    """Copy `data` into an array for a leaf: ints and bools become float64."""
    if isinstance(data, Operand):
        raise TypeError(f"{data!r} is a Tensor already; use it as it is, or .detach() for a leaf")
    array = numbers(data, f"the data of {name!r}" if name else "the data of a tensor")
    return locked(np.array(array, dtype=np.float64 if array.dtype.kind in "iub" else None)[()])


def constants(inputs: Sequence[Any]) -> list[Any]:
    """Prepare operands that are not nodes: arrays are copied and locked, fractions are rounded.

    Python scalars stay as they are: they take the dtype of the array that they meet (NEP 50). A
    Fraction does so too, unless all arithmetic here is exact.
    """
    prepared = []
    exact = any(isinstance(x, Operand) and x.dtype.hasobject for x in inputs)
    for x in inputs:
        if isinstance(x, Operand | float | int | complex | np.number | np.bool):
            pass
        elif isinstance(x, Fraction):
            x = x if exact else float(x)
        elif isinstance(x, Measured):
            pass
        elif x is None or isinstance(x, str):
            raise TypeError(f"an operand must be numbers, not {x!r}")
        else:
            x = locked(np.array(numbers(x, "an operand")))
        prepared.append(x)
    return prepared
