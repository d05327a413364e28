"""Products, and running sums and products along one axis, whose rules divide by nothing.

The derivative of a product is the product of the others. As ``out / x`` it is 0/0 where an entry
is 0; here it is multiplied out, in log n steps over all entries, so that it is exact and can be
differentiated again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygraph.engine import ops
from tinygraph.engine.functions import normalize_axes
from tinygraph.engine.primitive import NUMPY, Primitive

__all__ = ["along_last", "prod", "running_product", "running_sum"]

Axes = tuple[int, ...]


def along_last(x: Any, axes: Axes) -> Any:
    """Bring some axes to the end, as one axis there."""
    kept = tuple(k for k in range(x.ndim) if k not in axes)
    shape = tuple(x.shape[k] for k in kept)
    return np.reshape(np.transpose(x, kept + axes), (*shape, -1) if x.size else (*shape, 0))


def _others(x: Any) -> Any:
    """Multiply, for each entry along the last axis, all others there."""
    n = x.shape[-1]
    if n == 1:
        return np.ones_like(x)
    h = n // 2
    a, b, rest = x[..., :h], x[..., h : 2 * h], x[..., 2 * h :]
    pairs = _others(np.concatenate([a * b, rest], axis=-1))
    of_pair, of_rest = pairs[..., :h], pairs[..., h:]
    return np.concatenate([of_pair * b, of_pair * a, of_rest], axis=-1)


def _prod_rule(g: Any, out: Any, x: Any, axis: Axes, keepdims: bool) -> Any:
    if not x.size:
        return ops.spread(g, shape=x.shape, axis=axis)
    kept = tuple(k for k in range(x.ndim) if k not in axis)
    shape = tuple(x.shape[k] for k in kept + axis)
    others = np.reshape(_others(along_last(x, axis)), shape)
    order = kept + axis
    others = np.transpose(others, tuple(sorted(range(x.ndim), key=order.__getitem__)))
    return ops.spread(g, shape=x.shape, axis=axis) * others


def _shifted(x: Any, by: int, fill: float) -> Any:
    """Move the entries along the last axis towards its start."""
    end = np.full((*x.shape[:-1], by), fill, x.dtype)
    return np.concatenate([x[..., by:], end], axis=-1)


def _cumprod_rule(g: Any, out: Any, x: Any, axis: int) -> Any:
    """Give dxᵢ = Lᵢ Rᵢ, where Lᵢ = Π_{k<i} xₖ and Rᵢ = Σ_{j≥i} gⱼ Π_{i<k≤j} xₖ = gᵢ + xᵢ₊₁ Rᵢ₊₁.

    The recurrence is a chain of affine maps, r → gᵢ + xᵢ₊₁ r, composed over twice the distance at
    every step.
    """
    x, g, out = (np.moveaxis(one, axis, -1) for one in (x, g, out))
    n = x.shape[-1]
    if n == 0:
        return np.moveaxis(g, -1, axis)
    left = np.concatenate([np.ones_like(x[..., :1]), out[..., :-1]], axis=-1)
    factor, right, by = _shifted(x, 1, 0), g, 1
    while by < n:
        right = right + factor * _shifted(right, by, 0)
        factor, by = factor * _shifted(factor, by, 0), 2 * by
    return np.moveaxis(left * right, -1, axis)


# fmt: off
prod = Primitive("prod", "Π",
    lambda x, axis, keepdims: np.prod(x, axis=axis, keepdims=keepdims),
    _prod_rule,
    elementwise=False, text="Π{axes} {0:product}", latex=r"\prod{axes} {0:product}",
    numpy="np.prod({0}{along})", binds={"text": "sigma", "latex": "sigma"})
cumsum = Primitive("cumsum", "cumsum", lambda x, axis: np.cumsum(x, axis=axis),
    lambda g, out, x, axis: np.flip(np.cumsum(np.flip(g, axis), axis), axis),
    elementwise=False, numpy="np.cumsum({0}, axis={axis})")
cumprod = Primitive("cumprod", "cumprod", lambda x, axis: np.cumprod(x, axis=axis),
    _cumprod_rule,
    elementwise=False, numpy="np.cumprod({0}, axis={axis})")
# fmt: on


def _scan(op: Primitive) -> Any:
    def scan(x: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
        """Add up or multiply from the start of an axis, or of all entries, to each entry."""
        if out is not None:
            raise TypeError(f"np.{op.name}: out= would overwrite an array; use the result instead")
        x = x if dtype is None else x.astype(dtype)
        if axis is None:
            x, axis = np.reshape(x, -1), 0
        (along,) = normalize_axes(x.shape, axis, of=op.name)
        return op(x, axis=along)

    return scan


running_sum, running_product = _scan(cumsum), _scan(cumprod)


def diff(x: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """Take the n-th difference along an axis, after joining something in front and behind."""
    (along,) = normalize_axes(np.shape(x), axis, of="diff")
    if n < 0:
        raise ValueError(f"diff: order must be non-negative but got {n}")
    ends = [end if end is None else _end(end, x, along) for end in (prepend, append)]
    parts = [part for part in (ends[0], x, ends[1]) if part is not None]
    x = np.concatenate(parts, axis=along) if len(parts) > 1 else x
    later = (slice(None),) * along + (slice(1, None),)
    earlier = (slice(None),) * along + (slice(None, -1),)
    for _ in range(n):
        x = x[later] - x[earlier]
    return x


def _end(end: Any, x: Any, axis: int) -> Any:
    if np.ndim(end):
        return end
    shape = tuple(1 if k == axis else length for k, length in enumerate(np.shape(x)))
    return np.broadcast_to(end, shape)


NUMPY.update(
    {
        np.cumsum: running_sum,
        np.cumprod: running_product,
        np.diff: diff,
    }
)
if hasattr(np, "cumulative_sum"):

    def _cumulative(scan: Any) -> Any:
        def cumulative(x: Any, /, *, axis: Any = None, dtype: Any = None) -> Any:
            if axis is None and x.ndim != 1:
                raise ValueError("axis must be given where there is more than one")
            return scan(x, axis, dtype)

        return cumulative

    NUMPY[np.cumulative_sum] = _cumulative(running_sum)
    NUMPY[np.cumulative_prod] = _cumulative(running_product)
