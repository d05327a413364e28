"""Where blocks of rows are read from: ``.npy`` files, zarr and dask arrays, arrays in memory.

What is opened here is small and can be sent to another process, which reads its rows for itself.
A file is read and not mapped: mapped pages count as a process's memory until the system wants them
back.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np

__all__ = ["LazySource", "NpyFile", "Source", "extra", "is_lazy", "opened", "rows_axis"]


def rows_axis(shape: tuple[int, ...]) -> int:
    """Give the outermost axis that is longer than 1.

    Examples
    --------
    >>> rows_axis((1, 500, 3))
    1
    """
    return next((k for k, n in enumerate(shape) if n != 1), 0)


class Source(Protocol):
    """What is read a few rows at a time.

    Attributes
    ----------
    shape, dtype
    together : int
        How many rows lie in one piece, which is read as a whole.
    travels : bool
        Whether another process can read it, being sent no more than where it is.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    together: int
    travels: bool

    def read(self, start: int, stop: int) -> Any:
        """Give rows, as an array of NumPy's."""

    def whole(self) -> Any:
        """Give all of it."""


class SlicedSource:
    """An array in memory, memory-mapped, or whatever gives NumPy's arrays for slices."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape, self.dtype = array, tuple(array.shape), np.dtype(array.dtype)
        self._axis = rows_axis(self.shape)
        chunks = getattr(array, "chunks", None)
        self.together = chunks[self._axis] if chunks else 1
        self.travels = not isinstance(array, np.ndarray)

    def read(self, start: int, stop: int) -> Any:
        """Give rows."""
        return np.asarray(self.array[(slice(None),) * self._axis + (slice(start, stop),)])

    def whole(self) -> Any:
        """Give all of it."""
        return np.asarray(self.array[()])


class NpyFile:
    """A ``.npy`` file, in C order."""

    together, travels = 1, True

    def __init__(self, path: str, shape: tuple[int, ...], dtype: np.dtype[Any], begin: int) -> None:
        self.path, self.shape, self.dtype, self._begin = path, shape, dtype, begin
        self._axis = rows_axis(shape)

    def read(self, start: int, stop: int) -> Any:
        """Give rows."""
        shape = list(self.shape)
        shape[self._axis : self._axis + 1] = [stop - start]
        row = prod(self.shape[self._axis + 1 :])
        count, offset = (stop - start) * row, self._begin + start * row * self.dtype.itemsize
        entries = np.fromfile(self.path, self.dtype, count, offset=offset)
        if len(entries) < count:
            raise ValueError(f"{self.path}: ends before row {stop}; it was cut meanwhile")
        return entries.reshape(shape)

    def whole(self) -> Any:
        """Give all of it."""
        return np.load(self.path, allow_pickle=False)


class LazySource:
    """An array of dask's, of which the blocks are computed by dask.

    Attributes
    ----------
    rows : tuple of int
        How many there are in each of its chunks.
    """

    together, travels = 1, True

    def __init__(self, array: Any, name: str) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        if any(n != n for n in self.shape):  # nan, where it is not known yet
            raise ValueError(
                f"{name} has shape {self.shape}, and all lengths must be known; "
                "compute_chunk_sizes() finds them"
            )
        axis = rows_axis(self.shape)
        along = [k for k, chunks in enumerate(array.chunks) if k != axis and len(chunks) > 1]
        if along:
            raise ValueError(
                f"{name} is chunked along axis {along[0]}, and a block is of whole rows; take "
                f"{name}.rechunk({{{along[0]}: -1}})"
            )
        self.rows = array.chunks[axis] if self.shape else ()
        if len(set(self.rows[:-1])) > 1 or (self.rows and self.rows[-1] > self.rows[0]):
            raise ValueError(
                f"{name} has chunks of {', '.join(map(str, self.rows))} rows; all but the last are "
                f"to be of one length: take {name}.rechunk({{{axis}: {max(self.rows)}}})"
            )

    def read(self, start: int, stop: int) -> Any:
        """Refuse: dask hands the blocks over."""
        raise TypeError("the blocks of a dask array are computed by dask")

    def whole(self) -> Any:
        """Compute all of it."""
        return self.array.compute()

    def blocks(self, rows: tuple[int, ...]) -> list[Any]:
        """Give the blocks, which have these rows, as what dask has yet to compute."""
        array = self.array
        if rows != self.rows:
            array = array.rechunk({rows_axis(self.shape): rows})
        return list(array.to_delayed().ravel())


def is_lazy(x: Any) -> bool:
    """Whether this is an array of dask's."""
    return "dask.array" in sys.modules and isinstance(x, sys.modules["dask.array"].Array)


def opened(given: Any, name: str) -> Source:
    """Open what is given for an argument.

    Parameters
    ----------
    given : path, array or array_like
        A path ends in ``.npy`` or ``.zarr``.
    name : str
        Of the argument.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no array of numbers, or chunked otherwise than by rows.
    ModuleNotFoundError
        If zarr is needed and not there.
    """
    source: Source
    if isinstance(given, str | os.PathLike):
        source = _of_path(os.fspath(given))
    elif is_lazy(given):
        source = LazySource(given, name)
    else:
        fits = hasattr(given, "shape") and hasattr(given, "dtype")
        source = SlicedSource(given if fits else np.asarray(given))
    if source.dtype.kind not in "biufc":
        raise ValueError(f"{name} holds {source.dtype}, and not numbers")
    return source


def _of_path(path: str) -> Source:
    if not os.path.exists(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    suffix = Path(path).suffix.lower()
    if suffix == ".npy":
        return _npy(path)
    if suffix == ".zarr":
        return _zarr(path)
    raise ValueError(f"{path}: .npy files and .zarr folders are read block by block, by suffix")


def _npy(path: str) -> Source:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:  # also of objects, and of a header that is junk
        raise ValueError(f"{path}: is no .npy file of numbers, or a damaged one") from error
    if array.flags.c_contiguous and isinstance(array, np.memmap):
        return NpyFile(os.path.abspath(path), array.shape, array.dtype, array.offset)
    return SlicedSource(array)


def _zarr(path: str) -> Source:
    with extra(path):
        import zarr
    try:
        return SlicedSource(zarr.open_array(os.path.abspath(path), mode="r"))
    except Exception as error:  # of many kinds, zarr's own among them
        raise ValueError(f"{path}: is no zarr array; a group has arrays in it: name one") from error


@contextlib.contextmanager
def extra(what: str) -> Iterator[None]:
    """Say what is to be installed where an import fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{what} needs the package {error.name}; pip install "tinygraph[blocks]"'
        ) from None
