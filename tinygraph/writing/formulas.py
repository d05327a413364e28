"""Formulas: one node or step of a Graph as text, for pictures and tables, or as LaTeX.

This is for eyes: constant factors come first, a mean is ``1/N Σ``, and a sum names its axes only
where the graph sums along different ones. Named nodes and constants are referred to; unnamed nodes
are written out inside their consumer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from tinygraph.engine import ops
from tinygraph.engine.autodiff import reachable
from tinygraph.engine.constants import variables_in
from tinygraph.engine.lengths import Formula
from tinygraph.engine.primitive import TABLE
from tinygraph.graph.nodes import Gradient, Node
from tinygraph.graph.snapshot import Graph
from tinygraph.writing.counts import Counts, is_count_of, origin_of
from tinygraph.writing.languages import TEXT, Form, Formulary, Printer, Written, form
from tinygraph.writing.numbers import number_text, root_of, shape_text
from tinygraph.writing.rewriting import PLAIN_SIGMOID, SIGMOID, Rewriter
from tinygraph.writing.rules import RULES

__all__ = ["Notation", "Tree"]

LONGEST = 400

PLACES = (ops.assign, ops.assign_add)
"""The primitives that write into an array, whose zeros are written 0."""

SIGNS = {"+": "add", "-": "sub", "*": "mul", "/": "div", "**": "power", "neg": "neg"}
SIGNS |= {"sqrt": "sqrt"}
"""The primitives whose signs the operations of a `Formula` are written with."""


class Tree(NamedTuple):
    """What is written: a node, of the graph or rewritten, and all that is not referred to.

    `originals` gives, by the index of a rewritten one, that of the node that it is written for.
    """

    root: Node
    inner: tuple[Node, ...]
    originals: Mapping[int, int]


class Notation(Printer):
    """Writes the nodes of one graph.

    Parameters
    ----------
    graph : Graph
    language : Formulary
        `languages.TEXT`, `languages.LATEX` or `languages.MATHML`.
    literal : bool, optional
        Whether to write what runs, operation by operation; by default it is rewritten for the eye,
        see `rules`.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> x = Tensor([1.0, 3.0], name="x")
    >>> graph = Graph.capture((x - x.mean()) / (x * x).sum().sqrt())
    >>> Notation(graph).formula(graph.outputs[0])
    '(x − 1/N Σ x) / √(Σ x²)'
    >>> Notation(graph, literal=True).formula(graph.outputs[0])
    '(x − 1/N Σ x) / √(Σ x · x)'
    """

    language: Formulary

    def __init__(self, graph: Graph, language: Formulary = TEXT, *, literal: bool = False) -> None:
        super().__init__(language)
        self.literal = literal
        is_taken = any(node.name in ("σ", "sigma") for node in graph.nodes)
        sigmoid = PLAIN_SIGMOID if is_taken else SIGMOID
        self._rewriter = Rewriter(graph, RULES, self._is_mean, sigmoid)
        self._signs: dict[tuple[Any, ...], tuple[str, str]] = {}
        self._written_out: set[int] = set()
        self._names = _names(graph, language)
        self._counts = Counts(graph)
        self.batch = self._counts.batch
        kinds = {_axes(n) for n in graph.nodes if _reduces(n)}
        self._mixed = len(kinds) > 1 or not kinds <= {None, (0,)}
        self._alias: dict[int, str] = {}
        self._has_matrices = any(_is(n, "matmul") for n in graph.nodes)
        self._forget()
        results = {step.result.index: step.number for step in graph.steps}
        self._arriving: dict[int, Gradient] = {}
        self._parts_of: dict[int, list[str]] = {}
        for g in graph.gradients:
            if g.kind != "part" and g.of.index in results:
                self._arriving[results[g.of.index]] = g
            if g.kind in ("part", "upstream"):
                self._parts_of.setdefault(g.of.index, []).append(g.name)

    def name(self, name: str) -> str:
        """Write the name of a node, a constant or a gradient."""
        return self._names.get(name) or self.language.linked(name, self.language.name(name))

    def formula(self, node: Node) -> str:
        """Write how `node` is computed from named nodes and constants."""
        return self._formula(node, {})

    def gradient(self, gradient: Gradient) -> str:
        """Write how a gradient is computed from what arrives at its step.

        A sum is written as the sum of its parts; what passes through an addition unchanged, as
        the gradient that it is.
        """
        if gradient.kind == "sum":
            return self.sum_of([self.name(part) for part in self._parts_of[gradient.of.index]])
        arriving = self._arriving.get(gradient.step)
        if gradient.kind == "upstream" or arriving is None:
            return self.name(gradient.name)
        if gradient.node is arriving.node:
            return self.name(arriving.name)
        return self._formula(gradient.node, {arriving.node.index: arriving.name})

    def tree(self, value: Node | Gradient) -> Tree | None:
        """Give what is written for a value, operation by operation; None for a name or a sum."""
        alias: dict[int, str] = {}
        if isinstance(value, Gradient):
            arriving = self._arriving.get(value.step)
            if value.kind in ("upstream", "sum") or not arriving or value.node is arriving.node:
                return None
            value, alias = value.node, {arriving.node.index: arriving.name}
        root = self._shown(value, alias)
        if root is not value and self._is_referred_to(root):
            return None
        inner = reachable([root], enter=lambda x: not self._is_referred_to(x))
        originals = self._rewriter.originals() | {root.index: value.index}
        return Tree(root, tuple(inner), originals)

    def twice(self, gradient: Gradient) -> str:
        """Write 2 · a part, where both operands of a product are one: a · a is a²."""
        whole = self._arriving.get(gradient.step)
        alias = {whole.node.index: whole.name} if whole else {}
        return self._formula(self._rewriter.doubled(gradient.node), alias)

    def sum_of(self, names: Sequence[str]) -> str:
        """Write a sum of written names."""
        text = self.language.plus.join(names)
        if self.language.length(text) <= LONGEST:
            return text
        return self.language.plus.join([names[0], self.language.ellipsis, names[-1]])

    def write_out(self, gradient: Gradient) -> None:
        """Write a gradient out from now on, and do not refer to it by its name."""
        if gradient.node.name == gradient.name:
            self._written_out.add(gradient.node.index)
            self._forget()

    def say(self, name: str, alias: str) -> None:
        """Write one name as another one from now on."""
        self._names[name] = self.name(alias)
        self._forget()

    def _forget(self) -> None:
        self._inlined.clear()
        self._rewriter.forget(self._is_referred_to)

    def _formula(self, node: Node, alias: dict[int, str]) -> str:
        shown = self._shown(node, alias)
        if shown is not node and self._is_referred_to(shown):
            return self.reference(shown)
        return self._expression(shown).text

    def _shown(self, node: Node, alias: dict[int, str]) -> Node:
        if alias != self._alias:
            self._alias = alias
            self._forget()  # what was written under another one
        return node if self.literal else self._rewriter.rewritten(node)

    def reference(self, node: Node) -> str:
        """Write `node` as an operand: its name, its number, or the whole expression."""
        return self.operand(node, node).text

    def mention(self, node: Node) -> str:
        """Write the name of a node, or how it is computed."""
        return self.name(node.name) if node.name else self.formula(node)

    def inline(self, written: str) -> str:
        """Write what is written in the middle of a sentence."""
        return self.language.inline.format(written)

    def axes(self, node: Node) -> str:
        """Write the axes of a sum or maximum, unless all are of the batch, or of everything."""
        axes = _axes(node)
        return self.language.axes(axes) if self._mixed and axes else ""

    def signs(self) -> dict[str, str]:
        """Give the signs that need a word, of all that has been written, and what they mean."""
        return dict(self._signs[kind] for kind in sorted(self._signs))

    # ------------------------------------------------------------------ expressions

    def _expression(self, node: Node) -> Written:
        """Write a node, its unnamed ancestors first."""
        for one in self.expression(node):
            if one.index not in self._inlined:
                written = self._compose(one)
                if self.language.length(written.text) > LONGEST:
                    written = Written(self.language.ellipsis, "call")
                self._inlined[one.index] = written
                self._explain(one)
        return self._inlined[node.index]

    def _explain(self, node: Node) -> None:
        """Keep what has to be said of a sign."""
        say, axes = self.language, self.axes(node) if _is(node, "sum") else ""
        if axes:
            along = node.params["axis"]
            counted = "axis" if len(along) == 1 else "axes"
            means = say.sum_along_means.format(f"{counted} {', '.join(map(str, along))}")
            self._signs["sum", *along] = say.sum_along.format(axes), means
        if node.op is SIGMOID:
            self._signs["sigmoid",] = say.sigmoid, say.sigmoid_means
        if say.times and self._is_elementwise(node):
            self._signs["product",] = say.elementwise, say.elementwise_means
        if _is(node, "transpose") and len(node.shape) > 2 and _is_flip(node.params["axes"]):
            self._signs["flip",] = say.flip, say.flip_means

    def _is_elementwise(self, node: Node) -> bool:
        """Whether a product goes entry by entry, where others are of matrices."""
        is_product = _is(node, "mul") and all(x.shape for x in node.inputs)
        return is_product and self._has_matrices

    def _compose(self, node: Node) -> Written:
        op, inputs = node.op, node.inputs
        if op is None:
            return self.operand(node, node)
        mean = self._mean(node)
        if mean is not None:
            return self._scaled_sum(*mean)
        how, binds = self.language.written(op, node)
        if self.language.times and self._is_elementwise(node):
            how = form(self.language.times)
        if how.need(len(inputs) - 1) == "sigma" and self.operand(inputs[-1], node).binds == "sigma":
            binds = min(binds, "sigma", key=self.language.levels.index)  # Σ swallows what follows
        return Written(self.fill(how, node, inputs), binds, self._is_signed(how, node))

    def bracketed(self, node: Node, consumer: Node, need: str, position: int = 0) -> str:
        """Write an operand; no sign follows an operator: a − (−b)."""
        written = self.operand(node, consumer)
        if need and position and written.signed:
            return self.language.brackets.format(written.text)
        return self.language.bracketed(written, need)

    def _is_signed(self, how: Form, node: Node) -> bool:
        """Whether an expression begins with a minus."""
        literal, field, need = how.parts[0]
        if literal or not isinstance(field, int):
            return literal.startswith(self.language.minus)
        first = self.operand(node.inputs[field], node)
        return first.signed and self.language.bracketed(first, need) == first.text

    def _scaled_sum(self, total: Node, n: str) -> Written:
        """Write 1/n times a sum."""
        how = form(self.language.scaled_sum)
        params = {"n": n, "axes": self.axes(total)}
        text = how.fill(lambda _, need: self.bracketed(total.inputs[0], total, need), params)
        return Written(text, "sigma")

    def _mean(self, node: Node) -> tuple[Node, str] | None:
        """Recognise 1/n · Σ and Σ / n, which mean the same; give the sum and n."""
        if _is(node, "mul"):
            for factor, total in (node.inputs, node.inputs[::-1]):
                if factor.index in self._counts.reciprocals and self._is_inner_sum(total):
                    return total, self._count(self._counts.reciprocals[factor.index])
        if _is(node, "div"):
            total, n = node.inputs
            if self._is_inner_sum(total) and is_count_of(n, total):
                return total, self.language.bracketed(self._constant(n), "power")
        return None

    def _is_inner_sum(self, x: Node) -> bool:
        return _is(x, "sum") and not self._is_referred_to(x)

    def _is_mean(self, node: Node) -> bool:
        return self._mean(node) is not None

    def _is_referred_to(self, node: Node) -> bool:
        return node.op is None or self._called(node) is not None

    def _called(self, node: Node) -> str | None:
        own = None if node.index in self._written_out else node.name
        return self._alias.get(node.index, own)

    def stands_alone(self, node: Node) -> bool:
        """Whether a node is referred to, or has been written."""
        return self._is_referred_to(node) or node.index in self._inlined

    def operand(self, node: Node, consumer: Node) -> Written:
        """Refer to what has a name; give what was written out."""
        if node.role == "constant":
            is_base = consumer.op in PLACES and node is consumer.inputs[0]
            if is_base and _is_uniform(node.value):
                return self._number(node.value.flat[0])
            return self._constant(node)
        name = self._called(node)
        return self._inlined[node.index] if name is None else Written(self.name(name), "call")

    def _constant(self, node: Node) -> Written:
        value = node.value
        origin = origin_of(node)
        if self._counts.mentions_batch(origin):
            return self._origin(origin)
        if node.written is not None:
            return self._origin(node.written)
        if node.name is not None:
            return Written(self.name(node.name), "call")
        if isinstance(value, Fraction) and node.dtype == object:
            return Written(self.language.number(str(value)), "product")
        if isinstance(value, np.ndarray):
            return Written(self._array(value), "call")
        return self._number(value)

    def _number(self, value: Any) -> Written:
        radicand = 0 if self.literal else root_of(value)
        if radicand:
            return Written(self.language.root.format(n=radicand), "call")
        number = number_text(value)
        negative = number.startswith("-")
        return Written(self.language.number(number), "sum" if negative else "call", negative)

    def _origin(self, x: Any) -> Written:
        """Write a number as it was computed from lengths."""
        if not isinstance(x, Formula):
            return self._number(x)
        if self._counts.is_batch(x):
            return Written(self.language.batch, "call")
        if x.op == "name":
            return Written(self.name(x.args[0]), "call")
        if x.op not in SIGNS or not (self._counts.mentions_batch(x) or any(variables_in(x))):
            return self._number(x.value(self._counts.length))
        if x.op == "**" and x.args[1] in (0.5, -0.5):
            root = Formula("sqrt", x.args[:1])
            return self._origin(root if x.args[1] > 0 else Formula("/", (1, root)))
        operands = [self._origin(one) for one in x.args]
        if x.op == "/" and operands[0].text == "1":
            n = self.language.bracketed(operands[1], "power")
            return Written(self.language.ratio.format(n=n), "product")
        how, binds = self.language.written(TABLE[SIGNS[x.op]], None)
        text = how.fill(lambda k, need: self.language.bracketed(operands[k], need), {})
        return Written(text, binds)

    def _array(self, array: Any) -> str:
        name, shape = self.language.operator("array"), shape_text(array.shape)[1:-1]
        return self.language.call.format(name=name, operands=self.language.parameter(shape))

    def _count(self, count: Formula) -> str:
        return self.language.bracketed(self._origin(count), "power")

    def params(self, node: Node) -> dict[str, str]:
        """Write the parameters of an operation shortly."""
        plain = self.language.parameter
        params = {name: plain(str(value)) for name, value in node.params.items()}
        params["name"] = self.language.operator(str(node.op))
        if "n" in params:
            params["n"] = self.language.number(number_text(node.params["n"]))
        if "key" in params:
            params["key"] = self._key(node.params["key"], node)
        for k, key in enumerate(node.params.get("keys", ())):
            params[f"key{k}"] = self._key(key, node)
        if _is(node, "transpose"):
            return params | {"axes": self.language.axes(node.params["axes"])}
        return params | {"axes": self.axes(node) if _reduces(node) else ""}

    def _key(self, key: Any, node: Node) -> str:
        letters = iter("ijklmnpqrst")  # an array of indices, as in z[i, j]
        first = len(node.params.get("keys", ()))
        plain = self.language.parameter
        return self.language.comma.join(
            self.operand(node.inputs[first + int(part)], node).text
            if isinstance(part, str)
            else plain(next(letters, "…"))
            if isinstance(part, np.ndarray)
            else plain(self._key_part(part))
            for part in (key if isinstance(key, tuple) else (key,))
        )

    def _key_part(self, key: Any) -> str:
        if isinstance(key, slice):
            ends = ["" if k is None else str(k) for k in (key.start, key.stop, key.step)]
            return self.language.colon.join(ends if ends[2] else ends[:2])
        return self.language.ellipsis if key is Ellipsis else str(key)


def _names(graph: Graph, language: Formulary) -> dict[str, str]:
    """Write every name so that no two look the same."""
    names = {n.name: language.name(n.name) for n in graph.nodes if n.name}
    gradients = {g.name for g in graph.gradients}
    names = _distinct({k: v for k, v in names.items() if k not in gradients}, language)
    for g in graph.gradients:
        of = str(g.of.name)
        names[g.name] = language.gradient(names[of], g.name[len(of) + 1 :])
    names = _distinct(names, language)
    return {name: language.linked(name, written) for name, written in names.items()}


def _distinct(names: dict[str, str], language: Formulary) -> dict[str, str]:
    times = Counter(names.values())
    return {
        name: language.exact_name(name) if times[written] > 1 else written
        for name, written in names.items()
    }


def _is(node: Node, name: str) -> bool:
    return node.op is not None and node.op.name == name


def _is_flip(axes: tuple[int, ...]) -> bool:
    n = len(axes)
    return n >= 2 and tuple(axes) == (*range(n - 2), n - 1, n - 2)


def _is_uniform(array: Any) -> bool:
    """Whether all entries are one number, as those of zeros into which something is written."""
    return bool(array.size) and bool((array == array.flat[0]).all())


def _reduces(node: Node) -> bool:
    return _is(node, "sum") or _is(node, "max")


def _axes(node: Node) -> tuple[int, ...] | None:
    """Give the axes of a reduction; None if it gives a single number."""
    axes: tuple[int, ...] = node.params["axis"]
    return axes if len(axes) < len(node.inputs[0].shape) else None
