"""Merging: what a program would compute twice, it computes once.

A layer that normalizes takes the mean of its batch, and so do its running statistics; where a step
is one program, that is one mean. Only what is the same to the last bit is merged: the same
operation on the same operands, and a quotient by a power of two with the product by its inverse.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from tinygraph.engine import ops
from tinygraph.engine.autodiff import reachable
from tinygraph.execution.calls import is_our_own
from tinygraph.execution.program import Program
from tinygraph.graph.evaluation import number
from tinygraph.graph.nodes import Node

__all__ = ["merged"]


def merged(program: Program) -> Program:
    """Give a program that computes the same results, and nothing twice.

    Parameters
    ----------
    program : Program

    Returns
    -------
    Program

    Examples
    --------
    >>> import numpy as np
    >>> from tinygraph import Graph, Tensor
    >>> x = Tensor([1.0, 2.0, 6.0, 7.0], name="x")
    >>> program = Program.of(Graph.capture([x - np.mean(x), x - 0.25 * np.sum(x)]))
    >>> len(program.nodes), len(merged(program).nodes)
    (9, 5)
    """
    known: dict[Any, Node] = {}
    of: dict[int, Node] = {}
    for node in program.nodes:
        if node.op is None:
            of[node.index] = node
            continue
        inputs = tuple(of[x.index] for x in node.inputs)
        if node.op is ops.stop:
            of[node.index] = inputs[0]
            continue
        if any(a is not b for a, b in zip(inputs, node.inputs, strict=True)):
            node = replace(node, inputs=inputs)
        key = _key(node)
        of[node.index] = node if key is None else known.setdefault(key, node)
    results = tuple(of[node.index] for node in program.results)
    nodes = {node.index: node for node in reachable([*results, *program.arguments])}
    names = {index: name for index, name in program.names.items() if index in nodes}
    return Program(tuple(nodes.values()), program.arguments, results, names)


def _key(node: Node) -> Any:
    """Give what two nodes have in common that compute the same bits; None where nobody knows."""
    if not is_our_own(node):
        return None
    op, operands = node.op, tuple(map(_operand, node.inputs))
    if (scaling := _scaling(node)) is not None:
        op, operands = ops.mul, scaling
    key = op, operands, tuple(node.params.items()), node.dtype
    try:
        hash(key)
    except TypeError:  # a parameter is an array
        return None
    return key


def _operand(x: Node) -> Any:
    if x.role != "constant" or x.shape:
        return x.index
    return _number(number(x))


def _number(value: Any) -> Any:
    """Give what stands for a number, and is never taken for the index of a node."""
    return type(value), repr(value)


def _scaling(node: Node) -> Any:
    """Give the factor and the operand of what is scaled by a power of two, in whatever way."""
    if node.op not in (ops.mul, ops.div) or node.dtype is None or node.dtype.kind != "f":
        return None
    for x, factor in (node.inputs, node.inputs[::-1]):
        if factor.role == "constant" and factor.dtype is None and x.role != "constant":
            value = number(factor)
            is_quotient = node.op is ops.div
            if _is_power_of_two(value) and not (is_quotient and factor is node.inputs[0]):
                return _number(1 / value if is_quotient else float(value)), x.index
    return None


def _is_power_of_two(value: Any) -> bool:
    if type(value) not in (int, float) or not math.isfinite(value):
        return False
    mantissa, exponent = math.frexp(value)
    return mantissa == 0.5 and abs(exponent) < EXPONENTS


EXPONENTS = 14
"""Up to where a power of two and its inverse are numbers of every dtype, float16 too."""
