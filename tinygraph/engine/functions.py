"""NumPy's functions, composed of primitives.

What is not itself a primitive is written here as a few of them, once, for everything that
records: ``stack`` is reshape and concatenate. A few have a special case that the staged derivation
needs: ``1 / x`` is ``inverse``, ``x ** 2`` is ``square``, ``max(x, 0)`` is ``relu``. What only
users need, and no rule, stands in `library`.

What NumPy may be asked to do with a tensor stands in `primitive.NUMPY`: the rows that say so
themselves, and what is composed here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygraph.engine import ops
from tinygraph.engine.foreign import native
from tinygraph.engine.lengths import Measured
from tinygraph.engine.primitive import NUMPY, Tracer

__all__ = [
    "concatenate",
    "describe",
    "is_node",
    "matmul",
    "maximum",
    "normalize_axes",
    "transpose",
]


def is_node(x: Any) -> bool:
    """Whether operations on `x` are recorded."""
    return isinstance(x, Tracer)


def describe(x: Any) -> str:
    """Name an operand in a message: its name if it has one, and its shape."""
    name = getattr(x, "name", None)
    kind = "a tensor" if is_node(x) else "an array"
    return f"{name or kind} of shape {tuple(np.shape(x))}"


def normalize_axes(shape: Sequence[int], axis: Any, *, of: str) -> tuple[int, ...]:
    """Give `axis` (None, an int or several) as sorted non-negative axes of `shape`."""
    ndim = len(shape)
    if axis is None:
        return tuple(range(ndim))
    axes = []
    for one in axis if isinstance(axis, (tuple, list)) else (axis,):
        try:
            k = one.__index__()
        except (AttributeError, TypeError):
            raise TypeError(f"{of}: axis must be an int, several or None, not {axis!r}") from None
        if not -ndim <= k < ndim:
            raise ValueError(
                f"{of}: axis {k} does not exist in shape {tuple(shape)}; "
                + (f"the axes are 0 to {ndim - 1}" if ndim else "a scalar has no axes")
            )
        axes.append(k % ndim)
    if len(axes) == 1:
        return (axes[0],)
    if len(set(axes)) < len(axes):
        raise ValueError(f"{of}: axis {axis!r} names one axis twice in shape {tuple(shape)}")
    return tuple(sorted(axes))


# --------------------------------------------------------------------------- composed of primitives


def divide(a: Any, b: Any) -> Any:
    """``1 / b`` is the primitive inverse; every other quotient is rounded once, by div."""
    if type(a) in (int, float) and a == 1:
        return ops.inverse(b)
    return ops.div(a, b)


def power(x: Any, n: Any) -> Any:
    """``x ** 2`` is the primitive square; a fixed exponent is a parameter, not an operand."""
    if is_node(x) and (type(n) in (int, float) or isinstance(n, Measured)):
        return ops.square(x) if n == 2 and _keeps_dtype(x, n) else ops.pow(x, n=n)
    return ops.power(x, n)


def _keeps_dtype(x: Any, n: Any) -> bool:
    """Whether a number makes no floats of whole numbers, as 2.0 does."""
    return type(n) is not float or x.dtype.kind not in "biu"


def maximum(a: Any, b: Any) -> Any:
    """``max(x, 0)`` is relu, whose derivative at 0 is 0."""
    if is_node(a) and type(b) in (int, float) and b == 0 and _keeps_dtype(a, b):
        return ops.relu(a)
    if is_node(b) and type(a) in (int, float) and a == 0 and _keeps_dtype(b, a):
        return ops.relu(b)
    return ops.maximum(a, b)


def matmul(a: Any, b: Any) -> Any:
    """Multiply matrices; a vector is a matrix of one row or column for the time of it."""
    for x in (a, b):
        if np.ndim(x) == 0:
            raise ValueError("matmul: @ takes vectors and matrices, not scalars; use *")
    a = a if is_node(a) else np.asarray(native(a))
    b = b if is_node(b) else np.asarray(native(b))
    row, column = a.ndim == 1, b.ndim == 1
    if a.shape[-1] != b.shape[0 if column else -2]:
        raise ValueError(
            f"matmul: {describe(a)} @ {describe(b)}: the last axis of the first has length "
            f"{a.shape[-1]}, the matching axis of the second {b.shape[0 if column else -2]}"
        )
    product = ops.matmul(
        a.reshape(1, -1) if row else a,
        b.reshape(-1, 1) if column else b,
    )
    if row or column:
        shape = product.shape
        kept = shape[:-2] + (() if row else shape[-2:-1]) + (() if column else shape[-1:])
        product = product.reshape(kept)
    return product


def reshape(x: Any, shape: Any, order: str = "C", *, copy: Any = None) -> Any:
    """Give the same entries, in row-major order, another shape; column by column for "F"."""
    if order == "F":
        wanted = shape[::-1] if isinstance(shape, Sequence) else shape
        return transpose(reshape(transpose(x), wanted))
    if order != "C":
        raise TypeError(
            f"np.reshape: order={order!r} follows the memory of an array, which is no part of a "
            "graph; write 'C' or 'F'"
        )
    if shape == x.shape:
        return x
    wanted = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    known = math.prod(n for n in wanted if n != -1)
    size = math.prod(x.shape)
    free = wanted.count(-1)
    if free > 1 or (known != size if not free else known == 0 or size % known):
        raise ValueError(
            f"reshape: {describe(x)} has {size} entries, which do not fill shape {wanted}"
        )
    full = tuple(size // known if n == -1 else n for n in map(_as_length, wanted))
    return x if full == tuple(x.shape) else ops.reshape(x, shape=full)


def _as_length(n: Any) -> Any:
    return n if isinstance(n, Measured) else int(n)


def ravel(x: Any, order: str = "C") -> Any:
    """Give all entries in a row."""
    return reshape(x, -1, order)


def transpose(x: Any, axes: Any = None) -> Any:
    """Permute the axes."""
    if axes is None:
        axes = range(x.ndim)[::-1]
    order = (axes,) if hasattr(axes, "__index__") else tuple(axes)
    if sorted(k % x.ndim if x.ndim else k for k in order) != list(range(x.ndim)):
        raise ValueError(f"transpose: {axes!r} is no permutation of the axes of {describe(x)}")
    order = tuple(k % x.ndim for k in order)
    return x if order == tuple(range(x.ndim)) else ops.transpose(x, axes=order)


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Exchange two axes."""
    order = list(range(x.ndim))
    (i,), (j,) = (normalize_axes(x.shape, k, of="swapaxes") for k in (axis1, axis2))
    order[i], order[j] = j, i
    return transpose(x, order)


def expand_dims(x: Any, axis: Any) -> Any:
    """Insert axes of length 1."""
    added = (axis,) if hasattr(axis, "__index__") else tuple(axis)
    ndim = x.ndim + len(added)
    places = normalize_axes((1,) * ndim, added, of="expand_dims")
    old = iter(x.shape)
    return reshape(x, tuple(1 if k in places else next(old) for k in range(ndim)))


def squeeze(x: Any, axis: Any = None) -> Any:
    """Drop axes of length 1."""
    if axis is None:
        return reshape(x, tuple(n for n in x.shape if n != 1))
    axes = normalize_axes(x.shape, axis, of="squeeze")
    if any(x.shape[k] != 1 for k in axes):
        raise ValueError(f"squeeze: axis {axis!r} of {describe(x)} is longer than 1")
    return reshape(x, tuple(n for k, n in enumerate(x.shape) if k not in axes))


def broadcast_to(x: Any, shape: Any) -> Any:
    """Copy along new axes and along axes of length 1."""
    shape = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    new = len(shape) - x.ndim
    if new < 0 or any(n not in (1, m) for n, m in zip(x.shape, shape[new:], strict=False)):
        raise ValueError(f"broadcast_to: {describe(x)} does not broadcast to {shape}")
    stretched = tuple(k + new for k, n in enumerate(x.shape) if n == 1 and shape[k + new] != 1)
    if not stretched:
        return ops.spread(x, shape=shape, axis=tuple(range(new))) if new else x
    return ops.spread(
        reshape(x, (1,) * new + tuple(x.shape)), shape=shape, axis=tuple(range(new)) + stretched
    )


def concatenate(
    parts: Any, axis: Any = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind"
) -> Any:
    """Join along an axis that all parts have, or all entries if `axis` is None."""
    if out is not None or casting != "same_kind":
        raise TypeError("np.concatenate: out= and casting= are not supported on tensors")
    parts = tuple(part if is_node(part) else np.asarray(part) for part in parts)
    if axis is None:
        parts, axis = tuple(np.reshape(part, -1) for part in parts), 0
    if dtype is not None:
        parts = tuple(part.astype(dtype) for part in parts)
    ndims = {np.ndim(part) for part in parts}
    if len(ndims) != 1 or 0 in ndims:
        raise ValueError(
            "concatenate: the parts need the same number of axes, at least one; they are "
            + ", ".join(describe(part) for part in parts)
        )
    (along,) = normalize_axes(np.shape(parts[0]), axis, of="concatenate")
    return ops.concatenate(*parts, axis=along)


def stack(
    parts: Any, axis: int = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind"
) -> Any:
    """Join along a new axis."""
    parts = [part if is_node(part) else np.asarray(part) for part in parts]
    if len({tuple(part.shape) for part in parts}) != 1:
        raise ValueError(
            "stack: the parts need one shape; they are " + ", ".join(map(describe, parts))
        )
    parts = [np.expand_dims(part, axis) for part in parts]
    return concatenate(parts, axis, out, dtype=dtype, casting=casting)


def clip(
    x: Any,
    a_min: Any = None,
    a_max: Any = None,
    out: Any = None,
    *,
    min: Any = None,
    max: Any = None,
) -> Any:
    """Limit to [a_min, a_max]."""
    if out is not None:
        raise TypeError("np.clip: out= would overwrite an array; use the result instead")
    a_min, a_max = (min if a_min is None else a_min), (max if a_max is None else a_max)
    x = x if a_min is None else maximum(x, a_min)
    return x if a_max is None else ops.minimum(x, a_max)


def discrete(args: Sequence[Any]) -> list[Any] | None:
    """Give the arrays of masks and indices, or None where one of `args` has a gradient to lose."""
    found: list[Any] = []
    for x in args:
        inner = discrete(x) if type(x) in (list, tuple) else []
        if inner is None or (is_node(x) and (x.dtype.kind not in "biu" or not hasattr(x, "data"))):
            return None
        found.append(x.data if is_node(x) else type(x)(inner) if inner else x)
    return found


def where(condition: Any, a: Any = None, b: Any = None) -> Any:
    """Choose from `a` where the condition holds, else from `b`; or give where it holds."""
    if a is None and b is None:
        return NUMPY[np.nonzero](condition)
    if a is None or b is None:
        raise TypeError("np.where on tensors takes one argument or three: condition, a, b")
    return ops.where(condition, a, b)


def _double(x: Any) -> Any:
    """Give at least double precision to what has a dtype."""
    return x.astype(np.result_type(x.dtype, np.float64)) if hasattr(x, "dtype") else x


def _like(make: Any) -> Any:
    """Make plain arrays like a tensor; how they lie in memory is nobody's concern."""

    def like(
        x: Any,
        dtype: Any = None,
        order: str = "K",
        subok: bool = True,
        shape: Any = None,
        *,
        device: Any = None,
        fill: tuple[Any, ...] = (),
    ) -> Any:
        return make(x.shape if shape is None else shape, *fill, dtype=dtype or x.dtype)

    return like


# --------------------------------------------------------------------------- what NumPy is told

NUMPY.update(
    {
        np.true_divide: divide,
        np.positive: lambda x: x,
        np.power: power,
        np.float_power: lambda x, n: power(_double(x), _double(n)),
        np.maximum: maximum,
        np.matmul: matmul,
        np.reshape: reshape,
        np.ravel: ravel,
        np.transpose: transpose,
        np.swapaxes: swapaxes,
        np.expand_dims: expand_dims,
        np.squeeze: squeeze,
        np.broadcast_to: broadcast_to,
        np.concatenate: concatenate,
        np.stack: stack,
        np.clip: clip,
        np.where: where,
        np.shape: lambda x: tuple(x.shape),
        np.ndim: lambda x: x.ndim,
        np.size: lambda x: x.size,
        np.zeros_like: _like(np.zeros),
        np.ones_like: _like(np.ones),
        np.empty_like: _like(np.zeros),
        np.full_like: lambda x, fill_value, dtype=None, **layout: _like(np.full)(
            x, dtype, fill=(fill_value,), **layout
        ),
    }
)
