"""The staged backward pass written by hand, for floats and for fractions.

Nothing here is differentiated: the ten lines of `Derivation.staged_gradients` are the derivation as
a person writes it, and what autodiff finds is held against them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygraph.checks.batches import Batch
from tinygraph.engine import ops
from tinygraph.engine.autodiff import unbroadcast

__all__ = ["Derivation"]


class Derivation:
    """One batch with its statistics, and the staged backward pass through it, written by hand.

    Everything has as many axes as x. Where `layout` lets leading axes vanish, all sums here keep
    them, with length 1.
    """

    def __init__(self, batch: Batch) -> None:
        self.batch, self.axis = batch, batch.layout.axis
        self.n = math.prod(batch.x.shape[k] for k in self.axis)
        self.gamma, self.dout = self.aligned(batch.gamma.reshape(batch.layout.shape)), batch.dout
        with np.errstate(all="ignore"):
            self.xmu = batch.x - self.mean(batch.x)
            self.sqrtvar = ops.sqrt(self.mean(self.xmu * self.xmu) + batch.eps)

    def aligned(self, a: Any) -> Any:
        """Give an array that broadcasts with x as many axes as x."""
        return a.reshape((1,) * (self.batch.x.ndim - a.ndim) + a.shape)

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
        minus = 1 if absolute else -1
        gamma, dout, xmu, sqrtvar = (
            np.abs(a) if absolute else a for a in (self.gamma, self.dout, self.xmu, self.sqrtvar)
        )
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
        return {
            "dout": dout, "dgammax": dgammax, "dxhat": dxhat, "divar": divar, "dvar": dvar,
            "dsqrtvar": dsqrtvar, "dsq": dsq, "dxmu": dxmu, "dmu": dmu, "dx": dx,
            "dgamma": unbroadcast(dgamma, gamma), "dbeta": unbroadcast(dbeta, gamma),
        }  # fmt: skip
