"""Layouts: how arguments lie in memory, on which the bits of a sum depend.

The engine copies what it is given, so that its arrays are compact: rows or columns lie one after
the other, whatever gaps there were. An argument that lies so is used where it is; any other is
copied first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygraph.engine.arrays import leaf
from tinygraph.engine.autodiff import DISCRETE

__all__ = ["Layout", "compact", "fitting", "key_of", "number_key", "place_of"]

ROWS = 0x101
"""NumPy's flags of an array whose rows lie one after the other, where the processor wants them."""


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
        if x.dtype.kind in f"{DISCRETE}fcO":
            arrays.append(x := compact(x))
            return Layout.of(x)
        raise TypeError(f"compile: an argument is an array of {x.dtype}, which are no numbers")
    if isinstance(x, float | complex | np.generic):
        return number_key(x)
    try:
        hash(x)
    except TypeError:
        raise TypeError(
            f"compile: an argument is of type {type(x).__name__}, whose content may change; "
            "pass arrays, each as an argument of its own"
        ) from None
    return type(x), x


def number_key(x: Any) -> Any:
    """Tell −0 from 0, and take nan for itself."""
    return type(x), repr(x)


def place_of(x: Any) -> Any:
    """Give what of an array's place in memory a program depends on, apart from dtype and shape."""
    if not x.ndim:
        return True
    flags = x.flags.num & ROWS
    return True if flags == ROWS and 1 not in x.shape else (flags, x.strides)


def fitting(
    args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Callable[..., tuple[Any, ...] | None]:
    """Write the function that gives the arrays among arguments if they are such as these.

    Parameters
    ----------
    args, kwargs
        What a function was called with.

    Returns
    -------
    callable
        ``fit(args, kwargs)`` gives a tuple, or None where the arguments may be others.
    """
    names = [f"a{k}" for k in range(len(args) + len(kwargs))]
    scope: dict[str, Any] = {"ndarray": np.ndarray, "number_key": number_key, "keys": tuple(kwargs)}
    questions, arrays = [], []
    for name, x in zip(names, [*args, *kwargs.values()], strict=True):
        if isinstance(x, np.ndarray):
            is_used_as_it_is = x.ndim and not x.dtype.hasobject and compact(x) is x
            questions.append(Layout.of(x).asked(name, scope) if is_used_as_it_is else "False")
            arrays.append(name)
        else:
            scope[then := f"{name}_then"] = x
            same = f"({name} is {then}"
            if isinstance(x, int | str):
                same += f" or (type({name}) is {type(x).__name__} and {name} == {then})"
            elif isinstance(x, float):
                scope[key := f"{name}_key"] = number_key(x)
                same += f" or (type({name}) is float and number_key({name}) == {key})"
            questions.append(f"{same})")
    text = "def fit(args, kwargs):\n"
    text += f"    if len(args) != {len(args)} or "
    text += "tuple(kwargs) != keys:\n" if kwargs else "kwargs:\n"
    text += "        return None\n"
    first, rest = names[: len(args)], names[len(args) :]
    text += f"    {', '.join(first)}, = args\n" if first else ""
    text += f"    {', '.join(rest)}, = kwargs.values()\n" if rest else ""
    text += f"    if {' and '.join(questions) or 'True'}:\n"
    text += f"        return ({''.join(f'{name}, ' for name in arrays)})\n"
    text += "    return None\n"
    exec(compile(text, "<fit>", "exec"), scope)
    function: Callable[..., tuple[Any, ...] | None] = scope["fit"]
    return function
