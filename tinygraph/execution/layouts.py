"""Layouts: how arguments lie in memory, on which the bits of a sum depend.

The engine copies what it is given, so that its arrays are compact: rows or columns lie one after
the other, whatever gaps there were. An argument that lies so is used where it is; any other is
copied first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from types import MethodType, NoneType
from typing import Any, NamedTuple

import numpy as np

from tinygraph.engine.arrays import leaf
from tinygraph.engine.autodiff import DISCRETE

__all__ = ["MOST", "NUMBERS", "Layout", "compact", "fitting", "key_of", "placement", "remember"]

NUMBERS = f"{DISCRETE}fcO"
"""Kinds of dtypes that are computed with."""

ROWS = 0x101
"""NumPy's flags of an array whose rows lie one after the other, where the processor wants them."""


MOST = 32
"""Of keys that are remembered, so that a number that is another at each call fills no memory."""


class Layout(NamedTuple):
    """What of an array a program depends on.

    Examples
    --------
    >>> Layout.of(np.zeros((2, 3), np.float32))
    Layout(dtype=dtype('float32'), shape=(2, 3), strides=(12, 4), is_aligned=True)
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    is_aligned: bool

    @classmethod
    def of(cls, array: Any) -> Layout:
        """Give the layout of an array or a scalar."""
        return cls(array.dtype, array.shape, array.strides, array.flags.aligned)

    def asked(self, name: str, scope: dict[str, Any]) -> str:
        """Write the question whether the array of that name lies so.

        It may be answered with no where the answer is yes, if that is rare: whoever asks looks more
        closely then.
        """
        scope[dtype := f"{name}_dtype"] = self.dtype
        rows = np.empty(self.shape, self.dtype).strides
        is_plain = self.strides == rows and self.is_aligned and 1 not in self.shape
        place = (
            f"{name}.flags.num & {ROWS} == {ROWS}"
            if is_plain
            else f"{name}.strides == {self.strides} and {name}.flags.aligned == {self.is_aligned}"
        )
        return (
            f"type({name}) is ndarray and {name}.dtype is {dtype} "
            f"and {name}.shape == {self.shape} and {place}"
        )


def compact(array: Any) -> Any:
    """Give an array as the engine would hold it: itself, where it lies so; a scalar for shape ().

    Examples
    --------
    >>> x = np.zeros((3, 4), order="F")
    >>> compact(x) is x, compact(x[::2]).strides
    (True, (8, 16))
    """
    if array.dtype.hasobject:
        return leaf(array)
    array = np.asarray(array)
    if not array.ndim:
        return array[()]
    if array.flags.aligned and array.strides == np.empty_like(array).strides:
        return array
    return np.array(array)


def key_of(arrays: list[Any], x: Any) -> Any:
    """Give what of an argument a program depends on; what is an array is added to `arrays`.

    Raises
    ------
    TypeError
        If it is neither an array, a number, nor anything that stays what it is.
    """
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(
            "compile: a masked array is passed, whose mask would be lost; fill it first"
        )
    if isinstance(x, np.ndarray):
        if x.dtype.kind in NUMBERS:
            arrays.append(x := compact(x))
            return Layout.of(x)
        raise TypeError(f"compile: an argument is an array of {x.dtype}, which are no numbers")
    try:
        hash(x)
    except TypeError:
        raise TypeError(
            f"compile: an argument is of type {type(x).__name__}, whose content may change; "
            "pass arrays and numbers, each as an argument of its own, or close over it"
        ) from None
    return _fixed_key(x)


class _Itself:
    """A key that equals that of the same object alone, whatever the object says it is equal to."""

    __slots__ = ("x",)

    def __init__(self, x: Any) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.x is other.x

    def __hash__(self) -> int:
        return id(self.x)


def _fixed_key(x: Any) -> Any:
    """Tell apart what Python calls equal: 1, 1.0 and True in a tuple, and what holds 0 or −0."""
    kind = type(x)
    if kind in (int, bool, str, bytes, range, Fraction, NoneType):
        return kind, x
    if kind in (float, complex) or isinstance(x, np.generic):
        return number_key(x)
    if isinstance(x, tuple):
        return kind, *map(_fixed_key, x)
    if kind is MethodType:
        return kind, _Itself(x.__func__), _fixed_key(x.__self__)
    return _Itself(x)


def number_key(x: Any) -> Any:
    """Tell −0 from 0, and take nan for itself."""
    return type(x), repr(x)


def remember(forms: dict[Any, Any], key: Any, form: Any) -> None:
    """Keep the form for a key, in place of the oldest where there are `MOST`."""
    while len(forms) >= MOST:
        del forms[next(iter(forms))]
    forms[key] = form


def placement(x: Any) -> Any:
    """Give what of an array's place in memory a program depends on, apart from dtype and shape."""
    if not x.ndim:
        return True
    flags = x.flags.num & ROWS
    return True if flags == ROWS and 1 not in x.shape else (flags, x.strides)


def fitting(
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    used: Sequence[int] | None = None,
    constants: Sequence[Any] = (),
    dout: Any = None,
    seed: Any = None,
) -> Callable[..., tuple[Any, ...] | None]:
    """Write the function that gives what a program is called with, if nothing is new.

    Parameters
    ----------
    args, kwargs
        What a function was called with.
    used : sequence of int, optional
        Which of the arrays among them the program takes; by default all.
    constants : sequence, optional
        What it takes after them.
    dout : ndarray, optional
        The upstream gradient that was passed.
    seed : ndarray or NumPy scalar, optional
        What that is in the program, where there is one.

    Returns
    -------
    callable
        ``fit(args, kwargs, dout)`` gives a tuple, or None where it has to be looked at closely.
    """
    scope: dict[str, Any] = {"ndarray": np.ndarray, "number_key": number_key, "keys": tuple(kwargs)}
    every = [*args, *kwargs.values()]
    names = [f"a{k}" for k in range(len(every))]
    first, rest = names[: len(args)], names[len(args) :]
    arrays = [name for name, x in zip(names, every, strict=True) if isinstance(x, np.ndarray)]
    given = arrays if used is None else [arrays[k] for k in used]
    asked = [_asked(name, x, scope) for name, x in zip(names, every, strict=True)]
    scope |= {f"k{k}": x for k, x in enumerate(constants)}
    given = [*given, *(f"k{k}" for k in range(len(constants)))]
    if seed is not None:
        asked.append("dout is None" if dout is None else Layout.of(dout).asked("dout", scope))
        given.append("seed" if dout is None else "dout")
        scope["seed"] = seed
    lines = [
        "def fit(args, kwargs, dout=None):",
        f"    if len(args) != {len(args)} or " + ("tuple(kwargs) != keys:" if rest else "kwargs:"),
        "        return None",
        f"    {', '.join(first)}, = args" if first else "",
        f"    {', '.join(rest)}, = kwargs.values()" if rest else "",
        f"    return ({''.join(f'{name}, ' for name in given)}) if (",
        f"        {' and '.join(asked) or True}",
        "    ) else None",
    ]
    exec(compile("\n".join(lines), "<fit>", "exec"), scope)
    function: Callable[..., tuple[Any, ...] | None] = scope["fit"]
    return function


def _asked(name: str, x: Any, scope: dict[str, Any]) -> str:
    """Write the question whether what has a name now is as `x` was, or is `x`."""
    if isinstance(x, np.ndarray):
        is_used_as_it_is = type(x) is np.ndarray and x.ndim and compact(x) is x
        return Layout.of(x).asked(name, scope) if is_used_as_it_is else "False"
    scope[then := f"{name}_then"] = x
    same = f"{name} is {then}"
    if type(x) in (int, bool, str):
        return f"({same} or (type({name}) is {type(x).__name__} and {name} == {then}))"
    if type(x) is float:
        scope[key := f"{name}_key"] = number_key(x)
        return f"({same} or (type({name}) is float and number_key({name}) == {key}))"
    return same
