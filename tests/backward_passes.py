"""Forward functions and their backward passes as students write them, right and wrong."""

# ruff: noqa: RUF059 - a student unpacks the whole cache

import inspect
import linecache

import numpy as np


def batchnorm(x, gamma, beta, eps=1e-5):
    N, D = x.shape
    mu = 1.0 / N * np.sum(x, axis=0)
    xmu = x - mu
    sq = xmu**2
    var = 1.0 / N * np.sum(sq, axis=0)
    sqrtvar = np.sqrt(var + eps)
    ivar = 1.0 / sqrtvar
    xhat = xmu * ivar
    gammax = gamma * xhat
    out = gammax + beta
    cache = (xhat, gamma, xmu, ivar, sqrtvar, var, eps)
    return out, cache


def batchnorm_backward(dout, cache):
    xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
    N, D = dout.shape
    dbeta = np.sum(dout, axis=0)
    dgammax = dout
    dgamma = np.sum(dgammax * xhat, axis=0)
    dxhat = dgammax * gamma
    divar = np.sum(dxhat * xmu, axis=0)
    dxmu1 = dxhat * ivar
    dsqrtvar = -1.0 / (sqrtvar**2) * divar
    dvar = 0.5 * 1.0 / np.sqrt(var + eps) * dsqrtvar
    dsq = 1.0 / N * np.ones((N, D)) * dvar
    dxmu2 = 2 * xmu * dsq
    dx1 = dxmu1 + dxmu2
    dmu = -1 * np.sum(dxmu1 + dxmu2, axis=0)
    dx2 = 1.0 / N * np.ones((N, D)) * dmu
    dx = dx1 + dx2
    return dx, dgamma, dbeta


def batchnorm_short(dout, cache):
    xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
    N = dout.shape[0]
    dbeta = dout.sum(axis=0)
    dgamma = (dout * xhat).sum(axis=0)
    dxhat = dout * gamma
    mean_d = dxhat.sum(axis=0) / N
    mean_p = (dxhat * xhat).sum(axis=0) / N
    dx = ivar * (dxhat - mean_d - xhat * mean_p)
    return dx, dgamma, dbeta


def batchnorm_one_line(dout, cache):
    xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
    N = dout.shape[0]
    dbeta = np.sum(dout, axis=0)
    dgamma = np.sum(xhat * dout, axis=0)
    dx = (gamma * ivar / N) * (N * dout - xhat * dgamma - dbeta)
    return dx, dgamma, dbeta


def batchnorm_in_place(dout, cache):
    xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
    grads = {}
    grads["beta"] = dout.sum(0)
    grads["gamma"] = (dout * xhat).sum(0)
    dx = dout * gamma
    dx -= dx.mean(0) + xhat * (dx * xhat).mean(0)
    dx *= ivar
    grads["x"] = dx
    return grads


def layernorm(x, gamma, beta, eps=1e-5):
    mean = np.mean(x, axis=1, keepdims=True)
    xc = x - mean
    var = np.mean(xc * xc, axis=1, keepdims=True)
    std = np.sqrt(var + eps)
    xhat = xc / std
    out = gamma * xhat + beta
    return out, {"xhat": xhat, "xc": xc, "std": std, "gamma": gamma}


def layernorm_backward(dout, cache):
    xhat, xc = cache["xhat"], cache["xc"]
    std, gamma = cache["std"], cache["gamma"]
    D = dout.shape[1]
    dbeta = dout.sum(axis=0)
    dgamma = (dout * xhat).sum(axis=0)
    dxhat = dout * gamma
    dstd = np.sum(-dxhat * xc / std**2, axis=1, keepdims=True)
    dvar = dstd / (2 * std)
    dxc = dxhat / std + dvar * 2 * xc / D
    dmean = -np.sum(dxc, axis=1, keepdims=True)
    dx = dxc + dmean / D
    return dx, dgamma, dbeta


def cross_entropy(scores, y):
    shifted = scores - np.max(scores, axis=1, keepdims=True)
    e = np.exp(shifted)
    Z = np.sum(e, axis=1, keepdims=True)
    p = e / Z
    N = scores.shape[0]
    loss = -np.sum(np.log(p[np.arange(N), y])) / N
    return loss, (p, y)


def cross_entropy_backward(dloss, cache):
    p, y = cache
    N = p.shape[0]
    dscores = p.copy()
    dscores[np.arange(N), y] -= 1
    dscores /= N
    dscores *= dloss
    return dscores


def affine(x, w, b):
    rows = x.reshape(x.shape[0], -1)
    out = rows @ w + b
    return out, (x, w, b)


def affine_backward(dout, cache):
    x, w, b = cache
    drows = dout.dot(w.T)
    dx = drows.reshape(x.shape)
    rows = x.reshape(x.shape[0], -1)
    dw = rows.T.dot(dout)
    db = np.sum(dout, axis=0)
    return dx, dw, db


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def lstm_step(x, prev_h, prev_c, Wx, Wh, b):
    H = prev_h.shape[1]
    a = x @ Wx + prev_h @ Wh + b
    i = sigmoid(a[:, :H])
    f = sigmoid(a[:, H : 2 * H])
    o = sigmoid(a[:, 2 * H : 3 * H])
    g = np.tanh(a[:, 3 * H :])
    next_c = f * prev_c + i * g
    t = np.tanh(next_c)
    next_h = o * t
    return next_h, next_c, (x, prev_h, prev_c, Wx, Wh, i, f, o, g, t)


def lstm_step_backward(dnext_h, dnext_c, cache):
    x, prev_h, prev_c, Wx, Wh, i, f, o, g, t = cache
    do = dnext_h * t
    dt = dnext_h * o
    dc = dnext_c + dt * (1 - t**2)
    df = dc * prev_c
    di = dc * g
    dg = dc * i
    dprev_c = dc * f
    da = np.hstack([di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g**2)])
    dx = da.dot(Wx.T)
    dprev_h = da.dot(Wh.T)
    dWx = x.T.dot(da)
    dWh = prev_h.T.dot(da)
    db = da.sum(axis=0)
    return dx, dprev_h, dprev_c, dWx, dWh, db


_RNG = np.random.default_rng(11)
N = _RNG.normal
_NORM = (N(size=(7, 5)), N(size=5), N(size=5))
ARGUMENTS = {
    batchnorm: _NORM,
    layernorm: _NORM,
    cross_entropy: (N(size=(7, 4)), np.array([0, 3, 1, 1, 2, 3, 0])),
    affine: (N(size=(4, 2, 3)), N(size=(6, 5)), N(size=5)),
    lstm_step: (
        N(size=(3, 5)),
        N(size=(3, 4)),
        N(size=(3, 4)),
        N(size=(5, 16)),
        N(size=(4, 16)),
        N(size=16),
    ),
}

RIGHT = [
    (batchnorm, batchnorm_backward),
    (batchnorm, batchnorm_short),
    (batchnorm, batchnorm_one_line),
    (batchnorm, batchnorm_in_place),
    (layernorm, layernorm_backward),
    (cross_entropy, cross_entropy_backward),
    (affine, affine_backward),
    (lstm_step, lstm_step_backward),
]

# What is replaced by what, and the beginning of the line that is wrong then.
WRONG = [
    (batchnorm, batchnorm_backward, "0.5 * 1.0 /", "1.0 /", "dvar ="),
    (batchnorm, batchnorm_backward, "dsq = 1.0 / N * ", "dsq = ", "dsq ="),
    (batchnorm, batchnorm_backward, "-1 * np.sum(dxmu1", "np.sum(dxmu1", "dmu ="),
    (batchnorm, batchnorm_backward, "dx = dx1 + dx2", "dx = dx1", "dx ="),
    (batchnorm, batchnorm_backward, "dx1 = dxmu1 + dxmu2", "dx1 = dxmu1", "dx1 ="),
    (batchnorm, batchnorm_backward, "-1.0 / (sqrtvar**2)", "1.0 / (sqrtvar**2)", "dsqrtvar ="),
    (batchnorm, batchnorm_backward, "-1.0 / (sqrtvar**2)", "-1.0 / sqrtvar", "dsqrtvar ="),
    (batchnorm, batchnorm_backward, "np.sqrt(var + eps)", "(np.sqrt(var) + eps)", "dvar ="),
    (batchnorm, batchnorm_backward, "2 * xmu * dsq", "xmu * dsq", "dxmu2 ="),
    (batchnorm, batchnorm_backward, "np.sum(dxhat * xmu, axis=0)", "dxhat * xmu", "divar ="),
    (batchnorm, batchnorm_backward, "dxhat = dgammax * gamma", "dxhat = dgammax", "dxhat ="),
    (batchnorm, batchnorm_backward, "dxhat * ivar", "dxhat * sqrtvar", "dxmu1 ="),
    (batchnorm, batchnorm_backward, "dgammax * xhat, axis=0", "dgammax * xmu, axis=0", "dgamma ="),
    (batchnorm, batchnorm_backward, "np.sum(dout, axis=0)", "np.sum(dout, axis=1)", "dbeta ="),
    (batchnorm, batchnorm_backward, "np.sum(dout, axis=0)", "np.mean(dout, axis=0)", "dbeta ="),
    (
        batchnorm,
        batchnorm_backward,
        "np.sum(dout, axis=0)",
        "np.sum(dout, axis=0, keepdims=True)",
        "dbeta =",
    ),
    (batchnorm, batchnorm_backward, "dx2 = 1.0 / N *", "dx2 = 1.0 / (N - 1) *", "dx2 ="),
    (batchnorm, batchnorm_short, "(dxhat - mean_d - xhat", "(dxhat + mean_d - xhat", "dx ="),
    (batchnorm, batchnorm_short, "(dxhat - mean_d - xhat * mean_p)", "(dxhat - mean_d)", "dx ="),
    (
        batchnorm,
        batchnorm_short,
        "(dxhat * xhat).sum(axis=0) / N",
        "(dxhat * xhat).sum(axis=0)",
        "mean_p =",
    ),
    (
        batchnorm,
        batchnorm_short,
        "dxhat.sum(axis=0) / N",
        "dxhat.sum(axis=1, keepdims=True) / N",
        "mean_d =",
    ),
    (batchnorm, batchnorm_one_line, "gamma * ivar / N", "ivar / N", "dx ="),
    (batchnorm, batchnorm_one_line, "N * dout", "dout", "dx ="),
    (batchnorm, batchnorm_one_line, "- xhat * dgamma", "- xmu * dgamma", "dx ="),
    (batchnorm, batchnorm_in_place, "dx *= ivar", "dx /= ivar", "dx /= ivar"),
    (layernorm, layernorm_backward, "/ std**2, axis=1", "/ std, axis=1", "dstd ="),
    (layernorm, layernorm_backward, "dvar * 2 * xc / D", "dvar * 2 * xc", "dxc ="),
    (layernorm, layernorm_backward, "dx = dxc + dmean / D", "dx = dxc - dmean / D", "dx ="),
    (layernorm, layernorm_backward, "-np.sum(dxc, axis=1, ", "-np.sum(dxc, axis=0, ", "dmean ="),
    (layernorm, layernorm_backward, "dxhat * xc / std**2", "dxhat * xhat / std**2", "dstd ="),
    (
        layernorm,
        layernorm_backward,
        "(dout * xhat).sum(axis=0)",
        "(dout * xhat).sum(axis=1)",
        "dgamma =",
    ),
    (cross_entropy, cross_entropy_backward, "-= 1", "-= p[np.arange(N), y]", "dscores["),
    (cross_entropy, cross_entropy_backward, "-= 1", "+= 1", "dscores["),
    (cross_entropy, cross_entropy_backward, "dscores /= N", "dscores /= p.shape[1]", "dscores /="),
    (cross_entropy, cross_entropy_backward, "    dscores /= N\n", "", "dscores *="),
    (affine, affine_backward, "rows.T.dot(dout)", "dout.T.dot(rows)", "dw ="),
    (affine, affine_backward, "np.sum(dout, axis=0)", "np.sum(dout)", "db ="),
    (lstm_step, lstm_step_backward, "dnext_c + dt * (1 - t**2)", "dt * (1 - t**2)", "dc ="),
    (lstm_step, lstm_step_backward, "(1 - t**2)", "(1 - t)", "dc ="),
    (lstm_step, lstm_step_backward, "df = dc * prev_c", "df = dc * f", "df ="),
    (lstm_step, lstm_step_backward, "dprev_c = dc * f", "dprev_c = dnext_c * f", "dprev_c ="),
    (lstm_step, lstm_step_backward, "dg * (1 - g**2)", "dg * g * (1 - g)", "da ="),
    (lstm_step, lstm_step_backward, "da.dot(Wh.T)", "da.dot(Wx[:4].T)", "dprev_h ="),
    (lstm_step, lstm_step_backward, "di = dc * g", "di = dc * i", "di ="),
]


def changed(function, old, new):
    """Give a function with a part of its text replaced, with a source that can be read."""
    text = inspect.getsource(function)
    if text.count(old) != 1:
        raise ValueError(f"{function.__name__} has {old!r} {text.count(old)} times")
    text = text.replace(old, new)
    name = f"<{function.__name__}: {old} -> {new}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space = {}
    exec(compile(text, name, "exec"), function.__globals__, space)
    return space[function.__name__]
