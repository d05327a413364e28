"""The staged backward pass written by hand, and how large an error against it may be.

Nothing here is differentiated: the ten lines of `Derivation.staged_gradients` are the derivation as
a person writes it, for floats and for fractions, and what autodiff finds is held against them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from tinygraph.batchnorm.formulas import Layout
from tinygraph.engine import ops
from tinygraph.engine.autodiff import reachable, unbroadcast
from tinygraph.graph.snapshot import Graph
from tinygraph.writing.formulas import Notation

__all__ = [
    "NAMES",
    "Batch",
    "ClosedForm",
    "Derivation",
    "Error",
    "answers",
    "feature_name",
    "held_by_step",
]

NAMES = ("dx", "dgamma", "dbeta")

ClosedForm = Callable[..., tuple[Any, Any, Any]]

# Bounds are (ROUNDINGS + √N) · (1 + max|x|/√(var + eps)) units of rounding: over random batches
# with N from 2 to 8192, right pairs stay below half of it. Where a bound passes MOST_BOUND,
# rounding hides what is right.
ROUNDINGS = 32
MOST_BOUND = 3e-3


def answers(closed: ClosedForm, *given: Any, **options: Any) -> dict[str, Any]:
    """Ask a closed form for dx, dgamma and dbeta; it may use what it is given as it likes."""
    answer = closed(*(a.copy() for a in given), **options)
    if not isinstance(answer, tuple | list) or len(answer) != len(NAMES):
        raise ValueError(
            "compare: the closed form is called as closed(x, gamma, dout, eps=…, axis=…) and must "
            f"return dx, dgamma and dbeta; it returned {type(answer).__name__}"
            + (f" of {len(answer)}" if isinstance(answer, tuple | list) else "")
        )
    return dict(zip(NAMES, map(np.asarray, answer), strict=True))


class Error(NamedTuple):
    """A scaled error, and what it may be."""

    value: float
    bound: float

    @property
    def ratio(self) -> float:
        """The share of what it may be."""
        return self.value / self.bound


class Derivation:
    """One batch with its statistics, and the staged backward pass through it, written by hand.

    Where `layout` lets leading axes vanish, all sums here keep them, with length 1.
    """

    def __init__(self, x: Any, gamma: Any, dout: Any, eps: Any, where: Layout) -> None:
        self.axis, self.n, self.gamma_shape = where.axis, round(1 / where.per_n), gamma.shape
        gamma = gamma.reshape((1,) * (x.ndim - len(where.shape)) + where.shape)
        with np.errstate(all="ignore"):
            xmu = x - self.mean(x)
            sqrtvar = ops.sqrt(self.mean(xmu * xmu) + eps)
        self.values = {"gamma": gamma, "dout": dout, "xmu": xmu, "sqrtvar": sqrtvar}

    def sum(self, a: Any) -> Any:
        """Σ over the batch."""
        return np.sum(a, axis=self.axis, keepdims=True)

    def mean(self, a: Any) -> Any:
        """1/N Σ over the batch."""
        return self.sum(a) / self.n

    def staged_gradients(self, absolute: bool = False) -> dict[str, Any]:
        """Write the staged backward pass out by hand, steps 9 … 0.

        With `absolute`, every term is taken without its sign. That is how large the terms are
        whose difference a gradient may be.
        """
        v = {k: np.abs(a) for k, a in self.values.items()} if absolute else self.values
        minus = 1 if absolute else -1
        gamma, dout, xmu, sqrtvar = v["gamma"], v["dout"], v["xmu"], v["sqrtvar"]
        with np.errstate(all="ignore"):
            ivar = 1 / sqrtvar
            xhat = xmu * ivar
            dbeta, dgammax = dout, dout
            dgamma, dxhat = dgammax * xhat, dgammax * gamma
            divar, dxmu1 = self.sum(dxhat * xmu), dxhat * ivar
            dsqrtvar = minus * divar / sqrtvar**2
            dvar = dsqrtvar / (2 * sqrtvar)
            dsq = np.broadcast_to(dvar / self.n, xmu.shape)
            dxmu2 = 2 * xmu * dsq
            dx1 = dxmu = dxmu1 + dxmu2
            dmu = minus * self.sum(dxmu)
            dx2 = np.broadcast_to(dmu / self.n, xmu.shape)
            dx = dx1 + dx2
        found = {
            "dout": dout, "dgammax": dgammax, "dxhat": dxhat, "divar": divar, "dvar": dvar,
            "dsqrtvar": dsqrtvar, "dsq": dsq, "dxmu": dxmu, "dmu": dmu, "dx": dx,
        }  # fmt: skip
        by_gamma = {"dgamma": dgamma, "dbeta": dbeta}
        return found | {
            name: unbroadcast(g, gamma).reshape(self.gamma_shape) for name, g in by_gamma.items()
        }


class Batch(Derivation):
    """One batch of floats, and how large an error in it may be."""

    def __init__(self, x: Any, gamma: Any, dout: Any, eps: float, where: Layout) -> None:
        super().__init__(x, gamma, dout, eps, where)
        self.finite = np.isfinite(x).all(self.axis, keepdims=True)
        self.finite &= np.isfinite(dout).all(self.axis, keepdims=True)
        self.left_out = int(np.sum(~self.finite))
        if not self.finite.any():
            raise ValueError(
                f"batchnorm: x of shape {x.shape} and dout have no feature that is all finite"
            )
        sqrtvar = self.values["sqrtvar"]
        self._refuse(np.isinf(sqrtvar), f"the variance overflows in {x.dtype}; use a wider dtype")
        self._refuse(sqrtvar == 0, "all values are equal and eps is 0: 1/√0; use eps > 0")
        with np.errstate(all="ignore"):
            size = np.abs(self.values["gamma"] * dout).max(self.axis, keepdims=True) / sqrtvar
            # x − mu carries the rounding of x itself, which is large where the mean is.
            condition = 1 + np.abs(x).max(self.axis, keepdims=True).astype(np.float64) / sqrtvar
        self.bound = np.finfo(x.dtype).eps * (ROUNDINGS + np.sqrt(self.n)) * condition
        self._refuse(
            self.bound > MOST_BOUND,
            f"rounding in {x.dtype} hides what is right and wrong here; use a wider dtype, or "
            "subtract an offset from values that differ little",
        )
        self.scales = self.staged_gradients(absolute=True) | {"dx": size}

    def _refuse(self, bad: Any, why: str) -> None:
        bad = np.argwhere(bad & self.finite)
        if len(bad):
            raise ValueError(f"batchnorm: x, {feature_name(bad[0], self.axis)}: {why}")

    def check_finite(self, dx: Any) -> None:
        """Raise if a gradient overflowed on the way."""
        bad = ~np.isfinite(dx).all(self.axis, keepdims=True)
        self._refuse(bad, f"its gradient overflows in {dx.dtype}; use a wider dtype or larger eps")

    def error(self, a: Any, b: Any, name: str) -> Error:
        """Give |a − b| over the size of the terms, of the feature closest to its bound."""
        scale = self.scales[name]
        if a.shape != b.shape:
            return Error(np.inf, self.largest_bound)
        if scale.shape == self.finite.shape or scale.ndim == self.finite.ndim:
            scale = scale.max(self.axis, keepdims=True)
        with np.errstate(invalid="ignore"):
            difference = np.abs(a - b)
        if difference.size == scale.size:
            difference = difference.reshape(scale.shape)
        bound = self.bound if scale.size == self.bound.size else self.largest_bound
        bound = np.reshape(bound, scale.shape if np.size(bound) > 1 else ())
        with np.errstate(all="ignore"):
            value = np.where(difference == 0, 0, difference / scale)
        value, bound = np.broadcast_arrays(value, bound)
        kept = self.kept(value)
        value, bound = value[kept], bound[kept]
        if not value.size:
            return Error(0.0, self.largest_bound)
        k = np.argmax(np.where(np.isnan(value), np.inf, value / bound))
        return Error(float(value[k]), float(bound[k]))

    def kept(self, a: Any) -> Any:
        """Choose the entries of `a` whose features are finite in the input."""
        if a.ndim == self.finite.ndim and a.shape != self.finite.shape:
            return np.broadcast_to(self.finite, a.shape)
        if a.size == self.finite.size:
            return self.finite.reshape(a.shape)
        return np.broadcast_to(self.finite.all(), a.shape)  # LayerNorm's gamma serves them all

    @property
    def largest_bound(self) -> float:
        """The bound of the feature that rounding hurts most."""
        return float(np.max(self.bound[self.finite]))

    def difference(self, a: Any, b: Any) -> float:
        """Give the largest |a − b|; infinite if they differ in shape."""
        if a.shape != b.shape:
            return np.inf
        with np.errstate(invalid="ignore"):
            return self._largest(np.abs(a - b))

    def relative(self, a: Any, b: Any) -> float:
        """Give the largest |a − b| / max(1e-8, |a| + |b|), as course notebooks do."""
        if a.shape != b.shape:
            return np.inf
        with np.errstate(invalid="ignore"):
            return self._largest(np.abs(a - b) / np.maximum(1e-8, np.abs(a) + np.abs(b)))

    def _largest(self, a: Any) -> float:
        return float(np.max(a[self.kept(a)], initial=0.0))


def feature_name(place: Iterable[int], axis: tuple[int, ...]) -> str:
    """Name the feature at a place in an array whose batch axes have length 1."""
    return "feature " + ", ".join(str(k) for d, k in enumerate(place) if d not in axis)


def held_by_step(
    graph: Graph, out: Any, derivation: Derivation
) -> Iterator[tuple[int, str, str, Any, Any]]:
    """Yield number, name, formula and gradient of every step, the last by autodiff and by hand."""
    tensors = {t.name: t for t in reachable([out])}
    by_hand = derivation.staged_gradients()
    notation = Notation(graph)
    sources = [(s.number, s.name, notation.formula(s.result)) for s in graph.steps]
    for number, name, formula in [(0, "x", "the batch"), *sources]:
        g = tensors[name].grad
        yield number, name, formula, g, by_hand[f"d{name}"].reshape(g.shape)
