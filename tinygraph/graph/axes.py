"""Axes: which axes of a graph's nodes have one length, whatever it is.

Broadcasting, sums, transposes and products carry an axis on from operand to result. Two lengths
that merely have the same value, N = D = 3, stay two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tinygraph.engine.lengths import Formula
from tinygraph.graph.nodes import Node

__all__ = ["Axes"]

Place = tuple[int, int]


class Axes:
    """The classes of axes of one graph: union-find over pairs of a node's index and an axis.

    Parameters
    ----------
    nodes : iterable of Nodes

    Examples
    --------
    >>> from tinygraph import Graph, Tensor
    >>> x = Tensor([[1.0, 2.0], [3.0, 4.0]], name="x")
    >>> graph = Graph.capture(x - x.sum(axis=1, keepdims=True))
    >>> axes, (x, total, out) = Axes(graph.nodes), graph.nodes
    >>> axes.of(out.index, 0) == axes.of(total.index, 0) == axes.of(x.index, 0)
    True
    >>> axes.of(out.index, 1) == axes.of(x.index, 0)
    False
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._parent: dict[Place, Place] = {}
        for node in nodes:
            if node.op is not None:
                for one, other in _equal_axes(node):
                    self._parent[self.of(*one)] = self.of(*other)

    def of(self, index: int, axis: int) -> Place:
        """Give the axis that stands for the class of this one."""
        place = root = index, axis
        while root in self._parent and self._parent[root] != root:
            root = self._parent[root]
        while place != root:
            self._parent[place], place = root, self._parent[place]
        return root

    def of_count(self, formula: Formula) -> tuple[Place, ...]:
        """Give the classes whose lengths a product of lengths multiplies."""
        if formula.op == "length":
            return (self.of(*formula.args),)
        return tuple(sorted(place for x in formula.args for place in self.of_count(x)))


def _equal_axes(node: Node) -> Iterator[tuple[Place, Place]]:
    """Give pairs of axes that have one length by what an operation is."""
    for x, pairs in zip(node.inputs, _carried(node), strict=False):
        yield from (((node.index, k), (x.index, j)) for k, j in pairs)
    if str(node.op) == "matmul":
        a, b = node.inputs
        yield (a.index, len(a.shape) - 1), (b.index, len(b.shape) - 2)
    for k, length in enumerate(node.origin.get("shape") or () if node.origin else ()):
        if isinstance(length, Formula) and length.op == "length":
            yield (node.index, k), length.args


def _carried(node: Node) -> Iterator[list[tuple[int, int]]]:
    """Give, for each operand, pairs of an axis of the result and the operand's axis it is."""
    ndim, params, op = len(node.shape), node.params, node.op
    for position, x in enumerate(node.inputs):
        pairs: list[tuple[int, int]] = []
        if op is None or op.elementwise:
            pairs = [(k + ndim - len(x.shape), k) for k in range(len(x.shape))]
        elif op.name in ("sum", "max"):
            kept = [k for k in range(len(x.shape)) if k not in params["axis"]]
            pairs = [(k if params["keepdims"] else new, k) for new, k in enumerate(kept)]
        elif op.name == "spread":
            kept = [k for k in range(ndim) if k not in params["axis"]]
            pairs = [(k, k if len(x.shape) == ndim else old) for old, k in enumerate(kept)]
        elif op.name == "transpose":
            pairs = list(enumerate(params["axes"]))
        elif op.name == "concatenate":
            pairs = [(k, k) for k in range(ndim) if k != params["axis"]]
        elif op.name == "matmul":
            own = len(x.shape) - 1 - (position == 0)
            pairs = [(k + ndim - len(x.shape), k) for k in range(len(x.shape) - 2)]
            pairs.append((ndim - 1 - (position == 0), own))
        yield [(k, j) for k, j in pairs if node.shape[k] == x.shape[j] != 1]
