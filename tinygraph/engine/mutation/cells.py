"""`Cell`: a place in memory: its value, and what was written into it and is not yet recorded.

Writes are lazy. A cell collects them, and one node, `assign` or `assign_add`, records them all when
something is read that they changed: a loop that fills an array row by row is one node, and keeps
one copy of the array and not one per turn. What is read exactly as it was written is the value that
was written, so that step t of a recurrence reads step t − 1 and not the array.

Writes are numbered, and every entry of the cell's layout holds the number of the last one that
changed it. That finds what overlaps at the cost of the region, for any region.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from tinygraph.engine import ops
from tinygraph.engine.arrays import held, locked
from tinygraph.engine.mutation.facades import give_label
from tinygraph.engine.mutation.places import layout_of, same_place
from tinygraph.engine.primitive import Primitive
from tinygraph.engine.recording import changed, current
from tinygraph.engine.tensor import Tensor

__all__ = ["Cell", "Write"]


class Write:
    """What was written where.

    Attributes
    ----------
    key : int, slice, array, or tuple of them
        With which the whole array is indexed.
    value : Tensor, array or scalar
    region : ndarray or None
        The part of the layout that was written, where it is one.
    integers : tuple of Tensors
        Operands that stand in the key, where a string counts them.
    expected : tuple of Tensors
        From which the key was computed, so that they must be what they are.
    """

    __slots__ = ("expected", "integers", "key", "region", "value")

    def __init__(
        self,
        key: Any,
        value: Any,
        region: Any,
        integers: tuple[Any, ...] = (),
        expected: tuple[Any, ...] = (),
    ) -> None:
        self.key, self.value, self.region = key, value, region
        self.integers, self.expected = integers, expected


class Cell:
    """A place in memory.

    Parameters
    ----------
    value : Tensor or ndarray
        A locked array where nothing that is differentiated was written yet.

    Attributes
    ----------
    recorded : Tensor or ndarray
        The value without the writes that are not recorded.
    layout : ndarray
        See `tinygraph.engine.mutation.places`; each entry is the number of its last write.
    count : int
        How many writes there were.
    label : tuple or None
        Name and origin of what is recorded next.
    refuses : str or None
        Why nothing may be written.
    exported : weakref or None
        A plain array of the value that was handed out, which cannot follow what is written.
    """

    __slots__ = (
        "count",
        "disjoint",
        "exported",
        "label",
        "layout",
        "op",
        "pending",
        "recorded",
        "refuses",
        "settled",
        "writes",
    )

    def __init__(self, value: Any) -> None:
        self.recorded = value
        self.layout = layout_of(value._data if isinstance(value, Tensor) else value)
        self.count = self.settled = 0
        self.writes: dict[int, Write] = {}  # those of which a region may still be whole
        self.pending: dict[int, Write] = {}
        self.op: Primitive = ops.assign
        self.label: tuple[str | None, Any] | None = None
        self.disjoint = True
        self.refuses: str | None = None
        self.exported: Any = None

    def check(self) -> None:
        """Raise where nothing may be written."""
        if self.refuses is not None:
            raise ValueError(self.refuses)
        if self.exported is not None and self.exported() is not None:
            raise ValueError(
                "an array is written to of which np.asarray has given a plain array that is still "
                "in use and would not change with it; use np.array for a copy"
            )

    def export(self, array: Any) -> Any:
        """Remember a plain array of the value, as long as somebody has it."""
        self.exported = weakref.ref(array)
        return array

    def write(self, op: Primitive, at: Any, write: Write) -> None:
        """Remember a write.

        Parameters
        ----------
        op : Primitive
            `ops.assign` or `ops.assign_add`.
        at : tuple of ndarray and key
            Part of the layout, and what of it is written.
        write : Write
        """
        part, inner = at
        region = write.region
        if op is ops.assign:
            self._make_room(region if region is not None else part[inner], region)
        elif self.op is not op:
            self.record()
        self.count += 1
        self.op = op
        self.pending[self.count] = write
        if op is ops.assign and region is not None:
            self.writes[self.count] = write
        part[inner] = self.count
        if op is ops.assign and region is None and _repeats(part, inner, self.count):
            self.disjoint = False

    def _make_room(self, touched: Any, region: Any) -> None:
        """Drop a pending write that is wholly overwritten; record those that partly are.

        So what `assign` is given is disjoint.
        """
        if not self.pending:
            return
        if self.op is not ops.assign:
            self.record()
        elif touched.size and touched.max() > self.settled:
            number = self._number_of(region) if region is not None else None
            if number in self.pending:
                del self.pending[number], self.writes[number]
            else:
                self.record()

    def _number_of(self, region: Any) -> int | None:
        """Give the number of the write that wrote exactly this region, if nothing came after it."""
        if not self.writes or not region.size:
            return None
        number = int(region[(0,) * region.ndim])
        write = self.writes.get(number)
        if write is None or not same_place(write.region, region):
            return None
        return number if (region == number).all() else None

    def written(self, region: Any) -> Any:
        """Give what was written to exactly this region, or None."""
        number = self._number_of(region)
        return None if number is None else self.writes[number].value

    def is_pending(self, region: Any) -> bool:
        """Whether a write that is not recorded changed part of a region."""
        return bool(self.pending) and bool(region.size) and region.max() > self.settled

    def is_same(self, region: Any, count: int) -> bool:
        """Whether nothing was written to a region after the write of number `count`."""
        return count == self.count or not region.size or region.max() <= count

    def replace(self, value: Any) -> None:
        """Give all of it another value."""
        self.count += 1
        self.layout[...] = self.count
        self._settle(value)
        self.writes.clear()

    def record(self) -> Any:
        """Record what is pending, and give the value; also where it is read under `no_grad`."""
        if self.pending:
            writes = [*self.pending.values()]
            keys, integers, expected = _operands(writes)
            params: dict[str, Any] = {"keys": keys}
            if self.op is ops.assign:
                params["disjoint"] = self.disjoint
            if expected:
                params["expected"] = tuple([x._data for x in expected])
            values = [write.value for write in writes]
            with nullcontext() if current().recording else changed(recording=True):
                value = self.op(self.recorded, *values, *integers, *expected, **params)
            self._settle(value if isinstance(value, Tensor) else locked(np.asarray(value)))
            if self.label is not None and isinstance(value, Tensor):
                give_label(value, self.label)
        return self.recorded

    def _settle(self, value: Any) -> None:
        self.recorded = value if isinstance(value, Tensor) else held(value)
        self.pending = {}
        self.settled = self.count
        self.disjoint = True


def _operands(writes: Sequence[Write]) -> tuple[tuple[Any, ...], list[Any], list[Any]]:
    """Give the keys, with the operands in them counted through, and these operands."""
    keys: list[Any] = []
    integers: list[Any] = []
    expected: list[Any] = []
    for write in writes:
        key, start = write.key, len(integers)
        if write.integers:
            key = tuple([str(int(x) + start) if isinstance(x, str) else x for x in key])
        keys.append(key)
        integers += write.integers
        expected += write.expected
    return tuple(keys), integers, expected


def _repeats(part: Any, inner: Any, number: int) -> bool:
    """Whether a key names an entry twice, after `number` was written to all that it names."""
    written = int(np.count_nonzero(part == number))
    named: int = part[inner].size
    return named > written
