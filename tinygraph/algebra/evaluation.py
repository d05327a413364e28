"""The value of a polynomial on arrays: the mathematics that it stands for, computed as it stands.

It serves to tell what is not 0: of a remainder, the value is held against that of its terms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinygraph.algebra.atoms import Atom, Index, Label, Polynomial
from tinygraph.algebra.polynomials import UndecidedError, free_of

__all__ = ["Evaluator"]

ROUNDING = 1e-12
FUNCTIONS: Mapping[str, Any] = {
    "exp": np.exp,
    "log": np.log,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "abs": np.abs,
}


class Evaluator:
    """Values of polynomials at given inputs.

    Parameters
    ----------
    inputs : mapping
        Arrays by name, with one axis for each part; rows of labels too. An index that is out of
        range, which is only asked for where something else is 0, begins again.
    lengths : mapping
        Of each part.

    Examples
    --------
    >>> from tinygraph.algebra.polynomials import Algebra
    >>> algebra = Algebra()
    >>> square = algebra.power(algebra.input("x", [(0, 0)]), 2)
    >>> at = Evaluator({"x": np.array([1.0, 3.0])}, {0: 2})
    >>> float(at(algebra.total(square, [(0, 0)]))[0])
    10.0
    """

    def __init__(self, inputs: Mapping[str, Any], lengths: Mapping[int, int]) -> None:
        self.inputs, self.lengths = inputs, lengths
        self._known: dict[tuple[Atom, tuple[Label, ...]], Any] = {}

    def __call__(self, p: Polynomial) -> tuple[Any, Any]:
        """Give the value of a polynomial, and the sum of the sizes of its terms."""
        labels = sorted(frozenset[Label]().union(*(free_of(m) for m in p)))
        terms = [self._terms({m: c}, labels) for m, c in p.items()]
        total = np.sum(np.broadcast_arrays(*terms), axis=0)
        return total, np.sum(np.broadcast_arrays(*map(np.abs, terms)), axis=0)

    def laid_out(self, p: Polynomial, labels: Sequence[Label]) -> Any:
        """Give the value of a polynomial as an array, with one axis for each of the labels."""
        return np.broadcast_to(self._terms(p, labels), [self.lengths[part] for part, _ in labels])

    def _terms(self, p: Polynomial, labels: Sequence[Label]) -> Any:
        total: Any = np.zeros(())
        for monomial, c in p.items():
            term: Any = np.full((), float(c))
            for atom, e in monomial:
                term = term * self._atom(atom, labels) ** float(e)
            total = total + term
        return total

    def _atom(self, atom: Atom, labels: Sequence[Label]) -> Any:
        key = atom, tuple(labels)
        if key not in self._known:
            self._known[key] = self._value(atom, labels)
        return self._known[key]

    def _value(self, atom: Atom, labels: Sequence[Label]) -> Any:
        kind, data = atom.kind, atom.data
        if kind == "length":
            return np.full((), float(self.lengths[data[0]]))
        if kind == "root":
            return np.full((), float(data[0]))
        if kind == "value":
            return self._terms(dict(data[0]), labels)
        if kind == "sum":
            inner = self._terms({data[1]: 1}, [*labels, *data[0]])
            return self._over(np.sum, inner, labels, data[0])
        if kind == "input":
            array = np.asarray(self.inputs[data[0]])
            indices = [self._index(index, labels) for index in data[1]]
            return array[tuple(k % n for k, n in zip(indices, array.shape, strict=True))]
        if kind == "call" and data[0] == "max":
            inner = self._terms(dict(data[1][0]), [*labels, *data[2]])
            return self._over(np.max, inner, labels, data[2])
        if kind == "call" and data[0] in ("positive", "zero"):
            return self._sign(dict(data[1][0]), labels, data[0])
        if kind == "call" and data[0] in FUNCTIONS:
            return FUNCTIONS[data[0]](self._terms(dict(data[1][0]), labels))
        if kind == "delta":
            return (self._index(data[0], labels) == self._index(data[1], labels)) * 1.0
        if kind == "below":
            return (self._index(data[0], labels) < self._terms(dict(data[1]), ())) * 1.0
        raise UndecidedError(f"{kind} {data[0]} is not evaluated")

    def _sign(self, p: Polynomial, labels: Sequence[Label], name: str) -> Any:
        """Tell what is positive, or 0, where what rounding leaves of a difference is 0."""
        value, sizes = self._terms(p, labels), 0.0
        for monomial, c in p.items():
            sizes = sizes + np.abs(self._terms({monomial: c}, labels))
        is_zero = np.abs(value) <= ROUNDING * sizes
        return (is_zero if name == "zero" else (value > 0) & ~is_zero) * 1.0

    def _over(self, reduce: Any, inner: Any, labels: Sequence[Label], bound: Any) -> Any:
        """Reduce along bound labels, which are the last axes."""
        lengths = [self.lengths[part] for part, _ in bound]
        shape = (1,) * (len(labels) + len(bound) - inner.ndim) + inner.shape
        full = np.broadcast_to(inner.reshape(shape), (*shape[: len(labels)], *lengths))
        return reduce(full, axis=tuple(range(len(labels), full.ndim)))

    def _index(self, index: Index, labels: Sequence[Label]) -> Any:
        if index[0] == "table" and isinstance(self.inputs.get(index[1]), np.ndarray):
            table = self.inputs[index[1]]
            return table[self._index(index[2], labels) % len(table)]  # beyond it, times 0
        if index[0] in ("at", "shift"):
            offset = int(self._terms(dict(index[1]), ()))
            return offset + (self._index(index[2], labels) if index[0] == "shift" else 0)
        if isinstance(index[0], str):
            raise UndecidedError("labels that are not known are not evaluated")
        place = max(k for k, label in enumerate(labels) if label == index)  # the innermost
        shape = [1] * len(labels)
        shape[place] = self.lengths[index[0]]
        return np.arange(shape[place]).reshape(shape)
