"""State: arrays by name, checked when they come back, and files of them.

What interrupts the writing of a file, such as a full disk, must not destroy the state that it was
to replace: see `files.replacing`.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygraph.files import replacing

__all__ = ["Stateful", "fitted", "read_arrays", "write_arrays"]


class Stateful:
    """Something whose state can be given as arrays by name, and taken back from them."""

    not_negative: tuple[str, ...] = ()
    """Names of its own arrays, such as variances, that cannot be negative."""

    def state_dict(self) -> dict[str, Any]:
        """Give copies of all arrays that are state."""
        raise NotImplementedError(f"{type(self).__name__} must define state_dict")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state; all of it or, on an error, nothing."""
        raise NotImplementedError(f"{type(self).__name__} must define load_state_dict")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the state to an ``.npz`` file, which is replaced whole or not at all.

        Parameters
        ----------
        path : path-like
            Ends in ``.npz``.

        Raises
        ------
        ValueError
            If the path ends in something else.
        OSError
            If the file cannot be written; an old one is then as it was.
        """
        write_arrays(path, self.state_dict())

    def load(self, path: str | os.PathLike[str]) -> None:
        """Load the state from an ``.npz`` file; nothing in the file is executed.

        Parameters
        ----------
        path : path-like

        Raises
        ------
        ValueError
            If the file is damaged, its names or shapes do not fit, of which all are listed, or its
            values cannot be a state. Nothing is changed then.
        OSError
            If it cannot be opened.
        """
        state = read_arrays(path)
        try:
            self.load_state_dict(state)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from None


def fitted(
    what: str,
    mine: Mapping[str, Any],
    state: Mapping[str, Any],
    not_negative: Collection[str] = (),
) -> dict[str, Any]:
    """Give the arrays of `state`, in the dtypes of the arrays that they are to replace.

    Parameters
    ----------
    what : str
        What they are the state of, for messages.
    mine : mapping of str to ndarray
        The present state.
    state : mapping of str to array_like
    not_negative : collection of str, optional
        Names of arrays that cannot be negative.

    Returns
    -------
    dict
        New arrays, in the order of `mine`.

    Raises
    ------
    ValueError
        If names are missing or unexpected or arrays have another shape; all are listed. If a value
        is nan, infinite or out of the dtype's range where the present one is finite, or negative
        where it cannot be.
    TypeError
        If an array is not of numbers.

    Examples
    --------
    >>> fitted("norm", {"gamma": np.ones(2)}, {"beta": [0.0, 0.0]})
    Traceback (most recent call last):
        ...
    ValueError: norm: the state does not fit: missing: gamma; unexpected: beta; build it with ...
    """
    problems = {
        "missing": [name for name in mine if name not in state],
        "unexpected": [name for name in state if name not in mine],
        "of wrong shape": [
            f"{name} {np.shape(state[name])} instead of {array.shape}"
            for name, array in mine.items()
            if name in state and np.shape(state[name]) != array.shape
        ],
    }
    if any(problems.values()):
        listed = "; ".join(f"{kind}: {', '.join(n)}" for kind, n in problems.items() if n)
        raise ValueError(
            f"{what}: the state does not fit: {listed}; build it with the same parts and options "
            "as what was saved"
        )
    new = {name: _converted(f"{what}: {name}", state[name], mine[name]) for name in mine}
    for name in mine:
        if name in not_negative and np.any(new[name] < 0):
            raise ValueError(f"{what}: {name} is negative, which it cannot be")
    return new


def _converted(what: str, value: Any, mine: Any) -> Any:
    """Give the value in the dtype of `mine`, if it is numbers that can take the place of those."""
    given = np.asarray(value)
    if given.dtype.kind not in "iuf" and given.dtype.kind != mine.dtype.kind:
        raise TypeError(f"{what} must be real numbers, not {given.dtype}")
    with np.errstate(all="ignore"):
        array = np.array(given, dtype=mine.dtype)
    if mine.dtype.kind in "fc" and np.any(~np.isfinite(array) & np.isfinite(mine)):
        raise ValueError(f"{what} is nan, infinite or too large for {mine.dtype}")
    if mine.dtype.kind in "iu" and np.any(array != given):
        raise ValueError(f"{what} must be whole numbers that fit {mine.dtype}")
    return array


# --------------------------------------------------------------------------- files


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, Any]) -> None:
    """Write arrays to an ``.npz`` file that `numpy.load` reads, replacing it in one step.

    The same arrays give the same bytes.

    Parameters
    ----------
    path : path-like
        Ends in ``.npz``.
    arrays : mapping of str to array_like

    Raises
    ------
    ValueError
        If the path ends in something else, or an array holds Python objects.
    OSError
        If the file cannot be written; the old one is then as it was.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_arrays(f"{folder}/two.npz", {"a": [1.0, 2.0], "b": 3})
    ...     read_arrays(f"{folder}/two.npz")
    {'a': array([1., 2.]), 'b': array(3)}
    """
    path = _checked(path)
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, value in arrays.items():
            array = np.asarray(value)
            if array.dtype.hasobject:
                raise ValueError(f"{name} holds Python objects, which need pickle; convert it")
            # A plain ZipInfo is dated 1980, whatever the time is.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as part:
                np.lib.format.write_array(part, array, allow_pickle=False)


def read_arrays(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the arrays of an ``.npz`` file; nothing in it is executed.

    Parameters
    ----------
    path : path-like
        Ends in ``.npz``.

    Returns
    -------
    dict
        Arrays by name, in the order in which they were written.

    Raises
    ------
    ValueError
        If the file is damaged, is no ``.npz`` file, or holds Python objects.
    OSError
        If it cannot be opened.
    """
    path = _checked(path)
    with open(path, "rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("it holds a single array without a name")
            with archive:
                return {name: archive[name] for name in archive.files}
        except Exception as error:  # junk in an archive or a header can raise almost anything
            reason = str(error) or type(error).__name__
            raise ValueError(f"{path} cannot be read as arrays by name (.npz): {reason}") from None


def _checked(path: str | os.PathLike[str]) -> Path:
    checked = Path(path)
    if checked.suffix != ".npz":
        raise ValueError(f"{checked}: the name of a state's file must end in .npz")
    return checked
