"""Counts: which numbers of a graph count entries, and which of these is N.

An author writes 1/N for a mean, and says once what N is. That is done where it is one number, and
where the user calls nothing else N.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tinygraph.engine.constants import variables_in
from tinygraph.engine.lengths import Formula
from tinygraph.graph.axes import Axes
from tinygraph.graph.nodes import Node, length_of_sum
from tinygraph.graph.origins import is_count
from tinygraph.graph.snapshot import Graph

__all__ = ["Counts", "is_count_of", "named_numbers", "origin_of"]

BATCH = "N"


class Counts:
    """What the constants of a graph count.

    Parameters
    ----------
    graph : Graph

    Attributes
    ----------
    reciprocals : dict
        The n of the constants 1/n, where n counts entries, by the index of their nodes.
    batch : int or None
        The number that N stands for.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> x = Tensor([1.0, 3.0], name="x")
    >>> Counts(Graph.capture(x - x.mean())).batch
    2
    """

    def __init__(self, graph: Graph) -> None:
        self._nodes, self._axes = graph.nodes, Axes(graph.nodes)
        origins = {x.index: origin_of(x) for x in graph.nodes}
        self.reciprocals = {k: f.args[1] for k, f in origins.items() if _is_reciprocal(f)}
        self.batch, self._batch = self._find_batch()

    def _find_batch(self) -> tuple[int | None, Any]:
        """Give the only length that the graph averages over, and the class of its axes.

        Where it averages over none, the only one that its constants were computed from.
        """
        averages = [n for node in self._nodes for n in self._divisors(node)]
        unnamed = (node for node in self._nodes if node.role == "constant" and not node.name)
        counts = averages or [n for node in unnamed for n in _counts(origin_of(node))]
        batches = {self._axes.of_count(count): count.value(self.length) for count in counts}
        if len(batches) != 1:
            return None, None
        ((key, n),) = batches.items()
        return (n, key) if all(value == n for value in _called_n(self._nodes)) else (None, None)

    def _divisors(self, node: Node) -> Iterator[Formula]:
        """Give what a node divides by to average."""
        if str(node.op) == "div" and is_count_of(node.inputs[1], node.inputs[0]):
            yield origin_of(node.inputs[1])
        yield from (self.reciprocals[x.index] for x in node.inputs if x.index in self.reciprocals)

    def length(self, index: int, axis: int) -> int:
        """Give the length of an axis of a node."""
        return self._nodes[index].shape[axis]

    def is_batch(self, x: Any) -> bool:
        """Whether a formula counts what N counts."""
        return is_count(x) and self._axes.of_count(x) == self._batch

    def mentions_batch(self, x: Any) -> bool:
        """Whether N is in a formula."""
        return isinstance(x, Formula) and (
            self.is_batch(x) or any(map(self.mentions_batch, x.args))
        )


def named_numbers(constant: Node) -> Iterable[tuple[str, Any]]:
    """Give the variables from which the user's code computes a number, with their values."""
    if constant.written is not None:
        return variables_in(constant.written)
    return [(constant.name, constant.value)] if constant.name else []


def is_count_of(n: Node, total: Node) -> bool:
    """Whether `n` is the number of values that the sum `total` adds up."""
    return str(total.op) == "sum" and is_count(origin_of(n)) and n.value == length_of_sum(total)


def origin_of(constant: Node) -> Any:
    """Give how a constant follows from lengths; the N − 0 of a variance is N."""
    x = constant.origin
    while isinstance(x, Formula) and x.op == "-" and isinstance(x.args[1], int) and not x.args[1]:
        x = x.args[0]
    return x


def _is_reciprocal(x: Any) -> bool:
    """Whether a formula is 1/n, where n counts entries."""
    if not isinstance(x, Formula) or x.op != "/":
        return False
    one, n = x.args
    return is_count(n) and not isinstance(one, Formula) and one == 1


def _counts(origin: Any) -> Iterator[Formula]:
    """Give the products of lengths in a formula."""
    if is_count(origin):
        yield origin
    elif isinstance(origin, Formula):
        yield from (count for x in origin.args for count in _counts(x))


def _called_n(nodes: Iterable[Node]) -> Iterator[Any]:
    """Give the numbers that the user calls "N", and None for all else of that name."""
    for node in nodes:
        if node.role != "constant" or node.shape:
            yield from [None] * (node.name == BATCH)
        else:
            yield from (number for name, number in named_numbers(node) if name == BATCH)
