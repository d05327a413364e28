"""Lengths: numbers that remember which axis they count, and what was computed from them.

A mean divides by the number of rows. Of a division by 10, a graph cannot tell whether the 10 is the
number of rows or the author's own; so the length of an axis is handed out as a number that knows
its *formula*, and arithmetic on it (``1 / N``, ``N - 1``, ``N * D``) gives such a number again.
Everywhere else it is the number that it is: NumPy, `range`, and indexing see no difference.

`Length` stands for an int and is none, because ``1.0 / n`` of an int is a plain float before anyone
can say a word. What is computed from it and is no int belongs to a subclass of its own type.
"""

from __future__ import annotations

import math
import numbers
import operator
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from functools import cache, reduce
from typing import Any

import numpy as np

from tinygraph.engine.primitive import Tracer
from tinygraph.engine.recording import current, entered

__all__ = [
    "READ",
    "WEAK",
    "Formula",
    "Length",
    "Measured",
    "carrying",
    "computed",
    "count",
    "extent",
    "plain",
    "plainly",
    "shape_of",
    "told",
]

MOST_TERMS = 64
"""Of a formula: what has more, as a loop might make, is a plain number again."""

OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "neg": operator.neg,
    "abs": abs,
    "sqrt": np.sqrt,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "truth": bool,
}

READ = ("length", "value")
"""What a formula begins with: the length of an axis of a node, and the value of a node."""


class Formula:
    """How a number was computed from lengths.

    Attributes
    ----------
    op : str
        A key of `OPERATIONS`; or ``length``, of an axis of a node; or ``value``, of a node.
    args : tuple
        Operands: formulas, numbers, and numbers that have formulas; of a length, the node and the
        axis; of a value, the node.
    """

    __slots__ = ("args", "op")

    def __init__(self, op: str, args: tuple[Any, ...]) -> None:
        self.op, self.args = op, args

    def __repr__(self) -> str:
        return f"Formula({self.op!r}, {self.args!r})"

    @property
    def terms(self) -> int:
        """How many lengths and numbers there are in it."""
        inner = () if self.op in READ else map(_formula, self.args)
        return sum(x.terms if isinstance(x, Formula) else 1 for x in inner) or 1

    @property
    def is_of_lengths(self) -> bool:
        """Whether no value of a node is in it."""
        if self.op in READ:
            return self.op == "length"
        return all(x.is_of_lengths for x in map(_formula, self.args) if isinstance(x, Formula))

    def value(self, read: Callable[..., Any]) -> Any:
        """Compute it, given the length of an axis of a node, and the value of a node alone."""
        if self.op in READ:
            return read(*self.args)
        inner = map(_formula, self.args)
        args = [x.value(read) if isinstance(x, Formula) else x for x in inner]
        return OPERATIONS[self.op](*args)

    def map(self, change: Callable[[Any], Any]) -> Formula:
        """Give the same formula over other nodes."""
        if self.op in READ:
            return Formula(self.op, (change(self.args[0]), *self.args[1:]))
        inner = map(_formula, self.args)
        args = [x.map(change) if isinstance(x, Formula) else x for x in inner]
        return Formula(self.op, tuple(args))


def _formula(x: Any) -> Any:
    return x.formula if isinstance(x, Measured) else x


def _binary(op: str) -> tuple[Any, Any]:
    def forward(self: Any, other: Any) -> Any:
        return computed(op, self, other) if _is_number(other) else NotImplemented

    def reflected(self: Any, other: Any) -> Any:
        return computed(op, other, self) if _is_number(other) else NotImplemented

    return forward, reflected


def _told_of(function: Callable[[Any, Any], Any]) -> tuple[Any, Any]:
    """Give operators that no formula has: of the number alone."""

    def forward(self: Any, other: Any) -> Any:
        return function(self.told(), other)

    def reflected(self: Any, other: Any) -> Any:
        return function(other, self.told())

    return forward, reflected


def _is_number(x: Any) -> bool:
    return not isinstance(x, Tracer) and isinstance(x, numbers.Number | np.generic)


def _compared(op: str) -> Any:
    def compare(self: Any, other: Any) -> Any:
        if isinstance(other, np.ndarray | Tracer) or not _is_number(other):
            return NotImplemented
        answer = OPERATIONS[op](self.number, plain(other))
        asks = sys._getframe(1).f_code.co_filename
        told(Formula(op, (self, other)), answer, is_ours=asks.startswith(HERE))
        return answer

    return compare


HERE = os.path.join(os.path.dirname(__file__), "")


def told(formula: Formula, answer: Any, *, is_ours: bool = False) -> None:
    """Let what traces, if anything does, take down what the code was told.

    It is ours where an operation of the engine asks, of which only its own result depends.
    """
    mode = current() if entered.get() else None
    if mode is not None and mode.tracing:
        mode.tracing.take(formula, answer, is_ours)
        if mode.effects is not None and not formula.is_of_lengths:
            mode.effects.refuse_reading(formula)


class Measured:
    """A number with a formula.

    Attributes
    ----------
    number : int, float, Fraction or NumPy scalar
        The number alone.
    formula : Formula
    """

    number: Any
    formula: Formula

    __add__, __radd__ = _binary("+")
    __sub__, __rsub__ = _binary("-")
    __mul__, __rmul__ = _binary("*")
    __truediv__, __rtruediv__ = _binary("/")
    __floordiv__, __rfloordiv__ = _binary("//")
    __mod__, __rmod__ = _binary("%")
    __pow__, __rpow__ = _binary("**")

    def __neg__(self) -> Any:
        return computed("neg", self)

    __eq__ = _compared("==")
    __ne__ = _compared("!=")
    __lt__ = _compared("<")
    __le__ = _compared("<=")
    __gt__ = _compared(">")
    __ge__ = _compared(">=")

    def told(self) -> Any:
        """Give the number alone, where nobody can see any more what it was computed from."""
        told(self.formula, self.number)
        return self.number

    def __hash__(self) -> int:
        return hash(self.told())

    def __int__(self) -> int:
        return int(self.told())

    def __trunc__(self) -> int:
        return int(self.told())

    def __floor__(self) -> Any:
        return math.floor(self.told())

    def __ceil__(self) -> Any:
        return math.ceil(self.told())

    def __round__(self, digits: int | None = None) -> Any:
        return round(self.told(), digits)

    def __float__(self) -> float:
        return float(self.told())

    def __bool__(self) -> bool:
        return bool(self != 0)

    def __abs__(self) -> Any:
        return computed("abs", self)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(isinstance(x, Tracer) for x in inputs):
            return NotImplemented
        if ufunc is np.sqrt and method == "__call__" and not kwargs:
            return computed("sqrt", self)
        told = [x.told() if isinstance(x, Measured) else x for x in inputs]
        return getattr(ufunc, method)(*told, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return carrying, (self.number, self.formula)


@numbers.Integral.register
class Length(Measured):
    """An int with a formula, which is used as an int.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> (n,) = shape_of(Tensor([1.0, 2.0, 3.0, 4.0]))
    >>> n, 1.0 / n, n - 1, list(range(n))
    (4, 0.25, 3, [0, 1, 2, 3])
    >>> (2 / n).formula.op, type(np.ones(2, np.float32) / n)
    ('/', <class 'numpy.ndarray'>)
    """

    __slots__ = ("_of", "number")

    def __init__(self, number: int, of: Formula | tuple[Any, tuple[int, ...]]) -> None:
        self.number, self._of = number, of

    @property
    def formula(self) -> Formula:  # type: ignore[override]
        """How it was computed: as said, or the product of the lengths of some axes of a node."""
        if isinstance(self._of, tuple):
            node, axes = self._of
            self._of = reduce(_times, [Formula("length", (node, k)) for k in axes])
        return self._of

    def __index__(self) -> int:
        return operator.index(self.told())

    def __pos__(self) -> Length:
        return self

    def __repr__(self) -> str:
        return repr(self.number)

    def __format__(self, spec: str) -> str:
        return format(self.number, spec)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self.told(), dtype)

    __divmod__, __rdivmod__ = _told_of(divmod)
    __and__, __rand__ = _told_of(operator.and_)
    __or__, __ror__ = _told_of(operator.or_)
    __xor__, __rxor__ = _told_of(operator.xor)
    __lshift__, __rlshift__ = _told_of(operator.lshift)
    __rshift__, __rrshift__ = _told_of(operator.rshift)


def _times(a: Formula, b: Formula) -> Formula:
    return Formula("*", (a, b))


def carrying(value: Any, formula: Formula) -> Any:
    """Give a number its formula."""
    if type(value) is int:
        return Length(value, formula)
    kind: Any = type(value)
    made = _kind(kind)(value)
    made.number, made.formula = value, formula
    return made


@cache
def _kind(base: type) -> Any:
    """Give the subclass of a type of numbers whose instances have formulas.

    NumPy knows a scalar by its first base, so what `Measured` does comes from the class itself.
    """
    methods = {name: x for name, x in vars(Measured).items() if callable(x)}
    return type(base.__name__, (base, Measured), methods | {"__module__": __name__})


WEAK = frozenset({Length, _kind(float)})
"""Types of numbers that take the dtype of the array that they meet, as Python's own do."""


def plain(x: Any) -> Any:
    """Give a number without its formula; anything else as it is."""
    return x.number if isinstance(x, Measured) else x


def plainly(x: Any) -> Any:
    """Give a parameter without its formulas."""
    if isinstance(x, tuple):
        return tuple(map(plainly, x))
    if isinstance(x, slice):
        return slice(plainly(x.start), plainly(x.stop), plainly(x.step))
    return plain(x)


def computed(op: str, *args: Any) -> Any:
    """Compute a number, which has a formula if one of `args` has."""
    if op == "*" and type(args[0]) is int and args[0] == 1:  # with which every product begins
        return args[1]
    value = OPERATIONS[op](*map(plain, args))
    if not any(isinstance(x, Measured) for x in args):
        return value
    formula = Formula(op, args)
    is_number = isinstance(value, int | float | Fraction | np.inexact)
    return carrying(value, formula) if is_number and formula.terms <= MOST_TERMS else value


def extent(x: Any) -> tuple[int, ...]:
    """Give the shape of a node or an array in ints."""
    shape: tuple[int, ...] = x.extent if isinstance(x, Tracer) else x.shape
    return shape


def shape_of(node: Any) -> tuple[Any, ...]:
    """Give the shape of a node in lengths."""
    return measured(node, node.extent)


def measured(node: Any, shape: Iterable[int]) -> tuple[Length, ...]:
    """Give the lengths of a node's axes, of which the ints are known."""
    node = node.settled()
    return tuple([Length(n, (node, (k,))) for k, n in enumerate(shape)])


def count(x: Any, axes: tuple[int, ...]) -> Any:
    """Count the entries along some axes.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> count(Tensor(np.ones((2, 3, 4))), (0, 2))
    8
    """
    if isinstance(x, Tracer):
        x, shape = x.settled(), x.extent
        n = math.prod([shape[k] for k in axes])
        return Length(n, (x, axes)) if axes else n
    return math.prod([x.shape[k] for k in axes])
