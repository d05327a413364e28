"""Formulas: one node or step of a Graph as text, for pictures and tables, or as LaTeX.

This is for eyes: constant factors come first, a mean is ``1/N Σ``, and a sum names its axes only
where the graph sums along different ones. Named nodes and constants are referred to; unnamed nodes
are written out inside their consumer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from tinygraph.engine import ops
from tinygraph.engine.lengths import Formula
from tinygraph.engine.primitive import TABLE
from tinygraph.graph.axes import Axes
from tinygraph.graph.nodes import Gradient, Node, length_of_sum
from tinygraph.graph.origins import is_count
from tinygraph.graph.snapshot import Graph
from tinygraph.writing.languages import TEXT, Form, Formulary, Printer, Written, form

__all__ = ["Notation", "number_text", "shape_text"]

LONGEST = 400

PLACES = (ops.assign, ops.assign_add)
"""The primitives that write into an array, whose zeros are written 0."""

SIGNS = {"+": "add", "-": "sub", "*": "mul", "/": "div", "**": "power", "neg": "neg"}
"""The primitives whose signs the operations of a `Formula` are written with."""


class Notation(Printer):
    """Writes the nodes of one graph.

    Parameters
    ----------
    graph : Graph
    language : Formulary
        `languages.TEXT` or `languages.LATEX`.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> x = Tensor([1.0, 3.0], name="x")
    >>> graph = Graph.capture((x - x.mean()) / (x * x).sum().sqrt())
    >>> Notation(graph).formula(graph.outputs[0])
    '(x − 1/N Σ x) / √(Σ x · x)'
    """

    language: Formulary

    def __init__(self, graph: Graph, language: Formulary = TEXT) -> None:
        super().__init__(language)
        self._names = _names(graph, language)
        self._reciprocals = _reciprocals(graph)
        self._nodes, self._axes = graph.nodes, Axes(graph.nodes)
        self.batch, self._batch = self._find_batch(graph)
        self._sums = [n for n in graph.nodes if _is(n, "sum")]
        kinds = {_axes(n) for n in graph.nodes if _reduces(n)}
        self._mixed = len(kinds) > 1 or not kinds <= {None, (0,)}
        self._alias: dict[int, str] = {}
        results = {step.result.index: step.number for step in graph.steps}
        self._arriving: dict[int, Gradient] = {}
        self._parts_of: dict[int, list[str]] = {}
        for g in graph.gradients:
            if g.kind != "part" and g.of.index in results:
                self._arriving[results[g.of.index]] = g
            if g.kind in ("part", "upstream"):
                self._parts_of.setdefault(g.of.index, []).append(g.name)

    def _find_batch(self, graph: Graph) -> tuple[int | None, Any]:
        """Give the length that "N" stands for: the only one that the graph averages over.

        Where it averages over none, the only one that its constants were computed from.
        """
        averages = [x for node in graph.nodes for x in _divisors(node, self._reciprocals)]
        constants = (node.origin for node in graph.nodes if node.role == "constant")
        counts = averages or [count for origin in constants for count in _counts(origin)]
        batches = {self._axes.of_count(count): count.value(self._length) for count in counts}
        return next(((n, key) for key, n in batches.items() if len(batches) == 1), (None, None))

    def name(self, name: str) -> str:
        """Write the name of a node, a constant or a gradient."""
        return self._names.get(name) or self.language.name(name)

    def formula(self, node: Node) -> str:
        """Write how `node` is computed from named nodes and constants."""
        return self._formula(node, {})

    def gradient(self, gradient: Gradient) -> str:
        """Write how a gradient is computed from what arrives at its step.

        A sum is written as the sum of its parts; what passes through an addition unchanged, as
        the gradient that it is.
        """
        if gradient.kind == "sum":
            parts = [self.name(part) for part in self._parts_of[gradient.of.index]]
            text = " + ".join(parts)
            return text if len(text) <= LONGEST else self._shortened(parts)
        arriving = self._arriving.get(gradient.step)
        if gradient.kind == "upstream" or arriving is None:
            return self.name(gradient.name)
        if gradient.node is arriving.node:
            return self.name(arriving.name)
        return self._formula(gradient.node, {arriving.node.index: arriving.name})

    def _shortened(self, terms: list[str]) -> str:
        return f"{terms[0]} + {self.language.ellipsis} + {terms[-1]}"

    def _formula(self, node: Node, alias: dict[int, str]) -> str:
        if alias != self._alias:
            self._alias = alias
            self._inlined.clear()  # what was written under another alias
        return self._expression(node).text

    def reference(self, node: Node) -> str:
        """Write `node` as an operand: its name, its number, or the whole expression."""
        return self.operand(node, node).text

    def axes(self, node: Node) -> str:
        """Write the axes of a sum or maximum, unless all are of the batch, or of everything."""
        axes = _axes(node)
        return self.language.axes(axes) if self._mixed and axes is not None else ""

    def sums(self) -> dict[str, str]:
        """Give the signs of sums that name their axes, with what they mean."""
        sign, means = self.language.sum_along, self.language.sum_along_means
        return {
            sign.format(self.axes(node)): means.format(shape_text(node.params["axis"]).strip("(,)"))
            for node in self._sums
            if self.axes(node)
        }

    # ------------------------------------------------------------------ expressions

    def _expression(self, node: Node) -> Written:
        """Write a node, its unnamed ancestors first."""
        for one in self.expression(node):
            if one.index not in self._inlined:
                written = self._compose(one)
                if len(written.text) > LONGEST:
                    written = Written(self.language.ellipsis, "call")
                self._inlined[one.index] = written
        return self._inlined[node.index]

    def _compose(self, node: Node) -> Written:
        op, inputs = node.op, node.inputs
        if op is None:
            return self.operand(node, node)
        scaled = self._scaled_sum(node)
        if scaled is not None or op.name == "sum":
            return self._sum(*(scaled or (node, "", "{}")))
        if op.name == "mul" and inputs[1].role == "constant" and inputs[0].role != "constant":
            inputs = inputs[::-1]
        if op.name == "mul" and _is_product_with(*inputs):  # a · b · b is a · b²
            return self._times_square(node, inputs[0].inputs[0], inputs[1])
        how, binds = self.language.written(op, node)
        if how.need(len(inputs) - 1) == "sigma" and self.operand(inputs[-1], node).binds == "sigma":
            binds = min(binds, "sigma", key=self.language.levels.index)  # Σ swallows what follows
        return Written(self.fill(how, node, inputs), binds)

    def bracketed(self, node: Node, consumer: Node, need: str, position: int = 0) -> str:
        """Write an operand; no sign follows an operator: a − (−b)."""
        text = super().bracketed(node, consumer, need, position)
        if need and position and text.startswith(("-", "−")):
            return self.language.brackets.format(text)
        return text

    def _form(self, name: str) -> Form:
        return self.language.written(TABLE[name], None)[0]

    def _times_square(self, node: Node, a: Node, b: Node) -> Written:
        square = self.fill(self._form("square"), node, [b])
        times = self._form("mul")
        first = self.bracketed(a, node, times.need(0))
        return Written(times.fill(lambda k, _: square if k else first, {}), "product")

    def _sum(self, total: Node, n: str, sign: str) -> Written:
        """Write a sum, or 1/n times it; a minus goes in front of it."""
        x, inner = self._signed(total.inputs[0])
        how = form(self.language.scaled_sum) if n else self._form("sum")
        params = {"n": n, "axes": self.axes(total)}
        text = how.fill(lambda _, need: self.bracketed(x, total, need), params)
        return Written(sign.format(inner.format(text)), "sigma")

    def _scaled_sum(self, node: Node) -> tuple[Node, str, str] | None:
        """Recognise 1/n · Σ and Σ / n, which mean the same; give the sum, n and a sign."""
        if _is(node, "mul"):
            for factor, other in (node.inputs, node.inputs[::-1]):
                if factor.index in self._reciprocals:
                    total, sign = self._signed(other)
                    if total.name is None and _is(total, "sum"):
                        return total, self._count(self._reciprocals[factor.index]), sign
        if _is(node, "div"):
            total, sign = self._signed(node.inputs[0])
            n = node.inputs[1]
            if total.name is None and _is(total, "sum") and _is_count(n, total):
                return total, self._count(n.origin), sign
        return None

    def _signed(self, x: Node) -> tuple[Node, str]:
        """Take a minus off; give what stood behind it, and how to write the sign."""
        if x.name is None and _is(x, "neg"):
            return x.inputs[0], self._form("neg").fill(lambda *_: "{}", {})
        return x, "{}"

    def operand(self, node: Node, consumer: Node) -> Written:
        """Refer to what has a name; give what was written out."""
        if node.role == "constant":
            is_base = consumer.op in PLACES and node is consumer.inputs[0]
            if is_base and _is_uniform(node.value):
                return self._number(node.value.flat[0])
            return self._constant(node)
        name = self._alias.get(node.index, node.name)
        return self._inlined[node.index] if name is None else Written(self.name(name), "call")

    def _constant(self, node: Node) -> Written:
        value = node.value
        if isinstance(node.origin, Formula) and self._mentions_batch(node.origin):
            return self._origin(node.origin)
        if node.name is not None:
            return Written(self.name(node.name), "call")
        if isinstance(value, Fraction) and node.dtype == object:
            return Written(str(value), "product")
        if isinstance(value, np.ndarray):
            return Written(self._array(value), "call")
        return self._number(value)

    def _number(self, value: Any) -> Written:
        number = number_text(value)
        return Written(self.language.number(number), "sum" if number.startswith("-") else "call")

    def _mentions_batch(self, formula: Formula) -> bool:
        if is_count(formula) and self._axes.of_count(formula) == self._batch:
            return True
        return any(self._mentions_batch(x) for x in formula.args if isinstance(x, Formula))

    def _origin(self, x: Any) -> Written:
        """Write a number as it was computed from lengths."""
        if not isinstance(x, Formula):
            return self._number(x)
        if is_count(x) and self._axes.of_count(x) == self._batch:
            return Written("N", "call")
        if x.op not in SIGNS or not self._mentions_batch(x):
            return self._number(x.value(self._length))
        operands = [self._origin(one) for one in x.args]
        if x.op == "/" and operands[0].text == "1":
            n = self.language.bracketed(operands[1], "power")
            return Written(self.language.ratio.format(n=n), "product")
        how, binds = self.language.written(TABLE[SIGNS[x.op]], None)
        text = how.fill(lambda k, need: self.language.bracketed(operands[k], need), {})
        return Written(text, binds)

    def _length(self, index: int, axis: int) -> int:
        return self._nodes[index].shape[axis]

    def _array(self, array: Any) -> str:
        name, shape = self.language.operator("array"), shape_text(array.shape)[1:-1]
        return self.language.call.format(name=name, operands=shape)

    def _count(self, count: Formula) -> str:
        return self.language.bracketed(self._origin(count), "power")

    def params(self, node: Node) -> dict[str, str]:
        """Write the parameters of an operation shortly."""
        params = {name: str(value) for name, value in node.params.items()}
        params["name"] = self.language.operator(str(node.op))
        if "n" in params:
            params["n"] = number_text(node.params["n"])
        if "key" in params:
            params["key"] = self._key(node.params["key"], node)
        for k, key in enumerate(node.params.get("keys", ())):
            params[f"key{k}"] = self._key(key, node)
        return params | {"axes": self.axes(node) if _reduces(node) else ""}

    def _key(self, key: Any, node: Node) -> str:
        letters = iter("ijklmnpqrst")  # an array of indices, as in z[i, j]
        first = len(node.params.get("keys", ()))
        return ", ".join(
            self.operand(node.inputs[first + int(part)], node).text
            if isinstance(part, str)
            else next(letters, "…")
            if isinstance(part, np.ndarray)
            else self._key_part(part)
            for part in (key if isinstance(key, tuple) else (key,))
        )

    def _key_part(self, key: Any) -> str:
        if isinstance(key, slice):
            ends = ["" if k is None else str(k) for k in (key.start, key.stop, key.step)]
            return ":".join(ends if ends[2] else ends[:2])
        return self.language.ellipsis if key is Ellipsis else str(key)


def _names(graph: Graph, language: Formulary) -> dict[str, str]:
    """Write every name so that no two look the same."""
    names = {n.name: language.name(n.name) for n in graph.nodes if n.name}
    gradients = {g.name for g in graph.gradients}
    names = _distinct({k: v for k, v in names.items() if k not in gradients}, language)
    for g in graph.gradients:
        of = str(g.of.name)
        names[g.name] = language.gradient(names[of], g.name[len(of) + 1 :])
    return _distinct(names, language)


def _distinct(names: dict[str, str], language: Formulary) -> dict[str, str]:
    times = Counter(names.values())
    return {
        name: language.exact_name(name) if times[written] > 1 else written
        for name, written in names.items()
    }


def _reciprocals(graph: Graph) -> dict[int, Formula]:
    """Find the constants 1/n, where n counts entries; give their n."""
    origins = {x.index: x.origin for x in graph.nodes if isinstance(x.origin, Formula)}
    return {
        k: f.args[1]
        for k, f in origins.items()
        if f.op == "/"
        and is_count(f.args[1])
        and not isinstance(f.args[0], Formula)
        and f.args[0] == 1
    }


def _divisors(node: Node, reciprocals: Mapping[int, Formula]) -> Iterator[Formula]:
    """Give what a node divides by to average."""
    if _is(node, "div") and _is_count(node.inputs[1], node.inputs[0]):
        yield node.inputs[1].origin
    yield from (reciprocals[x.index] for x in node.inputs if x.index in reciprocals)


def _counts(origin: Any) -> Iterator[Formula]:
    """Give the products of lengths in a formula."""
    if is_count(origin):
        yield origin
    elif isinstance(origin, Formula):
        yield from (count for x in origin.args for count in _counts(x))


def number_text(value: Any) -> str:
    """Write a number shortly: 3 for 3.0, 1e-05 for 0.00001."""
    if isinstance(value, Fraction):
        is_float = value.numerator.bit_length() <= 1023 or value.denominator > 1
        value = float(value) if is_float else value.numerator
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e16:
        return str(int(value))
    return repr(value)


def shape_text(shape: tuple[int, ...]) -> str:
    """Write a shape as Python does: (64, 100), (100,), ()."""
    return str(tuple(shape))


def _is(node: Node, name: str) -> bool:
    return node.op is not None and node.op.name == name


def _is_product_with(x: Node, factor: Node) -> bool:
    return x.name is None and _is(x, "mul") and x.inputs[1] is factor


def _is_count(n: Node, total: Node) -> bool:
    """Whether `n` is the number of values that the sum `total` adds up."""
    return _is(total, "sum") and is_count(n.origin) and n.value == length_of_sum(total)


def _is_uniform(array: Any) -> bool:
    """Whether all entries are one number, as those of zeros into which something is written."""
    return bool(array.size) and bool((array == array.flat[0]).all())


def _reduces(node: Node) -> bool:
    return _is(node, "sum") or _is(node, "max")


def _axes(node: Node) -> tuple[int, ...] | None:
    """Give the axes of a reduction; None if it leaves a single number."""
    axes: tuple[int, ...] = node.params["axis"]
    return axes if len(axes) < len(node.inputs[0].shape) else None
