"""`Session`: which arrays become handles during a traced call, and what is handed out at its end.

The arguments do. So do the arrays of floats that the function itself makes: as soon as one has a
name, it is replaced by a handle, *if nobody else has it*. For whoever else had it would keep the
plain array, and never see what is written. Whether that is so, Python's count of references says:
it must be exactly what the names that are seen account for. How much one name counts differs
between versions of Python, and is measured here when this is imported.

Arrays that are held elsewhere stay what they are. They are read as constants, and a tensor that is
written into one raises.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from itertools import combinations
from numbers import Number
from types import CodeType, FrameType
from typing import Any

import numpy as np

import tinygraph.engine.mutation.handle_functions  # noqa: F401 - from here on handles compute
from tinygraph.engine.arrays import held
from tinygraph.engine.mutation.handles import Array, root
from tinygraph.engine.tensor import Tensor

__all__ = ["Session"]

FEW_ENTRIES = 64  # of a container that is read again at every line


def _references(variables: Mapping[str, Any], name: str) -> int:
    return sys.getrefcount(variables[name])


def _calibrated() -> tuple[int, int]:
    """Measure how many references an array has that one variable holds, and that two hold."""
    one = np.zeros(1)  # noqa: F841 - it is the variables that count
    two = np.zeros(1)
    also = two  # noqa: F841
    variables = sys._getframe().f_locals
    first, second = _references(variables, "one"), _references(variables, "two")
    return first, second - first


def _entry_references(entries: Any, key: Any) -> int:
    return sys.getrefcount(entries[key])


def _base_references(array: Any) -> int:
    return sys.getrefcount(array.base)


_ONE, _PER_NAME = _calibrated()
_ENTRY = _entry_references([np.zeros(1)], 0)
_BASE = _base_references(np.zeros(4).reshape(2, 2))


def _is_adoptable(array: Any) -> bool:
    """Whether an array has memory of its own that can be written, and numbers with gradients."""
    return (
        type(array) is np.ndarray
        and (array.dtype.kind in "fc" or (array.dtype.hasobject and _is_exact(array)))
        and array.flags.writeable
        and (array.flags.owndata or _is_only_view(array))
    )


def _is_exact(array: Any) -> bool:
    return all(isinstance(x, Number) for x in array.flat)


def _is_only_view(array: Any) -> bool:
    """Whether an array is the only one on its memory, such as ``np.arange(6.0).reshape(2, 3)``."""
    base = array.base
    owns = type(base) is np.ndarray and base.flags.owndata and base.size == array.size
    del base
    return owns and _base_references(array) == _BASE


class Session:
    """One traced call.

    Parameters
    ----------
    home : str
        The file of the function that is traced, or "".

    Attributes
    ----------
    open : bool
        Whether it is running, and arrays may be written into.
    """

    def __init__(self, home: str = "") -> None:
        self.open = True
        self.home = home
        self.names: dict[int, tuple[CodeType, Any]] = {}  # by id: a code is slow to hash
        self.own: dict[int, tuple[Any, int]] = {}  # containers, and how far they were read

    # ------------------------------------------------------------------ the beginning

    def arguments(self, values: Iterable[Any], as_tensor: Callable[[Any], Any]) -> list[Any]:
        """Give handles on Tensors; what is passed twice is one.

        Arguments that share memory cannot be written into: nobody would see it in the other.
        """
        known: dict[int, Any] = {}
        handles = []
        for value in values:
            if type(value) is Array:  # of a traced call inside which this one is
                known[id(value)] = value
            if id(value) not in known:
                tensor = as_tensor(value)
                is_array = type(tensor) is Tensor and tensor._data.ndim
                known[id(value)] = root(tensor, self) if is_array else tensor
            handles.append((value, known[id(value)]))
        for (a, one), (b, other) in combinations(handles, 2):
            if type(one) is type(other) is Array and one is not other and _overlap(a, b):
                one._place().refuses = other._place().refuses = _SHARED
        return [handle for _, handle in handles]

    # ------------------------------------------------------------------ at every line

    def look(self, frame: FrameType, variables: Any) -> None:
        """Replace new arrays among the variables of a frame by handles."""
        code = frame.f_code
        _, names = self.names.get(id(code), (code, None))
        if names is None:
            names = self._names_of(code)
            self.names[id(code)] = code, names
        arrays: dict[int, list[str]] = {}
        for name in names:
            value = variables.get(name)
            kind = type(value)
            if kind is np.ndarray:
                if _is_adoptable(value):
                    arrays.setdefault(id(value), []).append(name)
            elif kind is list or kind is dict:
                known = id(value) in self.own
                value = None
                if known or _references(variables, name) == _ONE:
                    self._look_into(variables[name])
        value = None
        for same in arrays.values():
            if _references(variables, same[0]) == _ONE + _PER_NAME * (len(same) - 1):
                handle = self._adopted(variables[same[0]])
                for name in same:
                    variables[name] = handle

    def _names_of(self, code: CodeType) -> tuple[str, ...]:
        """Give the variables of a function's own, or nothing for the code of a library."""
        file = code.co_filename
        if file.startswith(_LIBRARIES) and not _same_package(file, self.home):
            return ()
        return tuple(dict.fromkeys(code.co_varnames + code.co_cellvars))

    def _adopted(self, array: Any) -> Array:
        return root(held(array), self)

    def _look_into(self, container: Any) -> None:
        """Replace new arrays in a list or dict that the function itself has made."""
        length = len(container)
        _, read = self.own.get(id(container), (None, 0))
        self.own[id(container)] = container, length
        start = read if length > FEW_ENTRIES else 0
        keys = list(container)[start:] if type(container) is dict else range(start, length)
        for key in keys:
            if _is_adoptable(container[key]) and _entry_references(container, key) == _ENTRY:
                container[key] = self._adopted(container[key])

    # ------------------------------------------------------------------ the end

    def close(self, *values: Any) -> list[Any]:
        """Say that it is over, and give what handles stand for in place of them.

        Lists and dicts are changed in place: they may be the caller's.
        """
        given: dict[int, Any] = {}
        values = tuple([self._given(value, given, 0) for value in values])
        for container, _ in self.own.values():
            self._given(container, given, 0)
        self.own.clear()
        self.open = False
        return list(values)

    def _given(self, value: Any, given: dict[int, Any], depth: int) -> Any:
        kind = type(value)
        if id(value) in given:
            return given[id(value)][1]
        if kind is Array:
            if value._run is not self:
                return value
            out = value._now()
            out = out if isinstance(out, Tensor) else np.array(out)
        elif depth > DEEPEST:
            return value
        elif kind is list or kind is dict:
            given[id(value)] = value, value
            for key in list(value) if kind is dict else range(len(value)):
                one = value[key]
                new = self._given(one, given, depth + 1)
                if new is not one:
                    value[key] = new
            return value
        elif isinstance(value, tuple):
            parts = [self._given(one, given, depth + 1) for one in value]
            if all(a is b for a, b in zip(parts, value, strict=True)):
                return value
            out = kind(*parts) if hasattr(value, "_fields") else kind(parts)
        else:
            return value
        given[id(value)] = value, out
        return out


DEEPEST = 20
"""Of containers in containers."""


# The code of libraries, and of tinygraph, handles plain arrays that nobody else is to see.
_LIBRARIES = tuple(
    os.path.join(path, "")
    for path in (
        os.path.dirname(os.__file__),
        os.path.dirname(os.path.dirname(np.__file__)),
        os.path.dirname(os.path.dirname(os.path.dirname(__file__))),
    )
)
_SHARED = (
    "an argument of the traced function is written to that shares memory with another one, which "
    "would not change with it; pass a copy"
)


def _overlap(a: Any, b: Any) -> bool:
    return type(a) is type(b) is np.ndarray and np.may_share_memory(a, b)


def _same_package(file: str, home: str) -> bool:
    return os.path.dirname(file) == os.path.dirname(home)
