"""One sweep over a block of rows, with NumPy, a few rows at a time.

A block is gone through in **panels** that stay in a processor's cache: all that a sweep computes
for one panel is computed before the next is touched, so that there is never an array of a block's
size for every operation. What the panels add up is added pairwise, as a `Tree`, and so is later
what the blocks add up. In memory all arrays stand alike: an axis for every label of the region, of
length 1 where a value does not have the label; the rows are axis 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from tinygraph.engine.primitive import Primitive
from tinygraph.execution.regions import Region, Sweep
from tinygraph.execution.values import ARGUMENT, CONSTANT, Label, Value

__all__ = [
    "JOINS",
    "BlockKernel",
    "Step",
    "Sums",
    "Tree",
    "computed",
    "joined",
    "kernel_of",
    "standing",
    "step_of",
]

ENTRIES = 2**16
"""Of one array in a panel: half a megabyte in float64."""

JOINS: Mapping[str, np.ufunc] = {
    "sum": np.add,
    "max": np.maximum,
    "all": np.logical_and,
    "any": np.logical_or,
}
"""How what two parts of the rows were reduced to is joined."""

Sums = tuple[Any, ...]


class Step(NamedTuple):
    """One operation: what is applied to what stands in which places, and where the result stands.

    A reduction has axes, those of its labels that the operand has, and says how often an entry
    counts because of those that it does not have.
    """

    place: int
    primitive: Primitive
    operands: tuple[int, ...]
    params: Mapping[str, Any]
    dtype: np.dtype[Any] | None
    axes: tuple[int, ...] | None
    times: int


def step_of(x: Value, labels: Sequence[Label]) -> Step:
    """Say how a value of a region with these labels is computed."""
    axes, times = None, 1
    if x.primitive is None:
        raise ValueError(f"{x!r} is given, and not computed")
    if x.op in JOINS:
        (operand,) = x.operands
        axes = tuple(k for k, label in enumerate(labels) if label in {*x.over} & {*operand.labels})
        if x.op == "sum":
            times = prod(label.length for label in {*x.over} - {*operand.labels})
    operands = tuple(operand.index for operand in x.operands)
    return Step(x.index, x.primitive, operands, dict(x.params), x.dtype, axes, times)


def computed(step: Step, known: Mapping[int, Any]) -> Any:
    """Compute a value from what stands in the places."""
    operands = [known[k] for k in step.operands]
    if step.axes is None:
        return step.primitive.forward(*operands, **step.params)
    (x,) = operands
    total = step.primitive.forward(x, axis=step.axes, keepdims=True) if step.axes else x
    return np.asarray(total * step.times if step.times > 1 else total, step.dtype)


def added_up(step: Step, known: Mapping[int, Any]) -> Any:
    """Reduce a panel over its rows; what is narrower than float64 is added in float64."""
    (x,) = (known[k] for k in step.operands)
    if step.primitive.name != "sum":
        return step.primitive.forward(x, axis=step.axes, keepdims=True)
    total = np.add.reduce(x, axis=step.axes, keepdims=True, dtype=_wide(step.dtype))
    return total * step.times if step.times > 1 else total


def _wide(dtype: Any) -> Any:
    return np.result_type(dtype, np.float64) if dtype.kind == "f" else dtype


def joined(reductions: Sequence[str], *parts: Sums) -> Sums:
    """Join what two parts of the rows, or more, were reduced to.

    Examples
    --------
    >>> joined(["sum", "max"], (1.0, 5.0), (2.0, 3.0))
    (np.float64(3.0), np.float64(5.0))
    """
    total = parts[0]
    for part in parts[1:]:
        total = tuple(JOINS[name](a, b) for name, a, b in zip(reductions, total, part, strict=True))
    return total


class Tree:
    """Sums that come one after the other and are joined pairwise: neighbours, and then pairs.

    What is joined with what depends on how many there are and on nothing else, so that many
    processes that join neighbours level by level come to the same bits.

    Parameters
    ----------
    reductions : sequence of str
        ``sum``, ``max``, ``all`` or ``any``, of each of the sums.

    Examples
    --------
    >>> tree = Tree(["sum"])
    >>> for k in range(5):
    ...     tree.add((np.float64(k),))
    >>> tree.total()
    (np.float64(10.0),)
    """

    def __init__(self, reductions: Sequence[str]) -> None:
        self._reductions = tuple(reductions)
        self._waiting: list[tuple[int, Sums]] = []  # each of twice as many parts as the next

    def add(self, part: Sums) -> None:
        """Add what comes next."""
        level = 0
        while self._waiting and self._waiting[-1][0] == level:
            part = joined(self._reductions, self._waiting.pop()[1], part)
            level += 1
        self._waiting.append((level, part))

    def total(self) -> Sums:
        """Give the sum of all, of which there is at least one."""
        total = self._waiting[-1][1]
        for _, part in self._waiting[-2::-1]:
            total = joined(self._reductions, part, total)
        return total


def standing(has: Sequence[Label], labels: Sequence[Label], rows: int = -1) -> tuple[int, ...]:
    """Give the shape in which an array stands in a region, of which it has some labels.

    Examples
    --------
    >>> N, C, W = Label(0, 9, "N"), Label(1, 3, "C"), Label(2, 4, "W")
    >>> standing([C], [N, C, W]), standing([N, W], [N, C, W], rows=5)
    ((1, 3, 1), (5, 1, 4))
    """
    lengths = [label.length if label in has else 1 for label in labels]
    if labels and labels[0] in has:
        lengths[0] = rows
    return tuple(lengths)


# --------------------------------------------------------------------------- kernels


class BlockKernel(NamedTuple):
    """What a sweep does with a block of rows: small, with no graph behind it, and picklable.

    Attributes
    ----------
    reads : tuple of int
        The places of what is read row by row.
    numbers : mapping
        The numbers of the graph, by place.
    steps : tuple of Steps
        Operands before their readers.
    sums : tuple of Steps
        The reductions over rows.
    writes : tuple of int
        The places of what is written row by row.
    panel : int
        How many rows are gone through at a time.
    """

    reads: tuple[int, ...]
    numbers: Mapping[int, Any]
    steps: tuple[Step, ...]
    sums: tuple[Step, ...]
    writes: tuple[int, ...]
    panel: int

    @property
    def reductions(self) -> tuple[str, ...]:
        """What each of the sums is."""
        return tuple(step.primitive.name for step in self.sums)

    def run(
        self, vectors: Mapping[int, Any], blocks: Sequence[Any], out: Sequence[Any], count: int
    ) -> Sums:
        """Sweep over one block of rows.

        Parameters
        ----------
        vectors : mapping
            What was known before the sweep, by place.
        blocks : sequence of ndarrays
            The rows of this block, of each of `reads`.
        out : sequence of ndarrays
            Where the rows of this block are put, of each of `writes`.
        count : int
            How many rows there are.

        Returns
        -------
        tuple of ndarrays
            What this block comes to, for each of `sums`.
        """
        tree = Tree(self.reductions)
        for start in range(0, count, self.panel):
            rows = slice(start, start + self.panel)
            known = {**self.numbers, **vectors}
            known.update(zip(self.reads, (block[rows] for block in blocks), strict=True))
            for step in self.steps:
                known[step.place] = computed(step, known)
            tree.add(tuple([added_up(step, known) for step in self.sums]))
            for place, array in zip(self.writes, out, strict=True):
                array[rows] = known[place]
        return tree.total()


def kernel_of(region: Region, sweep: Sweep) -> BlockKernel:
    """Make what runs a sweep of a region over a block of rows."""
    labels = region.labels
    steps: dict[int, Step] = {}
    for segment in sweep.segments:
        for x in (*segment.scalars, *segment.values, *segment.reductions):
            if x.op not in (ARGUMENT, CONSTANT) and x.index not in steps:
                steps[x.index] = step_of(x, labels)
    numbers = {x.index: x.params["value"] for x in region.constants}
    return BlockKernel(
        tuple(x.index for x in sweep.reads),
        numbers,
        tuple(steps.values()),
        tuple(step_of(x, labels) for x in sweep.sums),
        tuple(x.value.index for x in sweep.writes),
        max(1, ENTRIES // max(1, prod(label.length for label in labels[1:]))),
    )
