"""Read the arrays that a user brings: ``.npy`` and ``.csv`` files, and the packaged wine data.

What this file lets you do:

- `read_array` reads one array from a file, or says in one line what is wrong and how to mend it;
- `wine` gives 178 × 13 real measurements whose scales differ by four orders of magnitude;
- `describe_nonfinite` tells how many values of an array are nan or inf, and where the first is.

A file is data and never a program: nothing is unpickled. What a file declares about itself is not
believed before the file has been found to hold it, so a damaged header costs no memory.
"""

from __future__ import annotations

import csv
import importlib.resources
import io
import math
import os
import re
import stat
import sys
import warnings
from array import array
from collections.abc import Iterator
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

__all__ = ["InputError", "describe_nonfinite", "read_array", "wine"]

# NumPy refuses a header of more than 10 000 characters; this holds any that it reads.
_NPY_HEADER_BYTES = 1 << 16

# A row of a million numbers fits; a file without line ends must not be read whole.
_LINE_CHARACTERS = 1 << 24

_NPY_REFUSED = {
    "O": "Python objects, which are never unpickled",
    "V": "records with named fields",
    "c": "complex numbers",
    "S": "bytes",
    "U": "text",
    "T": "text",
    "M": "dates",
    "m": "durations",
}


class InputError(ValueError):
    """A file that cannot be read as an array.

    The message is one line that names the file, the row and column or the shape, and the fix.
    """


def read_array(path: str | os.PathLike[str], *, dtype: str | None = None) -> npt.NDArray[Any]:
    r"""Read one array of real numbers from a ``.npy`` or ``.csv`` file.

    Parameters
    ----------
    path
        The file. Its suffix decides how it is read, in upper or lower case:

        - ``.npy``, as `numpy.save` writes it: floating-point numbers keep their precision, integers
          and bools become float64 (integers beyond 2⁵³ are rounded).
        - ``.csv``: one row of numbers a line, separated by commas, in UTF-8. A first line in which
          no cell is a number is a header. Blank lines at the end are skipped. Numbers are rounded
          to the nearest float64; ``nan`` and ``inf`` are read as such.
    dtype
        The floating-point type to convert to, such as ``"float32"``; without it none is converted.

    Returns
    -------
    numpy.ndarray
        A new, writable array in native byte order: shape (rows, columns) from ``.csv``, the saved
        shape from ``.npy``. It may be empty or hold nan and inf; see `describe_nonfinite`.

    Raises
    ------
    InputError
        If the file cannot be read as such an array, or a finite number in it overflows `dtype`.
    ValueError
        If `dtype` is not a real floating-point type.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "people.csv")
    ...     _ = path.write_text("height,weight\n1.5,50\n1.75,62.5\n")
    ...     read_array(path)
    array([[ 1.5 , 50.  ],
           [ 1.75, 62.5 ]])
    """
    target = None if dtype is None else _floating_dtype(dtype)
    name = _printable(os.fspath(path))
    _require_regular_file(path, name)
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in (".npy", ".csv"):
        found = f"not {_printable(suffix)} files" if suffix else "and this name has no suffix"
        raise InputError(
            f"{name}: .npy and .csv files are read, {found}; save the array with numpy.save, "
            "or as text with commas"
        )
    try:
        values = _read_npy(path, name) if suffix == ".npy" else _read_csv(path, name)
    except OSError as error:
        raise InputError(_unreadable(name, error)) from error
    except MemoryError as error:
        raise InputError(f"{name}: does not fit into memory; save fewer rows a file") from error
    return values if target is None else _converted(values, target, name)


def wine(dtype: str | None = None) -> npt.NDArray[Any]:
    """Return the UCI Wine measurements, 178 wines × 13 features.

    The standard deviations of the features run from 0.12 to 314, which is what BatchNorm is for.
    Source, licence and columns stand in ``tinygraph/data/wine.md``.

    Parameters
    ----------
    dtype
        The floating-point type to convert to; float64 without it.

    Returns
    -------
    numpy.ndarray
        A new array of shape (178, 13).

    Examples
    --------
    >>> wine().shape
    (178, 13)
    """
    source = importlib.resources.files("tinygraph").joinpath("data", "wine.csv")
    with importlib.resources.as_file(source) as path:
        return read_array(path, dtype=dtype)


def describe_nonfinite(name: str, array: npt.ArrayLike) -> str | None:
    """Say how many values of an array are nan or inf, and where the first one is.

    Parameters
    ----------
    name
        What to call the array in the sentence.
    array
        Any array. Exact numbers (ints, bools, objects such as `fractions.Fraction`) count as
        finite. A complex number with a nan in either part counts as nan.

    Returns
    -------
    str or None
        None when every value is finite. Otherwise one sentence; the first position is the first in
        row-major order, counted from 0 as in NumPy.

    Examples
    --------
    >>> import numpy as np
    >>> describe_nonfinite("x", np.ones((2, 3)))
    >>> describe_nonfinite("x", [[1.0, 2.0], [float("nan"), float("-inf")]])
    'x has 2 values that are not finite (1 nan, 1 -inf), the first at [1, 0]'
    """
    values = np.asarray(array)
    if values.dtype.kind not in "fc":
        return None
    bad = ~np.isfinite(values)
    total = int(np.count_nonzero(bad))
    if not total:
        return None
    nans = int(np.count_nonzero(np.isnan(values)))
    negative = int(np.count_nonzero(values == -np.inf)) if values.dtype.kind == "f" else 0
    counts = {"nan": nans, "inf": total - nans - negative, "-inf": negative}
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    many = "1 value that is" if total == 1 else f"{total} values that are"
    place = "at" if total == 1 else "the first at"
    return f"{name} has {many} not finite ({kinds}), {place} {_first_position(bad)}"


def _floating_dtype(dtype: str) -> np.dtype[Any]:
    """Return the native floating-point dtype of that name."""
    try:
        target = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError) as error:
        raise ValueError(f"dtype {dtype!r} is unknown; use float64, float32 or float16") from error
    if target.kind != "f":
        raise ValueError(
            f"dtype {dtype!r} is not a real floating-point type; use float64, float32 or float16"
        )
    return target.newbyteorder("=")


def _converted(values: npt.NDArray[Any], target: np.dtype[Any], name: str) -> npt.NDArray[Any]:
    """Convert, but never turn a finite number into inf."""
    with np.errstate(all="ignore"):
        result = values.astype(target, copy=False)
    lost = np.isinf(result) & np.isfinite(values)
    if lost.any():
        raise InputError(
            f"{name}: {values[lost][0]} at {_first_position(lost)} overflows {target}, whose "
            f"largest number is {np.finfo(target).max}; use a wider dtype or rescale the data"
        )
    return result


def _first_position(mask: npt.NDArray[np.bool_]) -> str:
    """Return the index of the first True, as ``[4, 7]``."""
    index = np.unravel_index(int(np.argmax(mask)), mask.shape)
    return str([int(i) for i in index])


def _require_regular_file(path: str | os.PathLike[str], name: str) -> None:
    """Refuse what is not there and what would block or never end, such as a pipe."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        raise InputError(f"{name}: there is no such file; check the name and the folder") from error
    except (OSError, ValueError) as error:
        raise InputError(_unreadable(name, error)) from error
    if stat.S_ISDIR(mode):
        raise InputError(f"{name}: is a directory; name a .npy or .csv file in it")
    if not stat.S_ISREG(mode):
        raise InputError(f"{name}: is not a regular file; save the array to a .npy or .csv file")


def _unreadable(name: str, error: OSError | ValueError) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{name}: cannot be opened ({reason}); check the path and its permissions"


def _printable(text: str) -> str:
    """Return the text as one line that any terminal can show."""
    return text if text.isprintable() else ascii(text)


def _quoted(text: str) -> str:
    """Return the text in quotes, shortened, as one line."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


# --- .npy -----------------------------------------------------------------------------------------


def _read_npy(path: str | os.PathLike[str], name: str) -> npt.NDArray[Any]:
    with open(path, "rb") as file:
        dtype, shape, fortran, start = _npy_header(file.read(_NPY_HEADER_BYTES), name)
        count = math.prod(shape)
        needed = count * dtype.itemsize
        present = os.fstat(file.fileno()).st_size - start
        if present < needed:
            raise InputError(
                f"{name}: shape {shape} of {dtype} needs {needed} bytes but {present} are there; "
                "the file is cut short: save it again with numpy.save"
            )
        if present > needed:
            raise InputError(
                f"{name}: holds {present - needed} bytes more than the array of shape {shape}; "
                "save one array a file with numpy.save"
            )
        file.seek(start)
        flat = np.fromfile(file, dtype=dtype, count=count)
    native = dtype.newbyteorder("=") if dtype.kind == "f" else np.dtype(np.float64)
    values = flat.astype(native, copy=False)
    return values.reshape(shape, order="F" if fortran else "C")


def _npy_header(head: bytes, name: str) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """Return dtype, shape, whether in Fortran order, and where the data start."""
    if not head:
        raise InputError(f"{name}: the file is empty; save an array to it with numpy.save")
    if not head.startswith(b"\x93NUMPY"):
        raise InputError(
            f"{name}: does not begin as a .npy file does; save the array with numpy.save"
        )
    stream = io.BytesIO(head)
    try:
        with warnings.catch_warnings():
            # Headers written by Python 2 are read, with a warning that helps no user of the file.
            warnings.simplefilter("ignore")
            version = np.lib.format.read_magic(stream)
            if version == (1, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
            elif version == (2, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
            else:
                raise ValueError("version 3 is written for named fields only")
    except Exception as error:
        # The header is evaluated as a Python literal, so junk in it can raise almost anything.
        raise InputError(
            f"{name}: the .npy header is damaged or of a kind that is not read; save the array "
            "again with numpy.save"
        ) from error
    if dtype.kind not in "fiub":
        held = _NPY_REFUSED.get(dtype.kind, str(dtype))
        raise InputError(
            f"{name}: holds {held}, in shape {shape}; save real numbers: "
            "numpy.save(path, array.astype(float))"
        )
    # The largest of these is what NumPy can index, also where another axis has length zero.
    extent = math.prod(n for n in shape if n) * max(dtype.itemsize, 8)
    if len(shape) > 64 or min(shape, default=0) < 0 or extent > sys.maxsize:
        raise InputError(
            f"{name}: the .npy header declares an impossible shape of {len(shape)} axes; save the "
            "array again with numpy.save"
        )
    # NumPy's own check lets True pass for 1, but its reshape does not.
    return dtype, tuple(map(int, shape)), fortran, stream.tell()


# --- .csv -----------------------------------------------------------------------------------------


def _read_csv(path: str | os.PathLike[str], name: str) -> npt.NDArray[Any]:
    with open(path, "rb") as raw:
        start = raw.read(2)
        if not start:
            raise InputError(f"{name}: the file is empty; write rows of numbers into it")
        if start in (b"\xff\xfe", b"\xfe\xff"):
            raise InputError(f"{name}: the file is UTF-16 or UTF-32 text; save it as UTF-8")
        raw.seek(0)
        # Bytes that are not UTF-8 come out as surrogates, so that they are found in their cell.
        text = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
        values, width = _csv_values(_csv_rows(text, name), name)
    return np.frombuffer(values, dtype=np.float64).reshape(-1, width)


def _csv_rows(text: TextIO, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row of cells with the number of the line that it begins on."""
    reader = csv.reader(_csv_lines(text, name), skipinitialspace=True, strict=True)
    line = 1
    try:
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{name}: line {line}: {error}; close every quote and separate numbers by commas"
        ) from error


def _csv_lines(text: TextIO, name: str) -> Iterator[str]:
    number = 0
    while line := text.readline(_LINE_CHARACTERS):
        number += 1
        if len(line) == _LINE_CHARACTERS:
            raise InputError(
                f"{name}: line {number} is longer than {_LINE_CHARACTERS} characters; write one "
                "row a line, or save the array with numpy.save"
            )
        yield line


def _csv_values(rows: Iterator[tuple[int, list[str]]], name: str) -> tuple[array[float], int]:
    """Return all numbers in one flat array, and how many stand in a row."""
    values = array("d")
    header: list[str] = []
    width = first = blank = 0
    for line, row in rows:
        where = f"{name}: line {line}"
        if len(row) <= 1 and not "".join(row).strip():
            blank = blank or line
            continue
        if blank:
            raise InputError(f"{name}: line {blank} is blank but rows follow; delete that line")
        numbers = _row_numbers(row)
        if not width:
            width, first = len(row), line
            if numbers is None and _is_header(row, where):
                header = row
                continue
        if len(row) != width:
            raise InputError(
                f"{where} has {_counted(len(row))}, but line {first} has {width}; give every line "
                "the same number of values, separated by commas"
            )
        values.extend(_checked_cells(row, header, where) if numbers is None else numbers)
    if not values:
        found = "a header but no rows below it" if header else "only blank lines"
        raise InputError(f"{name}: the file has {found}; write one row of numbers a line")
    return values, width


def _is_header(row: list[str], where: str) -> bool:
    """Tell whether the first line names columns; refuse one that hides numbers in its cells."""
    cells = [cell.strip() for cell in row if cell.strip()]
    for column, cell in enumerate(row):
        fault = _encoding_fault(cell)
        if fault is None and _holds_several(cell):
            fault = f"{_quoted(cell)} holds several numbers; separate them by commas"
        if fault is not None:
            raise InputError(f"{where}, column {column + 1}: {fault}")
    return bool(cells) and not any(_float(cell) is not None for cell in cells)


def _row_numbers(row: list[str]) -> array[float] | None:
    """Return the row as numbers, or None when its cells need the slower, closer look."""
    try:
        numbers = array("d", map(float, row))
    except ValueError:
        return None
    text = "".join(row)
    # float() also reads 1_000, the digits of every script, and 1e999 as inf.
    plain = text.isascii() and "_" not in text and math.isfinite(sum(numbers))
    return numbers if plain else None


def _checked_cells(row: list[str], header: list[str], where: str) -> list[float]:
    """Return the row as numbers, or raise for the first cell that is not one."""
    for column, cell in enumerate(row):
        fault = _cell_fault(cell)
        if fault is not None:
            label = header[column].strip() if header else ""
            named = f" ({_printable(label[:40])})" if label else ""
            raise InputError(f"{where}, column {column + 1}{named}: {fault}")
    return [float(cell) for cell in row]


def _cell_fault(cell: str) -> str | None:
    """Say what keeps a cell from being a number, and the fix; None for a number."""
    fault = _encoding_fault(cell)
    if fault is not None:
        return fault
    text = cell.strip()
    if not text:
        return "the cell is empty; write a number, or nan where there is none"
    value = _float(cell)  # which takes fewer characters for blanks than strip
    if value is None and (_holds_several(text) or re.search(r"[;|\t]", text)):
        return f"{_quoted(text)} is not a number; separate numbers by commas"
    if value is None:
        return f"{_quoted(cell)} is not a number; write such as 12.5, or nan where there is none"
    if "_" in text or not text.isascii():
        return f"{_quoted(text)} has characters other than 0-9 . + - e; write such as 1234.5"
    if math.isinf(value) and "inf" not in text.lower():
        return f"{_quoted(text)} is beyond float64 (largest 1.8e308); rescale the column"
    return None


def _encoding_fault(cell: str) -> str | None:
    if "\0" in cell:
        return "NUL bytes, so this is binary data or UTF-16; save the file as UTF-8 text"
    if re.search("[\udc80-\udcff]", cell):
        return f"{_quoted(cell)} has bytes that are not UTF-8; save the file as UTF-8 text"
    return None


def _holds_several(cell: str) -> bool:
    """Tell whether the cell is two or more numbers, separated by anything but commas."""
    parts = re.split(r"[;|\s]+", cell.strip())
    return len(parts) > 1 and all(_float(part) is not None for part in parts)


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _counted(count: int) -> str:
    return "1 value" if count == 1 else f"{count} values"
