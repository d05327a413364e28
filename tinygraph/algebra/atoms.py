"""Atoms: what a polynomial is made of, each with the indices that it varies along.

An *index* is what stands in the brackets of x[n, d]: a label ``(axis, copy)``, or a function of
labels, such as an offset or an entry of a table. Two axes of a matrix may be one axis of the data,
as in x xᵀ, so that a label is an axis and the number of its copy.

Atoms are interned: equal ones are one object, known by the order in which they were made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["Atom", "Index", "Label", "Monomial", "Polynomial", "labels_of", "relabelled"]

Label = tuple[int, int]
Index = tuple[Any, ...]


class Atom:
    """A factor that is not taken apart.

    Attributes
    ----------
    kind : str
        ``input``, of a name and indices; ``value``, a named or raised sum of terms; ``sum``, of a
        monomial over labels; ``call``, a function of polynomials; ``delta``, 1 where two indices
        agree; ``within``, 1 where an index is in a range; ``length``, of an axis; ``root``, the
        prime whose power is no fraction.
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
        self.idempotent = kind in ("delta", "within") or (
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
        return (*index[:2], *inner)
    return mapping.get(index, index)
