"""Emission: formulas as nodes of a graph, which is drawn, written out and run like any other.

Every array lies as the largest does: axes that a value lacks have length 1, or lead and are not
there. What is the same formula is computed once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np

from tinygraph.algebra.atoms import Atom, Label
from tinygraph.algebra.expressions import Expression
from tinygraph.algebra.extraction import is_scalar
from tinygraph.algebra.polynomials import UndecidedError
from tinygraph.engine import ops
from tinygraph.engine.lengths import Formula
from tinygraph.engine.primitive import Primitive
from tinygraph.graph import Gradient, Graph, Node
from tinygraph.graph.nodes import NOTHING, Premise

__all__ = ["Emission"]

Places = Sequence[Sequence[Label]]


class Emission:
    """A graph that is being written: the forward pass of another, and formulas for its gradients.

    Parameters
    ----------
    graph : Graph
        The joint graph.
    places : mapping
        The labels of each axis of a node, by its index.
    layout : Node
        The node as whose axes all arrays lie.
    lengths : mapping
        Of each part.
    formula : callable
        Gives the formula of the length of a part in the axes of nodes, or None.
    tables : mapping
        Rows of labels, by the name that indices have.
    """

    def __init__(
        self,
        graph: Graph,
        places: Mapping[int, Places],
        layout: Node,
        lengths: Mapping[int, int],
        formula: Callable[[int], Formula | None],
        tables: Mapping[str, Any],
    ) -> None:
        self.graph, self.places, self.lengths, self.formula = graph, places, lengths, formula
        self.tables = tables
        self.layout = [tuple(axis) for axis in places[layout.index]]
        self.nodes: list[Node] = []
        self.moved: dict[int, int] = {}
        self.gradients: list[Gradient] = []
        self._written: dict[Expression, Node] = {}
        seed = next(g for g in graph.all_gradients if g.kind == "upstream")
        self.step, self.consumer = seed.step, seed.of
        for node in graph.nodes:
            is_forward = node.role in ("input", "forward", "upstream")
            if is_forward or (node.role == "constant" and self._feeds_forward(node)):
                self._copy(node)
        for g in graph.all_gradients:
            if g.kind == "upstream":
                self.gradients.append(replace(g, of=self.at(g.of), node=self.at(g.node)))

    def _feeds_forward(self, constant: Node) -> bool:
        return any(constant in node.inputs for node in self.graph.nodes if node.role == "forward")

    def _copy(self, node: Node) -> None:
        self.moved[node.index] = len(self.nodes)
        origin = node.origin
        if isinstance(origin, Formula):
            origin = origin.map(self.moved.__getitem__)
        elif origin and not isinstance(origin, str):
            origin = MappingProxyType({k: self._moved(x) for k, x in origin.items()})
        inputs = tuple(self.at(x) for x in node.inputs)
        self.nodes.append(replace(node, index=len(self.nodes), inputs=inputs, origin=origin))

    def _moved(self, x: Any) -> Any:
        if isinstance(x, Formula):
            return x.map(self.moved.__getitem__)
        if isinstance(x, tuple):
            return tuple(map(self._moved, x))
        return slice(*map(self._moved, (x.start, x.stop, x.step))) if isinstance(x, slice) else x

    def at(self, node: Node) -> Node:
        """Give the copy of a node of the forward pass."""
        return self.nodes[self.moved[node.index]]

    def finish(self) -> Graph:
        """Give the graph."""
        return Graph(
            nodes=tuple(self.nodes),
            inputs=tuple(n for n in self.nodes if n.role in ("input", "upstream")),
            outputs=tuple(self.at(out) for out in self.graph.outputs),
            all_gradients=tuple(self.gradients),
            steps=tuple(
                replace(s, result=self.at(s.result), nodes=tuple(self.at(n) for n in s.nodes))
                for s in self.graph.steps
            ),
            values=NOTHING,
            premises=tuple(self._premises()),
        )

    def _premises(self) -> Iterator[Premise]:
        """Give what was told of nodes that are still there."""
        for premise in self.graph.premises:
            with contextlib.suppress(KeyError):
                yield premise._replace(formula=premise.formula.map(self.moved.__getitem__))

    # ------------------------------------------------------------------ formulas

    def add(self, gradient: Gradient, formula: Expression) -> Expression:
        """Write one gradient, and give a reference to it."""
        node, of = self._write(formula), self.at(gradient.of)
        if node.shape != of.shape:
            places = self.places[gradient.of.index]
            node = self._as_of(node, formula.labels, of, places)
        if node.name is None and node.role == "backward" and node is self.nodes[-1]:
            node = self.nodes[-1] = replace(node, name=gradient.name)
            self._written = {
                x: node if n.index == node.index else n for x, n in self._written.items()
            }
        g = replace(
            gradient,
            of=of,
            consumer=self.at(self.consumer),
            operand=None,
            term=None,
            node=node,
            step=self.step,
            kind="whole",
        )
        self.gradients.append(g)
        labels = frozenset(label for axis in self.places[gradient.of.index] for label in axis)
        return Expression("name", data=gradient.name, labels=labels, source=node.index)

    def _as_of(self, node: Node, labels: frozenset[Label], of: Node, places: Places) -> Node:
        """Give a node the axes of what it is the gradient of, repeated where it is alike."""
        own = [label for axis in self.layout for label in axis if label in labels]
        there = [label for axis in places for label in axis if label in labels]
        if own != there or any(set(axis) & labels not in (set(), set(axis)) for axis in places):
            raise UndecidedError("a gradient whose axes lie in another order")
        shape = tuple(n if set(a) <= labels else 1 for n, a in zip(of.shape, places, strict=True))
        if shape != node.shape:
            node = self._op(ops.reshape, node, shape=shape)
        axes = tuple(k for k, (n, m) in enumerate(zip(shape, of.shape, strict=True)) if n != m)
        return self._op(ops.spread, node, shape=of.shape, axis=axes) if axes else node

    def _write(self, x: Expression) -> Node:
        if x not in self._written:
            self._written[x] = getattr(self, f"_{x.kind}")(x)
        return self._written[x]

    def _name(self, x: Expression) -> Node:
        if isinstance(x.source, Atom):
            return self._one_hot(x.source)
        node = self.at(x.source) if isinstance(x.source, Node) else self.nodes[x.source]
        return self._laid_out(node, x.labels)

    def _one_hot(self, atom: Atom) -> Node:
        """Write [c = y] as an array: a one in each row, where its label says."""
        row = next((index for index in atom.data if index[0] == "table"), None)
        column = next(index for index in atom.data if index is not row)
        if row is None or self.layout != [(row[2],), (column,)]:
            raise UndecidedError("labels of other axes than the first two")
        n, m = self.lengths[row[2][0]], self.lengths[column[0]]
        one = self._op(ops.spread, self._constant(Fraction(1), None), shape=(n,), axis=(0,))
        table = self.tables[row[1]]
        if isinstance(table, Node):
            key = (np.arange(n), "1")
            return self._op(ops.put, one, self.at(table), key=key, shape=(n, m))
        return self._op(ops.scatter, one, key=(np.arange(n), table), shape=(n, m))

    def _product(self, x: Expression) -> Node:
        """Multiply, small arrays first, and numbers with the first of them."""
        factors = [*_factors(x)]
        above, below = (
            self._scalar([y for y, up in factors if up is wanted and _is_number(y)])
            for wanted in (True, False)
        )
        arrays = [(self._write(y), up, k) for k, (y, up) in enumerate(factors) if not _is_number(y)]
        arrays.sort(key=lambda item: (prod(item[0].shape), not item[1]))
        out: Node | None = None
        waiting: Node | None = None  # to be divided by
        place = 0  # of the first factor of `out`: a product is written in its order
        for k, (node, up, at) in enumerate(arrays):
            if not k:
                node = self._scaled(node, *((above, below) if up else (below, above)))
            if up:
                if out is not None:
                    node = self._op(ops.mul, *((out, node) if place < at else (node, out)))
                out, place = node, at if out is None else min(place, at)
                out, waiting = self._over(out, waiting), None
            elif out is not None:
                out = self._op(ops.div, out, node)
            else:
                waiting = node if waiting is None else self._op(ops.mul, waiting, node)
        return self._op(ops.inverse, waiting) if out is None and waiting is not None else out  # type: ignore[return-value]

    def _over(self, node: Node, below: Node | None) -> Node:
        return node if below is None else self._op(ops.div, node, below)

    def _scaled(self, node: Node, above: Node | None, below: Node | None) -> Node:
        if above is not None:
            node = self._op(ops.mul, above, node)
        return self._over(node, below)

    def _sum(self, x: Expression) -> Node:
        out: Node | None = None
        for sign, term in zip(x.data, x.operands, strict=True):
            node = self._write(term)
            if out is None:
                out = node if sign > 0 else self._op(ops.neg, node)
            else:
                out = self._op(ops.add if sign > 0 else ops.sub, out, node)
        return out if out is not None else self._constant(Fraction(0), None)

    def _total(self, x: Expression) -> Node:
        inner = self._write(x.operands[0])
        bound = set(x.bound[0])
        missing = len(self.layout) - len(inner.shape)
        axes = tuple(
            k for k, axis in enumerate(self.layout[missing:]) if axis and set(axis) <= bound
        )
        keepdims = axes != tuple(range(len(axes)))
        return self._op(ops.sum, inner, axis=axes, keepdims=keepdims)

    def _number(self, x: Expression) -> Node:
        return self._constant(Fraction(x.data), None)

    # ------------------------------------------------------------------ nodes

    def _scalar(self, factors: Sequence[Expression]) -> Node | None:
        """Make one number of several; it remembers the lengths that it comes from."""
        value, formula = Fraction(1), None
        root = 1.0
        for x in factors:
            e = Fraction(1)
            if x.kind == "power":
                e, x = Fraction(x.data), x.operands[0]
            known, more = (x.data, x.data) if x.source is None else self._scalar_atom(x.source)
            if e.denominator == 1:
                value *= Fraction(known) ** int(e)
            else:
                root *= float(known) ** float(e)
            if e != 1:
                more = Formula("**", (more, float(e) if e.denominator > 1 else int(e)))
            formula = more if formula is None else Formula("*", (formula, more))
        if root != 1:
            return self._constant(Fraction(float(value) * root), formula)
        return None if value == 1 else self._constant(value, formula)

    def _scalar_atom(self, atom: Atom) -> tuple[Any, Any]:
        """Give the number that an atom is, and the formula that it comes from."""
        if atom.kind == "root":
            return atom.data[0], atom.data[0]
        if atom.kind == "length":
            return self.lengths[atom.data[0]], self.formula(atom.data[0])
        value, formula = Fraction(0), Formula("+", (0, 0))
        for monomial, c in atom.data[0]:
            term, factors = Fraction(c), Formula("*", (1, int(c) if c == int(c) else float(c)))
            for a, e in monomial:
                known, more = self._scalar_atom(a)
                term *= Fraction(known) ** int(e)
                factors = Formula("*", (factors, Formula("**", (more, int(e)))))
            value, formula = value + term, Formula("+", (formula, factors))
        return value, formula

    def _constant(self, value: Fraction, formula: Any) -> Node:
        origin = formula if isinstance(formula, Formula) else "given"
        node = Node(
            len(self.nodes),
            None,
            (),
            NOTHING,
            (),
            None,
            None,
            self.step,
            "constant",
            value,
            (),
            origin,
        )
        self.nodes.append(node)
        return node

    def _op(self, op: Primitive, *inputs: Node, **params: Any) -> Node:
        like = [
            np.broadcast_to(np.array(_harmless(x), x.dtype), x.shape)
            if x.dtype is not None
            else 1.0
            for x in inputs
        ]
        value = op.forward(*like, **params)
        node = Node(
            len(self.nodes),
            op,
            inputs,
            MappingProxyType(params) if params else NOTHING,
            np.shape(value),
            getattr(value, "dtype", None),
            None,
            self.step,
            "backward",
        )
        self.nodes.append(node)
        return node

    # ------------------------------------------------------------------ axes

    def _laid_out(self, node: Node, labels: frozenset[Label]) -> Node:
        """Give a node with its axes where the layout has them."""
        shape = tuple(
            prod(self.lengths[part] for part, _ in axis) if set(axis) <= labels else 1
            for axis in self.layout
        )
        return self._fitted(node, shape)

    def _fitted(self, node: Node, shape: tuple[int, ...]) -> Node:
        """Reshape, unless only axes of length 1 are missing in front."""
        bare = list(shape)
        while bare and bare[0] == 1 and len(bare) > len(node.shape):
            bare.pop(0)
        if tuple(bare) == node.shape:
            return node
        target = shape if prod(shape) == prod(node.shape) else node.shape
        return self._op(ops.reshape, node, shape=target) if target != node.shape else node


def _harmless(x: Node) -> int:
    """Give an entry to try an operation with: an index 0 exists where 1 may not."""
    return 0 if x.dtype is not None and x.dtype.kind in "iu" else 1


def _factors(x: Expression) -> Iterator[tuple[Expression, bool]]:
    """Give the factors, and whether they are above the line; one over something divides by it."""
    for k, y in enumerate(x.operands):
        if y.kind == "product" and not y.over:
            yield from ((z, k >= x.over) for z in y.operands)
        else:
            yield y, k < x.over


def _is_number(x: Expression) -> bool:
    if x.kind == "power":
        return _is_number(x.operands[0])
    is_atom = isinstance(x.source, Atom) and is_scalar(x.source)
    return x.kind == "number" or (x.kind == "name" and is_atom)


def full_size(nodes: Iterable[Node]) -> int:
    """Give the size of the largest array."""
    return max((prod(node.shape) for node in nodes), default=1)
