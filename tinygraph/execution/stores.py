"""Where blocks of rows are read from and written to: ``.npy`` files, zarr arrays, arrays in memory.

What is opened here is small and can be sent to another process, which reads its rows for itself.
A file is read and not mapped: mapped pages count as the process's memory until the system wants
them back. What is written stands beside its place, under another name, until it is whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np

__all__ = ["LazySource", "NpyFile", "Source", "Target", "extra", "is_lazy", "opened", "target_of"]


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


# --------------------------------------------------------------------------- targets


class Target:
    """A new array, written a few rows at a time, that takes its place when it is whole.

    Parameters
    ----------
    path : str
    shape : tuple of int
    dtype : dtype
    together : int
        How many rows are written at once, but for the last ones; or a part of that.
    """

    def __init__(
        self, path: str, shape: tuple[int, ...], dtype: np.dtype[Any], together: int
    ) -> None:
        self.path, self.shape, self.dtype, self.together = path, shape, dtype, together
        folder, name = os.path.split(path)
        self.new = os.path.join(folder, f".{name}.{secrets.token_hex(4)}")
        self.axis = rows_axis(shape)

    def create(self) -> None:
        """Make an empty array beside the place."""
        raise NotImplementedError

    def write(self, start: int, rows: Any) -> None:
        """Write rows, as several processes may at once."""
        raise NotImplementedError

    def finish(self) -> None:
        """Put the array in its place, of which what was there is gone then."""
        old = f"{self.new}.old"
        aside = os.path.isdir(self.path)  # which nothing can be renamed to
        if aside:
            os.rename(self.path, old)
        try:
            os.replace(self.new, self.path)
        except OSError:
            if aside:
                os.rename(old, self.path)
            raise
        remove(old)

    def discard(self) -> None:
        """Leave nothing of what has not taken its place."""
        remove(self.new)


class NpyTarget(Target):
    """A ``.npy`` file."""

    def create(self) -> None:
        """Write the header, and make room."""
        header: dict[str, Any] = {"descr": np.lib.format.dtype_to_descr(self.dtype)}
        header |= {"fortran_order": False, "shape": self.shape}
        with open(self.new, "xb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            self._begin = file.tell()
            file.truncate(self._begin + prod(self.shape) * self.dtype.itemsize)

    def write(self, start: int, rows: Any) -> None:
        """Write rows."""
        row = prod(self.shape[self.axis + 1 :]) * self.dtype.itemsize
        with open(self.new, "r+b") as file:
            file.seek(self._begin + start * row)
            file.write(np.ascontiguousarray(rows).data)


class ZarrTarget(Target):
    """A folder that is a zarr array, in chunks of whole rows."""

    def create(self) -> None:
        """Describe the array, of which no chunk is there yet."""
        chunks = list(self.shape)
        chunks[self.axis : self.axis + 1] = [self.together] * bool(self.shape)
        import zarr

        zarr.create_array(self.new, shape=self.shape, dtype=self.dtype, chunks=tuple(chunks))

    def write(self, start: int, rows: Any) -> None:
        """Write chunks; leave none where the array has been given up meanwhile."""
        import zarr

        array = zarr.open_array(self.new, mode="r+")
        shape = list(self.shape)
        shape[self.axis : self.axis + 1] = [-1] * bool(shape)
        rows = np.reshape(rows, shape)
        key = (slice(None),) * self.axis + (slice(start, start + rows.shape[self.axis]),)
        array[key if shape else ()] = rows
        if not is_zarr(self.new):
            self.discard()


def remove(path: str) -> None:
    """Remove a file or a folder, if it is there."""
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


def is_zarr(path: str) -> bool:
    """Whether a folder is a zarr array."""
    return any(os.path.isfile(os.path.join(path, name)) for name in ("zarr.json", ".zarray"))


KINDS: Mapping[str, type[Target]] = {".npy": NpyTarget, ".zarr": ZarrTarget}


def target_of(
    path: str, shape: tuple[int, ...], dtype: np.dtype[Any], together: int, *, force: bool
) -> Target:
    """Say where an array is to be written; nothing is touched yet.

    Raises
    ------
    ValueError
        If the suffix is neither ``.npy`` nor ``.zarr``.
    FileExistsError
        If something is there, and not `force`; or something that is no array.
    FileNotFoundError
        If there is no such folder.
    ModuleNotFoundError
        If zarr is needed and not there.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in KINDS:
        raise ValueError(f"{path}: arrays are written as .npy or .zarr, by suffix")
    if suffix == ".zarr":
        with extra(path):
            import zarr  # noqa: F401
    place = os.path.realpath(path)
    if not os.path.isdir(os.path.dirname(place)):
        raise FileNotFoundError(errno.ENOENT, "there is no such folder to write to", path)
    if os.path.lexists(place):
        if not force:
            raise FileExistsError(errno.EEXIST, "exists already", path)
        if not (os.path.isfile(place) or is_zarr(place)):
            raise FileExistsError(errno.EEXIST, "is no array, and is not replaced by one", path)
    return KINDS[suffix](place, shape, dtype, together)
