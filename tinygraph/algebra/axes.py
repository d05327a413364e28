"""Axes: which axes of which nodes are one, whatever their length.

What an operation carries on from operand to result is one axis: by broadcasting, by a product of
matrices, by a transpose. A reshape that cuts an axis into groups cuts it everywhere, so that an
axis of a node is a list of *parts*, in the order in which they count. An axis of length 1 has none.

Two axes that merely have the same length, as the 64 rows and 64 columns of a square batch, stay
two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

from tinygraph.algebra.keys import is_arange, keys_of, parts_of_key
from tinygraph.algebra.polynomials import UndecidedError
from tinygraph.graph import Graph, Node

__all__ = ["Axes", "subscripts_of"]

Part = int
Axis = list[Part]


class Axes:
    """The axes of several graphs whose inputs of one name are the same.

    Parameters
    ----------
    *graphs : Graphs

    Attributes
    ----------
    length : dict
        Of each part, by its number.

    Raises
    ------
    UndecidedError
        If an operation has no indices that could be written down.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> x = Tensor([[1.0, 2.0], [3.0, 4.0]], name="x")
    >>> graph = Graph.capture(x - x.sum(axis=1, keepdims=True))
    >>> axes = Axes(graph)
    >>> [axes.of(graph, node) for node in graph.nodes]
    [[(0,), (1,)], [(0,), ()], [(0,), (1,)]]
    """

    def __init__(self, *graphs: Graph) -> None:
        self.length: dict[Part, int] = {}
        self._bound: dict[Part, Axis] = {}
        self._axes: dict[tuple[int, int], list[Axis]] = {}
        self._regions: dict[tuple[int, int], list[list[Axis]]] = {}
        inputs: dict[str, list[Axis]] = {}
        for graph in graphs:
            for node in graph.nodes:
                key = id(graph), node.index
                if node.role in ("input", "upstream") and node.name in inputs:
                    self._axes[key] = inputs[node.name]
                    continue
                self._at_work_on = key
                self._axes[key] = self._of_node(graph, node)
                if node.role in ("input", "upstream"):
                    inputs[str(node.name)] = self._axes[key]
            for g in graph.all_gradients:
                self._same(self._axes[id(graph), g.node.index], self._axes[id(graph), g.of.index])

    def of(self, graph: Graph, node: Node) -> list[tuple[Part, ...]]:
        """Give the parts of each axis of a node."""
        return [tuple(self._parts(axis)) for axis in self._axes[id(graph), node.index]]

    def regions(self, graph: Graph, node: Node) -> list[list[tuple[Part, ...]]]:
        """Give the parts of each axis of the places that in-place code writes to, for each key."""
        regions = self._regions.get((id(graph), node.index), [])
        return [[tuple(self._parts(axis)) for axis in region] for region in regions]

    def live(self) -> list[Part]:
        """Give the parts that were not cut or found to be another."""
        return [part for part in self.length if part not in self._bound]

    # ------------------------------------------------------------------ parts

    def _new(self, length: int) -> Axis:
        if length == 1:
            return []
        part = len(self.length)
        self.length[part] = length
        return [part]

    def _parts(self, axis: Axis) -> Axis:
        out: Axis = []
        for part in axis:
            out += self._parts(self._bound[part]) if part in self._bound else [part]
        return out

    def _same(self, one: Iterable[Axis], other: Iterable[Axis]) -> None:
        for a, b in zip(one, other, strict=True):
            self._unify(a, b)

    def _unify(self, one: Axis, other: Axis) -> None:
        """Make two lists of parts one, by cutting the longer part where they do not match."""
        a, b = self._parts(one), self._parts(other)
        while a and b:
            first, second = a[0], b[0]
            if first == second:
                a, b = a[1:], b[1:]
                continue
            n, m = self.length[first], self.length[second]
            if n == m:
                self._bound[max(first, second)] = [min(first, second)]
            elif n < m and m % n == 0:
                self._bound[second] = self._new(n) + self._new(m // n)
            elif m < n and n % m == 0:
                self._bound[first] = self._new(m) + self._new(n // m)
            else:
                raise UndecidedError(f"a reshape of {n} to {m} cuts across groups")
            a, b = self._parts(a), self._parts(b)
        if a or b:
            raise UndecidedError("a reshape whose axes do not match")

    # ------------------------------------------------------------------ operations

    def _of_node(self, graph: Graph, node: Node) -> list[Axis]:
        operands = [self._axes[id(graph), x.index] for x in node.inputs]
        if node.op is None:
            return [self._new(n) for n in node.shape]
        if node.op.elementwise or node.op.name == "stop":
            return self._broadcast(operands, len(node.shape))
        rule = getattr(self, f"_of_{node.op.name}", None)
        if rule is None:
            raise UndecidedError(f"{node.op.name} has no normal form yet")
        axes: list[Axis] = rule(node, *operands)
        return axes

    def _broadcast(self, operands: Sequence[list[Axis]], ndim: int) -> list[Axis]:
        out: list[Axis] = []
        for k in range(ndim, 0, -1):
            met = [axes[-k] for axes in operands if len(axes) >= k and self._parts(axes[-k])]
            for axis in met[1:]:
                self._unify(met[0], axis)
            out.append(met[0] if met else [])
        return out

    def _of_sum(self, node: Node, x: list[Axis]) -> list[Axis]:
        axis, keepdims = node.params["axis"], node.params["keepdims"]
        return [[] if k in axis else a for k, a in enumerate(x) if keepdims or k not in axis]

    _of_max = _of_sum

    def _of_spread(self, node: Node, x: list[Axis]) -> list[Axis]:
        axis, rest = node.params["axis"], iter(x)
        same = len(x) == len(node.shape)
        out = []
        for k, n in enumerate(node.shape):
            old = next(rest) if same or k not in axis else []
            out.append(self._new(n) if k in axis else old)
        return out

    def _of_matmul(self, node: Node, a: list[Axis], b: list[Axis]) -> list[Axis]:
        self._unify(a[-1], b[-2] if len(b) > 1 else b[-1])
        batch = self._broadcast([a[:-2], b[:-2]], max(len(a), len(b), 2) - 2)
        return [*batch, *a[-2:-1], *(b[-1:] if len(b) > 1 else [])]

    def _of_einsum(self, node: Node, *operands: list[Axis]) -> list[Axis]:
        *inner, result = subscripts_of(node)
        found: dict[str, Axis] = {}
        for letters, axes in zip(inner, operands, strict=True):
            for letter, axis in zip(letters, axes, strict=True):
                if self._parts(found.setdefault(letter, axis)) and self._parts(axis):
                    self._unify(found[letter], axis)
                elif self._parts(axis):
                    found[letter] = axis
        return [found[letter] for letter in result]

    def _of_transpose(self, node: Node, x: list[Axis]) -> list[Axis]:
        return [x[k] for k in node.params["axes"]]

    def _of_reshape(self, node: Node, x: list[Axis]) -> list[Axis]:
        if not prod(node.shape):
            raise UndecidedError("an array without entries")
        out = [self._new(n) for n in node.shape]
        self._unify([p for axis in x for p in axis], [p for axis in out for p in axis])
        return out

    def _of_concatenate(self, node: Node, *parts: list[Axis]) -> list[Axis]:
        along = node.params["axis"]
        out = [self._new(n) if k == along else parts[0][k] for k, n in enumerate(node.shape)]
        for axes in parts[1:]:
            for k, axis in enumerate(axes):
                if k != along:
                    self._unify(out[k], axis)
        return out

    def _of_index(self, node: Node, x: list[Axis], *keys: list[Axis]) -> list[Axis]:
        (key,) = keys_of(node)
        out = self._indexed(key, node.inputs[0].shape, x, self._rows(node, [x, *keys]))
        self._check_lengths(out, node.shape)
        return out

    _of_pick = _of_index

    def _rows(self, node: Node, operands: Sequence[list[Axis]]) -> dict[int, list[Axis]]:
        return {x.index: axes for x, axes in zip(node.inputs, operands, strict=True)}

    def _indexed(
        self,
        key: Any,
        shape: tuple[int, ...],
        x: list[Axis],
        rows: Mapping[int, list[Axis]],
    ) -> list[Axis]:
        """Give the axes of what a key takes, where it is known which those of its rows are."""
        out: list[Axis] = []
        tables = 0
        for part, k in parts_of_key(key, shape):
            if part is None:
                out.append([])
            elif isinstance(part, slice):
                whole = part == slice(0, shape[k], 1)
                out.append(x[k] if whole else self._new(len(range(shape[k])[part])))
            elif not isinstance(part, int):
                tables += 1
                if tables == 1:
                    out.append(self._new(part.shape[0]))
                if isinstance(part, Node):
                    self._unify(out[-1], rows[part.index][0])
                elif is_arange(part, shape[k]):
                    self._unify(out[-1], x[k])
        return out

    def _check_lengths(self, axes: Sequence[Axis], shape: tuple[int, ...]) -> None:
        if tuple(prod(self.length[p] for p in self._parts(axis)) for axis in axes) != shape:
            raise UndecidedError("an index of another kind than slices, numbers and rows of labels")

    def _of_scatter(self, node: Node, x: list[Axis], *keys: list[Axis]) -> list[Axis]:
        out = [self._new(n) for n in node.shape]
        (key,) = keys_of(node)
        inner = self._indexed(key, node.shape, out, self._rows(node, [x, *keys]))
        self._check_lengths(inner, node.inputs[0].shape)
        self._same(inner, x)
        return out

    _of_put = _of_scatter

    def _of_assign(self, node: Node, base: list[Axis], *operands: list[Axis]) -> list[Axis]:
        rows = self._rows(node, [base, *operands])
        regions = [self._indexed(key, node.shape, base, rows) for key in keys_of(node)]
        for region, value in zip(regions, operands, strict=False):
            self._broadcast([region, value], len(region))
        self._regions[self._at_work_on] = regions
        return base

    _of_assign_add = _of_assign


def subscripts_of(node: Node) -> list[str]:
    """Give the letters of the operands of an einsum, and those of its result last."""
    letters: str = node.params["subscripts"]
    if "." in letters:
        raise UndecidedError("an einsum with an ellipsis")
    return letters.replace("->", ",").split(",")
