"""Where blocks of rows are read from and written to: ``.npy`` files, zarr arrays, arrays in memory.

What is opened here is small and can be sent to another process, which reads its rows for itself.
A file is read and not mapped: mapped pages count as the process's memory until the system wants
them back. What is written stands beside its place, under another name, until it is whole.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np

__all__ = ["MISSING", "Source", "Target", "opened", "rows_axis", "target"]

MISSING = 'needs the package {}; pip install "tinygraph[blocks]"'


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
        How many rows lie in one piece, which is read as a whole or not at all.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    together: int

    def read(self, start: int, stop: int) -> Any:
        """Give rows, as an array of NumPy's."""


class ArraySource:
    """An array in memory, memory-mapped, or anything that gives NumPy's arrays for slices."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape, self.dtype = array, tuple(array.shape), array.dtype
        self._axis = rows_axis(self.shape)
        chunks = getattr(array, "chunks", None)
        self.together = chunks[self._axis] if chunks else 1

    def read(self, start: int, stop: int) -> Any:
        """Give rows."""
        rows = (slice(None),) * self._axis + (slice(start, stop),)
        return np.ascontiguousarray(self.array[rows])


class NpyFile:
    """A ``.npy`` file, in C order."""

    together = 1

    def __init__(self, path: str, shape: tuple[int, ...], dtype: np.dtype[Any], begin: int) -> None:
        self.path, self.shape, self.dtype, self._begin = path, shape, dtype, begin
        self._axis = rows_axis(shape)
        self._row = prod(shape[self._axis + 1 :])

    def read(self, start: int, stop: int) -> Any:
        """Give rows."""
        offset = self._begin + start * self._row * self.dtype.itemsize
        count = (stop - start) * self._row
        entries = np.fromfile(self.path, self.dtype, count, offset=offset)
        if len(entries) < count:
            raise ValueError(f"{self.path}: ends before its row {stop}; it was cut meanwhile")
        shape = list(self.shape)
        shape[self._axis] = stop - start
        return entries.reshape(shape)


def opened(given: Any, name: str) -> Source:
    """Open what is given for an argument.

    Parameters
    ----------
    given : path, array or array_like
        A path ends in ``.npy`` or ``.zarr``, or is a folder that is a zarr array.
    name : str
        Of the argument.

    Raises
    ------
    ValueError
        If the file is none, or no array of numbers.
    ModuleNotFoundError
        If zarr is needed and not there.
    """
    if isinstance(given, str | os.PathLike):
        path = os.path.abspath(given)
        if not os.path.exists(path):
            raise FileNotFoundError(2, f"{name} is to be read from it: no such file", str(given))
        source = _npy(path) if _suffix(path) == ".npy" else ArraySource(_zarr(path))
    else:
        fits = hasattr(given, "shape") and hasattr(given, "dtype")
        source = ArraySource(given if fits else np.asarray(given))
    if source.dtype.kind not in "biufc":
        raise ValueError(f"{name}: holds {source.dtype}, and not numbers")
    return source


def _suffix(path: str) -> str:
    suffix = Path(path).suffix.lower()
    return ".zarr" if os.path.isdir(path) else suffix


def _npy(path: str) -> Source:
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:  # also of a header that is junk
        raise ValueError(f"{path}: is no .npy file of numbers, or a damaged one ({error})") from None
    if mapped.flags.c_contiguous:
        return NpyFile(path, mapped.shape, mapped.dtype, mapped.offset)
    return ArraySource(mapped)


def _zarr(path: str) -> Any:
    try:
        import zarr
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"{path}: " + MISSING.format("zarr")) from None
    try:
        return zarr.open_array(path, mode="r")
    except Exception as error:  # of many kinds, zarr's own among them
        raise ValueError(f"{path}: is no zarr array ({error}); name a .npy or .zarr") from None


# --------------------------------------------------------------------------- targets


class Target:
    """A new array, written a few rows at a time, which stands in its place when it is whole.

    Parameters
    ----------
    path : str
    shape : tuple of int
    dtype : dtype
    together : int
        Rows that are written as a whole, but for the last ones.
    """

    def __init__(
        self, path: str, shape: tuple[int, ...], dtype: np.dtype[Any], together: int
    ) -> None:
        self.path, self.shape, self.dtype, self.together = path, shape, dtype, together
        folder, name = os.path.split(os.path.abspath(path))
        self._new = os.path.join(folder, f".{name}.{secrets.token_hex(4)}")
        self._axis = rows_axis(shape)

    def create(self) -> None:
        """Make an array of zeros beside the place."""
        raise NotImplementedError

    def write(self, start: int, rows: Any) -> None:
        """Write rows; several processes may do so at once."""
        raise NotImplementedError

    def finish(self) -> None:
        """Put the array in its place; what is there already is replaced."""
        raise NotImplementedError

    def discard(self) -> None:
        """Leave nothing behind."""
        raise NotImplementedError


class NpyTarget(Target):
    """A ``.npy`` file."""

    def create(self) -> None:
        """Write the header, and make room."""
        os.makedirs(os.path.dirname(self._new), exist_ok=True)
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype)}
        header |= {"fortran_order": False, "shape": self.shape}
        with open(self._new, "xb") as file:
            np.lib.format.write_array_header_2_0(file, header)
            self._begin = file.tell()
            file.truncate(self._begin + prod(self.shape) * self.dtype.itemsize)

    def write(self, start: int, rows: Any) -> None:
        """Write rows."""
        row = prod(self.shape[self._axis + 1 :]) * self.dtype.itemsize
        with open(self._new, "r+b") as file:
            file.seek(self._begin + start * row)
            file.write(np.ascontiguousarray(rows, self.dtype).data)

    def finish(self) -> None:
        """Rename."""
        os.replace(self._new, self.path)

    def discard(self) -> None:
        """Remove."""
        with contextlib.suppress(FileNotFoundError):
            os.remove(self._new)


class ZarrTarget(Target):
    """A folder that is a zarr array, in chunks of whole rows."""

    def create(self) -> None:
        """Write the description, in which there is no chunk yet."""
        import zarr

        chunks = list(self.shape)
        chunks[self._axis] = min(self.together, self.shape[self._axis])
        zarr.create_array(self._new, shape=self.shape, dtype=self.dtype, chunks=tuple(chunks))

    def write(self, start: int, rows: Any) -> None:
        """Write chunks, if the folder is still there."""
        import zarr

        array = zarr.open_array(self._new, mode="r+")
        stop = start + rows.shape[self._axis]
        array[(slice(None),) * self._axis + (slice(start, stop),)] = rows

    def finish(self) -> None:
        """Rename; what was there stands aside until then."""
        old = f"{self._new}.old"
        there = os.path.lexists(self.path)
        if there:
            os.rename(self.path, old)
        try:
            os.rename(self._new, self.path)
        except OSError:
            if there:
                os.rename(old, self.path)
            raise
        if there:
            remove(old)

    def discard(self) -> None:
        """Remove the folder."""
        remove(self._new)


def remove(path: str) -> None:
    """Remove a file or a folder, if it is there."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


KINDS: Mapping[str, type[Target]] = {".npy": NpyTarget, ".zarr": ZarrTarget}


def target(
    path: str, shape: tuple[int, ...], dtype: np.dtype[Any], together: int, *, force: bool
) -> Target:
    """Say where an array is to be written; nothing is touched yet.

    Raises
    ------
    ValueError
        If the suffix is neither ``.npy`` nor ``.zarr``.
    FileExistsError
        If something is there, and not `force`.
    ModuleNotFoundError
        If zarr is needed and not there.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in KINDS:
        raise ValueError(f"{path}: arrays are written as .npy or .zarr, by suffix")
    if suffix == ".zarr":
        try:
            import zarr  # noqa: F401
        except ModuleNotFoundError:
            raise ModuleNotFoundError(f"{path}: " + MISSING.format("zarr")) from None
    if os.path.lexists(path):
        if not force:
            raise FileExistsError(17, "exists; choose another place, or overwrite it by force", path)
        is_zarr = os.path.isdir(path) and _is_zarr(path)
        if not (os.path.isfile(path) or is_zarr):
            raise FileExistsError(17, "is there and is no array, and is not overwritten", path)
    return KINDS[suffix](path, shape, dtype, together)


def _is_zarr(path: str) -> bool:
    """Whether a folder is a zarr array; another one is nobody's to remove."""
    return any(os.path.isfile(os.path.join(path, name)) for name in ("zarr.json", ".zarray"))
