"""State: arrays by name, checked when they come back, and files of them that are whole.

What interrupts the writing of a file, such as a full disk, must not destroy the state that it was
to replace. The arrays are therefore written to a new file beside the old one, which is then moved
into its place: a file system does that in one step.
"""

from __future__ import annotations

import os
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Stateful", "fitted", "read_arrays", "write_arrays"]


class Stateful:
    """Something whose state can be given as arrays by name, and taken back from them."""

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
            If the file is damaged, or its names or shapes do not fit; all are listed.
        OSError
            If it cannot be read.
        """
        state = read_arrays(path)
        try:
            self.load_state_dict(state)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{os.fspath(path)}: {error}") from None


def fitted(what: str, mine: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """Give the arrays of `state`, in the dtypes of the arrays that they are to replace.

    Parameters
    ----------
    what : str
        What they are the state of, for messages.
    mine : mapping of str to ndarray
        The present state.
    state : mapping of str to array_like

    Returns
    -------
    dict
        New arrays, in the order of `mine`.

    Raises
    ------
    ValueError
        If names are missing or unexpected or arrays have another shape; all are listed.
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
    return {name: _converted(name, state[name], array.dtype) for name, array in mine.items()}


def _converted(name: str, value: Any, dtype: np.dtype[Any]) -> Any:
    array = np.asarray(value)
    if array.dtype.kind not in "iubf" and array.dtype.kind != dtype.kind:
        raise TypeError(f"{name} must be real numbers, not {array.dtype}")
    return np.array(array, dtype=dtype)


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
    target = Path(os.path.realpath(_checked(path)))  # a link stays a link
    new = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with zipfile.ZipFile(new, "x") as archive:
            for name, value in arrays.items():
                array = np.asarray(value)
                if array.dtype.hasobject:
                    raise ValueError(f"{name} holds Python objects, which need pickle; convert it")
                # A plain ZipInfo is dated 1980, whatever the time is.
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as part:
                    np.lib.format.write_array(part, array, allow_pickle=False)
        if target.exists():
            shutil.copymode(target, new)
        os.replace(new, target)
    finally:
        new.unlink(missing_ok=True)


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
        If it cannot be read.
    """
    path = _checked(path)
    try:
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("it holds a single array without a name")
            with archive:
                return {name: archive[name] for name in archive.files}
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        raise ValueError(f"{path} cannot be read as arrays by name (.npz): {error}") from None


def _checked(path: str | os.PathLike[str]) -> Path:
    checked = Path(path)
    if checked.suffix != ".npz":
        raise ValueError(f"{checked}: the name of a state's file must end in .npz")
    return checked
