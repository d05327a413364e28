"""Calls: which function of NumPy computes a node into memory that is there.

The engine computes each value into a new array. The same ufunc, given ``out=``, computes the same
bits into an array of the same layout; and where a result is unique by IEEE 754, as a sum or a
quotient of two numbers is, it may be one that it reads from.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tinygraph.graph.nodes import Node

__all__ = ["Call", "is_our_own", "writing_call"]

ARITHMETIC = frozenset({np.add, np.subtract, np.multiply, np.true_divide})
EXACT = ARITHMETIC | {np.negative, np.square, np.sqrt, np.absolute, np.maximum, np.minimum}

OPERATORS: Mapping[Any, np.ufunc] = {
    operator.add: np.add,
    operator.sub: np.subtract,
    operator.mul: np.multiply,
    operator.truediv: np.true_divide,
    operator.neg: np.negative,
    operator.gt: np.greater,
    operator.ge: np.greater_equal,
    operator.lt: np.less,
    operator.le: np.less_equal,
    operator.eq: np.equal,
    operator.ne: np.not_equal,
    operator.and_: np.bitwise_and,
    operator.or_: np.bitwise_or,
    operator.xor: np.bitwise_xor,
    operator.matmul: np.matmul,
}
"""What arrays do for an operator."""

ROWS: Mapping[str, tuple[np.ufunc, tuple[Any, ...]]] = {
    "inverse": (np.true_divide, (1, None)),
    "relu": (np.maximum, (None, 0)),
    "sqrt": (np.sqrt, (None,)),
    "abs": (np.absolute, (None,)),
}
"""Rows of the table that are a ufunc of their operand (None) and numbers, but are not one."""

REDUCTIONS: Mapping[str, np.ufunc] = {"sum": np.add, "max": np.maximum}


class Call(NamedTuple):
    """A function, what it is given, and how an array to write into is handed to it.

    Attributes
    ----------
    function : callable
    name : str
        What it is called in the source.
    operands : tuple
        Nodes, and numbers that take the dtype of what they meet.
    rest : str
        What follows them, with ``{out}`` for the array, or for None.
    """

    function: Any
    name: str
    operands: tuple[Any, ...]
    rest: str

    def is_exact(self, dtype: np.dtype[Any]) -> bool:
        """Whether it is rounded once or not at all, by whatever code for whatever processor.

        Of complex numbers, a product is rounded otherwise where the processor fuses it.
        """
        return self.function in EXACT and dtype.kind != "c"

    def spreads(self, dtype: np.dtype[Any]) -> bool:
        """Whether it gives the same bits if an operand is spread by itself and not beforehand."""
        return self.function in ARITHMETIC and dtype.kind != "c"


def is_our_own(node: Node) -> bool:
    """Whether the primitive of a node belongs to tinygraph, and it is known what it does."""
    return node.op is not None and node.op.home.partition(".")[0] == "tinygraph"


def writing_call(node: Node, value: Any) -> Call | None:
    """Say how a node, whose value was seen once, is computed into an array of that layout.

    None where it cannot be: objects are no numbers, and a scalar has no memory; but how a sum is
    taken is known.
    """
    is_array = type(value) is np.ndarray and value.ndim > 0
    if node.op is None or value.dtype.hasobject or not (is_array or isinstance(value, np.generic)):
        return None
    if any(stride < 0 for stride in value.strides):
        return None
    name = node.op.name
    if name in REDUCTIONS and is_our_own(node):
        return None if value.dtype == np.float16 else _reduction(node, REDUCTIONS[name])
    if not is_array:
        return None
    if node.params:
        return None
    if name in ROWS and is_our_own(node):
        function, places = ROWS[name]
        operands = tuple(node.inputs[0] if place is None else place for place in places)
        return Call(function, function.__name__, operands, _written(function))
    forward = node.op.forward
    ufunc = forward if isinstance(forward, np.ufunc) else OPERATORS.get(forward)
    if ufunc is None or ufunc.nout != 1:
        return None
    return Call(ufunc, ufunc.__name__, node.inputs, _written(ufunc))


def _written(ufunc: np.ufunc) -> str:
    """Hand the array over by its place, which is fastest; NumPy wants some to be told by name."""
    return "out={out}" if ufunc in (np.maximum, np.minimum) else "{out}"


def _reduction(node: Node, ufunc: np.ufunc) -> Call:
    """Add up, or take the largest; float16 is added up in another dtype than its own."""
    axis, keeps = node.params["axis"], node.params["keepdims"]
    rest = f"{axis[0] if len(axis) == 1 else axis}, None, {{out}}" + (", True" if keeps else "")
    return Call(ufunc.reduce, f"{ufunc.__name__}_reduce", node.inputs, rest)
