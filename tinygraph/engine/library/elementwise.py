"""Functions of one entry at a time: a row each where composing would lose digits.

``log(1 + x)`` has lost all digits of a small x before the logarithm sees it, and `logaddexp` is
there because ``exp`` overflows; so is ``hypot``. What loses nothing is composed.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from tinygraph.engine import ops
from tinygraph.engine.functions import is_node
from tinygraph.engine.primitive import NUMPY, Primitive

__all__ = ["floordiv", "mod", "nonzero", "rounded"]

LOG2, LOG10 = math.log(2), math.log(10)

# fmt: off
# --------------------------------------------------------------------------- exponentials

Primitive("log1p", "log1p", np.log1p, lambda g, out, x: g / (1 + x),
    of=np.log1p, latex=r"\log\left(1 + {0:matmul}\right)")
Primitive("expm1", "expm1", np.expm1, lambda g, out, x: g * (out + 1),
    of=np.expm1, latex=r"e^{{{0}}} - 1", binds={"latex": "sum"})
Primitive("log2", "log₂", np.log2, lambda g, out, x: g / (x * LOG2),
    of=np.log2, text="log₂({0})", latex=r"\log_2\left({0}\right)")
Primitive("log10", "log₁₀", np.log10, lambda g, out, x: g / (x * LOG10),
    of=np.log10, text="log₁₀({0})", latex=r"\log_{{10}}\left({0}\right)")
Primitive("exp2", "2^", np.exp2, lambda g, out, x: g * out * LOG2,
    of=np.exp2, text="2^{0:call}", latex="2^{{{0}}}", binds={"text": "power", "latex": "power"})
Primitive("logaddexp", "logaddexp", np.logaddexp,
    lambda g, out, a, b: g * np.exp(a - out),
    lambda g, out, a, b: g * np.exp(b - out),
    of=np.logaddexp, latex=r"\log\left(e^{{{0}}} + e^{{{1}}}\right)")
Primitive("logaddexp2", "logaddexp2", np.logaddexp2,
    lambda g, out, a, b: g * np.exp2(a - out),
    lambda g, out, a, b: g * np.exp2(b - out),
    of=np.logaddexp2, latex=r"\log_2\left(2^{{{0}}} + 2^{{{1}}}\right)")

# --------------------------------------------------------------------------- angles

Primitive("tan", "tan", np.tan, lambda g, out, x: g * (1 + np.square(out)),
    of=np.tan, latex=r"\tan\left({0}\right)")
Primitive("arcsin", "arcsin", np.arcsin, lambda g, out, x: g / np.sqrt((1 - x) * (1 + x)),
    of=np.arcsin, latex=r"\arcsin\left({0}\right)")
Primitive("arccos", "arccos", np.arccos, lambda g, out, x: -g / np.sqrt((1 - x) * (1 + x)),
    of=np.arccos, latex=r"\arccos\left({0}\right)")
Primitive("arctan", "arctan", np.arctan, lambda g, out, x: g / (1 + np.square(x)),
    of=np.arctan, latex=r"\arctan\left({0}\right)")
Primitive("arctan2", "arctan2", np.arctan2,
    lambda g, out, y, x: g * x / (np.square(x) + np.square(y)),
    lambda g, out, y, x: -g * y / (np.square(x) + np.square(y)),
    of=np.arctan2)
Primitive("hypot", "hypot", np.hypot,
    lambda g, out, a, b: g * (a / out),
    lambda g, out, a, b: g * (b / out),
    of=np.hypot, text="√({0:call}² + {1:call}²)", latex=r"\sqrt{{{0:call}^2 + {1:call}^2}}",
    binds={"text": "call", "latex": "call"})

# --------------------------------------------------------------------------- hyperbolic functions

Primitive("sinh", "sinh", np.sinh, lambda g, out, x: g * np.cosh(x),
    of=np.sinh, latex=r"\sinh\left({0}\right)")
Primitive("cosh", "cosh", np.cosh, lambda g, out, x: g * np.sinh(x),
    of=np.cosh, latex=r"\cosh\left({0}\right)")
Primitive("arcsinh", "arsinh", np.arcsinh, lambda g, out, x: g / np.sqrt(1 + np.square(x)),
    of=np.arcsinh, latex=r"\operatorname{{arsinh}}\left({0}\right)")
Primitive("arccosh", "arcosh", np.arccosh,
    lambda g, out, x: g / (np.sqrt(x - 1) * np.sqrt(x + 1)),
    of=np.arccosh, latex=r"\operatorname{{arcosh}}\left({0}\right)")
Primitive("arctanh", "artanh", np.arctanh, lambda g, out, x: g / ((1 - x) * (1 + x)),
    of=np.arctanh, latex=r"\operatorname{{artanh}}\left({0}\right)")

# --------------------------------------------------------------------------- remainders

mod = Primitive("mod", "mod", operator.mod,
    lambda g, out, a, b: g,
    lambda g, out, a, b: -g * (a // b),
    of=np.remainder, text="{0:power} mod {1:power}", latex=r"{0:power} \bmod {1:power}",
    numpy="{0:product} % {1:minus}", binds="product")
floordiv = Primitive("floordiv", "//", operator.floordiv,
    of=np.floor_divide, text="⌊{0:minus} / {1:power}⌋",
    latex=r"\left\lfloor \frac{{{0}}}{{{1}}} \right\rfloor",
    numpy="{0:product} // {1:minus}", binds={"numpy": "product"})
Primitive("fmod", "fmod", np.fmod,
    lambda g, out, a, b: g,
    lambda g, out, a, b: -g * np.rint((a - out) / b),
    of=np.fmod)
# fmt: on


def _sinc(x: Any, n: int) -> Any:
    """Give the n-th derivative of sin πx / πx, which is ∫₀¹ (πt)ⁿ cos(πxt + nπ/2) dt.

    Of x·sinc x = sin(πx)/π the derivatives give x fₙ + n fₙ₋₁ = πⁿ⁻¹ sin(πx + nπ/2), which loses
    digits where x is small; there the power series of the cosine is integrated term by term.
    """
    z = np.pi * x
    small = np.abs(z) < 2 + n
    safe = np.where(small, 1, x).astype(x.dtype)
    far = np.sinc(safe)
    for k in range(1, n + 1):
        far = (np.pi ** (k - 1) * np.sin(np.pi * safe + k * np.pi / 2) - k * far) / safe
    near = np.zeros_like(z)
    for k in range(n + n % 2, n + 40, 2):  # zᵏ, differentiated n times and integrated
        sign = 1 if k % 4 == 0 else -1
        near = near + z ** (k - n) * (sign / (math.factorial(k - n) * (k + 1)))
    return np.where(small, np.pi**n * near, far)[()] if n else np.sinc(x)


def _sinc_form(call: str, derivative: str) -> Any:
    return lambda node: derivative if node.params.get("n") else call


# fmt: off
sinc: Primitive = Primitive("sinc", "sinc", _sinc, lambda g, out, x, n: g * sinc(x, n=n + 1),
    text=_sinc_form("sinc({0})", "sinc⁽{n}⁾({0})"),
    latex=_sinc_form(r"\operatorname{{sinc}}\left({0}\right)",
                     r"\operatorname{{sinc}}^{{({n})}}\left({0}\right)"),
    numpy=_sinc_form("np.sinc({0})", "sinc_derivative({0}, {n})"))
# fmt: on

# --------------------------------------------------------------------------- no gradient flows

# fmt: off
Primitive("isinf", "isinf", np.isinf, of=np.isinf)
Primitive("signbit", "signbit", np.signbit, of=np.signbit)
place_of_nonzero = Primitive("nonzero", "nonzero", lambda x, along: np.nonzero(x)[along],
    elementwise=False, numpy="np.nonzero({0})[{along}]")
# fmt: on

# --------------------------------------------------------------------------- composed


def _fmax(a: Any, b: Any) -> Any:
    """Give the larger one, and of a number and nan the number."""
    return ops.where(np.isnan(b), a, ops.where(np.isnan(a), b, ops.maximum(a, b)))


def _fmin(a: Any, b: Any) -> Any:
    return ops.where(np.isnan(b), a, ops.where(np.isnan(a), b, ops.minimum(a, b)))


def _isclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> Any:
    near = (abs(a - b) <= atol + rtol * abs(b)) & np.isfinite(b) | (a == b)
    return near | np.isnan(a) & np.isnan(b) if equal_nan else near


def _allclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> Any:
    return bool(np.all(_isclose(a, b, rtol, atol, equal_nan)))


def _array_equal(a: Any, b: Any, equal_nan: bool = False) -> bool:
    if np.shape(a) != np.shape(b):
        return False
    same = (a == b) | np.isnan(a) & np.isnan(b) if equal_nan else a == b
    return bool(np.all(same))


def _nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    """Replace what is no finite number; the largest of the dtype stands for infinity."""
    limits = np.finfo(x.dtype)
    x = ops.where(np.isnan(x), nan, x)
    x = ops.where(x == np.inf, limits.max if posinf is None else posinf, x)
    return ops.where(x == -np.inf, limits.min if neginf is None else neginf, x)


def _holomorphic_only(x: Any, what: str) -> Any:
    if x.dtype.kind == "c":
        raise TypeError(
            f"np.{what}: of a complex tensor it is not holomorphic and has no complex derivative"
        )
    return x


def rounded(x: Any, decimals: int = 0, out: Any = None) -> Any:
    """Round as NumPy does: multiplied, rounded to the even neighbour, divided."""
    if out is not None:
        raise TypeError("np.round: out= would overwrite an array; use the result instead")
    if not decimals:
        return np.rint(x)
    scale = 10.0 ** abs(decimals)
    return np.rint(x * scale) / scale if decimals > 0 else np.rint(x / scale) * scale


def nonzero(x: Any) -> tuple[Any, ...]:
    """Give the places of the entries that are not 0, axis by axis."""
    if not x.ndim:
        raise ValueError("nonzero: a scalar has no axes; use np.atleast_1d(x).nonzero()")
    return tuple(place_of_nonzero(x, along=k) for k in range(x.ndim))


def _divmod(a: Any, b: Any) -> tuple[Any, Any]:
    return a // b, a % b


def _result_type(*operands: Any) -> Any:
    return np.result_type(*[x.dtype if is_node(x) else x for x in operands])


NUMPY.update(
    {
        np.result_type: _result_type,
        np.sinc: lambda x: sinc(x, n=0),
        np.deg2rad: lambda x: x * (np.pi / 180),
        np.radians: lambda x: x * (np.pi / 180),
        np.rad2deg: lambda x: x * (180 / np.pi),
        np.degrees: lambda x: x * (180 / np.pi),
        np.fmax: _fmax,
        np.fmin: _fmin,
        np.divmod: _divmod,
        np.fix: np.trunc,
        np.round: rounded,
        np.around: rounded,
        np.nonzero: nonzero,
        np.flatnonzero: lambda x: nonzero(np.reshape(x, -1))[0],
        np.argwhere: lambda x: np.stack(nonzero(x), axis=-1),
        np.isclose: _isclose,
        np.allclose: _allclose,
        np.array_equal: _array_equal,
        np.nan_to_num: _nan_to_num,
        np.real: lambda x: _holomorphic_only(x, "real"),
        np.imag: lambda x: _holomorphic_only(x, "imag") * 0,
        np.conjugate: lambda x: _holomorphic_only(x, "conjugate"),
        np.real_if_close: lambda x, tol=100: _holomorphic_only(x, "real_if_close"),
        np.iscomplexobj: lambda x: x.dtype.kind == "c",
        np.isrealobj: lambda x: x.dtype.kind != "c",
    }
)
