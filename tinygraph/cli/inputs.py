"""Read the arrays that a user brings: ``.npy`` and ``.csv`` files, and the packaged wine data.

What this file lets you do:

- `read_array` reads one array from a file, or says in one line what is wrong and how to mend it;
- `wine` gives 178 × 13 real measurements whose scales differ by four orders of magnitude;
- `describe_nonfinite` tells how many values of an array are nan or inf, and where the first is.

NumPy reads; what is here makes its errors lines that help. A file is data and never a program:
nothing is unpickled, and what a header declares must be there before memory is taken for it.
"""

from __future__ import annotations

import csv
import importlib.resources
import math
import os
import stat
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

__all__ = ["InputError", "describe_nonfinite", "printable", "read_array", "wine"]


class InputError(ValueError):
    """What a user brings cannot be used.

    The message is one line that names the file, the row and column or the shape, and the fix.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """Give the text as one line that no terminal takes for a command."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


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
    name = os.fspath(path)
    try:
        values = _read_npy(name) if _suffix(name) == ".npy" else _read_csv(name)
        return values if dtype is None else _converted(values, np.dtype(dtype))
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except MemoryError as error:
        raise InputError(f"{name}: does not fit into memory; save fewer rows a file") from error
    except (OSError, ValueError) as error:  # a ValueError if there is a NUL in the name
        reason = getattr(error, "strerror", None) or error
        fix = "check its name and its permissions"
        raise InputError(f"{name}: cannot be read ({reason}); {fix}") from error


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


def describe_nonfinite(name: str, array: npt.NDArray[Any]) -> str | None:
    """Say how many values of an array are nan or inf, and where the first one is.

    Parameters
    ----------
    name
        What to call the array in the sentence.
    array
        Real numbers.

    Returns
    -------
    str or None
        None when every value is finite. Otherwise one sentence; the first position is the first in
        row-major order, counted from 0 as in NumPy.

    Examples
    --------
    >>> import numpy as np
    >>> describe_nonfinite("x", np.ones((2, 3)))
    >>> describe_nonfinite("x", np.array([[1.0, 2.0], [np.nan, -np.inf]]))
    'x has values that are not finite (1 nan, 1 -inf), the first at [1, 0]'
    """
    bad = ~np.isfinite(array)
    if not bad.any():
        return None
    counts = Counter(map(str, array[bad].tolist()))
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    first = np.argwhere(bad)[0].tolist()
    return f"{name} has values that are not finite ({kinds}), the first at {first}"


def _suffix(name: str) -> str:
    """Give the suffix in lower case; refuse what is no file, and what would block, as a pipe."""
    status, suffix = os.stat(name), os.path.splitext(name)[1].lower()
    if not stat.S_ISREG(status.st_mode):
        raise InputError("is a directory, a pipe or a device; name a .npy or .csv file")
    if suffix not in (".npy", ".csv"):
        raise InputError(f"ends in {suffix!r}, but .npy (numpy.save) and .csv files are read")
    if not status.st_size:
        raise InputError("the file is empty; write numbers into it")
    return suffix


def _converted(values: npt.NDArray[Any], target: np.dtype[Any]) -> npt.NDArray[Any]:
    """Convert, but never turn a finite number into inf."""
    with np.errstate(all="ignore"):
        result = values.astype(target, copy=False)
    lost = np.argwhere(np.isinf(result) & np.isfinite(values))
    if len(lost):
        raise InputError(
            f"{values[tuple(lost[0])]} at {lost[0].tolist()} overflows {target}, whose largest "
            f"number is {np.finfo(target).max}; use a wider dtype or rescale the data"
        )
    return result


# --- .npy -----------------------------------------------------------------------------------------


def _read_npy(name: str) -> npt.NDArray[Any]:
    try:
        with open(name, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote
            major, minor = np.lib.format.read_magic(file)
            header = getattr(np.lib.format, f"read_array_header_{major}_{minor}")
            shape, _, dtype = header(file)
            declared = math.prod(shape) * dtype.itemsize
            present = os.fstat(file.fileno()).st_size - file.tell()
            if dtype.kind not in "fiub":
                fault = f"holds {dtype}, not real numbers (objects are never unpickled)"
            elif declared != present:
                fault = f"its header declares {declared:.15g} bytes, but {present} are there"
            else:
                file.seek(0)
                values = np.load(file, allow_pickle=False)
                native = dtype.newbyteorder("=") if dtype.kind == "f" else np.float64
                return np.asarray(values, native)
    except (OSError, MemoryError):
        raise
    except Exception:  # a header is evaluated, so junk in it can raise almost anything
        fault = "is no .npy file, or a damaged one"
    raise InputError(f"{fault}; save an array of real numbers again with numpy.save")


# --- .csv -----------------------------------------------------------------------------------------


class _Rows:
    """The lines below the header, one after the other, and which one it is at."""

    def __init__(self, text: TextIO) -> None:
        self.text, self.header, self.line, self.number = text, list[str](), "", 1

    def __iter__(self) -> Iterator[str]:
        self.text.seek(0)
        reader = csv.reader(self.text, skipinitialspace=True, strict=True)
        self.header, start = _header(next(reader, [])), reader.line_num + 1
        if not self.header:
            start = self.text.seek(0) + 1
        blank = False
        for number, line in enumerate(self.text, start):
            if not line.strip():
                blank = True
                continue
            self.number, self.line = number, line
            if blank:
                raise InputError("stands below a blank line; delete that one")
            # A comma in quotes is no separator, and no part of a number either.
            cells = (cell.replace(",", ";") for cell in _cells(line))
            yield ",".join(cells) if '"' in line else line.strip()

    def fault(self) -> str:
        """Say which cell of this line is no number, and how to mend it; "" where all are."""
        for column, cell in enumerate(_cells(self.line)):
            cell = cell.strip()
            if not _is_number(cell, exactly=True):
                title = f" ({self.header[column][:40]})" if column < len(self.header) else ""
                found = f"{cell[:40]!r} is no number that fits float64" if cell else "is empty"
                fix = "separate numbers by commas, and write nan where there is none"
                return f"column {column + 1}{title}: {found}; {fix}"
        return ""


def _read_csv(name: str) -> npt.NDArray[Any]:
    with open(name, encoding="utf-8-sig") as text, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a file without rows
        rows, fault = _Rows(text), ""
        try:
            if "\0" in text.read(4096):
                raise InputError("has NUL bytes; save it as UTF-8 text")
            values = np.loadtxt(rows, delimiter=",", comments=None, ndmin=2)
            if np.isinf(values).any():  # as 1e999 is read too
                fault = next(filter(None, (rows.fault() for _ in rows)), "")
        except csv.Error as error:
            fault = f"{error}; close every quote"
        except InputError as error:
            fault = str(error)
        except UnicodeDecodeError as error:
            raise InputError("has bytes that are not UTF-8; save it as UTF-8 text") from error
        except ValueError as error:
            columns = str(error).partition(" at row")[0]
            fault = rows.fault() or f"{columns}; give every line the same number of values"
    if fault:
        raise InputError(f"line {rows.number}, {fault}")
    if not values.size:
        raise InputError("has no rows of numbers; write one row a line")
    if rows.header and len(rows.header) != values.shape[1]:
        found = f"its header names {len(rows.header)} columns, but a row has {values.shape[1]}"
        raise InputError(f"{found}; give every line the same number, separated by commas")
    return values


def _header(row: list[str]) -> list[str]:
    """Give the names that the first row is made of; none where it holds numbers."""
    if not "".join(row).strip() or any(map(_is_number, row)):
        return []
    for cell in row:
        if all(map(_is_number, cell.replace(";", " ").replace("|", " ").split() or "-")):
            raise InputError(f"{cell[:40]!r} holds several numbers; separate them by commas")
    return row


def _cells(line: str) -> list[str]:
    if '"' not in line:
        return line.split(",")
    return next(csv.reader([line], skipinitialspace=True, strict=True))


def _is_number(text: str, *, exactly: bool = False) -> bool:
    """Tell whether Python reads a number; exactly so if it is none that only Python would read."""
    try:
        value = float(text)
    except ValueError:
        return False
    odd = "_" in text or not text.isascii() or (math.isinf(value) and "inf" not in text.lower())
    return not (exactly and odd)
