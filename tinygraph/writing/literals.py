"""Literals: numbers, arrays and keys as Python source that gives back every bit of them.

A number that takes the dtype of what it meets stays a Python number, and one that has a dtype keeps
it, so that NumPy promotes in the source as it did in the graph.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinygraph.engine.lengths import Formula

__all__ = ["array_text", "computed_text", "dtype_text", "key_parts", "literal"]

LARGEST = 4096


def literal(value: Any) -> str:
    """Write a number as Python source.

    Examples
    --------
    >>> from fractions import Fraction
    >>> print(*map(literal, (2, 1e-5, -np.inf, Fraction(1, 3), np.float32(0.1), 1j)))
    2 1e-05 -np.inf Fraction(1, 3) np.float32(0.1) complex(0.0, 1.0)
    """
    if isinstance(value, np.generic):
        return f"{dtype_text(value.dtype)}({_entry(value)})"
    return _entry(value)


def _entry(value: Any) -> str:
    """Write a number as it stands in an array, which tells its dtype."""
    if isinstance(value, np.longdouble):  # Python has no number that long
        return repr(str(value))
    if isinstance(value, np.clongdouble):
        raise ValueError("a complex number of longdoubles cannot be written out exactly")
    if isinstance(value, complex | np.complexfloating):
        return f"complex({_entry(float(value.real))}, {_entry(float(value.imag))})"
    if isinstance(value, float | np.floating):
        if not np.isfinite(value):
            sign = "-" if np.signbit(value) else ""  # which NaN has, too
            return f"{sign}np.nan" if np.isnan(value) else f"{sign}np.inf"
        if value == type(value)(float(str(value))):
            return str(value)  # the shortest that rounds to it
    return repr(value.item() if isinstance(value, np.generic) else value)


def dtype_text(dtype: np.dtype[Any]) -> str:
    """Write a dtype: ``np.float32``."""
    if dtype.hasobject:
        return "object"
    return f"np.{dtype.type.__name__}" if dtype.isnative else f"np.dtype({dtype.str!r})"


def array_text(array: Any) -> str:
    """Write a contiguous array as Python source.

    Raises
    ------
    ValueError
        If it has too many different entries.

    Examples
    --------
    >>> print(array_text(np.arange(5)), array_text(np.full((2, 3), 0.5)))
    np.arange(5) np.full((2, 3), 0.5)
    >>> print(array_text(np.array([[1, 2], [3, 5]], dtype=np.float32)))
    np.array([[1.0, 2.0], [3.0, 5.0]], dtype=np.float32)
    """
    default = array.dtype in (np.dtype(float), np.dtype(int), np.dtype(bool))
    dtype = "" if default else f", dtype={dtype_text(array.dtype)}"
    if array.size == 0:
        return f"np.zeros({array.shape}, dtype={dtype_text(array.dtype)})"
    first = array.flat[0]
    if array.size > 3 and not array.dtype.hasobject:
        if not any(array.tobytes()):
            of = "" if array.dtype == np.float64 else f", dtype={dtype_text(array.dtype)}"
            return f"np.zeros({array.shape}{of})"
        if array.tobytes() == np.full(array.shape, first, dtype=array.dtype).tobytes():
            return f"np.full({array.shape}, {_entry(first)}{dtype})"
        if array.dtype.kind in "iu" and np.array_equal(array, np.arange(array.size)):
            return f"np.arange({array.size}{dtype})"
    if array.size > LARGEST:
        raise ValueError(f"{array.size} entries are more than the {LARGEST} that are written out")
    return f"np.array({_nested(array)}{dtype})"


def _nested(array: Any) -> str:
    """Write the entries, without recursion: the innermost lists first."""
    texts = [_entry(x) for x in array.ravel()]
    for length in reversed(array.shape):
        rows = range(0, len(texts), length)
        texts = [f"[{', '.join(texts[k : k + length])}]" for k in rows]
    return texts[0]


def key_parts(key: Any) -> list[Any]:
    """Split an indexing key into source text and arrays, which are to be named.

    Examples
    --------
    >>> key_parts((slice(1, None), None, np.array([0, 2])))
    ['1:', 'None', array([0, 2])]
    """
    if isinstance(key, tuple) and not key:
        return ["()"]
    return [_key_part(part) for part in (key if isinstance(key, tuple) else (key,))]


def _key_part(part: Any) -> Any:
    if isinstance(part, slice):
        ends = ["" if k is None else str(k) for k in (part.start, part.stop, part.step)]
        return ":".join(ends if ends[2] else ends[:2])
    if isinstance(part, str):
        return part
    if part is Ellipsis:
        return "..."
    return str(part) if part is None or isinstance(part, int) else np.asarray(part)


# --------------------------------------------------------------------------- numbers in passing

SIGNS: Mapping[str, tuple[type[ast.operator], str]] = {
    "+": (ast.Add, "sum"),
    "-": (ast.Sub, "sum"),
    "*": (ast.Mult, "product"),
    "/": (ast.Div, "product"),
    "//": (ast.FloorDiv, "product"),
    "%": (ast.Mod, "product"),
    "**": (ast.Pow, "power"),
}


def computed_text(formula: Formula, called: Callable[[str, Any], str]) -> tuple[str, str]:
    """Write how a number is computed from variables, and how tightly that binds.

    Parameters
    ----------
    formula : Formula
    called : callable
        Gives the identifier of a variable, for its name and its value.

    Examples
    --------
    >>> d_k = Formula("name", ("d_k", 8))
    >>> computed_text(Formula("/", (1, Formula("sqrt", (d_k,)))), lambda name, value: name)
    ('1 / np.sqrt(d_k)', 'product')
    """
    binds = "minus" if formula.op == "neg" else SIGNS.get(formula.op, (None, "call"))[1]
    return ast.unparse(_tree(formula, called)), binds


def _tree(x: Any, called: Callable[[str, Any], str]) -> ast.expr:
    if not isinstance(x, Formula):
        return ast.parse(literal(x), mode="eval").body
    if x.op == "name":
        return ast.Name(called(*x.args))
    args = [_tree(arg, called) for arg in x.args]
    if x.op == "sqrt":
        return ast.Call(ast.Attribute(ast.Name("np"), "sqrt"), args, [])
    if x.op == "neg":
        return ast.UnaryOp(ast.USub(), *args)
    return ast.BinOp(args[0], SIGNS[x.op][0](), args[1])
