"""Keys: what stands in the brackets of x[…], one part for each axis.

A key is of slices, numbers and rows of labels. In-place code has several of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygraph.algebra.arithmetic import UndecidedError
from tinygraph.graph import Graph, Node

__all__ = ["is_arange", "keys_of", "names_once", "numbers_of", "parts_of_key"]


def keys_of(node: Node) -> list[Any]:
    """Give the keys of a node, in which a node stands where one is computed or an input.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> [keys_of(node) for node in Graph.capture(Tensor([1.0, 2.0, 4.0])[1:]).nodes]
    [[], [slice(1, None, None)]]
    """
    if "key" in node.params:
        return [_filled(node.params["key"], node.inputs)]
    keys = node.params.get("keys", ())
    return [_filled(key, node.inputs[len(keys) :]) for key in keys]


def _filled(key: Any, operands: Sequence[Node]) -> Any:
    if not isinstance(key, tuple):
        return key
    return tuple(operands[int(part)] if isinstance(part, str) else part for part in key)


def is_arange(part: Any, length: int) -> bool:
    """Whether a key takes every entry in order."""
    return len(part) == length and bool(np.array_equal(part, np.arange(length)))


def parts_of_key(key: Any, shape: Sequence[int]) -> list[tuple[Any, int]]:
    """Give the parts of an index, one for each axis: None, an int, a slice from 0, or a table.

    Raises
    ------
    UndecidedError
        If one is anything else.

    Examples
    --------
    >>> parts_of_key((Ellipsis, -1), (4, 3))
    [(slice(0, 4, 1), 0), (2, 1)]
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    if any(part is Ellipsis for part in keys):
        place = next(k for k, part in enumerate(keys) if part is Ellipsis)
        missing = len(shape) - sum(part is not None for part in keys) + 1
        keys[place : place + 1] = [slice(None)] * missing
    keys += [slice(None)] * (len(shape) - sum(part is not None for part in keys))
    out: list[tuple[Any, int]] = []
    k = 0
    for part in keys:
        if part is None:
            out.append((None, -1))
            continue
        if isinstance(part, slice):
            start, stop, step = part.indices(shape[k])
            if step != 1:
                raise UndecidedError("a slice with a step")
            out.append((slice(start, max(start, stop), 1), k))
        elif isinstance(part, np.ndarray) and part.ndim == 1 and part.dtype.kind in "iu":
            out.append((np.where(part < 0, part + shape[k], part), k))
        elif isinstance(part, Node) and len(part.shape) == 1 and part.op is None:
            out.append((part, k))
        elif isinstance(part, int | np.integer) and not isinstance(part, bool):
            out.append((int(part) % shape[k], k))
        else:
            raise UndecidedError("an index of another kind than slices, numbers and rows of labels")
        k += 1
    _check_tables([part for part, _ in out])
    return out


def _check_tables(parts: Sequence[Any]) -> None:
    """Refuse tables apart from each other, whose axis NumPy puts first, and unequal ones."""
    tables = [k for k, part in enumerate(parts) if isinstance(part, np.ndarray | Node)]
    picked = [k for k, part in enumerate(parts) if isinstance(part, np.ndarray | Node | int)]
    apart = tables and picked != list(range(picked[0], picked[-1] + 1))
    if apart or len({parts[k].shape for k in tables}) > 1:
        raise UndecidedError("an index by rows of labels that are apart or of unequal lengths")


def names_once(key: Any, shape: Sequence[int]) -> bool:
    """Whether a key names no entry twice, whatever labels there are.

    Examples
    --------
    >>> names_once((np.arange(2), np.array([1, 1])), (2, 3)), names_once(np.array([1, 1]), (3,))
    (True, False)
    """
    tables = [x for x, _ in parts_of_key(key, shape) if isinstance(x, np.ndarray | Node)]
    numbers = [x for x in tables if isinstance(x, np.ndarray)]
    return not tables or any(len(np.unique(x)) == len(x) for x in numbers)


def numbers_of(graph: Graph) -> dict[tuple[int, ...], Any]:
    """Give the numbers that stand in a graph, by where: the node, and of a key which, and the axis.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> numbers_of(Graph.capture(Tensor([1.0, 2.0, 4.0])[1:] * 3))
    {(1, 0, 0, 0): 1, (1, 0, 0, 1): 3, (2,): Fraction(3, 1)}
    """
    found: dict[tuple[int, ...], Any] = {}
    for node in graph.nodes:
        if node.role == "constant":
            value = node.value
            found[node.index,] = value.flat[0] if isinstance(value, np.ndarray) else value
            continue
        whole = node.inputs[0] if str(node.op) in ("index", "pick") else node
        for j, key in enumerate(keys_of(node)):
            for part, k in parts_of_key(key, whole.shape):
                if isinstance(part, slice):
                    found[node.index, j, k, 0], found[node.index, j, k, 1] = part.start, part.stop
                elif isinstance(part, int):
                    found[node.index, j, k, 0] = part
    return found
