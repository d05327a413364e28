"""Polynomials with indices: sums over labels, and functions.

Σ is linear; a factor without its label goes in front; Σ 1 is a length; Σ over labels that do not
meet is a product of sums; Σ_c [c = y] f(c) = f(y). Bound labels have standard names, so that
Σ_i x_i = Σ_j x_j. And exp(a + b) = exp a · exp b, so that a coefficient becomes an exponent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import count, permutations, product
from typing import Any

from tinygraph.algebra.arithmetic import ONE, Arithmetic, UndecidedError, free_of, plain
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

MOST_PERMUTED = 5


class Algebra(Arithmetic):
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
        super().__init__(most_terms=most_terms, limit_s=limit_s)
        self.with_lemmas = False
        self.lemmas: dict[Atom, Atom] = {}
        self._fresh = count(1000)
        self._renamed: dict[Any, Polynomial] = {}
        self._bare: dict[Atom, Atom] = {}
        self._forms: dict[Atom, int] = {}
        self._known_forms: dict[Any, int] = {}
        self._lemma_of: dict[Atom, Atom | None] = {}

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
        if kind == "below":
            return self.below(relabelled(data[0], mapping), dict(data[1]))
        if kind == "value":
            p = self.rename(dict(data[0]), mapping)
            return self.value(p) if set(p) - {ONE} else p
        bound = data[2] if kind == "call" else data[0]
        if kind == "sum" and _keeps_standard(atom, mapping):
            return self._moved_sum(atom, mapping)
        moved = self.fresh(bound)
        if kind == "sum":
            inner = self.rename({data[1]: 1}, {**mapping, **moved})
            return self.summed(inner, moved.values(), lemmas=False)
        operands = [self.rename(dict(p), {**mapping, **moved}) for p in data[1]]
        if data[0] in ("positive", "zero") and not _has_signs(operands[0]):
            return self.call(data[0], *operands)  # and not of −d: what is one atom stays one
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
        if name in ("positive", "zero"):
            return self.signs(operands[0])[name == "zero"]
        names = self._standard_names(bound, operands)
        return self.call(
            name, *[self.rename(p, names) for p in operands], bound=tuple(names.values())
        )

    def signs(self, d: Polynomial) -> tuple[Polynomial, Polynomial]:
        """Give [d > 0] and [d = 0]: of d or −d, always the same one, once for both."""
        if not set(d) - {ONE}:
            c = d.get(ONE, 0)
            return self.number(int(c > 0)), self.number(int(c == 0))
        if _has_signs(d):
            factors = {atom for m in d for atom, _ in m if atom.idempotent}
            return self._signs_by(min(factors, key=lambda atom: atom.serial), d)
        lead = min(d, key=lambda m: sorted((atom.serial, e) for atom, e in m))
        c = d[lead]
        p = {m: Fraction(v) / c for m, v in d.items()}
        positive, zero = self.call("positive", p), self.call("zero", p)
        if c < 0:
            positive = self.plus(self.plus(self.number(1), positive, -1), zero, -1)
        return positive, zero

    def _signs_by(self, by: Atom, d: Polynomial) -> tuple[Polynomial, Polynomial]:
        """Give them where a factor is 1, and where it is 0: [x · [x > 0] > 0] = [x > 0]."""
        there = {m: c for m, c in self.times(d, self.of(by)).items() if c}
        there = {frozenset(pair for pair in m if pair[0] is not by): c for m, c in there.items()}
        elsewhere = {m: c for m, c in d.items() if by not in dict(m)}
        one, other = self.signs(there), self.signs(elsewhere)
        both = [
            self.plus(b, self.times(self.of(by), self.plus(a, b, -1)))
            for a, b in zip(one, other, strict=True)
        ]
        return both[0], both[1]

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
            out = self.times(out, self.of(atom, plain(Fraction(c))))
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
            self.check(0)
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


def _has_signs(d: Polynomial) -> bool:
    """Whether the sign of a sum is known, or is where one of its factors is 0 or 1."""
    return not set(d) - {ONE} or any(atom.idempotent for m in d for atom, _ in m)


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
