"""tinygraph: computational graphs of NumPy code, drawn, differentiated and written out.

The engine is here at once; what needs more than NumPy is imported when it is first used.

- `Tensor`, `grad`, `no_grad`: arrays that remember how they were computed.
- `trace`: run a function so that its variables name the graph.
- `Graph`: the immutable snapshot that every tool reads.
- `draw`: the snapshot as a picture.
- `compare`: staged BatchNorm against the closed form.
- `gradcheck`: any gradient against the complex step or differences.
- `batchnorm`: BatchNorm staged, in closed form and as a Jacobian.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tinygraph.graph import Graph
from tinygraph.tensor import Tensor, grad, no_grad
from tinygraph.tracing import trace

if TYPE_CHECKING:
    from tinygraph import batchnorm
    from tinygraph.checking import GradientMismatch, gradcheck
    from tinygraph.comparison import compare
    from tinygraph.drawing import draw

__all__ = [
    "GradientMismatch",
    "Graph",
    "Tensor",
    "batchnorm",
    "compare",
    "draw",
    "grad",
    "gradcheck",
    "no_grad",
    "trace",
]

_LAZY = {
    "GradientMismatch": "checking",
    "compare": "comparison",
    "draw": "drawing",
    "gradcheck": "checking",
}


def __getattr__(name: str) -> Any:
    if name == "batchnorm":
        return import_module("tinygraph.batchnorm")
    if name in _LAZY:
        return getattr(import_module(f"tinygraph.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'tinygraph' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
