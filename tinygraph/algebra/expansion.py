"""Taking values apart, and the test for zero.

Expanded down to inputs, most differences that are 0 have no term left. In the others a sum of terms
stands under a root or a fraction line. Let b be one that stands in no other: terms whose exponents
of b differ by no integer cannot cancel, and among the others b to the lowest exponent is a factor
that all of them share. Divided by it, b is a polynomial like any other.

The test is sound and not complete: what does not vanish here may still be 0.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from tinygraph.algebra.atoms import Atom, Label, Monomial, Polynomial
from tinygraph.algebra.polynomials import Algebra

__all__ = ["expand", "remainder"]


def expand(algebra: Algebra, p: Polynomial) -> Polynomial:
    """Take every value apart, down to inputs and functions of them.

    Examples
    --------
    >>> algebra = Algebra()
    >>> a, b = (algebra.input(name, [(0, 0)]) for name in "ab")
    >>> both = algebra.value(algebra.plus(a, b))
    >>> len(algebra.power(both, 2)), len(expand(algebra, algebra.power(both, 2)))
    (1, 3)
    """
    out: Polynomial = {}
    for monomial, c in p.items():
        term = algebra.number(c)
        for atom, e in sorted(monomial, key=lambda pair: len(_expanded(algebra, pair[0]))):
            term = algebra.times(term, algebra.power(_expanded(algebra, atom), e))
        out = algebra.plus(out, term)
    return out


def _expanded(algebra: Algebra, atom: Atom) -> Polynomial:
    if atom not in algebra.expanded:
        algebra.expanded[atom] = _expand(algebra, atom)
    return algebra.expanded[atom]


def _expand(algebra: Algebra, atom: Atom) -> Polynomial:
    kind, data = atom.kind, atom.data
    if kind == "value":
        return expand(algebra, dict(data[0]))
    if kind == "sum":
        mapping = algebra.fresh(data[0])
        inner = expand(algebra, algebra.rename({data[1]: 1}, mapping))
        return algebra.summed(inner, mapping.values(), lemmas=False)
    if kind == "call":
        name, operands, bound = data
        mapping = algebra.fresh(bound)
        inside = [expand(algebra, algebra.rename(dict(p), mapping)) for p in operands]
        if name == "tanh":  # 1 − 2/(1 + e²ˣ)
            e = algebra.exponential({m: 2 * c for m, c in inside[0].items()})
            inverse = algebra.power(algebra.plus(algebra.number(1), e), -1)
            return algebra.plus(algebra.number(1), inverse, -2)
        return algebra.function(name, *inside, bound=tuple(mapping.values()))
    return algebra.of(atom)


def remainder(algebra: Algebra, p: Polynomial) -> Polynomial:
    """Give what is left of a difference when all that is known to cancel has; {} if it is 0.

    Raises
    ------
    UndecidedError
        If that takes too many terms, or too long.

    Examples
    --------
    >>> algebra = Algebra()
    >>> x = algebra.input("x", [(0, 0)])
    >>> more = algebra.power(algebra.plus(algebra.number(1), x), -1)
    >>> p = algebra.plus(more, algebra.times(x, more))       # 1/(1 + x) + x/(1 + x) − 1
    >>> remainder(algebra, algebra.plus(p, algebra.number(-1)))
    {}
    """
    if not p:
        return {}
    return {} if _vanishes(algebra, expand(algebra, p)) else p


def _vanishes(algebra: Algebra, p: Polynomial) -> bool:
    if not p:
        return True
    algebra.check(len(p))
    values = {atom for m in p for atom, _ in m if atom.kind == "value"}
    if values:
        outermost = max(values, key=lambda atom: atom.serial)  # what it is made of was made before
        groups = _without(algebra, p, outermost)
    else:
        groups = _integrands(algebra, p)
    return groups is not None and all(_vanishes(algebra, group) for group in groups)


def _without(algebra: Algebra, p: Polynomial, base: Atom) -> list[Polynomial]:
    """Split by the fractional parts of the exponents of `base`, and divide by the lowest power."""
    groups: dict[Any, list[tuple[Any, Monomial, Any]]] = {}
    for monomial, c in p.items():
        e = Fraction(dict(monomial).get(base, 0))
        rest = frozenset(pair for pair in monomial if pair[0] is not base)
        groups.setdefault(e - e.__floor__(), []).append((e, rest, c))
    whole = expand(algebra, dict(base.data[0]))
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
