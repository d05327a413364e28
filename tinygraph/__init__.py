"""tinygraph: computational graphs that are drawn, differentiated and written out."""

from tinygraph.graph import Graph
from tinygraph.tensor import Tensor, grad, no_grad
from tinygraph.tracing import trace

__all__ = ["Graph", "Tensor", "grad", "no_grad", "trace"]
