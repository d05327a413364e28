"""A program at other lengths of its arguments, found without an array of these lengths.

A graph is captured on a small batch. What the numbers in it and the shapes of its nodes are for a
batch that no memory holds is found by evaluating it, with all the refusals of an evaluation, on
arrays that have a shape and a dtype and no entries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tinygraph.engine.autodiff import reachable
from tinygraph.execution.program import Program, Unsupported
from tinygraph.graph.evaluation import check_premises, evaluate_at
from tinygraph.graph.nodes import Node
from tinygraph.graph.snapshot import Graph

__all__ = ["Shaped", "elsewhere"]


class Shaped(np.lib.mixins.NDArrayOperatorsMixin):
    """An array without entries.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype

    Examples
    --------
    >>> x = Shaped((10**9, 100), np.dtype(np.float32))
    >>> y = x - np.sum(x, axis=0) / 10**9
    >>> y.shape, y.dtype
    ((1000000000, 100), dtype('float32'))
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = shape, dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def single(self) -> Any:
        """One entry of NumPy's, to ask for the dtype of a result."""
        return np.ones((1,) * self.ndim, self.dtype)

    def astype(self, dtype: Any) -> Shaped:
        """Give one of another dtype."""
        return Shaped(self.shape, np.dtype(dtype))

    def __getitem__(self, key: Any) -> Shaped:
        """Insert axes, which is all that a key does in a program that runs in sweeps."""
        parts = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis not in parts:
            parts.append(Ellipsis)
        middle = parts.index(Ellipsis)
        whole = self.ndim - sum(part is not None for part in parts) + 1
        parts[middle : middle + 1] = [slice(None)] * whole
        rest = iter(self.shape)
        return Shaped(tuple(1 if part is None else next(rest) for part in parts), self.dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or options or ufunc.signature is not None:
            return NotImplemented
        return _broadcast(ufunc, *inputs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func not in FOLLOWED:
            return NotImplemented
        return FOLLOWED[func](func, *args, **kwargs)


def _broadcast(function: Callable[..., Any], *inputs: Any) -> Shaped:
    shape = np.broadcast_shapes(*[getattr(x, "shape", ()) for x in inputs])
    singles = [x.single if isinstance(x, Shaped) else x for x in inputs]
    with np.errstate(all="ignore"):
        return Shaped(shape, function(*singles).dtype)


def _reduced(
    function: Any, x: Shaped, axis: Any = None, dtype: Any = None, *, keepdims: Any = False
) -> Shaped:
    axes = range(x.ndim) if axis is None else axis
    over = {k % x.ndim for k in ([axes] if isinstance(axes, int) else axes)}
    kept = [1 if k in over else n for k, n in enumerate(x.shape) if keepdims or k not in over]
    options = {} if dtype is None else {"dtype": dtype}
    return Shaped(tuple(kept), function(x.single, **options).dtype)


def _expanded(function: Any, x: Shaped, axis: Any) -> Shaped:
    shape = list(x.shape)
    for k in sorted([axis] if isinstance(axis, int) else axis):
        shape.insert(k, 1)
    return Shaped(tuple(shape), x.dtype)


FOLLOWED: Mapping[Any, Callable[..., Shaped]] = {
    np.where: _broadcast,
    np.sinc: _broadcast,
    **dict.fromkeys([np.sum, np.max, np.all, np.any], _reduced),
    np.expand_dims: _expanded,
    np.transpose: lambda _, x, axes: Shaped(tuple(x.shape[k] for k in axes), x.dtype),
    **dict.fromkeys([np.broadcast_to, np.reshape], lambda _, x, shape: Shaped(shape, x.dtype)),
}
"""What NumPy's functions make of shapes."""


def elsewhere(graph: Graph, program: Program, shapes: Mapping[str, tuple[int, ...]]) -> Program:
    """Give a program of a graph as it is at other lengths of its arguments.

    Parameters
    ----------
    graph : Graph
    program : Program
        Of this graph.
    shapes : mapping
        Of its arguments, by name; one that is missing is as it was captured.

    Returns
    -------
    Program

    Raises
    ------
    ValueError
        As `Graph.run`: if a constant may stand for a length, or lengths do not fit.
    Unsupported
        If the traced code read values of its arguments.

    Examples
    --------
    >>> from tinygraph import Graph, trace
    >>> graph = Graph.capture(trace(lambda x: x - np.mean(x, axis=0))(np.ones((2, 3))))
    >>> [node.shape for node in elsewhere(graph, Program.of(graph), {"x": (10**9, 3)}).results]
    [(1000000000, 3)]
    """
    read = [one for one in graph.premises if not one.formula.is_of_lengths]
    if read:
        raise Unsupported("the traced code read values of its arguments, which no block knows")
    asked = [node.index for node in program.nodes]
    for formula, _ in graph.premises:
        formula.map(asked.append)
    arguments = {node.index for node in program.arguments}
    upstream = (g for g in graph.all_gradients if g.kind == "upstream")
    outputs = {g.node.index: g.of for g in upstream if g.node.index in arguments}
    asked += [node.index for node in outputs.values()]
    nodes = reachable(graph.nodes[k] for k in asked)
    values: dict[int, Any] = {}
    is_here = True
    for node in (x for x in graph.inputs if x in nodes):
        shape = shapes.get(str(node.name), node.shape)
        if len(shape) != len(node.shape):
            raise ValueError(
                f"{node.name} has shape {shape}, but the graph was captured with {node.shape}; "
                "capture it again for another number of axes"
            )
        values[node.index] = Shaped(shape, np.dtype(node.dtype))
        is_here = is_here and shape == node.shape
    if is_here:
        return program
    evaluate_at(nodes, values, outputs)
    check_premises(graph.premises, graph.nodes, values)
    made: dict[int, Node] = {}
    for node in program.nodes:
        made[node.index] = _replaced(node, values[node.index], made)
    given, results = (
        tuple(made[node.index] for node in some) for some in (program.arguments, program.results)
    )
    return Program(tuple(made.values()), given, results, program.names)


def _replaced(node: Node, value: Any, made: Mapping[int, Node]) -> Node:
    if node.op is None:
        stays = not isinstance(value, Shaped)
        return replace(node, value=value) if stays else replace(node, shape=value.shape)
    params = dict(node.params)
    if "shape" in params:
        params["shape"] = value.shape
    inputs = tuple(made[x.index] for x in node.inputs)
    return replace(node, inputs=inputs, params=params, shape=value.shape)
