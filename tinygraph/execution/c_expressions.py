"""One value in C: how each operation is written for one entry of it.

NumPy's arithmetic is IEEE's, and so is C's: what is written here with signs alone gives the same
bits, and so do the functions that round once or not at all. The others come of libraries, NumPy's
and C's, which differ in the last place: they are **inexact**, and for fast code only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinygraph.execution.program import Unsupported
from tinygraph.execution.values import CONSTANT, Value
from tinygraph.graph.nodes import Node

__all__ = [
    "TYPES",
    "called",
    "expression",
    "is_costly",
    "is_exact",
    "is_written",
    "literal",
    "operand_type",
    "type_of",
]

TYPES = {"?": "_Bool", "l": "int64_t", "q": "int64_t", "f": "float", "d": "double"}
"""C's types, by NumPy's letter for them."""

EXACT = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "neg": "-{0}",
    "inverse": "1 / {0}",
    "square": "{0} * {0}",
    "sqrt": "sqrt{f}({0})",
    "abs": "fabs{f}({0})",
    # Of two equal ones the second, which is a zero with its sign; what is no number stays.
    "maximum": "{0} > {1} || {0} != {0} ? {0} : {1}",
    "minimum": "{0} < {1} || {0} != {0} ? {0} : {1}",
    "relu": "{0} > 0 || {0} != {0} ? {0} : 0",
    "sign": "{0} > 0 ? 1 : {0} < 0 ? -1 : {0} == 0 ? 0 : {0}",
    "floor": "floor{f}({0})",
    "ceil": "ceil{f}({0})",
    "rint": "rint{f}({0})",
    "trunc": "trunc{f}({0})",
    "where": "{0} ? {1} : {2}",
    "cast": "{0}",
    "stop": "{0}",
}
"""By the name of the primitive; the operands are of the type of the result."""

MASKS = {
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "equal": "{0} == {1}",
    "not_equal": "{0} != {1}",
    "isnan": "{0} != {0}",
    "isfinite": "fabs{f}({0}) < INFINITY",
    "isinf": "fabs{f}({0}) == INFINITY",
    "bitwise_and": "{0} & {1}",
    "bitwise_or": "{0} | {1}",
    "bitwise_xor": "{0} ^ {1}",
    "invert": "!{0}",
    "logical_and": "{0} && {1}",
    "logical_or": "{0} || {1}",
    "logical_xor": "!{0} != !{1}",
    "logical_not": "!{0}",
}
"""The same where the result is a mask; the operands are of a type that they have in common."""

INEXACT = {
    "exp": "exp_{type}({0})",
    "log": "log_{type}({0})",
    "tanh": "tanh_{type}({0})",
    "expit": "1 / (1 + exp_{type}(-{0}))",
    "power": "pow{f}({0}, {1})",
    "arctan2": "atan2{f}({0}, {1})",
}
LIBM = {
    "sin": "sin", "cos": "cos", "tan": "tan", "arcsin": "asin", "arccos": "acos",
    "arctan": "atan", "sinh": "sinh", "cosh": "cosh", "arcsinh": "asinh", "arccosh": "acosh",
    "arctanh": "atanh", "expm1": "expm1", "log1p": "log1p", "log2": "log2", "log10": "log10",
    "exp2": "exp2", "erf": "erf", "erfc": "erfc",
}  # fmt: skip
INEXACT |= {name: f"{function}{{f}}({{0}})" for name, function in LIBM.items()}
INEXACT |= {"hypot": "hypot{f}({0}, {1})"}

POWERS = {2: "{0} * {0}", 0.5: "sqrt{f}({0})", -1: "1 / {0}", 1: "{0}"}
"""Those that NumPy does not ask a library for, of arrays."""
MORE_POWERS = {3: "{0} * {0} * {0}", -2: "1 / ({0} * {0})", -0.5: "1 / sqrt{f}({0})"}
MORE_POWERS |= {1.5: "{0} * sqrt{f}({0})", -1.5: "1 / ({0} * sqrt{f}({0}))", 0: "1"}


def type_of(value: Value) -> str:
    """Give the C type of a value that has a dtype.

    Raises
    ------
    Unsupported
        If it has none, or C has no such type.
    """
    dtype = value.dtype
    if dtype is None or dtype.char not in TYPES or not dtype.isnative or dtype.itemsize > 8:
        raise Unsupported(f"{called(value)} is of {dtype or 'no dtype'}, which is not compiled")
    return TYPES[dtype.char]


def called(value: Value) -> str:
    """Say which value it is, for a person."""
    return f"{value.name} ({value.op})" if value.name else f"a value ({value.op})"


def is_exact(op: str, params: Mapping[str, Any]) -> bool:
    """Whether C computes an operation as NumPy does, bit for bit."""
    return params["n"] in POWERS if op == "pow" else op not in INEXACT


def is_costly(value: Value) -> bool:
    """Whether to compute a value takes longer than to read it where it is near."""
    return value.op in COSTLY


COSTLY = frozenset({*INEXACT, "pow", "div", "inverse", "sqrt"})


def is_written(node: Node, fast: bool) -> bool:
    """Whether a node is written in C, of those that are elementwise, reduce, or move axes."""
    op = node.op
    if op is None:
        return True
    dtypes = [x.dtype for x in (node, *node.inputs) if x.dtype is not None]
    if any(dtype.char not in TYPES or not dtype.isnative for dtype in dtypes):
        return False
    if op.name == "max":
        return dtypes[0].kind == "f"
    if not op.elementwise:
        return op.name not in ("all", "any")
    is_known = op.name in {**EXACT, **MASKS, **INEXACT, "pow": ""}
    if dtypes[0].kind == "i" and (op.name not in WHOLE or _cuts_off(node)):
        return False
    is_number = op.name == "pow" and not node.shape  # of which NumPy asks a library
    return is_known and (fast or (is_exact(op.name, node.params) and not is_number))


def _cuts_off(node: Node) -> bool:
    """Whether a float becomes a whole number: made a float again, a compiler may leave it −0."""
    before = node.inputs[0].dtype
    return str(node.op) == "cast" and before is not None and before.kind == "f"


def literal(x: Any) -> str:
    """Write a number in C; a double has all its digits.

    Examples
    --------
    >>> literal(2), literal(0.1), literal(-math.inf)
    ('2.0', '0.1', '-INFINITY')
    """
    number = float(x)
    if math.isnan(number):
        return "NAN"
    return repr(number) if math.isfinite(number) else f"{'-' * (number < 0)}INFINITY"


def expression(value: Value, operands: Sequence[str], types: Sequence[str | None]) -> str:
    """Write what computes one entry of an elementwise value.

    Parameters
    ----------
    value : Value
    operands : sequence of str
        What stands for its operands: variables, or numbers of no type of their own.
    types : sequence of str or None
        Their C types; None for a number, which is written as the type that is asked for.

    Raises
    ------
    Unsupported
        If it is not written in C.
    """
    kind = type_of(value)
    form = _form(value)
    if value.op in MASKS:
        kind = _common(value)
    given = [
        text if type in (None, kind) or (value.op == "where" and k == 0) else f"({kind}){text}"
        for k, (text, type) in enumerate(zip(operands, types, strict=True))
    ]
    return form.format(*given, type=kind, f="f" if kind == "float" else "")


def operand_type(value: Value) -> str:
    """Give the type in which an operation takes its operands."""
    return _common(value) if value.op in MASKS else type_of(value)


def _form(value: Value) -> str:
    if value.op == "pow":
        n = value.params["n"]
        known: Mapping[Any, str] = POWERS | MORE_POWERS
        return known[n] if n in known else f"pow{{f}}({{0}}, {literal(n)})"
    is_whole = value.dtype is not None and value.dtype.kind == "i"
    if is_whole and value.op not in WHOLE:
        raise Unsupported(f"{called(value)} is of whole numbers, which is not compiled")
    for table in (EXACT, MASKS, INEXACT):
        if value.op in table:
            return table[value.op]
    raise Unsupported(f"{called(value)} is an operation that is not written in C")


WHOLE = {"add", "sub", "mul", "where", "cast", "stop", *MASKS} - {"invert"}
"""What is written of whole numbers; of those, `invert` is no opposite."""


def _common(value: Value) -> str:
    """Give the type in which operands are compared."""
    met = [x.dtype for x in value.operands if x.dtype is not None]
    if not met:
        raise Unsupported(f"{called(value)} compares numbers alone")
    dtype = np.result_type(*met)
    numbers = [x.params["value"] for x in value.operands if x.dtype is None and x.op == CONSTANT]
    if dtype.kind == "b" and any(type(x) is int for x in numbers):
        dtype = np.dtype(np.int64)
    is_real = any(type(x) is float for x in numbers)
    if dtype.char not in TYPES or (is_real and dtype.kind != "f"):
        raise Unsupported(f"{called(value)} compares {dtype}, which is not compiled")
    return TYPES[dtype.char]
