"""Calling: how C gets the memory of arrays, in less time than the arithmetic of a small one takes.

To ask an array where its memory is takes a microsecond, and a call has eight of them. So C is given
one tuple, of the arrays, and reads in each where its memory is, whether it is of the dtype and the
shape that the code was made for, and whether its entries lie side by side: the same numbers that
NumPy's own C reads. Where they stand in the object is checked once, on an array that is known.

The interpreter lock is released meanwhile. So that threads do not share a workspace, each call
takes a **frame** from those that are free, or makes a new one: a workspace, and pointers.
"""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from tinygraph.execution.compilation import loaded
from tinygraph.execution.program import Unsupported

__all__ = ["Call", "Layout"]

TEXT = """\
#include <stdint.h>
struct expected {{ void *descr; int64_t ndim; const int64_t *shape; }};
struct frame {{
    void (*kernel)(void **, const double *, const long long *);
    const double *k;
    const long long *n;
    void **p;
    int64_t count;
    const struct expected *arrays;
    void *type;
}};
#define AT(type, object, offset) (*(type *)((char *)(object) + (offset)))
/* calls the kernel and gives 0; or the number from 1 of an array that is not as expected, or -1 */
int64_t call(void *tuple, struct frame *f) {{
    void **items = (void **)((char *)tuple + {items});
    if (AT(int64_t, tuple, {data}) != f->count) return -1;
    for (int64_t i = 0; i < f->count; i++) {{
        const struct expected *e = f->arrays + i;
        void *a = items[i];
        if (AT(void *, a, {type}) != f->type || AT(void *, a, {descr}) != e->descr) return i + 1;
        if ((AT(int, a, {flags}) & {needed}) != {needed} || AT(int, a, {ndim}) != e->ndim)
            return i + 1;
        const int64_t *shape = AT(const int64_t *, a, {shape});
        for (int64_t m = 0; m < e->ndim; m++)
            if (shape[m] != e->shape[m]) return i + 1;
        f->p[i] = AT(void *, a, {data});
    }}
    f->kernel(f->p, f->k, f->n);
    return 0;
}}
"""

NEEDED = 0x0001 | 0x0100
"""NumPy's flags of an array whose entries lie side by side, each where its size divides."""


class Layout(NamedTuple):
    """What an array must be like."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Offsets(NamedTuple):
    """Where numbers stand in the objects of the interpreter, in bytes."""

    items: int
    type: int
    data: int
    ndim: int
    shape: int
    descr: int
    flags: int


@cache
def _offsets() -> Offsets:
    """Say where numbers stand, and check it on an array that is known.

    Raises
    ------
    Unsupported
        If they do not stand there in this interpreter or this NumPy.
    """
    head = object.__basicsize__
    found = Offsets(tuple.__basicsize__, head - 8, head, head + 8, head + 16, head + 40, head + 48)
    array = np.zeros((3, 5), np.float32)[:, ::2]
    is_known = sys.implementation.name == "cpython" and ctypes.sizeof(ctypes.c_void_p) == 8
    if is_known and _seen(found, array) == _known(array):
        return found
    raise Unsupported("this interpreter, or this NumPy, lays out arrays in a way that is not known")


def _seen(offsets: Offsets, array: Any) -> list[int]:
    """Read an array as the C code does, out of a tuple."""
    pair = (0, array)
    at = _read(id(pair) + offsets.items + 8)
    if at != id(array):
        return []
    short = [_read(at + offset, ctypes.c_int) for offset in (offsets.ndim, offsets.flags)]
    shape = _read(at + offsets.shape)
    long = [_read(at + offset) for offset in (offsets.type, offsets.data, offsets.descr)]
    return [*short, *long, _read(shape), _read(shape + 8)]


def _known(array: Any) -> list[int]:
    ids = [id(type(array)), array.ctypes.data, id(array.dtype)]
    return [array.ndim, array.flags.num, *ids, *array.shape]


def _read(address: int, kind: Any = ctypes.c_ssize_t) -> int:
    return int(kind.from_address(address).value)


@cache
def _caller() -> Any:
    """Give the C function that reads arrays and calls a kernel."""
    source = TEXT.format(**_offsets()._asdict(), needed=NEEDED)
    (call,) = loaded(source, mode="strict", symbols=["call"])
    call.argtypes, call.restype = [ctypes.c_void_p, ctypes.c_void_p], ctypes.c_int64
    return call


class Call:
    """A C function, and what it is called with.

    Parameters
    ----------
    kernel : ctypes function
        ``void kernel(void **p, const double *k, const long long *n)``.
    layouts : sequence of Layouts
        Of the arrays that are passed: arguments, then results.
    constants, lengths : sequences of numbers
        What `k` and `n` point to.
    nbytes : int
        How much workspace it needs, which is the last of `p`.

    Raises
    ------
    Unsupported
        If there is no compiler, or arrays cannot be read.
    """

    def __init__(
        self,
        kernel: Any,
        layouts: Sequence[Layout],
        constants: Sequence[float],
        lengths: Sequence[int],
        nbytes: int,
    ) -> None:
        self.nbytes = nbytes
        self._call = _caller()
        self._layouts = layouts
        self._constants = np.array([*constants, 0.0])
        self._lengths = np.array([*lengths, 0], np.longlong)
        self._kernel = kernel
        shapes = [np.array([*layout.shape, 0], np.int64) for layout in layouts]
        self._expected = np.array(
            [
                (id(layout.dtype), len(layout.shape), shape.ctypes.data)
                for layout, shape in zip(layouts, shapes, strict=True)
            ],
            np.int64,
        )
        self._kept: list[Any] = [shapes]  # as long as the frames that point there
        self._frames: deque[int] = deque()  # whose append and pop are atomic

    def _frame(self) -> int:
        """Make a frame and give its address."""
        workspace = np.empty(self.nbytes + 64, np.uint8)
        count = len(self._layouts)
        pointers = np.zeros(count + 1, np.int64)
        pointers[count] = -(-workspace.ctypes.data // 64) * 64
        arrays = (self._constants, self._lengths, pointers, self._expected)
        k, n, p, expected = [array.ctypes.data for array in arrays]
        address = ctypes.cast(self._kernel, ctypes.c_void_p).value
        frame = np.array([address, k, n, p, count, expected, id(np.ndarray)], np.int64)
        self._kept.append((frame, pointers, workspace))
        return frame.ctypes.data

    def __call__(self, arrays: tuple[Any, ...]) -> int:
        """Call the function with arguments and results.

        Returns
        -------
        int
            0; or, if nothing was done, the number from 1 of an array that is not as it must be, or
            -1 where there are more or fewer.
        """
        frames = self._frames
        try:
            frame = frames.pop()
        except IndexError:
            frame = self._frame()
        try:
            return self._call(id(arrays), frame)  # type: ignore[no-any-return]
        finally:
            frames.append(frame)
