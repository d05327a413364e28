"""Refusals: what a function does that its graph would not do again, each with its reason."""

from __future__ import annotations

import numpy as np

from tinygraph.execution.environment import Environment
from tinygraph.execution.recordings import Recording, difference
from tinygraph.graph.evaluation import formula_text
from tinygraph.graph.snapshot import Graph

__all__ = ["check_premises", "check_repeats"]


def check_premises(graph: Graph) -> None:
    """Refuse a graph that was built on the value of something."""
    for formula, answer in graph.premises:
        if formula.is_of_lengths:
            continue
        text = formula_text(formula, graph.nodes)
        how = (
            f"reads the value of {text} (by .data, .item(), int() or np.asarray)"
            if formula.op == "value"
            else f"decides by values whether {text}"
        )
        raise ValueError(
            f"compile: the function {how}, which was {answer if np.ndim(answer) == 0 else 'fixed'} "
            "when it was recorded, and may be another at the next call; compute with the tensors "
            "(np.where, ops.stop), return what is to be looked at, or say what is done with it "
            "(nn.checked, nn.performed)"
        )


def check_repeats(first: Recording, second: Recording, environment: Environment) -> None:
    """Refuse a function that does something else, or finds something else, at its second run."""
    if changes := environment.changes():
        raise ValueError(
            f"compile: the function changes {', '.join(changes)}, which a replay would not do; "
            "return the value, or say what is done with it (nn.performed, nn.recalled)"
        )
    if environment.has_drawn():
        raise ValueError(
            "compile: the function draws at random, which a replay would not do again; draw by "
            "nn.drawn(rng, lambda rng: rng.random(shape)), or pass what was drawn"
        )
    if what := difference(first, second):
        raise ValueError(
            f"compile: run twice on the same arguments, the function differs in {what}: it "
            "depends on something that is not seen, such as the time; pass that as an argument"
        )
