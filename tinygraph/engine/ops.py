"""The table of primitives: every operation that a graph is made of, one row each.

A row holds four things, and nothing about the operation stands anywhere else in the engine:

- its ``name``;
- its ``symbol``, for pictures;
- ``forward``, which computes it on arrays;
- one vector-Jacobian rule per input: what the gradient ``g`` that arrives at the output becomes
  on its way to that input, given ``(g, out, *inputs, **params)``.

**A rule is ordinary NumPy, and the same rule runs on three kinds of operand.** On arrays it gives
numbers; on Tensors it gives more graph, so that the backward pass can be drawn and differentiated
again; on the symbols of a snapshot it gives the gradient graph without computing anything. That is
why a rule may use operators, NumPy functions and primitives, and must not save anything on the
side: a backward pass that reads a cached array is a constant to the next differentiation, and its
second derivatives are silently wrong.

**No rule mentions broadcasting.** `autodiff` sums each gradient back to the shape of its input.

**Rules use the output where it is cheaper**: the derivative of ``1/x`` is ``-out²``, which costs
one multiplication where ``-1/x²`` costs a division as well.

A row with no rules (a comparison, a sign) is constant almost everywhere: on Tensors its result is
a plain array, which no gradient flows through.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial
from itertools import count
from typing import Any

import numpy as np

__all__ = ["ELEMENTWISE", "TABLE", "Primitive", "Recorder"]

Rule = Callable[..., Any]

NO_PARAMS: Mapping[str, Any] = {}

TABLE: dict[str, Primitive] = {}
"""All primitives by name, in the order of this file."""


class Recorder:
    """What operations are recorded on and not just computed: a Tensor, a symbol of a snapshot."""

    __slots__ = ()

    def record(
        self, op: Primitive, inputs: Sequence[Any], params: Mapping[str, Any] = NO_PARAMS
    ) -> Any:
        """Apply `op` to `inputs`, of which at least one is of this class."""
        raise NotImplementedError


class Primitive:
    """One row of the table: an operation, and how gradients pass back through it.

    Calling a primitive computes it on arrays, and records it on a `Recorder`.

    Parameters
    ----------
    name : str
        Unique; also the name that pictures and messages give to the operation.
    symbol : str
        A short mark for pictures, such as ``·``.
    forward : callable
        ``forward(*inputs, **params) -> array``.
    *rules : callable or None
        One per input, ``rule(g, out, *inputs, **params) -> gradient of that input``, where `g`
        has the shape of `out`. ``None`` marks an input that no gradient flows to.
    linear : bool, optional
        Whether the operation is elementwise and each rule is g or −g. A gradient is then summed
        back to the shape of its input before the rule: −Σ g goes over a large array once, Σ (−g)
        twice.

    Attributes
    ----------
    rules : iterable
        The rules in the order of the inputs; empty where no gradient flows at all.

    Raises
    ------
    ValueError
        If the table has a primitive of that name.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygraph import ops
    >>> ops.square(np.array([1.0, -3.0]))
    array([1., 9.])
    >>> (rule,) = ops.square.rules
    >>> float(rule(1.0, 9.0, np.float64(-3.0)))     # the derivative of x² at -3
    -6.0
    """

    __slots__ = ("forward", "linear", "name", "rules", "symbol")

    def __init__(
        self,
        name: str,
        symbol: str,
        forward: Callable[..., Any],
        *rules: Rule | None,
        linear: bool = False,
    ) -> None:
        if name in TABLE:
            raise ValueError(f"primitive {name!r} is already in the table")
        self.name, self.symbol, self.forward, self.linear = name, symbol, forward, linear
        self.rules: Iterable[Rule | None] = rules
        TABLE[name] = self

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        """Compute on arrays; record on anything that records."""
        for x in inputs:
            if isinstance(x, Recorder):
                return x.record(self, inputs, params)
        return self.forward(*inputs, **params)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        return _primitive, (self.name,)


def _primitive(name: str) -> Primitive:
    return TABLE[name]


class EveryInput:
    """The rules of an operation that takes any number of inputs: one rule, told the position."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    def __iter__(self) -> Iterator[Rule]:
        return (partial(self.rule, position) for position in count())


class Together:
    """The rules of an operation whose gradients have work in common: one call gives them all."""

    def __init__(self, rule: Callable[..., Sequence[Any]], inputs: int) -> None:
        self.rule, self.inputs = rule, inputs

    def __iter__(self) -> Iterator[Rule]:
        given: tuple[Any, ...] = ()
        gradients: Sequence[Any] = ()

        def part(position: int, *args: Any, **params: Any) -> Any:
            nonlocal given, gradients
            if not given or not all(map(operator.is_, given, args)):
                given, gradients = args, self.rule(*args, **params)
            return gradients[position]

        return (partial(part, position) for position in range(self.inputs))


# --------------------------------------------------------------------------- arithmetic

add = Primitive(
    "add",
    "+",
    operator.add,
    lambda g, out, a, b: g,
    lambda g, out, a, b: g,
    linear=True,
)

sub = Primitive(
    "sub",
    "−",
    operator.sub,
    lambda g, out, a, b: g,
    lambda g, out, a, b: -g,
    linear=True,
)

mul = Primitive(
    "mul",
    "·",
    operator.mul,
    lambda g, out, a, b: g * b,
    lambda g, out, a, b: g * a,
)

# Not a · 1/b: a quotient is rounded once, and 49 · (1/49) is not 1.
div = Primitive(
    "div",
    "/",
    operator.truediv,
    lambda g, out, a, b: g / b,
    lambda g, out, a, b: -g * out / b,
)

neg = Primitive("neg", "−", operator.neg, lambda g, out, x: -g)

# Not g · out², which overflows in float16 where √var is small, and 0 · ∞ is no number.
inverse = Primitive("inverse", "1/", lambda x: 1 / x, lambda g, out, x: -g * out * out)

square = Primitive("square", "²", np.square, lambda g, out, x: 2 * x * g)


def rational_root(q: Fraction) -> Fraction | None:
    """Give the square root of a fraction, or None where it is no fraction.

    Examples
    --------
    >>> rational_root(Fraction(4, 9)), rational_root(Fraction(1, 2))
    (Fraction(2, 3), None)
    """
    if q < 0:
        return None
    root = Fraction(math.isqrt(q.numerator), math.isqrt(q.denominator))
    return root if root * root == q else None


def _exact_sqrt(x: Any) -> Fraction:
    x = Fraction(x)
    root = rational_root(x)
    if root is None:
        raise ValueError(
            f"sqrt: {x} has no rational square root, so it cannot be taken exactly; "
            "choose eps so that var + eps is the square of a fraction, or use floats"
        )
    return root


_exact_sqrts = np.frompyfunc(_exact_sqrt, 1, 1)


def _sqrt(x: Any) -> Any:
    return _exact_sqrts(x) if np.asarray(x).dtype.hasobject else np.sqrt(x)


sqrt = Primitive("sqrt", "√", _sqrt, lambda g, out, x: g / (2 * out))


def _pow_rule(g: Any, out: Any, x: Any, n: Any) -> Any:
    return g * (n * x ** (n - 1)) if n else g * 0  # x**0 is constant, also at x = 0


pow = Primitive("pow", "^", lambda x, n: x**n, _pow_rule)

# At a = b = 0 the base has no influence, but b·a^(b-1) would be 0·∞; where a = 0 the exponent has
# none, but log a would be −∞.
power = Primitive(
    "power",
    "^",
    operator.pow,
    lambda g, out, a, b: g * (b * np.where((a == 0) * (b == 0), 1, a) ** (b - 1)),
    lambda g, out, a, b: g * (out * np.log(np.where(a == 0, 1, a).astype(out.dtype))),
)

# --------------------------------------------------------------------------- elementwise functions

exp = Primitive("exp", "exp", np.exp, lambda g, out, x: g * out)
log = Primitive("log", "log", np.log, lambda g, out, x: g / x)
sin = Primitive("sin", "sin", np.sin, lambda g, out, x: g * np.cos(x))
cos = Primitive("cos", "cos", np.cos, lambda g, out, x: -g * np.sin(x))
tanh = Primitive("tanh", "tanh", np.tanh, lambda g, out, x: g * (1 - np.square(out)))
relu = Primitive(
    "relu", "relu", lambda x: np.maximum(x, 0), lambda g, out, x: np.where(x > 0, g, 0)
)


def _real_abs(x: Any) -> Any:
    if x.dtype.kind == "c":
        raise TypeError(
            "abs: the modulus of a complex number is not holomorphic and has no complex derivative"
        )
    return np.abs(x)


abs = Primitive("abs", "abs", _real_abs, lambda g, out, x: g * np.sign(x))

# Ties share the gradient equally, as the mean of the two one-sided derivatives. What is not a
# number is neither smaller nor greater, so that the gradient passes: 0 would hide it.
maximum = Primitive(
    "maximum",
    "max",
    np.maximum,
    lambda g, out, a, b: np.where(a < b, 0, np.where(a == b, g / 2, g)),
    lambda g, out, a, b: np.where(b < a, 0, np.where(a == b, g / 2, g)),
)
minimum = Primitive(
    "minimum",
    "min",
    np.minimum,
    lambda g, out, a, b: np.where(a > b, 0, np.where(a == b, g / 2, g)),
    lambda g, out, a, b: np.where(b > a, 0, np.where(a == b, g / 2, g)),
)

where = Primitive(
    "where",
    "where",
    np.where,
    None,
    lambda g, out, condition, a, b: np.where(condition, g, 0),
    lambda g, out, condition, a, b: np.where(condition, 0, g),
)

cast = Primitive(
    "cast",
    "as",
    lambda x, dtype: x.astype(dtype),
    lambda g, out, x, dtype: g * 0 if dtype.kind in "iub" else g,  # rounding is constant a.e.
)

# --------------------------------------------------------------------------- no gradient flows

greater = Primitive("greater", ">", operator.gt)
greater_equal = Primitive("greater_equal", "≥", operator.ge)
less = Primitive("less", "<", operator.lt)
less_equal = Primitive("less_equal", "≤", operator.le)
equal = Primitive("equal", "=", operator.eq)
not_equal = Primitive("not_equal", "≠", operator.ne)
sign = Primitive("sign", "sign", np.sign)
isfinite = Primitive("isfinite", "isfinite", np.isfinite)
isnan = Primitive("isnan", "isnan", np.isnan)

ELEMENTWISE = frozenset(TABLE)
"""Names of the primitives above, whose result has the shape that their inputs broadcast to."""

# --------------------------------------------------------------------------- sum and its adjoint

Axes = tuple[int, ...]
Shape = tuple[int, ...]

FEW = 1024  # entries that are copied sooner than NumPy has made a view of them


def _spread(x: Any, shape: Shape, axis: Axes) -> Any:
    x = np.asarray(x)  # an exact scalar comes bare
    if x.ndim < len(shape) and axis != tuple(range(len(axis))):
        x = np.expand_dims(x, axis)
    if math.prod(shape) > FEW:
        return np.broadcast_to(x, shape)
    out = np.empty(shape, x.dtype)
    out[...] = x
    return out


def _sum(x: Any, axis: Axes, keepdims: Any) -> Any:
    if x.dtype.char == "e":  # float16: three digits, which a few dozen rows would use up
        return np.sum(x, axis, np.float32, keepdims=keepdims).astype(x.dtype)
    return np.add.reduce(x, axis=axis, keepdims=keepdims)


# Σ adds up along axes, spread copies along them: each one is the other's transpose, so each one is
# the other's rule.
sum: Primitive = Primitive(
    "sum",
    "Σ",
    _sum,
    lambda g, out, x, axis, keepdims: spread(g, shape=x.shape, axis=axis),
)
spread: Primitive = Primitive(
    "spread",
    "spread",
    _spread,
    lambda g, out, x, shape, axis: sum(g, axis=axis, keepdims=x.ndim == len(shape)),
)


def _max_rule(g: Any, out: Any, x: Any, axis: Axes, keepdims: bool) -> Any:
    less = x < spread(out, shape=x.shape, axis=axis)
    ties = sum(np.where(less, 0, 1), axis=axis, keepdims=keepdims)
    return np.where(less, 0, spread(g / ties, shape=x.shape, axis=axis))


max = Primitive(
    "max",
    "max",
    lambda x, axis, keepdims: np.max(x, axis=axis, keepdims=keepdims),
    _max_rule,
)

# --------------------------------------------------------------------------- products and shapes

matmul = Primitive(
    "matmul",
    "@",
    operator.matmul,
    lambda g, out, a, b: g @ np.swapaxes(b, -1, -2),
    lambda g, out, a, b: np.swapaxes(a, -1, -2) @ g,
)

reshape = Primitive(
    "reshape",
    "reshape",
    lambda x, shape: np.reshape(x, shape),
    lambda g, out, x, shape: np.reshape(g, x.shape),
)

transpose = Primitive(
    "transpose",
    "ᵀ",
    lambda x, axes: np.transpose(x, axes),
    lambda g, out, x, axes: np.transpose(g, _inverse_permutation(axes)),
)


def _inverse_permutation(axes: Axes) -> Axes:
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


def _scatter(x: Any, key: Any, shape: Shape) -> Any:
    out = np.zeros(shape, dtype=x.dtype)
    np.add.at(out, key, x)  # not out[key] += x, which forgets all but one of a repeated index
    return out


index = Primitive(
    "index",
    "[]",
    lambda x, key: x[key],
    lambda g, out, x, key: scatter(g, key=key, shape=x.shape),
)
scatter: Primitive = Primitive(
    "scatter",
    "scatter",
    _scatter,
    lambda g, out, x, key, shape: g[key],
)


def _concatenate_rule(position: int, g: Any, out: Any, *parts: Any, axis: int) -> Any:
    ends = np.cumsum([part.shape[axis] for part in parts]).tolist()
    along = slice(ends[position] - parts[position].shape[axis], ends[position])
    return g[(slice(None),) * axis + (along,)]


concatenate = Primitive(
    "concatenate",
    "concat",
    lambda *parts, axis: np.concatenate(parts, axis=axis),
)
concatenate.rules = EveryInput(_concatenate_rule)
