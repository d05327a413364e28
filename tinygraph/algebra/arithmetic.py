"""Arithmetic: sums and products in which equal expressions become equal dictionaries.

A polynomial is ``{monomial: coefficient}`` and a monomial a set of ``(atom, exponent)``, both
rational. So a · 1/a = 1 and √a · √a = a without a rule of their own. What remains to be said:

- A *value* is a sum of terms that is kept as one factor, known by its terms; so is a sum of terms
  that is raised to a power that is no natural number.
- What is 0 or 1 is its own square, and [c = y] f(c) = [c = y] f(y).
- A square root splits over what cannot be negative, and over nothing else: √x² is not x.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from itertools import product
from typing import Any

from tinygraph.algebra.atoms import (
    Atom,
    Index,
    Label,
    Monomial,
    Polynomial,
    labels_of,
)

__all__ = ["ONE", "Arithmetic", "UndecidedError", "free_of", "is_nonnegative_length", "plain"]

ONE: Monomial = frozenset()
LARGEST_FACTORED = 10**12
MOST_OF_A_SIGN = 3


class UndecidedError(Exception):
    """There was no answer within the limits; or something has no normal form."""


class Arithmetic:
    """Atoms, and polynomials of them.

    Parameters
    ----------
    most_terms : int
        Of one polynomial.
    limit_s : float
        How long it may take, from now on.

    Attributes
    ----------
    fixed : dict
        The lengths of axes that are numbers.
    tied : dict
        Those that are so many times another: (times, axis).
    """

    def __init__(self, *, most_terms: int = 20_000, limit_s: float = 10.0) -> None:
        self.most_terms = most_terms
        self.end = time.monotonic() + limit_s
        self.fixed: dict[int, int] = {}
        self.tied: dict[int, tuple[int, int]] = {}
        self.on_check: Callable[[], None] = lambda: None
        self._atoms: dict[Any, Atom] = {}
        self._products: dict[Any, tuple[Any, Monomial] | None] = {}
        self._nonnegative: dict[Atom, bool] = {}

    def renamed(self, atom: Atom, mapping: Mapping[Label, Index]) -> Polynomial:
        """Replace free labels of an atom."""
        raise NotImplementedError

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
        """Give 1 where an index is at least `start` and less than `stop`, which is no less."""
        return self.plus(self.below(index, stop), self.below(index, start), -1)

    def below(self, index: Index, stop: Polynomial) -> Polynomial:
        """Give 1 where an index is less than a number, and 0 elsewhere."""
        if index[0] == "shift":
            return self.below(index[2], self.plus(stop, dict(index[1]), -1))
        first: Polynomial = dict(index[1]) if index[0] == "at" else {}
        last: Polynomial | None = first if index[0] == "at" else None
        if isinstance(index[0], int):
            last = self.plus(self.length(index[0]), self.number(-1))
        if index[0] != "table" and is_nonnegative_length(self.plus(first, stop, -1)):
            return {}
        if last is not None and is_nonnegative_length(
            self.plus(self.plus(stop, last, -1), self.number(-1))
        ):
            return self.number(1)
        data = (index, frozenset(stop.items()))
        return self.of(self.atom("below", data, labels_of([index])))

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
        ranges = [atom for atom in exponents if atom.kind == "below"]
        for atom in ranges if len(ranges) > 1 else ():
            if any(self._is_narrower(other, atom) for other in ranges if other in exponents):
                del exponents[atom]
        return factor, frozenset(exponents.items())

    def _is_narrower(self, one: Atom, other: Atom) -> bool:
        """Whether the range of another index, or of the same, lies in that of `other`."""
        more = self.plus(dict(other.data[1]), dict(one.data[1]), -1)
        return one is not other and one.data[0] == other.data[0] and is_nonnegative_length(more)

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
        raise UndecidedError("an index that replaces itself")

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
            splits = e.denominator == 1 or self.is_nonnegative(atom) or _is_even(least)
            if least and splits and atom.kind != "delta":
                common[atom] = least
        lead = min(p, key=lambda m: (not m, _order(m)))
        c = abs(p[lead]) if e.denominator > 1 else p[lead]
        inverse = {frozenset((a, -k) for a, k in common.items()): Fraction(1) / c}
        rest = self.times(p, inverse)
        if len(rest) == 1:
            ((monomial, d),) = rest.items()
            return self._power_of_monomial(frozenset([*monomial, *common.items()]), c * d, e)
        outside = self._power_of_monomial(frozenset(common.items()), c, e)
        if e.denominator == 1 and self._is_sign(rest):
            return outside if _is_even(e) else self.times(outside, rest)
        (key,) = self.value(rest)
        ((atom, _),) = key
        return self.times(outside, self.of(atom, plain(e)))

    def _is_sign(self, p: Polynomial) -> bool:
        """Whether the square of a sum is 1 but where something is 0, where none divides by it."""
        square = self.times(p, p) if len(p) <= MOST_OF_A_SIGN else {}
        zeros = [a for m, c in square.items() if m and c == -1 and len(m) == 1 for a, _ in m]
        is_zero = [atom.kind == "call" and atom.data[0] == "zero" for atom in zeros]
        return len(square) == 2 and square.get(ONE) == 1 and is_zero == [True]

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
            terms = frozenset({kept: sign}.items())
            return self.of(self.atom("value", (terms,), free_of(kept)), plain(e))
        out = self.number(1)
        for atom, k in kept:
            out = self.times(out, self._modulus(atom, Fraction(k * e)))
        return out

    def _modulus(self, atom: Atom, e: Fraction) -> Polynomial:
        """Give |a|^e, as √a² is: of odd e it is a^e, and its sign."""
        p = self.of(atom)
        if e.denominator > 1:
            ((key, _),) = self.call("abs", p).items()
            return {frozenset((modulus, plain(e)) for modulus, _ in key): 1}
        if _is_even(e):
            return self._raised(atom, e)
        sign = self.plus(self.number(-1), self.call("positive", p), 2)
        return self.times(self._raised(atom, e), self.plus(sign, self.call("zero", p)))

    def _raised(self, atom: Atom, e: Any) -> Polynomial:
        if atom.kind == "root":
            return self._rational_power(Fraction(atom.data[0]), Fraction(e))
        return self.of(atom, plain(Fraction(e)))

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


def free_of(monomial: Monomial) -> frozenset[Label]:
    """Give the labels that a monomial varies along."""
    return frozenset[Label]().union(*(atom.free for atom, _ in monomial))


def plain(e: Fraction) -> Any:
    """Give a fraction as an int, where it is one."""
    return e.numerator if e.denominator == 1 else e


def _is_even(e: Any) -> bool:
    return bool(e % 2 == 0)


def is_nonnegative_length(p: Polynomial) -> bool:
    """Whether a polynomial in lengths, each of which is 1 or more, is known not to be negative."""
    return sum(p.values()) >= 0 and all(
        not m or (c > 0 and all(atom.kind == "length" and e > 0 for atom, e in m))
        for m, c in p.items()
    )


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
