"""`Array`: what a traced function sees of an array: a handle on a place, which can be written into.

A handle is a `Tensor` for everything that reads it: a facade for the value that the place has now.
Every operation is done on that value and gives a new handle; only views stay with the place.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator
from dis import opname
from functools import partial
from operator import itemgetter
from types import FrameType
from typing import Any, Protocol

import numpy as np

from tinygraph.engine import ops
from tinygraph.engine.arrays import held, locked
from tinygraph.engine.functions import describe
from tinygraph.engine.lengths import plainly
from tinygraph.engine.mutation.cells import Cell, Write
from tinygraph.engine.mutation.facades import Facade
from tinygraph.engine.mutation.keys import key_picked_by, names_once, opened, same_key, split
from tinygraph.engine.mutation.places import (
    COUNTER,
    entries,
    is_basic,
    key_of,
    lies_alike,
    same_place,
)
from tinygraph.engine.mutation.values import (
    extent,
    fitted,
    gathered,
    in_rows,
    negative,
    shaped,
    turned,
    whole,
)
from tinygraph.engine.operators import index_key
from tinygraph.engine.primitive import Primitive
from tinygraph.engine.tensor import Tensor

__all__ = ["STAYED_PLAIN", "Array", "Run", "fresh", "now", "root"]

_new: Any = object.__new__
BROADCAST_TO = np.broadcast_to  # itself, whoever wraps NumPy's names later


STAYED_PLAIN = (
    "if it was to be written into an array, that one holds integers, is held elsewhere (by an "
    "attribute, a global, another list), or was made on the same line, and has stayed a plain "
    "array: make it a variable of its own, of floats, on a line before"
)


class Run(Protocol):
    """The traced call that a handle belongs to."""

    open: bool


def now(x: Any) -> Any:
    """Give the value of a handle, and anything else as it is; lists and tuples inside as well."""
    kind = type(x)
    if kind is Array:
        return x._now()
    if kind in (list, tuple):
        return kind([now(one) for one in x])
    return x


def root(value: Any, run: Run) -> Array:
    """Give a handle on a new place, of which `value` is all."""
    out: Array = _new(Array)
    out._run, out._held = run, value
    out._cell = out._parent = out._key = out._label = None
    out._computed = ()
    return out


def fresh(result: Any, run: Run) -> Any:
    """Give what an operation computed to the traced function: a new array, on a new place.

    Scalars are immutable, and integers and masks are not differentiated; they are what they are.
    """
    kind = type(result)
    if kind is Tensor:
        return root(result, run) if result._data.ndim and run.open else result
    if not run.open:
        return result
    if kind is np.ndarray:
        return root(held(result), run) if result.dtype.kind in "fcO" and result.ndim else result
    if kind in (list, tuple):
        return kind([fresh(one, run) for one in result])
    return result


class Array(Facade):
    """A handle on an array, or on a part of one, inside a traced call.

    See Also
    --------
    tinygraph.engine.mutation.cells.Cell : the place.
    """

    __slots__ = (
        "_cell",  # None while the handle is the only one on its place, and nothing was written
        "_computed",  # what the keys were computed from, by which this is a view
        "_held",  # the value, where there is no cell
        "_key",  # of a basic index into the whole
        "_layout",
        "_parent",  # of which this is a view, by `_step`
        "_run",
        "_seen",  # the value that was last read, and the number of the last write then
        "_step",
    )

    _cell: Any
    _computed: tuple[Tensor, ...]
    _held: Any
    _key: Any
    _layout: Any
    _parent: Array | None
    _run: Run
    _seen: tuple[int, Any]
    _step: Callable[[Any], Any]

    # ------------------------------------------------------------------ the place

    def _place(self) -> Cell:
        """Give the cell."""
        if self._cell is None:
            self._cell = Cell(self._held)
            self._cell.label = self._label
            self._layout, self._held = self._cell.layout, None
        cell: Cell = self._cell
        return cell

    def _view(self, layout: Any, step: Callable[[Any], Any], key: Any = None) -> Array:
        """Give a handle on part of the same place."""
        out: Array = _new(Array)
        out._run, out._cell, out._parent = self._run, self._cell, self
        out._layout, out._step, out._key = layout, step, key
        out._seen, out._label, out._computed = (-1, None), None, self._computed
        return out

    def _now(self) -> Any:
        """Give the value: a Tensor, or a locked array where nothing recorded was written."""
        cell = self._cell
        if cell is None:
            return self._held
        if self._parent is None:
            return cell.record() if cell.pending else cell.recorded
        if self._is_current():
            return self._seen[1]
        if not cell.count:
            return self._read()
        value = None if self._computed else cell.written(self._layout)
        if value is not None:
            value = shaped(value, self._layout.shape, cell.recorded.dtype)
        if value is None or not lies_alike(getattr(value, "_data", value), self._layout):
            if cell.is_pending(self._layout):
                cell.record()
            value = self._read()
        self._seen = cell.count, self._labelled(value)
        return value

    def _is_current(self) -> bool:
        count, value = self._seen
        return value is not None and self._cell.is_same(self._layout, count)

    def is_unnamed(self) -> bool:
        """Whether the value that it has now, or the next one, has no name."""
        cell = self._cell
        if cell is None:
            value = self._held
        elif self._parent is None:
            value = None if cell.pending else cell.recorded
        else:
            value = self._seen[1] if self._is_current() else None
        return value.name is None if type(value) is Tensor else self._label is None

    def _read(self) -> Any:
        """Compute the value of a view, no part of which is pending, from that of the whole."""
        cell = self._cell
        views: list[Array] = [self]
        at: Any = self._parent
        while at._parent is not None and not at._is_current():
            views.append(at)
            at = at._parent
        value = cell.recorded if at._parent is None else at._seen[1]
        for view in reversed(views):
            value = view._step(value)
            if not cell.pending:
                view._seen = cell.count, view._labelled(value)
        return value

    # ------------------------------------------------------------------ what it is read as

    @property
    def _known(self) -> Any:
        """Give the value where it is recorded already."""
        cell = self._cell
        if cell is None:
            return self._held
        if self._parent is None:
            return None if cell.pending else cell.recorded
        return self._seen[1] if self._is_current() else None

    def relabel(self, name: str | None, origin: Any) -> None:
        """Say what values are called that are read or recorded later."""
        super().relabel(name, origin)
        if self._parent is None and self._cell is not None:
            self._cell.label = self._label

    @property
    def extent(self) -> tuple[int, ...]:
        """Length of each axis as an int, here and everywhere."""
        place: Any = self._held if self._cell is None else self._layout
        return extent(place)

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        value = self._now() if self._parent is not None else self._whole
        shape: tuple[int, ...] = value.shape
        return shape

    @shape.setter
    def shape(self, shape: Any) -> None:
        raise TypeError(f"x.shape = {shape!r}: {describe(self)}: write x = x.reshape({shape!r})")

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the entries."""
        dtype: np.dtype[Any] = self._whole.dtype
        return dtype

    @property
    def _whole(self) -> Any:
        """Give what is recorded of all that the place holds."""
        return self._held if self._cell is None else self._cell.recorded

    def detach(self) -> Any:
        """Give the same value as a new array, through which no gradient flows back."""
        value = self._now()
        is_tensor = isinstance(value, Tensor)
        return fresh(ops.stop(value) if is_tensor else np.array(value), self._run)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        value = self._now()
        if isinstance(value, Tensor):
            try:
                return value.__array__(dtype, copy)
            except TypeError as error:
                raise TypeError(f"{error}; {STAYED_PLAIN}") from None
        out = np.array(value, dtype)
        if copy is not True:  # np.asarray: an array that NumPy would not have copied
            return self._place().export(locked(out))
        return out

    def __copy__(self) -> Any:
        return fresh(self._now(), self._run)

    def __deepcopy__(self, memo: Any) -> Any:
        return fresh(self._now(), self._run)

    def record(self, op: Primitive, inputs: Any, params: Any = None) -> Any:
        """Apply a primitive to the values; see `Tensor.record`."""
        return fresh(super().record(op, now(list(inputs)), params or {}), self._run)

    def __getattr__(self, name: str) -> Any:
        """Give a method that arrays have and Tensors have not, where no gradient could be lost."""
        if name.startswith("_"):
            raise AttributeError(name)
        value = self._now()
        if isinstance(value, Tensor):
            return getattr(value, name)
        if not callable(getattr(value, name)):
            raise AttributeError(f"{name!r} of an array is not supported in a traced function")

        def method(*args: Any, **kwargs: Any) -> Any:
            return self._unshared(getattr(value, name)(*now(args), **kwargs), value)

        return method

    def _unshared(self, result: Any, *values: Any) -> Any:
        """Hand out a result; raise where it is a view that would not see what is written."""
        for one in result if isinstance(result, list | tuple) else (result,):
            if isinstance(one, np.ndarray) and any(
                isinstance(x, np.ndarray) and np.may_share_memory(one, x) for x in values
            ):
                raise TypeError(
                    f"{describe(self)}: this NumPy function gives a view, which is not supported "
                    "in a traced function; write x.copy() for its argument, or slice it"
                )
        return fresh(result, self._run)

    # ------------------------------------------------------------------ views

    def viewed(self, function: Callable[..., Any], args: Any = (), kwargs: Any = None) -> Any:
        """Apply a function that may give a view: NumPy, asked with the layout, decides.

        Parameters
        ----------
        function : callable
            Of an array, a Tensor, or the layout, and of what follows. The layout is asked with
            plain numbers in place of lengths, which it would be told otherwise.
        args, kwargs : optional
        """
        cell, kwargs = self._place(), kwargs or {}
        numbers = {key: plainly(x) for key, x in kwargs.items()}
        seen = function(self._layout, *plainly(args), **numbers)
        if seen is self._layout:
            return self
        if seen.base is cell.layout or np.may_share_memory(seen, cell.layout):
            return self._view(seen, partial(_applied, function, args, kwargs))
        return fresh(function(self._now(), *args, **kwargs), self._run)

    def __getitem__(self, key: Any) -> Any:
        asked, key, computed = (key, key, ()) if type(key) is int else split(key)
        if type(key) is not int and not is_basic(key):
            return fresh(self._now()[asked], self._run)
        cell = self._cell or self._place()
        seen = self._layout[key]
        if type(seen) is not COUNTER:
            view = self._view(seen, itemgetter(asked), key if self._parent is None else None)
            view._computed += computed
            return view
        value = cell.written(region := self._layout[opened(key)])
        if value is not None and not (computed or self._computed):
            return shaped(value, (), self.dtype)
        if cell.is_pending(region):
            cell.record()
        return self._read_at(asked)

    def _read_at(self, key: Any) -> Any:
        if self._parent is None:
            return self._cell.recorded[key]
        return (self._read() if self._cell.pending else self._now())[key]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def copy(self, order: str = "C") -> Any:
        """Give a new array of the same entries."""
        value = self._now()
        return fresh(value if order == "K" else in_rows(value, order), self._run)

    def flatten(self, order: str = "C") -> Any:
        """Give a new array of the same entries, with one axis."""
        return fresh(np.reshape(in_rows(self._now(), order), (-1,)), self._run)

    def astype(
        self,
        dtype: Any,
        order: str = "K",
        casting: str = "unsafe",
        subok: bool = True,
        copy: bool = True,
    ) -> Any:
        """Convert to another dtype; the gradient comes back in this one."""
        if np.dtype(dtype) == self.dtype and not copy and self._lies(order):
            return self
        value = self._now() if order == "K" else in_rows(self._now(), order)
        return fresh(value.astype(dtype, casting=casting), self._run)

    def _lies(self, order: str) -> bool:
        """Whether the entries lie in memory as NumPy's `order` asks for."""
        self._place()
        flags = self._layout.flags
        rows, columns = flags.c_contiguous, flags.f_contiguous
        return bool({"K": True, "C": rows, "A": rows or columns}.get(order, False))

    # ------------------------------------------------------------------ writes

    def _writable(self) -> Cell:
        """Give the cell; raise where nothing may be written."""
        if not self._run.open:
            raise ValueError(
                f"{describe(self)} is written to after the traced call that it belongs to is over; "
                "what was computed from it would not change: return it, and write to a copy"
            )
        cell = self._place()
        cell.check()
        if not self._layout.flags.writeable:
            raise ValueError("assignment destination is read-only")
        return cell

    def __setitem__(self, key: Any, value: Any) -> None:
        cell = self._writable()
        asked, key, computed = (key, key, ()) if type(key) is int else split(key)
        if type(key) is not int and not is_basic(key):
            self._write_picked(asked, key, value, computed)
            return
        region = self._layout[key]
        if type(region) is COUNTER:
            region = self._layout[opened(key)]
        if type(value) is Array and value._cell is cell:
            if same_place(value._layout, region):
                return  # what `x[key] += …` does at its end
            _check_is_statement(self, sys._getframe(1))
        value = fitted(now(value), region.shape, cell.recorded)
        self._write(ops.assign, key if self._parent is None else None, region, value, computed)

    def _write(
        self, op: Primitive, key: Any, region: Any, value: Any, computed: tuple[Tensor, ...] = ()
    ) -> None:
        """Write to a view, given its key in the whole if it is known."""
        cell = self._place()
        computed += self._computed
        if not region.size:
            return
        if op is ops.assign and same_place(region, cell.layout):
            all_of_it = whole(value, cell.recorded)
            if all_of_it is not None:
                cell.replace(all_of_it)
                return
        if key is None:
            found = key_of(region, cell.layout)
            if found is None:
                key = entries(region, cell.layout)
            else:
                key, axes = found
                value = turned(value, region.shape, axes)
                region = cell.layout[opened(key)]
        region_read = None if computed else region
        cell.write(op, (region, ...), Write(index_key(self, key), value, region_read, (), computed))

    def _write_picked(self, asked: Any, key: Any, value: Any, computed: tuple[Tensor, ...]) -> None:
        """Write where integers or a mask say."""
        cell = self._place()
        key = index_key(self, key)
        value = fitted(now(value), self._layout[key].shape, cell.recorded)
        if computed and isinstance(key, np.ndarray) and key.dtype.kind == "b" and not extent(value):
            mask = np.reshape(computed[0], key.shape + (1,) * (self._layout.ndim - key.ndim))
            self[...] = np.where(mask, value, self._now())
            return
        op, value = self._as_addition(key, value)
        if computed and op is ops.assign and not names_once(self._layout, key):
            raise ValueError(
                f"{describe(self)} is assigned to where computed integers name an entry twice; "
                "which value stays is no function of them: use np.add.at, or plain integers"
            )
        cell.write(op, (self._layout, key), self._picked(asked, key, value, computed))

    def _picked(self, asked: Any, key: Any, value: Any, computed: tuple[Tensor, ...]) -> Write:
        """Describe a write by integers or a mask, with a key of the whole."""
        if self._parent is not None:
            place = tuple([part[key] for part in entries(self._layout, self._cell.layout)])
            return Write(place, value, None, (), computed + self._computed)
        if not computed or any(x.dtype.kind == "b" for x in computed):
            return Write(key, value, None, (), computed)
        numbers = iter(range(1, len(computed) + 1))
        parts = zip(*[k if isinstance(k, tuple) else (k,) for k in (asked, key)], strict=True)
        place = tuple([str(next(numbers)) if isinstance(a, Tensor) else k for a, k in parts])
        return Write(place, value, None, computed)

    def _as_addition(self, key: Any, value: Any) -> tuple[Primitive, Any]:
        """Recognise ``x[key] += v``: what is there passes on, and need not be read.

        Python computes ``x[key] + v`` first and writes that.
        """
        if isinstance(value, Tensor) and value.op in (ops.add, ops.sub) and not self._cell.pending:
            picked, more = value._recorded[1]
            if (
                isinstance(picked, Tensor)
                and picked.op in (ops.index, ops.pick, ops.select)
                and picked._recorded[1][0] is self._known
                and same_key(key_picked_by(picked), key)
                and picked.dtype == value.dtype
                and extent(picked) == extent(value)
                and names_once(self._layout, key)
            ):
                return ops.assign_add, more if value.op is ops.add else negative(more)
        return ops.assign, value

    def add_at(self, key: Any, value: Any) -> None:
        """Add, as often as the key names an entry; `numpy.add.at`."""
        cell = self._writable()
        asked, key, computed = split(key)
        key = index_key(self, key)
        value = fitted(now(value), np.shape(self._layout[key]), cell.recorded)
        write = self._picked(asked, key, value, computed)
        cell.write(ops.assign_add, (self._layout, key), write)

    def _in_place(self, function: Callable[[Any, Any], Any], other: Any) -> Array:
        """Do ``x op= other``."""
        cell = self._writable()
        other = now(other)
        if self._parent is not None and function in _ADDITIONS:
            more = self._addend(cell, other)
            if more is not None:
                more = more if function is operator.add else negative(more)
                self._write(ops.assign_add, self._key, self._layout, more)
                return self
        value = function(self._now(), other)
        shape = self._layout.shape
        if extent(value) != shape:
            raise ValueError(
                f"non-broadcastable output operand with shape {shape} doesn't match the "
                f"broadcast shape {extent(value)}"
            )
        if not np.can_cast(value.dtype, self.dtype, "same_kind"):
            raise TypeError(
                f"{describe(self)} holds {self.dtype} and cannot be given {value.dtype} in place"
            )
        self._write(ops.assign, self._key, self._layout, fitted(value, shape, cell.recorded))
        return self

    def _addend(self, cell: Cell, other: Any) -> Any:
        """Give what is added to a view, where the sum need not be computed to write it."""
        if cell.recorded.dtype.hasobject or cell.written(self._layout) is not None:
            return None
        other = gathered(other)
        kept = np.result_type(self.dtype, other) if not isinstance(other, Tensor) else other.dtype
        shape = self._layout.shape
        if kept != self.dtype or np.broadcast_shapes(extent(other), shape) != shape:
            return None
        return fitted(other, shape, cell.recorded)


_ADDITIONS = (operator.add, operator.sub)


def _check_is_statement(place: Array, frame: FrameType) -> None:
    """Raise where compiled code moves the rows of an array, and no statement ``x[i] = x[j]``.

    To ``rng.shuffle`` a handle is a sequence of any objects, which it swaps; swapped views end up
    as two of one row, as in ``x[i], x[j] = x[j], x[i]``. An array it would have copied.
    """
    if not opname[frame.f_code.co_code[frame.f_lasti]].startswith("STORE_"):
        raise TypeError(
            f"{describe(place)}: its rows are moved by compiled code, such as shuffle, which would "
            "lose some in a traced function; write x[...] = x[rng.permutation(len(x))]"
        )


def _applied(function: Callable[..., Any], args: Any, kwargs: Any, x: Any) -> Any:
    out = function(x, *args, **kwargs)
    if function is BROADCAST_TO and isinstance(out, Tensor) and out is not x:
        # Small ones are copied, and what is computed from them would lie in another order.
        out._data = held(BROADCAST_TO(x._data, out.extent))
    return out
