"""What a graph costs, by its number of nodes."""

import tracemalloc

import numpy as np
import work

from tinygraph import Graph, Tensor, derive, draw, grad, trace


def _leaves():
    return [Tensor(0.5, name="h"), Tensor(0.999, name="w"), Tensor(0.01, name="b")]


def _building(nodes):
    return lambda: work.chain(nodes)(np, *_leaves())


def _reading(tool):
    def prepare(nodes):
        leaves = _leaves()
        out = trace(work.chain(nodes))(np, *leaves)
        return lambda: tool(out, leaves)

    return prepare


JOBS = {
    "build": _building,
    "grad": _reading(grad),
    "Graph.capture": _reading(Graph.capture),
    "draw": _reading(lambda out, leaves: draw(out).source),
    "derive": _reading(lambda out, leaves: derive(out)),
}
"""By name: given a number of nodes, the call that does the job."""

ENGINE = ("build", "grad")
"""The jobs that are wanted for a million nodes, too."""


def bytes_per_node(nodes):
    """Give what a graph of `nodes` nodes holds on to, divided by their number."""
    build = _building(nodes)
    build()  # what is made once, and stays, belongs to no node
    tracemalloc.start()
    out = build()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del out
    return held / nodes
