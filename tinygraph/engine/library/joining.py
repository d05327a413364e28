"""Tensors joined and taken apart: stacks, splits, tiles, and frames around them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from tinygraph.engine import ops
from tinygraph.engine.functions import concatenate, describe, is_node, normalize_axes
from tinygraph.engine.primitive import NUMPY

__all__ = ["pad", "split", "tile"]


def _node(x: Any) -> Any:
    return x if is_node(x) else np.asarray(x)


def _at_least(n: int) -> Any:
    """Give axes of length 1 until there are n, where NumPy puts them."""

    def one(x: Any) -> Any:
        x = _node(x)
        if x.ndim >= n:
            return x
        shapes = {
            0: (1,) * n,
            1: (1, *x.shape, 1)[3 - n : n + 3 - n] if n == 3 else (1,) * (n - 1) + tuple(x.shape),
            2: (*x.shape, 1),
        }
        return np.reshape(x, shapes[x.ndim])

    def at_least(*arrays: Any) -> Any:
        found = tuple(map(one, arrays))
        return found[0] if len(found) == 1 else found

    return at_least


_1d, _2d, _3d = (_at_least(n) for n in (1, 2, 3))


def _parts(parts: Any) -> list[Any]:
    return [_node(part) for part in parts]


def _vstack(parts: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    return _cast(concatenate([_2d(part) for part in parts], 0), dtype, casting)


def _hstack(parts: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    parts = [_1d(part) for part in parts]
    return _cast(concatenate(parts, 0 if parts[0].ndim == 1 else 1), dtype, casting)


def _dstack(parts: Any) -> Any:
    return concatenate([_3d(part) for part in parts], 2)


def _column_stack(parts: Any) -> Any:
    parts = _parts(parts)
    return concatenate([_2d(part).T if part.ndim < 2 else part for part in parts], 1)


def _cast(x: Any, dtype: Any, casting: str) -> Any:
    if casting != "same_kind":
        raise TypeError(f"casting={casting!r} is not supported on tensors")
    return x if dtype is None else x.astype(dtype)


def _append(x: Any, values: Any, axis: Any = None) -> Any:
    parts = _parts([x, values])
    return concatenate(parts if axis is not None else [np.ravel(part) for part in parts], axis or 0)


def _block(blocks: Any) -> Any:
    """Join nested lists: the innermost along the last axis, the next along the one before it."""

    def depth(one: Any) -> int:
        return 1 + max(map(depth, one)) if isinstance(one, list) and one else 0

    deepest = depth(blocks)

    def leaves(one: Any) -> list[Any]:
        return [x for part in one for x in leaves(part)] if isinstance(one, list) else [one]

    ndim = max(deepest, *(np.ndim(x) for x in leaves(blocks)))

    def joined(one: Any, level: int) -> Any:
        if isinstance(one, list):
            return concatenate([joined(part, level - 1) for part in one], ndim - level)
        x = _node(one)
        return np.reshape(x, (1,) * (ndim - x.ndim) + tuple(x.shape))

    return joined(blocks, deepest)


# --------------------------------------------------------------------------- apart


def split(x: Any, indices_or_sections: Any, axis: int = 0, *, equal: bool = True) -> list[Any]:
    """Cut along an axis, into a number of parts or at the given places."""
    (k,) = normalize_axes(x.shape, (axis,), of="split")
    n = int(x.shape[k])
    if hasattr(indices_or_sections, "__index__"):
        sections = indices_or_sections.__index__()
        if sections <= 0:
            raise ValueError("split: number sections must be larger than 0.")
        if equal and n % sections:
            raise ValueError(
                f"split: array split does not result in an equal division: {describe(x)} has "
                f"{n} entries along axis {k}, which {sections} does not divide"
            )
        each, more = divmod(n, sections)
        ends = [i * each + min(i, more) for i in range(sections + 1)]
        cuts = [slice(a, b) for a, b in pairwise(ends)]
    else:
        places = [None, *(i.__index__() for i in indices_or_sections), None]
        cuts = [slice(a, b) for a, b in pairwise(places)]
    return [x[(slice(None),) * k + (cut,)] for cut in cuts]


def _split_along(name: str, axis: int) -> Any:
    def along(x: Any, indices_or_sections: Any) -> list[Any]:
        least = {"hsplit": 1, "vsplit": 2, "dsplit": 3}[name]
        if x.ndim < least:
            raise ValueError(f"{name} only works on arrays of {least} or more dimensions")
        return split(x, indices_or_sections, 0 if name == "hsplit" and x.ndim == 1 else axis)

    return along


# --------------------------------------------------------------------------- frames


def tile(x: Any, reps: Any) -> Any:
    """Lay copies side by side: for each axis so many."""
    x = _node(x)
    reps = (reps,) if hasattr(reps, "__index__") else tuple(reps)
    reps = tuple(k.__index__() for k in reps)
    n = max(len(reps), x.ndim)
    reps = (1,) * (n - len(reps)) + reps
    shape = (1,) * (n - x.ndim) + tuple(x.shape)
    apart = tuple(m for length in shape for m in (1, length))
    copies = tuple(m for k, length in zip(reps, shape, strict=True) for m in (k, length))
    copied = np.broadcast_to(np.reshape(x, apart), copies)
    return np.reshape(copied, tuple(k * length for k, length in zip(reps, shape, strict=True)))


PICKED = ("edge", "reflect", "symmetric", "wrap")
"""Modes of `pad` whose entries are entries of the array, again."""


def pad(x: Any, pad_width: Any, mode: str = "constant", **kwargs: Any) -> Any:
    """Put a frame around: of constants, the adjoint of a slice; or of entries again, an index."""
    if mode not in ("constant", *PICKED):
        raise TypeError(
            f"np.pad: mode={mode!r} is not supported on tensors; mode='constant' is, and "
            + ", ".join(map(repr, PICKED))
        )
    shape = tuple(int(n) for n in x.shape)
    layout = np.empty(shape, dtype=np.int8)  # on which NumPy checks the widths, and reads them
    padded = np.pad(layout, pad_width, mode="empty").shape
    widths = _widths(pad_width, len(shape))
    if mode == "constant":
        values = kwargs.pop("constant_values", 0)
        key = tuple(slice(a, a + n) for (a, _), n in zip(widths, shape, strict=True))
        framed = ops.scatter(x, key=key, shape=padded)
        if kwargs:
            raise ValueError(f"unsupported keyword arguments for mode 'constant': {set(kwargs)}")
        if is_node(values):
            raise TypeError("np.pad: constant_values must be plain numbers, not tensors")
        if not np.any(values):
            return framed
        frame = np.pad(np.zeros(shape), pad_width, constant_values=values)
        exact = x.dtype.hasobject
        return framed + (np.frompyfunc(Fraction, 1, 1)(frame) if exact else frame.astype(x.dtype))
    for k, width in enumerate(widths):
        if width != (0, 0):
            pad_places: Any = np.pad  # whose types know no string for a mode
            places = pad_places(np.arange(shape[k]), width, mode=mode, **kwargs)
            x = x[(slice(None),) * k + (places,)]
    return x


def _widths(pad_width: Any, ndim: int) -> list[tuple[int, int]]:
    if isinstance(pad_width, dict):
        given: list[Any] = [(0, 0)] * ndim
        for axis, width in pad_width.items():
            given[axis] = width if isinstance(width, Sequence) else (width, width)
        pad_width = given
    return [(int(a), int(b)) for a, b in np.broadcast_to(pad_width, (ndim, 2)).tolist()]


# --------------------------------------------------------------------------- made of others


def _select(conditions: Any, choices: Any, default: Any = 0) -> Any:
    """Choose, entry by entry, the first whose condition holds."""
    if len(conditions) != len(choices) or not len(choices):
        raise ValueError("select: there must be as many cases as choices, and at least one")
    chosen = default
    for condition, choice in list(zip(conditions, choices, strict=True))[::-1]:
        chosen = ops.where(condition, choice, chosen)
    return chosen


def _linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """Give evenly spaced numbers from one end to the other."""
    steps = num - 1 if endpoint else num
    difference = stop - start
    if not steps:
        raise ValueError("linspace: on tensors num must be at least 2")
    step = difference / steps
    places = np.arange(num, dtype=difference.dtype)
    shape = (num, *(1,) * difference.ndim)
    found = start + np.reshape(places, shape) * step
    if endpoint:  # which is met exactly
        last = np.reshape(places == steps, shape)
        found = ops.where(last, stop, found)
    found = np.moveaxis(found, 0, axis)
    found = found if dtype is None else found.astype(dtype)
    return (found, step) if retstep else found


def _cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: Any = None
) -> Any:
    """Multiply vectors of length 3."""
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = (np.moveaxis(_node(x), k, -1) for x, k in ((a, axisa), (b, axisb)))
    if not a.shape[-1] == b.shape[-1] == 3:
        raise ValueError(f"cross: vectors must have length 3: {describe(a)}, {describe(b)}")
    next_, after = [1, 2, 0], [2, 0, 1]
    product = a[..., next_] * b[..., after] - a[..., after] * b[..., next_]
    return np.moveaxis(product, -1, axisc)


NUMPY.update(
    {
        np.atleast_1d: _1d,
        np.atleast_2d: _2d,
        np.atleast_3d: _3d,
        np.vstack: _vstack,
        np.hstack: _hstack,
        np.dstack: _dstack,
        np.column_stack: _column_stack,
        np.append: _append,
        np.block: _block,
        np.select: _select,
        np.linspace: _linspace,
        np.cross: _cross,
        np.split: split,
        np.array_split: lambda x, n, axis=0: split(x, n, axis, equal=False),
        np.hsplit: _split_along("hsplit", 1),
        np.vsplit: _split_along("vsplit", 0),
        np.dsplit: _split_along("dsplit", 2),
        np.tile: tile,
        np.pad: pad,
    }
)
if hasattr(np, "row_stack"):
    NUMPY[np.vstack] = _vstack
