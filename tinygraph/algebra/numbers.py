"""Numbers: what the values of two gradients at one point tell.

That they differ refutes a proof; that they agree proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from tinygraph.algebra.atoms import Polynomial
from tinygraph.algebra.evaluation import Evaluator
from tinygraph.algebra.expansion import Expansion
from tinygraph.algebra.pairs import Line, Pair
from tinygraph.algebra.polynomials import UndecidedError
from tinygraph.algebra.settings import Setting
from tinygraph.algebra.spelling import gradient_of, part_of
from tinygraph.algebra.verdicts import Counterexample, Wrong
from tinygraph.graph import Graph
from tinygraph.graph.evaluation import evaluate

__all__ = ["Values", "is_not_zero"]

DIFFERENT = 1e-6


class Values:
    """The values of both gradients at one point.

    Parameters
    ----------
    pair : Pair
    """

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self._engine, self._own = (self._at(graph, pair.inputs) for graph in (pair.joint, pair.own))
        backward = [self._engine[g.node.index] for g in pair.joint.all_gradients]
        sizes = [np.max(np.abs(value), initial=0.0) for value in backward]
        self.least = DIFFERENT * max((s for s in sizes if np.isfinite(s)), default=0.0)

    def _at(self, graph: Graph, inputs: Mapping[str, Any]) -> dict[int, Any]:
        values = {node.index: inputs[str(node.name)] for node in graph.inputs}
        with np.errstate(all="ignore"):
            evaluate(graph.nodes, values)
        return values

    def engine(self, name: str) -> Any:
        """Give the engine's gradient of a variable; None if there is none."""
        node = self.pair.total(name)
        return None if node is None else np.asarray(self._engine[node.index])

    def counterexample(self, name: str) -> Counterexample | None:
        """Give where the gradient of an input differs by more than rounding."""
        engine, own = self.engine(name), self.pair.returned[name]
        if engine is None or (engine.shape == own.shape and not self._differ(engine, own)):
            return None
        return self.largest_difference(name)

    def largest_difference(self, name: str) -> Counterexample:
        """Give where the gradient of an input differs most."""
        engine, own = self.engine(name), self.pair.returned[name]
        return Counterexample.at_largest(f"d{name}", self.pair.inputs, engine, own)

    def _differ(self, a: Any, b: Any) -> bool:
        """Whether numbers differ by more than rounding; what is not finite tells nothing.

        A gradient that is 0 is known by the size of those that it is the difference of.
        """
        try:
            a, b = np.broadcast_arrays(a, b)
        except ValueError:
            return True
        if not (a.size and np.isfinite(a).all() and np.isfinite(b).all()):
            return False
        scale = max(np.max(np.abs(a)), np.max(np.abs(b)), self.least)
        return bool(np.max(np.abs(a - b)) > DIFFERENT * scale)

    # ------------------------------------------------------------------ which line

    def first_wrong(self) -> Wrong | None:
        """Find the first line of the backward pass whose value is no gradient of that name."""
        gradients = self.pair.joint.all_gradients
        variables = [str(g.of.name) for g in gradients if g.of.name]
        last = {line.name: line for line in self.pair.lines}  # before, a sum may lack a term
        for line in last.values():
            of = gradient_of(line.name, variables)
            part = None if of else part_of(line.name, variables)
            if (
                line.name not in self.pair.inputs
                and (of or part)
                and self._is_wrong(line, of, part)
            ):
                return Wrong(line.number, line.name, self._cause(of, self._value(line)))
        for name in self.pair.gradients:
            if self.counterexample(name):
                return Wrong(None, f"d{name}", self._cause(name, self.pair.returned[name]))
        return None

    def _value(self, line: Line) -> Any:
        return np.asarray(self._own[line.node.index])

    def _is_wrong(self, line: Line, of: str | None, part: str | None) -> bool:
        expected = [self.engine(of)] if of else [*self._parts(str(part)).values()]
        found = self._value(line)
        return bool(expected) and all(self._differ(value, found) for value in expected)

    def _parts(self, name: str) -> dict[str, Any]:
        return {k: np.asarray(self._engine[n.index]) for k, n in self.pair.parts(name).items()}

    def _cause(self, of: str | None, found: Any) -> str:
        """Say which path is missing, or which factor is wrong."""
        expected = None if of is None else self.engine(of)
        if of is None or expected is None or expected.shape != np.shape(found):
            return ""
        for name, part in self._parts(of).items():
            if not self._differ(expected - found, part):
                return f"d{of} lacks {name}"
        with np.errstate(all="ignore"):
            ratio = np.asarray(found / expected).ravel()
        if not (ratio.size and np.isfinite(ratio).all()):
            return ""
        factor = Fraction(float(ratio[0])).limit_denominator(1000)
        is_factor = factor and not self._differ(ratio, np.full(ratio.shape, float(factor)))
        return f"{factor} times the gradient of {of}" if is_factor else ""


def is_not_zero(setting: Setting, left: Polynomial) -> bool:
    """Whether a remainder is no 0 that the normal form misses: by its value at the inputs."""
    inputs = {}
    for node in setting.pair.joint.inputs:
        parts = [p for axis in setting.axes.of(setting.pair.joint, node) for p in axis]
        array = np.asarray(setting.pair.inputs[str(node.name)])
        inputs[str(node.name)] = array.reshape([setting.axes.length[p] for p in parts])
    tables = {**setting.joint.tables, **setting.own.tables}
    evaluated = Evaluator({**tables, **inputs}, setting.axes.length)
    try:
        with np.errstate(all="ignore"):
            value, terms = evaluated(Expansion(setting.algebra)(left))
    except (UndecidedError, KeyError):
        return False
    size, scale = np.max(np.abs(value), initial=0), np.max(terms, initial=0)
    return bool(np.isfinite(size) and size > DIFFERENT * scale)
