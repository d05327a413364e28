"""What `gradcheck` says: a report per input, the whole, and the error that carries it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tinygraph.checks.differences import METHODS

__all__ = ["GradientMismatch", "GradientReport", "InputReport"]


@dataclass(frozen=True)
class InputReport:
    """How the gradient of one input compares, at one order.

    Attributes
    ----------
    name : str
        Of the tensor, else of the function's parameter, else the position.
    shape : tuple of int
    order : int
        Of the derivative.
    error : float
        Largest difference, in units of the gradient's scale; the tolerance applies to it.
    index : tuple of int or None
        Where that is; None if along a random direction.
    analytic, numeric : float
        What reverse mode and the differences give there.
    failing, checked : int
        How many comparisons fail, of how many: one per entry, or for a large input random
        directions and a few entries.
    """

    name: str
    shape: tuple[int, ...]
    order: int
    error: float
    index: tuple[int, ...] | None
    analytic: float
    numeric: float
    failing: int
    checked: int

    @property
    def total(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        order = f", order {self.order}" if self.order > 1 else ""
        what = "entries" if self.checked >= self.total else "directions and entries"
        verdict = f"{self.failing} of {self.checked} {what} fail"
        if not self.failing:
            verdict = f"{self.checked} {what} agree"
        where = "along a random direction" if self.index is None else f"at {self.index}"
        return (
            f"{self.name}, shape {self.shape}{order}: {verdict}; largest error {self.error:.1e} "
            f"{where}: analytic {self.analytic:.9g}, numeric {self.numeric:.9g}"
        )


@dataclass(frozen=True)
class GradientReport:
    """What `gradcheck` found: truthy if the check passed; as text, one line per input and order.

    Attributes
    ----------
    passed : bool
    method : str
        ``complex`` or ``central``: what the last order was checked with.
    tolerance : float
        Of that method.
    order : int
        The highest order that was checked: the one that failed, if one did.
    inputs : tuple of InputReport
        Those of order 1 first.
    cause : str
        The likely cause of a failure, a keyword and an explanation; empty if none can be told.
    notes : tuple of str
        What was converted for the check.
    """

    passed: bool
    method: str
    tolerance: float
    order: int
    inputs: tuple[InputReport, ...]
    cause: str
    notes: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        lines = [f"gradcheck {'passed' if self.passed else 'FAILED'}: order {self.order}"]
        if self.inputs:
            lines[0] += f", {METHODS[self.method]}, tolerance {self.tolerance:g}"
        lines += [str(one) for one in self.inputs]
        lines += [f"likely cause: {self.cause}"] if self.cause else []
        return "\n  ".join(lines + [f"note: {note}" for note in self.notes])


class GradientMismatch(AssertionError):
    """A gradient that `gradcheck` rejects; ``report`` says what it found.

    Examples
    --------
    A function that drops the gradient of one of its paths:

    >>> from tinygraph import gradcheck
    >>> try:
    ...     gradcheck(lambda x: x * x.detach(), [3.0, 5.0])
    ... except GradientMismatch as mismatch:
    ...     print(mismatch.report.cause.partition(":")[0])
    factor
    """

    def __init__(self, report: GradientReport) -> None:
        super().__init__(report)
        self.report = report
