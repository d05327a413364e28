"""Whether the polynomial that a node was read as has the value that the node has."""

import numpy as np

from tinygraph.algebra.evaluation import Evaluator
from tinygraph.graph.evaluation import evaluate


def misread_nodes(reader, axes, inputs):
    """Give the nodes that have another value than their polynomial, where it is finite."""
    values = {n.index: inputs[n.name] for n in reader.graph.inputs}
    entries = {
        n.name: np.reshape(
            inputs[n.name], [axes.length[p] for a in axes.of(reader.graph, n) for p in a]
        )
        for n in reader.graph.inputs
    }
    at = Evaluator(reader.tables | entries, axes.length)
    with np.errstate(all="ignore"):
        evaluate(reader.graph.nodes, values)
        return [n for n in reader.graph.nodes if n.op and _differs(reader, at, n, values[n.index])]


def _differs(reader, at, node, value):
    labels = [label for place in reader.places[node.index] for label in place]
    found = at.laid_out(reader.of[node.index], labels)
    expected = np.reshape(np.asarray(value, float), found.shape)
    if not np.isfinite(expected).all():
        return False
    return not np.allclose(found, expected, 1e-6, 1e-8 * (1 + np.abs(expected).max(initial=0)))
