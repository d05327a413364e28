"""Derivatives that no rule of differentiation had a part in.

**The complex step** takes Im f(x + i·h·v) / h. Nothing is subtracted, so h may be 1e-20 and nothing
cancels: the derivative is right to the last digits. It needs a function that is analytic around x;
relu, max and where are, off their kinks. **Central differences**, (f(x + h·v) − f(x − h·v)) / 2h,
serve every other function, to about nine digits.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from tinygraph.checks.guarding import Function, plain
from tinygraph.engine.recording import holomorphic
from tinygraph.engine.tensor import Tensor

__all__ = [
    "CENTRAL_STEP",
    "COMPLEX_STEP",
    "EPS",
    "METHODS",
    "check_method",
    "complex_step",
    "directional_derivative",
    "moved",
    "two_points",
    "width",
]

METHODS = {"complex": "complex step", "central": "central differences"}

EPS = float(np.finfo(np.float64).eps)
COMPLEX_STEP = 1e-20
CENTRAL_STEP = EPS ** (1 / 3)  # balances the errors h² of the formula and eps / h of rounding


def directional_derivative(
    fn: Function, inputs: Sequence[Any], directions: Sequence[Any], method: str = "complex"
) -> Any:
    """Differentiate a function along a direction, without a graph.

    Parameters
    ----------
    fn : callable
        A function of Tensors or of arrays: it is given what `inputs` are. It may itself use
        `grad`, and is therefore run with recording on.
    inputs : sequence of Tensors or array_like
        The point; whatever the dtype, float64 is computed with.
    directions : sequence of array_like or None
        One per input, of its shape; None leaves that input where it is.
    method : str
        ``complex`` for analytic functions, exact to the last digits, or ``central``.

    Returns
    -------
    ndarray
        d/dt fn(inputs + t · directions) at t = 0, of the shape of fn's result.

    Raises
    ------
    ValueError
        If `method` is unknown, or a direction has not the shape of its input.

    Notes
    -----
    The complex step: Squire and Trapp, "Using Complex Variables to Estimate Derivatives of Real
    Functions", SIAM Review 40 (1998).

    Examples
    --------
    >>> import numpy as np
    >>> directional_derivative(lambda x: x**3, [np.array([1.0, 2.0])], [np.array([1.0, 1.0])])
    array([ 3., 12.])
    """
    check_method(method, METHODS)
    arrays = [np.array(plain(x), dtype=np.float64) for x in inputs]
    along = [None if v is None else np.asarray(plain(v), np.float64) for v in directions]
    for k, (x, v) in enumerate(zip(arrays, along, strict=True)):
        if v is not None and v.shape != x.shape:
            raise ValueError(f"direction {k} has shape {v.shape}, but its input {x.shape}")

    def run(*moved: Any) -> Any:
        pairs = zip(moved, inputs, strict=True)
        return np.asarray(
            plain(fn(*(Tensor(x, name=t.name) if isinstance(t, Tensor) else x for x, t in pairs)))
        )

    if method == "complex":
        return complex_step(run, arrays, along)
    size = max(width(x, v) for x, v in zip(arrays, along, strict=True))
    up, down, distance = two_points(run, arrays, along, CENTRAL_STEP * size)
    return (up - down) / distance


def complex_step(fn: Function, arrays: Sequence[Any], along: Sequence[Any]) -> Any:
    """Give Im fn(arrays + i·h·along) / h."""
    with holomorphic():
        return np.imag(fn(*moved(arrays, along, 1j * COMPLEX_STEP))) / COMPLEX_STEP


def two_points(
    fn: Function, arrays: Sequence[Any], along: Sequence[Any], h: float
) -> tuple[Any, Any, float]:
    """Evaluate on both sides; also give how far apart, along `along`, rounding put the points."""
    up, down = moved(arrays, along, h), moved(arrays, along, -h)
    apart = [(a - b, v) for a, b, v in zip(up, down, along, strict=True) if v is not None]
    distance = sum(np.vdot(d, v) for d, v in apart) / sum(np.vdot(v, v) for _, v in apart)
    with np.errstate(all="ignore"):  # a point beside the user's may leave the function's domain
        return fn(*up), fn(*down), float(distance)


def moved(arrays: Sequence[Any], along: Sequence[Any], t: complex) -> list[Any]:
    """Move by t along the directions that are given."""
    return [x if v is None else x + t * v for x, v in zip(arrays, along, strict=True)]


def width(x: Any, v: Any) -> float:
    """Give the size of what moves, by which a step must grow not to drown in its rounding."""
    return 1.0 if v is None else float(np.max(np.abs(x), where=v != 0, initial=1.0))


def check_method(method: str, known: Collection[str]) -> None:
    """Refuse a method that there is not."""
    if method not in known:
        raise ValueError(f"method must be one of {', '.join(known)}, not {method!r}")
