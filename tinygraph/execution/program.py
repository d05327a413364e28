"""What is to be computed: some nodes of a graph, from its inputs.

Every `Executor` is made of a `Program`, or says why it cannot run it: `Unsupported`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from tinygraph.engine.autodiff import reachable
from tinygraph.graph.nodes import Node
from tinygraph.graph.snapshot import Graph

__all__ = ["Executor", "Make", "Program", "Unsupported", "names_of"]


class Unsupported(ValueError):
    """A program is outside what an executor runs; the text is one sentence that says why."""


class Program(NamedTuple):
    """What is passed, what is returned, and all that is computed for it.

    Attributes
    ----------
    nodes : tuple of Nodes
        In order, so that every node stands after its inputs; arguments and constants included.
    arguments : tuple of Nodes
        The inputs of the graph in their order, and its upstream gradients.
    results : tuple of Nodes
        The outputs, and then the gradients asked for.
    names : mapping
        What nodes are called, by index; a gradient by its own name, ``dxhat``.

    Examples
    --------
    >>> from tinygraph import Graph, Tensor
    >>> x, w = Tensor([1.0, 2.0], name="x"), Tensor(3.0, name="w")
    >>> program = Program.of(Graph.joint(x * w), wrt=["x"])
    >>> [program.names[node.index] for node in program.arguments]
    ['x', 'w', 'dout']
    >>> [program.names[node.index] for node in program.results]
    ['out', 'dx']
    """

    nodes: tuple[Node, ...]
    arguments: tuple[Node, ...]
    results: tuple[Node, ...]
    names: Mapping[int, str]

    @classmethod
    def of(
        cls, graph: Graph, wrt: Iterable[str] | None = None, *, backward: bool = True
    ) -> Program:
        """Say what of a graph is to be computed.

        Parameters
        ----------
        graph : Graph
        wrt : iterable of str, optional
            The inputs whose gradients are returned, in this order; all that have one by default.
        backward : bool, optional
            Whether there are gradients at all; False for the forward pass of a joint graph.

        Raises
        ------
        ValueError
            If one of `wrt` has no gradient in the graph.
        """
        arriving = graph.arriving
        inputs = [node for node in graph.inputs if node.role == "input"]
        final = {str(x.name): arriving[x.index].node for x in inputs if x.index in arriving}
        wanted = list(final if wrt is None else wrt) if backward else []
        if missing := [name for name in wanted if name not in final]:
            known = ", ".join(final) or "none, without a backward pass"
            raise ValueError(f"there is no gradient by {missing[0]!r}; there are those by {known}")
        results = (*graph.outputs, *(final[name] for name in wanted))
        arguments = graph.inputs if backward else tuple(inputs)
        nodes = {node.index: node for node in reachable([*results, *arguments])}
        return cls(tuple(nodes.values()), arguments, results, names_of(graph, nodes))


def names_of(graph: Graph, wanted: Collection[int]) -> dict[int, str]:
    """Say what some nodes of a graph are called, by index: by a gradient's name, or their own."""
    names = {g.node.index: g.name for g in reversed(graph.gradients)}
    names |= {node.index: node.name for node in graph.nodes if node.name}
    return {index: name for index, name in names.items() if index in wanted}


class Executor(Protocol):
    """What runs a program, on arrays of the layouts that it was made for."""

    @property
    def executor(self) -> str:
        """``replay``, ``strict`` or ``fast``."""

    @property
    def source(self) -> str:
        """What runs, as text."""

    @property
    def why(self) -> str:
        """Why it is not what was asked for, or ""."""

    @property
    def nbytes(self) -> int:
        """How much memory a call takes beside its results."""

    def __call__(self, *arrays: Any, out: Sequence[Any] | None = None) -> tuple[Any, ...]:
        """Compute the results from one array per argument; into `out`, where that is not None."""

    def again(self, kept: list[Any], *arrays: Any) -> tuple[Any, ...]:
        """Compute into results of an earlier call that nobody holds any more; None where new."""


Make = Callable[..., Executor]
"""``make(program, arrays)`` gives an executor for arrays of the layouts of these."""
