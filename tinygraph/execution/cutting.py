"""Cutting: a joint graph in two programs, of which the first keeps what the second reads.

A loss is computed now, and differentiated later, or not at all. So the backward pass is a program
of its own; its arguments are values of the forward pass, which are results of that one, and the
gradient that arrives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from tinygraph.execution.program import Program, names_of
from tinygraph.graph.nodes import NOTHING, Node
from tinygraph.graph.snapshot import Graph

__all__ = ["Cut", "cut"]

VIEWS = frozenset({"reshape", "spread", "stop", "transpose"})
"""What costs nothing to compute again, and much to keep."""


class Cut(NamedTuple):
    """The backward pass of a joint graph.

    Attributes
    ----------
    program : Program
        Its arguments are `kept` and then the gradient that arrives.
    kept : list of Nodes
        Of the forward pass.
    positions : list of int
        Which of the leaves have a gradient: its results, in this order.
    """

    program: Program
    kept: list[Node]
    positions: list[int]


def cut(joint: Graph, leaves: Sequence[Node | None]) -> Cut:
    """Take the backward pass out of the joint graph of one output.

    Parameters
    ----------
    joint : Graph
    leaves : sequence of Nodes or None
        By what to differentiate; None stands for what is not in the graph.

    Returns
    -------
    Cut

    Examples
    --------
    >>> import numpy as np
    >>> from tinygraph import Tensor
    >>> x, w = Tensor([1.0, 2.0], name="x"), Tensor(3.0, name="w")
    >>> joint = Graph.joint(np.exp(x) * w)
    >>> program, kept, positions = cut(joint, [joint["w"]])
    >>> kept, program.arguments[-1], len(program.results)
    ([Node(#2, shape=(2,), step=1, op=exp)], Node(dout, shape=(2,), step=1, upstream), 1)
    """
    arriving = joint.arriving
    results = [
        (k, arriving[x.index].node)
        for k, x in enumerate(leaves)
        if x is not None and x.index in arriving
    ]
    (seed,) = [node for node in joint.inputs if node.role == "upstream"]
    needed = {seed.index: seed}
    kept = {}
    stack = [g for _, g in results]
    while stack:
        node = stack.pop()
        if node.index in needed:
            continue
        needed[node.index] = node
        if node.role in ("input", "forward") and str(node.op) not in VIEWS:
            kept[node.index] = node
        else:
            stack += node.inputs
    nodes: dict[int, Node] = {}
    for index, node in sorted(needed.items()):
        if index in kept:
            nodes[index] = replace(node, op=None, inputs=(), params=NOTHING, role="input")
        else:
            nodes[index] = replace(node, inputs=tuple(nodes[x.index] for x in node.inputs))
    program = Program(
        tuple(nodes.values()),
        (*(nodes[index] for index in sorted(kept)), nodes[seed.index]),
        tuple(nodes[g.index] for _, g in results),
        names_of(joint, nodes),
    )
    return Cut(program, [kept[index] for index in sorted(kept)], [k for k, _ in results])
