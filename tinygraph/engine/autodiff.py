"""Reverse-mode differentiation: one sweep over anything that looks like a node.

A *node* is an `Operand` with ``op`` (its primitive, or None for a leaf), ``inputs`` (nodes and
constants, in the order of the operands) and ``params``, which the walks here read as they are held,
from ``_recorded``; ``index`` (its place in the order of creation), ``version``, ``shape`` and
``dtype``. Inputs exist before outputs, so sorting by index *is* a topological order: no recursion,
the same order at every run, and for a staged BatchNorm, walked in reverse, the steps 9 … 0 of the
derivation.

The sweep never asks what a gradient is. Seeded with arrays and told to `read` arrays it computes
numbers; seeded with Tensors it records the backward pass as more graph; seeded with the symbols of
a snapshot it writes the backward pass down without computing anything.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from tinygraph.engine import ops
from tinygraph.engine.arrays import exactly
from tinygraph.engine.lengths import extent, plain
from tinygraph.engine.operators import Operand
from tinygraph.engine.primitive import Vertex

__all__ = [
    "DISCRETE",
    "SCALARS",
    "is_discrete",
    "itself",
    "leaves",
    "reachable",
    "sweep",
    "unbroadcast",
]

SCALARS = frozenset({np.float64, np.float32, np.longdouble, np.complex128})
"""Types of which two numbers are alike in shape and dtype; what is missing costs only time."""

DISCRETE = "biu"
"""Kinds of dtype that no gradient flows through."""

Observer = Callable[[Any, Any, Any], None]


def reachable(outputs: Iterable[Any], enter: Callable[[Any], bool] | None = None) -> list[Any]:
    """Give every node that `outputs` depend on, themselves included, in order of creation.

    Parameters
    ----------
    outputs : iterable of nodes
        Where to start: Tensors, symbols, or nodes of a snapshot.
    enter : callable, optional
        Whether to go on to an operand; by default all are followed.

    Returns
    -------
    list of nodes
        Sorted by index, hence topologically: inputs before what is computed from them.

    Raises
    ------
    ValueError
        If a leaf was given new data after a result was computed from it.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> x = Tensor(3.0, name="x")
    >>> [node.op for node in reachable([x * x + 1])]
    [None, mul, add]
    """
    found = {node._index: node for node in outputs}
    stack = list(found.values())
    while stack:
        node = stack.pop()
        created = node._index
        for x in node._recorded[1]:
            if isinstance(x, Vertex):  # constants are none
                index = x._index
                if x._version > created:
                    raise ValueError(
                        f"{x!r} was given new data after {node!r} had been computed from it, so "
                        "the gradient would mix two points; compute the result again"
                    )
                if index not in found and (enter is None or enter(x)):
                    found[index] = x
                    stack.append(x)
    return [found[index] for index in sorted(found)]


def leaves(outputs: Iterable[Any]) -> list[Any]:
    """Give the leaves that `outputs` depend on and that a gradient can be taken for.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> w, x = Tensor(3.0, name="w"), Tensor(4.0, name="x")
    >>> leaves([w * x])
    [Tensor(w, 3.0, shape=(), dtype=float64), Tensor(x, 4.0, shape=(), dtype=float64)]
    """
    return [node for node in reachable(outputs) if node.op is None and not is_discrete(node)]


def sweep(
    nodes: Sequence[Any],
    seeds: Iterable[tuple[Any, Any]],
    *,
    wrt: Collection[Any] | None = None,
    read: Callable[[Any], Any],
    take: Callable[[Any], Any] = plain,
    observe: Observer | None = None,
) -> dict[int, Any]:
    """Carry gradients from some outputs back to everything that they were computed from.

    Parameters
    ----------
    nodes : sequence of nodes
        What the outputs depend on, in order of creation, as `reachable` gives it.
    seeds : iterable of pairs
        Each output with the gradient that arrives at it, which has the output's shape.
    wrt : collection of nodes, optional
        Only what lies between these and the outputs is visited, and only their gradients are
        kept; by default everything is, and all are.
    read : callable
        What the rules are given for a node: its array, or the node itself.
    take : callable, optional
        What they are given for a constant: by default a number without its formula.
    observe : callable, optional
        Told of every contribution, ``observe(node, consumer, gradient)``, where the consumer is
        None for a seed, and of every finished sum of more than one, ``observe(node, node, sum)``.

    Returns
    -------
    dict
        Gradients by the index of the node.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> x = Tensor(3.0)
    >>> y = x * x
    >>> gradients = sweep(reachable([y]), [(y, np.float64(1.0))], read=lambda node: node.data)
    >>> gradients[x.index]
    np.float64(6.0)
    """
    wanted = None if wrt is None else {x._index for x in wrt}
    visited = None if wanted is None else _between(nodes, wanted)
    gradients: dict[int, Any] = {}
    paths: Counter[int] = Counter()

    for node, seed in seeds:
        index = node._index
        gradients[index] = _shaped(gradients.pop(index) + seed) if index in gradients else seed
        if observe is not None:
            paths[index] += 1
            observe(node, None, seed)
    for node in reversed(nodes):
        index = node._index
        if index not in gradients:
            continue
        if observe is not None and paths[index] > 1:
            observe(node, node, gradients[index])
        op, inputs, params = node._recorded
        if op is None:
            continue
        # The rules are its last readers, unless it is asked for.
        g = gradients[index] if wanted is None or index in wanted else gradients.pop(index)
        given = [read(node)]
        for x in inputs:
            given.append(read(x) if isinstance(x, Operand) else x if type(x) is float else take(x))
        for x, operand, rule in zip(inputs, given[1:], op.rules):  # noqa: B905 - may go on
            if rule is None or not isinstance(x, Operand):
                continue
            to = x._index
            if visited is not None and to not in visited:
                continue
            if type(operand) not in SCALARS and operand.dtype.kind in DISCRETE:
                continue
            if op.additive:
                part = _shaped(rule(unbroadcast(g, operand), *given, **params))
            else:
                part = unbroadcast(rule(g, *given, **params), operand)
            # Popped, it is a temporary, into which NumPy adds in place.
            gradients[to] = _shaped(gradients.pop(to) + part) if to in gradients else part
            if observe is not None:
                paths[to] += 1
                observe(x, node, part)
    return gradients


def itself(x: Any) -> Any:
    """Give what is read unread, which writes the backward pass down instead of computing it."""
    return x


def is_discrete(node: Any) -> bool:
    """Whether a node is a mask, an index or a count, through which no gradient flows.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> is_discrete(Tensor([1.0, 2.0])), is_discrete(Tensor([1.0, 2.0]).astype(bool))
    (False, True)
    """
    return node.dtype.kind in DISCRETE


def _between(nodes: Iterable[Any], wanted: Collection[int]) -> set[int]:
    """Give the indices of all nodes through which a gradient reaches a wanted one, and of these."""
    found = set(wanted)
    for node in nodes:
        op, inputs, _ = node._recorded
        if op is not None and op.stops:
            inputs = [x for x, rule in zip(inputs, op.rules, strict=False) if rule is not None]
        for x in inputs:
            if isinstance(x, Operand) and x._index in found:
                found.add(node._index)
                break
    return found


def unbroadcast(g: Any, x: Any) -> Any:
    """Bring a gradient back to the shape and dtype of the input that it belongs to.

    Broadcasting copies an input along axes that it lacks or has with length 1, and the transpose
    of copying is adding up: the gradient is summed over those axes. For BatchNorm's gamma and beta
    this is the staged derivation's "sum over N".

    Parameters
    ----------
    g : array, Tensor or symbol
        A gradient of the shape that the input was broadcast to.
    x : node
        The input.

    Returns
    -------
    array, Tensor or symbol
        A gradient of x's shape, and of its dtype where both are real or complex, except that a
        complex one stays complex.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> beta = Tensor([0.0, 0.0, 0.0])
    >>> unbroadcast(np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]), beta)
    array([11., 22., 33.])
    """
    kind = type(g)
    if kind is type(x):
        if kind in SCALARS:
            return g
        # Of plain arrays no trace can want to know the shapes, and most are of one dtype.
        if kind is np.ndarray and g.dtype is x.dtype and not g.dtype.hasobject:
            shape = x.shape
            return g if g.shape == shape else _summed(g, g.shape, shape, shape)
    g = _shaped(g)
    if extent(g) != extent(x):
        g = _summed(g, extent(g), extent(x), x.shape)
    dtype = g.dtype
    if dtype != x.dtype and dtype.kind + x.dtype.kind in ("ff", "fc", "cc"):
        return g.astype(x.dtype)
    return exactly(g) if dtype.hasobject and type(g) is np.ndarray else g


def _summed(g: Any, long: tuple[int, ...], shape: tuple[int, ...], lengths: Any) -> Any:
    """Add up along the axes that `shape` lacks or has with length 1; `lengths` are the same."""
    axis, keepdims, fits = _copied_along(long, shape)
    add_up = ops.sum.forward if type(g) is np.ndarray else ops.sum
    total = _shaped(add_up(g, axis=axis, keepdims=keepdims))
    return total if fits else np.reshape(total, lengths)


@lru_cache(maxsize=1024)
def _copied_along(long: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Any, bool, bool]:
    """Give the axes along which `shape` was copied to become `long`, and how to get it back.

    That is, whether a sum keeps those axes, and whether it then is of that shape.
    """
    new = len(long) - len(shape)
    axis = tuple(range(new))
    if long[new:] == shape:
        return axis, False, True
    axis += tuple(k + new for k, n in enumerate(shape) if n == 1 != long[k + new])
    rest = tuple(1 if k in axis or k - len(long) in axis else n for k, n in enumerate(long))
    if math.prod(rest) != math.prod(shape):
        raise ValueError(f"a rule gave an input of shape {shape} a gradient of shape {long}")
    return axis, not new, rest == shape


def _shaped(g: Any) -> Any:
    """Wrap an exact scalar, which NumPy hands out bare."""
    return g if hasattr(g, "shape") else np.array(g, dtype=object)
