"""Which entries of an array a view shows, as a key with which the array itself is indexed.

NumPy decides what is a view: the question is put to a *layout*, a real array of the shape and the
strides that the user's array has, whose entries are counters and not the user's numbers. Where a
view of it lies in memory says which entries it shows, by whatever way it was come by.
"""

from __future__ import annotations

from types import EllipsisType, NoneType
from typing import Any

import numpy as np

from tinygraph.engine.primitive import Tracer

__all__ = ["address", "entries", "is_basic", "key_of", "layout_of", "lies_alike", "same_place"]

COUNTER = np.int32


def layout_of(array: Any) -> Any:
    """Make a layout for an array: zeros that lie in the order in which its entries lie.

    Examples
    --------
    >>> layout_of(np.ones((2, 3)).T).strides
    (4, 12)
    """
    lies_reversed = array.flags.f_contiguous and not array.flags.c_contiguous
    if lies_reversed or array.flags.c_contiguous:  # zeros that are not written cost no memory
        return np.zeros(array.shape, COUNTER, order="F" if lies_reversed else "C")
    return np.zeros_like(array, COUNTER)


def address(layout: Any) -> int:
    """Give the place in memory of the first entry."""
    place: int = layout.__array_interface__["data"][0]
    return place


def same_place(a: Any, b: Any) -> bool:
    """Whether two views show the same entries in the same order."""
    return a is b or (a.shape == b.shape and a.strides == b.strides and address(a) == address(b))


def lies_alike(array: Any, layout: Any) -> bool:
    """Whether the axes of two arrays follow one another in memory in the same order."""
    if array.ndim < 2:
        return True
    by_stride = [
        sorted(range(x.ndim), key=[-s for s in x.strides].__getitem__) for x in (array, layout)
    ]
    return by_stride[0] == by_stride[1]


def is_basic(key: Any) -> bool:
    """Whether NumPy gives a view, or a scalar, for a key, and not a copy.

    Examples
    --------
    >>> is_basic((slice(3), 1, None)), is_basic([0, 1]), is_basic(True), is_basic(np.int64(3))
    (True, False, False, True)
    """
    if type(key) is tuple:
        return all(type(part) is not tuple and is_basic(part) for part in key)
    if type(key) is int or isinstance(key, slice | NoneType | EllipsisType):
        return True
    return hasattr(key, "__index__") and not isinstance(key, bool | np.bool | np.ndarray | Tracer)


def _starts(offset: int, layout: Any) -> list[int]:
    """Give the index of the entry that lies `offset` bytes behind the first."""
    starts = [0] * layout.ndim
    for axis in _by_stride(layout):
        starts[axis], offset = divmod(offset, layout.strides[axis])
    return starts


def _by_stride(layout: Any) -> list[int]:
    axes = [k for k in range(layout.ndim) if layout.shape[k] > 1]
    return sorted(axes, key=lambda k: -layout.strides[k])


def key_of(view: Any, layout: Any) -> tuple[tuple[Any, ...], tuple[int, ...]] | None:
    """Give integers and slices with which `layout` shows the entries of a view.

    Parameters
    ----------
    view : ndarray
        A view of `layout`.
    layout : ndarray
        As `layout_of` gives it.

    Returns
    -------
    key : tuple of ints and slices
        ``layout[key]`` has the entries of the view, in an order of axes of its own.
    axes : tuple of ints
        For each axis of ``layout[key]`` the axis of the view that it is. The axes of the view
        that are missing are of length 1.
    None
        Where the view, such as a diagonal, cannot be had by slices alone.

    Examples
    --------
    >>> layout = layout_of(np.ones((4, 6)))
    >>> key_of(layout[1:].T[::-2, 1], layout)
    ((2, slice(None, 0, -2)), (0,))
    >>> key_of(layout.reshape(-1)[3:9], layout) is None
    True
    """
    key: list[Any] = list(_starts(address(view) - address(layout), layout))
    owners: dict[int, int] = {}
    for axis, (n, stride) in enumerate(zip(view.shape, view.strides, strict=True)):
        if n == 1:
            continue
        for k in _by_stride(layout):
            step, rest = divmod(stride, layout.strides[k])
            last = key[k] + step * (n - 1) if k not in owners else -1
            if not rest and step and 0 <= last < layout.shape[k]:
                key[k] = _slice(key[k], step, n, layout.shape[k])
                owners[k] = axis
                break
        else:
            return None
    axes = tuple(owners[k] for k in sorted(owners))
    return tuple(key), axes


def _slice(start: int, step: int, count: int, length: int) -> slice:
    stop = start + step * (count - 1) + (1 if step > 0 else -1)
    whole = (start == 0 if step > 0 else start == length - 1), stop in (length, -1)
    begin, end = None if whole[0] else start, None if whole[1] else stop
    return slice(begin, end, None if step == 1 else step)


def entries(view: Any, layout: Any) -> tuple[Any, ...]:
    """Give the entries of any view, one by one: an array of indices for each axis of `layout`.

    Examples
    --------
    >>> layout = layout_of(np.ones((2, 3)))
    >>> entries(layout.reshape(-1)[2:4], layout)
    (array([0, 1]), array([2, 0]))
    """
    offsets = np.full(view.shape, address(view) - address(layout))
    for axis, (n, stride) in enumerate(zip(view.shape, view.strides, strict=True)):
        along = [1] * view.ndim
        along[axis] = n
        offsets += (np.arange(n) * stride).reshape(along)
    found: list[Any] = [np.zeros(view.shape, np.intp)] * layout.ndim
    for axis in _by_stride(layout):
        found[axis], offsets = np.divmod(offsets, layout.strides[axis])
    return tuple(found)
