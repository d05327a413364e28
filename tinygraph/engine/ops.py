"""The table of primitives: every operation that a graph is made of, one row each.

What a row holds, and why its rules are ordinary NumPy, stands in `primitive`. A row may use the
output where that is cheaper: the derivative of ``1/x`` is ``-out²``, which costs one
multiplication where ``-1/x²`` costs a division as well.

Operations that are not elementwise, and work on shapes, come last. A row is laid out as the row of
a table: what is computed, a rule a line, and below them how it is written.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate
from typing import Any

import numpy as np

from tinygraph.engine.foreign import is_foreign, native, scattered
from tinygraph.engine.primitive import TABLE, Primitive, VariadicRules

__all__ = ["TABLE", "Primitive", "rational_root"]

# What is a sign in a formula is a call in NumPy.
FORMULAS = ("text", "latex", "mathml")
IN_FORMULAS = {binds: dict.fromkeys(FORMULAS, binds) for binds in ("power", "sigma", "comparison")}

# fmt: off
# --------------------------------------------------------------------------- arithmetic

add = Primitive("add", "+", operator.add,
    lambda g, out, a, b: g,
    lambda g, out, a, b: g,
    of=np.add, additive=True, text="{0:sum} + {1:matmul}", latex="{0:sum} + {1:matmul}",
    numpy="{0:sum} + {1:matmul}", binds="sum")

sub = Primitive("sub", "−", operator.sub,
    lambda g, out, a, b: g,
    lambda g, out, a, b: -g,
    of=np.subtract, additive=True, text="{0:sum} − {1:matmul}", latex="{0:sum} - {1:matmul}",
    numpy="{0:sum} - {1:matmul}", binds="sum")

mul = Primitive("mul", "·", operator.mul,
    lambda g, out, a, b: g * b,
    lambda g, out, a, b: g * a,
    of=np.multiply, text="{0:minus} · {1:sigma}", latex=r"{0:minus} \cdot {1:sigma}",
    numpy="{0:product} * {1:minus}", binds="product")

# Not a · 1/b: a quotient is rounded once, and 49 · (1/49) is not 1.
div = Primitive("div", "/", operator.truediv,
    lambda g, out, a, b: g / b,
    lambda g, out, a, b: -g * out / b,
    text="{0:minus} / {1:power}", latex=r"\frac{{{0}}}{{{1}}}",
    mathml="<mfrac><mrow>{0}</mrow><mrow>{1}</mrow></mfrac>", numpy="{0:product} / {1:minus}",
    binds="product")

neg = Primitive("neg", "−", operator.neg, lambda g, out, x: -g,
    of=np.negative, text="−{0:sigma}", latex="-{0:sigma}",
    mathml='<mo form="prefix">−</mo>{0:sigma}', numpy="-{0:minus}", binds="minus")

# The derivation's word; NumPy calls it reciprocal. Its rule is not g · out², which overflows in
# float16 where √var is small, and 0 · ∞ is no number.
inverse = Primitive("inverse", "1/", lambda x: 1 / x, lambda g, out, x: -g * out * out,
    of=np.reciprocal, text="1/{0:power}", latex=r"\frac{{1}}{{{0}}}",
    mathml="<mfrac><mn>1</mn><mrow>{0}</mrow></mfrac>", numpy="1 / {0:minus}",
    binds="product")

square = Primitive("square", "²", np.square, lambda g, out, x: 2 * x * g,
    of=np.square, text="{0:call}²", latex="{0:call}^{{2}}",
    mathml="<msup><mrow>{0:call}</mrow><mn>2</mn></msup>", binds=IN_FORMULAS["power"])


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
    root = rational_root(Fraction(x))
    if root is None:
        raise ValueError(
            f"sqrt: {x} has no rational square root, so it cannot be taken exactly; "
            "choose eps so that var + eps is the square of a fraction, or use floats"
        )
    return root


_exact_sqrts = np.frompyfunc(_exact_sqrt, 1, 1)


def _is_exact(x: Any) -> bool:
    return x.dtype is not None and x.dtype.hasobject


def _sqrt(x: Any) -> Any:
    dtype = x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype
    return _exact_sqrts(x) if dtype.hasobject else np.sqrt(x)


sqrt = Primitive("sqrt", "√", _sqrt, lambda g, out, x: g / (2 * out),
    of=np.sqrt, text="√{0:call}", latex=r"\sqrt{{{0}}}", mathml="<msqrt>{0}</msqrt>",
    numpy=lambda node: "exact_sqrt({0})" if _is_exact(node.inputs[0]) else "np.sqrt({0})")


def _pow_rule(g: Any, out: Any, x: Any, n: Any) -> Any:
    return g * (n * x ** (n - 1)) if n else g * 0  # x**0 is constant, also at x = 0


pow = Primitive("pow", "^", lambda x, n: x**n, _pow_rule,
    text="{0:call}^{n}", latex="{0:call}^{{{n}}}",
    mathml="<msup><mrow>{0:call}</mrow><mrow>{n}</mrow></msup>", numpy="{0:call} ** {n}",
    binds="power")

# At a = b = 0 the base has no influence, but b·a^(b-1) would be 0·∞; where a = 0 the exponent has
# none, but log a would be −∞.
power = Primitive("power", "^", operator.pow,
    lambda g, out, a, b: g * (b * np.where((a == 0) * (b == 0), 1, a) ** (b - 1)),
    lambda g, out, a, b: g * (out * np.log(np.where(a == 0, 1, a).astype(out.dtype))),
    text="{0:call}^{1:call}", latex="{0:call}^{{{1}}}",
    mathml="<msup><mrow>{0:call}</mrow><mrow>{1}</mrow></msup>", numpy="{0:call} ** {1:call}",
    binds="power")

# --------------------------------------------------------------------------- elementwise functions


def _zero(g: Any) -> Any:
    """Give a rule's own zero: a fraction among fractions, where 0 / 3 would be a float."""
    return Fraction(0) if _is_exact(g) else 0


def _one(g: Any) -> Any:
    """Give a one of the dtype of `g`, in which a rule counts."""
    if _is_exact(g):
        return Fraction(1)
    return 1.0 if g.dtype == np.float64 else g.dtype.type(1)



exp = Primitive("exp", "exp", np.exp, lambda g, out, x: g * out,
    of=np.exp, latex=r"\exp\left({0}\right)")
log = Primitive("log", "log", np.log, lambda g, out, x: g / x,
    of=np.log, latex=r"\log\left({0}\right)")
sin = Primitive("sin", "sin", np.sin, lambda g, out, x: g * np.cos(x),
    of=np.sin, latex=r"\sin\left({0}\right)")
cos = Primitive("cos", "cos", np.cos, lambda g, out, x: -g * np.sin(x),
    of=np.cos, latex=r"\cos\left({0}\right)")
tanh = Primitive("tanh", "tanh", np.tanh, lambda g, out, x: g * (1 - np.square(out)),
    of=np.tanh, latex=r"\tanh\left({0}\right)")
relu = Primitive("relu", "relu", lambda x: np.maximum(x, 0),
    lambda g, out, x: np.where(x > 0, g, _zero(g)),
    numpy=lambda node: "np.maximum({0}, %s)" % (
        "Fraction(0)" if _is_exact(node.inputs[0]) else "0"))


def _real_abs(x: Any) -> Any:
    if x.dtype.kind == "c":
        raise TypeError(
            "abs: the modulus of a complex number is not holomorphic and has no complex derivative"
        )
    return np.abs(x)


abs = Primitive("abs", "abs", _real_abs, lambda g, out, x: g * np.sign(x),
    of=(np.abs, np.fabs), latex=r"\left|{0}\right|",
    mathml="<mrow><mo>|</mo>{0}<mo>|</mo></mrow>", numpy="np.abs({0})")

# Ties share the gradient equally, as the mean of the two one-sided derivatives. What is not a
# number is neither smaller nor greater, so that the gradient passes: 0 would hide it.
maximum = Primitive("maximum", "max", np.maximum,
    lambda g, out, a, b: np.where(a < b, _zero(g), np.where(a == b, g / 2, g)),
    lambda g, out, a, b: np.where(b < a, _zero(g), np.where(a == b, g / 2, g)),
    of=np.maximum, latex=r"\max\left({0}, {1}\right)")
minimum = Primitive("minimum", "min", np.minimum,
    lambda g, out, a, b: np.where(a > b, _zero(g), np.where(a == b, g / 2, g)),
    lambda g, out, a, b: np.where(b > a, _zero(g), np.where(a == b, g / 2, g)),
    of=np.minimum, latex=r"\min\left({0}, {1}\right)")

where = Primitive("where", "where", np.where,
    None,
    lambda g, out, condition, a, b: np.where(condition, g, _zero(g)),
    lambda g, out, condition, a, b: np.where(condition, _zero(g), g),
    of=np.where)

cast = Primitive("cast", "as", lambda x, dtype: x.astype(dtype),
    lambda g, out, x, dtype: g * 0 if dtype.kind in "iub" else g,
    text="{dtype}({0})", latex=r"\operatorname{{{dtype}}}\left({0}\right)",
    numpy="{0:call}.astype({dtype})")

# --------------------------------------------------------------------------- no gradient flows


def _comparison(name: str, symbol: str, of: Any, latex: str, numpy: str) -> Primitive:
    return Primitive(
        name,
        symbol,
        getattr(operator, numpy),
        of=of,
        text=f"{{0:sum}} {symbol} {{1:sum}}",
        latex=f"{{0:sum}} {latex} {{1:sum}}",
        numpy=f"{{0:sum}} {PYTHON[numpy]} {{1:sum}}",
        binds="comparison",
    )


PYTHON = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!="}
PYTHON |= {"bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^"}

greater = _comparison("greater", ">", np.greater, ">", "gt")
greater_equal = _comparison("greater_equal", "≥", np.greater_equal, r"\geq", "ge")
less = _comparison("less", "<", np.less, "<", "lt")
less_equal = _comparison("less_equal", "≤", np.less_equal, r"\leq", "le")
equal = _comparison("equal", "=", np.equal, "=", "eq")
not_equal = _comparison("not_equal", "≠", np.not_equal, r"\neq", "ne")
sign = Primitive("sign", "sign", np.sign,
    of=np.sign)
isfinite = Primitive("isfinite", "isfinite", np.isfinite,
    of=np.isfinite)
isnan = Primitive("isnan", "isnan", np.isnan,
    of=np.isnan)
floor = Primitive("floor", "⌊⌋", np.floor,
    of=np.floor, text="⌊{0}⌋", latex=r"\left\lfloor {0} \right\rfloor")
ceil = Primitive("ceil", "⌈⌉", np.ceil,
    of=np.ceil, text="⌈{0}⌉", latex=r"\left\lceil {0} \right\rceil")
rint = Primitive("rint", "rint", np.rint,
    of=np.rint)
trunc = Primitive("trunc", "trunc", np.trunc,
    of=np.trunc)


def _of_masks(name: str, symbol: str, of: Any, forward: Any, sign: str) -> Primitive:
    return Primitive(
        name,
        symbol,
        forward,
        of=of,
        text=f"{{0:sum}} {symbol} {{1:sum}}",
        latex=f"{{0:sum}} {sign} {{1:sum}}",
        numpy=f"{{0:sum}} {PYTHON[name]} {{1:sum}}",
        binds="comparison",
    )


bitwise_and = _of_masks("bitwise_and", "∧", np.bitwise_and, operator.and_, r"\wedge")
bitwise_or = _of_masks("bitwise_or", "∨", np.bitwise_or, operator.or_, r"\vee")
bitwise_xor = _of_masks("bitwise_xor", "⊕", np.bitwise_xor, operator.xor, r"\oplus")
invert = Primitive("invert", "¬", np.invert,
    of=np.invert, text="¬{0:call}", latex=r"\neg {0:call}", numpy="~{0:minus}",
    binds="minus")
logical_and = Primitive("logical_and", "∧", np.logical_and,
    of=np.logical_and)
logical_or = Primitive("logical_or", "∨", np.logical_or,
    of=np.logical_or)
logical_xor = Primitive("logical_xor", "⊕", np.logical_xor,
    of=np.logical_xor)
logical_not = Primitive("logical_not", "¬", np.logical_not,
    of=np.logical_not)
all = Primitive("all", "all", lambda x, axis, keepdims: np.all(x, axis=axis, keepdims=keepdims),
    elementwise=False, numpy="np.all({0}{along})")
any = Primitive("any", "any", lambda x, axis, keepdims: np.any(x, axis=axis, keepdims=keepdims),
    elementwise=False, numpy="np.any({0}{along})")
argmax = Primitive("argmax", "argmax", lambda x, axis: np.argmax(x, axis=axis),
    elementwise=False, numpy="np.argmax({0}, axis={axis})")
argmin = Primitive("argmin", "argmin", lambda x, axis: np.argmin(x, axis=axis),
    elementwise=False, numpy="np.argmin({0}, axis={axis})")

# The same value, as a constant to the gradient: where it is known to cancel, as in a shift.
stop = Primitive("stop", "stop", lambda x: x, None,
    text="{0:call}", latex="{0:call}", numpy="{0:call}", binds="call")

# --------------------------------------------------------------------------- sum and its adjoint

Axes = tuple[int, ...]
Shape = tuple[int, ...]

FEW = 1024  # entries that are copied sooner than NumPy has made a view of them


def _spread(x: Any, shape: Shape, axis: Axes) -> Any:
    x = x if is_foreign(x) else np.asarray(x)  # an exact scalar comes bare
    if x.ndim < len(shape) and not _leads(axis):
        x = np.expand_dims(x, axis)
    if math.prod(shape) > FEW or is_foreign(x):
        return np.broadcast_to(x, shape)
    out = np.empty(shape, x.dtype)
    out[...] = x
    return out


def _leads(axis: Axes) -> bool:
    """Whether these are the first axes, which broadcasting puts in front by itself."""
    return axis == tuple(range(len(axis)))


def _spread_source(node: Any) -> str:
    inner = len(node.inputs[0].shape) < len(node.shape) and not _leads(node.params["axis"])
    x = "np.expand_dims({0}, {axis})" if inner else "{0}"
    return f"np.broadcast_to({x}, {{shape}})"


def _sum(x: Any, axis: Axes, keepdims: Any) -> Any:
    if x.dtype.char == "e":  # float16: three digits, which a few dozen rows would use up
        return np.sum(x, axis, np.float32, keepdims=keepdims).astype(x.dtype)
    if is_foreign(x):  # which need not answer the methods of ufuncs
        return np.sum(x, axis=axis, keepdims=keepdims)
    return np.add.reduce(x, axis=axis, keepdims=keepdims)


def _sum_source(node: Any) -> str:
    if node.inputs[0].dtype == np.float16:
        return "np.sum({0}{along}, dtype=np.float32).astype(np.float16)"
    return "np.sum({0}{along})"


# Σ adds up along axes, spread copies along them: each one is the other's transpose, so each one is
# the other's rule.
sum: Primitive = Primitive("sum", "Σ", _sum,
    lambda g, out, x, axis, keepdims: spread(g, shape=x.shape, axis=axis),
    elementwise=False, text="Σ{axes} {0:product}", latex=r"\sum{axes} {0:product}",
    mathml="<munder><mo>∑</mo><mrow>{axes}</mrow></munder>{0:product}",
    numpy=_sum_source, binds=IN_FORMULAS["sigma"])
spread: Primitive = Primitive("spread", "spread", _spread,
    lambda g, out, x, shape, axis: sum(g, axis=axis, keepdims=x.ndim == len(shape)),
    elementwise=False, numpy=_spread_source)


def _max_rule(g: Any, out: Any, x: Any, axis: Axes, keepdims: bool) -> Any:
    less = x < spread(out, shape=x.shape, axis=axis)
    ties = sum(np.where(less, _zero(g), _one(g)), axis=axis, keepdims=keepdims)
    return np.where(less, _zero(g), spread(g / ties, shape=x.shape, axis=axis))


max = Primitive("max", "max", lambda x, axis, keepdims: np.max(x, axis=axis, keepdims=keepdims),
    _max_rule,
    elementwise=False, text="max{axes}({0})", latex=r"\max{axes}\left({0}\right)",
    mathml="<mrow><msub><mi>max</mi><mrow>{axes}</mrow></msub><mo>(</mo>{0}<mo>)</mo></mrow>",
    numpy="np.max({0}{along})")

# --------------------------------------------------------------------------- products and shapes

matmul = Primitive("matmul", "@", operator.matmul,
    lambda g, out, a, b: g @ np.swapaxes(b, -1, -2),
    lambda g, out, a, b: np.swapaxes(a, -1, -2) @ g,
    elementwise=False, text="{0:power} @ {1:power}", latex=r"{0:power} \, {1:power}",
    mathml='{0:power}<mspace width="0.2em"/>{1:power}',
    numpy="{0:minus} @ {1:minus}", binds="matmul")

reshape = Primitive("reshape", "reshape", lambda x, shape: np.reshape(x, shape),
    lambda g, out, x, shape: np.reshape(g, x.shape),
    elementwise=False, numpy="np.reshape({0}, {shape})")


def _transposed(form: str, otherwise: str, *, stacked: bool = True) -> Any:
    """Write the transpose of a matrix by its sign, also in a stack of them; any other as a call."""

    def written(node: Any) -> str:
        n, axes = len(node.shape), node.params["axes"]
        is_flip = n >= 2 and tuple(axes) == (*range(n - 2), n - 1, n - 2)
        return form if is_flip and (n == 2 or stacked) else otherwise

    return written


transpose = Primitive("transpose", "ᵀ", lambda x, axes: np.transpose(x, axes),
    lambda g, out, x, axes: np.transpose(g, _inverse_permutation(axes)),
    elementwise=False, text=_transposed("{0:call}ᵀ", "transpose{axes}({0})"),
    latex=_transposed(r"{0:call}^{{\top}}", r"\operatorname{{transpose}}{axes}\left({0}\right)"),
    mathml=_transposed("<msup><mrow>{0:call}</mrow><mo>⊤</mo></msup>",
        "<mrow><msub><mi>transpose</mi>{axes}</msub><mo>(</mo>{0}<mo>)</mo></mrow>"),
    numpy=_transposed("{0:call}.T", "np.transpose({0}, {axes})", stacked=False),
    binds=IN_FORMULAS["power"])


def _inverse_permutation(axes: Axes) -> Axes:
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


def _scatter(x: Any, key: Any, shape: Shape) -> Any:
    if is_foreign(x):
        return scattered(x, key, shape)
    out = np.zeros(shape, dtype=x.dtype)
    np.add.at(out, key, x)  # not out[key] += x, which forgets all but one of a repeated index
    return out


index = Primitive("index", "[]", lambda x, key: x[key],
    lambda g, out, x, key: scatter(g, key=key, shape=x.shape),
    elementwise=False, text="{0:call}[{key}]", latex="{0:call}[{key}]", numpy="{0:call}[{key}]")
scatter: Primitive = Primitive("scatter", "scatter", _scatter, lambda g, out, x, key, shape: g[key],
    elementwise=False, text="scatter({0} → [{key}])",
    latex=r"\operatorname{{scatter}}\left({0} \to [{key}]\right)",
    numpy="scatter({0}, np.s_[{key}], {shape})")


def _at(key: tuple[Any, ...], keys: Sequence[Any]) -> tuple[Any, ...]:
    """Put operands in their places in a key, where a string counts them."""
    return tuple([keys[int(part) - 1] if isinstance(part, str) else part for part in key])


# index, where whole numbers in the key are operands: what is computed, such as an argmax.
pick: Primitive = Primitive("pick", "[]", lambda x, *keys, key: x[_at(key, keys)],
    lambda g, out, x, *keys, key: put(g, *keys, key=key, shape=x.shape),
    None,
    elementwise=False, text="{0:call}[{key}]", latex="{0:call}[{key}]", numpy="{0:call}[{key}]")
put: Primitive = Primitive("put", "scatter",
    lambda x, *keys, key, shape: _scatter(x, _at(key, keys), shape),
    lambda g, out, x, *keys, key, shape: pick(g, *keys, key=key),
    None,
    elementwise=False, text="scatter({0} → [{key}])",
    latex=r"\operatorname{{scatter}}\left({0} \to [{key}]\right)",
    numpy="scatter({0}, np.s_[{key}], {shape})")


def _select(x: Any, *keys: Any, key: tuple[Any, ...], places: Axes) -> Any:
    for place, computed in zip(places, keys, strict=True):
        if not np.array_equal(key[place], native(computed)):
            raise ValueError(
                "select: a computed mask picks other entries than when the graph was captured, "
                "and a graph has fixed shapes; capture it again"
            )
    return x[key]


# index by computed masks. How many entries they pick is a shape, so that they must stay the same.
select = Primitive("select", "[]", _select,
    lambda g, out, x, *keys, key, places: scatter(g, key=key, shape=x.shape),
    None,
    elementwise=False, text="{0:call}[{key}]", latex="{0:call}[{key}]",
    numpy="select({operands}, key=np.s_[{key}], places={places})")


# --------------------------------------------------------------------------- places

# What in-place code is as a function of values: the base with other values in some places.


def _copied(base: Any, values: Sequence[Any]) -> Any:
    """Copy an array, as complex or exact numbers if there are some to be put into it."""
    kinds = [x.dtype for x in map(native, values) if getattr(x, "dtype", base.dtype).kind in "cO"]
    return np.array(native(base), np.result_type(base.dtype, *kinds))


def _writes(operands: Sequence[Any], keys: Sequence[Any], expected: Sequence[Any]) -> Any:
    """Give each key, with what of it is computed, and its value.

    After the values come integers that stand in keys, and masks, which are expected to be what
    they were: how many entries they pick is a shape.
    """
    masks = operands[len(operands) - len(expected) :]
    for mask, computed in zip(expected, masks, strict=True):
        if not np.array_equal(mask, native(computed)):
            raise ValueError(
                "assign: a computed key picks other entries than when the graph was captured, and "
                "a graph has fixed shapes; capture it again"
            )
    computed = operands[len(keys) :]
    filled = [_at(key, computed) if isinstance(key, tuple) else key for key in keys]
    return [*zip(filled, operands, strict=False)]


def _picked(g: Any, key: Any, computed: Sequence[Any]) -> Any:
    is_computed = isinstance(key, tuple) and str in map(type, key)
    return pick(g, *computed, key=key) if is_computed else g[key]


def _assign(base: Any, *operands: Any, keys: Sequence[Any], disjoint: bool,
            expected: Sequence[Any] = ()) -> Any:
    writes = _writes(operands, keys, expected)
    out = _copied(base, operands[: len(keys)])
    for key, value in writes:
        out[key] = value
    if disjoint and str in [type(part) for key in keys if isinstance(key, tuple) for part in key]:
        _check_disjoint(base.shape, writes)
    return out


def _check_disjoint(shape: Shape, writes: Sequence[Any]) -> None:
    times = np.zeros(shape, np.intp)
    for key, _ in writes:
        np.add.at(times, key, 1)
    if times.max(initial=0) > 1:
        raise ValueError(
            "assign: computed integers name an entry twice, which they did not when the graph was "
            "captured; capture it again"
        )


def _assign_rule(position: int, g: Any, out: Any, base: Any, *operands: Any,
                 keys: Sequence[Any], disjoint: bool, expected: Sequence[Any] = ()) -> Any:
    integers = operands[len(keys) : len(operands) - len(expected)]
    if position == 0:
        zeros = [_zero(g)] * len(keys)
        return assign(g, *zeros, *integers, keys=keys, disjoint=disjoint)
    part = _picked(g, keys[position - 1], integers)
    stays = None if disjoint else _stays(base.shape, keys, position - 1)
    return part if stays is None else np.where(stays, part, _zero(g))


def _stays(shape: Shape, keys: Sequence[Any], position: int) -> Any:
    """Say which entries of a value are not overwritten by others of it, or by later values."""
    last = np.zeros(shape, np.intp)
    key = keys[position]
    numbers = np.arange(1, last[key].size + 1).reshape(last[key].shape)
    last[key] = numbers
    for later in keys[position + 1 :]:
        last[later] = 0
    return last[key] == numbers


def _assign_add(base: Any, *operands: Any, keys: Sequence[Any],
                expected: Sequence[Any] = ()) -> Any:
    writes = _writes(operands, keys, expected)
    out = _copied(base, operands[: len(keys)])
    for key, value in writes:
        parts = key if isinstance(key, tuple) else (key,)
        if np.ndarray in map(type, parts):
            # Not +=, which forgets all but one of a repeated index; and of the full shape, because
            # NumPy adds a row for several indices into one axis only once.
            np.add.at(out, key, np.broadcast_to(value, out[key].shape))
        else:
            out[key] += value
    return out


def _assign_add_rule(position: int, g: Any, out: Any, base: Any, *operands: Any,
                     keys: Sequence[Any], expected: Sequence[Any] = ()) -> Any:
    integers = operands[len(keys) : len(operands) - len(expected)]
    return _picked(g, keys[position - 1], integers) if position else g


FEW_PLACES = 4
PLACES_MATHML = (
    "<mtext>\u00a0with\u00a0</mtext>",
    "<mrow><mo>[</mo>{key}<mo>]</mo><mo>←</mo>{value}</mrow>", "<mo>,</mo>", "<mo>…</mo>")


def _in_places(with_: str, place: str, comma: str = ", ", dots: str = "…") -> Any:
    """Write the base and what is written where; of many places, the first two and the last."""

    def form(node: Any) -> str:
        count = len(node.params["keys"])
        shown = range(count) if count <= FEW_PLACES else (0, 1, count - 1)
        places = [place.format(key=f"{{key{k}}}", value=f"{{{k + 1}}}") for k in shown]
        if count > FEW_PLACES:
            places.insert(2, dots)
        return "{0:call}" + with_ + comma.join(places)

    return form


def _in_places_source(name: str) -> Any:
    def form(node: Any) -> str:
        count = len(node.params["keys"])
        parts = [f"(np.s_[{{key{k}}}], {{{k + 1}}})" for k in range(count)]
        masks = len(node.params.get("expected", ()))
        first = len(node.inputs) - masks
        checked = [f"({{expected{k}}}, {{{first + k}}})" for k in range(masks)]
        parts += [f"unchanged=[{', '.join(checked)}]"] if checked else []
        return f"{name}({{0}}, {', '.join(parts)})"

    return form


assign: Primitive = Primitive("assign", "←", _assign, VariadicRules(_assign_rule),
    elementwise=False, text=_in_places(" with ", "[{key}] ← {value}"),
    latex=_in_places(r" \;\text{{with}}\; ", r"[{key}] \leftarrow {value}", dots=r"\ldots"),
    mathml=_in_places(*PLACES_MATHML),
    numpy=_in_places_source("assign"), binds=IN_FORMULAS["comparison"])
# What a key names, plus a value: what is there passes on, and is not read and written again.
assign_add: Primitive = Primitive("assign_add", "+=", _assign_add,
    VariadicRules(_assign_add_rule),
    elementwise=False, text=_in_places(" with ", "[{key}] += {value}"),
    latex=_in_places(r" \;\text{{with}}\; ", r"[{key}] \mathrel{{{{+}}}}= {value}",
                     dots=r"\ldots"),
    mathml=_in_places(*[part.replace("←", "+=") for part in PLACES_MATHML]),
    numpy=_in_places_source("assign_add"), binds=IN_FORMULAS["comparison"])


def _concatenate_rule(position: int, g: Any, out: Any, *parts: Any, axis: int) -> Any:
    ends = list(accumulate(part.shape[axis] for part in parts))
    along = slice(ends[position] - parts[position].shape[axis], ends[position])
    return g[(slice(None),) * axis + (along,)]


concatenate = Primitive("concatenate", "concat",
    lambda *parts, axis: np.concatenate(parts, axis=axis),
    VariadicRules(_concatenate_rule),
    elementwise=False, numpy="np.concatenate([{operands}], axis={axis})")
