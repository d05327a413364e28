"""Rewriting: the expressions of a graph as an author would print them. For display only.

What the rules of the table compute is right and not always nice to read: ``−(−g · o) · o``,
``(Kᵀ)ᵀ``. Here an expression is rebuilt, from its operands upwards in one pass, by the rules of
`rules`; every language then writes the result. What a rule writes is equal as mathematics, also
where rounding, or an infinity on the way, makes it another number. Named values stay what they
are, so that no step is dissolved in another; nothing that runs is ever rewritten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import count
from math import isfinite
from types import MappingProxyType
from typing import Any

import numpy as np

from tinygraph.engine.autodiff import reachable
from tinygraph.engine.lengths import Formula
from tinygraph.engine.primitive import TABLE, Primitive
from tinygraph.graph.nodes import NOTHING, Node
from tinygraph.graph.snapshot import Graph
from tinygraph.writing.products import Factor, Product, exact, times

__all__ = ["PLAIN_SIGMOID", "PRODUCTS", "SIGMOID", "Rewriter", "Rules", "is_count"]

PRODUCTS = ("neg", "mul", "div", "inverse", "square")


class Shorthand(Primitive):
    """What several primitives are together has a sign of its own; no table and no graph has it."""

    __slots__ = ()

    def __init__(self, name: str, forward: Callable[..., Any], **written: Any) -> None:
        self.name, self.symbol, self.forward = name, name, forward
        self.rules, self.of, self.elementwise, self.additive = (), (), True, False
        self.written, self.binds, self.home = written, {}, __name__


def _sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


PLAIN_SIGMOID = Shorthand("sigmoid", _sigmoid)
"""For where σ is a variable."""
SIGMOID = Shorthand(
    "sigmoid",
    _sigmoid,
    text="σ({0})",
    latex=r"\sigma\left({0}\right)",
    mathml="<mi>σ</mi><mo>(</mo>{0}<mo>)</mo>",
)


Rule = Callable[["Rewriter", Node], Node | None]
Rules = tuple[tuple[str, tuple[str, ...], Rule], ...]
"""Algebra, names of operations, and what rewrites one of these; or gives None, if it does not."""


class Rewriter:
    """Rewrites the expressions of one graph.

    Parameters
    ----------
    graph : Graph
    rules : Rules
        Of the table in `rules`.
    is_mean : callable
        Whether a node is written as 1/N Σ. It stays together.
    sigmoid : Primitive, optional
        How σ is written.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> from tinygraph.writing.rules import RULES
    >>> x = Tensor([1.0, 2.0], name="x")
    >>> graph = Graph.capture(-(-x))
    >>> Rewriter(graph, RULES, lambda x: False).rewritten(graph.outputs[0])
    Node(x, shape=(2,), step=0, input)
    """

    def __init__(
        self,
        graph: Graph,
        rules: Rules,
        is_mean: Callable[[Node], bool],
        sigmoid: Primitive = SIGMOID,
    ) -> None:
        self.rules, self.is_mean, self.sigma = rules, is_mean, sigmoid
        self.stands_alone: Callable[[Node], bool] = _is_named
        self._index = count(len(graph.nodes))
        self._made: dict[Any, Node] = {}
        self._products: dict[int, Product] = {}
        self._written: dict[int, Node] = {}

    def forget(self, stands_alone: Callable[[Node], bool]) -> None:
        """Say which nodes are referred to from now on, and not written out."""
        self.stands_alone = stands_alone
        self._written.clear()

    def rewritten(self, node: Node) -> Node:
        """Rewrite what computes a node.

        Returns
        -------
        Node
            One of the graph, or a new one without a name.
        """
        for one in reachable([node], enter=self._is_new):
            if one is not node:
                self._written[one.index] = self._rebuilt(one)
        return self._rebuilt(node)

    def originals(self) -> dict[int, int]:
        """Give, by what has been written for it, the node of the graph: two indices."""
        return {made.index: index for index, made in self._written.items()}

    def _is_new(self, node: Node) -> bool:
        return not self.stands_alone(node) and node.index not in self._written

    def _rebuilt(self, node: Node) -> Node:
        if node.op is None:
            return node
        inputs = tuple(x if self.stands_alone(x) else self._written[x.index] for x in node.inputs)
        if any(a is not b for a, b in zip(inputs, node.inputs, strict=True)):
            node = self.raw(node.op, *inputs, shape=node.shape, params=node.params, like=node)
        return self.ruled(node)

    def ruled(self, node: Node) -> Node:
        """Apply the first rule that fits; what it gives is final, since its operands were."""
        name = str(node.op)
        for _, operations, rule in self.rules:
            if name in operations:
                found = rule(self, node)
                if found is not None:
                    return found
        return node

    def doubled(self, node: Node) -> Node:
        """Give twice what computes a node, whatever its name is."""
        fields = {"inputs": node.inputs, "params": node.params, "shape": node.shape}
        inner = self._node(node, op=node.op, **fields)
        two = self.constant(Fraction(2), node)
        return self._node(node, op=TABLE["mul"], inputs=(two, inner), shape=node.shape)

    # ------------------------------------------------------------------ new nodes

    def make(
        self, name: str, *inputs: Node, like: Node, params: Mapping[str, Any] = NOTHING
    ) -> Node:
        """Make a node of the shape of `like`, and rewrite it."""
        return self.ruled(
            self.raw(TABLE[name], *inputs, shape=like.shape, params=params, like=like)
        )

    def raw(
        self,
        op: Primitive,
        *inputs: Node,
        shape: tuple[int, ...] | None = None,
        params: Mapping[str, Any] = NOTHING,
        like: Node,
    ) -> Node:
        """Make a node; equal ones are one and the same."""
        key = op, tuple(x.index for x in inputs), _hashable(params)
        if key not in self._made:
            if shape is None:
                shape = np.broadcast_shapes(*(x.shape for x in inputs))
            self._made[key] = self._node(like, op=op, inputs=inputs, params=params, shape=shape)
        return self._made[key]

    def constant(self, value: Fraction, like: Node) -> Node:
        """Make a number, of the kind that it meets: a fraction among fractions."""
        is_exact = like.dtype is not None and like.dtype.hasobject
        key = value, is_exact
        if key not in self._made:
            dtype = like.dtype if is_exact else None
            self._made[key] = self._node(like, role="constant", value=value, dtype=dtype)
        return self._made[key]

    def _node(self, like: Node, **fields: Any) -> Node:
        given: dict[str, Any] = {
            "op": None, "inputs": (), "params": NOTHING, "shape": (), "dtype": like.dtype,
            "name": None, "step": like.step, "role": like.role,
        }  # fmt: skip
        return Node(next(self._index), **given | fields)

    # ------------------------------------------------------------------ products

    def product(self, node: Node) -> Product:
        """Take an operand apart, if it is an unnamed product or a number."""
        if node.index in self._products:
            return self._products[node.index]
        value = None if is_count(node) else _plain(node)
        if value is not None:
            return Product(value < 0, abs(value))
        return Product(over=(Factor(node),))

    def multiplied(self, a: Product, b: Product, whole: Node) -> Product:
        """Multiply; what is too long or not exact stays in one piece."""
        found = times(a, b) or times(a, self._with_numbers_as_factors(b, whole))
        if found is None:
            pieces = (Product(over=(Factor(self.built(p, whole)),)) for p in (a, b))
            found = times(*pieces)
        return found or Product(over=(Factor(whole),))

    def _with_numbers_as_factors(self, p: Product, like: Node) -> Product:
        """Keep numbers apart whose product is no float."""
        over = [Factor(self.constant(p.number, like))] if p.number != 1 else []
        under = [Factor(self.constant(p.divisor, like))] if p.divisor != 1 else []
        return Product(p.negative, over=(*over, *p.over), under=(*under, *p.under))

    def built(self, p: Product, like: Node) -> Node:
        """Write a product out: numbers first, then constants, sums last, and a minus in front."""
        over, under = self._means(p, like)
        numbers = [self.constant(p.number, like)] if p.number != 1 else []
        divisors = [self.constant(p.divisor, like)] if p.divisor != 1 else []
        factors = [*numbers, *map(self._power, self._ordered(over))]
        below = [*divisors, *map(self._power, self._ordered(under))]
        node = self._chain(factors, like) if factors else None
        if below:
            name, operands = ("div", [node]) if node else ("inverse", [])
            node = self.raw(TABLE[name], *operands, self._chain(below, like), like=like)
        node = node or self.constant(Fraction(1), like)
        if p.negative:
            node = self.raw(TABLE["neg"], node, like=like)
        if p.over or p.under:
            self._products[node.index] = p._replace(over=tuple(over), under=tuple(under))
        return node

    def _chain(self, nodes: list[Node], like: Node) -> Node:
        first, *others = nodes
        for other in others:
            first = self.raw(TABLE["mul"], first, other, like=like)
        return first

    def _power(self, factor: Factor) -> Node:
        node, n = factor
        if n == 1:
            return node
        params = NOTHING if n == 2 else MappingProxyType({"n": n})
        return self.raw(TABLE["square" if n == 2 else "pow"], node, params=params, like=node)

    def _means(self, p: Product, like: Node) -> tuple[list[Factor], list[Factor]]:
        """Put the length that a sum is divided by, and that sum, together."""
        over, under = list(p.over), list(p.under)
        for side, name in ((over, "mul"), (under, "div")):
            for n in [x for x in side if is_count(x.node)]:
                for total in [x for x in over if str(x.node.op) == "sum" and x.exponent == 1]:
                    pair = (n.node, total.node) if name == "mul" else (total.node, n.node)
                    mean = self.raw(TABLE[name], *pair, like=like)
                    if n in side and total in over and self.is_mean(mean):
                        over[over.index(total)] = Factor(mean)
                        side.remove(n)
        return over, under

    def _ordered(self, factors: list[Factor]) -> list[Factor]:
        """Put constants first and sums last, as ``2 · a · Σ b`` needs no brackets."""
        return sorted(factors, key=lambda x: (x.node.role != "constant", self._ends_in_sum(x)))

    def _ends_in_sum(self, factor: Factor) -> bool:
        node, n = factor
        if n > 1 or self.stands_alone(node):
            return False
        return str(node.op) == "sum" or self.is_mean(node)

    # ------------------------------------------------------------------ what stands for what

    def negated(self, node: Node) -> Node | None:
        """Give −x if x has a minus in front."""
        p = self.product(node)
        return self.built(p._replace(negative=False), node) if p.negative else None

    def argument(self, node: Node) -> Node | None:
        """Give z if a node is exp(−z)."""
        return self.negated(node.inputs[0]) if str(node.op) == "exp" else None

    def sigmoid(self, node: Node) -> Node | None:
        """Give z if a node is 1 + exp(−z), unnamed."""
        if str(node.op) == "add" and node.name is None:
            for one, power in (node.inputs, node.inputs[::-1]):
                if _plain(one) == 1 and not self.stands_alone(power):
                    return self.argument(power)
        return None

    def is_sigmoid_of(self, node: Node, z: Node) -> bool:
        """Whether a node is σ(z), by its sign or under a name."""
        if str(node.op) in PRODUCTS:
            node = self.rewritten(node)
        return node.op is self.sigma and node.inputs[0] is z


def is_count(x: Node) -> bool:
    """Whether a constant follows from lengths. Such a one stays at its sum."""
    return x.role == "constant" and isinstance(x.origin, Formula)


def _plain(node: Node) -> Fraction | None:
    """Give a number that is written as a float, and as none that names stand in."""
    value = node.value
    is_named = node.name is not None or node.written is not None
    if node.role != "constant" or is_named or node.shape or isinstance(value, bool):
        return None
    if isinstance(value, float) and isfinite(value) and (value or not np.signbit(value)):
        value = Fraction(value)  # of np.float64, too
    return value if isinstance(value, Fraction) and exact(value) else None


def _is_named(node: Node) -> bool:
    return node.op is None or node.name is not None


def _hashable(params: Mapping[str, Any]) -> Any:
    key = tuple(params.items())
    try:
        hash(key)
    except TypeError:
        return id(params)
    return key
