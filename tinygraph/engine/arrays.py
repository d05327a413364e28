"""The arrays that a graph holds: numbers, of a dtype that can be differentiated, and read-only.

Read-only is more than a flag. A locked view of a writable array is written through its ``.base``,
and the shape and dtype of an array object can be assigned whoever locked it. So what a graph holds
is locked down to the array that owns the memory, it is an object that nobody else has, and what is
handed out is a view made for the occasion.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from fractions import Fraction
from numbers import Integral, Number
from types import EllipsisType, MappingProxyType, NoneType
from typing import Any

import numpy as np

from tinygraph.engine.foreign import native
from tinygraph.engine.lengths import Measured
from tinygraph.engine.operators import Operand

__all__ = [
    "Shown",
    "computed",
    "constants",
    "exactly",
    "first_nonfinite",
    "handed_out",
    "held",
    "kept",
    "leaf",
    "locked",
    "numbers",
    "owner",
    "printed",
    "relocked",
    "settled",
    "shown",
]


as_array = np.asarray  # NumPy's own, also where `stacking` has put another in its place


def locked(value: Any) -> Any:
    """Make an array read-only; scalars are immutable, and other numbers become object arrays."""
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
        return value
    return value if isinstance(value, np.generic) else locked(np.array(value, dtype=object))


def relocked(value: Any) -> Any:
    """Make arrays read-only again, in tuples too, after a copy of what a graph held."""
    if isinstance(value, tuple):
        return tuple(relocked(x) for x in value)
    return locked(value) if isinstance(value, np.ndarray) else value


def owner(array: Any) -> Any:
    """Give the array at the bottom, of which `array` is a view, a view of a view, or itself."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def computed(value: Any) -> Any:
    """Give what a primitive computed as an array or scalar, exact where arithmetic is exact."""
    if (type(value) is np.ndarray and not value.dtype.hasobject) or isinstance(value, np.generic):
        return value
    value = np.asarray(value)
    is_number = not value.ndim or value.dtype.hasobject  # NumPy hands out a Fraction bare
    return exactly(value) if is_number else value


def held(value: Any) -> Any:
    """Give what the engine computed as a graph holds it: exact, locked, known to nobody else."""
    if type(value) is not np.ndarray or value.dtype.hasobject:
        value = computed(value)
        if isinstance(value, np.generic):
            return value
    base = value.base
    while base is not None:
        if not isinstance(base, np.ndarray):  # a buffer, maybe someone's
            return held(np.array(value))
        base.setflags(False)  # type: ignore[call-arg]  # a third of the time of write=False
        base = base.base
    value.setflags(False)
    return value.view()


def kept(value: Any) -> Any:
    """Copy a parameter or constant that can be changed; what has a hash is what it is."""
    if type(value) in _UNCHANGING:
        return value
    if type(value) is tuple:
        return value if _UNCHANGING.issuperset(map(type, value)) else tuple(map(kept, value))
    if isinstance(value, np.ndarray):
        return held(np.array(value))
    return value if type(value).__hash__ is not None else copy.deepcopy(value)


def settled(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the parameters of an operation as they are `kept`."""
    for x in params.values():
        if kept(x) is not x:
            return {key: kept(x) for key, x in params.items()}
    return params


_KEYS = (str, slice, NoneType, EllipsisType)
_UNCHANGING = frozenset({int, bool, float, complex, Fraction, *_KEYS})


def handed_out(value: Any) -> Any:
    """Give what can be changed without changing the graph: a view of an array, a copy of a list."""
    if type(value) is np.ndarray:
        return value.view()
    if type(value) is tuple:
        return tuple(map(handed_out, value))
    if isinstance(value, Mapping):
        return MappingProxyType({key: handed_out(x) for key, x in value.items()})
    return value if isinstance(value, Operand) else kept(value)


class Shown(np.ndarray):
    """An array of a graph as it is shown: one that says what to write instead of changing it.

    What is computed from it is plain arrays.

    Attributes
    ----------
    what : str
        What it is called, such as ``w.data``.
    """

    __array_priority__ = -1.0
    what = "t.data"

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return array[()] if return_scalar else np.asarray(array)

    def __setitem__(self, key: Any, value: Any) -> None:
        if not self.flags.writeable:
            raise ValueError(
                f"{self.what} is an array of a graph, which is read-only; change a copy and give "
                f"it back: a = {self.what}.copy(); a[…] = …; {self.what} = a"
            )
        super().__setitem__(key, value)

    def copy(self, order: Any = "C") -> Any:
        """Give a plain array, which can be changed."""
        return np.array(self, order=order)

    def __repr__(self) -> str:
        return repr(np.asarray(self))

    def __reduce__(self) -> Any:
        return np.asarray(self).__reduce__()


def shown(value: Any, what: str) -> Any:
    """Give a view of an array, which is called so; a scalar as it is."""
    if type(value) is not np.ndarray:
        return value
    view = value.view().view(Shown)  # whose base is then not the object that the graph holds
    view.what = what
    return view


def printed(value: Any, name: str | None) -> str:
    """Write the numbers of a tensor as an array's repr does, and the dtype where that would."""
    numbers = np.array2string(np.asarray(value), separator=", ", prefix="Tensor(")
    called = f", name={name!r}" if name else ""
    usual = value.dtype.hasobject or value.dtype in (np.dtype(float), np.dtype(complex))
    dtype = "" if usual else f", dtype={value.dtype}"
    return f"Tensor({numbers}{called}, shape={value.shape}{dtype})"


def _refusing(sign: str, name: str) -> Any:
    change = getattr(np.ndarray, name)

    def method(self: Shown, other: Any) -> Any:
        if not self.flags.writeable:
            raise ValueError(
                f"{self.what} is an array of a graph, which is read-only; instead of "
                f"{self.what} {sign}= v write {self.what} = {self.what} {sign} v"
            )
        return change(self, other)

    return method


for _sign, _name in {
    "+": "__iadd__",
    "-": "__isub__",
    "*": "__imul__",
    "/": "__itruediv__",
    "//": "__ifloordiv__",
    "%": "__imod__",
    "**": "__ipow__",
    "@": "__imatmul__",
}.items():
    setattr(Shown, _name, _refusing(_sign, _name))


def exactly(value: Any) -> Any:
    """Give an array of fractions for one of integers, since 0 / 3 is a float.

    Examples
    --------
    >>> exactly(np.array([0, Fraction(1, 2)], dtype=object))
    array([Fraction(0, 1), Fraction(1, 2)], dtype=object)
    """
    value = np.asarray(value)
    return np.array(_exact(value), dtype=object) if value.dtype.kind in "iubO" else value


def _fraction(x: Any) -> Any:
    return x if type(x) is Fraction or not isinstance(x, Integral) else Fraction(int(x))


_exact = np.frompyfunc(_fraction, 1, 1)


def numbers(data: Any, what: str, *, exact: bool = False) -> Any:
    """Give `data` as an array of numbers, without a copy where it is one; raise where it is not.

    Where `exact`, integers are to meet fractions, and become fractions themselves.
    """
    native(data, what)
    if isinstance(data, np.ma.MaskedArray):
        raise TypeError(f"{what} is a masked array, whose mask would be lost; fill it first")
    try:
        array = as_array(data)
    except ValueError as error:
        raise ValueError(f"{what} does not form an array: {error}") from None
    kind = array.dtype.kind
    if exact and kind in "iuO":
        array, kind = exactly(array), "O"
    if kind == "O" and all(isinstance(x, int) for x in array.flat):
        return array.astype(np.float64)  # ints beyond 64 bits
    if kind not in "iubfcO" or (
        kind == "O" and not all(isinstance(x, Number) for x in array.ravel())
    ):
        raise TypeError(f"{what} must be numbers, not {type(data).__name__} of {array.dtype}")
    return array


def first_nonfinite(array: Any) -> str:
    """Give the first entry that is nan or inf, and its place; "" where all are finite.

    Examples
    --------
    >>> first_nonfinite(np.array([[1.0, 2.0], [-np.inf, np.nan]])), first_nonfinite(np.ones(3))
    ('-inf at [1, 0]', '')
    """
    array = np.asarray(array)
    if array.dtype.kind not in "fc" or np.isfinite(array).all():
        return ""
    place = np.argwhere(~np.isfinite(array))[0].tolist()
    return f"{array[tuple(place)]}" + (f" at {place}" if place else "")


def leaf(data: Any, name: str | None = None, *, exact: bool = False) -> Any:
    """Copy `data` into an array for a leaf: ints and bools become float64, or fractions."""
    if isinstance(data, Operand):
        raise TypeError(f"{data!r} is a Tensor already; use it as it is, or .detach() for a leaf")
    array = numbers(data, f"the data of {name!r}" if name else "the data of a tensor", exact=exact)
    array = np.array(array, dtype=np.float64 if array.dtype.kind in "iub" else None)
    return held(array if array.ndim else array[()])


def constants(inputs: Sequence[Any]) -> list[Any]:
    """Prepare operands that are not nodes: arrays are copied and locked, fractions are rounded.

    Python scalars stay as they are: they take the dtype of the array that they meet (NEP 50). A
    Fraction does so too, unless all arithmetic here is exact.
    """
    prepared = []
    exact = any(isinstance(x, Operand) and x.dtype.hasobject for x in inputs)
    for x in inputs:
        if isinstance(x, Operand):
            x = x.settled()
        elif isinstance(x, float | int | complex | np.number | np.bool):
            pass
        elif isinstance(x, Fraction):
            x = x if exact else float(x)
        elif isinstance(x, Measured):
            pass
        elif x is None or isinstance(x, str):
            raise TypeError(f"an operand must be numbers, not {x!r}")
        else:
            x = held(np.array(numbers(x, "an operand", exact=exact)))
        prepared.append(x)
    return prepared
