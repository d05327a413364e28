"""`Graph`: the one structure that every tool reads.

A Graph is an immutable, ordered snapshot of what was computed from what. Pictures, equations and
emitted source are all made from it and never from live Tensors. It holds the forward pass alone,
or the **joint graph**: the forward pass, an upstream gradient as one more input, and the backward
pass as the rules of the table write it down.

The nodes are grouped into **steps**. A step is one assignment of the user's: the named node and
the unnamed nodes that feed it, numbered from 1 in order of creation. A backward node belongs to
the step whose rule it comes from; what arrives at the inputs is step 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np

from tinygraph.engine.arrays import relocked
from tinygraph.engine.autodiff import reachable
from tinygraph.engine.operators import Operand
from tinygraph.graph.capturing import Capture
from tinygraph.graph.nodes import Gradient, Node, Step, length_of_sum

__all__ = ["Gradient", "Graph", "Node", "Step"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Graph:
    """An immutable snapshot of a computation; made by `Graph.capture`.

    Attributes
    ----------
    nodes : tuple of Nodes
        In order of creation, so that every node stands after its inputs.
    inputs : tuple of Nodes
        Leaves, and the upstream gradients of a joint graph.
    outputs : tuple of Nodes
    all_gradients : tuple of Gradients
        Every gradient that arrives at a node, in the order of the backward sweep; empty without a
        backward pass.
    gradients : tuple of Gradients
        Those that have a name.
    steps : tuple of Steps
        The forward steps, in order.
    values : mapping
        Value and gradient (or None) by the index of the node, if they were captured.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> x = Tensor([1.0, 2.0], name="x")
    >>> y = x * x
    >>> graph = Graph.capture(y, wrt=[x])
    >>> graph.nodes[:2]
    (Node(x, shape=(2,), step=0, input), Node(out, shape=(2,), step=1, op=mul))
    >>> [g.name for g in graph.gradients]
    ['dout', 'dx1', 'dx2', 'dx']
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    all_gradients: tuple[Gradient, ...]
    steps: tuple[Step, ...]
    values: Mapping[int, tuple[Any, Any]] = field(default_factory=dict)

    @classmethod
    def capture(
        cls,
        outputs: Any,
        wrt: Iterable[Any] | None = None,
        *,
        values: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> Graph:
        """Take the snapshot of what `outputs` were computed from.

        Parameters
        ----------
        outputs : Tensor or sequence of Tensors
        wrt : iterable of Tensors, optional
            With respect to what the backward pass is added; without it, the graph is the forward
            pass alone.
        values : bool, optional
            Whether the snapshot keeps what the tensors hold now: their data and their ``.grad``.
        variables : mapping, optional
            Variables, such as ``locals()``, to name unnamed tensors after.

        Returns
        -------
        Graph

        Raises
        ------
        TypeError
            If an output is not a Tensor.
        ValueError
            If no output depends on one of `wrt`, or there is no output.
        """
        outputs = tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,)
        if not outputs:
            raise ValueError("Graph.capture: there is no output to capture")
        for out in outputs:
            if not (isinstance(out, Operand) and hasattr(out, "data")):
                raise TypeError(
                    f"an output must be a Tensor, not {type(out).__name__}; trace makes Tensors of "
                    "float arrays alone: pass Tensor(2.0), or np.array(…, dtype=float)"
                )
        if isinstance(wrt, Operand):
            raise TypeError("Graph.capture: wrt must be a list of Tensors; write wrt=[x]")
        names = {
            value.index: name
            for name, value in (variables or {}).items()
            if isinstance(value, Operand) and not name.startswith("_")
        }
        snapshot = Capture(outputs, None if wrt is None else list(wrt), names)
        parts = snapshot.freeze()._asdict()
        graph = cls(**parts, values=snapshot.values() if values else {})
        snapshot.symbols.clear()  # which every symbol refers to: no cycle is left
        return graph

    @classmethod
    def joint(
        cls,
        outputs: Any,
        wrt: Iterable[Any] | None = None,
        *,
        values: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> Graph:
        """Take the snapshot of both passes, with respect to all leaves unless told otherwise.

        Parameters
        ----------
        outputs, wrt, values, variables
            As in `capture`.

        Returns
        -------
        Graph

        Examples
        --------
        >>> from tinygraph import Tensor
        >>> x, w = Tensor([1.0, 2.0], name="x"), Tensor(3.0, name="w")
        >>> [g.name for g in Graph.joint(x * w).gradients]
        ['dout', 'dx', 'dw']
        """
        if wrt is None:
            several = outputs if isinstance(outputs, list | tuple) else [outputs]
            tensors = [x for x in several if isinstance(x, Operand)]
            wrt = [node for node in reachable(tensors) if node.op is None]
        return cls.capture(outputs, wrt, values=values, variables=variables)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle flat, however deep the graph is: nodes are written as their positions."""
        rows = [
            (
                *(node.op, [x.index for x in node.inputs], dict(node.params), node.shape),
                *(node.dtype, node.name, node.step, node.role, node.value, node.scope),
            )
            for node in self.nodes
        ]
        places = [
            (
                *(g.name, g.of.index, g.consumer and g.consumer.index, g.operand, g.term),
                *(g.node.index, g.step, g.kind),
            )
            for g in self.all_gradients
        ]
        return _restored, (
            rows,
            [node.index for node in self.inputs],
            [node.index for node in self.outputs],
            places,
            [(s.number, s.name, s.result.index, [n.index for n in s.nodes]) for s in self.steps],
            dict(self.values),
        )

    def __deepcopy__(self, memo: Any) -> Graph:
        """Give the graph itself, which nobody can change."""
        return self

    def __copy__(self) -> Graph:
        return self

    @property
    def gradients(self) -> tuple[Gradient, ...]:
        """The gradients that have a name, in the order of the backward sweep."""
        return tuple(g for g in self.all_gradients if g.name)

    @property
    def lengths(self) -> frozenset[int]:
        """How many values the sums in the graph add up: 64 of a batch of 64."""
        sums = (node for node in self.nodes if node.op is not None and node.op.name == "sum")
        return frozenset(map(length_of_sum, sums))

    def __repr__(self) -> str:
        names = ", ".join(str(node.name) for node in self.outputs)
        backward = f", {len(self.gradients)} gradients" if self.gradients else ""
        return f"Graph({names}: {len(self.nodes)} nodes, {len(self.steps)} steps{backward})"

    def __getitem__(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        known = ", ".join(str(node.name) for node in self.nodes if node.name)
        raise KeyError(f"no node is called {name!r}; the names are {known}")

    def run(self, /, **inputs: Any) -> dict[str, Any]:
        """Evaluate the snapshot on arrays.

        Parameters
        ----------
        **inputs : array_like
            One per input, by name, of the shape that the input had: a graph holds lengths such as
            the 1/N of a mean as constants.

        Returns
        -------
        dict
            The named values, and the gradients by name.

        Raises
        ------
        ValueError
            If an input is missing, there is no input of that name, or one has another shape.

        Examples
        --------
        >>> from tinygraph import Tensor
        >>> graph = Graph.capture(Tensor(2.0, name="a") * Tensor(3.0, name="b"))
        >>> graph.run(a=5.0, b=7.0)["out"]
        np.float64(35.0)
        """
        wanted = {str(node.name) for node in self.inputs}
        if set(inputs) != wanted:
            missing = ", ".join(sorted(wanted - set(inputs))) or "none"
            unknown = ", ".join(sorted(set(inputs) - wanted)) or "none"
            raise ValueError(f"run: missing inputs: {missing}; unknown inputs: {unknown}")
        values: dict[int, Any] = {}
        for node in self.nodes:
            if node.op is not None:
                operands = [values[x.index] for x in node.inputs]
                value = node.op.forward(*operands, **node.params)
                exact = not hasattr(value, "dtype")  # NumPy hands out a Fraction bare
                values[node.index] = np.array(value, dtype=object) if exact else value
            elif node.role == "constant":
                values[node.index] = _operand(node)
            else:
                value = np.asarray(inputs[str(node.name)], dtype=node.dtype)
                if value.shape != node.shape:
                    raise ValueError(
                        f"run: {node.name} has shape {value.shape}, but was captured with "
                        f"{node.shape}; capture the graph again for another shape"
                    )
                values[node.index] = value[()] if value.dtype.kind != "O" else value
        named = {n.name: values[n.index] for n in self.nodes if n.name and n.role != "constant"}
        return named | {g.name: values[g.node.index] for g in self.gradients}


def _restored(
    rows: list[tuple[Any, ...]],
    inputs: list[int],
    outputs: list[int],
    places: list[tuple[Any, ...]],
    steps: list[tuple[Any, ...]],
    captured: dict[int, tuple[Any, Any]],
) -> Graph:
    nodes: list[Node] = []
    for op, operands, params, shape, dtype, name, step, role, value, scope in rows:
        parents = tuple(nodes[k] for k in operands)
        params = MappingProxyType({key: relocked(x) for key, x in params.items()})
        value = relocked(value)
        node = Node(len(nodes), op, parents, params, shape, dtype, name, step, role, value, scope)
        nodes.append(node)
    return Graph(
        nodes=tuple(nodes),
        inputs=tuple(nodes[k] for k in inputs),
        outputs=tuple(nodes[k] for k in outputs),
        all_gradients=tuple(
            Gradient(
                *(name, nodes[of], None if by is None else nodes[by], operand, term),
                *(nodes[node], step, kind),
            )
            for name, of, by, operand, term, node, step, kind in places
        ),
        steps=tuple(
            Step(number, name, nodes[result], tuple(nodes[k] for k in members))
            for number, name, result, members in steps
        ),
        values=MappingProxyType({k: relocked(pair) for k, pair in captured.items()}),
    )


def _operand(constant: Node) -> Any:
    """Give a constant as the engine computed with it."""
    value, dtype = constant.value, constant.dtype
    if not isinstance(value, Fraction) or dtype is np.dtype(object):
        return value
    if dtype is not None:
        return dtype.type(value.numerator) / dtype.type(value.denominator)
    return int(value) if value.denominator == 1 else float(value)
