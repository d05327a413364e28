"""What `prove` found: the verdict, what it rests on, and what it is refuted by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["HERE", "PROVED", "REFUTED", "UNDECIDED", "Counterexample", "Proof", "Wrong"]

PROVED, HERE = "proved", "proved at these lengths"
REFUTED, UNDECIDED = "refuted", "undecided"


@dataclass(frozen=True)
class Wrong:
    """The first line that is wrong.

    Attributes
    ----------
    line : int or None
        Of the file; None where the name stands for what was returned.
    name : str
        What the line assigns.
    cause : str
        What is likely wrong with it; "" where that is not known.
    """

    line: int | None
    name: str
    cause: str

    def __str__(self) -> str:
        place = f"line {self.line}: {self.name}" if self.line else self.name
        return f"{place} ({self.cause})" if self.cause else place


@dataclass(frozen=True)
class Counterexample:
    """Inputs at which two gradients differ.

    Attributes
    ----------
    name : str
        Of the gradient.
    inputs : mapping
        Arrays by name, the upstream gradients among them.
    index : tuple of int
        Of the entry that differs most; () where the shapes differ.
    expected, found : number or tuple
        The engine's value there, and the person's; or the shapes.
    """

    name: str
    inputs: Mapping[str, Any]
    index: tuple[int, ...]
    expected: Any
    found: Any

    @classmethod
    def at_largest(cls, name: str, inputs: Any, expected: Any, found: Any) -> Counterexample:
        """Take the entry that differs most."""
        if expected.shape != found.shape:
            return cls(name, inputs, (), expected.shape, found.shape)
        place = np.unravel_index(int(np.argmax(np.abs(expected - found))), expected.shape)
        index = tuple(int(k) for k in place)
        return cls(name, inputs, index, float(expected[index]), float(found[index]))

    def __str__(self) -> str:
        if isinstance(self.expected, tuple):
            return f"{self.name} has shape {self.found}, but must have {self.expected}"
        place = f"{self.name}[{', '.join(map(str, self.index))}]" if self.index else self.name
        return f"{place} is {self.found!r}, but must be {self.expected!r}"


@dataclass(frozen=True)
class Proof:
    """The answer of `prove`.

    Attributes
    ----------
    verdict : str
        ``"proved"``, for all lengths; ``"proved at these lengths"``, where the code holds one of
        them, or runs at no other; ``"refuted"``; ``"undecided"``. That of the worst gradient.
    gradients : dict
        The verdict on each, by name.
    lengths : dict
        By symbol: ``"free"``, or the length and why it is fixed.
    assumptions : tuple of str
        Such as ``"var + eps > 0"``: where they fail, nothing is said.
    first_wrong : Wrong or None
        The first line of the backward pass that is wrong, if it is refuted.
    counterexample : Counterexample or None
        Inputs and the two values.
    remainder : str
        What is left of the difference.
    reason : str
        Why it is undecided.
    missing : tuple of str
        Gradients of inputs that the backward pass does not return.
    extents : dict
        Of each gradient that is proved, for what: ``"for all N and D"``.
    """

    verdict: str
    gradients: Mapping[str, str]
    lengths: Mapping[str, str]
    assumptions: tuple[str, ...]
    first_wrong: Wrong | None
    counterexample: Counterexample | None
    remainder: str
    reason: str
    missing: tuple[str, ...]
    extents: Mapping[str, str]

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        lines = []
        for verdict in (REFUTED, UNDECIDED, HERE, PROVED):
            names = [name for name, found in self.gradients.items() if found == verdict]
            for extent in dict.fromkeys(self.extents.get(name, "") for name in names):
                these = [name for name in names if self.extents.get(name, "") == extent]
                comma = ", " if verdict == HERE and extent else " " if extent else ""
                lines.append(f"{verdict}{comma}{extent}: {', '.join(these)}")
        lines += [f"  {name} = {why}" for name, why in self.lengths.items() if why != "free"]
        if self.assumptions:
            lines.append(f"  assuming {', '.join(self.assumptions)}")
        if self.first_wrong:
            lines.append(f"  first wrong: {self.first_wrong}")
        if self.counterexample:
            lines.append(f"  {self.counterexample}")
        if self.remainder:
            lines.append(f"  {self.remainder}")
        if self.reason:
            lines.append(f"  {self.reason}")
        if self.missing:
            lines.append(f"  not returned: {', '.join(self.missing)}")
        return lines

    def markdown(self) -> str:
        """Give the proof as Markdown: the verdict, and a table of the gradients."""
        head, *rest = self._lines() or [self.verdict]
        rows = [f"| `{name}` | {verdict} |" for name, verdict in self.gradients.items()]
        table = ["| gradient | verdict |", "|:---|:---|", *rows]
        return "\n".join([f"**{head}**", "", *table, "", *(f"- {line.strip()}" for line in rest)])

    def latex(self) -> str:
        """Give the verdict as LaTeX text."""
        signs = {"≠": r"$\neq$", "√": r"$\surd$", "Σ": r"$\Sigma$", "·": r"$\cdot$", "−": "$-$"}
        text = "\\\\\n".join(line.strip() for line in self._lines())
        for sign in "_%#&$":
            text = text.replace(sign, rf"\{sign}")
        for sign, command in {**signs, ">": "$>$", "<": "$<$"}.items():
            text = text.replace(sign, command)
        return text
