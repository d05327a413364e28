"""What autodiff finds on its way back, beside every other way to find it.

The same for floats and for fractions: they differ in who judges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tinygraph.checks.batches import NAMES, ClosedForm
from tinygraph.checks.by_hand import Derivation
from tinygraph.checks.reports import Report, Step
from tinygraph.engine.autodiff import reachable
from tinygraph.graph.snapshot import Graph
from tinygraph.writing.formulas import Notation

__all__ = ["collect"]

Judge = Callable[[str, Any, Any], Any]


def collect(derivation: Derivation, closed: ClosedForm, judge: Judge, **findings: Any) -> Report:
    """Differentiate the staged batch, and have every gradient judged.

    Parameters
    ----------
    derivation : Derivation
        Of the batch.
    closed : callable
        The closed form.
    judge : callable
        Gives the evidence, ``judge(name, found, expected)``.
    **findings
        Further fields of the report.

    Returns
    -------
    Report
    """
    batch = derivation.batch
    with np.errstate(all="ignore"):
        out, tensors = batch.staged()
        answer, jacobian = batch.in_closed_form(closed), batch.by_jacobian()
        opposite = replace(batch, gamma=np.asarray(-batch.gamma)).in_closed_form(closed)
    found = dict(zip(NAMES, (t.grad for t in tensors), strict=True))
    by_hand = derivation.staged_gradients()
    ways = {
        "by hand": {name: by_hand[name].reshape(g.shape) for name, g in found.items()},
        "closed form": answer,
        **({"Jacobian": jacobian} if jacobian else {}),
    }
    # BatchNorm is linear in gamma: with its sign that of dx changes, and nothing else.
    negated = {"closed form at -gamma": opposite | {"dx": -opposite["dx"]}}

    graph = Graph.capture(out, wrt=tensors)
    gradients, notation = {t.name: t.grad for t in reachable([out])}, Notation(graph)
    written = [(s.number, s.name, notation.formula(s.result)) for s in graph.steps]
    steps = []
    for number, name, formula in [(0, "x", "the batch"), *written]:
        g = gradients[name]
        evidence = judge(f"d{name}", g, by_hand[f"d{name}"].reshape(g.shape))
        steps.append(Step(number, name, formula, g.shape, evidence))
    return Report(
        batch,
        tuple(steps),
        others={
            way: tuple(judge(name, found[name], g) for name, g in given.items())
            for way, given in (ways | negated).items()
        },
        gradients={"autodiff": found} | ways,
        graph=graph,
        **findings,
    )
