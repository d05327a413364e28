"""Partition: which nodes of a program are computed in sweeps together, and which NumPy computes.

A product of matrices belongs to NumPy's BLAS, and what picks entries one by one to NumPy as well.
What lies between such **foreign** operations are regions. A node has a **rank**, which says how
many foreign operations lie before it one after the other; a region is what is connected of one
rank, or goes over the same axes.

What a later region needs of an earlier one is handed on if it is there anyway, as the operand of a
product is, or if it is a reduction. All else is computed again, which is cheaper than to write and
to read it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from tinygraph.execution.labels import REDUCTIONS, Labels
from tinygraph.execution.program import Program
from tinygraph.graph.nodes import Node

__all__ = ["Block", "foreign_of", "partition"]

VIEWS = frozenset({"reshape", "transpose"})
"""What NumPy does with an array that is there without computing anything."""


class Block(NamedTuple):
    """The nodes of one region.

    Attributes
    ----------
    nodes : tuple of Nodes
        All of them in order, arguments and constants included.
    arguments, results : tuple of Nodes
        Each node once.
    """

    nodes: tuple[Node, ...]
    arguments: tuple[Node, ...]
    results: tuple[Node, ...]


def foreign_of(nodes: Iterable[Node], is_inside: Callable[[Node], bool]) -> frozenset[int]:
    """Give the indices of what NumPy computes: what is not done in sweeps, and its transposes.

    Of the product of matrices that a transpose was given to, the gradient comes transposed as well,
    and is laid out anew before it meets other arrays.
    """
    foreign: set[int] = set()
    moved: set[int] = set()
    for node in nodes:
        if node.op is not None:
            is_moved = _is_view(node) and node.inputs[0].index in moved
            if not is_inside(node) or (is_moved and node.op.name == "transpose"):
                foreign.add(node.index)
            if is_moved or node.index in foreign:
                moved.add(node.index)
    return frozenset(foreign)


def partition(program: Program, foreign: Collection[int], labels: Labels) -> list[Block | Node]:
    """Divide a program into regions and foreign operations, in the order of their computation.

    Parameters
    ----------
    program : Program
    foreign : collection of int
        The indices of what is not computed in sweeps.
    labels : Labels
        Of the nodes.

    Returns
    -------
    list of Blocks and Nodes
    """
    return _Partition(program, foreign, labels).parts()


class _Partition:
    """What NumPy computes of a program, and what is handed from region to region."""

    def __init__(self, program: Program, foreign: Collection[int], labels: Labels) -> None:
        self.program, self.labels = program, labels
        self.given = {x.index for x in program.arguments}
        self.computed = [x for x in program.nodes if x.op is not None and x.index not in self.given]
        self.foreign = {x.index for x in self.computed if x.index in foreign}
        self.views = self._views()
        self.rank = self._ranks()
        by_numpy = [x for x in self.computed if x.index in self.foreign | self.views]
        self.kept = {x.index: x for node in by_numpy for x in node.inputs}
        self.kept |= {x.index: x for x in program.results}

    def _views(self) -> set[int]:
        """Give what is handed to NumPy, or returned, as another view of an array that is there."""
        views: set[int] = set()
        for node in reversed(self.computed):
            if node.index in self.foreign | views:
                views |= {x.index for x in node.inputs if _is_view(x)}
        results = {x.index for x in self.program.results}
        for node in self.computed:
            if node.index in results and _is_view(node):
                (x,) = node.inputs
                if x.index in self.foreign | views:
                    views.add(node.index)
        return views - self.foreign

    def _ranks(self) -> dict[int, int]:
        rank = {x.index: 0 for x in self.program.nodes}
        for node in self.computed:
            before = max((rank[x.index] for x in node.inputs), default=0)
            rank[node.index] = before + (node.index in self.foreign)
        return rank

    def parts(self) -> list[Block | Node]:
        """Give the regions of each rank, and then what NumPy makes of their results."""
        parts: list[list[Block | Node]] = []
        for rank in range(max(self.rank.values(), default=0), -1, -1):
            by_numpy: list[Block | Node] = [
                x
                for x in self.computed
                if (x.index in self.views and self.rank[x.index] == rank)
                or (x.index in self.foreign and self.rank[x.index] == rank + 1)
            ]
            parts.append([*self._blocks(rank), *by_numpy])
        return [part for rank in reversed(parts) for part in rank]

    def _blocks(self, rank: int) -> list[Block]:
        """Give the regions of a rank, those of higher ranks being known."""
        results = [x for x in self.kept.values() if self._is_result(x, rank)]
        needs = {x.index: self._needs(x, rank) for x in results}
        for inner in needs.values():
            for x in inner.values():
                if self.rank[x.index] < rank and self._is_computed_before(x, rank):
                    self.kept[x.index] = x
        blocks: list[tuple[dict[int, Node], list[Node]]] = []
        for result in sorted(results, key=lambda x: x.index):
            nodes, members = dict(needs[result.index]), [result]
            for block in [b for b in blocks if self._belong_together(b[0], nodes)]:
                blocks.remove(block)
                nodes, members = block[0] | nodes, [*block[1], *members]
            blocks.append((nodes, members))
        return [self._block(nodes, members, rank) for nodes, members in blocks]

    def _belong_together(self, some: dict[int, Node], others: dict[int, Node]) -> bool:
        """Whether two sets of nodes share what is computed, or an array, or all their axes."""
        common = [x for index, x in some.items() if index in others and x.role != "constant"]
        if any(x.shape or x.op is not None for x in common):
            return True
        one, other = (
            max(map(self.labels.flat, nodes.values()), key=len) for nodes in (some, others)
        )
        return bool(one) and one == other

    def _is_result(self, x: Node, rank: int) -> bool:
        if x.index in self.foreign | self.views or self.rank[x.index] != rank:
            return False
        return x.op is not None or any(x is result for result in self.program.results)

    def _needs(self, result: Node, rank: int) -> dict[int, Node]:
        """Give what must be computed for a result, with what is given for it."""
        found = {result.index: result}
        stack = [result]
        while stack:
            for x in stack.pop().inputs:
                if x.index not in found:
                    found[x.index] = x
                    if not self._is_given(x, rank):
                        stack.append(x)
        return found

    def _is_given(self, x: Node, rank: int) -> bool:
        return self._is_there(x) or self._is_computed_before(x, rank)

    def _is_there(self, x: Node) -> bool:
        return x.op is None or x.index in self.given or x.index in self.foreign

    def _is_computed_before(self, x: Node, rank: int) -> bool:
        """Whether an earlier region hands on what it has computed."""
        if x.op is None or self._is_there(x) or self.rank[x.index] >= rank:
            return False
        return x.op.name in REDUCTIONS or (x.index in self.kept and x.index not in self.views)

    def _block(self, nodes: dict[int, Node], results: Iterable[Node], rank: int) -> Block:
        ordered = tuple(nodes[index] for index in sorted(nodes))
        given = [x for x in ordered if self._is_given(x, rank) and x.role != "constant"]
        order = {x.index: k for k, x in enumerate(self.program.results)}
        last = len(order)
        listed = sorted(results, key=lambda x: (order.get(x.index, last), x.index))
        return Block(ordered, tuple(given), tuple(listed))


def _is_view(x: Node) -> bool:
    return x.op is not None and x.op.name in VIEWS
