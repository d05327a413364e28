"""Constants: what the user's code calls the numbers that it computes with.

A number that a variable holds goes by the name of the variable. One that was computed in passing,
as ``np.sqrt(d_k)`` is in ``scores / np.sqrt(d_k)``, keeps the formula: of a number that knows what
it was computed from, its own; of another, the only expression of the function that has its value.
"""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from types import CodeType
from typing import Any

import numpy as np

from tinygraph.engine.lengths import OPERATIONS, Formula, Measured, plain
from tinygraph.engine.tensor import Tensor

__all__ = ["Called", "constants_among", "text_of", "value_of", "variables_in"]

Called = str | Formula
"""A name; or a formula, in which ``name`` of a name and a number stands for a variable."""

SIGNS: Mapping[type, str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
}
HIGHEST_POWER = 64


def constants_among(
    tensor: Tensor, code: CodeType, variables: Mapping[str, Any]
) -> dict[tuple[int, int], Called]:
    """Find what operands of `tensor` are called, and of the unnamed nodes that feed it.

    Parameters
    ----------
    tensor : Tensor
    code, variables
        Of the call that computed it.

    Returns
    -------
    dict
        By the index of the node and the position of the operand.
    """
    found: dict[tuple[int, int], Called] = {}
    stack, seen = [tensor], {tensor.index}
    while stack:
        node = stack.pop()
        for position, x in enumerate(node.inputs):
            if type(x) is Tensor:
                is_open = x.name is None and not hasattr(x, "origin")
                if is_open and x.index not in seen:
                    seen.add(x.index)
                    stack.append(x)
            elif isinstance(x, float | np.floating | Fraction | np.ndarray | Measured):
                name = _called(x, code, variables)
                if name is not None:
                    found[node.index, position] = name
    return found


def _called(x: Any, code: CodeType, variables: Mapping[str, Any]) -> Called | None:
    """Say what a number or an array is called in a call; None where that is not known.

    A number is known by identity, an array, which is copied when it is recorded, by its value; and
    only where one variable alone has it. Small ints are shared by all of Python and never named.
    """
    held = [k for k, v in variables.items() if k[0] != "." and _is_variable(x, v)]
    if held:
        return held[0] if len(held) == 1 else None
    if isinstance(x, np.ndarray):
        return None
    if isinstance(x, Measured):
        return _own_formula(x, variables)
    if any(x == literal for literal in code.co_consts if type(literal) is float):
        return None
    return _expression(x, code, variables)


def _is_variable(x: Any, value: Any) -> bool:
    if isinstance(value, Tensor):  # one that may change holds a plain array until it does
        value = getattr(value, "_known", None)
    if not isinstance(x, np.ndarray) or type(value) is not np.ndarray:
        return x is value
    return x.shape == value.shape and x.dtype == value.dtype and np.array_equal(x, value)


def variables_in(formula: Formula) -> Iterator[tuple[str, Any]]:
    """Give the variables in a formula, with their values.

    Examples
    --------
    >>> d_k = Formula("name", ("d_k", 8))
    >>> list(variables_in(Formula("/", (1, Formula("sqrt", (d_k,))))))
    [('d_k', 8)]
    """
    if formula.op == "name":
        yield formula.args
    else:
        for x in formula.args:
            if isinstance(x, Formula):
                yield from variables_in(x)


def value_of(formula: Any) -> Any:
    """Compute a formula over variables.

    Examples
    --------
    >>> value_of(Formula("sqrt", (Formula("name", ("d_k", 16)),)))
    np.float64(4.0)
    """
    if not isinstance(formula, Formula):
        return formula
    if formula.op == "name":
        return formula.args[1]
    return OPERATIONS[formula.op](*map(value_of, formula.args))


# --------------------------------------------------------------------------- its own formula


def _own_formula(x: Measured, variables: Mapping[str, Any]) -> Formula | None:
    """Give the formula of a number over the variables that hold parts of it, if any do."""
    names: dict[int, str] = {}
    for name, value in variables.items():
        if isinstance(value, Measured):
            names.setdefault(id(value), name)
    read = _read_own(x, names)
    return read if isinstance(read, Formula) and any(variables_in(read)) else None


def _read_own(x: Any, names: Mapping[int, str]) -> Any:
    if not isinstance(x, Measured):
        return x
    if id(x) in names:
        return Formula("name", (names[id(x)], x.number))
    if x.formula.op not in OPERATIONS:
        return x.number
    args = tuple([_read_own(arg, names) for arg in x.formula.args])
    return Formula(x.formula.op, args) if any(isinstance(a, Formula) for a in args) else x.number


# --------------------------------------------------------------------------- in the source


class _OtherError(Exception):
    """An expression that does not compute a number from numbers."""


def _expression(x: Any, code: CodeType, variables: Mapping[str, Any]) -> Formula | None:
    """Find the only expression of a function, over its variables, whose value is a number's.

    Of an expression that computes a number, the parts are not looked at.
    """
    found: dict[str, Formula] = {}
    stack: list[ast.AST] = [_tree(code)]
    while stack:
        node = stack.pop()
        try:
            formula, value = _read(node, variables)
        except (_OtherError, ArithmeticError, ValueError, TypeError):
            stack += ast.iter_child_nodes(node)
            continue
        is_computed = isinstance(formula, Formula) and formula.op != "name"
        if is_computed and type(value) is type(x) and value == x:
            found[text_of(formula)] = formula
    return next(iter(found.values())) if len(found) == 1 else None


@lru_cache(maxsize=256)
def _tree(code: CodeType) -> ast.AST:
    """Give the source of a function as a tree, which is empty where it is not to be had."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(code)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return ast.Module([], [])


def _read(node: ast.AST, variables: Mapping[str, Any]) -> tuple[Any, Any]:
    """Give the formula of an expression, or its number where no variable is in it; and its value.

    No code of the user's is run: of objects, only what stands in them is read.
    """
    match node:
        case ast.Constant(value=int() | float() as value):
            return value, value
        case ast.Name(id=name):
            return _variable(name, variables.get(name))
        case ast.Attribute(value=ast.Name(id=owner), attr=name):
            return _variable(name, getattr(variables.get(owner), "__dict__", {}).get(name))
        case ast.UnaryOp(op=ast.USub(), operand=a):
            return _computed("neg", _read(a, variables))
        case ast.BinOp(left=a, op=op, right=b) if type(op) in SIGNS:
            return _computed(SIGNS[type(op)], _read(a, variables), _read(b, variables))
        case ast.Call(func=function, args=[a], keywords=[]):
            formula, value = _read(a, variables)
            match ast.unparse(function):
                case "np.sqrt" | "numpy.sqrt":
                    return _over("sqrt", (formula,), np.sqrt(value))
                case "math.sqrt" | "sqrt":
                    return _over("sqrt", (formula,), math.sqrt(value))
                case "float":
                    return formula, float(value)
    raise _OtherError


def _variable(name: str, value: Any) -> tuple[Any, Any]:
    number = plain(value)
    if type(number) not in (int, float) and not isinstance(number, np.integer | np.floating):
        raise _OtherError
    return Formula("name", (name, number)), number


def _computed(op: str, *args: tuple[Any, Any]) -> tuple[Any, Any]:
    formulas, values = zip(*args, strict=True)
    if op == "**" and abs(values[1]) > HIGHEST_POWER:
        raise _OtherError
    return _over(op, formulas, OPERATIONS[op](*values))


def _over(op: str, formulas: tuple[Any, ...], value: Any) -> tuple[Any, Any]:
    if any(isinstance(x, Formula) for x in formulas):
        return Formula(op, formulas), value
    return value, value


# --------------------------------------------------------------------------- as text

BINDING = {"+": 1, "-": 1, "*": 2, "/": 2, "//": 2, "%": 2, "neg": 2, "**": 3}
"""How tightly signs bind; a root and a name bind tightest."""


def text_of(formula: Any) -> str:
    """Write a formula as the name of what it computes.

    Examples
    --------
    >>> d_k = Formula("name", ("d_k", 8))
    >>> text_of(Formula("/", (1, Formula("sqrt", (d_k,)))))
    '1/√d_k'
    >>> text_of(Formula("sqrt", (Formula("+", (d_k, 1)),)))
    '√(d_k + 1)'
    """
    if not isinstance(formula, Formula):
        return f"{formula:g}"
    if formula.op == "name":
        return str(formula.args[0])
    if formula.op == "sqrt":
        return f"√{_bracketed(formula.args[0], 4)}"
    level = BINDING[formula.op]
    if formula.op == "neg":
        return f"−{_bracketed(formula.args[0], level + 1)}"
    sign = {"+": " + ", "-": " − ", "*": "·", "//": " // ", "%": " mod ", "**": "^"}
    left, right = formula.args
    after = level if formula.op in ("+", "*") else level + 1
    before = level + (formula.op == "**")
    between = sign.get(formula.op, formula.op)
    return _bracketed(left, before) + between + _bracketed(right, after)


def _bracketed(x: Any, need: int) -> str:
    text = text_of(x)
    binds = BINDING.get(x.op, 4) if isinstance(x, Formula) else 4 - 3 * (x < 0)
    return text if binds >= need else f"({text})"
