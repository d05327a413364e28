"""Which line of a wrong backward pass is wrong first, and what is wrong with it.

**A line is to blame if it is wrong and nothing before it is**: it is given the right value, and
what is right then was wrong only because of it. If that helps nobody, and no small change makes the
line right, then it is called like a gradient and means something else.

Where a line that is to blame was computed from others that nothing could be held to, the mistake
may be in them. The smallest change of one line that makes all gradients right decides.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygraph.algebra.calling import Passes, Written
from tinygraph.algebra.watching import Source
from tinygraph.checks import diagnosis
from tinygraph.checks.marking import Mark, marks, wrong_results
from tinygraph.checks.mending import Bench, Mended
from tinygraph.checks.reference import TOLERANCE, Reference, error
from tinygraph.checks.variants import Forced, Variants

__all__ = ["Blame", "Runs", "blame"]

MOST_WRONG = 8
MOST_LINES, MOST_SECONDS = 4, 8.0  # of the search for a change that helps

Place = tuple[int, str]


class Runs:
    """A backward pass that has run for several upstream gradients, beside what is right.

    Parameters
    ----------
    passes : Passes
    upstream : list of dict
        Upstream gradients by the name of the output, one dict for each run.
    references : list of Reference
        What is right in each run.
    lengths : collection of int
        How many values the sums of the forward pass add up.
    """

    def __init__(
        self,
        passes: Passes,
        upstream: list[dict[str, Any]],
        references: list[Reference],
        lengths: frozenset[int],
    ) -> None:
        self.passes, self.upstream, self.references = passes, upstream, references
        self.lengths = lengths
        self.written = [passes.plain(one) for one in upstream]
        self.wrong = [
            wrong_results(written, reference, passes.inputs)
            for written, reference in zip(self.written, references, strict=True)
        ]
        self.variants = Variants(passes.backward, passes.source)
        # the first run in which something is wrong, and one to confirm what is found in it
        self.here = next((k for k, wrong in enumerate(self.wrong) if wrong), 0)
        self.there = (self.here + 1) % len(upstream)
        self.until = time.perf_counter() + MOST_SECONDS

    def marks(self, written: Written | None = None) -> list[Mark]:
        """Mark the lines of a run, by default of the first that is wrong."""
        written = written or self.written[self.here]
        return marks(written, self.references[self.here], self.passes.inputs)


@dataclass(frozen=True)
class Blame:
    """What is to be said of the lines.

    Attributes
    ----------
    first : Mark or None
        Of the line that is wrong first.
    marks : list of Mark
        All of them; those that mean something else are held to nothing.
    follows : set of Mark
        Those that are wrong only because of an earlier line.
    cause : str
    """

    first: Mark | None
    marks: list[Mark]
    follows: set[Mark]
    cause: str


def blame(runs: Runs) -> Blame:
    """Find the first wrong line, and why it is wrong."""
    found = runs.marks()
    if not runs.wrong[runs.here]:
        return Blame(
            None, [_unheld(one) if one.passed is False else one for one in found], set(), ""
        )
    guilty, innocent = _Search(runs).guilty(found)
    held = [_unheld(one) if _place(one) in innocent else one for one in found]
    if not guilty:
        return Blame(None, held, set(), "")
    first, places = guilty[0], {_place(one) for one in guilty}
    cause = _by_numbers(runs, first)
    best, source = _best_change(runs, first, held, cause)
    if best is None:
        unknown = "unknown: no single small change of this line makes it right"
        cause = cause or (unknown if runs.variants.can_change(first.line) else "")
    else:
        if source is not first or not cause or cause.startswith((diagnosis.PERHAPS, "shape")):
            cause = _EXPLAINED[best.kind]
        cause += f"; right would be `{best.text}`"
        if not best.rank[0]:  # all is right after this one change
            places = {_place(source)}
            right = runs.passes.plain(runs.upstream[runs.here], best.function)
            now = {_place(one) for one in runs.marks(right) if one.passed is False}
            held = [_unheld(one) if _place(one) in now - places else one for one in found]
        if source is not first:
            first = replace(source, passed=False)
            held = [first if _place(one) == _place(first) else one for one in held]
    follows = {one for one in held if one.passed is False and _place(one) not in places}
    follows.discard(first)
    return Blame(first, held, follows, cause)


class _Search:
    """Tries the lines one after the other."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs

    def guilty(self, found: list[Mark]) -> tuple[list[Mark], set[Place]]:
        """Give the lines that are wrong of themselves, and those that mean something else."""
        runs, guilty, forced, innocent = self.runs, list[Mark](), list[Forced](), set[Place]()
        failing, now = set(runs.wrong[runs.here]), found
        while failing and len(guilty) < MOST_WRONG:
            left = (one for one in now if one.passed is False and _place(one) not in innocent)
            suspect = next(left, None)
            if suspect is None:
                break
            trial = self._forced([*forced, _right(suspect)], suspect)
            if trial is None:
                guilty.append(suspect)
                break
            wrong = set(wrong_results(trial, runs.references[runs.here], runs.passes.inputs))
            then = runs.marks(trial)
            if wrong - failing or not (wrong < failing or self._helps(suspect, now, then)):
                innocent.add(_place(suspect))
                continue
            guilty.append(suspect)
            forced.append(_right(suspect))
            failing, now = wrong, then
        return guilty, innocent

    def _forced(self, forced: list[Forced], suspect: Mark) -> Written | None:
        """Run with right values; None where that cannot be."""
        variants = self.runs.variants
        if suspect.is_result or not variants.possible or not variants.can_force(suspect.line):
            return None
        function = variants.compiled(variants.forced(forced), forced)
        try:
            return self.runs.passes.plain(self.runs.upstream[self.runs.here], function)
        except Exception:  # the right value may have a shape that what follows was not made for
            return None

    def _helps(self, suspect: Mark, now: list[Mark], then: list[Mark]) -> bool:
        """Whether a line is right once `suspect` is, or else `suspect` itself after a change."""
        before, after = ({_place(o) for o in some if o.passed is False} for some in (now, then))
        if after < before - {_place(suspect)}:
            return True
        return _change(self.runs, suspect, suspect.line, "") is not None


def _best_change(
    runs: Runs, first: Mark, held: list[Mark], cause: str
) -> tuple[Mended | None, Mark]:
    """Find the best change of a line, or a better one of a line that it comes from."""
    if not runs.variants.possible:
        return None, first
    best, source = _change(runs, first, first.line, cause), first
    for one in _unheld_before(runs, first, held)[:MOST_LINES]:
        if best is not None and best.rank == (False, 0):
            break
        other = _change(runs, first, one.line, cause)
        if other is not None and (best is None or other.rank < best.rank):
            best, source = other, one
    return best, source


def _unheld_before(runs: Runs, first: Mark, held: list[Mark]) -> list[Mark]:
    """Give the lines that `first` comes from and that nothing was held to, the last first."""
    text = runs.passes.source
    if text is None:
        return []
    places = [_place(one) for one in held]
    wanted, lines = _names(text, first.line), list[Mark]()
    for one in reversed(held[: places.index(_place(first)) if _place(first) in places else None]):
        if one.name.partition("[")[0] in wanted:
            wanted |= _names(text, one.line)
            # a value that happens to be one part of a gradient may be meant to be more
            is_less = one.by_value and one.known is not None and one.known.kind == "part"
            is_free = one.known is None and not one.is_innocent
            if (is_free or is_less) and one.line != first.line:
                lines.append(one)
    return lines


def _names(text: Source, line: int) -> frozenset[str]:
    statement = text.statements.get(line)
    return statement.names if statement else frozenset()


def _change(runs: Runs, first: Mark, line: int, cause: str) -> Mended | None:
    """Look for a change of a line that makes `first` right, for two upstream gradients."""
    if not runs.variants.can_change(line):
        return None
    known = first.known
    is_its_own = line == first.line and runs.variants.targets(line) == [first.name]

    def is_right(value: Any) -> bool:
        exact = known is not None and known.is_of_input
        return known is not None and error(value, known, exact_shape=exact) <= TOLERANCE

    bench = Bench(
        runs.passes,
        runs.variants,
        line,
        (runs.upstream[runs.here], runs.upstream[runs.there]),
        is_right if is_its_own else None,
        lambda written: _left(runs, written, is_its_own),
        lengths="factor" not in cause or "N" in cause,
    )
    return bench.smallest_change(runs.until)


def _left(runs: Runs, written: Written, is_right: bool) -> bool | None:
    """Tell whether anything is wrong still in a run; None if it is no better.

    It is better if a gradient is right that was wrong, or if the line itself `is_right`; and none
    is wrong that was right.
    """
    wrong = set(wrong_results(written, runs.references[runs.there], runs.passes.inputs))
    before = set(runs.wrong[runs.there])
    missing = runs.written[0].gradients.keys() - written.gradients.keys()
    if missing or wrong - before or not (is_right or wrong < before):
        return None
    return bool(wrong)


def _by_numbers(runs: Runs, first: Mark) -> str:
    """Tell the cause by the numbers alone."""
    known = first.known
    if known is None:
        return ""
    value, right = np.asarray(first.value, np.float64), known.value
    if not known.is_of_input:
        value = _spread(value, right.shape)
    if not np.isfinite(value).all():
        return diagnosis.not_finite(known.of, value, right)
    if cause := diagnosis.wrong_shape(known.of, value, right):
        return cause
    if value.shape != right.shape:
        return f"shape: d{known.of} has shape {value.shape} and not {right.shape}"
    reference = runs.references[runs.here]
    parts = reference.parts(known.of)
    paths = {f"{part.via or 'another use'}, {part.name}": part.value for part in parts}
    at = next((one.value for one in reference.forward if one.of == known.of), None)
    return diagnosis.likely_cause(known.of, value, right, at=at, paths=paths, lengths=runs.lengths)


# What is wrong with a line that one change of this kind makes right.
_EXPLAINED = {
    "axis": "axis: a sum goes over the wrong one",
    "constant": "factor: a number is another",
    "count": "factor: a length, such as 1/N, is missing or too many",
    "eps": "eps: it is added in another place than in the forward pass",
    "factor": "factor: there is one too many, one too few, or its inverse",
    "keepdims": "keepdims: a sum keeps an axis that it should not, or does not where it should",
    "mask": "mask: the comparison is another",
    "missing factor": "missing factor: a factor of the chain rule is not there",
    "missing path": "missing path: a term is not there",
    "overwritten": "overwritten: what arrived before is lost, or is added where it should not be",
    "power": "power: an exponent is another",
    "product": "product: a matrix product and one by entries are taken for each other",
    "quotient": "quotient: it is upside down",
    "sign": "sign: a term has the wrong one",
    "sum": "missing sum: something is to be summed, or is summed and should not be",
    "term": "term: there is one too many",
    "transpose": "transposed: a factor of a product is, or should be",
    "variable": "variable: one stands where another should",
}


def _place(one: Mark) -> Place:
    return one.line, one.name


def _right(one: Mark) -> Forced:
    """Give the right value of a variable, in the shape that it has where that is possible."""
    if one.known is None:
        raise ValueError(f"{one.name} is held to nothing")
    value, shape = one.known.value, np.shape(one.value)
    if one.known.depth and value.size == np.prod(
        shape
    ):  # of an input, the shape may be what is wrong
        value = value.reshape(shape)
    return Forced(one.line, one.name, value)


def _spread(value: Any, shape: tuple[int, ...]) -> Any:
    """Make the copies that broadcasting would, where it would."""
    try:
        return np.broadcast_to(value, shape)
    except ValueError:
        return value


def _unheld(one: Mark) -> Mark:
    """Hold to nothing what is called like a gradient and means something else."""
    return replace(one, known=None, passed=None, error=None, is_innocent=True)
