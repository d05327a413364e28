"""Polynomials: sums of products, in which equal expressions become equal dictionaries.

A polynomial is ``{monomial: coefficient}`` and a monomial a set of ``(atom, exponent)``, both
rational. So a · 1/a = 1 and √a · √a = a without a rule of their own. What remains to be said:

- Σ is linear; a factor without its label goes in front; Σ 1 is a length; Σ over labels that do not
  meet is a product of sums; bound labels have standard names, so that Σ_i x_i = Σ_j x_j.
- A *value* is a sum of terms that is kept as one factor, known by its terms; so is a sum of terms
  that is raised to a power that is no natural number.
- What is 0 or 1 is its own square; Σ_c [c = y] f(c) = f(y).
- exp(a + b) = exp a · exp b, so that an exponent is a coefficient.

A square root splits over what cannot be negative, and over nothing else: √x² is not x.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from itertools import count, permutations, product
from typing import Any

from tinygraph.algebra.atoms import (
    Atom,
    Index,
    Label,
    Monomial,
    Polynomial,
    labels_of,
    relabelled,
)

__all__ = ["ONE", "Algebra", "UndecidedError", "free_of"]

ONE: Monomial = frozenset()
MOST_PERMUTED = 5
LARGEST_FACTORED = 10**12


class UndecidedError(Exception):
    """There was no answer within the limits; or something has no normal form."""


class Algebra:
    """The polynomials of one question, with the atoms that they share.

    Parameters
    ----------
    most_terms : int
        Of one polynomial.
    limit_s : float
        How long it may take, from now on.

    Examples
    --------
    >>> algebra = Algebra()
    >>> a, b = (algebra.input(name, [(0, 0)]) for name in "ab")
    >>> both = algebra.plus(a, b)
    >>> difference = algebra.plus(algebra.times(both, both), algebra.power(a, 2), -1)
    >>> len(difference), len(algebra.total(both, [(0, 0)]))
    (2, 2)
    """

    def __init__(self, *, most_terms: int = 20_000, limit_s: float = 10.0) -> None:
        self.most_terms = most_terms
        self.end = time.monotonic() + limit_s
        self.fixed: dict[int, int] = {}  # lengths that are numbers
        self.tied: dict[int, tuple[int, int]] = {}  # and those that are so many times others
        self.on_check: Callable[[], None] = lambda: None
        self.with_lemmas = False
        self.lemmas: dict[Atom, Atom] = {}
        self._atoms: dict[Any, Atom] = {}
        self._fresh = count(1000)
        self._products: dict[Any, tuple[Any, Monomial] | None] = {}
        self._renamed: dict[Any, Polynomial] = {}
        self._bare: dict[Atom, Atom] = {}
        self._forms: dict[Atom, int] = {}
        self._known_forms: dict[Any, int] = {}
        self._lemma_of: dict[Atom, Atom | None] = {}
        self._nonnegative: dict[Atom, bool] = {}

    # ------------------------------------------------------------------ atoms

    def atom(self, kind: str, data: tuple[Any, ...], free: frozenset[Label]) -> Atom:
        """Give the one atom that is made of these."""
        key = kind, data
        found = self._atoms.get(key)
        if found is None:
            found = self._atoms[key] = Atom(kind, data, free, len(self._atoms))
        return found

    def of(self, atom: Atom, exponent: Any = 1) -> Polynomial:
        """Give a power of an atom."""
        return {frozenset([(atom, exponent)]): 1}

    def number(self, value: Any) -> Polynomial:
        """Give a constant."""
        return {ONE: value} if value else {}

    def input(self, name: str, indices: Iterable[Index]) -> Polynomial:
        """Give an entry of an input."""
        key = tuple(indices)
        return self.of(self.atom("input", (name, key), labels_of(key)))

    def value(self, terms: Polynomial) -> Polynomial:
        """Keep a sum of terms as one factor."""
        key = frozenset(terms.items())
        free = frozenset[Label]().union(*(free_of(m) for m in terms))
        return self.of(self.atom("value", (key,), free))

    def call(self, name: str, *operands: Polynomial, bound: tuple[Label, ...] = ()) -> Polynomial:
        """Give a function of polynomials; or of one, as it varies along bound labels."""
        free = frozenset[Label]().union(*(free_of(m) for p in operands for m in p))
        keys = tuple(frozenset(p.items()) for p in operands)
        return self.of(self.atom("call", (name, keys, bound), free - set(bound)))

    def length(self, axis: int) -> Polynomial:
        """Give the length of an axis."""
        if axis in self.fixed:
            return self.number(self.fixed[axis])
        if axis in self.tied:
            times, other = self.tied[axis]
            return self.times(self.number(times), self.length(other))
        return self.of(self.atom("length", (axis,), frozenset()))

    def delta(self, one: Index, other: Index) -> Polynomial:
        """Give 1 where two indices agree."""
        if one == other:
            return self.number(1)
        pair = tuple(sorted((one, other), key=repr))
        if all(index[0] == "at" for index in pair):
            return {}
        return self.of(self.atom("delta", pair, labels_of(pair)))

    def within(self, index: Index, start: Polynomial, stop: Polynomial) -> Polynomial:
        """Give 1 where an index is at least `start` and less than `stop`."""
        data = (index, frozenset(start.items()), frozenset(stop.items()))
        return self.of(self.atom("within", data, labels_of([index])))

    # ------------------------------------------------------------------ arithmetic

    def check(self, terms: int) -> None:
        """Stop where something grows beyond the limits."""
        if terms > self.most_terms:
            raise UndecidedError(f"an expression has more than {self.most_terms} terms")
        self.on_check()
        if time.monotonic() > self.end:
            raise UndecidedError("the time is up")

    def plus(self, p: Polynomial, q: Polynomial, factor: Any = 1) -> Polynomial:
        """Give p + factor · q."""
        out = dict(p)
        for monomial, c in q.items():
            total = out.get(monomial, 0) + c * factor
            if total:
                out[monomial] = total
            else:
                out.pop(monomial, None)
        return out

    def times(self, p: Polynomial, q: Polynomial) -> Polynomial:
        """Give the product."""
        if len(p) * len(q) > 64:
            self.check(len(p) * len(q) // 4)
        out: Polynomial = {}
        for (m, c), (n, d) in product(p.items(), q.items()):
            if not m or not n:
                merged: tuple[Any, Monomial] | None = (1, m or n)
            else:
                merged = self._merged(m, n)
            if merged is None:
                out = self.plus(out, self._substituted(m, n), c * d)
                continue
            factor, monomial = merged
            total = out.get(monomial, 0) + c * d * factor
            if total:
                out[monomial] = total
            else:
                out.pop(monomial, None)
        return out

    def _merged(self, m: Monomial, n: Monomial) -> tuple[Any, Monomial] | None:
        """Multiply two monomials; None where an index is to be replaced first."""
        key = (m, n)
        if key not in self._products:
            if len(self._products) % 256 == 0:
                self.check(0)
            self._products[key] = self._merge(m, n)
        return self._products[key]

    def _merge(self, m: Monomial, n: Monomial) -> tuple[Any, Monomial] | None:
        exponents, factor = dict(m), Fraction(1)
        for atom, e in n:
            total = exponents.get(atom, 0) + e
            if atom.idempotent and total:
                total = 1
            elif atom.kind == "root":
                whole = total.__floor__()
                factor, total = factor * Fraction(atom.data[0]) ** whole, total - whole
            if total:
                exponents[atom] = total.numerator if total.denominator == 1 else total
            else:
                exponents.pop(atom, None)
        for atom in exponents:
            if atom.idempotent and _contradicts(atom, exponents):
                return 0, ONE
            if atom.kind == "delta" and _replaceable(atom, exponents):
                return None
        return factor, frozenset(exponents.items())

    def _substituted(self, m: Monomial, n: Monomial) -> Polynomial:
        """Multiply monomials, among whose factors is [c = y]: what stands beside it is at y."""
        factors = [*m, *n]
        for atom, _ in factors:
            mapping = _replaceable(atom, [a for a, _ in factors]) if atom.kind == "delta" else None
            if mapping:
                out = self.of(atom)
                for other, e in factors:
                    if other is not atom:
                        out = self.times(out, self.power(self.renamed(other, mapping), e))
                return out
        raise AssertionError("unreachable")

    def multiplied(self, factors: Iterable[tuple[Atom, Any]]) -> Polynomial:
        """Give the product of powers of atoms."""
        out = self.number(1)
        for pair in factors:
            out = self.times(out, {frozenset([pair]): 1})
        return out

    def power(self, p: Polynomial, e: Any) -> Polynomial:
        """Give a power with a rational exponent."""
        e = Fraction(e)
        n = int(e) if e.denominator == 1 else None
        if n is not None and n >= 0 and (len(p) > 1 or n <= 1 or not p):
            out = self.number(1)
            for _ in range(n):
                out = self.times(out, p)
            return out
        if not p:
            raise UndecidedError("a division by zero")
        if len(p) > 1:
            return self._power_of_sum(p, e)
        ((monomial, c),) = p.items()
        return self._power_of_monomial(monomial, c, e)

    def _power_of_sum(self, p: Polynomial, e: Fraction) -> Polynomial:
        """Take out what all terms share, and keep the rest as a value."""
        shared = dict.fromkeys(atom for m in p for atom, _ in m)
        common = {}
        for atom in shared:
            exponents = [dict(m).get(atom, 0) for m in p]
            least = min(exponents)
            if least and (e.denominator == 1 or self.is_nonnegative(atom) or _is_even(least)):
                if atom.kind != "delta":
                    common[atom] = least
        lead = min(p, key=lambda m: (not m, _order(m)))
        c = abs(p[lead]) if e.denominator > 1 else p[lead]
        inverse = {frozenset((a, -k) for a, k in common.items()): Fraction(1) / c}
        rest = self.times(p, inverse)
        if len(rest) == 1:
            ((monomial, d),) = rest.items()
            return self._power_of_monomial(frozenset([*monomial, *common.items()]), c * d, e)
        (key,) = self.value(rest)
        ((atom, _),) = key
        outside = self._power_of_monomial(frozenset(common.items()), c, e)
        return self.times(outside, self.of(atom, _plain(e)))

    def _power_of_monomial(self, monomial: Monomial, c: Any, e: Fraction) -> Polynomial:
        out, kept = self.number(1), []
        for atom, k in sorted(monomial, key=lambda pair: pair[0].serial):
            if atom.idempotent:
                if e < 0:
                    raise UndecidedError("a division by what may be zero")
                out = self.times(out, self.of(atom))
            elif e.denominator == 1 or self.is_nonnegative(atom) or Fraction(k).denominator > 1:
                out = self.times(out, self._raised(atom, k * e))
            else:
                kept.append((atom, k))
        if e.denominator == 1:
            return self.times(out, self.number(Fraction(c) ** int(e)))
        if kept or c < 0:
            sign = 1 if c > 0 else -1
            out = self.times(out, self._root_of(frozenset(kept), sign, e))
            c = abs(c)
        return self.times(out, self._rational_power(Fraction(c), e))

    def _root_of(self, kept: Monomial, sign: int, e: Fraction) -> Polynomial:
        """Give (± Π a^k)^e, of factors whose signs are not known."""
        if sign < 0 or any(not _is_even(k) for _, k in kept):
            if len(kept) == 1 and sign > 0:
                ((atom, k),) = kept
                if k == 1:
                    return self._raised(atom, e)
            key = frozenset({kept: sign}.items())
            return self.of(self.atom("value", (key,), free_of(kept)), _plain(e))
        out = self.number(1)
        for atom, k in kept:  # √a² is |a|
            (key,) = self.call("abs", self.of(atom))
            ((modulus, _),) = key
            out = self.times(out, self._raised(modulus, k * e))
        return out

    def _raised(self, atom: Atom, e: Any) -> Polynomial:
        if atom.kind == "root":
            return self._rational_power(Fraction(atom.data[0]), Fraction(e))
        return self.of(atom, _plain(Fraction(e)))

    def _rational_power(self, c: Fraction, e: Fraction) -> Polynomial:
        """Give c^e for a positive c: a fraction, times roots of primes."""
        out = self.number(1)
        for n, sign in ((c.numerator, 1), (c.denominator, -1)):
            for prime, k in _factored(n):
                whole = (k * sign * e).__floor__()
                part = k * sign * e - whole
                out = {m: v * Fraction(prime) ** whole for m, v in out.items()}
                if part:
                    root = self.atom("root", (prime,), frozenset())
                    out = self.times(out, self.of(root, part))
        return out

    def is_nonnegative(self, atom: Atom) -> bool:
        """Whether an atom is known not to be negative."""
        if atom not in self._nonnegative:
            self._nonnegative[atom] = self._is_nonnegative(atom)
        return self._nonnegative[atom]

    def _is_nonnegative(self, atom: Atom) -> bool:
        if atom.kind in ("length", "root") or atom.idempotent:
            return True
        if atom.kind == "call":
            return atom.data[0] in ("exp", "abs")
        if atom.kind == "sum":
            return self._is_positive_product(atom.data[1])
        if atom.kind == "value":
            return all(c > 0 and self._is_positive_product(m) for m, c in atom.data[0])
        return False

    def _is_positive_product(self, monomial: Monomial) -> bool:
        return all(
            _is_even(e) or Fraction(e).denominator > 1 or self.is_nonnegative(a)
            for a, e in monomial
        )

    # ------------------------------------------------------------------ labels

    def fresh(self, bound: Iterable[Label]) -> dict[Label, Label]:
        """Give bound labels names that nothing else has."""
        return {label: (label[0], next(self._fresh)) for label in bound}

    def rename(self, p: Polynomial, mapping: Mapping[Label, Index]) -> Polynomial:
        """Replace free labels by other indices."""
        mapping = {k: v for k, v in mapping.items() if k != v}
        if not mapping:
            return p
        out: Polynomial = {}
        for monomial, c in p.items():
            term = self.number(c)
            for atom, e in monomial:
                term = self.times(term, self.power(self.renamed(atom, mapping), e))
            out = self.plus(out, term)
        return out

    def renamed(self, atom: Atom, mapping: Mapping[Label, Index]) -> Polynomial:
        """Replace free labels of an atom."""
        used = {k: v for k, v in mapping.items() if k in atom.free}
        if not used:
            return self.of(atom)
        key = atom, tuple(sorted(used.items(), key=repr))
        if key not in self._renamed:
            self._renamed[key] = self._renamed_atom(atom, used)
        return self._renamed[key]

    def _renamed_atom(self, atom: Atom, mapping: Mapping[Label, Index]) -> Polynomial:
        kind, data = atom.kind, atom.data
        if kind == "input":
            return self.input(data[0], [relabelled(index, mapping) for index in data[1]])
        if kind == "delta":
            return self.delta(*(relabelled(index, mapping) for index in data))
        if kind == "within":
            return self.within(relabelled(data[0], mapping), dict(data[1]), dict(data[2]))
        if kind == "value":
            return self.value(self.rename(dict(data[0]), mapping))
        bound = data[2] if kind == "call" else data[0]
        if kind == "sum" and _keeps_standard(atom, mapping):
            return self._moved_sum(atom, mapping)
        moved = self.fresh(bound)
        if kind == "sum":
            inner = self.rename({data[1]: 1}, {**mapping, **moved})
            return self.summed(inner, moved.values(), lemmas=False)
        operands = [self.rename(dict(p), {**mapping, **moved}) for p in data[1]]
        return self.function(data[0], *operands, bound=tuple(moved.values()))

    def bare(self, atom: Atom) -> Atom:
        """Give an atom at the labels that nodes have: the first copies of its axes."""
        if atom not in self._bare:
            met: dict[int, int] = {}
            mapping: dict[Label, Index] = {}
            for label in sorted(atom.free, key=lambda label: (label[0], -label[1])):
                mapping[label] = (label[0], met.get(label[0], 0))
                met[label[0]] = met.get(label[0], 0) + 1
            found = [a for m in self.renamed(atom, mapping) for a, _ in m]
            self._bare[atom] = found[0] if found else atom
        return self._bare[atom]

    def form(self, atom: Atom) -> int:
        """Give the number of what an atom is but for its indices."""
        if atom not in self._forms:
            kind, data = atom.kind, atom.data
            made: Any = data if kind in ("length", "root") else ()
            if kind == "input":
                made = data[0], len(data[1])
            elif kind == "value":
                made = self._form_of(data[0])
            elif kind == "sum":
                made = len(data[0]), self._form_of([(data[1], 1)])
            elif kind == "call":
                made = data[0], tuple(self._form_of(p) for p in data[1])
            self._forms[atom] = self._known_forms.setdefault((kind, made), len(self._known_forms))
        return self._forms[atom]

    def _form_of(self, terms: Iterable[tuple[Monomial, Any]]) -> Any:
        return frozenset((frozenset((self.form(a), e) for a, e in m), c) for m, c in terms)

    def _moved_sum(self, atom: Atom, mapping: Mapping[Label, Index]) -> Polynomial:
        """Rename free labels of a sum whose bound labels keep their standard names."""
        bound, monomial = atom.data
        inner = self.rename({monomial: 1}, mapping)
        if len(inner) == 1 and set(inner.values()) == {1}:
            (monomial,) = inner
            return self.of(self.atom("sum", (bound, monomial), free_of(monomial) - set(bound)))
        return self.summed(inner, bound, lemmas=False)

    def function(
        self, name: str, *operands: Polynomial, bound: tuple[Label, ...] = ()
    ) -> Polynomial:
        """Apply a function, whose bound labels get standard names."""
        if name == "exp":
            return self.exponential(operands[0])
        names = self._standard_names(bound, operands)
        return self.call(
            name, *[self.rename(p, names) for p in operands], bound=tuple(names.values())
        )

    def exponential(self, p: Polynomial) -> Polynomial:
        """Give exp of a sum: a product, whose exponents are the coefficients."""
        out = self.number(1)
        for monomial, c in p.items():
            if len(monomial) == 1:
                ((atom, e),) = monomial
                if e == 1 and atom.kind == "call" and atom.data[0] == "log":
                    out = self.times(out, self.power(dict(atom.data[1][0]), c))
                    continue
            (key,) = self.call("exp", {monomial: 1})
            ((atom, _),) = key
            out = self.times(out, self.of(atom, _plain(Fraction(c))))
        return out

    def _standard_names(
        self, bound: Iterable[Label], operands: Iterable[Polynomial]
    ) -> dict[Label, Label]:
        bound = tuple(bound)
        free = frozenset[Label]().union(*(free_of(m) for p in operands for m in p)) - set(bound)
        names: dict[Label, Label] = {}
        for label in bound:
            names[label] = next(
                name
                for name in ((label[0], -k) for k in count(1))
                if name not in free and name not in names.values()
            )
        return names

    # ------------------------------------------------------------------ sums

    def total(self, p: Polynomial, labels: Iterable[Label]) -> Polynomial:
        """Give the sum over labels."""
        return self.summed(p, labels, lemmas=self.with_lemmas)

    def summed(self, p: Polynomial, labels: Iterable[Label], *, lemmas: bool) -> Polynomial:
        """Give the sum over labels, by the lemma or without."""
        bound, out = frozenset(labels), Polynomial()
        for monomial, c in p.items():
            out = self.plus(out, self._total_of(monomial, bound, lemmas), c)
        return out

    def _total_of(self, monomial: Monomial, bound: frozenset[Label], lemmas: bool) -> Polynomial:
        flat = self._flattened(monomial, bound)
        if flat is not None:
            p, more = flat
            return self.summed(p, more, lemmas=lemmas)
        for atom, _ in monomial:
            if atom.kind == "delta":
                for one, other in (atom.data, atom.data[::-1]):
                    if one in bound and one not in labels_of([other]):
                        rest = self.multiplied(pair for pair in monomial if pair[0] is not atom)
                        rest = self.rename(rest, {one: other})
                        return self.summed(rest, bound - {one}, lemmas=lemmas)
        out, parts = self.number(1), _components(monomial, bound)
        for labels, factors in parts:
            if not labels:
                out = self.times(out, {frozenset(factors): 1})
            elif not factors:
                out = self.times(out, self.length(labels[0][0]))
            else:
                out = self.times(out, self._sum_atom(frozenset(factors), labels, lemmas))
                if not out:
                    return out
        return out

    def _flattened(
        self, monomial: Monomial, bound: frozenset[Label]
    ) -> tuple[Polynomial, frozenset[Label]] | None:
        """Draw the labels of one inner sum out, if there is one that depends on `bound`."""
        for atom, e in monomial:
            if atom.kind == "sum" and atom.free & bound and e in (1, 2, 3):
                rest = [pair for pair in monomial if pair[0] is not atom]
                moved = self.fresh(atom.data[0])
                inner = self.rename({atom.data[1]: 1}, moved)
                p = self.times(inner, self.multiplied([*rest, *([(atom, e - 1)] * (e > 1))]))
                return p, bound | set(moved.values())
        return None

    def _sum_atom(self, factors: Monomial, labels: list[Label], lemmas: bool) -> Polynomial:
        monomial, bound = self._standard(factors, labels)
        free = free_of(monomial) - set(bound)
        atom = self.atom("sum", (bound, monomial), free)
        if lemmas and self._vanishes_by_lemma(atom):
            return {}
        return self.of(atom)

    def _standard(
        self, factors: Monomial, labels: list[Label]
    ) -> tuple[Monomial, tuple[Label, ...]]:
        """Give bound labels standard names: of all orders, those of the earliest atoms."""
        labels = sorted(labels)
        names = list(self._standard_names(labels, [{factors: 1}]).values())
        by_axis: dict[int, list[int]] = {}
        for k, label in enumerate(labels):
            by_axis.setdefault(label[0], []).append(k)
        orders = [
            list(permutations(places)) if len(places) <= MOST_PERMUTED else [tuple(places)]
            for places in by_axis.values()
        ]
        best: tuple[Any, Monomial] | None = None
        for chosen in product(*orders):
            order = [k for places in chosen for k in places]
            places = [k for group in by_axis.values() for k in group]
            mapping = {labels[a]: names[b] for a, b in zip(places, order, strict=True)}
            renamed = self.rename({factors: 1}, mapping)
            (monomial,) = renamed
            key = sorted((atom.serial, e) for atom, e in monomial)
            if best is None or key < best[0]:
                best = key, monomial
        if best is None:
            raise UndecidedError("a sum has no labels")
        return best[1], tuple(names)

    def _vanishes_by_lemma(self, total: Atom) -> bool:
        """Whether a sum is 0 by the definition of one of its values: Σ xmu = Σ x − N · mu."""
        if total not in self._lemma_of:
            self._lemma_of[total] = None
            bound, monomial = total.data
            for atom, e in sorted(monomial, key=lambda pair: pair[0].serial):
                if e == 1 and _may_vanish(atom, bound):
                    moved = self.fresh(bound)
                    rest = self.multiplied(pair for pair in monomial if pair[0] is not atom)
                    inner = self.times(dict(atom.data[0]), rest)
                    inner = self.rename(inner, moved)
                    sums = (self.summed(inner, moved.values(), lemmas=by) for by in (False, True))
                    if not all(sums):
                        self._lemma_of[total] = atom
                        break
        by = self._lemma_of[total]
        if by is not None:
            self.lemmas[total] = by
        return by is not None


def free_of(monomial: Monomial) -> frozenset[Label]:
    """Give the labels that a monomial varies along."""
    return frozenset[Label]().union(*(atom.free for atom, _ in monomial))


def _plain(e: Fraction) -> Any:
    return e.numerator if e.denominator == 1 else e


def _is_even(e: Any) -> bool:
    return e % 2 == 0


def _order(monomial: Monomial) -> Any:
    return sorted((atom.serial, e) for atom, e in monomial)


def _factored(n: int) -> list[tuple[int, int]]:
    """Give primes with multiplicities; what is too large to be taken apart, as it is."""
    found, prime = [], 2
    while prime * prime <= min(n, LARGEST_FACTORED):
        times = 0
        while n % prime == 0:
            n, times = n // prime, times + 1
        if times:
            found.append((prime, times))
        prime += 1 if prime == 2 else 2
    return [*found, (n, 1)] if n > 1 else found


def _may_vanish(value: Atom, bound: Iterable[Label]) -> bool:
    """Whether a value subtracts a mean: a sum along an axis that the value is summed along."""
    axes = {label[0] for label in value.free & set(bound)}
    return value.kind == "value" and any(
        atom.kind == "sum" and axes & {label[0] for label in atom.data[0]}
        for monomial, _ in value.data[0]
        for atom, _ in monomial
    )


def _keeps_standard(total: Atom, mapping: Mapping[Label, Index]) -> bool:
    """Whether the bound labels of a sum are the standard ones, whatever free labels are called."""
    bound = total.data[0]
    free = labels_of(mapping.values()) | total.free
    return len({part for part, _ in bound}) == len(bound) and all(k >= 0 for _, k in free)


def _contradicts(atom: Atom, others: Iterable[Atom]) -> bool:
    """Whether something else is 0 where this is 1: [d > 0] beside [d = 0], [c = 1] by [c = 2]."""
    if atom.kind == "call" and atom.data[0] == "positive":
        return any(
            other.kind == "call" and other.data[0] == "zero" and other.data[1] == atom.data[1]
            for other in others
        )
    return False


def _replaceable(atom: Atom, others: Iterable[Atom]) -> dict[Label, Index] | None:
    """Give the label that [c = y] replaces in other factors, and by what."""
    for one, other in (atom.data, atom.data[::-1]):
        if isinstance(one[0], int) and (not isinstance(other[0], int) or one > other):
            label = (one[0], one[1])
            if label in labels_of([other]):
                continue
            if any(label in x.free for x in others if x is not atom):
                return {label: other}
    return None


def _components(
    monomial: Monomial, bound: frozenset[Label]
) -> list[tuple[list[Label], list[tuple[Atom, Any]]]]:
    """Split the factors into groups that share no bound label; those without any come first."""
    outside = [pair for pair in monomial if not pair[0].free & bound]
    groups: list[tuple[set[Label], list[tuple[Atom, Any]]]] = []
    for pair in monomial:
        labels = set(pair[0].free & bound)
        if labels:
            meeting = [g for g in groups if g[0] & labels]
            groups = [g for g in groups if not g[0] & labels]
            factors = [pair, *(f for g in meeting for f in g[1])]
            groups.append((labels.union(*(g[0] for g in meeting)), factors))
    met = set[Label]().union(*(g[0] for g in groups))
    alone: list[tuple[list[Label], list[tuple[Atom, Any]]]] = [([b], []) for b in bound - met]
    return [([], outside), *alone, *((sorted(labels), f) for labels, f in groups)]
