"""The snapshot that every tool reads: an immutable graph of both passes.

In the order in which to read it: `nodes` (what it consists of), `capturing` (how it is taken),
`snapshot` (`Graph` itself).
"""

from tinygraph.graph.nodes import Gradient, Node, Step
from tinygraph.graph.snapshot import Graph

__all__ = ["Gradient", "Graph", "Node", "Step"]
