"""Sums, means, products and extremes along axes, with all that NumPy lets a caller say of them.

``where=`` leaves entries out: a sum takes 0 in their place, a product 1, and a mean divides by
how many there are. ``initial=`` is one more entry, and ``dtype=`` what is computed in.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from tinygraph.engine import ops
from tinygraph.engine.functions import describe, is_node, normalize_axes
from tinygraph.engine.lengths import count, extent, plain
from tinygraph.engine.library import scans
from tinygraph.engine.primitive import NUMPY
from tinygraph.engine.recording import current

__all__ = ["all_", "any_", "argmax", "argmin", "max_", "mean", "min_", "prod", "std", "sum_", "var"]

EXACTLY = np.frompyfunc(Fraction, 1, 1)
NOTHING: Any = getattr(np, "_NoValue", None)
"""What stands for an argument that was not given, where None has a meaning."""


def _prepared(x: Any, dtype: Any, out: Any, where: Any, fill: Any, of: str) -> Any:
    """Give what is reduced: of the dtype, and with something neutral where it does not count."""
    if out is not None:
        raise TypeError(
            f"np.{of}: out= would overwrite an array, and a graph records values, not places; "
            "use the result instead"
        )
    x = x if dtype is None else x.astype(dtype)
    return x if where is True else np.where(where, x, fill)


def sum_(
    x: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = NOTHING,
    where: Any = True,
) -> Any:
    """Add up along `axis`."""
    if dtype is not None or out is not None or where is not True:
        x = _prepared(x, dtype, out, where, 0, "sum")
    axes = normalize_axes(x.shape, axis, of="sum")
    total = ops.sum(x, axis=axes, keepdims=bool(keepdims))
    return total if initial is NOTHING else total + initial


def prod(
    x: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = NOTHING,
    where: Any = True,
) -> Any:
    """Multiply along `axis`."""
    x = _prepared(x, dtype, out, where, 1, "prod")
    axes = normalize_axes(x.shape, axis, of="prod")
    product = scans.prod(x, axis=axes, keepdims=bool(keepdims))
    return product if initial is NOTHING else product * initial


def mean(
    x: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    *,
    where: Any = True,
) -> Any:
    """Σ x / n: one rounding, so the mean of equal entries whose sum is exact is exact."""
    if dtype is not None or out is not None or where is not True:
        x = _prepared(x, dtype, out, where, 0, "mean")
    axes = normalize_axes(x.shape, axis, of="mean")
    total = ops.sum(x, axis=axes, keepdims=bool(keepdims))
    return total / _count(x, axes, where, keepdims, of="mean")


def var(
    x: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: Any = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
    mean: Any = NOTHING,
    correction: Any = NOTHING,
) -> Any:
    """Σ (x − mean)² / (n − ddof), in two passes: the one-pass formula cancels."""
    if x.dtype.kind == "c" and not current().holomorphic:
        raise TypeError(
            f"var: {describe(x)} is complex, where NumPy's variance is the mean of |x − mean|², "
            "which is not holomorphic and has no complex derivative; for the mean of "
            "(x − mean)² write np.mean((x - np.mean(x)) ** 2)"
        )
    x = x if dtype is None else x.astype(dtype)
    ddof = ddof if correction is NOTHING else correction
    axes = normalize_axes(x.shape, axis, of="var")
    if mean is NOTHING:
        mean = _mean(x, axes, keepdims=True, where=where)
    squares = _prepared(ops.square(x - mean), None, out, where, 0, "var")
    n = _count(x, axes, where, keepdims, of="var")
    if ddof:
        if where is True and plain(n) <= ddof:
            raise ValueError(f"var: ddof={ddof} leaves nothing of {n} values per entry")
        n = n - ddof if where is True else np.maximum(n - ddof, 0)  # and what it leaves is nan
    return ops.sum(squares, axis=axes, keepdims=bool(keepdims)) / n


_mean = mean


def std(x: Any, axis: Any = None, *args: Any, **kwargs: Any) -> Any:
    """√var. Where all entries are equal it is 0, and its gradient is nan: √ has no slope at 0."""
    return ops.sqrt(var(x, axis, *args, **kwargs))


def _count(x: Any, axes: tuple[int, ...], where: Any, keepdims: Any, *, of: str) -> Any:
    """Count the entries that are reduced, for each result where a mask says which they are."""
    if where is not True:
        there: Any = np.broadcast_to(where, tuple(map(int, x.shape)))
        return np.sum(there, axis=tuple(axes), keepdims=bool(keepdims)).astype(x.dtype)
    shape = extent(x)
    if 0 in shape and 0 in [shape[k] for k in axes]:
        raise ValueError(f"{of}: nothing to reduce along axis {tuple(axes)} of shape {shape}")
    return count(x, axes)


def max_(
    x: Any,
    axis: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = NOTHING,
    where: Any = True,
) -> Any:
    """Largest entry along `axis`."""
    if where is not True and initial is NOTHING:
        raise ValueError("max: where= leaves entries out, and needs initial= for what has none")
    x = _prepared(x, None, out, where, initial, "max")
    axes = normalize_axes(x.shape, axis, of="max")
    if initial is NOTHING:
        _count(x, axes, True, keepdims, of="max")
    elif count(x, axes) == 0:
        shape = np.sum(np.zeros(tuple(map(int, x.shape))), axis=axes, keepdims=keepdims).shape
        return ops.sum(x, axis=axes, keepdims=bool(keepdims)) + np.full(shape, initial, x.dtype)
    largest = ops.max(x, axis=axes, keepdims=bool(keepdims))
    return largest if initial is NOTHING else ops.maximum(largest, initial)


def min_(
    x: Any,
    axis: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = NOTHING,
    where: Any = True,
) -> Any:
    """Smallest entry along `axis`."""
    if where is not True and initial is NOTHING:
        raise ValueError("min: where= leaves entries out, and needs initial= for what has none")
    return -max_(-x, axis, out, keepdims, initial if initial is NOTHING else -initial, where)


def _truth(op: Any) -> Any:
    def truth(
        x: Any, axis: Any = None, out: Any = None, keepdims: bool = False, *, where: Any = True
    ) -> Any:
        """Whether all or any of the entries along `axis` are true."""
        neutral = op is ops.all
        x = _prepared(x, None, out, where, neutral, op.name)
        axes = normalize_axes(x.shape, axis, of=op.name)
        return op(x, axis=axes, keepdims=bool(keepdims))

    return truth


all_, any_ = _truth(ops.all), _truth(ops.any)


def _place(op: Any) -> Any:
    def place(x: Any, axis: Any = None, out: Any = None, *, keepdims: bool = False) -> Any:
        """Give the index of the first extreme entry along `axis`, or among all entries."""
        _prepared(x, None, out, True, None, op.name)
        if axis is not None:
            (axis,) = normalize_axes(x.shape, (axis,), of=op.name)
        found = op(x, axis=axis)
        if not keepdims:
            return found
        return np.reshape(found, (1,) * x.ndim) if axis is None else np.expand_dims(found, axis)

    return place


argmax, argmin = _place(ops.argmax), _place(ops.argmin)

# --------------------------------------------------------------------------- composed of these


def average(
    x: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: Any = False
) -> Any:
    """Σ w x / Σ w."""
    x = x if is_node(x) else np.asarray(x)
    if weights is None:
        found = mean(x, axis, keepdims=keepdims)
        total = np.full(found.shape, x.size / max(found.size, 1), found.dtype)
        return (found, total) if returned else found
    w = weights if is_node(weights) else np.asarray(weights)
    axes = normalize_axes(x.shape, axis, of="average")
    if w.shape != x.shape:
        if axis is None:
            raise TypeError("Axis must be specified when shapes of a and weights differ.")
        if tuple(w.shape) != tuple(x.shape[k] for k in axes):
            raise ValueError(
                "Shape of weights must be consistent with shape of a along specified axis."
            )
        w = np.reshape(w, tuple(n if k in axes else 1 for k, n in enumerate(x.shape)))
        w = np.broadcast_to(w, x.shape)
    total = np.sum(w, axis=axes, keepdims=keepdims)
    found = np.sum(x * w, axis=axes, keepdims=keepdims) / total
    return (found, np.broadcast_to(total, found.shape)) if returned else found


def _ptp(x: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    return max_(x, axis, out, keepdims) - min_(x, axis, out, keepdims)


def _count_nonzero(x: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return np.sum(x != 0, axis=axis, keepdims=keepdims)


def _without_nan(reduce: Any, fill: Any = NOTHING) -> Any:
    """Reduce what is a number: `fill` takes the place of nan, or ``where=`` leaves it out."""

    def reduced(x: Any, axis: Any = None, *args: Any, where: Any = True, **kwargs: Any) -> Any:
        there = ~np.isnan(x) if where is True else ~np.isnan(x) & where
        if fill is NOTHING:
            x = np.where(np.isnan(x), 0, x)
            return reduce(x, axis, *args, where=there, **kwargs)
        found = reduce(np.where(there, x, fill), axis, *args, **kwargs)
        if not np.isinf(fill):
            return found
        none = ~any_(there, axis, keepdims=kwargs.get("keepdims", False))  # of which nan is left
        return np.where(none, np.nan, found) if is_node(none) or np.any(none) else found

    return reduced


def _nanvar(
    x: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: Any = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
) -> Any:
    there = ~np.isnan(x) if where is True else ~np.isnan(x) & where
    found = var(np.where(np.isnan(x), 0, x), axis, dtype, out, ddof, keepdims, where=there)
    none = np.sum(there, axis=axis, keepdims=keepdims) <= ddof  # is left: no variance
    return np.where(none, np.nan, found) if is_node(none) or np.any(none) else found


# --------------------------------------------------------------------------- order statistics


def _median(
    x: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: bool = False
) -> Any:
    return _quantile(x, 0.5, axis, out, keepdims=keepdims)


def _quantile(
    x: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
) -> Any:
    """Interpolate between the sorted entries."""
    if method != "linear":
        raise TypeError(f"np.quantile: method={method!r} is not supported on tensors; 'linear' is")
    if is_node(q):
        raise TypeError("np.quantile: q must be plain numbers, not a tensor")
    _prepared(x, None, out, True, None, "quantile")
    q = np.asarray(q, float)
    if not ((q >= 0) & (q <= 1)).all():
        raise ValueError("Quantiles must be in the range [0, 1]")
    axes = normalize_axes(x.shape, axis, of="quantile")
    kept = tuple(1 if k in axes else n for k, n in enumerate(x.shape))
    last = scans.along_last(x, axes)
    n = int(last.shape[-1])
    if not n:
        raise ValueError(f"quantile: nothing to reduce along axis {axes} of shape {x.shape}")
    ordered = np.moveaxis(np.sort(last, axis=-1), -1, 0)
    place = q * (n - 1)
    below = np.floor(place).astype(np.intp)
    weight = (place - below).reshape(q.shape + (1,) * (last.ndim - 1))
    if x.dtype.hasobject:
        weight = EXACTLY(weight)
    elif not q.ndim:  # as NumPy: an array of q is of float64
        weight = weight.astype(x.dtype)
    above = np.minimum(below + 1, n - 1)
    found = ordered[below] * (1 - weight) + ordered[above] * weight
    if not x.dtype.hasobject:  # nan comes last, and where there is one nothing else is known
        broken = np.isnan(ordered[-1])
        if is_node(broken) or np.any(broken):
            found = np.where(broken, np.nan, found)
    return np.reshape(found, (*q.shape, *kept)) if keepdims else found


def _percentile(x: Any, q: Any, *args: Any, **kwargs: Any) -> Any:
    if is_node(q):
        raise TypeError("np.percentile: q must be plain numbers, not a tensor")
    return _quantile(x, np.asarray(q) / 100, *args, **kwargs)


NUMPY.update(
    {
        np.sum: sum_,
        np.prod: prod,
        np.mean: mean,
        np.var: var,
        np.std: std,
        np.max: max_,
        np.amax: max_,
        np.min: min_,
        np.amin: min_,
        np.all: all_,
        np.any: any_,
        np.argmax: argmax,
        np.argmin: argmin,
        np.average: average,
        np.ptp: _ptp,
        np.count_nonzero: _count_nonzero,
        np.nansum: _without_nan(sum_, 0),
        np.nanprod: _without_nan(prod, 1),
        np.nanmean: _without_nan(mean),
        np.nanvar: _nanvar,
        np.nanstd: lambda x, *args, **options: ops.sqrt(_nanvar(x, *args, **options)),
        np.nanmax: _without_nan(max_, -np.inf),
        np.nanmin: _without_nan(min_, np.inf),
        np.median: _median,
        np.quantile: _quantile,
        np.percentile: _percentile,
    }
)
