"""tinygraph: computational graphs of NumPy code, drawn, differentiated and written out.

The engine is here at once; the tools that read its graphs are imported when they are first used.

- `Tensor`, `grad`, `no_grad`: arrays that remember how they were computed.
- `detect_anomaly`: stop at the first node that makes nan or inf.
- `trace`: run a function so that its variables name the graph.
- `Graph`: the immutable snapshot that every tool reads.
- `draw`: the snapshot as a picture.
- `derive`: the snapshot as equations, or as the source of a NumPy module.
- `compare`: staged BatchNorm against the closed form.
- `gradcheck`: any gradient against the complex step or differences.
- `batchnorm`: BatchNorm staged, in closed form and as a Jacobian.
- `nn`, `optim`: layers, losses and optimizers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import tinygraph.copying  # noqa: F401 - from here on tensors can be copied and pickled
from tinygraph.recording import no_grad
from tinygraph.tensor import Tensor, grad
from tinygraph.tracing import trace

if TYPE_CHECKING:
    from tinygraph import batchnorm, nn, optim
    from tinygraph.anomaly import detect_anomaly
    from tinygraph.checking import GradientMismatch, gradcheck
    from tinygraph.comparison import compare
    from tinygraph.drawing import draw
    from tinygraph.equations import derive
    from tinygraph.graph import Graph

__all__ = [
    "GradientMismatch",
    "Graph",
    "Tensor",
    "batchnorm",
    "compare",
    "derive",
    "detect_anomaly",
    "draw",
    "grad",
    "gradcheck",
    "nn",
    "no_grad",
    "optim",
    "trace",
]

_LAZY = {
    "GradientMismatch": "checking",
    "Graph": "graph",
    "compare": "comparison",
    "derive": "equations",
    "detect_anomaly": "anomaly",
    "draw": "drawing",
    "gradcheck": "checking",
}


def __getattr__(name: str) -> Any:
    if name in ("batchnorm", "nn", "optim"):
        return import_module(f"tinygraph.{name}")
    if name in _LAZY:
        return getattr(import_module(f"tinygraph.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'tinygraph' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
