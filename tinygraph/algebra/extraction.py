"""Extraction: the cheapest formula for a polynomial, over what has been computed already.

A monomial is folded over the values of the forward pass and the gradients that are there: xmu/V
becomes xhat / sqrtvar. Terms share what they have in common, in front of a bracket or not,
whichever costs less. What depends on no label of a sum may be drawn into it: (Σ dp · e) / Z is
Σ dp · p.

The costs are those of NumPy: a pass over an array of full size costs a hundred small ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import inf, prod
from typing import Any

from tinygraph.algebra.atoms import Atom, Label, Monomial, Polynomial
from tinygraph.algebra.expressions import Expression, named, number, product
from tinygraph.algebra.polynomials import Algebra

__all__ = ["Extraction", "Found", "Source", "is_scalar"]

FULL, SMALL, UNNAMED, A_FACTOR = 100.0, 1.0, 0.5, 0.01
MOST_FACTORS = 12


@dataclass(frozen=True)
class Source:
    """Something that has been computed, as one term.

    Attributes
    ----------
    reference : Expression
        How it is written, and from which node it comes.
    monomial : Monomial
        Without its scalars.
    scalar : Polynomial term
        Its coefficient and lengths, as (coefficient, monomial).
    """

    reference: Expression
    monomial: Monomial
    scalar: tuple[Fraction, Monomial]


@dataclass(frozen=True)
class Found:
    """A formula and what it costs."""

    cost: float
    expression: Expression


@dataclass(frozen=True)
class _Fold:
    """A monomial as a product: factors with the exponents 1 and −1, and a scalar."""

    cost: float
    factors: tuple[tuple[Expression, int], ...]
    scalar: tuple[Fraction, Monomial]


NO_FOLD = _Fold(inf, (), (Fraction(1), frozenset()))


class Extraction:
    """Finds formulas.

    Parameters
    ----------
    algebra : Algebra
    lengths : mapping
        Of each part.
    names : mapping
        Names of lengths, by part.
    along : bool
        Whether sums name the lengths that they run along.
    full : int
        The size of the largest arrays.
    """

    def __init__(
        self,
        algebra: Algebra,
        lengths: Mapping[int, int],
        names: Mapping[int, str],
        along: bool,
        full: int,
    ) -> None:
        self.algebra, self.lengths, self.names = algebra, lengths, names
        self.along, self.full = along, full
        self.sources: list[Source] = []
        self._known: dict[Monomial, _Fold] = {}

    def add(self, reference: Expression, p: Polynomial) -> None:
        """Let a value be used, if it is one term."""
        if len(p) != 1:
            return
        ((monomial, c),) = p.items()
        rest, scalar = _split(monomial, c)
        source = Source(reference, rest, scalar)
        if rest and all((s.monomial, s.scalar) != (rest, scalar) for s in self.sources):
            self.sources.append(source)
            self._known.clear()

    def best(self, p: Polynomial) -> Found:
        """Give the cheapest formula; its cost is infinite where there is none."""
        if not p:
            return Found(0.0, number(0))
        if len(p) == 1:
            ((monomial, c),) = p.items()
            found = self._as_product(monomial, abs(Fraction(c)))
            return found if c > 0 else self._negative(found)
        candidates = (self._with_common(p, common) for common in self._commons(p))
        return min(candidates, key=lambda found: found.cost)

    def _negative(self, found: Found) -> Found:
        x = found.expression
        cost = found.cost + self._pass(x.labels)
        return Found(cost, Expression("sum", (x,), data=(-1,), labels=x.labels))

    # ------------------------------------------------------------------ sums of terms

    def _commons(self, p: Polynomial) -> Iterator[tuple[Monomial, Fraction]]:
        """Give what may stand in front of the bracket: all that is shared, parts of it, nothing."""
        exponents = [dict(m) for m in p]
        shared = {
            atom: min((e.get(atom, 0) for e in exponents), key=abs)
            for atom in exponents[0]
            if len({e.get(atom, 0) > 0 for e in exponents}) == 1
            and all(e.get(atom) for e in exponents)
        }
        sizes = {abs(c) for c in p.values()}
        scale = Fraction(sizes.pop()) if len(sizes) == 1 else Fraction(1)
        most = frozenset(shared.items())
        small = frozenset(pair for pair in most if not self._is_full(pair[0].free))
        unscaled = frozenset(pair for pair in most if not is_scalar(pair[0]))
        some = [unscaled | _split(m, c)[1][1] for m, c in p.items()]
        ones = [(m, Fraction(1)) for m in (unscaled, *some, frozenset())]
        yield from dict.fromkeys([(most, scale), (small, scale), *ones])

    def _with_common(self, p: Polynomial, common: tuple[Monomial, Fraction]) -> Found:
        monomial, scale = common
        inverse = {frozenset((a, -e) for a, e in monomial): 1 / scale}
        rest = self.algebra.times(p, inverse)
        if len(rest) != len(p):
            return Found(inf, number(0))
        terms = []
        for m, c in rest.items():
            term = self._as_product(m, abs(Fraction(c)))
            if term.cost == inf:
                return term
            terms.append((c < 0, self._weight(term.expression), term))
        terms.sort(key=lambda term: term[:2])
        cost, labels = terms[0][2].cost, terms[0][2].expression.labels
        for _, _, term in terms[1:]:
            labels |= term.expression.labels
            cost += term.cost + self._pass(labels)
        signs = tuple(-1 if negative else 1 for negative, _, _ in terms)
        operands = tuple(term.expression for _, _, term in terms)
        total = Expression("sum", operands, data=signs, labels=labels)
        if not monomial and scale == 1:
            return Found(cost, total)
        front = self._as_product(monomial, scale)
        if front.cost == inf:
            return front
        split = _parts(front.expression, self._is_full)
        both = product([*split, total])
        return Found(front.cost + cost + len(split) * self._pass(both.labels), both)

    def _weight(self, x: Expression) -> int:
        return 1 + sum(map(self._weight, x.operands))

    # ------------------------------------------------------------------ products

    def _as_product(self, monomial: Monomial, c: Any) -> Found:
        rest, (scale, lengths) = _split(monomial, c)
        fold = self._fold(rest)
        if fold.cost == inf:
            return Found(inf, number(0))
        scale, exponents = scale * fold.scalar[0], dict(lengths)
        for atom, e in fold.scalar[1]:
            exponents[atom] = exponents.get(atom, 0) + e
        scalars = [(a, e) for a, e in exponents.items() if e]
        expression = self._arranged(fold.factors, scale, scalars)
        return Found(fold.cost + self._cost_of(expression), expression)

    def _arranged(
        self, factors: Iterable[tuple[Expression, int]], scale: Fraction, scalars: Sequence[Any]
    ) -> Expression:
        """Multiply: what is of full size first, then all that is small, as one factor."""
        above, below = _scalars(scale, scalars, self.names)
        small: tuple[list[Expression], list[Expression]] = ([], [])
        big: tuple[list[Expression], list[Expression]] = ([], [])
        for x, e in factors:
            (big if self._is_full(x.labels) else small)[e < 0].append(x)
        if not (small[0] or small[1]):
            return product([*above, *big[0]], [*big[1], *below])
        inner = product([*above, *small[0]], [*small[1], *below])
        if inner.kind == "product" and not inner.below and not big[1]:
            return product([*big[0], *inner.operands]) if big[0] else inner
        if not big[0] and not big[1]:
            return inner
        if not big[0]:
            return product([inner], big[1])
        if not inner.over and inner.kind == "product":
            return product(big[0], [*big[1], *inner.below])
        return product([product(big[0], big[1]), inner])

    def _cost_of(self, x: Expression) -> float:
        """Count the passes of a product; those of its factors are counted with them."""
        if x.kind != "product":
            return 0.0
        inner = sum(self._cost_of(y) for y in x.operands if y.kind == "product" and y.over)
        plain = [y for y in x.operands if y.labels]
        small = [y for y in plain if not self._is_full(y.labels)]
        full = [y for y in plain if self._is_full(y.labels)]
        has_scalar = len(plain) < len(x.operands)
        lone = not x.over
        steps = max(len(small) - 1, 0) * SMALL
        if full:
            times = len(full) - 1 + bool(small) + (has_scalar and not small) + (lone and not small)
            steps += times * FULL + (has_scalar and bool(small)) * SMALL
        else:
            steps += (has_scalar + lone) * SMALL
        return inner + steps

    def _fold(self, monomial: Monomial) -> _Fold:
        """Find the cheapest factors of a monomial."""
        if not monomial:
            return _Fold(0.0, (), (Fraction(1), frozenset()))
        if monomial not in self._known:
            self._known[monomial] = NO_FOLD  # while it is being found
            self.algebra.check(len(self._known))
            options = [
                *self._by_sources(monomial),
                *self._by_sums(monomial),
                *self._by_tables(monomial),
            ]
            self._known[monomial] = min(options, key=lambda fold: fold.cost, default=NO_FOLD)
        return self._known[monomial]

    def _by_sources(self, monomial: Monomial) -> Iterator[_Fold]:
        size, atoms = _size(monomial), {atom for atom, _ in monomial}
        for source in self.sources:
            if not any(atom in atoms for atom, _ in source.monomial):
                continue
            for e in (1, -1):
                rest = _times(monomial, source.monomial, -e)
                if _size(rest) < size:
                    fold = self._fold(rest)
                    factors = (*fold.factors, (source.reference, e))
                    if len(factors) <= MOST_FACTORS and fold.cost < inf:
                        cost = fold.cost + self._step(source.reference, fold.factors)
                        yield _Fold(cost, factors, _scaled(fold.scalar, source.scalar, -e))

    def _step(self, x: Expression, others: Sequence[Any]) -> float:
        """Estimate what one factor more costs; a name is better than a formula."""
        named_well = A_FACTOR if isinstance(x.data, str) else UNNAMED
        alike = any(self._is_full(y.labels) == self._is_full(x.labels) for y, _ in others)
        return named_well + (self._pass(x.labels) if alike else 0.0) * A_FACTOR

    def _by_sums(self, monomial: Monomial) -> Iterator[_Fold]:
        for atom, e in monomial:
            if atom.kind != "sum" or e not in (1, -1):
                continue
            rest = _times(monomial, frozenset([(atom, e)]), -1)
            for drawn in self._drawn_in(atom, rest) if e == 1 else [frozenset()]:
                outside = self._fold(_times(rest, drawn, -1))
                total, scalar = self._total(atom, drawn)
                if total.cost < inf and outside.cost < inf:
                    factors = (*outside.factors, (total.expression, e))
                    cost = outside.cost + total.cost + A_FACTOR
                    yield _Fold(cost, factors, _scaled(outside.scalar, scalar, e))

    def _by_tables(self, monomial: Monomial) -> Iterator[_Fold]:
        """Take [c = y] as an array of zeros and ones."""
        for atom, e in monomial:
            if atom.kind == "delta" and e == 1:
                fold = self._fold(_times(monomial, frozenset([(atom, e)]), -1))
                one_hot = named("onehot", atom.free, atom)
                factors = (*fold.factors, (one_hot, 1))
                yield _Fold(fold.cost + A_FACTOR, factors, fold.scalar)

    def _drawn_in(self, total: Atom, outside: Monomial) -> Iterator[Monomial]:
        """Give factors outside that make a known value of what is inside: (Σ dp · e) / Z."""
        inner = {a for a, _ in self._inside(total)[0]}
        yield frozenset()
        found = set()
        for source in self.sources:
            drawn = frozenset(pair for pair in source.monomial if pair[0] not in inner)
            is_inside = any(a in inner for a, _ in source.monomial)
            if is_inside and drawn and _size(_times(outside, drawn, -1)) < _size(outside):
                found.add(drawn)
        yield from sorted(found, key=lambda drawn: sorted((a.serial, e) for a, e in drawn))

    def _inside(self, total: Atom) -> tuple[Monomial, tuple[Label, ...]]:
        """Give what is summed, with labels as nodes have them."""
        bound, monomial = total.data
        mapping: dict[Label, Label] = {}
        for part, copy in bound:
            k = 0
            while (part, k) in total.free or (part, k) in mapping.values():
                k += 1
            mapping[part, copy] = (part, k)
        ((renamed, _),) = self.algebra.rename({monomial: 1}, mapping).items()
        return renamed, tuple(mapping.values())

    def _total(self, total: Atom, drawn: Monomial) -> tuple[Found, Any]:
        """Give the sum of a product, and the number that goes in front of it."""
        monomial, bound = self._inside(total)
        fold = self._fold(_times(monomial, drawn, 1))
        inner = self._arranged(fold.factors, Fraction(1), ())
        if fold.cost == inf or not set(bound) <= inner.labels:
            return Found(inf, number(0)), fold.scalar
        cost = fold.cost + self._cost_of(inner) + self._pass(inner.labels)
        along = tuple(self.names.get(part, "") for part, _ in bound) if self.along else ()
        x = Expression("total", (inner,), labels=inner.labels - set(bound), bound=(bound, along))
        return Found(cost, x), fold.scalar

    # ------------------------------------------------------------------ costs

    def _is_full(self, labels: Iterable[Label]) -> bool:
        return prod(self.lengths[part] for part, _ in labels) * 2 > self.full

    def _pass(self, labels: Iterable[Label]) -> float:
        return FULL if self._is_full(labels) else SMALL


def is_scalar(atom: Atom) -> bool:
    """Whether an atom is a number at given lengths: a length, a root, or N − 1."""
    if atom.kind == "value":
        return all(is_scalar(a) for m, _ in atom.data[0] for a, _ in m)
    return atom.kind in ("length", "root")


def _split(monomial: Monomial, c: Any) -> tuple[Monomial, tuple[Fraction, Monomial]]:
    """Part what has entries from what is a number at given lengths."""
    scalars = frozenset(pair for pair in monomial if is_scalar(pair[0]))
    return monomial - scalars, (Fraction(c), scalars)


def _size(monomial: Monomial) -> Any:
    return sum(abs(e) for _, e in monomial)


def _times(m: Monomial, n: Monomial, times: int) -> Monomial:
    exponents = dict(m)
    for atom, e in n:
        total = exponents.pop(atom, 0) + e * times
        if total:
            exponents[atom] = total
    return frozenset(exponents.items())


def _scaled(
    scalar: tuple[Fraction, Monomial], by: tuple[Fraction, Monomial], e: int
) -> tuple[Fraction, Monomial]:
    return scalar[0] * by[0] ** e, _times(scalar[1], by[1], e)


def _scalars(
    scale: Fraction, scalars: Sequence[tuple[Atom, Any]], names: Mapping[int, str]
) -> tuple[list[Expression], list[Expression]]:
    above, below = [number(scale.numerator)], [number(scale.denominator)]
    for atom, e in sorted(scalars, key=lambda pair: pair[0].serial):
        x = named(_scalar_name(atom, names), source=atom)
        if abs(e) != 1:
            x = Expression("power", (x,), abs(Fraction(e)))
        (above if e > 0 else below).append(x)
    return above, below


def _scalar_name(atom: Atom, names: Mapping[int, str]) -> str:
    if atom.kind == "value":
        terms = []
        for m, c in sorted(atom.data[0], key=lambda term: not term[0]):
            text = " · ".join(_scalar_name(a, names) for a, _ in m) or str(abs(c))
            terms.append(f"{'−' if c < 0 else '+'} {text}")
        terms.sort()
        return f"({' '.join(terms).removeprefix('+ ')})"
    return names[atom.data[0]] if atom.kind == "length" else str(atom.data[0])


def _parts(front: Expression, is_full: Any) -> list[Expression]:
    """Take a product in front of a bracket apart: what is small first, as one factor."""
    if front.kind != "product" or front.below:
        return [front]
    full = [x for x in front.operands if is_full(x.labels)]
    small = [x for x in front.operands if not is_full(x.labels)]
    return [*([product(small)] if small else []), *full]
