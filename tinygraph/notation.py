"""Formulas: one node or step of a Graph as text, for pictures and tables, or as LaTeX.

A table per language gives each primitive a template, how tightly the result binds, and how tightly
each operand must bind to stand there without brackets. Unnamed nodes are written out inside their
consumer; named nodes and constants are referred to.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from tinygraph.graph import Graph
from tinygraph.nodes import Gradient, Node

__all__ = ["LATEX", "TEXT", "Notation", "shape_text"]

# How tightly an expression binds, loosest first.
LOOSE, SUM, SIGMA, MINUS, PRODUCT, POWER, ATOM = range(7)

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
    brackets : str
        Template that holds an expression together.
    scaled_sum : str
        1/n · Σ, with ``{n}`` and ``{0}``.
    ratio : str
        1/n, with ``{n}``.
    """

    templates: Mapping[str, Template]
    function: str
    name: Callable[[str], str]
    number: Callable[[str], str]
    brackets: str
    scaled_sum: str
    ratio: str


_TEXT: dict[str, Template] = {
    "add": ("{0} + {1}", SUM, (SUM, SIGMA)),
    "sub": ("{0} − {1}", SUM, (SUM, SIGMA)),
    "mul": ("{0} · {1}", PRODUCT, (MINUS, SIGMA)),
    "div": ("{0} / {1}", PRODUCT, (PRODUCT, POWER)),
    "neg": ("−{0}", MINUS, (SIGMA,)),
    "inverse": ("1/{0}", PRODUCT, (POWER,)),
    "square": ("{0}²", POWER, (ATOM,)),
    "sqrt": ("√{0}", ATOM, (ATOM,)),
    "pow": ("{0}^{n}", POWER, (ATOM,)),
    "power": ("{0}^{1}", POWER, (ATOM, ATOM)),
    "sum": ("Σ {0}", SIGMA, (PRODUCT,)),
    "matmul": ("{0} @ {1}", PRODUCT, (PRODUCT, POWER)),
    "greater": ("{0} > {1}", LOOSE, (SUM, SUM)),
    "greater_equal": ("{0} ≥ {1}", LOOSE, (SUM, SUM)),
    "less": ("{0} < {1}", LOOSE, (SUM, SUM)),
    "less_equal": ("{0} ≤ {1}", LOOSE, (SUM, SUM)),
    "equal": ("{0} = {1}", LOOSE, (SUM, SUM)),
    "not_equal": ("{0} ≠ {1}", LOOSE, (SUM, SUM)),
    "index": ("{0}[{key}]", ATOM, (ATOM,)),
    "transpose": ("{0}ᵀ", POWER, (ATOM,)),
}

_LATEX: dict[str, Template] = _TEXT | {
    "sub": ("{0} - {1}", SUM, (SUM, SIGMA)),
    "mul": (r"{0} \cdot {1}", PRODUCT, (MINUS, SIGMA)),
    "div": (r"\frac{{{0}}}{{{1}}}", ATOM, (LOOSE, LOOSE)),
    "neg": ("-{0}", MINUS, (SIGMA,)),
    "inverse": (r"\frac{{1}}{{{0}}}", ATOM, (LOOSE,)),
    "square": ("{0}^{{2}}", POWER, (ATOM,)),
    "sqrt": (r"\sqrt{{{0}}}", ATOM, (LOOSE,)),
    "exp": ("e^{{{0}}}", POWER, (LOOSE,)),
    "pow": ("{0}^{{{n}}}", POWER, (ATOM,)),
    "power": ("{0}^{{{1}}}", POWER, (ATOM, LOOSE)),
    "sum": (r"\sum {0}", SIGMA, (PRODUCT,)),
    "matmul": (r"{0} \, {1}", PRODUCT, (PRODUCT, POWER)),
    "greater_equal": (r"{0} \geq {1}", LOOSE, (SUM, SUM)),
    "less_equal": (r"{0} \leq {1}", LOOSE, (SUM, SUM)),
    "not_equal": (r"{0} \neq {1}", LOOSE, (SUM, SUM)),
    "transpose": (r"{0}^{{\top}}", POWER, (ATOM,)),
}

_GREEK = re.compile(
    "alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|pi|rho|sigma|tau|"
    "upsilon|phi|chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Upsilon|Phi|Psi|Omega"
)


def _latex_name(name: str) -> str:
    r"""Write a variable: ``mu`` as \mu, ``dxmu1`` as d\mathrm{xmu}_{1}, anything else upright."""
    base, _, index = re.fullmatch(r"(.*?)(\[?(\d*)\]?)", name, re.DOTALL).groups()  # type: ignore[union-attr]
    prefix, stem = ("d", base[1:]) if base.startswith("d") and len(base) > 1 else ("", base)
    if stem == "eps":
        stem = r"\varepsilon"
    elif _GREEK.fullmatch(stem):
        stem = "\\" + stem
    elif len(stem) > 1:
        stem = rf"\mathrm{{{_latex_text(stem)}}}"
    else:
        stem = _latex_text(stem)
    return prefix + stem + (f"_{{{index}}}" if index else "")


def _latex_text(text: str) -> str:
    escaped = re.sub(r"([{}$&#%_])", r"\\\1", text.replace("\\", ""))
    return re.sub(r"[\^~\s]", r"\\,", escaped)


def _latex_number(number: str) -> str:
    mantissa, e, exponent = number.partition("e")
    return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if e else mantissa


TEXT = Language(_TEXT, "{name}({operands})", str, str, "({})", "1/{n} Σ {0}", "1/{n}")
LATEX = Language(
    _LATEX,
    r"\mathrm{{{name}}}({operands})",
    _latex_name,
    _latex_number,
    r"\left({}\right)",
    r"\frac{{1}}{{{n}}} \sum {0}",
    r"\frac{{1}}{{{n}}}",
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

    def formula(self, node: Node) -> str:
        """Write how `node` is computed from named nodes and constants."""
        return self._expression(node)[0]

    def gradient(self, gradient: Gradient) -> str:
        """Write how a gradient is computed from what arrives at its step.

        A sum is written as the sum of its parts; what passes through an addition unchanged, as
        the gradient that it is.
        """
        if gradient.kind == "sum":
            parts = self._parts_of[gradient.of.index]
            return " + ".join(self.language.name(part) for part in parts)
        arriving = self._arriving.get(gradient.step)
        if gradient.kind == "upstream" or arriving is None:
            return self.language.name(gradient.name)
        if gradient.node is arriving.node:
            return self.language.name(arriving.name)
        self._alias = {arriving.node.index: arriving.name}
        self._written.clear()  # what was written under another alias
        text = self.formula(gradient.node)
        self._alias = {}
        self._written.clear()
        return text

    def reference(self, node: Node) -> str:
        """Write `node` as an operand: its name, its number, or the whole expression."""
        return self._operand(node)[0]

    # ------------------------------------------------------------------ expressions

    def _expression(self, node: Node) -> tuple[str, int]:
        """Write a node without recursion, its unnamed ancestors first."""
        stack = [node]
        while stack:
            current = stack[-1]
            inner = [x for x in _parts(current) if x.name is None and x.op is not None]
            waiting = [x for x in inner if x.index not in self._written]
            if waiting:
                stack += waiting
                continue
            stack.pop()
            if current.index not in self._written:
                text, level = self._compose(current)
                if len(text) > LONGEST:
                    text, level = "…", ATOM
                self._written[current.index] = text, level
        return self._written[node.index]

    def _compose(self, node: Node) -> tuple[str, int]:
        op, inputs = node.op, node.inputs
        if op is None:
            return self._operand(node)
        scaled = self._scaled_sum(node)
        if scaled is not None:
            summand, n = scaled
            text = self.language.scaled_sum.format(self._bracketed(summand, PRODUCT), n=n)
            return text, SIGMA
        if op.name == "sum" and inputs[0].name is None and _is(inputs[0], "neg"):
            text, level, needs = self.language.templates["sum"]
            inner = text.format(self._bracketed(inputs[0].inputs[0], needs[0]))
            return self.language.templates["neg"][0].format(inner), SIGMA
        if op.name == "mul" and inputs[1].role == "constant" and inputs[0].role != "constant":
            inputs = inputs[::-1]
        if op.name == "transpose" and len(node.shape) != 2:
            return self._call(op.name, inputs), ATOM
        if op.name == "cast":
            return self._call(str(node.dtype), inputs), ATOM
        if op.name not in self.language.templates:
            return self._call(op.name, inputs), ATOM
        template, level, needs = self.language.templates[op.name]
        operands = [self._bracketed(x, need) for x, need in zip(inputs, needs, strict=True)]
        if needs[-1] == SIGMA and level > SIGMA and self._operand(inputs[-1])[1] == SIGMA:
            level = SIGMA  # the sum at the end would swallow a factor after it
        return template.format(*operands, **_params(node)), level

    def _scaled_sum(self, node: Node) -> tuple[Node, str] | None:
        """Recognise 1/n · Σ and Σ / n, which mean the same; give the summand and n."""
        if _is(node, "mul"):
            for factor, other in (node.inputs, node.inputs[::-1]):
                if _is_reciprocal(factor) and other.name is None and _is(other, "sum"):
                    return other.inputs[0], self._count(factor.value.denominator)
        if _is(node, "div"):
            total, n = node.inputs
            if total.name is None and _is(total, "sum") and _is_count(n, total):
                return total.inputs[0], self._count(int(n.value))
        return None

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
        return self._written[node.index] if name is None else (self.language.name(name), ATOM)

    def _constant(self, node: Node) -> tuple[str, int]:
        value = node.value
        if _is_reciprocal(node) and value.denominator == self.batch:
            return self.language.ratio.format(n="N"), PRODUCT
        if node.name is not None:
            return self.language.name(node.name), ATOM
        if isinstance(value, Fraction) and node.dtype == object:
            return str(value), PRODUCT
        if isinstance(value, np.ndarray):
            return f"array{shape_text(value.shape)}", ATOM
        number = number_text(value)
        return self.language.number(number), SUM if number.startswith("-") else ATOM

    def _count(self, n: int) -> str:
        return "N" if n == self.batch else str(n)


def batch_size(graph: Graph) -> int | None:
    """Give the number that "N" stands for: the only length that the graph averages over."""
    lengths = set()
    for node in graph.nodes:
        if _is_reciprocal(node):
            lengths.add(node.value.denominator)
        elif _is(node, "div") and _is_count(node.inputs[1], node.inputs[0]):
            lengths.add(int(node.inputs[1].value))
    return lengths.pop() if len(lengths) == 1 else None


def number_text(value: Any) -> str:
    """Write a number shortly: 3 for 3.0, 1e-05 for 0.00001."""
    if isinstance(value, Fraction):
        value = float(value)
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


def _is_reciprocal(node: Node) -> bool:
    value = node.value
    return (
        isinstance(value, Fraction)
        and value.numerator == 1
        and value.denominator > 1
        and (math.log2(value.denominator) % 1 != 0 or node.name is None)
    )


def _is_count(n: Node, total: Node) -> bool:
    """Whether `n` is the number of values that the sum `total` adds up."""
    if not (_is(total, "sum") and isinstance(n.value, Fraction)):
        return False
    x = total.inputs[0]
    return bool(n.value == math.prod(x.shape[k] for k in total.params["axis"]))


def _parts(node: Node) -> Iterable[Node]:
    """Give the nodes that an expression of `node` mentions."""
    for x in node.inputs:
        yield x
        if _is(x, "sum") or _is(x, "neg"):  # which some forms look through
            yield from x.inputs


def _params(node: Node) -> dict[str, str]:
    params = {name: str(value) for name, value in node.params.items()}
    if "key" in node.params:
        key = node.params["key"]
        params["key"] = ", ".join(map(_key_text, key if isinstance(key, tuple) else (key,)))
    return params


def _key_text(key: Any) -> str:
    if isinstance(key, slice):
        ends = ["" if k is None else str(k) for k in (key.start, key.stop, key.step)]
        return ":".join(ends if ends[2] else ends[:2])
    if isinstance(key, np.ndarray):
        return f"array{shape_text(key.shape)}"
    return {None: "None", Ellipsis: "…"}.get(key, str(key))
