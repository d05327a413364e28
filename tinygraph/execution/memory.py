"""Memory: which values share it, until when they are read, and what may lie there afterwards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygraph.execution.calls import is_our_own
from tinygraph.graph.nodes import Node

__all__ = ["Memory", "Slot"]


class Slot(NamedTuple):
    """The layout of a temporary: what two of them must share to lie in one place.

    Examples
    --------
    >>> Slot.of(np.ones((2, 3), order="F")).empty().strides
    (8, 16)
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def of(cls, array: Any) -> Slot:
        """Give the layout of an array."""
        return cls(array.dtype, array.shape, array.strides)

    @property
    def nbytes(self) -> int:
        """How many bytes there are from the first entry to the last."""
        if 0 in self.shape:
            return 0
        steps = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        return steps + self.dtype.itemsize

    def empty(self) -> Any:
        """Allocate an array of this layout, to the stride of an axis of length 1."""
        if 0 in self.shape:
            return np.empty(self.shape, self.dtype)
        memory = np.empty(self.nbytes // self.dtype.itemsize, self.dtype)
        return np.ndarray(self.shape, self.dtype, memory, 0, self.strides)


class Memory:
    """Says which nodes share memory, and hands out the places of temporaries.

    Parameters
    ----------
    nodes : sequence of Nodes
        In order.
    results : sequence of Nodes
        What must outlive the program.
    values : mapping
        The value of each node as it was seen once.

    Attributes
    ----------
    slots : list of Slots
        The layout of each place.
    offered : dict
        By place: the result that is to lie there, and whether it may be written over what it reads.
    """

    def __init__(
        self, nodes: Sequence[Node], results: Sequence[Node], values: Mapping[int, Any]
    ) -> None:
        self.slots: list[Slot] = []
        self.offered: dict[int, tuple[Node, bool]] = {}
        self._own: dict[int, int] = {}  # places by the result that they are offered for
        self._free: defaultdict[Slot, list[int]] = defaultdict(list)
        self._taken: defaultdict[int, list[int]] = defaultdict(list)  # places by who shares them
        self._owner: dict[int, int] = {}  # of each place: the node that was computed into it
        self._shared = {node.index: node.index for node in nodes}  # a forest
        self._end = 1 + max(values, default=0)
        self._last = dict(self._shared)
        for node in nodes:
            for x in node.inputs:
                self._last[x.index] = node.index
        self._last |= {node.index: self._end for node in results}
        for node in nodes:
            for x in node.inputs:
                if _shares(node, values[node.index], values[x.index]):
                    self.join(node, x)

    def join(self, a: Node, b: Node) -> None:
        """Let two nodes share their memory, which is read as long as one of them is."""
        one, other = self.group(a), self.group(b)
        self._shared[other] = one
        self._last[one] = max(self._last[one], self._last[other])

    def group(self, node: Node) -> int:
        """Give what those nodes have in common whose values may share memory."""
        index = node.index
        while self._shared[index] != index:
            index = self._shared[index]
        return index

    def is_returned(self, node: Node) -> bool:
        """Whether a result has the memory of a node."""
        return self._last[self.group(node)] == self._end

    def offer(self, result: Node, slot: Slot, *, over: bool) -> int:
        """Make a place for a result, in which temporaries may lie before.

        `over` is whether the result may be written over what it is computed from.
        """
        place = len(self.slots)
        self.slots.append(slot)
        self._free[slot].append(place)
        self._own[result.index] = place
        self.offered[place] = result, over
        return place

    def has_own(self, node: Node) -> bool:
        """Whether a place is offered for a node."""
        return node.index in self._own

    def take(self, node: Node, slot: Slot) -> int:
        """Give a node the number of a place: its own, one that is free, or a new one."""
        free = self._free[slot]
        if node.index in self._own:
            place = self._own[node.index]
            free.remove(place)
            return place
        place = next((k for k in reversed(free) if self._is_fit(k, node)), len(self.slots))
        if place in free:
            free.remove(place)
        else:
            self.slots.append(slot)
        self._taken[self.group(node)].append(place)
        self._owner[place] = node.index
        return place

    def _is_fit(self, place: int, node: Node) -> bool:
        """Whether a node is read for the last time before a result needs the place."""
        if place not in self.offered:
            return True
        result, over = self.offered[place]
        last = self._last[self.group(node)]
        return last < result.index or (last == result.index and over and node in result.inputs)

    def release(self, node: Node, only: Slot | None = None) -> None:
        """Let go of what nothing reads after a node.

        Where `only` is given, of what was computed into a place of that layout: it is read there
        entry by entry, as no view of it need be.
        """
        for x in node.inputs:
            group = self.group(x)
            if self._last[group] == node.index:
                for place in self._taken.pop(group, ()):
                    slot = self.slots[place]
                    if only is None or (only == slot and self._owner[place] == x.index):
                        self._free[slot].append(place)
                    else:
                        self._taken[group].append(place)


def _shares(node: Node, value: Any, operand: Any) -> bool:
    """Whether the value of a node may lie where an operand does.

    What a primitive of tinygraph's own returns is a view, or is none, by the layout of what it is
    given; what a user's returns may be one today and none tomorrow.
    """
    if not (isinstance(value, np.ndarray) and isinstance(operand, np.ndarray)):
        return False
    return np.may_share_memory(value, operand) or not is_our_own(node)
