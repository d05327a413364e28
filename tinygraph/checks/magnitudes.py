"""How large a gradient would be if no terms cancelled: what its rounding is measured by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygraph.checks.guarding import random_signs
from tinygraph.engine.autodiff import is_discrete, unbroadcast

__all__ = ["CANCELLED", "uncancelled"]

# A gradient below this share of its terms is measured by that share. Rounding leaves EPS of the
# terms in a complex step, EPS / h in a difference: far less than the tolerance allows on it.
CANCELLED = 1e-2


def uncancelled(
    nodes: Sequence[Any],
    seeds: Mapping[int, Any],
    read: Callable[[Any], Any],
    rng: np.random.Generator,
) -> dict[int, float]:
    """Give the size that each gradient would have if no terms cancelled.

    A gradient that is 0 because its terms cancel is computed as 1e-16 of them. They are seen by a
    sweep in which every gradient on the way gets random signs, so that nothing cancels.

    Parameters
    ----------
    nodes : sequence of nodes
        What the outputs depend on, in order of creation.
    seeds : mapping
        Upstream gradients, by the index of the output.
    read : callable
        What the rules are given for an operand: its array, or its value where it is no node.
    rng : numpy.random.Generator

    Returns
    -------
    dict
        The largest entry, by the index of the node.
    """
    gradients, sizes = dict(seeds), dict[int, float]()
    known = {node.index: node for node in nodes}
    for node in reversed(nodes):
        if node.index not in gradients:
            continue
        g = gradients.pop(node.index)
        sizes[node.index] = float(np.max(np.abs(g), initial=0.0))
        if node.op is None:
            continue
        g = g * random_signs(rng, node.shape)
        operands = [read(x) for x in node.inputs]
        for x, rule in zip(node.inputs, node.op.rules, strict=False):
            is_node = known.get(getattr(x, "index", None)) is x
            if rule is not None and is_node and not is_discrete(x):
                term = unbroadcast(rule(g, read(node), *operands, **node.params), x)
                gradients[x.index] = gradients.get(x.index, 0) + term
    return sizes
