"""Three ways to differentiate BatchNorm, and how far each is off over many rows."""

from functools import partial

import numpy as np
import pytest

from tinygraph import Tensor, grad
from tinygraph.batchnorm import closed_form, normalize, staged

EPS = 1e-5


def differentiate(forward, x, gamma, beta, dout, eps, axis=0):
    tensors = [Tensor(a) for a in (x, gamma, beta)]
    out = forward(*tensors, eps=eps, axis=axis)
    dx, dgamma, dbeta = grad(out, tensors, dout)
    return {"out": out.data, "dx": dx, "dgamma": dgamma, "dbeta": dbeta}


def in_closed_form(x, gamma, beta, dout, eps, axis=0):
    dx, dgamma, dbeta = closed_form(x, gamma, dout, eps=eps, axis=axis)
    return {"dx": dx, "dgamma": dgamma, "dbeta": dbeta}


WAYS = {
    "staged": partial(differentiate, staged),
    "fused": partial(differentiate, normalize),
    "closed form": in_closed_form,
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


MILLION = 10**6


def drawn(shape, mean=0.0, dtype="float32"):
    """Draw x, gamma of both signs, beta and a random upstream gradient."""
    rng = np.random.default_rng(0)
    x, dout = (rng.standard_normal(shape, "float32").astype(dtype) for _ in range(2))
    x += x.dtype.type(mean)
    gamma, beta = rng.uniform(0.5, 2, (2, shape[1])).astype(dtype)
    gamma[1::2] *= -1
    return x, gamma, beta, dout


def total(f, *arrays):
    """Add f of the rows in longdouble, a million rows at a time."""
    starts = range(0, len(arrays[0]), MILLION)
    return sum(
        np.sum(f(*(a[i : i + MILLION].astype(np.longdouble) for a in arrays)), axis=0)
        for i in starts
    )


def errors(found, x, gamma, beta, dout, eps=EPS):
    """Hold results against the closed form with sums in longdouble, entries in float64."""
    n = len(x)
    mu = total(lambda v: v, x) / n
    s = np.sqrt(total(lambda v: (v - mu) ** 2, x) / n + eps)
    dgamma, dbeta = total(lambda v, g: g * (v - mu) / s, x, dout), total(lambda g: g, dout)
    sizes, largest = total(np.abs, dout), np.max(np.abs(dout), axis=0)
    worst = {
        "out": 0.0,
        "dx": 0.0,
        "dgamma": np.max(np.abs(found["dgamma"] - dgamma) / sizes),
        "dbeta": np.max(np.abs(found["dbeta"] - dbeta) / sizes),
    }
    level, along, mu, s = (a.astype(np.float64) for a in (dbeta / n, dgamma / n, mu, s))
    for i in range(0, n, MILLION):
        rows = slice(i, i + MILLION)
        xhat = (x[rows] - mu) / s
        dx = (found["dx"][rows] * (s / gamma) - (dout[rows] - level - xhat * along)) / largest
        worst["dx"] = max(worst["dx"], np.max(np.abs(dx)))
        if "out" in found:
            off = np.max(np.abs((found["out"][rows] - beta) / gamma - xhat))
            worst["out"] = max(worst["out"], off)
    return {name: float(value) for name, value in worst.items()}
