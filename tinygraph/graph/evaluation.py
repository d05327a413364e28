"""Evaluation: the values of a graph's nodes, in their order, as the engine computed them."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np

from tinygraph.engine.arrays import computed
from tinygraph.graph.nodes import Node

__all__ = ["evaluate", "number"]


def evaluate(nodes: Iterable[Node], values: dict[int, Any]) -> None:
    """Add to `values`, which holds those of the inputs by index, the values of all other nodes."""
    for node in nodes:
        if node.index in values:
            continue
        if node.op is None:
            values[node.index] = number(node)
        else:
            operands = [values[x.index] for x in node.inputs]
            values[node.index] = computed(node.op.forward(*operands, **node.params))


def number(constant: Node) -> Any:
    """Give a constant as the engine computed with it."""
    value, dtype = constant.value, constant.dtype
    if not isinstance(value, Fraction) or dtype is np.dtype(object):
        return value
    if dtype is not None:
        return dtype.type(value.numerator) / dtype.type(value.denominator)
    return int(value) if value.denominator == 1 else float(value)
