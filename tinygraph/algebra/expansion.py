"""Taking values apart, and the test for zero.

Expanded down to inputs, most differences that are 0 have no term left. In the others a sum of terms
stands under a root or a fraction line. Let b be one that stands in no other: terms whose exponents
of b differ by no integer cannot cancel, and among the others b to the lowest exponent is a factor
that all of them share. Divided by it, b is a polynomial like any other.

The test is sound and not complete: what does not vanish here may still be 0.
"""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction
from itertools import product
from typing import Any

from tinygraph.algebra.atoms import Atom, Label, Monomial, Polynomial
from tinygraph.algebra.cutting import MOST_ENTRIES, entry, names_entries, pieces
from tinygraph.algebra.polynomials import Algebra

__all__ = ["Expansion", "ZeroTest"]


class Expansion:
    """Takes values apart, down to inputs and functions of them, or to values that are known.

    Parameters
    ----------
    algebra : Algebra
    known : collection
        Forms of values that are kept, as `Algebra.form` gives them.
    with_exponentials : bool
        Whether tanh is taken apart as well.
    with_entries : bool
        Whether sums along axes of few entries are taken apart as well.

    Examples
    --------
    >>> algebra = Algebra()
    >>> a, b = (algebra.input(name, [(0, 0)]) for name in "ab")
    >>> squared = algebra.power(algebra.value(algebra.plus(a, b)), 2)
    >>> len(squared), len(Expansion(algebra)(squared))
    (1, 3)
    """

    def __init__(
        self,
        algebra: Algebra,
        *,
        known: Collection[Any] = (),
        with_exponentials: bool = False,
        with_entries: bool = False,
    ) -> None:
        self.algebra, self.known = algebra, known
        self.with_exponentials, self.with_entries = with_exponentials, with_entries
        self._found: dict[Atom, Polynomial] = {}

    def __call__(self, p: Polynomial) -> Polynomial:
        """Expand a polynomial."""
        algebra, out = self.algebra, Polynomial()
        for monomial, c in p.items():
            term = algebra.number(c)
            for atom, e in sorted(monomial, key=lambda pair: len(self.of(pair[0]))):
                term = algebra.times(term, algebra.power(self.of(atom), e))
            out = algebra.plus(out, term)
        return out

    def of(self, atom: Atom) -> Polynomial:
        """Expand an atom."""
        if atom not in self._found:
            self._found[atom] = self._expand(atom)
        return self._found[atom]

    def _expand(self, atom: Atom) -> Polynomial:
        algebra, kind, data = self.algebra, atom.kind, atom.data
        if kind == "value":
            keeps = self.known and algebra.form(atom) in self.known
            return algebra.of(atom) if keeps else self(dict(data[0]))
        if kind == "sum":
            return self._expand_sum(*data)
        if kind == "call":
            name, operands, bound = data
            mapping = algebra.fresh(bound)
            inside = [self(algebra.rename(dict(p), mapping)) for p in operands]
            if name == "tanh" and self.with_exponentials:  # 1 − 2/(1 + e²ˣ)
                e = algebra.exponential({m: 2 * c for m, c in inside[0].items()})
                inverse = algebra.power(algebra.plus(algebra.number(1), e), -1)
                return algebra.plus(algebra.number(1), inverse, -2)
            return algebra.function(name, *inside, bound=tuple(mapping.values()))
        return algebra.of(atom)

    def _expand_sum(self, bound: tuple[Label, ...], monomial: Monomial) -> Polynomial:
        algebra, out = self.algebra, Polynomial()
        few = [
            x for x in bound if self.with_entries and algebra.fixed.get(x[0], 99) <= MOST_ENTRIES
        ]
        mapping = algebra.fresh(x for x in bound if x not in few)
        for ks in product(*[range(algebra.fixed[x[0]]) for x in few]):
            entries = {x: entry(algebra.number(k)) for x, k in zip(few, ks, strict=True)}
            inner = self(algebra.rename({monomial: 1}, {**mapping, **entries}))
            out = algebra.plus(
                out, algebra.summed(inner, mapping.values(), lemmas=bool(self.known))
            )
        return out


class ZeroTest:
    """Tells whether polynomials are 0, trying what is cheap first.

    Parameters
    ----------
    algebra : Algebra
    known : collection
        Forms of values that are worth keeping at first, as `Algebra.form` gives them.

    Examples
    --------
    >>> algebra = Algebra()
    >>> x = algebra.input("x", [(0, 0)])
    >>> more = algebra.power(algebra.plus(algebra.number(1), x), -1)
    >>> p = algebra.plus(more, algebra.times(x, more))       # 1/(1 + x) + x/(1 + x) − 1
    >>> is_zero = ZeroTest(algebra)
    >>> is_zero(algebra.plus(p, algebra.number(-1))), is_zero(p)
    (True, False)
    """

    def __init__(self, algebra: Algebra, known: Collection[Any] = ()) -> None:
        self.algebra = algebra
        self.expansions = [
            *([Expansion(algebra, known=known)] if known else []),
            Expansion(algebra),
            Expansion(algebra, with_exponentials=True),
        ]
        self.by_entries = Expansion(algebra, with_entries=True)

    def __call__(self, p: Polynomial) -> bool:
        """Whether a polynomial is known to be 0.

        Raises
        ------
        UndecidedError
            If that takes too many terms, or too long.
        """
        before: Polynomial | None = None
        for expansion in self.expansions if p else ():
            full = expansion(p)
            if full != before and self._vanishes(full, expansion):
                return True
            before = full
        return not p or self._vanishes_by_entries(self.expansions[-2](p))

    def _vanishes_by_entries(self, p: Polynomial) -> bool:
        """Whether it is 0 on all pieces of an axis; or entry by entry, where it names some."""
        parts = pieces(self.algebra, p)
        if parts:
            return all(self(part) for part in parts)
        if not names_entries(p):
            return False
        full = self.by_entries(p)
        return full != p and self._vanishes(full, self.by_entries)

    def _vanishes(self, p: Polynomial, expansion: Expansion) -> bool:
        if not p:
            return True
        self.algebra.check(len(p))
        values = {a for m in p for a, e in m if a.kind == "value" and not _is_natural(e)}
        if values:
            outermost = max(values, key=lambda atom: atom.serial)  # its terms were made before
            return all(self._vanishes(q, expansion) for q in _without(expansion, p, outermost))
        groups = _integrands(self.algebra, p)
        return groups is not None and all(self._vanishes(q, expansion) for q in groups)


def _is_natural(e: Any) -> bool:
    return e >= 0 and Fraction(e).denominator == 1


def _without(expansion: Expansion, p: Polynomial, base: Atom) -> list[Polynomial]:
    """Split by the fractional parts of the exponents of `base`, and divide by the lowest power."""
    groups: dict[Any, list[tuple[Any, Monomial, Any]]] = {}
    for monomial, c in p.items():
        e = Fraction(dict(monomial).get(base, 0))
        rest = frozenset(pair for pair in monomial if pair[0] is not base)
        groups.setdefault(e - e.__floor__(), []).append((e, rest, c))
    algebra, whole = expansion.algebra, expansion(dict(base.data[0]))
    out = []
    for terms in groups.values():
        least = min(e for e, _, _ in terms)
        group: Polynomial = {}
        for e, rest, c in terms:
            term = algebra.times({rest: c}, algebra.power(whole, e - least))
            group = algebra.plus(group, term)
        out.append(group)
    return out


def _integrands(algebra: Algebra, p: Polynomial) -> list[Polynomial] | None:
    """Join sums over the same labels with the same factors into one; None where there is none."""
    groups: dict[Any, Polynomial] = {}
    for monomial, c in p.items():
        inner = next((a for a, e in _sums(monomial) if e == 1 and _has_values(a)), None)
        if inner is None:
            return None
        bound, integrand = inner.data
        rest = frozenset(pair for pair in monomial if pair[0] is not inner)
        key: tuple[Monomial, tuple[Label, ...]] = rest, bound
        groups[key] = algebra.plus(groups.get(key, {}), {integrand: c})
    return list(groups.values())


def _sums(monomial: Monomial) -> list[tuple[Atom, Any]]:
    found = [pair for pair in monomial if pair[0].kind == "sum"]
    return sorted(found, key=lambda pair: pair[0].serial)


def _has_values(total: Atom) -> bool:
    return any(
        atom.kind == "value" or (atom.kind == "sum" and _has_values(atom))
        for atom, _ in total.data[1]
    )
