"""Orders: how values lie in memory, which labels are rows, and which are one loop.

The labels of a region have one order, in which every array has its axes. Values on the way have
none, since nothing is stored. But in what order NumPy adds up depends on how the array lies in
memory that the engine has there: as it is written, unless a transpose has *turned* it, and all that
is computed from it entry by entry. Strict plans refuse sums over what lies in another order than
that of the region.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any

from tinygraph.engine.ops import FEW
from tinygraph.execution.labels import REDUCTIONS, Labels, Part
from tinygraph.execution.program import Unsupported
from tinygraph.execution.values import Label
from tinygraph.graph.nodes import Node

__all__ = ["also_rows", "groups", "in_memory", "laid_out", "named", "rows_first"]

NAMES = {0: "", 1: "N", 2: "ND", 3: "NTD", 4: "NCHW"}


def in_memory(arrays: Sequence[Sequence[Part]], inner: Iterable[Sequence[Part]]) -> list[Part]:
    """Order parts so that each of `arrays` has them in this order, and of `inner` as many as can.

    Raises
    ------
    Unsupported
        If there is no such order.
    """
    after: dict[Part, set[Part]] = {}  # what counts faster

    def reaches(one: Part, other: Part) -> bool:
        return one == other or any(reaches(x, other) for x in after[one])

    for k, parts in enumerate([*arrays, *inner]):
        for part in parts:
            after.setdefault(part, set())
        for one, other in pairwise(parts):
            if not reaches(other, one):
                after[one].add(other)
            elif k < len(arrays):
                raise Unsupported(
                    "some arrays have their axes in another order in memory than others, as where "
                    "one is the transpose of another"
                )
    order: list[Part] = []
    while len(order) < len(after):
        free = (p for p in after if p not in order and not _is_inside(p, after, order))
        order.append(next(free))
    return order


def _is_inside(part: Part, after: Mapping[Part, set[Part]], order: Sequence[Part]) -> bool:
    return any(part in faster for outer, faster in after.items() if outer not in order)


def named(parts: Sequence[Part], lengths: Mapping[Part, int]) -> dict[Part, Label]:
    """Make the labels of ordered parts."""
    names = NAMES.get(len(parts)) or [f"N{k}" for k in range(len(parts))]
    return {p: Label(k, lengths[p], names[k]) for k, p in enumerate(parts)}


def rows_first(
    order: Sequence[Part],
    arrays: Sequence[Sequence[Part]],
    inner: Iterable[Sequence[Part]],
    lengths: Mapping[Part, int],
) -> list[Part]:
    """Put that part first which carries most of the data of those that are outermost everywhere.

    At least in all arrays, and if there is such a one, in all that is computed on the way.
    """
    within = {part for parts in arrays for part in parts[1:]}
    everywhere = within.union(*(parts[1:] for parts in inner))
    outer = [p for p in order if p not in everywhere] or [p for p in order if p not in within]
    carried = dict.fromkeys(order, 0)
    for parts in arrays:
        size = prod(lengths[part] for part in parts)
        for part in parts:
            carried[part] += size
    first = max(outer, key=carried.__getitem__)
    return [first, *(part for part in order if part != first)]


def also_rows(
    order: Sequence[Part],
    arrays: Iterable[Sequence[Part]],
    inner: Iterable[Sequence[Part]],
    lengths: Mapping[Part, int],
) -> list[Part]:
    """Give what can be gone through with the rows, the first part: as long, and nowhere met by it.

    So Σ x² and Σ y² are sums of one sweep, although no row of x has to do with one of y.
    """
    rows = [order[0]]
    within = {part for parts in arrays for part in parts[1:]}
    together = [set(parts) for parts in inner]
    for part in order[1:]:
        is_met = any(part in parts and not parts.isdisjoint(rows) for parts in together)
        if lengths[part] == lengths[order[0]] and part not in within and not is_met:
            rows.append(part)
    return rows[1:]


def groups(
    order: Sequence[Label], together: Iterable[Sequence[Label]]
) -> Iterator[tuple[Label, ...]]:
    """Join neighbours that always occur together; the last label stays apart from the first."""
    seen = [frozenset(labels) for labels in together]
    group: tuple[Label, ...] = ()
    is_first = True
    for label in order:
        splits = (
            any((label in labels) != (group[0] in labels) for labels in seen) if group else False
        )
        if group and (splits or (is_first and label == order[-1])):
            yield group
            group, is_first = (), False
        group += (label,)
    if group:
        yield group


# --------------------------------------------------------------------------- as NumPy has it


def laid_out(
    nodes: Iterable[Node], given: Collection[int], labels: Labels
) -> dict[int, tuple[Part, ...]]:
    """Give the parts of each node in the order in which NumPy has them in memory.

    What is spread without being copied has no place in memory for the axes that are new.

    Parameters
    ----------
    nodes : iterable of Nodes
        In order.
    given : collection of int
        The indices of arguments, which are in C order.
    labels : Labels
    """
    orders: dict[int, tuple[Part, ...]] = {}
    for node in nodes:
        parts = labels.flat(node)
        operands = [] if node.index in given else node.inputs
        is_plain = all(orders[x.index] == labels.flat(x) for x in operands)
        if not operands or (is_plain and str(node.op) not in ("transpose", "spread")):
            orders[node.index] = parts
        else:
            orders[node.index] = _order(node, parts, [orders[x.index] for x in operands])
    return orders


def _order(node: Node, parts: tuple[Part, ...], read: Sequence[tuple[Part, ...]]) -> Any:
    name = str(node.op)
    if name in REDUCTIONS:
        kept = tuple(part for part in read[0] if part in parts)
        return kept if len(kept) == len(parts) else parts
    if name == "spread":
        return read[0] if prod(node.shape) > FEW else parts
    is_cut = _without_ones(node.shape) != _without_ones(node.inputs[0].shape)
    if name == "reshape" and is_cut and len(read[0]) == len(parts):
        return parts
    if name in ("transpose", "reshape", "index", "scatter"):
        return read[0]
    return _kept_order(parts, read)


def _without_ones(shape: Iterable[int]) -> list[int]:
    return [n for n in shape if n != 1]


def _kept_order(parts: Sequence[Part], operands: Sequence[Sequence[Part]]) -> tuple[Part, ...]:
    """Sort parts as NumPy does for a new array: as written, unless all operands are turned."""
    order: list[Part] = []
    for part in parts:
        place = len(order)
        while place and _is_turned(order[place - 1], part, operands):
            place -= 1
        order.insert(place, part)
    return tuple(order)


def _is_turned(outer: Part, inner: Part, operands: Iterable[Sequence[Part]]) -> bool:
    said = [x.index(outer) > x.index(inner) for x in operands if outer in x and inner in x]
    return bool(said) and all(said)
