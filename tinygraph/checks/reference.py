"""What every variable's gradient is, by autodiff: what a person's own backward pass is held to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygraph.checks.magnitudes import CANCELLED, uncancelled
from tinygraph.graph.evaluation import evaluate, number
from tinygraph.graph.marks import unmarked
from tinygraph.graph.snapshot import Graph

__all__ = ["TOLERANCE", "Known", "Reference", "error"]

# Of float64. Right backward passes stay below 1e-13 of their terms; an eps of 1e-5 on the wrong
# side of a root is 1e-6 and more.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Known:
    """One gradient, or one part of it.

    Attributes
    ----------
    name : str
        As the graph calls it: ``dvar``, ``dxmu1``; or of a forward value.
    of : str
        The variable, as the user calls it.
    kind : str
        ``whole``, ``upstream``, ``sum``, ``part``; or ``forward``.
    value : ndarray
    scale : float
        What an error is measured by: the largest entry, or a share of the terms that cancelled.
    via : str
        Of a part: the variable that the path goes through.
    depth : int
        In how many calls inside the forward function the variable is; 0 for an input.
    """

    name: str
    of: str
    kind: str
    value: Any
    scale: float
    via: str = ""
    depth: int = 0

    @property
    def is_of_input(self) -> bool:
        """Whether it is the whole gradient of an input, which has a shape to keep."""
        return self.depth == 0 and self.kind != "part"


class Reference:
    """All values and gradients of a graph for one upstream gradient.

    Parameters
    ----------
    graph : Graph
        Joint, and with values.
    upstream : sequence of arrays
        One for each output.
    """

    def __init__(self, graph: Graph, upstream: Any) -> None:
        values = {x.index: graph.value(x.index) for x in graph.inputs if x.role == "input"}
        place = {out.index: k for k, out in enumerate(graph.outputs)}
        seeds = {}
        for g in graph.all_gradients:
            if g.kind == "upstream":
                seeds[g.of.index] = values[g.node.index] = np.asarray(upstream[place[g.of.index]])
        with np.errstate(all="ignore"):
            evaluate(graph.nodes, values)
            forward = [n for n in graph.nodes if n.role in ("input", "forward")]
            sizes = uncancelled(
                forward,
                seeds,
                lambda x: number(x) if x.role == "constant" else values[x.index],
                np.random.default_rng(0),
            )
        steps = {step.number: unmarked(step.name)[0] for step in graph.steps}
        summed = {g.of.index for g in graph.all_gradients if g.kind == "sum"}
        self.gradients: list[Known] = []
        self.inputs: dict[str, Known] = {}
        for g in graph.all_gradients:
            name, size = g.of.name or "", sizes.get(g.of.index, 0.0)
            kind = "part" if g.of.index in summed and g.kind == "upstream" else g.kind
            known = _known(g.name, unmarked(name)[0], kind, values[g.node.index], size)
            known = replace(known, depth=len(g.of.scope), via=steps.get(g.step, ""))
            self.gradients.append(known)
            if g.of.role == "input" and kind != "part":
                self.inputs[name] = known
        self.forward = [
            _known(n.name, unmarked(n.name)[0], "forward", values[n.index], 0.0)
            for n in forward
            if n.name and n.dtype is not None and n.dtype.kind == "f"
        ]
        self.totals: dict[str, list[Known]] = {}
        for one in sorted(self.gradients, key=lambda known: known.depth):
            if one.of and one.kind != "part":
                self.totals.setdefault(one.of, []).append(one)

    def parts(self, of: str) -> list[Known]:
        """Give what arrives at a variable along its several paths, in their order."""
        return [g for g in self.gradients if g.of == of and g.kind == "part"]

    def gradient(self, name: str, shape: tuple[int, ...]) -> Known:
        """Give the gradient of an input: zeros, where the outputs do not depend on it."""
        zero = Known(f"d{name}", name, "whole", np.zeros(shape), 1.0)
        return self.inputs.get(name, zero)


def _known(name: str | None, of: str, kind: str, value: Any, terms: float) -> Known:
    value = np.asarray(value, dtype=np.float64)
    largest = float(np.max(np.abs(value), initial=0.0, where=np.isfinite(value)))
    return Known(name or "", of, kind, value, max(largest, CANCELLED * terms) or 1.0)


def error(value: Any, known: Known, *, exact_shape: bool = False) -> float:
    """Give the largest difference in units of the scale: inf where shapes or kinds do not fit.

    A variable may lack the copies that broadcasting makes, or have axes of length 1 more or less,
    unless `exact_shape`.
    """
    value, right = np.asarray(value), known.value
    if value.dtype.kind not in "biuf":
        return np.inf
    value = value.astype(np.float64)
    if value.shape != right.shape:
        if exact_shape:
            return np.inf
        if [n for n in value.shape if n != 1] == [n for n in right.shape if n != 1]:
            value = value.reshape(right.shape)
        else:
            try:
                value = np.broadcast_to(value, right.shape)
            except ValueError:
                return np.inf
    with np.errstate(all="ignore"):
        gap = np.abs(value - right)
    gap = np.where((value == right) | (np.isnan(value) & np.isnan(right)), 0.0, gap)
    worst = float(np.max(gap, initial=0.0))
    return np.inf if np.isnan(worst) else worst and worst / known.scale
