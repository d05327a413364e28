"""Formulas: one node or step of a Graph as text, for pictures and tables, or as LaTeX.

A table per language gives each primitive a template, how tightly the result binds, and how tightly
each operand must bind to stand there without brackets. Unnamed nodes are written out inside their
consumer; named nodes and constants are referred to.

This is for eyes: constant factors come first, a mean is ``1/N Σ``, and a sum names its axes only
where the graph sums along different ones.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from tinygraph.graph.nodes import Gradient, Node
from tinygraph.graph.snapshot import Graph
from tinygraph.writing import latex

__all__ = ["LATEX", "TEXT", "Notation", "shape_text"]

# How tightly an expression binds, loosest first.
LOOSE, SUM, MATMUL, SIGMA, MINUS, PRODUCT, POWER, ATOM = range(8)

Template = tuple[str, int, tuple[int, ...]]


@dataclass(frozen=True)
class Language:
    """How one language writes primitives, names and numbers.

    Attributes
    ----------
    templates : mapping
        By primitive: template with ``{0}``, ``{1}`` for the operands, binding of the result,
        and the binding that each operand needs.
    function : str
        Template of every other primitive, with ``{name}`` and ``{operands}``.
    name, number : callable
        How a variable and a number are written.
    exact_name : callable
        How a variable is written that `name` writes like another one.
    gradient : callable
        How the gradient of a written variable is written, given also what its own name ends in.
    axes : callable
        How the axes are written that a sum runs along.
    ellipsis : str
        Stands for what is too long.
    brackets : str
        Template that holds an expression together.
    scaled_sum : str
        1/n · Σ, with ``{n}`` and ``{0}``.
    ratio : str
        1/n, with ``{n}``.
    sum_along : str, str
        The sign of a sum, with ``{}`` for its axes, and what it means, with ``{}`` for their list.
    """

    templates: Mapping[str, Template]
    function: str
    name: Callable[[str], str]
    number: Callable[[str], str]
    exact_name: Callable[[str], str]
    gradient: Callable[[str, str], str]
    axes: Callable[[Iterable[int]], str]
    ellipsis: str
    brackets: str
    scaled_sum: str
    ratio: str
    sum_along: tuple[str, str]


_TEXT: dict[str, Template] = {
    "add": ("{0} + {1}", SUM, (SUM, MATMUL)),
    "sub": ("{0} − {1}", SUM, (SUM, MATMUL)),
    "mul": ("{0} · {1}", PRODUCT, (MINUS, SIGMA)),
    "div": ("{0} / {1}", PRODUCT, (MINUS, POWER)),
    "neg": ("−{0}", MINUS, (SIGMA,)),
    "inverse": ("1/{0}", PRODUCT, (POWER,)),
    "square": ("{0}²", POWER, (ATOM,)),
    "sqrt": ("√{0}", ATOM, (ATOM,)),
    "pow": ("{0}^{n}", POWER, (ATOM,)),
    "power": ("{0}^{1}", POWER, (ATOM, ATOM)),
    "sum": ("Σ{axes} {0}", SIGMA, (PRODUCT,)),
    "max": ("max{axes}({0})", ATOM, (LOOSE,)),
    "matmul": ("{0} @ {1}", MATMUL, (POWER, POWER)),
    "greater": ("{0} > {1}", LOOSE, (SUM, SUM)),
    "greater_equal": ("{0} ≥ {1}", LOOSE, (SUM, SUM)),
    "less": ("{0} < {1}", LOOSE, (SUM, SUM)),
    "less_equal": ("{0} ≤ {1}", LOOSE, (SUM, SUM)),
    "equal": ("{0} = {1}", LOOSE, (SUM, SUM)),
    "not_equal": ("{0} ≠ {1}", LOOSE, (SUM, SUM)),
    "index": ("{0}[{key}]", ATOM, (ATOM,)),
    "scatter": ("scatter({0} → [{key}])", ATOM, (LOOSE,)),
    "transpose": ("{0}ᵀ", POWER, (ATOM,)),
}

_LATEX: dict[str, Template] = _TEXT | {
    "sub": ("{0} - {1}", SUM, (SUM, MATMUL)),
    "mul": (r"{0} \cdot {1}", PRODUCT, (MINUS, SIGMA)),
    "div": (r"\frac{{{0}}}{{{1}}}", PRODUCT, (LOOSE, LOOSE)),
    "neg": ("-{0}", MINUS, (SIGMA,)),
    "inverse": (r"\frac{{1}}{{{0}}}", PRODUCT, (LOOSE,)),
    "square": ("{0}^{{2}}", POWER, (ATOM,)),
    "sqrt": (r"\sqrt{{{0}}}", ATOM, (LOOSE,)),
    "exp": ("e^{{{0}}}", POWER, (LOOSE,)),
    "log": (r"\log\left({0}\right)", ATOM, (LOOSE,)),
    "sin": (r"\sin\left({0}\right)", ATOM, (LOOSE,)),
    "cos": (r"\cos\left({0}\right)", ATOM, (LOOSE,)),
    "tanh": (r"\tanh\left({0}\right)", ATOM, (LOOSE,)),
    "abs": (r"\left|{0}\right|", ATOM, (LOOSE,)),
    "maximum": (r"\max\left({0}, {1}\right)", ATOM, (LOOSE, LOOSE)),
    "minimum": (r"\min\left({0}, {1}\right)", ATOM, (LOOSE, LOOSE)),
    "pow": ("{0}^{{{n}}}", POWER, (ATOM,)),
    "power": ("{0}^{{{1}}}", POWER, (ATOM, LOOSE)),
    "sum": (r"\sum{axes} {0}", SIGMA, (PRODUCT,)),
    "max": (r"\max{axes}\left({0}\right)", ATOM, (LOOSE,)),
    "matmul": (r"{0} \, {1}", MATMUL, (POWER, POWER)),
    "greater_equal": (r"{0} \geq {1}", LOOSE, (SUM, SUM)),
    "less_equal": (r"{0} \leq {1}", LOOSE, (SUM, SUM)),
    "not_equal": (r"{0} \neq {1}", LOOSE, (SUM, SUM)),
    "index": (r"{0}[{key}]", ATOM, (ATOM,)),
    "scatter": (r"\mathrm{{scatter}}\left({0} \to [{key}]\right)", ATOM, (LOOSE,)),
    "transpose": (r"{0}^{{\top}}", POWER, (ATOM,)),
}


def _text_axes(axes: Iterable[int]) -> str:
    return "".join(map(str, axes)).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


TEXT = Language(
    _TEXT,
    "{name}({operands})",
    str,
    str,
    str,
    "d{}{}".format,
    _text_axes,
    "…",
    "({})",
    "1/{n} Σ{axes} {0}",
    "1/{n}",
    ("Σ{}", "sum along axis {}"),
)
LATEX = Language(
    _LATEX,
    r"\mathrm{{{name}}}\left({operands}\right)",
    latex.name,
    latex.number,
    latex.exact_name,
    latex.gradient,
    latex.axes,
    r"\ldots",
    r"\left({}\right)",
    r"\frac{{1}}{{{n}}} \sum{axes} {0}",
    r"\frac{{1}}{{{n}}}",
    (r"\sum{}", r"\mathrm{{sum\ along\ axis}}\ {}"),
)

LONGEST = 400


class Notation:
    """Writes the nodes of one graph.

    Parameters
    ----------
    graph : Graph
    language : Language
        `TEXT` or `LATEX`.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> x = Tensor([1.0, 3.0], name="x")
    >>> graph = Graph.capture((x - x.mean()) / (x * x).sum().sqrt())
    >>> Notation(graph).formula(graph.outputs[0])
    '(x − 1/N Σ x) / √(Σ x · x)'
    """

    def __init__(self, graph: Graph, language: Language = TEXT) -> None:
        self.language = language
        self.batch = batch_size(graph)
        self._names = _names(graph, language)
        self._reciprocals = _reciprocals(graph)
        self._counts = {
            (n.step, self.batch)
            for n in graph.nodes
            if _is(n, "div") and _is_count(*n.inputs[::-1])
        }  # where a rule divides by what the mean of its step divides by
        self._sums = [n for n in graph.nodes if _is(n, "sum")]
        kinds = {_axes(n) for n in graph.nodes if _reduces(n)}
        self._mixed = len(kinds) > 1 or not kinds <= {None, (0,)}
        self._written: dict[int, tuple[str, int]] = {}
        self._alias: dict[int, str] = {}
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
            self._written.clear()  # what was written under another alias
        return self._expression(node)[0]

    def reference(self, node: Node) -> str:
        """Write `node` as an operand: its name, its number, or the whole expression."""
        return self._operand(node)[0]

    def axes(self, node: Node) -> str:
        """Write the axes of a sum or maximum, unless all are of the batch, or of everything."""
        axes = _axes(node)
        return self.language.axes(axes) if self._mixed and axes is not None else ""

    def sums(self) -> dict[str, str]:
        """Give the signs of sums that name their axes, with what they mean."""
        sign, meaning = self.language.sum_along
        return {
            sign.format(self.axes(node)): meaning.format(
                shape_text(node.params["axis"]).strip("(,)")
            )
            for node in self._sums
            if self.axes(node)
        }

    # ------------------------------------------------------------------ expressions

    def _expression(self, node: Node) -> tuple[str, int]:
        """Write a node without recursion, its unnamed ancestors first."""
        stack = [node]
        while stack:
            current = stack[-1]
            waiting = [
                x
                for x in _parts(current)
                if x.name is None and x.op is not None and x.index not in self._written
            ]
            if waiting:
                stack += waiting
                continue
            stack.pop()
            if current.index not in self._written:
                text, level = self._compose(current)
                if len(text) > LONGEST:
                    text, level = self.language.ellipsis, ATOM
                self._written[current.index] = text, level
        return self._written[node.index]

    def _compose(self, node: Node) -> tuple[str, int]:
        op, inputs = node.op, node.inputs
        if op is None:
            return self._operand(node)
        scaled = self._scaled_sum(node)
        if scaled is not None:
            total, n, sign = scaled
            return sign.format(self._sum(self.language.scaled_sum, total, n)), SIGMA
        if op.name == "sum":
            return self._sum(self.language.templates["sum"][0], node), SIGMA
        if op.name == "mul" and inputs[1].role == "constant" and inputs[0].role != "constant":
            inputs = inputs[::-1]
        if op.name == "transpose" and len(node.shape) != 2:
            return self._call(op.name, inputs), ATOM
        if op.name == "cast":
            return self._call(str(node.dtype), inputs), ATOM
        if op.name not in self.language.templates:
            return self._call(op.name, inputs), ATOM
        template, level, needs = self.language.templates[op.name]
        if op.name == "mul" and _is_product_with(inputs[0], inputs[1]):  # a · b · b is a · b²
            square, _, (need,) = self.language.templates["square"]
            first = self._bracketed(inputs[0].inputs[0], needs[0])
            return template.format(first, square.format(self._bracketed(inputs[1], need))), level
        operands = [self._bracketed(x, need) for x, need in zip(inputs, needs, strict=True)]
        for k in range(1, len(operands)):  # no sign after an operator: a − (−b)
            if needs[k] > LOOSE and operands[k].startswith(("-", "−")):
                operands[k] = self.language.brackets.format(operands[k])
        if needs[-1] == SIGMA and level > SIGMA and self._operand(inputs[-1])[1] == SIGMA:
            level = SIGMA  # the sum at the end would swallow a factor after it
        return template.format(*operands, **self._params(node)), level

    def _sum(self, template: str, total: Node, n: str = "") -> str:
        """Write a sum; a minus goes in front of it."""
        x, sign = self._signed(total.inputs[0])
        return sign.format(template.format(self._bracketed(x, PRODUCT), n=n, axes=self.axes(total)))

    def _scaled_sum(self, node: Node) -> tuple[Node, str, str] | None:
        """Recognise 1/n · Σ and Σ / n, which mean the same; give the sum, n and a sign."""
        if _is(node, "mul"):
            for factor, other in (node.inputs, node.inputs[::-1]):
                if factor.index in self._reciprocals:
                    total, sign = self._signed(other)
                    if total.name is None and _is(total, "sum"):
                        return total, self._count(factor.value.denominator), sign
        if _is(node, "div"):
            total, sign = self._signed(node.inputs[0])
            n = node.inputs[1]
            if total.name is None and _is(total, "sum") and _is_count(n, total):
                return total, self._count(int(n.value)), sign
        return None

    def _signed(self, x: Node) -> tuple[Node, str]:
        """Take a minus off; give what stood behind it, and how to write the sign."""
        if x.name is None and _is(x, "neg"):
            return x.inputs[0], self.language.templates["neg"][0]
        return x, "{}"

    def _call(self, name: str, operands: Iterable[Node]) -> str:
        written = ", ".join(self._operand(x)[0] for x in operands)
        return self.language.function.format(name=name, operands=written)

    def _bracketed(self, node: Node, need: int) -> str:
        text, level = self._operand(node)
        return text if level >= need else self.language.brackets.format(text)

    def _operand(self, node: Node) -> tuple[str, int]:
        if node.role == "constant":
            return self._constant(node)
        name = self._alias.get(node.index, node.name)
        return self._written[node.index] if name is None else (self.name(name), ATOM)

    def _constant(self, node: Node) -> tuple[str, int]:
        value = node.value
        if node.index in self._reciprocals and value.denominator == self.batch:
            return self.language.ratio.format(n="N"), PRODUCT
        if node.name is not None:
            return self.name(node.name), ATOM
        if isinstance(value, Fraction) and node.dtype == object:
            return str(value), PRODUCT
        if isinstance(value, np.ndarray):
            return self._array(value), ATOM
        if (node.step, value) in self._counts:
            return "N", ATOM
        number = number_text(value)
        return self.language.number(number), SUM if number.startswith("-") else ATOM

    def _array(self, array: Any) -> str:
        return self.language.function.format(name="array", operands=shape_text(array.shape)[1:-1])

    def _count(self, n: int) -> str:
        return "N" if n == self.batch else str(n)

    def _params(self, node: Node) -> dict[str, str]:
        if not node.params:
            return {}
        params = {name: str(value) for name, value in node.params.items()}
        if "n" in params:
            params["n"] = number_text(node.params["n"])
        if "key" in params:
            key = node.params["key"]
            parts = key if isinstance(key, tuple) else (key,)
            letters = iter("ijklmnpqrst")  # an array of indices, as in z[i, j]
            params["key"] = ", ".join(
                next(letters, "…") if isinstance(part, np.ndarray) else self._key(part)
                for part in parts
            )
        return params | {"axes": self.axes(node) if _reduces(node) else ""}

    def _key(self, key: Any) -> str:
        if isinstance(key, slice):
            ends = ["" if k is None else str(k) for k in (key.start, key.stop, key.step)]
            return ":".join(ends if ends[2] else ends[:2])
        return self.language.ellipsis if key is Ellipsis else str(key)


def _names(graph: Graph, language: Language) -> dict[str, str]:
    """Write every name so that no two look the same."""
    names = {n.name: language.name(n.name) for n in graph.nodes if n.name}
    gradients = {g.name for g in graph.gradients}
    names = _distinct({k: v for k, v in names.items() if k not in gradients}, language)
    for g in graph.gradients:
        of = str(g.of.name)
        names[g.name] = language.gradient(names[of], g.name[len(of) + 1 :])
    return _distinct(names, language)


def _distinct(names: dict[str, str], language: Language) -> dict[str, str]:
    times = Counter(names.values())
    return {
        name: language.exact_name(name) if times[written] > 1 else written
        for name, written in names.items()
    }


def batch_size(graph: Graph) -> int | None:
    """Give the number that "N" stands for: the only length that the graph averages over."""
    lengths = {graph.nodes[k].value.denominator for k in _reciprocals(graph)}
    for node in graph.nodes:
        if _is(node, "div") and _is_count(node.inputs[1], node.inputs[0]):
            lengths.add(int(node.inputs[1].value))
    return lengths.pop() if len(lengths) == 1 else None


def _reciprocals(graph: Graph) -> set[int]:
    """Find the constants 1/n, where n values are summed; a named one must scale such a sum."""
    lengths = {_length(node) for node in graph.nodes if _is(node, "sum")} - {1}
    return {
        x.index
        for node in graph.nodes
        for x in node.inputs
        if x.role == "constant"
        and isinstance(x.value, Fraction)
        and x.value.numerator == 1
        and x.value.denominator in lengths
        and (
            x.name is None
            or any(_is(y, "sum") and _length(y) == x.value.denominator for y in node.inputs)
        )
    }


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
    return _is(total, "sum") and isinstance(n.value, Fraction) and n.value == _length(total)


def _length(total: Node) -> int:
    """Count the values that a sum adds up."""
    return math.prod(total.inputs[0].shape[k] for k in total.params["axis"])


def _reduces(node: Node) -> bool:
    return _is(node, "sum") or _is(node, "max")


def _axes(node: Node) -> tuple[int, ...] | None:
    """Give the axes of a reduction; None if it leaves a single number."""
    axes: tuple[int, ...] = node.params["axis"]
    return axes if len(axes) < len(node.inputs[0].shape) else None


def _parts(node: Node) -> list[Node]:
    """Give the nodes that an expression of `node` mentions."""
    parts = list(node.inputs)
    for x in node.inputs:
        if x.op is not None and x.op.name in ("sum", "neg"):  # which some forms look through
            parts += x.inputs
    return parts
