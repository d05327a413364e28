"""Settings: two graphs read with some lengths free and others as they are.

A length is free where the code runs at other lengths, and does the same there. The code is captured
twice more, with a prime for every free length, and each number is read as what it is at both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from tinygraph.algebra.atoms import Polynomial
from tinygraph.algebra.axes import Axes
from tinygraph.algebra.expansion import ZeroTest
from tinygraph.algebra.lengths import Formulas, NoFormulaError, primes_besides
from tinygraph.algebra.pairs import Code, Pair
from tinygraph.algebra.polynomials import Algebra
from tinygraph.algebra.reading import Reader
from tinygraph.graph import Node

__all__ = ["Fixed", "Setting", "Settings"]

Fixed = frozenset[int]
FAR, MOST_WORK = (1009, 211), 10**8  # primes


@dataclass
class Setting:
    """Both graphs, read.

    Attributes
    ----------
    algebra : Algebra
    pair : Pair
        The graphs that were read.
    axes : Axes
        Of them.
    joint, own : Readers
    again : Pair
        Captured at other lengths, where some are free.
    """

    algebra: Algebra
    pair: Pair
    axes: Axes
    joint: Reader
    own: Reader
    again: Pair

    def __post_init__(self) -> None:
        named = (a for k in self.joint.forward for m in self.joint.of[k] for a, _ in m)
        known = {self.algebra.form(atom) for atom in named if atom.kind == "value"}
        self.is_zero = ZeroTest(self.algebra, known)

    def difference(self, engine: Node, own: Node) -> Polynomial:
        """Give the difference of two nodes; {} where it is known to be 0."""
        ours, theirs = self.joint.of[engine.index], self.own.of[own.index]
        places = zip(self.joint.places[engine.index], self.own.places[own.index], strict=True)
        mapping = {b: a for mine, there in places for a, b in zip(mine, there, strict=True)}
        theirs = self.algebra.rename(theirs, mapping)
        p = self.algebra.plus(ours, theirs, -1)
        return {} if self.is_zero(p) else p


class Settings:
    """What can be read of one pair.

    Parameters
    ----------
    code : Code
    pair : Pair
        Captured at the lengths of the call.
    most_terms : int
    end : float
        When the time is up, as `time.monotonic` counts.
    on_check : callable
        Is called now and then.

    Attributes
    ----------
    axes : Axes
        Of the pair.
    parts : list of int
        Those that the inputs have.
    tied : dict
        Of a part whose length is so many times that of another: (times, other).
    why : str
        Why some lengths are not free.
    """

    def __init__(
        self, code: Code, pair: Pair, *, most_terms: int, end: float, on_check: Callable[[], None]
    ) -> None:
        self.code, self.pair = code, pair
        self.most_terms, self.end, self.on_check = most_terms, end, on_check
        self.axes = pair.axes()
        self.structure = pair.structure()
        places = [self.axes.of(pair.joint, node) for node in pair.joint.inputs]
        self.parts = list(dict.fromkeys(p for place in places for axis in place for p in axis))
        self.tied: dict[int, tuple[int, int]] = {}
        self.why = ""
        self._least: Fixed | None = None
        self._read: dict[Fixed, Setting | None] = {}
        self._pairs: dict[Fixed, tuple[Pair, Pair] | None] = {}

    def freest(self) -> Fixed:
        """Give the lengths that have to stay as they are, because the code runs at no others."""
        if self._least is None:
            self._least = self._find_least()
        return self._least

    def _find_least(self) -> Fixed:
        everything = frozenset(self.parts)
        if self._captured(Fixed()):
            return Fixed()
        if self._find_ties():
            return Fixed()
        alone = {part for part in self.parts if self._captured(everything - {part})}
        return everything - alone if alone and self._captured(everything - alone) else everything

    def _find_ties(self) -> bool:
        """Tie lengths that are several times another, as the 4 · H of an LSTM, where needed.

        At first as many as can be, to see whether the code runs then; what runs without, is freed.
        """
        length, ties = self.axes.length, dict[int, tuple[int, int]]()
        in_order = sorted(self.parts, key=lambda part: length[part])
        for k, part in enumerate(in_order):
            bases = [p for p in in_order[:k] if length[part] % length[p] == 0]
            if bases:
                base = max(bases, key=lambda p: (length[p], -in_order.index(p)))
                ties[part] = length[part] // length[base], base
        if not ties or not self._runs_with(ties):
            self._runs_with({})
            return False
        for part in list(ties):
            fewer = {p: tie for p, tie in ties.items() if p != part}
            ties = fewer if self._runs_with(fewer) else ties
        return self._runs_with(ties)

    def _runs_with(self, ties: dict[int, tuple[int, int]]) -> bool:
        self.tied = ties
        self._pairs.clear()
        return self._captured(Fixed()) is not None

    def at(self, fixed: Fixed) -> Setting | None:
        """Read both graphs with these lengths as they are; None where that cannot be."""
        if fixed not in self._read:
            everything = fixed >= frozenset(self.parts)
            try:
                self._read[fixed] = self._as_called() if everything else self._with_free(fixed)
            except NoFormulaError as error:
                self.why, self._read[fixed] = str(error), None
        return self._read[fixed]

    def _algebra(self, fixed: Mapping[int, int]) -> Algebra:
        algebra = Algebra(most_terms=self.most_terms, limit_s=self.end - time.monotonic())
        algebra.on_check = self.on_check
        algebra.fixed = dict(fixed)
        return algebra

    def _as_called(self) -> Setting:
        algebra, pair = self._algebra(self.axes.length), self.pair
        joint, own = (
            Reader(algebra, self.axes, graph, upstream=pair.upstream, labels=pair.labels).read()
            for graph in (pair.joint, pair.own)
        )
        return Setting(algebra, pair, self.axes, joint, own, pair)

    def _with_free(self, fixed: Fixed) -> Setting | None:
        pairs = self._captured(fixed)
        if pairs is None:
            return None
        one, other = pairs
        first, second = one.axes(), other.axes()
        if not _alike(one, first, other, second):
            self.why = "the code cuts axes in another way at other lengths"
            return None
        both = [(first.length[part], second.length[part], part) for part in first.live()]
        algebra = self._algebra({part: n for n, m, part in both if n == m})
        algebra.tied = {part: tie for part, tie in self.tied.items() if part not in fixed}
        free = [both for both in both if both[0] != both[1] and both[2] not in self.tied]
        lengths = {part: n for n, _, part in free}, {part: m for _, m, part in free}
        joint, own = (
            Reader(
                algebra,
                first,
                a,
                Formulas(algebra, first, a, b, lengths),
                upstream=one.upstream,
                labels=one.labels,
            ).read()
            for a, b in ((one.joint, other.joint), (one.own, other.own))
        )
        return Setting(algebra, one, first, joint, own, other)

    def _captured(self, fixed: Fixed) -> tuple[Pair, Pair] | None:
        """Capture the code at two other sets of lengths; None where it does not run the same."""
        if fixed not in self._pairs:
            self.on_check()
            primes = primes_besides(list(self.axes.length.values()))
            made = []
            for variant in (1, 2):
                lengths = {part: next(primes) for part in self.parts if part not in fixed}
                if variant == 2:
                    self._enlarge(lengths)
                for part, (times, other) in self.tied.items():  # shorter ones come first
                    if part in lengths:
                        lengths[part] = times * lengths.get(other, self.axes.length[other])
                pair = self._resized(lengths, variant)
                if pair is None:
                    break
                made.append(pair)
            self._pairs[fixed] = (made[0], made[1]) if len(made) == 2 else None
        return self._pairs[fixed]

    def _enlarge(self, lengths: dict[int, int]) -> None:
        """Take one length that is far from all others, where code may do something else."""
        first = next((part for part in lengths if part not in self.tied), None)
        far = (n for n in FAR if self._work({**self.axes.length, **lengths, first: n}) <= MOST_WORK)
        if first is not None and (n := next(far, None)):
            lengths[first] = n

    def _work(self, lengths: Mapping[Any, int]) -> int:
        """Count the entries that are computed, those of products of matrices times their terms."""
        graph, work = self.pair.joint, 0
        for node in graph.nodes:
            parts = [part for axis in self.axes.of(graph, node) for part in axis]
            if str(node.op) == "matmul":
                parts += self.axes.of(graph, node.inputs[0])[-1]
            work += prod(lengths[part] for part in parts)
        return work

    def _resized(self, lengths: Mapping[int, int], variant: int) -> Pair | None:
        try:
            pair = self.code.resized(self.axes, self.pair, lengths, variant=variant)
        except Exception as error:  # the user's code, at lengths that it may not be made for
            text = " ".join(str(error).split()) or type(error).__name__
            self.why = f"the code does not run at others ({text[:100]})"
            return None
        if pair.structure() != self.structure:
            self.why = "the code does other things at others"
            return None
        return pair


def _alike(one: Pair, first: Axes, other: Pair, second: Axes) -> bool:
    """Whether the axes of two pairs have the same parts."""
    return all(
        first.of(a, n) == second.of(b, m) and first.regions(a, n) == second.regions(b, m)
        for a, b in ((one.joint, other.joint), (one.own, other.own))
        for n, m in zip(a.nodes, b.nodes, strict=True)
    )
