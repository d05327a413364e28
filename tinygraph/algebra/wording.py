"""Polynomials in the user's names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from tinygraph.algebra.atoms import Atom, Label, Monomial, Polynomial
from tinygraph.algebra.expressions import Expression, named, number, product
from tinygraph.algebra.polynomials import Algebra
from tinygraph.algebra.reading import Reader

__all__ = ["Wording"]


class Wording:
    """Writes polynomials of an algebra.

    Parameters
    ----------
    algebra : Algebra
    readers : iterable of Readers
        Of graphs whose forward nodes lend their names.
    lengths : mapping
        Names of lengths, by part.

    Attributes
    ----------
    along : bool
        Whether sums name what they run along: where a graph has sums of several kinds.
    """

    def __init__(
        self, algebra: Algebra, readers: Iterable[Reader], lengths: Mapping[int, str]
    ) -> None:
        self.algebra, self.lengths = algebra, lengths
        self.names: dict[Atom, list[tuple[str, Any]]] = {}
        self.forms: dict[Atom, tuple[str, str]] = {}
        self.along = False
        for reader in readers:
            for node in reader.graph.nodes:
                if node.name and node.role == "forward" and node.index in reader.forward:
                    self.register(node.name, reader.of[node.index])
        bound = {
            frozenset(label[0] for label in atom.data[0])
            for reader in readers
            for p in reader.of.values()
            for m in p
            for atom, _ in m
            if atom.kind == "sum"
        }
        self.along = len(bound) > 1

    def register(self, name: str, p: Polynomial) -> None:
        """Let a power of an atom be written by name."""
        if len(p) == 1:
            ((monomial, c),) = p.items()
            if c == 1 and len(monomial) == 1:
                ((atom, e),) = monomial
                if atom.kind not in ("input", "length", "root"):
                    names = self.names.setdefault(self.algebra.bare(atom), [])
                    if e not in [known for _, known in names]:
                        names.append((name, e))

    def register_unnamed(self, form: tuple[str, str], p: Polynomial) -> None:
        """Let a value without a name be written as the formula that it has in the graph."""
        atoms = [pair for m in p for pair in m]
        if len(p) == 1 == len(atoms) and atoms[0][0].kind == "value" and atoms[0][1] == 1:
            self.forms.setdefault(self.algebra.bare(atoms[0][0]), form)

    # ------------------------------------------------------------------ writing

    def polynomial(self, p: Polynomial) -> Expression:
        """Write a sum of terms, as a tree."""
        if not p:
            return number(0)
        terms = [(1 if c > 0 else -1, self.monomial(m, abs(Fraction(c)))) for m, c in p.items()]
        terms.sort(key=lambda term: term[0] < 0)  # a sum begins with what is added
        if len(terms) == 1:
            sign, x = terms[0]
            return x if sign > 0 else _negated(x)
        labels = frozenset[Label]().union(*(x.labels for _, x in terms))
        signs = tuple(sign for sign, _ in terms)
        return Expression("sum", tuple(x for _, x in terms), data=signs, labels=labels)

    def monomial(self, monomial: Monomial, c: Any = 1) -> Expression:
        """Write one term, as a tree."""
        c = Fraction(c)
        above = [number(c.numerator)]
        below = [number(c.denominator)]
        factors = sorted(monomial, key=self._order)
        for atom, e in factors:
            x, is_above = self._raised(atom, e)
            (above if is_above else below).append(x)
        return product(above, below)

    def _order(self, pair: tuple[Atom, Any]) -> Any:
        atom, _ = pair
        return len(atom.free), atom.kind == "sum", atom.serial

    def _raised(self, atom: Atom, e: Any) -> tuple[Expression, bool]:
        """Write a power of an atom, and say whether it stands above the line."""
        best: tuple[Any, str, Fraction] | None = None
        for name, known in self.names.get(self.algebra.bare(atom), ()):
            times = Fraction(e) / Fraction(known)
            if times.denominator == 1:
                rank = abs(times), times < 0
                if best is None or rank < best[0]:
                    best = rank, name, times
        if best is not None:
            base, times = named(best[1], atom.free), best[2]
        else:
            base, times = self.atom(atom), Fraction(e)
        size = abs(times)
        x = base
        if size.denominator == 2 and size != Fraction(1, 2):
            root = Expression("power", (base,), Fraction(1, 2), base.labels)
            x = Expression("power", (root,), size * 2, base.labels)
        elif size != 1:
            x = Expression("power", (base,), size, base.labels)
        return x, times > 0

    def atom(self, atom: Atom) -> Expression:
        """Write an atom without a name of its own."""
        kind, data, free = atom.kind, atom.data, atom.free
        if kind == "input":
            return named("array" if data[0].startswith("constant ") else data[0], free)
        if kind == "length":
            return named(self.lengths.get(data[0], f"L{data[0]}"))
        if kind == "root":
            return number(data[0])
        if kind == "value":
            form = self.forms.get(self.algebra.bare(atom))
            if form is not None:
                return Expression("name", data=form, labels=free)
            return self.polynomial(dict(data[0]))
        if kind == "sum":
            bound, monomial = data
            along = [self.lengths.get(part, "") for part, _ in bound] if self.along else []
            x = self.monomial(monomial)
            return Expression("total", (x,), labels=free, bound=(bound, tuple(along)))
        if kind == "delta":
            return named("onehot", free)
        if kind == "below":
            return named("part", free)
        name, operands, _ = data
        inner = tuple(self.polynomial(dict(p)) for p in operands)
        if name in ("positive", "zero"):
            name = {"positive": "[·>0]", "zero": "[·=0]"}[name]
        return Expression("call", inner, data=name, labels=free)


def _negated(x: Expression) -> Expression:
    return Expression("sum", (x,), data=(-1,), labels=x.labels)
