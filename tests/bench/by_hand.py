"""What a person writes without an engine: the gradients that all engines are checked against."""

import numpy as np

EPS = 1e-5


def chain(nodes, dout, h, w, b):
    """Differentiate h ← h · w + b, `nodes` / 2 times over, in Python's numbers."""
    hs = []
    for _ in range(nodes // 2):
        hs.append(h)
        h = h * w + b
    dh, dw, db = dout, 0.0, 0.0
    for h in reversed(hs):
        db += dh
        dw += dh * h
        dh *= w
    return dh, dw, db


def staged(dout, x, gamma, beta):
    """Differentiate BatchNorm in nine steps each way, as in F. Kratzert's article of 2016.

    Only the ones that spread a row over the batch are given x's dtype here; his are always float64
    and would slow the float32 down.
    """
    n = len(x)
    mu = 1 / n * np.sum(x, axis=0)
    xmu = x - mu
    sq = xmu**2
    var = 1 / n * np.sum(sq, axis=0)
    sqrtvar = np.sqrt(var + EPS)
    ivar = 1 / sqrtvar
    xhat = xmu * ivar
    gammax = gamma * xhat
    out = gammax + beta  # noqa: F841, the forward pass belongs to the work

    dbeta = np.sum(dout, axis=0)
    dgammax = dout
    dgamma = np.sum(dgammax * xhat, axis=0)
    dxhat = dgammax * gamma
    divar = np.sum(dxhat * xmu, axis=0)
    dxmu1 = dxhat * ivar
    dsqrtvar = -1 / sqrtvar**2 * divar
    dvar = 0.5 * 1 / np.sqrt(var + EPS) * dsqrtvar
    dsq = 1 / n * np.ones(x.shape, x.dtype) * dvar
    dxmu2 = 2 * xmu * dsq
    dx1 = dxmu1 + dxmu2
    dmu = -1 * np.sum(dxmu1 + dxmu2, axis=0)
    dx2 = 1 / n * np.ones(x.shape, x.dtype) * dmu
    dx = dx1 + dx2
    return dx, dgamma, dbeta


def _statistics(x):
    """Give x − mu and 1/√(var + eps)."""
    per_n = 1 / len(x)
    xmu = x - per_n * np.add.reduce(x)
    return xmu, 1 / np.sqrt(per_n * np.einsum("nd,nd->d", xmu, xmu) + EPS)


def _differentiate(dout, xmu, ivar, gamma):
    """Give the closed form, with dx in place of xmu.

    dx = gamma · ivar · (dout − m(dout) − xmu · ivar² · m(dout · xmu)), m being the mean over rows.
    """
    per_n = 1 / len(xmu)
    dbeta = np.add.reduce(dout)
    dgamma = np.einsum("nd,nd->d", dout, xmu) * ivar
    xmu *= -per_n * dgamma * ivar
    xmu += dout
    xmu -= per_n * dbeta
    xmu *= gamma * ivar
    return xmu, dgamma, dbeta


def closed_form(dout, x, gamma, beta):
    """Differentiate BatchNorm by the closed form in few passes, without its output."""
    return _differentiate(dout, *_statistics(x), gamma)


def forward_and_closed_form(dout, x, gamma, beta):
    """Compute BatchNorm, then differentiate it by the closed form in few passes."""
    xmu, ivar = _statistics(x)
    out = xmu * (gamma * ivar)
    out += beta
    return _differentiate(dout, xmu, ivar, gamma)
