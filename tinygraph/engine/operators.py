"""How a graph is written down: Python's operators and NumPy's functions, as primitives.

`Operand` is what Tensors and the symbols of a snapshot have in common. It turns every way in which
a person writes an operation (``a + b``, ``np.add(a, b)``, ``x.sum(axis=0)``, ``np.mean(x)``) into
calls of one method, ``record(op, inputs, params)``, which each of the two answers in its own way.
Because both understand the same notation, one rule of the table serves both.

What is not itself a primitive is composed of primitives in `functions`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from types import NoneType
from typing import Any, Self

import numpy as np

from tinygraph.engine import alternatives, functions, ops
from tinygraph.engine.foreign import check_native
from tinygraph.engine.lengths import Length
from tinygraph.engine.library import elementwise, special
from tinygraph.engine.methods import Methods
from tinygraph.engine.primitive import NUMPY, Primitive, Tracer, Vertex

__all__ = ["Operand"]


AS_ARRAY = np.array  # NumPy's own, also where `stacking` has put another in its place
FEW_ROWS = 64  # that one by one are cheap enough
OVERWRITES = (
    "out= would overwrite an array, and a graph records values, not places; use the result instead"
)


class Operand(Methods, Vertex, Tracer):
    """Something that can stand in a formula. Subclasses say what recording an operation means."""

    __slots__ = ()

    # What makes a node; Tensors and symbols each provide it.
    op: Primitive | None
    inputs: tuple[Any, ...]
    params: Mapping[str, Any]
    index: int
    shape: Any
    dtype: Any

    # ------------------------------------------------------------------ arithmetic

    def __add__(self, other: Any) -> Self:
        return self.record(ops.add, (self, other))

    def __radd__(self, other: Any) -> Self:
        return self.record(ops.add, (other, self))

    def __sub__(self, other: Any) -> Self:
        return self.record(ops.sub, (self, other))

    def __rsub__(self, other: Any) -> Self:
        return self.record(ops.sub, (other, self))

    def __mul__(self, other: Any) -> Self:
        return self.record(ops.mul, (self, other))

    def __rmul__(self, other: Any) -> Self:
        return self.record(ops.mul, (other, self))

    def __truediv__(self, other: Any) -> Self:
        return self.record(ops.div, (self, other))

    def __rtruediv__(self, other: Any) -> Self:
        return functions.divide(other, self)

    def __pow__(self, n: Any) -> Self:
        return functions.power(self, n)

    def __rpow__(self, base: Any) -> Self:
        return self.record(ops.power, (base, self))

    def __matmul__(self, other: Any) -> Self:
        return functions.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Self:
        return functions.matmul(other, self)

    def __neg__(self) -> Self:
        return self.record(ops.neg, (self,))

    def __pos__(self) -> Self:
        return self

    def __abs__(self) -> Self:
        return self.record(ops.abs, (self,))

    # ------------------------------------------------------------------ comparisons

    def __gt__(self, other: Any) -> Any:
        return self.record(ops.greater, (self, other))

    def __ge__(self, other: Any) -> Any:
        return self.record(ops.greater_equal, (self, other))

    def __lt__(self, other: Any) -> Any:
        return self.record(ops.less, (self, other))

    def __le__(self, other: Any) -> Any:
        return self.record(ops.less_equal, (self, other))

    def __eq__(self, other: object) -> Any:
        return self.record(ops.equal, (self, other))

    def __ne__(self, other: object) -> Any:
        return self.record(ops.not_equal, (self, other))

    def __and__(self, other: Any) -> Any:
        return self.record(ops.bitwise_and, (self, other))

    def __rand__(self, other: Any) -> Any:
        return self.record(ops.bitwise_and, (other, self))

    def __or__(self, other: Any) -> Any:
        return self.record(ops.bitwise_or, (self, other))

    def __ror__(self, other: Any) -> Any:
        return self.record(ops.bitwise_or, (other, self))

    def __xor__(self, other: Any) -> Any:
        return self.record(ops.bitwise_xor, (self, other))

    def __rxor__(self, other: Any) -> Any:
        return self.record(ops.bitwise_xor, (other, self))

    def __invert__(self) -> Any:
        return self.record(ops.invert, (self,))

    def __mod__(self, other: Any) -> Any:
        return self.record(elementwise.mod, (self, other))

    def __rmod__(self, other: Any) -> Any:
        return self.record(elementwise.mod, (other, self))

    def __floordiv__(self, other: Any) -> Any:
        return self.record(elementwise.floordiv, (self, other))

    def __rfloordiv__(self, other: Any) -> Any:
        return self.record(elementwise.floordiv, (other, self))

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    # Comparison is elementwise, so equality cannot decide identity: a node is only itself.
    __hash__ = object.__hash__

    # ------------------------------------------------------------------ shape and indexing

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def T(self) -> Self:
        """The transpose: all axes in reverse order."""
        return functions.transpose(self)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a scalar tensor: a tensor of shape () has no first axis")
        return int(self.shape[0])

    def __iter__(self) -> Iterator[Self]:
        """Give row by row; many rows in blocks of √n, since a row's gradient is as large as self.

        n gradients of n rows are n² rows; √n of n and n of √n are 2 n √n.
        """
        n = len(self)
        if n <= FEW_ROWS:
            return (self[i] for i in range(n))
        step = math.isqrt(n)
        blocks = (self[start : start + step] for start in range(0, n, step))
        return (block[i] for block in blocks for i in range(len(block)))

    def __getitem__(self, key: Any) -> Self:
        parts = key if isinstance(key, tuple) else (key,)
        if any(isinstance(part, Operand) for part in parts):
            return _indexed(self, parts)
        return self.record(ops.index, (self,), {"key": index_key(self, key)})

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError(
            f"{self!r} cannot be assigned to at [{key!r}]: a graph records values, not places; "
            "build a new tensor, for instance np.where(mask, value, t)"
        )

    # ------------------------------------------------------------------ elementwise functions

    def relu(self) -> Self:
        """Give max(x, 0); the derivative at 0 is taken as 0."""
        return self.record(ops.relu, (self,))

    def tanh(self) -> Self:
        """Hyperbolic tangent."""
        return self.record(ops.tanh, (self,))

    def exp(self) -> Self:
        """Exponential."""
        return self.record(ops.exp, (self,))

    def log(self) -> Self:
        """Natural logarithm."""
        return self.record(ops.log, (self,))

    def sqrt(self) -> Self:
        """Square root."""
        return self.record(ops.sqrt, (self,))

    # ------------------------------------------------------------------ NumPy's protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        function = NUMPY.get(ufunc) or special.known(ufunc)
        if function is not None and method != "__call__":
            function = _of_method(ufunc, method, function)
            if function is not None:
                return function(*inputs, **kwargs)
        if function is not None and not kwargs:
            return function(*inputs)
        if (arrays := functions.discrete(inputs)) is not None:
            return getattr(ufunc, method)(*arrays, **kwargs)
        name = f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
        if "out" in kwargs:
            raise TypeError(f"{name}: {OVERWRITES}")
        if function is None:
            raise TypeError(alternatives.unsupported(name))
        raise TypeError(f"{name}: {', '.join(kwargs)}= is not supported on tensors")

    def __array_function__(
        self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any
    ) -> Any:
        check_native(types)
        function = NUMPY.get(func)
        if function is None and (arrays := functions.discrete(args)) is not None:
            return func(*arrays, **kwargs)
        if function is None:
            module = getattr(func, "__module__", "numpy").replace("numpy", "np", 1)
            raise TypeError(alternatives.unsupported(f"{module}.{func.__name__}"))
        if kwargs.pop("out", None) is not None:
            raise TypeError(f"np.{func.__name__}: {OVERWRITES}")
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            if "unexpected keyword" not in str(error):
                raise
            raise TypeError(
                f"np.{func.__name__} on tensors: {str(error).split(') ')[-1]}"
            ) from None

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if asking := special.refused():
            raise TypeError(alternatives.unsupported(asking))
        raise TypeError(
            f"{self!r} cannot become a plain array unasked, because its gradient would be lost; "
            "use .data for the array, or np.stack for an array of tensors"
        )


REDUCED: Mapping[str, Mapping[np.ufunc, Callable[..., Any]]] = {
    "reduce": {
        np.add: NUMPY[np.sum],
        np.multiply: NUMPY[np.prod],
        np.maximum: NUMPY[np.max],
        np.minimum: NUMPY[np.min],
        np.logical_and: NUMPY[np.all],
        np.logical_or: NUMPY[np.any],
    },
    "accumulate": {np.add: NUMPY[np.cumsum], np.multiply: NUMPY[np.cumprod]},
}
"""What a ufunc does to the entries along an axis, by another name."""


def _of_method(ufunc: np.ufunc, method: str, function: Callable[..., Any]) -> Any:
    """Give what ``np.add.reduce`` and the like are on tensors, or None."""
    if method == "outer":

        def outer(a: Any, b: Any) -> Any:
            return function(np.reshape(a, (*np.shape(a), *(1,) * np.ndim(b))), b)

        return outer
    if ufunc not in REDUCED.get(method, ()):
        return None
    along = REDUCED[method][ufunc]
    return lambda x, axis=0, *args, **options: along(x, axis, *args, **options)


def _in_place(sign: str, operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def method(self: Operand, other: Any) -> Any:
        if self.shape == ():  # as NumPy's own scalars: the name is given the new value
            return operation(self, other)
        name = getattr(self, "name", None) or "y"
        raise TypeError(
            f"{name} {sign}= …: {self!r} cannot be changed in place, because whatever else it is "
            f"called, and views of it, would have to change too; write {name} = {name} {sign} …"
        )

    return method


for _word, _sign in {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "truediv": "/",
    "floordiv": "//",
    "mod": "%",
    "pow": "**",
    "matmul": "@",
}.items():
    setattr(Operand, f"__i{_word}__", _in_place(_sign, getattr(operator, _word)))


def _indexed(x: Operand, parts: tuple[Any, ...]) -> Any:
    """Index by a key in which there are tensors: they are operands too."""
    places = [k for k, part in enumerate(parts) if isinstance(part, Operand)]
    keys = [parts[k] for k in places]
    if any(key.dtype.kind not in "biu" for key in keys):
        raise TypeError(f"{x!r} is indexed by a tensor of floats; use integers or bools: i.data")
    if all(key.dtype.kind != "b" for key in keys):
        filled = [
            str(places.index(k) + 1) if k in places else index_key(x, part)
            for k, part in enumerate(parts)
        ]
        return x.record(ops.pick, (x, *keys), {"key": tuple(filled)})
    key = tuple([getattr(part, "_data", part) for part in parts])  # the operands are checked
    return x.record(ops.select, (x, *keys), {"key": index_key(x, key), "places": tuple(places)})


def index_key(x: Operand, key: Any) -> Any:
    """Give an indexing key that the graph can keep: all of it is copied to what it means now."""
    if type(key) in (int, Length) or key is None or key is ...:
        return key
    if isinstance(key, tuple):
        return tuple(index_key(x, part) for part in key)
    if isinstance(key, Operand):
        raise TypeError(f"{x!r} is indexed by a tensor; index by plain integers: t[i.data]")
    if isinstance(key, bool | np.bool):
        return bool(key)
    if isinstance(key, slice):
        ends = key.start, key.stop, key.step
        if {int, Length, NoneType}.issuperset(map(type, ends)):
            return key
        return slice(*[k if k is None or type(k) is Length else operator.index(k) for k in ends])
    if not isinstance(key, np.ndarray):  # as NumPy: an integer if it says so, else an array
        try:
            return operator.index(key)
        except TypeError:
            pass
    return _index_array(x, key)


def _index_array(x: Operand, key: Any) -> Any:
    try:
        array = AS_ARRAY(key)
    except ValueError as error:
        raise ValueError(f"{x!r} is indexed by what forms no array: {error}") from None
    if array.size == 0 and not isinstance(key, np.ndarray):
        array = array.astype(np.intp)  # an empty list has no numbers to tell their type
    if array.ndim == 0 and array.dtype.kind not in "iub":
        raise IndexError(f"{x!r} is indexed by {key!r}; use integers, slices, None or arrays")
    if array.dtype.kind not in "iub":
        raise TypeError(f"{x!r} is indexed by an array of {array.dtype}; use integers or bools")
    array.flags.writeable = False
    return array
