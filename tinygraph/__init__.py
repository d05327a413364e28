"""tinygraph: computational graphs of NumPy code, drawn, differentiated and written out.

Whatever is named here is imported when it is first used.

- `Tensor`, `grad`, `no_grad`: arrays that remember how they were computed.
- `detect_anomaly`: stop at the first node that makes nan or inf.
- `trace`: run a function so that its variables name the graph.
- `Graph`: the immutable snapshot that every tool reads.
- `draw`: the snapshot as a picture.
- `derive`: the snapshot as equations, or as the source of a NumPy module.
- `compare`: staged BatchNorm against the closed form.
- `compile`: a function, or a snapshot, that runs without the engine.
- `check`: a backward pass of one's own, line by line.
- `explore`: a page on which a person steps through the graph with its numbers.
- `prove`: a backward pass of one's own, for all lengths.
- `simplify`: the closed form of a backward pass, derived.
- `gradcheck`: any gradient against the complex step or differences.
- `batchnorm`: BatchNorm staged, in closed form and as a Jacobian.
- `nn`, `optim`: layers, losses and optimizers.
- `ops`: the table of primitives, to which rows of one's own may be added.
"""

# To a reader of types it is true. Nothing is imported here, not even typing, so that the command
# can see to interrupts before anything takes time.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tinygraph import batchnorm, nn, ops, optim
    from tinygraph.algebra import prove, simplify
    from tinygraph.checks import GradientMismatch, check, compare, gradcheck
    from tinygraph.drawing import draw
    from tinygraph.engine import Tensor, detect_anomaly, grad, no_grad, trace
    from tinygraph.execution import compile
    from tinygraph.explorer import explore
    from tinygraph.graph import Graph
    from tinygraph.writing import derive

__all__ = [
    "GradientMismatch",
    "Graph",
    "Tensor",
    "batchnorm",
    "check",
    "compare",
    "compile",
    "derive",
    "detect_anomaly",
    "draw",
    "explore",
    "grad",
    "gradcheck",
    "nn",
    "no_grad",
    "ops",
    "optim",
    "prove",
    "simplify",
    "trace",
]

_WINGS = {
    "GradientMismatch": "checks",
    "Graph": "graph",
    "Tensor": "engine",
    "check": "checks",
    "compare": "checks",
    "compile": "execution",
    "derive": "writing",
    "detect_anomaly": "engine",
    "draw": "drawing",
    "explore": "explorer",
    "grad": "engine",
    "gradcheck": "checks",
    "no_grad": "engine",
    "prove": "algebra",
    "simplify": "algebra",
    "trace": "engine",
}


def __getattr__(name: str) -> "Any":
    from importlib import import_module

    if name in ("batchnorm", "nn", "ops", "optim"):
        return import_module(f"tinygraph.{name}")
    if name in _WINGS:
        globals()[name] = getattr(import_module(f"tinygraph.{_WINGS[name]}"), name)
        return globals()[name]
    raise AttributeError(f"module 'tinygraph' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
