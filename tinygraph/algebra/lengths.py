"""Lengths: what a number of a graph is, for all lengths of its axes.

A graph was captured at certain lengths, and 0.25 in it may be a quarter or one over the number of
rows. Two answers. Captured again at other lengths, all of them different primes, a number that is a
formula in the lengths gives itself away (`Formulas`). And `trace` knows of most numbers from which
lengths they were computed (`by_origin`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import combinations, count
from math import isclose, prod
from typing import Any

import numpy as np

from tinygraph.algebra.atoms import Polynomial
from tinygraph.algebra.axes import Axes
from tinygraph.algebra.elementwise import literal
from tinygraph.algebra.keys import numbers_of
from tinygraph.algebra.polynomials import ONE, Algebra, UndecidedError
from tinygraph.engine.lengths import Formula
from tinygraph.graph import Graph

__all__ = ["Formulas", "NoFormulaError", "by_origin", "name_parts", "primes_besides"]

MOST_RAISED = 64
CLOSE = 4e-15  # of the square of a root that was rounded twice


def primes_besides(taken: Sequence[int]) -> Iterator[int]:
    """Give primes from 5 on that are not among `taken`.

    Examples
    --------
    >>> primes = primes_besides([5, 64])
    >>> next(primes), next(primes), next(primes)
    (7, 11, 13)
    """
    for n in count(5, 2):
        if n not in taken and all(n % k for k in range(3, int(n**0.5) + 1, 2)):
            yield n


class NoFormulaError(UndecidedError):
    """A number changes with the lengths, and nobody knows how."""


class Formulas:
    """The numbers of a graph as formulas in lengths: by origin, or by their values at two sets.

    What agrees at two sets of lengths may differ at a third, as 1 + (N − 7)·(N − 11) does. So the
    formula that `trace` has seen comes first, and what it has no polynomial for is tried at more.

    Parameters
    ----------
    algebra : Algebra
    axes : Axes
        Of `one`.
    one, other : Graphs
        Captured from the same code.
    lengths : pair of mappings
        Of each part that is free, in the two graphs.
    """

    def __init__(
        self,
        algebra: Algebra,
        axes: Axes,
        one: Graph,
        other: Graph,
        lengths: tuple[Mapping[int, int], Mapping[int, int]],
    ) -> None:
        self.algebra, self.axes, self.one, self.lengths = algebra, axes, one, lengths
        self.other, self._again = numbers_of(other), other
        self.found: dict[tuple[Any, Any], Polynomial] = {}

    def __call__(self, path: tuple[int, ...], value: Any) -> Polynomial:
        """Read a number."""
        origin = self.one.nodes[path[0]].origin if len(path) == 1 else None
        if isinstance(origin, Formula):
            p = formula_in(self.algebra, self.axes, self.one, origin)
            if p is None:
                raise NoFormulaError(f"{float(value):g} is computed from lengths with rounding")
            return p
        again = self._again.nodes[path[0]].value
        if np.ndim(again) and not np.all(again == again.flat[0]):
            raise NoFormulaError("an array of one number has several at other lengths")
        second = self.other.get(path, value)
        key = (value, second)
        if key not in self.found:
            self.found[key] = self._read(value, second)
        return self.found[key]

    def _counts(self) -> Iterator[tuple[Polynomial, Fraction, Fraction]]:
        """Give products of lengths, and one less than these, with both values."""
        first, second = self.lengths
        for size in (1, 2, 3):
            for parts in combinations(first, size):
                p = self.algebra.number(1)
                for part in parts:
                    p = self.algebra.times(p, self.algebra.length(part))
                n, m = (prod(lengths[part] for part in parts) for lengths in (first, second))
                yield p, Fraction(n), Fraction(m)
                less = self.algebra.plus(p, self.algebra.number(-1))
                yield self.algebra.value(less), Fraction(n - 1), Fraction(m - 1)

    def _read(self, one: Any, other: Any) -> Polynomial:
        """Find the formula; a number that is the same at both lengths is what it is."""
        first, second = literal(one), literal(other)
        if first == second:
            return self.algebra.number(first)
        found = self._power(first, second) or self._power(
            _squared(one), _squared(other), Fraction(1, 2)
        )
        if found is not None:
            return found
        for p, n, m in self._counts():
            for e in (1, -1):
                rest = self._power(first / n**e, second / m**e)
                if rest is not None:
                    return self.algebra.times(rest, self.algebra.power(p, e))
            slope = (first - second) / (n - m)
            if slope.denominator == 1 and (first - slope * n).denominator == 1:
                return self.algebra.plus(self.algebra.number(first - slope * n), p, slope)
        raise NoFormulaError(
            f"{first} at some lengths and {second} at others is no formula in them"
        )

    def _power(self, one: Fraction, other: Fraction, e: Any = 1) -> Polynomial | None:
        """Read c · N^j · D^k …, to a power: the lengths are primes, which show how often."""
        exponents = {}
        for part, n in self.lengths[0].items():
            m = self.lengths[1][part]
            j, k = _multiplicity(one, n), _multiplicity(other, m)
            if j and k:
                exponents[part] = min(j, k, key=abs)
                one, other = (
                    one / Fraction(n) ** exponents[part],
                    other / Fraction(m) ** exponents[part],
                )
        if one != other or (e != 1 and one < 0):
            return None
        p = self.algebra.power(self.algebra.number(one), e)
        for part, k in exponents.items():
            p = self.algebra.times(p, self.algebra.power(self.algebra.length(part), k * e))
        return p


def _multiplicity(q: Fraction, prime: int) -> int:
    """Count how often a prime divides a fraction.

    Examples
    --------
    >>> _multiplicity(Fraction(18, 5), 3), _multiplicity(Fraction(18, 5), 5)
    (2, -1)
    """
    times = 0
    for n, step in ((abs(q.numerator), 1), (q.denominator, -1)):
        while n and n % prime == 0:
            n, times = n // prime, times + step
    return times


def _squared(value: Any) -> Fraction:
    """Give the square of a number that may be a root, without what rounding has added."""
    square = float(value) ** 2
    near = Fraction(square).limit_denominator(10**6)
    return near if near and isclose(near, square, rel_tol=CLOSE) else Fraction(square)


# --------------------------------------------------------------------------- origins


def by_origin(
    algebra: Algebra, axes: Axes, graph: Graph
) -> Callable[[tuple[int, ...], Any], Polynomial] | None:
    """Read the numbers of a graph by what `trace` knows of them; None if it does not know all.

    Parameters
    ----------
    algebra : Algebra
    axes : Axes
    graph : Graph

    Returns
    -------
    callable or None
        As `Reader` takes it.
    """
    found: dict[tuple[int, ...], Polynomial] = {}
    numbers = [path for path in numbers_of(graph) if len(path) > 1]
    for node in graph.nodes:
        if node.role != "constant":
            places = [path for path in numbers if path[0] == node.index]
            if places and node.origin and None in node.origin.values():
                return None
            continue
        origin = node.origin
        if isinstance(origin, Formula):
            p = formula_in(algebra, axes, graph, origin)
            if p is None:
                return None
            found[node.index,] = p
        elif origin is None and not _is_plain(node.value):
            return None
    return lambda path, value: found[path] if path in found else algebra.number(literal(value))


def _is_plain(value: Any) -> bool:
    return bool(np.ndim(value) == 0 and value in (-2, -1, 0, 1, 2))


def formula_in(algebra: Algebra, axes: Axes, graph: Graph, formula: Any) -> Polynomial | None:
    """Read what was computed from lengths; None where that is no polynomial, as of N // 2."""
    if not isinstance(formula, Formula):
        return algebra.number(literal(formula))
    if formula.op == "length":
        index, axis = formula.args
        p = algebra.number(1)
        for part in axes.of(graph, graph.nodes[index])[axis]:
            p = algebra.times(p, algebra.length(part))
        return p
    read = [formula_in(algebra, axes, graph, x) for x in formula.args]
    args = [p for p in read if p is not None]
    if len(args) < len(read) or formula.op not in OPERATIONS:
        return None
    return OPERATIONS[formula.op](algebra, *args)


def _power_of(algebra: Algebra, a: Polynomial, b: Polynomial) -> Polynomial | None:
    e = Fraction(b.get(ONE, 0))
    return algebra.power(a, e) if set(b) <= {ONE} and abs(e) <= MOST_RAISED else None


def _floor_of(algebra: Algebra, a: Polynomial, b: Polynomial) -> Polynomial | None:
    """Divide where nothing is rounded: 4·H // 4."""
    quotient = algebra.times(a, algebra.power(b, -1)) if len(b) == 1 else {}
    counts = all(e > 0 and e == int(e) and x.kind == "length" for m in quotient for x, e in m)
    whole = all(Fraction(c).denominator == 1 for c in quotient.values())
    return quotient if quotient and counts and whole else None


def _rest_of(algebra: Algebra, a: Polynomial, b: Polynomial) -> Polynomial | None:
    return None if _floor_of(algebra, a, b) is None else {}


OPERATIONS: Mapping[str, Callable[..., Polynomial | None]] = {
    "+": lambda algebra, a, b: algebra.plus(a, b),
    "-": lambda algebra, a, b: algebra.plus(a, b, -1),
    "*": lambda algebra, a, b: algebra.times(a, b),
    "/": lambda algebra, a, b: algebra.times(a, algebra.power(b, -1)),
    "neg": lambda algebra, a: algebra.plus({}, a, -1),
    "sqrt": lambda algebra, a: algebra.power(a, Fraction(1, 2)),
    "**": _power_of,
    "//": _floor_of,
    "%": _rest_of,
}

# --------------------------------------------------------------------------- names

USUAL: Mapping[int, str] = {1: "N", 2: "ND", 3: "NTD", 4: "NCHW"}
OTHERS = "MKPQRSUVABEFGJL"


def name_parts(axes: Axes, graph: Graph) -> dict[int, str]:
    """Name lengths as people do: N and D of a batch, N, C, H and W of images.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> x, w = Tensor(np.ones((4, 3)), name="x"), Tensor(np.ones((3, 2)), name="w")
    >>> graph = Graph.joint(x @ w)
    >>> name_parts(Axes(graph), graph)
    {0: 'N', 1: 'D', 3: 'M'}
    """
    names: dict[int, str] = {}
    left = iter([*OTHERS, *(f"L{k}" for k in range(1, 100))])
    nodes = [*graph.inputs, *graph.nodes]
    for node in nodes:
        usual = iter(USUAL.get(len(node.shape), ""))
        for parts in axes.of(graph, node):
            letter = next(usual, "")
            for part in parts:
                if part not in names:
                    free = len(parts) == 1 and letter and letter not in names.values()
                    names[part] = letter if free else next(left)
    return names
