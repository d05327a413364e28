"""Where blocks of rows are written to: ``.npy`` files and zarr arrays.

What is written stands beside its place, under another name, until it is whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from tinygraph.execution.sources import extra, rows_axis

__all__ = ["Destination", "destination_of"]


class Destination:
    """A new array, written a few rows at a time, that takes its place when it is whole.

    Parameters
    ----------
    path : str
    shape : tuple of int
    dtype : dtype
    together : int
        How many rows are written at once, but for the last ones; or a part of that.
    force : bool
        Whether it takes a place where something is.
    """

    def __init__(
        self, path: str, shape: tuple[int, ...], dtype: np.dtype[Any], together: int, force: bool
    ) -> None:
        self.path, self.shape, self.dtype = path, shape, dtype
        self.together, self.force = together, force
        folder, name = os.path.split(path)
        self.new = os.path.join(folder, f".{name}.{secrets.token_hex(4)}")
        self.axis = rows_axis(shape)

    def create(self) -> None:
        """Make an empty array beside the place."""
        with self.naming():
            self.begin()

    def write(self, start: int, rows: Any) -> None:
        """Write rows, as several processes may at once."""
        with self.naming():
            self.put(start, rows)

    def finish(self) -> None:
        """Put the array in its place; what was there is gone then, if that is allowed."""
        check_place(self.path, self.path, force=self.force)
        old = f"{self.new}.old"
        with self.naming():
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

    def begin(self) -> None:
        """Write what comes before the rows."""
        raise NotImplementedError

    def put(self, start: int, rows: Any) -> None:
        """Write rows."""
        raise NotImplementedError

    @contextlib.contextmanager
    def naming(self) -> Iterator[None]:
        """Name the place in an error, and not what stands beside it."""
        try:
            yield
        except OSError as error:
            raise type(error)(error.errno, error.strerror or str(error), self.path) from error


class NpyDestination(Destination):
    """A ``.npy`` file."""

    def begin(self) -> None:
        """Write the header, and make room."""
        header: dict[str, Any] = {"descr": np.lib.format.dtype_to_descr(self.dtype)}
        header |= {"fortran_order": False, "shape": self.shape}
        with open(self.new, "xb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            self._begin = file.tell()
            file.truncate(self._begin + prod(self.shape) * self.dtype.itemsize)

    def put(self, start: int, rows: Any) -> None:
        """Write rows."""
        row = prod(self.shape[self.axis + 1 :]) * self.dtype.itemsize
        with open(self.new, "r+b") as file:
            file.seek(self._begin + start * row)
            file.write(np.ascontiguousarray(rows).data)


class ZarrDestination(Destination):
    """A folder that is a zarr array, in chunks of whole rows."""

    def begin(self) -> None:
        """Describe the array, of which no chunk is there yet."""
        import zarr

        chunks = list(self.shape)
        chunks[self.axis : self.axis + 1] = [self.together] * bool(self.shape)
        zarr.create_array(self.new, shape=self.shape, dtype=self.dtype, chunks=tuple(chunks))

    def put(self, start: int, rows: Any) -> None:
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


KINDS: Mapping[str, type[Destination]] = {".npy": NpyDestination, ".zarr": ZarrDestination}


def destination_of(
    path: str, shape: tuple[int, ...], dtype: np.dtype[Any], together: int, *, force: bool
) -> Destination:
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
    check_place(place, path, force=force)
    return KINDS[suffix](place, shape, dtype, together, force)


def check_place(place: str, called: str, *, force: bool) -> None:
    """Refuse to replace what is there, if that is not allowed, and what is no array in any case."""
    if os.path.lexists(place):
        if not force:
            raise FileExistsError(errno.EEXIST, "exists already", called)
        if not (os.path.isfile(place) or is_zarr(place)):
            raise FileExistsError(errno.EEXIST, "is no array, and is not replaced by one", called)
