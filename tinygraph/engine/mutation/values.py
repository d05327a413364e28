"""What is written: a value, as it fits into the place that it is written to."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygraph.engine.arrays import exactly, held
from tinygraph.engine.functions import describe
from tinygraph.engine.tensor import Tensor, made

__all__ = ["extent", "fitted", "gathered", "in_rows", "negative", "shaped", "turned", "whole"]


def extent(value: Any) -> tuple[int, ...]:
    """Give a shape in plain numbers."""
    shape: tuple[int, ...] = value.extent if isinstance(value, Tensor) else np.shape(value)
    return shape


def gathered(value: Any) -> Any:
    """Give a list with tensors in it as one tensor."""
    if not isinstance(value, list | tuple):
        return value
    parts = [gathered(one) for one in value]
    return np.stack(parts) if any(isinstance(x, Tensor) for x in parts) else value


def fitted(value: Any, shape: tuple[int, ...], like: Any) -> Any:
    """Give a value as it is assigned to a place of some shape in an array like `like`.

    Parameters
    ----------
    value : Tensor, array_like or scalar
        Where it is an array, it is copied.
    shape : tuple of ints
    like : Tensor or ndarray

    Returns
    -------
    Tensor, ndarray or scalar
        Of the dtype of `like`, and of a shape that broadcasts to `shape`; a number of Python's
        stays one.

    Raises
    ------
    ValueError
        If it does not broadcast.
    TypeError
        If it is complex, or not numbers, and `like` is not.

    Examples
    --------
    >>> fitted([[1, 2]], (3, 2), np.zeros((4, 2)))
    array([[1., 2.]])
    """
    value = gathered(value)
    if not isinstance(value, Tensor):
        if type(value) in (int, float) and not like.dtype.hasobject:
            return value
        value = np.array(value)
    given = extent(value)
    more = max(len(given) - len(shape), 0)
    if more and given[:more] == (1,) * more:  # which NumPy drops
        value, given = np.reshape(value, given[more:]), given[more:]
    if not _broadcasts(given, shape):
        raise ValueError(f"could not broadcast input array from shape {given} into shape {shape}")
    kinds = value.dtype.kind + like.dtype.kind
    if kinds == "cf" or (kinds[0] == "O") != (kinds[1] == "O" and kinds[0] not in "biu"):
        raise TypeError(
            f"an array of {like.dtype} was given {describe(value)} and {value.dtype}, which it "
            f"cannot hold; make it one of {value.dtype}"
        )
    if isinstance(value, Tensor):
        return value.astype(like.dtype)
    value = exactly(value) if like.dtype.hasobject else value.astype(like.dtype, copy=False)
    return held(value) if value.ndim else value[()]


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    return len(shape) <= len(to) and all(
        n in (1, m) for n, m in zip(reversed(shape), reversed(to), strict=False)
    )


def shaped(value: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Give what was written as it is read, or None where it was of fewer entries."""
    if isinstance(value, Tensor):
        return value if extent(value) == shape else None
    if not shape:
        return value if isinstance(value, np.generic) else np.asarray(value, dtype)[()]
    out = np.empty(shape, dtype)
    out[...] = value
    return held(out)


def turned(value: Any, shape: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    """Give a value that was to broadcast to `shape` with some of its axes, in another order.

    The axes that are left out are of length 1.
    """
    if axes == tuple(range(len(shape))) or not extent(value):
        return value
    given = extent(value)
    full = (1,) * (len(shape) - len(given)) + given
    rest = tuple(k for k in range(len(shape)) if k not in axes)
    value = np.transpose(np.reshape(value, full), axes + rest)
    return np.reshape(value, extent(value)[: len(axes)])


def negative(value: Any) -> Any:
    """Negate what is to be subtracted: 0 becomes −0, which an integer has not."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biu":
        return -value.astype(np.float64)
    return -float(value) if isinstance(value, int) else -value


def in_rows(value: Any, order: str) -> Any:
    """Give a value whose entries lie in memory row by row, as ``x.T.copy()`` does.

    Of an array that lies otherwise, ``ravel`` would be a copy and not a view.
    """
    if order not in ("C", "K", "A"):
        raise TypeError(f"order={order!r} is not supported in a traced function")
    if not isinstance(value, Tensor):
        return np.array(value, order="C")
    if value._data.flags.c_contiguous or not value._data.ndim:
        return value
    if value.op is None:
        return np.reshape(np.reshape(value, (-1,)), value.extent)
    return made(Tensor, held(np.array(value._data, order="C")), value._recorded)


def whole(value: Any, like: Any) -> Any:
    """Give a value as all of an array, or None where it would lie in memory in another order.

    Sums follow the order, and NumPy's array keeps its own.
    """
    data = like._data if isinstance(like, Tensor) else like
    if not isinstance(value, Tensor):
        out = np.empty_like(data)
        out[...] = value
        return held(out)
    same = value._data.shape == data.shape and value._data.strides == data.strides
    return value if same else None
