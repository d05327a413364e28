"""NumPy's operators and functions on handles: which of them view, which write, and all others.

All others are done on the values, and their result is a new array. That holds also where a Tensor
gives itself back, as nobody can change it: ``+x`` and ``np.clip(x, None, None)`` are copies.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tinygraph.engine.arrays import held
from tinygraph.engine.lengths import plainly
from tinygraph.engine.mutation.facades import Facade
from tinygraph.engine.mutation.handles import Array, fresh, now
from tinygraph.engine.mutation.values import gathered, negative
from tinygraph.engine.operators import Operand
from tinygraph.engine.primitive import Tracer
from tinygraph.engine.tensor import Tensor, made

__all__ = ["SOMETIMES", "VIEWS", "WRITES"]

# --------------------------------------------------------------------------- operators

_BINARY = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "truediv": operator.truediv,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "pow": operator.pow,
    "matmul": operator.matmul,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
}
_COMPARED = {name: getattr(operator, name) for name in ("lt", "le", "gt", "ge", "eq", "ne")}
_UNARY: dict[str, Callable[[Any], Any]] = {
    "neg": operator.neg,
    "pos": operator.pos,
    "abs": operator.abs,
    "invert": operator.invert,
}


_PLAIN = frozenset({int, float, Tensor, np.float64, np.ndarray})


def _forward(function: Callable[[Any, Any], Any]) -> Any:
    def method(self: Array, other: Any) -> Any:
        other = other if type(other) in _PLAIN else now(other)
        return fresh(function(self._now(), other), self._run)

    return method


def _reflected(function: Callable[[Any, Any], Any]) -> Any:
    def method(self: Array, other: Any) -> Any:
        other = other if type(other) in _PLAIN else now(other)
        return fresh(function(other, self._now()), self._run)

    return method


def _changing(function: Callable[[Any, Any], Any]) -> Any:
    def method(self: Array, other: Any) -> Any:
        return self._in_place(function, other)

    return method


def _unary(function: Callable[[Any], Any]) -> Any:
    def method(self: Array) -> Any:
        return fresh(function(self._now()), self._run)

    return method


def _method(name: str) -> Any:
    def method(self: Array, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = now(args), {key: now(x) for key, x in kwargs.items()}
        return fresh(getattr(self._now(), name)(*args, **kwargs), self._run)

    return method


def _viewing(function: Callable[..., Any]) -> Any:
    def method(self: Array, *args: Any, **kwargs: Any) -> Any:
        return _viewed(self, function, args, kwargs)

    return method


def _reshaped(x: Any, *shape: Any, **kwargs: Any) -> Any:
    return x.reshape(*shape, **kwargs)


def _permuted(x: Any, *axes: Any) -> Any:
    return x.transpose(*axes)


def _transposed(x: Any) -> Any:
    return x.T


for _name, _binary in _BINARY.items():
    setattr(Array, f"__{_name}__", _forward(_binary))
    setattr(Array, f"__r{_name}__", _reflected(_binary))
    setattr(Array, f"__i{_name}__", _changing(_binary))
for _name, _binary in _COMPARED.items():
    setattr(Array, f"__{_name}__", _forward(_binary))
for _name, _one in _UNARY.items():
    setattr(Array, f"__{_name}__", _unary(_one))
Array.__hash__ = object.__hash__  # type: ignore[method-assign,assignment]
_VIEWING: dict[str, Callable[..., Any]] = {
    "reshape": _reshaped,
    "transpose": _permuted,
    "squeeze": np.squeeze,
    "swapaxes": np.swapaxes,
    "ravel": np.ravel,
    "diagonal": np.diagonal,
}
for _name, _view in _VIEWING.items():
    setattr(Array, _name, _viewing(_view))
Array.T = property(lambda self: self.viewed(_transposed))  # type: ignore[assignment]
_OWN = {*vars(Array), *vars(Facade), *vars(Tensor), *vars(Tracer)}
for _name in {name for kind in Operand.__mro__ for name in vars(kind)} - _OWN:
    if _name[0] != "_" and callable(getattr(Operand, _name)):
        setattr(Array, _name, _method(_name))


def _fill(self: Array, value: Any) -> None:
    self[...] = value


Array.fill = _fill  # type: ignore[attr-defined]

# --------------------------------------------------------------------------- NumPy's functions

VIEWS = frozenset(
    {
        np.array_split,
        np.atleast_1d,
        np.atleast_2d,
        np.atleast_3d,
        np.broadcast_to,
        np.diag,
        np.diagonal,
        np.dsplit,
        np.expand_dims,
        np.flip,
        np.fliplr,
        np.flipud,
        np.hsplit,
        np.imag,
        np.matrix_transpose,
        np.moveaxis,
        np.ravel,
        np.real,
        np.real_if_close,
        np.reshape,
        np.rollaxis,
        np.rot90,
        np.split,
        np.squeeze,
        np.swapaxes,
        np.transpose,
        np.vsplit,
        np.lib.stride_tricks.sliding_window_view,
        np.linalg.diagonal,
        np.linalg.matrix_transpose,
    }
)
"""Functions that give views of their first argument, or may."""

_PARTS = frozenset({np.imag, np.real, np.real_if_close})
"""Of complex numbers, a layout of integers cannot tell what these give a view of."""

SOMETIMES = frozenset({np.diff, np.einsum, np.linalg.matrix_power, np.nan_to_num})
"""Functions that give a view, or their argument itself, where a parameter makes them do nothing."""


def _copyto(out: Array, value: Any, casting: str = "same_kind", where: Any = True) -> None:
    if where is not True:
        value = np.where(now(where), now(value), out._now())
    out[...] = value


def _put(out: Array, indices: Any, values: Any) -> None:
    indices = np.asarray(indices)
    flat = out.reshape(-1)
    if flat._cell is not out._cell:
        raise TypeError("np.put into a view that is not contiguous: write x[i, j] = v")
    flat[indices.reshape(-1)] = np.resize(values, indices.size) if np.ndim(values) else values


def _fill_diagonal(out: Array, value: Any, wrap: bool = False) -> None:
    if wrap or len(set(out.shape)) > 1:
        raise TypeError("np.fill_diagonal of an array that is not square: write x[i, i] = v")
    out[(np.arange(out.shape[0]),) * out.ndim] = value


WRITES: dict[Any, Callable[..., None]] = {
    np.copyto: _copyto,
    np.put: _put,
    np.fill_diagonal: _fill_diagonal,
}
"""Functions that change their first argument."""

EINSUM, NAN_TO_NUM = np.einsum, np.nan_to_num  # itself, whoever wraps the names of NumPy later
_REFUSED = {np.place, np.putmask, np.put_along_axis}


def _run_of(*args: Any) -> Any:
    """Find the traced call that is running, to which one of some operands belongs."""
    runs = [x._run for x in args if type(x) is Array]
    return next((run for run in runs if run.open), runs[0])


def _flat(args: Any) -> list[Any]:
    """Give all operands, those in lists as well."""
    found: list[Any] = []
    for x in args:
        found += _flat(x) if type(x) in (list, tuple) else [x]
    return found


def _array_ufunc(self: Array, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
    if method == "at":
        return _at(ufunc, *inputs)
    out = kwargs.pop("out", None)
    values = now(inputs)
    if out is not None and any(type(x) is Array for x in out):
        result = _array_ufunc(self, ufunc, method, *values, **kwargs)
        return _written(out, result)
    if out is not None:
        kwargs["out"] = out
    one = next((x for x in values if isinstance(x, Tensor)), None)
    if one is not None:
        result = Operand.__array_ufunc__(one, ufunc, method, *values, **kwargs)
    else:
        result = getattr(ufunc, method)(*values, **kwargs)
    return result if out is not None else fresh(result, self._run)


def _written(out: Any, result: Any) -> Any:
    if len(out) > 1:
        raise TypeError("out= of several arrays is not supported; write y[...] = result for each")
    (place,) = out
    if not np.can_cast(result.dtype, place.dtype, "same_kind"):
        raise TypeError(f"out= holds {place.dtype} and cannot be given {result.dtype}")
    place[...] = result
    return place


def _at(ufunc: np.ufunc, place: Any, key: Any, *values: Any) -> None:
    if ufunc not in (np.add, np.subtract) or type(place) is not Array:
        raise TypeError(
            f"np.{ufunc.__name__}.at is not supported with arrays of a traced function; np.add.at "
            "and np.subtract.at are, into an array that was made in it"
        )
    value = gathered(now(values[0]))
    value = value if isinstance(value, Tensor) else np.asarray(value)
    place.add_at(key, value if ufunc is np.add else negative(value))


def _array_function(
    self: Array, func: Callable[..., Any], types: Any, args: Any, kwargs: Any
) -> Any:
    first = args[0] if args else None
    if func in _EACH and len(args) > 1:
        return tuple([func(x) for x in args])
    if type(first) is Array:
        if func in WRITES:
            return WRITES[func](*args, **kwargs)
        if func in VIEWS and not (func in _PARTS and first.dtype.kind == "c"):
            return _viewed(first, func, args[1:], kwargs)
    if func is EINSUM and len(args) == 2 and type(args[1]) is Array:
        return _viewed(args[1], partial(func, args[0]), (), kwargs)
    if func in WRITES or func in _REFUSED or _changes_nan(func, args, kwargs):
        raise TypeError(
            f"np.{func.__name__} is not supported with arrays of a traced function; write "
            "x[mask] = values, into an array that was made in it"
        )
    if func in _LIKE and type(first) is Array:
        return _like(first, func, args, kwargs)
    run = _run_of(*_flat([*args, *kwargs.values()]))
    out = kwargs.pop("out", None)
    handles = [*args, *kwargs.values()]
    args, kwargs = now(args), {key: now(x) for key, x in kwargs.items()}
    flat = _flat([*args, *kwargs.values()])
    one = next((x for x in flat if isinstance(x, Tensor)), None)
    if one is not None:
        result = Operand.__array_function__(one, func, types, args, kwargs)
        result = _as_numpys(result, func, args, kwargs, flat)
        if type(result) is not Tensor or not any(result is x for x in flat):
            return fresh(result, run) if out is None else _written((out,), fresh(result, run))
        given = next((x for x in _flat(handles) if type(x) is Array and x._now() is result), None)
        is_itself = _shares_memory(_numpys(func, args, kwargs), result._data)
        result = given if is_itself and given is not None else fresh(result, run)
    else:
        result = self._unshared(func(*args, **kwargs), *flat)
    return result if out is None else _written((out,), result)


_EACH = {np.atleast_1d, np.atleast_2d, np.atleast_3d}
"""Functions that do with several arrays what they do with each."""

_LIKE = {np.zeros_like, np.ones_like, np.empty_like, np.full_like}


def _like(first: Array, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Make an array like another one, whose entries lie in memory as that one's do."""
    args, kwargs = now(args[1:]), {key: now(x) for key, x in kwargs.items()}
    return fresh(func(first._data, *args, **kwargs), first._run)


def _changes_nan(func: Callable[..., Any], args: Any, kwargs: Any) -> bool:
    return func is NAN_TO_NUM and not (args[1] if len(args) > 1 else kwargs.get("copy", True))


def _numpys(func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Give what NumPy computes of the numbers, or None."""
    try:
        return func(*_numbers(args), **{key: _numbers(x) for key, x in kwargs.items()})
    except (TypeError, ValueError):
        return None


def _numbers(x: Any) -> Any:
    if type(x) in (list, tuple):
        return type(x)([_numbers(one) for one in x])
    return x._data if isinstance(x, Tensor) else plainly(x)


def _as_numpys(
    result: Any, func: Callable[..., Any], args: Any, kwargs: Any, flat: list[Any]
) -> Any:
    """Give a result whose entries lie in memory as those of NumPy's result do.

    Which views can be had of it, and in which order it is added up, depends on that. Of arrays that
    lie in rows, everything that lies in rows is right; what does not, NumPy is asked.
    """
    if type(result) is not Tensor or result._data.ndim < 2 or not result.op:
        return result
    operands = [x._data for x in flat if isinstance(x, Tensor)]
    if all(x.flags.c_contiguous for x in [result._data, *operands]):
        return result
    like = _numpys(func, args, kwargs)
    if not isinstance(like, np.ndarray) or like.shape != result._data.shape:
        return result
    if any(_shares_memory(like, x) for x in operands):
        raise TypeError(
            f"np.{func.__name__} gives a view here, which is not supported in a traced function; "
            "give it x.copy()"
        )
    data = np.empty_like(like, result._data.dtype)
    if data.strides == result._data.strides or any(result is x for x in flat):
        return result
    data[...] = result._data
    return made(Tensor, held(data), result._recorded, result.name)


def _shares_memory(a: Any, b: Any) -> bool:
    return isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and np.may_share_memory(a, b)


def _viewed(first: Array, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    args, kwargs = now(args), {key: now(x) for key, x in kwargs.items()}
    first._place()
    shown = func(first._layout, *plainly(args), **{key: plainly(x) for key, x in kwargs.items()})
    if isinstance(shown, list | tuple):
        parts = [partial(_part, func, k) for k in range(len(shown))]
        return [first.viewed(part, args, kwargs) for part in parts]
    out = first.viewed(func, args, kwargs)
    if kwargs or func not in _LAZY:
        now(out)  # which says at once what is not supported
    return out


_LAZY = {_reshaped, _permuted, np.reshape, np.ravel, np.transpose, np.swapaxes}


def _part(func: Callable[..., Any], k: int, x: Any, *args: Any, **kwargs: Any) -> Any:
    return func(x, *args, **kwargs)[k]


Array.__array_ufunc__ = _array_ufunc  # type: ignore[method-assign,assignment]
Array.__array_function__ = _array_function  # type: ignore[method-assign,assignment]
