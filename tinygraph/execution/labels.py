"""Labels: which axes of which nodes are one axis, in what order they lie in memory, which are rows.

Every axis of every node is a list of *parts*, found by unification: broadcasting, sums, spreading,
transposing and inserted axes carry a part on, and a reshape cuts and joins them. An axis of length
1 has no part. Two axes that merely have the same length, as the 64 rows and 64 columns of a square
batch, stay two.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any

from tinygraph.engine.lengths import Formula
from tinygraph.execution.program import Unsupported
from tinygraph.execution.values import Label
from tinygraph.graph.nodes import Node

__all__ = ["REDUCTIONS", "Labels", "inserts_axes", "is_labelled", "place_of"]

REDUCTIONS = frozenset({"sum", "max", "all", "any"})
MOVES = frozenset({"spread", "reshape", "transpose"})
NAMES = {0: "", 1: "N", 2: "ND", 3: "NTD", 4: "NCHW"}

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
            for pair in zip(self._axes[one.index], self._axes[other.index], strict=True):
                self._unify(*pair)
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


# --------------------------------------------------------------------------- order and rows


def in_memory(arrays: Sequence[Sequence[Part]], inner: Iterable[Sequence[Part]]) -> list[Part]:
    """Order parts so that each of `arrays` has them in this order, and of `inner` as many as can.

    Raises
    ------
    Unsupported
        If there is no such order.
    """
    after: dict[Part, set[Part]] = {}  # what counts faster

    def reaches(one: Part, other: Part) -> bool:
        return one == other or any(reaches(x, other) for x in after[one])

    for k, parts in enumerate([*arrays, *inner]):
        for part in parts:
            after.setdefault(part, set())
        for one, other in pairwise(parts):
            if not reaches(other, one):
                after[one].add(other)
            elif k < len(arrays):
                raise Unsupported(
                    "some arrays have their axes in another order in memory than others, as where "
                    "one is the transpose of another"
                )
    order: list[Part] = []
    while len(order) < len(after):
        free = (p for p in after if p not in order and not _is_inside(p, after, order))
        order.append(next(free))
    return order


def _is_inside(part: Part, after: Mapping[Part, set[Part]], order: Sequence[Part]) -> bool:
    return any(part in faster for outer, faster in after.items() if outer not in order)


def named(parts: Sequence[Part], lengths: Mapping[Part, int]) -> dict[Part, Label]:
    """Make the labels of ordered parts."""
    names = NAMES.get(len(parts)) or [f"N{k}" for k in range(len(parts))]
    return {p: Label(k, lengths[p], names[k]) for k, p in enumerate(parts)}


def rows_first(order: Sequence[Part], weights: Iterable[tuple[Sequence[Part], int]]) -> list[Part]:
    """Put that part first which is outermost wherever it is and carries most of the data."""
    inner: set[Part] = set()
    carried = dict.fromkeys(order, 0)
    for parts, weight in weights:
        inner.update(parts[1:])
        for part in parts:
            carried[part] += weight
    outer = [part for part in order if part not in inner]
    first = max(outer, key=carried.__getitem__)
    return [first, *(part for part in order if part != first)]


def also_rows(
    order: Sequence[Part],
    arrays: Iterable[Sequence[Part]],
    inner: Iterable[Sequence[Part]],
    lengths: Mapping[Part, int],
) -> list[Part]:
    """Give what can be gone through with the rows, the first part: as long, and nowhere met by it.

    So Σ x² and Σ y² are sums of one sweep, although no row of x has to do with one of y.
    """
    rows = [order[0]]
    within = {part for parts in arrays for part in parts[1:]}
    together = [set(parts) for parts in inner]
    for part in order[1:]:
        is_met = any(part in parts and not parts.isdisjoint(rows) for parts in together)
        if lengths[part] == lengths[order[0]] and part not in within and not is_met:
            rows.append(part)
    return rows[1:]


def groups(
    order: Sequence[Label], together: Iterable[Sequence[Label]]
) -> Iterator[tuple[Label, ...]]:
    """Join neighbours that always occur together; the last label stays apart from the first."""
    seen = [frozenset(labels) for labels in together]
    group: tuple[Label, ...] = ()
    is_first = True
    for label in order:
        splits = (
            any((label in labels) != (group[0] in labels) for labels in seen) if group else False
        )
        if group and (splits or (is_first and label == order[-1])):
            yield group
            group, is_first = (), False
        group += (label,)
    if group:
        yield group
