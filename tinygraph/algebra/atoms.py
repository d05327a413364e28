"""Atoms: what a polynomial is made of, each with the indices that it varies along.

An *index* is what stands in the brackets of x[n, d]: a label ``(axis, copy)``, or a function of
labels, such as an offset or an entry of a table. Two axes of a matrix may be one axis of the data,
as in x xᵀ, so that a label is an axis and the number of its copy.

Atoms are interned: equal ones are one object, known by the order in which they were made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["Atom", "Index", "Label", "Monomial", "Polynomial", "labels_of", "relabelled", "shifted"]

Label = tuple[int, int]
Index = tuple[Any, ...]


class Atom:
    """A factor that is not taken apart.

    Attributes
    ----------
    kind : str
        ``input``, of a name and indices; ``value``, a named or raised sum of terms; ``sum``, of a
        monomial over labels; ``call``, a function of polynomials; ``delta``, 1 where two indices
        agree; ``below``, 1 where an index is less than a number; ``length``, of an axis; ``root``,
        the prime whose power is no fraction.
    data : tuple
        What it is made of.
    free : frozenset of labels
        What it varies along.
    serial : int
        Its place in the order in which atoms were made.
    idempotent : bool
        Whether it is 0 or 1, so that its powers are itself.
    """

    __slots__ = ("data", "free", "idempotent", "kind", "serial")

    def __init__(self, kind: str, data: tuple[Any, ...], free: frozenset[Label], serial: int):
        self.kind, self.data, self.free, self.serial = kind, data, free, serial
        self.idempotent = kind in ("delta", "below") or (
            kind == "call" and data[0] in ("positive", "zero")
        )

    def __repr__(self) -> str:
        return f"Atom({self.kind}, {self.data})"


Monomial = frozenset[tuple[Atom, Any]]
Polynomial = dict[Monomial, Any]


def labels_of(indices: Iterable[Index]) -> frozenset[Label]:
    """Give the labels that indices depend on.

    Examples
    --------
    >>> sorted(labels_of([(0, 0), ("table", "y", (1, 0))]))
    [(0, 0), (1, 0)]
    """
    found: set[Label] = set()
    for index in indices:
        if index and isinstance(index[0], str):
            found |= labels_of(part for part in index[2:] if isinstance(part, tuple))
        elif index:
            found.add((index[0], index[1]))
    return frozenset(found)


def relabelled(index: Index, mapping: Mapping[Any, Index]) -> Index:
    """Replace the labels of an index.

    Examples
    --------
    >>> relabelled(("table", "y", (1, 0)), {(1, 0): (1, 3)})
    ('table', 'y', (1, 3))
    """
    if index and isinstance(index[0], str):
        inner = [relabelled(x, mapping) if isinstance(x, tuple) else x for x in index[2:]]
        return shifted(dict(index[1]), *inner) if index[0] == "shift" else (*index[:2], *inner)
    return mapping.get(index, index)


def shifted(offset: Polynomial, index: Index) -> Index:
    """Add an offset to an index; offsets of offsets, and of a number, are one.

    Examples
    --------
    >>> shifted({frozenset(): 2}, ("at", frozenset({(frozenset(), 1)})))
    ('at', frozenset({(frozenset(), 3)}))
    """
    if index[0] in ("shift", "at"):
        inner = dict(index[1])
        for m, c in offset.items():
            inner[m] = inner.get(m, 0) + c
        offset = {m: c for m, c in inner.items() if c}
        if index[0] == "at":
            return ("at", frozenset(offset.items()))
        index = index[2]
    return ("shift", frozenset(offset.items()), index) if offset else index
