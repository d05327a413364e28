"""The report of a comparison: as text, as JSON, and whether it passed.

One report holds either kind of evidence: floats are close, fractions are equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tinygraph.checks.batches import Batch
from tinygraph.graph.snapshot import Graph
from tinygraph.writing.tables import table

__all__ = ["Closeness", "Equality", "Error", "Report", "Step"]


class Error(NamedTuple):
    """A scaled error, and what it may be."""

    value: float
    bound: float

    @property
    def ratio(self) -> float:
        """The share of what it may be; nan is more than any."""
        return np.inf if np.isnan(self.value) else self.value / self.bound


@dataclass(frozen=True)
class Closeness:
    """A gradient of floats that autodiff found, beside the same one found in another way.

    Attributes
    ----------
    gradient : str
    difference, relative : float
        The largest |a − b|, and |a − b| / max(1e-8, |a| + |b|) as course notebooks print it, which
        decides nothing.
    error : Error
        The scaled error, of the feature that comes closest to its bound.
    """

    gradient: str
    difference: float
    relative: float
    error: Error

    title: ClassVar[str] = "autodiff − by hand"
    verdict: ClassVar[str] = "staged and closed form agree"

    @property
    def passed(self) -> bool:
        """Whether the error is within its bound; nan is not."""
        return self.error.value <= self.error.bound

    def to_dict(self) -> dict[str, Any]:
        """Give it as strings and numbers."""
        return {
            "gradient": self.gradient,
            "difference": _plain(self.difference),
            "scaled_error": _plain(self.error.value),
        }

    def __str__(self) -> str:
        return f"{self.difference:.1e}"


@dataclass(frozen=True)
class Equality:
    """A gradient of fractions that autodiff found, beside the same one found in another way.

    Attributes
    ----------
    gradient : str
    entries : int
        How many were compared.
    differs : tuple of three str, or None
        Where the first entry is that differs, what autodiff found there, and what the other way
        did; None where all are equal.
    """

    gradient: str
    entries: int
    differs: tuple[str, str, str] | None

    title: ClassVar[str] = "autodiff = by hand"
    verdict: ClassVar[str] = "staged and closed form are equal"

    @property
    def passed(self) -> bool:
        """Whether every entry is equal."""
        return self.differs is None

    def to_dict(self) -> dict[str, Any]:
        """Give it as strings and numbers."""
        found: dict[str, Any] = {"gradient": self.gradient, "entries": self.entries}
        if self.differs:
            found["differs"] = dict(zip(("at", "autodiff", "other"), self.differs, strict=True))
        return found | {"equal": self.passed}

    def __str__(self) -> str:
        return "equal" if self.passed else "DIFFERS"


@dataclass(frozen=True)
class Step:
    """One step: its formula, and its gradient beside the one derived by hand.

    Attributes
    ----------
    number : int
    name, formula : str
    shape : tuple of int
    evidence : Closeness or Equality
    gradient, difference, error
        Those of the evidence; the last two for floats alone.
    held
        The evidence, as reports in fractions call it.
    """

    number: int
    name: str
    formula: str
    shape: tuple[int, ...]
    evidence: Any

    gradient = property(lambda self: self.evidence.gradient)
    difference = property(lambda self: self.evidence.difference)
    error = property(lambda self: self.evidence.error)
    held = property(lambda self: self.evidence)

    def to_dict(self) -> dict[str, Any]:
        """Give it as strings and numbers."""
        return {
            "step": self.number,
            "name": self.name,
            "formula": self.formula,
            "shape": list(self.shape),
            **self.evidence.to_dict(),
        }


@dataclass(frozen=True, eq=False)
class Report:
    """What `compare` found. ``str(report)`` is the text that the command prints.

    Attributes
    ----------
    shape, dtype, eps, axis, arrays
        What was compared; arrays are x, gamma, beta and dout as they were computed with.
    steps : tuple of Step
        The nine steps, and step 0 for dx.
    others : dict
        What dx, dgamma and dbeta of autodiff stand beside, each a tuple of `Closeness` or
        `Equality`: those by hand, in closed form, and in closed form at -gamma, since a formula
        that is right for positive gammas only is wrong; for dx also the contraction of the Jacobian
        (unless that would be too large, or x is not (N, D)) and, of floats, the complex step; of
        short floats, the closed form in float64.
    gradients : dict
        dx, dgamma and dbeta by autodiff, by hand and in closed form; dx by the Jacobian.
    differences, relative : dict
        Of floats: the largest differences between staged and closed form: dx, dgamma, dbeta.
    scaled_errors, tolerances : dict
        Of floats: the scaled errors of dx, dgamma and dbeta, of the worst step, and of the worst
        gradient of every other way; and what each of these may be.
    directions : int
        How many directions the complex step took.
    left_out : int
        Features left out of the verdict because their input is not finite.
    moved : Fraction
        By what share of its distance from the mean an x was moved at most, for fractions.
    graph : Graph
        The joint graph that was compared, for pictures.
    """

    batch: Batch = field(repr=False)
    steps: tuple[Step, ...]
    others: Mapping[str, tuple[Any, ...]]
    gradients: Mapping[str, Mapping[str, Any]] = field(repr=False)
    graph: Graph = field(repr=False)
    directions: int = 0
    left_out: int = 0
    moved: Fraction = Fraction(0)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of x."""
        return tuple(self.batch.x.shape)

    @property
    def dtype(self) -> str:
        """What was computed in."""
        return "fractions" if self.batch.exact else str(self.batch.x.dtype)

    @property
    def eps(self) -> Any:
        """As a float or a fraction."""
        return self.batch.eps if self.batch.exact else float(self.batch.eps)

    @property
    def axis(self) -> tuple[int, ...]:
        """In order, not negative."""
        return self.batch.layout.axis

    @property
    def arrays(self) -> Mapping[str, Any]:
        """x, gamma, beta and dout."""
        return self.batch.arrays

    @property
    def passed(self) -> bool:
        """Whether all evidence passes."""
        return all(one.passed for _, one in self._evidence())

    def _evidence(self) -> list[tuple[str, Any]]:
        steps = [("by hand", step.evidence) for step in self.steps]
        return steps + [(way, one) for way, many in self.others.items() for one in many]

    @property
    def differences(self) -> dict[str, float]:
        """Largest |staged − closed form|."""
        return {one.gradient: one.difference for one in self.others["closed form"]}

    @property
    def relative(self) -> dict[str, float]:
        """The same, relative; it decides nothing."""
        return {one.gradient: one.relative for one in self.others["closed form"]}

    @property
    def scaled_errors(self) -> dict[str, float]:
        """Of every check, by name."""
        return {name: error.value for name, error in self._errors().items()}

    @property
    def tolerances(self) -> dict[str, float]:
        """Of every check, by name."""
        return {name: error.bound for name, error in self._errors().items()}

    def _errors(self) -> dict[str, Error]:
        """Give those of the closed form one by one, and the worst of every other way."""
        groups = {one.gradient: [one] for one in self.others["closed form"]}
        groups["worst step"] = [step.evidence for step in self.steps]
        for way, many in self.others.items():
            if way == "by hand":
                groups["worst step"] += many
            elif way != "closed form":
                groups[way.lower()] = list(many)
        return {
            name: max((one.error for one in many), key=lambda error: error.ratio)
            for name, many in groups.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Give the report as numbers, strings, lists and dicts, ready for JSON."""
        about = {
            "passed": self.passed,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "eps": str(self.eps) if self.batch.exact else self.eps,
            "axis": list(self.axis),
            "steps": [step.to_dict() for step in self.steps],
            "others": {way: [one.to_dict() for one in many] for way, many in self.others.items()},
        }
        if self.batch.exact:
            return about | {"moved": str(self.moved)}
        numbers = {
            name: {key: _plain(x) for key, x in getattr(self, name).items()}
            for name in ("differences", "relative", "scaled_errors", "tolerances")
        }
        counts = {"complex_step_directions": self.directions, "features_left_out": self.left_out}
        return about | numbers | counts

    def __str__(self) -> str:
        kind = type(self.steps[0].evidence)
        arithmetic, findings = self._of_fractions() if self.batch.exact else self._of_floats()
        axis = self.axis[0] if len(self.axis) == 1 else self.axis
        head = ("step", "name", "formula", "shape", "gradient", kind.title)
        rows = (
            (str(s.number), s.name, s.formula, str(s.shape), s.gradient, str(s.evidence))
            for s in self.steps
        )
        lines = [f"BatchNorm of {self.shape} over axis {axis}, {arithmetic}", ""]
        lines += [*table(head, rows, right=[0]), "", *findings]
        if self.batch.has_jacobian and "Jacobian" not in self.others:
            lines.append(f"  Jacobian left out: over {self.batch.most_jacobian} entries")
        verdict = f"PASS: {kind.verdict}" if self.passed else "FAIL: they differ"
        return "\n".join([*lines, "", verdict])

    def _of_floats(self) -> tuple[str, list[str]]:
        """Give the arithmetic, and how close they are."""
        lines = ["staged against closed form (largest absolute difference)"]
        for name, difference in self.differences.items():
            lines.append(
                f"  {name + ' difference:':<20} {difference:.3e}"
                f"   (relative {self.relative[name]:.1e})"
            )
        lines += ["", "scaled error |a − b| / (|gamma|/√(var + eps) · max|dout|)"]
        for name, error in self._errors().items():
            verdict = "PASS" if error.value <= error.bound else "FAIL"
            lines.append(
                f"  {name + ':':<22} {error.value:.1e}   {verdict} (at most {error.bound:.1e})"
            )
        if self.left_out:
            lines.append(f"  features left out, as their input is not finite: {self.left_out}")
        return f"{self.dtype}, eps = {self.eps:g}", lines

    def _of_fractions(self) -> tuple[str, list[str]]:
        """Give the arithmetic, with what it took, and where they are equal or not."""
        moved = (
            f"x moved by at most {float(self.moved):.1e} of its distance from the mean, "
            "so that var + eps is a square"
            if self.moved
            else "x as it is: var + eps is a square"
        )
        lines = []
        for way, many in self.others.items():
            lines += [f"autodiff = {way}"]
            lines += [f"  {one.gradient + ':':<8} {one.entries:>6} entries, {one}" for one in many]
            lines += [""]
        for way, one in self._evidence():
            if one.differs:
                where, found, expected = one.differs
                lines += [where, f"  autodiff: {found}", f"  {way}: {expected}", ""]
        return f"in {self.dtype}, eps = {self.eps}\n{moved}", lines[:-1]


def _plain(x: float) -> float | str:
    """JSON has no nan and no infinity."""
    return x if np.isfinite(x) else str(x)
