"""Taking an axis apart: what a loop writes, entry by entry, is what stands there as a whole.

An expression that names entries of an axis, or ranges, is 0 where it is 0 at each such entry and
within each range between. And a sum along an axis whose length is a number is a sum of its entries.
"""

from __future__ import annotations

from itertools import pairwise

from tinygraph.algebra.arithmetic import is_nonnegative_length
from tinygraph.algebra.atoms import Atom, Index, Label, Polynomial
from tinygraph.algebra.polynomials import Algebra

__all__ = ["MOST_ENTRIES", "entry", "names_entries", "pieces"]

MOST_ENTRIES = 16


def entry(k: Polynomial) -> Index:
    """Give the index of one entry.

    Examples
    --------
    >>> entry({frozenset(): 2})
    ('at', frozenset({(frozenset(), 2)}))
    """
    return ("at", frozenset(k.items()))


def names_entries(p: Polynomial) -> bool:
    """Whether inputs are taken at one entry of an axis.

    Examples
    --------
    >>> algebra = Algebra()
    >>> names_entries(algebra.input("x", [(0, 0)])), names_entries(algebra.input("x", [entry({})]))
    (False, True)
    """
    return any(_names_entries(atom) for m in p for atom, _ in m)


def _names_entries(atom: Atom) -> bool:
    kind, data = atom.kind, atom.data
    if kind == "input":
        return any(index[0] == "at" for index in data[1])
    if kind == "value":
        return names_entries(dict(data[0]))
    if kind == "sum":
        return names_entries({data[1]: 1})
    return kind == "call" and any(names_entries(dict(operand)) for operand in data[1])


def pieces(algebra: Algebra, p: Polynomial) -> list[Polynomial]:
    """Give what a polynomial is on each piece of an axis that it cuts; [] if it cuts none.

    Parameters
    ----------
    algebra : Algebra
    p : dict

    Returns
    -------
    list of dict
        At an entry, or on a range of them; `p` is 0 where all of these are.

    Examples
    --------
    >>> algebra = Algebra()
    >>> algebra.fixed[0] = 2
    >>> x = algebra.input("x", [(0, 0)])
    >>> first = algebra.delta((0, 0), entry({}))
    >>> len(pieces(algebra, algebra.times(x, first)))
    2
    """
    atoms = sorted({a for m in p for a, _ in m}, key=lambda atom: atom.serial)
    for label in dict.fromkeys(found for a in atoms for found, _ in _cuts(algebra, a)):
        cuts = [cut for a in atoms for found, cut in _cuts(algebra, a) if found == label]
        bounds = _in_order(algebra, [{}, algebra.length(label[0]), *cuts])
        if bounds and len(bounds) <= MOST_ENTRIES + 1:
            return [_piece(algebra, p, label, *ends) for ends in pairwise(bounds)]
    return []


def _cuts(algebra: Algebra, atom: Atom) -> list[tuple[Label, Polynomial]]:
    """Give at which entries an atom changes, along which axis."""
    if atom.kind == "below" and isinstance(atom.data[0][0], int):
        return [(atom.data[0], dict(atom.data[1]))]
    if atom.kind == "delta":
        for one, other in (atom.data, atom.data[::-1]):
            if isinstance(one[0], int) and other[0] == "at":
                at = dict(other[1])
                return [(one, at), (one, algebra.plus(at, algebra.number(1)))]
    return []


def _in_order(algebra: Algebra, cuts: list[Polynomial]) -> list[Polynomial]:
    """Sort numbers; [] if it is not known which is the larger one of two."""
    out: list[Polynomial] = []
    for cut in cuts:
        after = [is_nonnegative_length(algebra.plus(cut, other, -1)) for other in out]
        before = [is_nonnegative_length(algebra.plus(other, cut, -1)) for other in out]
        if not all(a or b for a, b in zip(after, before, strict=True)):
            return []
        if cut not in out:
            out.insert(sum(after), cut)
    return out


def _piece(
    algebra: Algebra, p: Polynomial, label: Label, start: Polynomial, stop: Polynomial
) -> Polynomial:
    if algebra.plus(stop, start, -1) == algebra.number(1):
        return algebra.rename(p, {label: entry(start)})
    out: Polynomial = {}
    for monomial, c in p.items():
        term = algebra.number(c)
        for atom, e in monomial:
            cuts = [cut for found, cut in _cuts(algebra, atom) if found == label]
            if not cuts:
                term = algebra.times(term, algebra.of(atom, e))
            elif atom.kind == "delta" or is_nonnegative_length(algebra.plus(start, cuts[0], -1)):
                term = {}
        out = algebra.plus(out, term)
    return out
