"""What a snapshot consists of: nodes, the steps they make up, and the gradients by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from tinygraph.engine.lengths import Formula
from tinygraph.engine.primitive import Primitive, Vertex

__all__ = ["NOTHING", "Gradient", "Node", "Premise", "Step", "length_of_sum"]

NOTHING: Mapping[Any, Any] = MappingProxyType({})


class Premise(NamedTuple):
    """What the traced code was told of its inputs, and on which it may have built.

    Attributes
    ----------
    formula : Formula
        Of lengths and values of nodes, which are given by their index.
    answer : int, float, bool or ndarray
    """

    formula: Formula
    answer: Any


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Node(Vertex):
    """One value in a snapshot.

    Attributes
    ----------
    index : int
        Position in `Graph.nodes`.
    op : Primitive or None
        What computes it; None for inputs and constants.
    inputs : tuple of Nodes
        Its operands in order, constants included.
    params : mapping
        Parameters of `op`.
    shape : tuple of int
    dtype : dtype or None
        None for a Python number, which takes the dtype of what it meets.
    name : str or None
        Unique in the graph.
    step : int
        Number of its step; 0 for inputs, and for what arrives at them.
    role : str
        ``input``, ``constant``, ``forward``, ``upstream``, ``backward`` or ``accumulate``.
    value : Fraction, complex, float or ndarray, optional
        Of a constant: exact. A float that was computed from lengths, such as 1/N, is the fraction
        that it was rounded from, ``Fraction(1, 64)``; every other finite float is itself.
    scope : tuple of str
        The calls in which it was assigned, outermost first.
    written : Formula or None
        Of a constant that has no variable of its own: how the user's code computes it from those
        that have, as √d_k; `name` is then the same as text.
    origin : Formula, str, mapping or None
        Of a constant: the `Formula` that gives it from the lengths of axes of earlier nodes;
        ``"given"``, where it stands in the traced code or was passed to it; ``"rule"``, where a
        rule of the table says it; None, where nothing is known. Of what is computed: those of its
        parameters that are not given, with formulas in the place of numbers, or None for a
        parameter of which nothing is known.
    """

    index: int
    op: Primitive | None
    inputs: tuple[Node, ...]
    params: Mapping[str, Any]
    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    name: str | None
    step: int
    role: str
    value: Any = None
    scope: tuple[str, ...] = ()
    origin: Any = None
    written: Any = None

    def __repr__(self) -> str:
        if self.role == "constant":
            return f"Node({self.name or self.value}, constant)"
        op = f", op={self.op}" if self.op else f", {self.role}"
        return f"Node({self.name or f'#{self.index}'}, shape={self.shape}, step={self.step}{op})"


@dataclass(frozen=True, slots=True)
class Step:
    """One assignment: the named node `result`, and the nodes that make it up, itself last."""

    number: int
    name: str
    result: Node
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Gradient:
    """One gradient of the backward pass, under the name that the staged derivation gives it.

    Attributes
    ----------
    name : str
        ``dv`` for the gradient of `v`; ``dv1``, ``dv2``, … for the contributions of several
        paths, in the order in which they arrive, with ``dv`` for their sum. Empty where `of` has
        no name.
    of : Node
        The forward node that it is the gradient of.
    consumer : Node or None
        The consumer whose rule gives it; None for an upstream gradient and for a sum.
    operand : int or None
        Which operand of the consumer `of` is there: for ``x * x``, dx1 belongs to 0, dx2 to 1.
    term : int or None
        Which term it is of the sum that arrives at `of`, from 0; None for the sum itself.
    node : Node
        The node that computes it. Two gradients may be the same node: where a value passes
        through an addition, ``dgammax`` is ``dout``, and both parts of the gradient of ``x + x``
        are. What tells parts apart is `consumer` and `operand`, or `of` and `term`.
    step : int
        The step whose rule gives it; for a sum, the step of `of`.
    kind : str
        ``upstream``, ``whole`` (the only path), ``part`` (one of several) or ``sum``.
    """

    name: str
    of: Node
    consumer: Node | None
    operand: int | None
    term: int | None
    node: Node
    step: int
    kind: str


def length_of_sum(total: Any) -> int:
    """Count the values that a node, whose primitive is a sum, adds up for each of its entries."""
    return prod(total.inputs[0].shape[k] for k in total.params["axis"])
