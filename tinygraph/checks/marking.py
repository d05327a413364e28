"""Which lines of a person's backward pass are right: by the names and the values that they give.

A variable that is called like a gradient (``dvar``, ``grad_x``, ``dL_dx``) is held to it. On the
way it may be less: what arrives along one path, or along some of them. One that is called otherwise
is right where its value is that of a gradient. What is neither is told apart from what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygraph.algebra.calling import Written
from tinygraph.algebra.spelling import gradient_of, part_of
from tinygraph.algebra.watching import Assigned
from tinygraph.checks.reference import TOLERANCE, Known, Reference, error

__all__ = ["Mark", "marks", "wrong_results"]


@dataclass(frozen=True, eq=False)
class Mark:
    """What is to be said of one variable after one line.

    Attributes
    ----------
    line : int
    name : str
    value : ndarray or number
    known : Known or None
        What it is held to; or the value of the forward pass that it is.
    passed : bool or None
        None where it is not held to anything.
    error : float or None
    is_result : bool
        Whether it is what the function returned, and no variable.
    by_value : bool
        Whether its name says nothing.
    is_innocent : bool
        Whether it is called like a gradient and means something else.
    """

    line: int
    name: str
    value: Any
    known: Known | None = None
    passed: bool | None = None
    error: float | None = None
    is_result: bool = False
    by_value: bool = False
    is_innocent: bool = False


def marks(written: Written, reference: Reference, inputs: Mapping[str, Any]) -> list[Mark]:
    """Mark what the lines of a backward pass assigned, in the order in which they ran.

    Of a line that ran several times, the last time counts.
    """
    last_of_name = {one.name: k for k, one in enumerate(written.assigned)}
    last_of_line = {(one.line, one.name): k for k, one in enumerate(written.assigned)}
    shapes = {name: np.shape(g) for name, g in written.gradients.items()}
    judge = _Judge(reference, shapes)
    found = [
        judge(one, is_last=last_of_name[one.name] == k)
        for k, one in enumerate(written.assigned)
        if last_of_line[one.line, one.name] == k
    ]
    return found + list(_results(written, reference, inputs, found))


def wrong_results(
    written: Written, reference: Reference, inputs: Mapping[str, Any]
) -> dict[str, float]:
    """Give the errors of those gradients that are not right, by the name of the input."""
    errors = {
        name: error(g, reference.gradient(name, inputs[name].shape), exact_shape=True)
        for name, g in written.gradients.items()
    }
    return {name: e for name, e in errors.items() if not e <= TOLERANCE}


def _results(
    written: Written, reference: Reference, inputs: Mapping[str, Any], found: list[Mark]
) -> Iterator[Mark]:
    """Mark what is returned where no variable has it."""
    for name, g in written.gradients.items():
        called = [one for one in found if one.known is not None and one.known.of == name]
        if any(_same(one.value, g) for one in called if one.passed is not None):
            continue
        known = reference.gradient(name, inputs[name].shape)
        e = error(g, known, exact_shape=True)
        yield Mark(written.returned, f"d{name}", g, known, e <= TOLERANCE, e, is_result=True)


class _Judge:
    """Holds variables to the gradients of one reference."""

    def __init__(self, reference: Reference, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.reference, self.shapes = reference, shapes

    def __call__(self, one: Assigned, *, is_last: bool) -> Mark:
        names = self.reference.totals
        if of := gradient_of(one.name, names):
            return self._whole(one, of, is_last)
        if (of := part_of(one.name, names)) and self.reference.parts(of):
            return self._part(one, of, is_last)
        return self._by_value(one)

    def _whole(self, one: Assigned, of: str, is_last: bool) -> Mark:
        totals, parts = self.reference.totals[of], self.reference.parts(of)
        exact = is_last and self.shapes.get(of) == np.shape(one.value)
        errors = [error(one.value, known, exact_shape=exact) for known in totals]
        k = int(np.argmin(errors))
        if errors[k] <= TOLERANCE:
            return _mark(one, totals[k], errors[k])
        # a name that several variables have says less
        if not is_last or len([x for x in totals if x.depth == totals[0].depth]) > 1:
            for part in [*parts, *_sums(parts)]:
                if (e := error(one.value, part)) <= TOLERANCE:
                    return _mark(one, part, e)
            return Mark(one.line, one.name, one.value)
        return _mark(one, totals[0], errors[0])

    def _part(self, one: Assigned, of: str, is_last: bool) -> Mark:
        parts, totals = self.reference.parts(of), self.reference.totals[of]
        for known in [*parts, *totals]:
            if (e := error(one.value, known)) <= TOLERANCE:
                return _mark(one, known, e)
        number = re.search(r"\d+$", one.name)
        if not is_last or number is None or not 0 < int(number[0]) <= len(parts):
            return self._by_value(one)
        same = parts[int(number[0]) - 1]
        return _mark(one, same, error(one.value, same))

    def _by_value(self, one: Assigned) -> Mark:
        if np.any(one.value):
            for known in self.reference.gradients:
                if (e := error(one.value, known)) <= TOLERANCE:
                    return replace(_mark(one, known, e), by_value=True)
            for known in self.reference.forward:
                if error(one.value, known) <= TOLERANCE:
                    return Mark(one.line, one.name, one.value, known)
        return Mark(one.line, one.name, one.value)


def _mark(one: Assigned, known: Known, e: float) -> Mark:
    return Mark(one.line, one.name, one.value, known, e <= TOLERANCE, e)


def _sums(parts: list[Known]) -> Iterator[Known]:
    """Give the sums of parts that a person may have on the way: of the first, or of the last."""
    for ordered in (parts, parts[::-1]):
        total = ordered[0].value if ordered else None
        for part in ordered[1:-1]:
            total = total + part.value
            yield Known("", part.of, "part", total, part.scale)


def _same(a: Any, b: Any) -> bool:
    return np.shape(a) == np.shape(b) and np.array_equal(a, b, equal_nan=True)
