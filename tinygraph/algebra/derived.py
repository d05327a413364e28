"""A derivation: steps, lemmas, the closed form, and what it saves; as text, Markdown or LaTeX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tinygraph.algebra.expressions import Expression, written
from tinygraph.graph import Graph
from tinygraph.writing.formulas import Notation
from tinygraph.writing.languages import LATEX

__all__ = ["Counts", "Derivation", "DerivationStep", "Lemma", "line"]

Counts = tuple[int, int, int]
IN_FLOATS = (
    "true of real numbers; in floating point it fails where the mean is large beside the spread: "
    "there, subtract the mean first"
)


@dataclass(frozen=True)
class Lemma:
    """A sum that is 0 by the definition of one of its values.

    Attributes
    ----------
    total, definition : Expression
    cost : str
        What it costs in floating point.
    """

    total: Expression
    definition: Expression
    cost: str = IN_FLOATS


@dataclass(frozen=True)
class DerivationStep:
    """One gradient on the way.

    Attributes
    ----------
    number : int
    name : str
    lines : tuple of (Expression or str pair, str)
        What it is equal to, one line after the other, each with the rules that lead there.
    lemmas : tuple of Lemmas
        Those that are used here.
    """

    number: int
    name: str
    lines: tuple[tuple[Any, str], ...]
    lemmas: tuple[Lemma, ...]


@dataclass(frozen=True)
class Derivation:
    """How the closed form follows from the staged backward pass.

    Attributes
    ----------
    steps : tuple of DerivationSteps
    lemmas : tuple of Lemmas
        All that were used.
    gradients : dict
        The formulas of the inputs' gradients as text, by name.
    before, after : tuples of int
        Reductions, passes over arrays of full size, and small operations, of all gradients.
    graph : Graph
        The joint graph with the simplified backward pass; the one that was given, where that did
        not pay.
    note : str
        Why nothing was simplified; "" where something was.
    forward : pair of str
        The forward pass in one line, as text and in LaTeX.
    """

    steps: tuple[DerivationStep, ...]
    lemmas: tuple[Lemma, ...]
    gradients: Mapping[str, str]
    before: Counts
    after: Counts
    graph: Graph
    note: str
    forward: tuple[str, str]

    def __str__(self) -> str:
        return self._written("text")

    def markdown(self) -> str:
        """Give the derivation as Markdown."""
        return f"```text\n{self}\n```"

    def latex(self) -> str:
        """Give the derivation as aligned equations, for amsmath."""
        rows, name = [], Notation(self.graph, LATEX).name

        def formula(x: Any) -> str:
            return written(x, "latex", name) if isinstance(x, Expression) else line(x, "latex")

        for step in self.steps:
            for lemma in step.lemmas:
                total, definition = formula(lemma.total), formula(lemma.definition)
                rows.append(rf"& \text{{lemma:}} & {total} &= {definition} = 0")
            head = rf"{step.number} && {name(step.name)}"
            for x, _ in step.lines:
                rows.append(rf"{head} &= {formula(x)}")
                head = "&&"
        body = " \\\\\n".join(rows)
        return f"\\[\n\\begin{{aligned}}\n{body}\n\\end{{aligned}}\n\\]"

    def _written(self, dialect: str) -> str:
        lines = [f"Forward:  {self.forward[0]}"]
        for step in self.steps:
            head = f"{step.number}. {step.name}"
            indent = " " * (len(head) + 1)
            for k, (x, rules) in enumerate(step.lines):
                start = f"{head} = " if not k else f"{indent}= "
                rule = f"   [{rules}]" if rules else ""
                lines.append(f"{start}{line(x, dialect)}{rule}")
                if not k:
                    lines += [indent + text for lemma in step.lemmas for text in _lemma(lemma)]
        if self.note:
            lines.append(self.note)
        else:
            lines.append(f"{_counted(self.before)} became {_counted(self.after)}.")
        return "\n".join(lines)


def line(x: Any, dialect: str) -> str:
    """Write a line of a derivation: a formula, or a pair of texts."""
    if isinstance(x, Expression):
        return written(x, dialect)
    text: str = x[dialect == "latex"]
    return text


def _lemma(lemma: Lemma) -> list[str]:
    total, definition = written(lemma.total), written(lemma.definition)
    return [f"lemma: {total} = {definition} = 0", f"       ({lemma.cost})"]


def _counted(counts: Counts) -> str:
    names = ("reduction", "full-size operation", "small operation")
    parts = [f"{n} {name}{'s' * (n != 1)}" for n, name in zip(counts, names, strict=True)]
    return f"{parts[0]}, {parts[1]} and {parts[2]}"
