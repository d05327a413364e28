"""SciPy's special functions, where SciPy is installed: rows that load it when they first compute.

They come to tensors by themselves, because they are ufuncs: ``expit(t)`` asks the tensor. Known by
their names and home, so that nothing here imports SciPy before its user has.
"""

from __future__ import annotations

import math
import sys
from types import FrameType
from typing import Any

import numpy as np

from tinygraph.engine.foreign import native
from tinygraph.engine.primitive import TABLE, Primitive

__all__ = ["IN_PLACE", "known", "refused"]

TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)
ROOT_TWO_PI = math.sqrt(2 * math.pi)


def _scipy(name: str) -> Any:
    def forward(*args: Any) -> Any:
        from scipy import special

        return getattr(special, name)(*args)

    return forward


def _polygamma(x: Any, n: int) -> Any:
    from scipy import special

    return special.polygamma(n, native(x)).astype(np.asarray(x).dtype)[()]


# fmt: off
def _row(name: str, *rules: Any, **written: Any) -> Primitive:
    numpy = f"special.{name}({{operands}})"
    return Primitive(name, name, _scipy(name), *rules, numpy=numpy, **written)


def _no_order(g: Any, out: Any, *inputs: Any) -> Any:
    raise TypeError(
        "the derivative with respect to an order or shape parameter is not known; pass it as a "
        "number, not as a tensor"
    )


expit: Primitive = _row("expit", lambda g, out, x: g * (out * expit(-x)))
logit: Primitive = _row("logit", lambda g, out, x: g / (x * (1 - x)))
log_expit: Primitive = _row("log_expit", lambda g, out, x: g * expit(-x))
erf: Primitive = _row("erf", lambda g, out, x: g * (TWO_OVER_ROOT_PI * np.exp(-np.square(x))),
    latex=r"\operatorname{{erf}}\left({0}\right)")
erfc: Primitive = _row("erfc", lambda g, out, x: -g * (TWO_OVER_ROOT_PI * np.exp(-np.square(x))))
erfinv: Primitive = _row("erfinv", lambda g, out, x: g * np.exp(np.square(out)) / TWO_OVER_ROOT_PI)
ndtr: Primitive = _row("ndtr", lambda g, out, x: g * (np.exp(-np.square(x) / 2) / ROOT_TWO_PI),
    text="Φ({0})", latex=r"\Phi\left({0}\right)")
log_ndtr: Primitive = _row("log_ndtr",
    lambda g, out, x: g * (np.exp(-np.square(x) / 2 - out) / ROOT_TWO_PI),
    text="log Φ({0})", latex=r"\log\Phi\left({0}\right)")
gamma: Primitive = _row("gamma", lambda g, out, x: g * (out * polygamma(x, n=0)),
    text="Γ({0})", latex=r"\Gamma\left({0}\right)")
gammaln: Primitive = _row("gammaln", lambda g, out, x: g * polygamma(x, n=0),
    text="log Γ({0})", latex=r"\log\Gamma\left({0}\right)")
xlogy: Primitive = _row("xlogy",
    lambda g, out, x, y: g * np.log(y),
    lambda g, out, x, y: g * (x / np.where(x == 0, 1, y).astype(out.dtype)),
    text="{0:power} · log {1:call}", latex=r"{0:power} \log\left({1}\right)",
    binds={"text": "product", "latex": "product"})
xlog1py: Primitive = _row("xlog1py",
    lambda g, out, x, y: g * np.log1p(y),
    lambda g, out, x, y: g * (x / (1 + np.where(x == 0, 0, y).astype(out.dtype))))
betaln: Primitive = _row("betaln",
    lambda g, out, a, b: g * (polygamma(a, n=0) - polygamma(a + b, n=0)),
    lambda g, out, a, b: g * (polygamma(b, n=0) - polygamma(a + b, n=0)))
rgamma: Primitive = _row("rgamma", lambda g, out, x: -g * (out * polygamma(x, n=0)))
erfcinv: Primitive = _row("erfcinv",
    lambda g, out, x: -g * np.exp(np.square(out)) / TWO_OVER_ROOT_PI)
beta: Primitive = _row("beta",
    lambda g, out, a, b: g * (out * (polygamma(a, n=0) - polygamma(a + b, n=0))),
    lambda g, out, a, b: g * (out * (polygamma(b, n=0) - polygamma(a + b, n=0))))
betainc: Primitive = _row("betainc", _no_order, _no_order,
    lambda g, out, a, b, x: g * np.exp(xlogy(a - 1, x) + xlog1py(b - 1, -x) - betaln(a, b)))
gammainc: Primitive = _row("gammainc", _no_order,
    lambda g, out, a, x: g * np.exp(xlogy(a - 1, x) - x - gammaln(a)))
gammaincc: Primitive = _row("gammaincc", _no_order,
    lambda g, out, a, x: -g * np.exp(xlogy(a - 1, x) - x - gammaln(a)))
gammasgn: Primitive = _row("gammasgn")

# Bessel functions: 2 Z′ₙ = Zₙ₋₁ − Zₙ₊₁ for J and Y, and Zₙ₋₁ + Zₙ₊₁ for I.
jv: Primitive = _row("jv", _no_order, lambda g, out, n, x: g * (jv(n - 1, x) - jv(n + 1, x)) / 2)
yv: Primitive = _row("yv", _no_order, lambda g, out, n, x: g * (yv(n - 1, x) - yv(n + 1, x)) / 2)
yn: Primitive = _row("yn", _no_order, lambda g, out, n, x: g * (yv(n - 1, x) - yv(n + 1, x)) / 2)
iv: Primitive = _row("iv", _no_order, lambda g, out, n, x: g * (iv(n - 1, x) + iv(n + 1, x)) / 2)
ive: Primitive = _row("ive", _no_order,
    lambda g, out, n, x: g * ((ive(n - 1, x) + ive(n + 1, x)) / 2 - out * np.sign(x)))
j0: Primitive = _row("j0", lambda g, out, x: -g * j1(x))
j1: Primitive = _row("j1", lambda g, out, x: g * (j0(x) - jv(2, x)) / 2)
y0: Primitive = _row("y0", lambda g, out, x: -g * y1(x))
y1: Primitive = _row("y1", lambda g, out, x: g * (y0(x) - yv(2, x)) / 2)
i0: Primitive = _row("i0", lambda g, out, x: g * i1(x))
i1: Primitive = _row("i1", lambda g, out, x: g * (i0(x) + iv(2, x)) / 2)
polygamma: Primitive = Primitive("polygamma", "ψ",
    _polygamma,
    lambda g, out, x, n: g * polygamma(x, n=n + 1),
    text="ψ⁽{n}⁾({0})", latex=r"\psi^{{({n})}}\left({0}\right)",
    numpy="special.polygamma({n}, {0})")
# fmt: on

ROWS = frozenset(name for name, row in TABLE.items() if row.home == __name__) - {"polygamma"}


IN_PLACE = ("scipy.special.logsumexp", "scipy.special.log_softmax")
"""Functions of SciPy that take what `trace` hands them for an array, and then write into it."""


def known(ufunc: np.ufunc) -> Any:
    """Give the row of one of SciPy's ufuncs, or None."""
    special = sys.modules.get("scipy.special")
    name = ufunc.__name__
    if special is None or getattr(special, name, None) is not ufunc:
        return None
    if name in ("psi", "digamma"):
        return lambda x: polygamma(x, n=0)
    return TABLE[name] if name in ROWS else None


def refused() -> str:
    """Name the function of SciPy that is asking for an array, as a person calls it, or give ''."""
    frame: FrameType | None = sys._getframe(1)
    name = ""
    while frame is not None:
        home = frame.f_globals.get("__name__", "").split(".")
        if home[0] == "scipy":
            owner = getattr(frame.f_locals.get("self"), "name", None)
            of = f"{owner}." if isinstance(owner, str) else ""
            name = ".".join([*home[:2], f"{of}{frame.f_code.co_name}"])
        elif name:
            break
        frame = frame.f_back
    return name
