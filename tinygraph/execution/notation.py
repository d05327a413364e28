"""Index notation: a region of a program, from nodes to values."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tinygraph.engine import ops
from tinygraph.engine.lengths import Formula
from tinygraph.engine.primitive import Primitive
from tinygraph.execution.labels import REDUCTIONS, Labels, place_of
from tinygraph.execution.orders import also_rows, in_memory, laid_out, named, rows_first
from tinygraph.execution.program import Unsupported
from tinygraph.execution.regions import Result
from tinygraph.execution.values import Label, Value, Values
from tinygraph.graph.evaluation import number
from tinygraph.graph.nodes import Node

__all__ = ["Notation"]


class Notation:
    """A region of a program in index notation.

    Parameters
    ----------
    nodes : sequence of Nodes
        What is computed, in order, with its arguments and constants.
    arguments : sequence of Nodes
        Those of them that are given, whatever computes them.
    results : sequence of Nodes
        What is asked for.
    labels : Labels
        Of these nodes.
    names : mapping
        What nodes are called, by index.
    strict : bool
        Whether sums must be those of NumPy in every bit.

    Raises
    ------
    Unsupported
        If arrays have their axes in different orders; or, if strict, NumPy adds in another order.

    Attributes
    ----------
    labels : tuple of Labels
        In the order of memory.
    values : Values
    arguments : tuple of Values
        Of these nodes, and then of the arrays among the constants.
    results : tuple of Results
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        arguments: Sequence[Node],
        results: Sequence[Node],
        labels: Labels,
        names: Mapping[int, str],
        *,
        strict: bool,
    ) -> None:
        self.values = Values()
        self._parts = labels
        given = {x.index for x in arguments}
        arrays = [x for x in nodes if x.op is None and x.shape and x.index not in given]
        self._labels = self._ordered(nodes, [*arguments, *arrays, *results])
        self.labels = tuple(dict.fromkeys(self._labels.values()))
        if strict:
            self._check_orders(nodes, {x.index for x in (*arguments, *arrays)})
        self._of: dict[int, Value] = {}
        for node in nodes:
            self._of[node.index] = value = self._value(node, node.index in given)
            value.name = value.name or names.get(node.index, "")
        self.arguments = tuple([self._of[x.index] for x in (*arguments, *arrays)])
        self.results = tuple([self._result(x, names.get(x.index, "")) for x in results])

    def _ordered(self, nodes: Sequence[Node], arrays: Sequence[Node]) -> dict[int, Label]:
        lengths = self._parts.lengths
        outer = [self._parts.flat(x) for x in arrays]
        inner = [self._parts.flat(x) for x in nodes]
        order = in_memory(outer, inner)
        if not order:
            return {}
        order = rows_first(order, outer, inner, lengths)
        rows = also_rows(order, outer, inner, lengths)
        labels = named([part for part in order if part not in rows], lengths)
        return labels | dict.fromkeys(rows, labels[order[0]])

    def _check_orders(self, nodes: Sequence[Node], given: Collection[int]) -> None:
        """Refuse sums over what NumPy has in another order than the labels."""
        orders = laid_out(nodes, given, self._parts)
        for node in nodes:
            if str(node.op) == "sum" and node.index not in given:
                x = node.inputs[0]
                order = self._named(orders[x.index])
                if len(order) < len(self._parts.flat(x)):
                    order = self._named(self._parts.flat(x))
                if list(order) != sorted(order):
                    raise Unsupported(
                        f"{place_of(node)} adds up what lies in another order in memory than the "
                        "arrays around it"
                    )

    def _named(self, parts: Sequence[int]) -> tuple[Label, ...]:
        return tuple([self._labels[part] for part in parts])

    def _result(self, node: Node, name: str) -> Result:
        return Result(node, self._of[node.index], self._named(self._parts.flat(node)), name)

    def _value(self, node: Node, is_given: bool) -> Value:
        op = node.op
        if is_given or (op is None and node.shape):
            return self.values.argument(node, self._named(self._parts.flat(node)))
        if op is None:
            origin = self._parts.formula(node.origin) if isinstance(node.origin, Formula) else None
            return self.values.constant(number(node), node.dtype, origin)
        operands = [self._of[x.index] for x in node.inputs]
        if op.name in REDUCTIONS:
            return self._reduction(op, node, operands[0])
        if not op.elementwise or op.name == "stop":  # which moves entries, and changes none
            return operands[0]
        if op.name == "cast" and node.dtype == operands[0].dtype:
            return operands[0]
        return self.values.apply(op, operands, node.dtype, params=node.params)

    def _reduction(self, op: Primitive, node: Node, x: Value) -> Value:
        over = self._named(self._parts.over(node))
        if over or node.dtype != x.dtype:
            all_labels = self._named(self._parts.flat(node.inputs[0]))
            inside = [y for y in all_labels if y > max(over, default=y) and y not in x.labels]
            spread = inside if op is ops.sum else ()
            return self.values.apply(op, [x], node.dtype, over=over, spread=spread)
        if op is ops.sum:  # of one number, which NumPy adds to 0: −0 becomes 0
            return self.values.apply(ops.add, [x, self.values.constant(0, None)], x.dtype)
        return x
