"""Sweeps: when each value can be computed at the earliest, and when it is.

Of every value one asks in which sweep it can be computed at the earliest: in that of its operands,
and after a reduction over rows in the next one. What must be computed at all are the **roots**: the
reductions over rows, and the results that have rows. All else is computed wherever a root needs it.

A root may wait until its first reader. Those that can wait least are placed first, each in the
sweep where the fewest new arrays must be read for it; then where the fewest values must be computed
that are not computed there anyway. So BatchNorm's dbeta = Σ dout, which could be known after the
first sweep, is taken in the second, which reads dout.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import reduce
from math import prod
from operator import or_

from tinygraph.execution.orders import groups
from tinygraph.execution.regions import Region, Result, Segment, Sweep
from tinygraph.execution.values import ARGUMENT, CONSTANT, Label, Value

__all__ = ["Levels", "loops", "needed", "region_of"]


class Levels:
    """The earliest sweep of each value.

    Parameters
    ----------
    results : sequence of Results
    rows : collection of Labels

    Attributes
    ----------
    values : list of Values
        All that the results need, operands before their readers.
    rows : frozenset of Labels
    """

    def __init__(self, results: Sequence[Result], rows: Collection[Label]) -> None:
        self.values = needed(x.value for x in results)
        self.rows = frozenset(rows)
        self._known: dict[int, int] = {}
        for x in self.values:
            level = max((self._known[y.index] for y in x.operands), default=0)
            self._known[x.index] = level + self.ends_sweep(x)
        of_roots = [self.of(x.value) + 1 for x in results if self.has_rows(x)]
        self.count = max([*of_roots, *self._known.values()], default=0)

    def of(self, value: Value) -> int:
        """Give the sweep, from 0, in which a value with rows can be computed at the earliest.

        For one without rows: before which it is known.
        """
        return self._known[value.index]

    def has_rows(self, x: Value | Result) -> bool:
        """Whether a value differs from row to row."""
        return not self.rows.isdisjoint(x.labels)

    def ends_sweep(self, x: Value) -> bool:
        """Whether a value is a reduction over rows."""
        return not self.rows.isdisjoint(x.over) and self.has_rows(x.operands[0])


def needed(values: Iterable[Value]) -> list[Value]:
    """Give all that some values are computed from, and these, in order."""
    found = {x.index: x for x in values}
    stack = list(found.values())
    while stack:
        for x in stack.pop().operands:
            if x.index not in found:
                found[x.index] = x
                stack.append(x)
    return [found[index] for index in sorted(found)]


# --------------------------------------------------------------------------- roots


class _Root:
    """What must be computed in some sweep: a reduction over rows, or a result with rows.

    Attributes
    ----------
    given : Value or Result
        The reduction, or the result.
    value : Value
        What must be there, row by row: the operand of the reduction, or what is written.
    inside : int
        The values that must be computed in the same sweep, as a set.
    after : list of Roots
        The reductions that must be known before.
    first, last : int
        The sweeps between which it can be, as the others are placed; one sweep once it is placed.
    """

    __slots__ = ("after", "first", "given", "inside", "last", "value")

    def __init__(
        self, given: Value | Result, needs: _Needs, reductions: Mapping[int, _Root], count: int
    ) -> None:
        self.given = given
        self.value = given.value if isinstance(given, Result) else given.operands[0]
        self.inside = needs.inside[self.value.index]
        self.after = [reductions[index] for index in _bits(needs.waits[self.value.index])]
        self.first, self.last = 0, count - 1


def _roots(results: Iterable[Result], levels: Levels) -> list[_Root]:
    """Give all roots, each after those that it waits for."""
    needs, count = _Needs(levels), levels.count
    reductions: dict[int, _Root] = {}
    for x in levels.values:
        if levels.ends_sweep(x):
            reductions[x.index] = _Root(x, needs, reductions, count)
    written = [_Root(x, needs, reductions, count) for x in results if levels.has_rows(x)]
    return [*reductions.values(), *written]


class _Needs:
    """What each value needs, as sets of values: an int has a bit for the index of each.

    Attributes
    ----------
    inside : dict
        The values with rows that must be computed in the same sweep, itself included.
    waits : dict
        The reductions over rows that must be known before, if a value is needed in a sweep.
    """

    def __init__(self, levels: Levels) -> None:
        self.inside: dict[int, int] = {}
        self.waits: dict[int, int] = {}
        for x in levels.values:
            bit = 1 << x.index
            if levels.ends_sweep(x):
                self.inside[x.index], self.waits[x.index] = 0, bit
                continue
            inside = _union(self.inside[y.index] for y in x.operands)
            self.inside[x.index] = inside | bit if levels.has_rows(x) else 0
            self.waits[x.index] = _union(self.waits[y.index] for y in x.operands)


def _union(sets: Iterable[int]) -> int:
    return reduce(or_, sets, 0)


def _bits(members: int) -> Iterable[int]:
    while members:
        lowest = members & -members
        yield lowest.bit_length() - 1
        members ^= lowest


def _placed(roots: Sequence[_Root], count: int, sizes: Mapping[int, int]) -> list[list[_Root]]:
    """Give the roots of each sweep; `sizes` are those of the arguments by index."""
    arrays = _union(1 << index for index in sizes)
    there = [0] * count
    waiting = list(roots)
    while waiting:
        _narrow(roots)
        fixed = [root for root in waiting if root.first == root.last]
        for root in fixed or [min(waiting, key=lambda root: root.last - root.first)]:

            def cost(sweep: int, root: _Root = root) -> tuple[int, int]:
                new = root.inside & ~there[sweep]
                return sum(sizes[index] for index in _bits(new & arrays)), new.bit_count()

            root.first = root.last = min(range(root.first, root.last + 1), key=cost)
            there[root.first] |= root.inside
            waiting.remove(root)
    return [[root for root in roots if root.first == k] for k in range(count)]


def _narrow(roots: Sequence[_Root]) -> None:
    """Bring the sweeps between which each root can be up to date."""
    for root in roots:
        root.first = max([root.first, *(other.first + 1 for other in root.after)])
    for root in reversed(roots):
        for other in root.after:
            other.last = min(other.last, root.last - 1)


# --------------------------------------------------------------------------- one sweep


def _segments(roots: Sequence[_Root], levels: Levels, columns: frozenset[Label]) -> list[Segment]:
    """Divide what a sweep computes into passages along a row."""
    inside = _union(root.inside for root in roots)
    values = [x for x in levels.values if inside >> x.index & 1]
    at: dict[int, int] = {}  # the first segment in which a value can be computed
    for x in values:
        first = max((at.get(y.index, 0) for y in x.operands), default=0)
        at[x.index] = first + bool(x.over)
    count = 1 + max([at.get(root.value.index, 0) for root in roots], default=0)
    is_scalar = {x.index for x in values if not x.over and columns.isdisjoint(x.labels)}
    along = _along(values, is_scalar)
    here = [
        _union(along.get(x.operands[0].index, 0) for x in values if x.over and at[x.index] == k + 1)
        for k in range(count)
    ]
    chosen: list[list[_Root]] = [[] for _ in range(count)]
    for root in sorted(roots, key=lambda root: -at.get(root.value.index, 0)):
        new = along.get(root.value.index, 0)
        k = min(
            range(at.get(root.value.index, 0), count), key=lambda k: (new & ~here[k]).bit_count()
        )
        here[k] |= new
        chosen[k].append(root)
    return [
        Segment(
            tuple(x for x in values if x.index in is_scalar and at[x.index] == k),
            tuple(x for x in values if here[k] >> x.index & 1),
            tuple(x for x in values if x.over and at[x.index] == k + 1),
            tuple(r.given for r in roots if r in chosen[k] and isinstance(r.given, Value)),
            tuple(r.given for r in roots if r in chosen[k] and isinstance(r.given, Result)),
        )
        for k in range(count)
    ]


def _along(values: Iterable[Value], scalars: Collection[int]) -> dict[int, int]:
    """Give for each value what must be computed along the row for it, itself included."""
    along: dict[int, int] = {}
    for x in values:
        if not x.over and x.index not in scalars:
            along[x.index] = _union(along.get(y.index, 0) for y in x.operands) | 1 << x.index
    return along


# --------------------------------------------------------------------------- the whole region


def region_of(
    arguments: Sequence[Value], results: Sequence[Result], labels: Sequence[Label]
) -> Region:
    """Divide what some results need into sweeps.

    Parameters
    ----------
    arguments : sequence of Values
        All that are passed, needed or not.
    results : sequence of Results
    labels : sequence of Labels
        In the order of memory, rows first.

    Returns
    -------
    Region
    """
    rows, *columns = loops(results, labels)
    levels = Levels(results, rows)
    sizes = {
        x.index: prod(label.length for label in x.labels)
        for x in levels.values
        if x.op == ARGUMENT and levels.has_rows(x)
    }
    inner = frozenset(label for group in columns for label in group)
    done = {x.index for x in levels.values if x.op in (ARGUMENT, CONSTANT)}
    sweeps = []
    for chosen in _placed(_roots(results, levels), levels.count, sizes):
        segments = tuple(_segments(chosen, levels, inner))
        vectors = _vectors(segments, levels)
        before = _work(vectors, levels, done)
        inside = _union(root.inside for root in chosen)
        reads = tuple(x for x in levels.values if x.index in sizes and inside >> x.index & 1)
        sweeps.append(Sweep(before, reads, vectors, segments))
    after = _work([x.value for x in results if not levels.has_rows(x)], levels, done)
    constants = tuple(x for x in levels.values if x.op == CONSTANT)
    return Region(
        tuple(arguments), tuple(results), constants, rows, tuple(columns), tuple(sweeps), after
    )


def loops(results: Sequence[Result], labels: Sequence[Label]) -> list[tuple[Label, ...]]:
    """Give the labels of rows, and those of each loop along a row."""
    values = needed(x.value for x in results)
    together = [x.labels for x in results]
    together += [labels for x in values for labels in (x.labels, x.over)]
    return [*groups(labels, together)] or [()]


def _vectors(segments: Iterable[Segment], levels: Levels) -> tuple[Value, ...]:
    """Give the values without rows that a sweep uses, but for numbers."""
    used: dict[int, Value] = {}
    for one in segments:
        read = [y for x in (*one.scalars, *one.values, *one.reductions) for y in x.operands]
        read += [x.value for x in one.writes]
        used |= {x.index: x for x in read if x.op != CONSTANT and not levels.has_rows(x)}
    return tuple(used[index] for index in sorted(used))


def _work(wanted: Iterable[Value], levels: Levels, done: set[int]) -> tuple[Value, ...]:
    """Give the vector work that some values without rows need, and note that it is done."""
    found: dict[int, Value] = {}
    stack = list(wanted)
    while stack:
        x = stack.pop()
        if x.index not in done and not levels.ends_sweep(x):
            found[x.index] = x
            done.add(x.index)
            stack += x.operands
    return tuple(found[index] for index in sorted(found))
