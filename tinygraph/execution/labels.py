"""Labels: which axes of which nodes are one axis.

Every axis of every node is a list of *parts*, found by unification: broadcasting, sums, spreading,
transposing and inserted axes carry a part on, and a reshape cuts and joins them. An axis of length
1 has no part. Two axes that merely have the same length, as the 64 rows and 64 columns of a square
batch, stay two.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from math import prod
from typing import Any

from tinygraph.engine.lengths import Formula
from tinygraph.execution.program import Unsupported
from tinygraph.graph.nodes import Node

__all__ = ["REDUCTIONS", "Axis", "Labels", "Part", "inserts_axes", "is_labelled", "place_of"]

REDUCTIONS = frozenset({"sum", "max", "all", "any"})
MOVES = frozenset({"spread", "reshape", "transpose"})

Part = int
Axis = list[Part]


def is_labelled(node: Node) -> bool:
    """Whether a node is an operation that acts entry by entry, reduces, or moves axes."""
    op = node.op
    if op is None or op.elementwise or op.name in REDUCTIONS | MOVES:
        return True
    return op.name in ("index", "scatter") and inserts_axes(node.params["key"])


def inserts_axes(key: Any) -> bool:
    """Whether a key picks everything: ``x[:, None]``, ``x[...]``."""
    parts = key if isinstance(key, tuple) else (key,)
    return all(x is None or x is Ellipsis or _is_all(x) for x in parts)


def _is_all(x: Any) -> bool:
    return isinstance(x, slice) and x == slice(None)


class Labels:
    """The parts of all axes of some nodes.

    Parameters
    ----------
    nodes : iterable of Nodes
        In order, operands before their readers.
    foreign : collection of int
        The indices of nodes of whose axes nothing is known; they are then parts of their own.
    alike : iterable of pairs of Nodes, optional
        Nodes with the same axes: an upstream gradient and its output.

    Attributes
    ----------
    lengths : dict
        Of each part, by its number.

    Raises
    ------
    Unsupported
        If two axes of one node are the same, as in ``x + x.T``; or if a reshape cuts an axis in the
        middle of a group.

    Examples
    --------
    >>> from tinygraph import Graph, Tensor
    >>> x = Tensor([[1.0, 2.0], [3.0, 4.0]], name="x")
    >>> graph = Graph.capture(x - x.sum(axis=1, keepdims=True))
    >>> labels = Labels(graph.nodes)
    >>> [labels.of(node) for node in graph.nodes]
    [((0,), (1,)), ((0,), ()), ((0,), (1,))]
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        foreign: Collection[int] = (),
        alike: Iterable[tuple[Node, Node]] = (),
    ) -> None:
        self.lengths: dict[Part, int] = {}
        self._bound: dict[Part, Axis] = {}
        self._axes: dict[int, list[Axis]] = {}
        nodes = tuple(nodes)
        for node in nodes:
            new = node.op is None or node.index in foreign
            try:
                self._axes[node.index] = self._new_axes(node) if new else self._carried(node)
            except _UnmatchedError as error:
                raise Unsupported(f"{place_of(node)} {error}") from None
        for one, other in alike:
            try:
                for pair in zip(self._axes[one.index], self._axes[other.index], strict=True):
                    self._unify(*pair)
            except _UnmatchedError as error:
                raise Unsupported(f"{place_of(one)} {error}") from None
        self._axes = {
            index: [self._parts(axis) for axis in axes] for index, axes in self._axes.items()
        }
        self._flat = {
            index: tuple([part for axis in axes for part in axis])
            for index, axes in self._axes.items()
        }
        for node in nodes:
            parts = self.flat(node)
            if len(set(parts)) < len(parts):
                raise Unsupported(
                    f"two axes of {place_of(node)} are one axis, as where an array meets its own "
                    "transpose"
                )

    def of(self, node: Node) -> tuple[tuple[Part, ...], ...]:
        """Give the parts of each axis of a node."""
        return tuple(map(tuple, self._axes[node.index]))

    def flat(self, node: Node) -> tuple[Part, ...]:
        """Give the parts of all axes of a node, outermost first."""
        return self._flat[node.index]

    def over(self, node: Node) -> tuple[Part, ...]:
        """Give the parts that a reduction goes over."""
        axes = self._axes[node.inputs[0].index]
        return tuple(part for k in node.params["axis"] for part in axes[k])

    def formula(self, formula: Any) -> Any:
        """Give what is the same for two formulas that are the same in lengths of parts."""
        if not isinstance(formula, Formula):
            return type(formula), formula
        if formula.op == "length":
            index, axis = formula.args
            axes = self._axes.get(index)  # of a node that is not needed here
            return "length", formula.args if axes is None else tuple(axes[axis])
        return formula.op, *map(self.formula, formula.args)

    # ------------------------------------------------------------------ unification

    def _new(self, length: int) -> Axis:
        if length == 1:
            return []
        part = len(self.lengths)
        self.lengths[part] = length
        return [part]

    def _new_axes(self, node: Node) -> list[Axis]:
        return [self._new(n) for n in node.shape]

    def _parts(self, axis: Axis) -> Axis:
        if not any(part in self._bound for part in axis):
            return axis
        return [p for part in axis for p in self._parts(self._bound.get(part, [part]))]

    def _unify(self, one: Axis, other: Axis) -> None:
        """Make two lists of parts one, by cutting the longer part where they do not match."""
        a, b = self._parts(one), self._parts(other)
        while a and b:
            if a[0] != b[0]:
                self._match(a[0], b[0])
                a, b = self._parts(a), self._parts(b)
            a, b = a[1:], b[1:]
        if a or b:
            raise _UnmatchedError("has axes that do not match")

    def _match(self, one: Part, other: Part) -> None:
        """Make the beginnings of two parts one."""
        n, m = self.lengths[one], self.lengths[other]
        if n == m:
            self._bound[max(one, other)] = [min(one, other)]
        elif min(n, m) and max(n, m) % min(n, m) == 0:
            longer = one if n > m else other
            self._bound[longer] = self._new(min(n, m)) + self._new(max(n, m) // min(n, m))
            self._match(self._bound[longer][0], one if longer == other else other)
        else:
            raise _UnmatchedError(f"cuts an axis of length {max(n, m)} across its groups")

    # ------------------------------------------------------------------ operations

    def _carried(self, node: Node) -> list[Axis]:
        """Give the axes of what is computed, from those of the operands."""
        op, params = node.op, node.params
        operands = [self._axes[x.index] for x in node.inputs]
        if op is None or op.elementwise:
            return self._broadcast(operands, len(node.shape))
        (x,) = operands
        if op.name in REDUCTIONS:
            over, keeps = params["axis"], params["keepdims"]
            return [[] if k in over else a for k, a in enumerate(x) if keeps or k not in over]
        if op.name == "spread":
            return self._spread(node, x)
        if op.name == "transpose":
            return [x[k] for k in params["axes"]]
        if op.name == "reshape":
            return self._reshaped(node, x)
        inner = self._axes[node.inputs[0].index]
        rest = iter(axis for axis in inner if self._parts(axis))
        return [next(rest) if n != 1 else [] for n in node.shape]

    def _broadcast(self, operands: Sequence[list[Axis]], ndim: int) -> list[Axis]:
        out: list[Axis] = []
        for k in range(ndim, 0, -1):
            met = [axes[-k] for axes in operands if len(axes) >= k and axes[-k]]
            for axis in met[1:]:
                self._unify(met[0], axis)
            out.append(met[0] if met else [])
        return out

    def _spread(self, node: Node, x: list[Axis]) -> list[Axis]:
        new, rest = node.params["axis"], iter(x)
        keeps = len(x) == len(node.shape)
        out = []
        for k, n in enumerate(node.shape):
            old = next(rest) if keeps or k not in new else []
            out.append(self._new(n) if k in new and not old else old)
        return out

    def _reshaped(self, node: Node, x: list[Axis]) -> list[Axis]:
        if [n for n in node.shape if n != 1] == [n for n in node.inputs[0].shape if n != 1]:
            rest = iter(axis for axis in x if self._parts(axis))
            return [next(rest) if n != 1 else [] for n in node.shape]
        if not prod(node.shape):
            raise _UnmatchedError("has no entries")
        out = self._new_axes(node)
        self._unify([p for axis in x for p in axis], [p for axis in out for p in axis])
        return out


class _UnmatchedError(Exception):
    """Two axes cannot be made one."""


def place_of(node: Node) -> str:
    """Say where in the user's code an operation stands."""
    called = f" ({node.name})" if node.name else ""
    return f"{node.op or node.role} of step {node.step}{called}"
