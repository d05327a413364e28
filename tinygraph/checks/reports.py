"""The report of a comparison: as text, as JSON, and whether it passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygraph.checks.by_hand import Error
from tinygraph.graph.snapshot import Graph
from tinygraph.writing.tables import table

__all__ = ["Report", "StepRow", "axis_text"]


@dataclass(frozen=True)
class StepRow:
    """One step: its formula, and how well its gradient agrees with the one derived by hand."""

    number: int
    name: str
    formula: str
    shape: tuple[int, ...]
    gradient: str
    difference: float
    error: Error


@dataclass(frozen=True)
class Report:
    """What `compare` found. ``str(report)`` is the text that the command prints.

    Attributes
    ----------
    shape, dtype, eps, axis
        What was compared.
    steps : tuple of StepRow
        The nine steps, and step 0 for dx.
    differences : dict
        Largest absolute difference between staged and closed form: dx, dgamma, dbeta.
    relative : dict
        The same, elementwise relative, as course notebooks print it. It decides nothing.
    scaled_errors : dict
        Scaled errors of dx, dgamma and dbeta, of the worst step, of the Jacobian contraction
        (unless that would be too large, or x is not (N, D)) and of the complex step; each of the
        feature that comes closest to its bound.
    tolerances : dict
        What each of these may be.
    speedup : float
        Time of the staged forward and backward pass over that of the closed form, each the best of
        several in this run.
    directions : int
        How many directions the complex step took.
    left_out : int
        Features left out of the verdict because their input is not finite.
    graph : Graph
        The joint graph that was compared, for pictures.
    """

    shape: tuple[int, ...]
    dtype: str
    eps: float
    axis: tuple[int, ...]
    steps: tuple[StepRow, ...]
    differences: Mapping[str, float]
    relative: Mapping[str, float]
    scaled_errors: Mapping[str, float]
    tolerances: Mapping[str, float]
    speedup: float
    directions: int
    left_out: int
    graph: Graph = field(repr=False)

    @property
    def passed(self) -> bool:
        """Whether every scaled error is within its tolerance."""
        return all(error <= self.tolerances[name] for name, error in self.scaled_errors.items())

    def to_dict(self) -> dict[str, Any]:
        """Give the report as numbers, strings, lists and dicts, ready for JSON."""
        return {
            "passed": self.passed,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "eps": self.eps,
            "axis": list(self.axis),
            "steps": [
                {
                    "step": row.number,
                    "name": row.name,
                    "formula": row.formula,
                    "shape": list(row.shape),
                    "gradient": row.gradient,
                    "difference": _plain(row.difference),
                    "scaled_error": _plain(row.error.value),
                }
                for row in self.steps
            ],
            "differences": {name: _plain(x) for name, x in self.differences.items()},
            "relative": {name: _plain(x) for name, x in self.relative.items()},
            "scaled_errors": {name: _plain(x) for name, x in self.scaled_errors.items()},
            "tolerances": dict(self.tolerances),
            "speedup": self.speedup,
            "complex_step_directions": self.directions,
            "features_left_out": self.left_out,
        }

    def __str__(self) -> str:
        lines = [
            f"BatchNorm of {self.shape} over axis {axis_text(self.axis)}, {self.dtype}, "
            f"eps = {self.eps:g}",
            "",
            *table(
                ("step", "name", "formula", "shape", "gradient", "autodiff − by hand"),
                [
                    (
                        str(row.number),
                        row.name,
                        row.formula,
                        str(row.shape),
                        row.gradient,
                        f"{row.difference:.1e}",
                    )
                    for row in self.steps
                ],
            ),
            "",
            "staged against closed form (largest absolute difference)",
        ]
        for name in ("dx", "dgamma", "dbeta"):
            lines.append(
                f"  {name + ' difference:':<20} {self.differences[name]:.3e}"
                f"   (relative {self.relative[name]:.1e})"
            )
        lines += [f"  {'speedup:':<20} {self.speedup:.2f}x", ""]
        lines.append("scaled error |a − b| / (|gamma|/√(var + eps) · max|dout|)")
        for name, error in self.scaled_errors.items():
            bound = self.tolerances[name]
            verdict = "PASS" if error <= bound else "FAIL"
            lines.append(f"  {name + ':':<20} {error:.1e}   {verdict} (at most {bound:.1e})")
        if self.left_out:
            lines.append(f"  features left out, as their input is not finite: {self.left_out}")
        lines += ["", "PASS: staged and closed form agree" if self.passed else "FAIL: they differ"]
        return "\n".join(lines)


# --------------------------------------------------------------------------- text


def axis_text(axis: tuple[int, ...]) -> str:
    """Write axes as a person gives them: one as a number, several as a tuple."""
    return str(axis[0]) if len(axis) == 1 else str(axis)


def _plain(x: float) -> float | str:
    """JSON has no nan and no infinity."""
    return x if np.isfinite(x) else str(x)
