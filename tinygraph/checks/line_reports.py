"""What `check` says: line by line, gradient by gradient, and as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["BackwardReport", "GradientVerdict", "Line"]


@dataclass(frozen=True)
class Line:
    """One statement of the backward pass.

    Attributes
    ----------
    number : int
        Of its first line in the file.
    source : str
        Its text, as it stands there.
    name : str
        The variable that is held to a gradient; empty if there is none.
    passed : bool or None
        None where nothing in it is held to anything.
    error : float or None
        The largest difference, in units of the gradient's scale.
    follows : bool
        Whether it is wrong only because an earlier line is.
    gradient : str
        What it is, as the graph calls it: ``dxmu1``.
    """

    number: int
    source: str
    name: str
    passed: bool | None
    error: float | None
    follows: bool = False
    gradient: str = ""

    def __str__(self) -> str:
        return f"line {self.number}, {self.name}: {' '.join(self.source.split())}"

    def to_dict(self) -> dict[str, Any]:
        """Give it as strings and numbers."""
        return {
            "number": self.number,
            "source": self.source,
            "name": self.name,
            "passed": self.passed,
            "error": _plain(self.error),
            "follows": self.follows,
        }


@dataclass(frozen=True)
class GradientVerdict:
    """Whether the gradient of one input is right.

    Attributes
    ----------
    input : str
    passed : bool
    error : float
        The largest of all upstream gradients, in units of the gradient's scale.
    shape, expected : tuple of int
        Of what was returned, and of the input.
    """

    input: str
    passed: bool
    error: float
    shape: tuple[int, ...]
    expected: tuple[int, ...]

    def __str__(self) -> str:
        if self.shape != self.expected:
            return f"d{self.input}: FAIL, shape {self.shape} and not {self.expected}"
        verdict = "PASS" if self.passed else "FAIL"
        return f"d{self.input}: {verdict}, scaled error {self.error:.1e}"


@dataclass(frozen=True)
class BackwardReport:
    """What `check` found: truthy if the backward pass is right; ``str()`` is what is printed.

    Attributes
    ----------
    passed : bool
    called : str
        How the backward pass was called.
    lines : tuple of Line
        In the order of the file.
    first_wrong : Line or None
    cause : str
        What is likely wrong: a keyword, a colon and an explanation. Empty where nothing is wrong
        or nothing can be told.
    gradients : tuple of GradientVerdict
    unmatched : tuple of str
        Variables that are neither called like a gradient nor have the value of one.
    notes : tuple of str
    proof : str or None
        What the algebra says for all lengths, ``dx: proved for all N and D``; None of a backward
        pass that is wrong.
    tolerance : float
    runs : int
        How many upstream gradients.
    """

    passed: bool
    called: str
    lines: tuple[Line, ...] = field(repr=False)
    first_wrong: Line | None
    cause: str
    gradients: tuple[GradientVerdict, ...]
    unmatched: tuple[str, ...]
    notes: tuple[str, ...]
    proof: str | None
    tolerance: float
    runs: int

    def __bool__(self) -> bool:
        return self.passed

    def to_dict(self) -> dict[str, Any]:
        """Give the report as numbers, strings, lists and dicts, ready for JSON."""
        return {
            "passed": self.passed,
            "called": self.called,
            "first_wrong": self.first_wrong and self.first_wrong.to_dict(),
            "cause": self.cause,
            "gradients": [
                {"input": g.input, "passed": g.passed, "error": _plain(g.error)}
                for g in self.gradients
            ],
            "lines": [line.to_dict() for line in self.lines],
            "unmatched": list(self.unmatched),
            "notes": list(self.notes),
            "proof": self.proof,
            "tolerance": self.tolerance,
            "runs": self.runs,
        }

    def __str__(self) -> str:
        verdict = "right" if self.passed else "WRONG"
        text = [f"{self.called}: {verdict}, for {self.runs} random upstream gradients", ""]
        width = min(72, max((len(row) for one in self.lines for row in _rows(one)), default=0))
        for one in self.lines:
            text += _shown(one, width)
        text += [""] * bool(self.lines) + [str(g) for g in self.gradients]
        if self.first_wrong is not None:
            text += ["", f"the first wrong line is {self.first_wrong}"]
        text += [f"likely cause: {self.cause}"] * bool(self.cause)
        if self.unmatched:
            text += [f"compared with nothing: {', '.join(self.unmatched)}"]
        text += [f"note: {note}" for note in self.notes]
        text += [f"proof: {self.proof}"] * (self.proof is not None)
        return "\n".join(text)


def _rows(line: Line) -> list[str]:
    return line.source.splitlines() or [""]


def _shown(line: Line, width: int) -> list[str]:
    """Give a statement with its mark, and behind its first row what it was held to."""
    mark = " " if line.passed is None else "✓" if line.passed else "·" if line.follows else "✗"
    said = ""
    if line.error is not None:
        same = "" if line.gradient in ("", line.name) else f" = {line.gradient}"
        said = f"{line.name}{same if line.passed else ''}  {_text(line.error)}"
        said += ", from an earlier line" if line.follows else ""
    first, *rest = _rows(line)
    head = f"{mark} {line.number:>4}  {first:<{width}}  {said}".rstrip()
    return [head] + [f"        {row}" for row in rest]


def _text(error: float) -> str:
    return "another shape" if np.isinf(error) else f"{error:.1e}"


def _plain(x: float | None) -> float | str | None:
    """JSON has no nan and no infinity."""
    return x if x is None or np.isfinite(x) else str(x)
