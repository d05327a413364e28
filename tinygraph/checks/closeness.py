"""How large an error of floats may be: a judge of gradients, feature by feature.

**The error is scaled by what the terms are made of**, |a − b| / (|gamma|/√(var + eps) · max |dout|)
per feature. dx is a small difference of large terms, so that an error relative to dx itself would
blame the subtraction on the formula.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygraph.checks.batches import NAMES, feature_name
from tinygraph.checks.by_hand import Derivation
from tinygraph.checks.reports import Closeness, Error

__all__ = ["Judge"]

# Bounds are (ROUNDINGS + √N) · (1 + max|x|/√(var + eps)) units of rounding: over random batches
# with N from 2 to 8192, right pairs stay below half of it. Where a bound passes MOST_BOUND,
# rounding hides what is right.
ROUNDINGS = 32
MOST_BOUND = 3e-3


class Judge:
    """Holds gradients of one batch of floats beside each other.

    All arrays here have as many axes as x. A feature is a place along the axes that are not summed
    over; its finiteness and its bound are arrays of length 1 along the others.
    """

    def __init__(self, derivation: Derivation) -> None:
        batch, sqrtvar = derivation.batch, derivation.sqrtvar
        self.aligned, self.axis = derivation.aligned, derivation.axis
        finite = np.isfinite(batch.x) & np.isfinite(batch.dout)
        self.finite = finite.all(self.axis, keepdims=True)
        if not self.finite.any():
            raise ValueError(
                f"batchnorm: x of shape {batch.x.shape} and dout have no feature that is all finite"
            )
        dtype = batch.x.dtype
        self._refuse(np.isinf(sqrtvar), f"the variance overflows in {dtype}; use a wider dtype")
        self._refuse(sqrtvar == 0, "all values are equal and eps is 0: 1/√0; use eps > 0")
        scales = derivation.staged_gradients(absolute=True)
        with np.errstate(all="ignore"):
            scales["dx"] = np.abs(derivation.gamma * batch.dout) / sqrtvar
            # x − mu carries the rounding of x itself, which is large where the mean is.
            condition = 1 + np.abs(batch.x).max(self.axis, keepdims=True) / sqrtvar.astype(float)
        self.bound = np.finfo(dtype).eps * (ROUNDINGS + np.sqrt(derivation.n)) * condition
        self._refuse(
            self.bound > MOST_BOUND,
            f"rounding in {dtype} hides what is right and wrong here; use a wider dtype, or "
            "subtract an offset from values that differ little",
        )
        self.largest_bound = float(self.bound[self.finite].max())
        self.gamma_shape = derivation.gamma.shape
        self.scales = {
            name: scale if name in NAMES[1:] else scale.max(self.axis, keepdims=True)
            for name, scale in scales.items()
        }

    @property
    def left_out(self) -> int:
        """How many features are not judged."""
        return int(np.sum(~self.finite))

    def _refuse(self, bad: Any, why: str) -> None:
        bad = np.argwhere(bad & self.finite)
        if len(bad):
            raise ValueError(f"batchnorm: x, {feature_name(bad[0], self.axis)}: {why}")

    def check_finite(self, dx: Any) -> None:
        """Raise if a gradient overflowed on the way."""
        bad = ~np.isfinite(dx).all(self.axis, keepdims=True)
        self._refuse(bad, f"its gradient overflows in {dx.dtype}; use a wider dtype or larger eps")

    def __call__(self, name: str, found: Any, expected: Any) -> Closeness:
        """Hold a gradient beside the same one found in another way."""
        if found.shape != expected.shape:
            return Closeness(name, np.inf, np.inf, Error(np.inf, self.largest_bound))
        if name in NAMES[1:]:
            found, expected = found.reshape(self.gamma_shape), expected.reshape(self.gamma_shape)
        return self.between(name, self.aligned(found), self.aligned(expected))

    def between(self, name: str, a: Any, b: Any, scale: Any = 1.0, least: float = 0.0) -> Closeness:
        """Compare arrays with as many axes as x, whose terms are `scale` times those of `name`."""
        # An entry that belongs to no feature alone, as those of LayerNorm's gamma, needs them all.
        shared = tuple(d for d, n in enumerate(a.shape) if n == 1 < self.finite.shape[d])
        kept = self.finite.all(shared, keepdims=True)
        bound = np.max(self.bound, shared, keepdims=True, where=self.finite, initial=least)
        with np.errstate(all="ignore"):
            gap, size = np.abs(a - b), np.abs(a) + np.abs(b)
            error = np.where(gap == 0, 0, gap / (scale * self.scales[name]))
            relative = gap / np.maximum(1e-8, size)
        chosen = np.broadcast_to(kept, a.shape)
        gap, relative, error = gap[chosen], relative[chosen], error[chosen]
        bound = np.broadcast_to(bound, a.shape)[chosen]
        if not gap.size:
            return Closeness(name, 0.0, 0.0, Error(0.0, self.largest_bound))
        k = np.argmax(np.where(np.isnan(error), np.inf, error / bound))
        return Closeness(
            name,
            difference=float(gap.max()),
            relative=float(relative.max()),
            error=Error(float(error[k]), float(bound[k])),
        )
