"""Regions: what can be computed in sweeps over arrays, and what each sweep does.

The labels of a region are split in two. **Rows** are those that are outermost in memory and carry
most of the data; all others are **columns**, and what has columns alone is a *vector*. A sweep goes
once over the rows of some arrays.

- A **reduction over rows** ends a sweep: nobody knows Σ before the last row. So mu = Σx/N is one
  sweep, and what needs mu is computed in a later one, from x again: an array of full size is
  read or computed again wherever it is needed, and never stored.
- A **reduction along a row** ends a *segment* of a sweep: the row is gone through again, while it
  is still near. LayerNorm and softmax are one sweep each.

Sweeps and segments are counted separately. They are no lexicographic pair: a sum over rows of what
took three segments begins the next sweep at its first segment.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any, NamedTuple

from tinygraph.execution.values import Label, Value
from tinygraph.graph.nodes import Node

__all__ = ["Foreign", "Region", "Result", "Segment", "Sweep", "text_of"]


class Result(NamedTuple):
    """An array that is returned, or handed on to another part of a plan.

    Attributes
    ----------
    node : Node
        Whose array it is: shape and dtype.
    value : Value
        What is in it.
    labels : tuple of Labels
        Its axes, but for those of length 1, which are in the order of memory. The value may have
        fewer, and is then the same along the others.
    name : str
        What the user calls it, or "".
    """

    node: Node
    value: Value
    labels: tuple[Label, ...]
    name: str = ""


class Segment(NamedTuple):
    """One passage along a row.

    Attributes
    ----------
    scalars : tuple of Values
        What is computed once for the row before the passage: values with labels of rows alone, from
        arguments and from the reductions of earlier segments. They stay until the row is done.
    values : tuple of Values
        What is computed along the row, every operand before its reader, arguments included: what is
        needed of it *here*, also if an earlier segment computed it for itself.
    reductions : tuple of Values
        Reductions along the row that are complete when it ends; the operand is one of `values`, a
        scalar or a vector.
    sums : tuple of Values
        Reductions over rows that this adds to: ``sum``, ``max``, ``all``, ``any``.
    writes : tuple of Results
        Whose row is written. One whose value is a scalar or a vector is written all the same.
    """

    scalars: tuple[Value, ...]
    values: tuple[Value, ...]
    reductions: tuple[Value, ...]
    sums: tuple[Value, ...]
    writes: tuple[Result, ...]


class Sweep(NamedTuple):
    """One passage over all rows.

    Attributes
    ----------
    before : tuple of Values
        Vector work to be done before: values without labels of rows, every operand before its
        reader, that no earlier sweep needed. A reduction among them is along columns, or adds a
        vector to itself once for each row.
    reads : tuple of Values
        The arguments that it reads row by row.
    vectors : tuple of Values
        The values without labels of rows that it uses: arguments, what was computed before, and
        sums of earlier sweeps; numbers are not among them.
    segments : tuple of Segments
        At least one.
    """

    before: tuple[Value, ...]
    reads: tuple[Value, ...]
    vectors: tuple[Value, ...]
    segments: tuple[Segment, ...]

    @property
    def sums(self) -> tuple[Value, ...]:
        """The reductions over rows that are known when it ends."""
        return tuple(x for segment in self.segments for x in segment.sums)

    @property
    def writes(self) -> tuple[Result, ...]:
        """The results with labels of rows that are complete when it ends."""
        return tuple(x for segment in self.segments for x in segment.writes)


class Region(NamedTuple):
    """A part of a program that is computed in sweeps: one function of arrays.

    Attributes
    ----------
    arguments : tuple of Values
        What it is given, in order; arrays of the traced code come last.
    results : tuple of Results
        What it gives: one for each node, although two of them may be of one value.
    constants : tuple of Values
        The numbers in it, in the order of a plan at any lengths.
    rows, columns : tuple of Labels; tuple of tuples of Labels
        All labels in the order of memory. Labels of rows occur together or not at all, and so do
        those of one group of columns: each is one loop. Empty in a region of numbers alone.
    sweeps : tuple of Sweeps
        In order.
    after : tuple of Values
        Vector work after the last sweep.
    """

    arguments: tuple[Value, ...]
    results: tuple[Result, ...]
    constants: tuple[Value, ...]
    rows: tuple[Label, ...]
    columns: tuple[tuple[Label, ...], ...]
    sweeps: tuple[Sweep, ...]
    after: tuple[Value, ...]

    @property
    def labels(self) -> tuple[Label, ...]:
        """All labels, in the order of memory."""
        return (*self.rows, *(label for group in self.columns for label in group))

    def has_rows(self, x: Value | Result) -> bool:
        """Whether there is one of a value for each row."""
        return not set(self.rows).isdisjoint(x.labels)


class Foreign(NamedTuple):
    """An operation between regions that NumPy computes: ``op.forward(*operands, **params)``.

    Attributes
    ----------
    node : Node
        Its operands are results of earlier parts, arguments of the program, or constants.
    """

    node: Node


# --------------------------------------------------------------------------- in words


def text_of(part: Region | Foreign) -> str:
    """Write what a part of a plan reads and writes, sweep by sweep."""
    if isinstance(part, Foreign):
        operands = ",".join(x.name or "…" for x in part.node.inputs)
        return f"{operands} → {part.node.name or '…'}: {part.node.op}, by NumPy"
    sweeps = part.sweeps
    if not sweeps:
        return f"{_names(part.arguments)} → {_names(part.results)}: no sweep"
    arrays: list[Value | Result] = []
    for sweep in sweeps:
        arrays += [*sweep.reads, *sweep.writes]
    reads = sum(len(sweep.reads) for sweep in sweeps)
    nbytes = sum(prod(y.length for y in x.labels) * _dtype(x).itemsize for x in arrays)
    dtypes = ", ".join(dict.fromkeys(str(_dtype(x)) for x in arrays))
    segments = [str(len(sweep.segments)) for sweep in sweeps]
    of_segments = f" of {', '.join(segments)} segments" if set(segments) != {"1"} else ""
    return (
        f"{' | '.join(map(_text_of_sweep, sweeps))}: {_count(reads, 'read')} "
        f"{_count(len(arrays) - reads, 'write')}, {_count(len(sweeps), 'sweep')}{of_segments}, "
        f"{_text_of_bytes(nbytes)} at {' × '.join(str(x.length) for x in part.labels)} {dtypes}"
    )


def _text_of_sweep(sweep: Sweep) -> str:
    reads = _names(sweep.reads) or "–"
    return f"{reads} → {_names(sweep.writes)}" if sweep.writes else reads


def _names(arrays: Iterable[Value | Result]) -> str:
    return ",".join(x.name or "…" for x in arrays)


def _dtype(x: Value | Result) -> Any:
    return x.node.dtype if isinstance(x, Result) else x.dtype


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _text_of_bytes(n: float) -> str:
    units = iter(("B", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while n >= 999.5 and unit != "TB":
        n, unit = n / 1000, next(units)
    return f"{n:.3g} {unit}"
