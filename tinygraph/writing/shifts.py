"""Shifts: values on which no output depends, such as the maximum that softmax subtracts.

Move a value by c, one number for each of its entries, and follow what becomes of all that is
computed from it: v + k · c (it shifts), v · exp(k · c) (it scales), or something else. Where k is 0
at every way out, the outputs stay the same whatever c is, and the gradient of that value is
identically 0, though rounding seldom makes it so. Only maxima are asked: it is they that are
subtracted to keep exp in range.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from tinygraph.graph.nodes import Gradient, Node, length_of_sum
from tinygraph.graph.snapshot import Graph

__all__ = ["vanishing"]

Shape = tuple[int, ...]
Found = tuple[str, Fraction] | None


class _Change(NamedTuple):
    """What c, spread out from this shape, does to a value: it shifts by k · c, or scales."""

    kind: str
    k: Fraction
    shape: Shape


def vanishing(graph: Graph) -> list[Gradient]:
    """Find the gradients that are identically 0 because nothing depends on a maximum.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    list of Gradients
        All that arrives at such maxima together, and what goes on from them to their operands.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> s = Tensor([1.0, 2.0, 4.0], name="s")
    >>> e = np.exp(s - np.max(s))
    >>> [g.name for g in vanishing(Graph.joint(e / np.sum(e))) if g.name]
    ['ds2']
    """
    maxima = [n for n in graph.nodes if str(n.op) == "max" and n.role == "forward"]
    outputs = {node.index for node in graph.outputs}
    users: dict[int, list[Node]] = {}
    for node in graph.nodes:
        if node.role == "forward":
            for x in node.inputs:
                users.setdefault(x.index, []).append(node)
    free = {m.index for m in maxima if _nothing_depends_on(m, users, outputs)}
    return [
        g
        for g in graph.all_gradients
        if (g.of.index in free and g.kind in ("whole", "sum"))
        or (g.consumer is not None and g.consumer.index in free)
    ]


def _nothing_depends_on(moved: Node, users: dict[int, list[Node]], outputs: set[int]) -> bool:
    changes = {moved.index: _Change("shift", Fraction(1), moved.shape)}
    left = {node.index: node for node in users.get(moved.index, ())}
    if moved.index in outputs:
        return False
    while left:
        node = left.pop(min(left))  # after all that it is computed from
        change = _changed(node, changes)
        if change is None or (change.k and node.index in outputs):
            return False
        if change.k:
            changes[node.index] = change
            left |= {user.index: user for user in users.get(node.index, ())}
    return True


def _changed(node: Node, changes: dict[int, _Change]) -> _Change | None:
    """Say what becomes of a node; None where it is neither shifted nor scaled."""
    name = str(node.op)
    found = [changes.get(x.index) for x in node.inputs]
    if name in MOVES:
        (change,) = found
        shape = MOVES[name](node, change.shape) if change else None
        if change is None or shape is None:
            return None
        times = length_of_sum(node) if name == "sum" and change.kind == "shift" else 1
        return _Change(change.kind, change.k * times, shape)
    rule = RULES.get(name)
    changed = [x._replace(shape=_padded(x.shape, node)) for x in found if x is not None]
    if rule is None or len({x.shape for x in changed}) != 1:
        return None
    moved = [x and x._replace(shape=changed[0].shape) for x in found]
    result: Found = rule(node, *moved)
    return None if result is None else _Change(*result, changed[0].shape)


def _padded(shape: Shape, node: Node) -> Shape:
    return (1,) * (len(node.shape) - len(shape)) + shape


# --------------------------------------------------------------------------- what values become


def _sum(node: Node, a: Any, b: Any) -> Found:
    sign = -1 if str(node.op) == "sub" else 1
    kinds = {x.kind for x in (a, b) if x}
    if kinds == {"shift"}:
        return "shift", (a.k if a else 0) + sign * (b.k if b else Fraction(0))
    same = a and b and a.k == b.k
    return (a.kind, a.k) if kinds == {"scale"} and same else None


def _product(node: Node, a: Any, b: Any) -> Found:
    sign = -1 if str(node.op) == "div" else 1
    if {x.kind for x in (a, b) if x} == {"scale"}:
        return "scale", (a.k if a else 0) + sign * (b.k if b else Fraction(0))
    first, second = node.inputs
    n = second.value if a else first.value
    if (a and b) or not isinstance(n, Fraction) or not n or (b and sign < 0):
        return None
    return "shift", (a or b).k * n**sign


def _scaling(factor: Fraction | int) -> Any:
    return lambda node, x: (x.kind, x.k * factor) if x.kind == "scale" else None


RULES: dict[str, Any] = {
    "add": _sum,
    "sub": _sum,
    "mul": _product,
    "div": _product,
    "neg": lambda node, x: (x.kind, -x.k if x.kind == "shift" else x.k),
    "exp": lambda node, x: ("scale", x.k) if x.kind == "shift" else None,
    "log": lambda node, x: ("shift", x.k) if x.kind == "scale" else None,
    "inverse": _scaling(-1),
    "square": _scaling(2),
    "sqrt": _scaling(Fraction(1, 2)),
    "relu": _scaling(1),
    "abs": _scaling(1),
}
"""Elementwise: (kind, k) of the result."""


# --------------------------------------------------------------------------- where c goes


def _summed(node: Node, shape: Shape) -> Shape | None:
    axis = node.params["axis"]
    if any(shape[k] != 1 for k in axis):
        return None  # entries that move differently are added up
    kept = node.params["keepdims"]
    return shape if kept else tuple(n for k, n in enumerate(shape) if k not in axis)


def _spread(node: Node, shape: Shape) -> Shape:
    if len(shape) == len(node.shape):
        return shape
    rest = iter(shape)
    return tuple(1 if k in node.params["axis"] else next(rest) for k in range(len(node.shape)))


def _indexed(node: Node, shape: Shape) -> Shape | None:
    """Take whole axes and new ones only."""
    key = node.params["key"]
    for part in key if isinstance(key, tuple) else (key,):
        is_whole = isinstance(part, slice) and part == slice(None)
        if not (is_whole or part is None or part is Ellipsis):
            return None
    shape = np.broadcast_to(0, shape)[key].shape
    return shape


def _reshaped(node: Node, shape: Shape) -> Shape | None:
    """Take what only gains or loses axes of length 1, and c where it moves every entry alone."""
    (x,) = node.inputs
    return node.shape if shape == x.shape else None


MOVES: dict[str, Any] = {
    "sum": _summed,
    "spread": _spread,
    "index": _indexed,
    "reshape": _reshaped,
    "transpose": lambda node, shape: tuple(shape[k] for k in node.params["axes"]),
}
