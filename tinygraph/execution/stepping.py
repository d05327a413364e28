"""A region's sweeps in NumPy, for any block of rows: what a kernel does, in whole arrays.

A block of rows gives its share of each sum over rows, and its rows of the results. The shares of
all blocks are joined in any tree, because adding up is associative but for rounding; they are also
all that workers who hold a part of the batch each must tell each other.

Every array has one axis for each label of its region, of length 1 where it lacks the label, so that
broadcasting does the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from tinygraph.execution.regions import Region, Result, Sweep
from tinygraph.execution.values import Label, Value

__all__ = ["JOINS", "Stepper"]

JOINS: Mapping[str, np.ufunc] = {
    "sum": np.add,
    "max": np.maximum,
    "all": np.logical_and,
    "any": np.logical_or,
}
"""How two shares of a reduction are joined."""

Shares = tuple[Any, ...]


class Stepper:
    """Computes the sweeps of a region, one after the other, on blocks of rows.

    Parameters
    ----------
    region : Region
    arrays : mapping
        At least the arguments without labels of rows, by the index of their node.

    Attributes
    ----------
    known : dict
        What is known so far of the values without labels of rows, by index.

    Examples
    --------
    >>> import tinygraph
    >>> from tinygraph.execution import Plan, Program
    >>> x = np.array([[1.0, 10.0], [3.0, 50.0]])
    >>> centred = tinygraph.trace(lambda x: x - np.mean(x, axis=0))(x)
    >>> (region,) = Plan.of(Program.of(tinygraph.Graph.capture(centred))).parts
    >>> stepper, (first, second) = Stepper(region, {}), region.sweeps
    >>> stepper.start(first)
    >>> blocks = [{0: x[:1]}, {0: x[1:]}]
    >>> stepper.end(first, [stepper.block(first, arrays, 1)[0] for arrays in blocks])
    >>> stepper.start(second)
    >>> stepper.block(second, blocks[1], 1)
    ((), (array([[ 1., 20.]]),))
    """

    def __init__(self, region: Region, arrays: Mapping[int, Any]) -> None:
        self.region = region
        self.known: dict[int, Any] = {x.index: x.params["value"] for x in region.constants}
        for x in region.arguments:
            if x.node is not None and set(x.labels).isdisjoint(region.rows):
                self.known[x.index] = self._aligned(arrays[x.node.index], x.labels, {})

    def start(self, sweep: Sweep) -> None:
        """Do the vector work before a sweep."""
        self._compute(sweep.before, self.known, {})

    def block(
        self, sweep: Sweep, arrays: Mapping[int, Any], count: int
    ) -> tuple[Shares, tuple[Any, ...]]:
        """Do a sweep over some rows.

        Parameters
        ----------
        sweep : Sweep
        arrays : mapping
            These rows of what it reads, by the index of the node.
        count : int
            How many there are: entries of the outermost label.

        Returns
        -------
        shares : tuple of ndarrays
            In the order of ``sweep.sums``.
        rows : tuple of ndarrays
            In the order of ``sweep.writes``, with an axis for each label of the result.
        """
        lengths = {self.region.rows[0]: count}
        here = dict(self.known)
        for x in sweep.reads:
            if x.node is not None:
                here[x.index] = self._aligned(arrays[x.node.index], x.labels, lengths)
        shares: list[Any] = []
        rows: list[Any] = []
        for segment in sweep.segments:
            self._compute((*segment.scalars, *segment.values), here, lengths)
            self._compute(segment.reductions, here, lengths)
            shares += [self._reduced(x, here, lengths) for x in segment.sums]
            rows += [self._of_result(x, here, lengths) for x in segment.writes]
        return tuple(shares), tuple(rows)

    def join(self, sweep: Sweep, one: Shares, other: Shares) -> Shares:
        """Join the shares of two blocks."""
        pairs = zip(sweep.sums, one, other, strict=True)
        return tuple(JOINS[x.op](a, b) for x, a, b in pairs)

    def end(self, sweep: Sweep, shares: Iterable[Shares]) -> None:
        """Note what a sweep has found, of which some blocks, at least one, had these shares."""
        totals = reduce(lambda one, other: self.join(sweep, one, other), shares)
        self.known.update(zip([x.index for x in sweep.sums], totals, strict=True))

    def finish(self) -> None:
        """Do the vector work after the last sweep."""
        self._compute(self.region.after, self.known, {})

    def vector(self, result: Result) -> Any:
        """Give a result that has no labels of rows, in the shape of its node."""
        return self._of_result(result, self.known, {}).reshape(result.node.shape)

    # ------------------------------------------------------------------ arrays

    def _shape(self, labels: Iterable[Label], lengths: Mapping[Label, int]) -> list[int]:
        return [lengths.get(x, x.length) if x in labels else 1 for x in self.region.labels]

    def _aligned(self, array: Any, labels: Sequence[Label], lengths: Mapping[Label, int]) -> Any:
        return np.reshape(array, self._shape(labels, lengths))

    def _compute(
        self, values: Iterable[Value], known: dict[int, Any], lengths: Mapping[Label, int]
    ) -> None:
        for x in values:
            if x.op in JOINS:
                known[x.index] = self._reduced(x, known, lengths)
            elif x.primitive is not None:
                operands = [known[y.index] for y in x.operands]
                known[x.index] = x.primitive.forward(*operands, **x.params)

    def _reduced(self, x: Value, known: Mapping[int, Any], lengths: Mapping[Label, int]) -> Any:
        """Reduce what is spread along all labels that it is to be reduced over."""
        (operand,) = x.operands
        shape = self._shape({*operand.labels, *x.labels, *x.over}, lengths)
        axis = tuple(k for k, label in enumerate(self.region.labels) if label in x.over)
        entries = np.broadcast_to(known[operand.index], shape)
        return x.primitive.forward(entries, axis=axis, keepdims=True)  # type: ignore[union-attr]

    def _of_result(
        self, result: Result, known: Mapping[int, Any], lengths: Mapping[Label, int]
    ) -> Any:
        entries = np.broadcast_to(known[result.value.index], self._shape(result.labels, lengths))
        return entries.reshape([lengths.get(x, x.length) for x in result.labels])
