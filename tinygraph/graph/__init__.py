"""The snapshot that every tool reads: an immutable graph of both passes.

In the order in which to read it: `nodes` (what it consists of), `axes` (which of them have one
length), `origins` (where its numbers come from), `evaluation` (what its nodes compute), `symbols`,
`marks`, `naming` and `capturing` (how it is taken), `flattening` (its flat form), `interchange`
(that form as JSON), `snapshot` (`Graph` itself).
"""

from tinygraph.graph.nodes import Gradient, Node, Step
from tinygraph.graph.snapshot import Graph

__all__ = ["Gradient", "Graph", "Node", "Step"]
