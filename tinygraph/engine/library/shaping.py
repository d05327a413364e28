"""Where entries are, without a change of them: axes moved, entries picked, repeated and turned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygraph.engine import ops
from tinygraph.engine.functions import describe, is_node, normalize_axes, transpose
from tinygraph.engine.primitive import NUMPY

__all__ = ["diagonal", "flip", "moveaxis", "places", "repeat", "roll", "take", "trace"]

ALL = slice(None)


def _ints(x: Any) -> tuple[int, ...]:
    return (x.__index__(),) if hasattr(x, "__index__") else tuple(k.__index__() for k in x)


def _axis(x: Any, axis: Any, of: str) -> int:
    (k,) = normalize_axes(np.shape(x), (axis,), of=of)
    return k


def _along(axis: int, key: Any) -> tuple[Any, ...]:
    """Index one axis."""
    return (ALL,) * axis + (key,)


# --------------------------------------------------------------------------- axes


def moveaxis(x: Any, source: Any, destination: Any) -> Any:
    """Move axes to other places; the others keep their order."""
    pairs = _ints(source), _ints(destination)
    if len(pairs[0]) != len(pairs[1]):
        raise ValueError("moveaxis: source and destination must have the same number of elements")
    for axes in pairs:
        normalize_axes(x.shape, axes, of="moveaxis")
    from_, to = (tuple(k % x.ndim for k in axes) for axes in pairs)
    order = [k for k in range(x.ndim) if k not in from_]
    for place, k in sorted(zip(to, from_, strict=True)):
        order.insert(place, k)
    return transpose(x, order)


def _rollaxis(x: Any, axis: int, start: int = 0) -> Any:
    axis = _axis(x, axis, "rollaxis")
    if not -x.ndim <= start <= x.ndim:
        raise ValueError(f"rollaxis: start {start} does not exist in {describe(x)}")
    start = start % x.ndim if start < 0 else start
    return moveaxis(x, axis, start - 1 if axis < start else start)


# --------------------------------------------------------------------------- order


def flip(x: Any, axis: Any = None) -> Any:
    """Reverse the order of entries along some axes, or along all."""
    axes = normalize_axes(x.shape, axis, of="flip")
    back = slice(None, None, -1)
    return x[tuple(back if k in axes else ALL for k in range(x.ndim))]


def roll(x: Any, shift: Any, axis: Any = None) -> Any:
    """Shift entries along axes; what leaves at the end comes back at the start."""
    if axis is None:
        return np.reshape(roll(np.reshape(x, -1), shift, 0), x.shape)
    shifts, axes = np.broadcast_arrays(_ints(shift), _ints(axis))
    for by, one in zip(shifts.tolist(), axes.tolist(), strict=True):
        k = _axis(x, one, "roll")
        n = int(x.shape[k])
        cut = n - by % n if n else 0
        if cut % max(n, 1):
            parts = x[_along(k, slice(cut, None))], x[_along(k, slice(None, cut))]
            x = np.concatenate(parts, axis=k)
    return x


def _rot90(x: Any, k: int = 1, axes: Sequence[int] = (0, 1)) -> Any:
    if len(axes) != 2:
        raise ValueError("rot90: len(axes) must be 2")
    i, j = (_axis(x, axis, "rot90") for axis in axes)
    if i == j:
        raise ValueError("rot90: axes must be different")
    turned = flip(x, j) if k % 4 in (1, 2) else x
    if k % 4 == 2:
        return flip(turned, i)
    if k % 2:
        turned = np.swapaxes(turned, i, j)
    return flip(turned, j) if k % 4 == 3 else turned


# --------------------------------------------------------------------------- picking


def take(x: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
    """Pick entries along an axis, or of all entries, by their numbers."""
    if mode != "raise":
        raise TypeError(f"np.take: mode={mode!r} is not supported on tensors")
    if axis is None:
        x, axis = np.reshape(x, -1), 0
    indices = indices if is_node(indices) else np.asarray(indices)
    if indices.dtype.kind not in "iu" and indices.size:
        raise TypeError(f"take: indices must be integers, not {indices.dtype}")
    k = _axis(x, axis, "take")
    return x[_along(k, indices if is_node(indices) else indices.astype(np.intp))]


def _take_along_axis(x: Any, indices: Any, axis: Any = -1) -> Any:
    if axis is None:
        x, axis = np.reshape(x, -1), 0
    k = _axis(x, axis, "take_along_axis")
    if np.ndim(indices) != x.ndim:
        raise ValueError("take_along_axis: `indices` and `arr` must have the same number of axes")
    shape = tuple(1 if j == k else int(n) for j, n in enumerate(x.shape))
    return x[tuple(indices if j == k else _grid(shape, j) for j in range(x.ndim))]


def _grid(shape: Sequence[int], axis: int) -> Any:
    """Give the numbers of the entries along one axis, to broadcast along the others."""
    n = shape[axis]
    return np.arange(n).reshape(tuple(n if k == axis else 1 for k in range(len(shape))))


def repeat(x: Any, repeats: Any, axis: Any = None) -> Any:
    """Repeat entries along an axis, or all entries, each next to itself."""
    if axis is None:
        x, axis = np.reshape(x, -1), 0
    k = _axis(x, axis, "repeat")
    n = int(x.shape[k])
    times = repeats.__array__() if is_node(repeats) else np.asarray(repeats)
    if times.size == 1 and times.dtype.kind in "iu" and times.min() >= 0:
        x = np.reshape(x, (*x.shape[: k + 1], 1, *x.shape[k + 1 :]))
        each = int(times.reshape(()))
        x = np.broadcast_to(x, (*x.shape[: k + 1], each, *x.shape[k + 2 :]))
        return np.reshape(x, (*x.shape[:k], n * each, *x.shape[k + 2 :]))
    return x[_along(k, np.repeat(np.arange(n), times))]


def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Pick the diagonal of two axes, as the last axis."""
    if x.ndim < 2:
        raise ValueError("diagonal: diag requires an array of at least two dimensions")
    i, j = _axis(x, axis1, "diagonal"), _axis(x, axis2, "diagonal")
    if i == j:
        raise ValueError("diagonal: axis1 and axis2 cannot be the same")
    rest = [k for k in range(x.ndim) if k not in (i, j)]
    below, right = max(-offset, 0), max(offset, 0)
    n = np.arange(max(min(int(x.shape[i]) - below, int(x.shape[j]) - right), 0))
    return transpose(x, [*rest, i, j])[(..., n + below, n + right)]


def trace(
    x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
) -> Any:
    """Add up the diagonal of two axes."""
    entries = diagonal(x, offset, axis1, axis2)
    return np.sum(entries if dtype is None else entries.astype(dtype), axis=-1)


def _diag(x: Any, k: int = 0) -> Any:
    """Pick the diagonal of a matrix, or make a matrix of a diagonal."""
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise ValueError("diag: Input must be 1- or 2-d.")
    n = int(x.shape[0]) + abs(k)
    places = np.arange(int(x.shape[0]))
    key = places + max(-k, 0), places + max(k, 0)
    return ops.scatter(x, key=key, shape=(n, n))


def _triangle(make: Any) -> Any:
    def triangle(x: Any, k: int = 0) -> Any:
        """Keep one side of the diagonal of the last two axes, and zeros on the other."""
        if x.ndim == 1:  # as NumPy: the same row at every height
            x = np.broadcast_to(x, (x.shape[0], x.shape[0]))
        if not x.ndim:
            raise ValueError(f"{make.__name__}: a scalar has no triangle")
        shape = tuple(int(n) for n in x.shape[-2:])
        return np.where(make(np.ones(shape, bool), k), x, 0)

    return triangle


def _sliding_window_view(
    x: Any,
    window_shape: Any,
    axis: Any = None,
    *,
    subok: bool = False,
    writeable: bool = False,
) -> Any:
    """Give every window of `x`, its axes last."""
    window = _ints(window_shape)
    axes = tuple(range(x.ndim)) if axis is None else tuple(k % x.ndim for k in _ints(axis))
    if len(window) != len(axes) or any(n < 0 for n in window):
        raise ValueError(
            f"sliding_window_view: window {window} must have one length, not negative, for each of "
            f"the axes {axes}"
        )
    for k, n in zip(axes, window, strict=True):
        start = np.arange(int(x.shape[k]) - n + 1) if x.shape[k] >= n else None
        if start is None:
            raise ValueError("sliding_window_view: window shape cannot be larger than the input")
        picked = x[_along(k, start[:, None] + np.arange(n))]
        x = moveaxis(picked, k + 1, -1)
    return x


# --------------------------------------------------------------------------- sorting


def _sort(
    x: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None
) -> Any:
    """Sort along an axis: the entries at the places that argsort gives."""
    if axis is None:
        x, axis = np.reshape(x, -1), 0
    k = _axis(x, axis, "sort")
    return _take_along_axis(x, argsort(x, axis=k), k)


argsort = ops.Primitive(
    "argsort",
    "argsort",
    lambda x, axis: np.argsort(x, axis=axis, kind="stable"),
    elementwise=False,
    numpy='np.argsort({0}, axis={axis}, kind="stable")',
)


def places(
    x: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None
) -> Any:
    """Give the places of the entries in their order."""
    if axis is None:
        x, axis = np.reshape(x, -1), 0
    return argsort(x, axis=_axis(x, axis, "argsort"))


NUMPY.update(
    {
        np.moveaxis: moveaxis,
        np.rollaxis: _rollaxis,
        np.flip: flip,
        np.flipud: lambda x: flip(x, 0),
        np.fliplr: lambda x: flip(x, 1),
        np.roll: roll,
        np.rot90: _rot90,
        np.take: take,
        np.take_along_axis: _take_along_axis,
        np.repeat: repeat,
        np.diagonal: diagonal,
        np.linalg.diagonal: lambda x, /, *, offset=0: diagonal(x, offset, -2, -1),
        np.trace: trace,
        np.diag: _diag,
        np.diagflat: lambda x, k=0: _diag(np.reshape(x, -1), k),
        np.triu: _triangle(np.triu),
        np.tril: _triangle(np.tril),
        np.lib.stride_tricks.sliding_window_view: _sliding_window_view,
        np.sort: _sort,
        np.argsort: places,
        np.copy: lambda x, order="K", subok=False: x,
        np.matrix_transpose: lambda x: np.swapaxes(x, -1, -2),
    }
)
