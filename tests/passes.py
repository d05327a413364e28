"""Forward functions and backward passes as people write them, right ones, by name."""

import numpy as np

EPS = 1e-5


def batchnorm_forward(x, gamma, beta, eps):
    N = x.shape[0]
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


def batchnorm_staged(dout, cache):
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


def batchnorm_closed(dout, cache):
    xhat, gamma, _, ivar, _, _, _ = cache
    N = dout.shape[0]
    dbeta = dout.sum(axis=0)
    dgamma = (dout * xhat).sum(axis=0)
    dx = gamma * ivar / N * (N * dout - dbeta - xhat * dgamma)
    return dx, dgamma, dbeta


def batchnorm_simplified(dout, cache):
    """By hand from xmu, with 2.0/N and -1/N folded by Python."""
    xhat, gamma, xmu, ivar, _, var, eps = cache
    N = len(dout)
    dxhat = dout * gamma
    dvar = np.sum(dxhat * xmu * (-0.5) * (var + eps) ** (-1.5), axis=0)
    dmu = np.sum(dxhat * -ivar, axis=0) + dvar * np.mean(-2.0 * xmu, axis=0)
    dx = dxhat * ivar + dvar * (2.0 / N) * xmu - (-1 / N) * dmu
    return {"dx": dx, "dgamma": np.sum(dout * xhat, axis=0), "dbeta": np.sum(dout, axis=0)}


def batchnorm_from_x(dout, x, gamma, beta, eps):
    """All of it again from x."""
    N = x.shape[0]
    centred = x - x.mean(axis=0)
    inv = 1 / np.sqrt(np.mean(centred**2, axis=0) + eps)
    dbeta = dout.sum(axis=0)
    dgamma = (dout * centred * inv).sum(axis=0)
    dx = gamma * inv * (dout - dbeta / N - centred * inv * dgamma / N)
    return dx, dgamma, dbeta


def unbiased_forward(x, gamma, beta):
    N = x.shape[0]
    xmu = x - x.mean(axis=0)
    var = np.sum(xmu**2, axis=0) / (N - 1)
    std = np.sqrt(var + EPS)
    xhat = xmu / std
    out = gamma * xhat + beta
    return out, (gamma, xhat, std)


def unbiased_backward(dout, cache):
    gamma, xhat, std = cache
    N = dout.shape[0]
    dbeta = dout.sum(axis=0)
    dgamma = (dout * xhat).sum(axis=0)
    dx = gamma / std * (dout - dbeta / N - xhat * dgamma / (N - 1))
    return dx, dgamma, dbeta


def images_forward(x, gamma, beta):
    C = x.shape[1]
    mu = x.mean(axis=(0, 2, 3), keepdims=True)
    xmu = x - mu
    var = np.mean(xmu**2, axis=(0, 2, 3), keepdims=True)
    std = np.sqrt(var + EPS)
    xhat = xmu / std
    out = gamma.reshape(1, C, 1, 1) * xhat + beta.reshape(1, C, 1, 1)
    return out, (gamma, xhat, std)


def images_backward(dout, cache):
    gamma, xhat, std = cache
    N, C, H, W = dout.shape
    m = N * H * W
    dbeta = dout.sum(axis=(0, 2, 3))
    dgamma = (dout * xhat).sum(axis=(0, 2, 3))
    b, g = dbeta.reshape(1, C, 1, 1), dgamma.reshape(1, C, 1, 1)
    dx = gamma.reshape(1, C, 1, 1) / std * (dout - b / m - xhat * g / m)
    return dx, dgamma, dbeta


def one_pass_forward(x, gamma, beta):
    mu = np.mean(x, axis=0)
    var = np.mean(x**2, axis=0) - mu**2
    std = np.sqrt(var + EPS)
    xhat = (x - mu) / std
    out = gamma * xhat + beta
    return out, (gamma, xhat, std)


def normalized_backward(dout, cache):
    gamma, xhat, std = cache
    N = dout.shape[0]
    dbeta = dout.sum(axis=0)
    dgamma = (dout * xhat).sum(axis=0)
    dx = gamma / std * (dout - dbeta / N - xhat * dgamma / N)
    return dx, dgamma, dbeta


def recentred_forward(x, gamma, beta):
    x0 = x - np.mean(x, axis=0)
    mu = np.mean(x0, axis=0)
    xmu = x0 - mu
    var = np.mean(xmu**2, axis=0)
    std = np.sqrt(var + EPS)
    xhat = xmu / std
    out = gamma * xhat + beta
    return out, (gamma, xhat, std)


def bare_forward(x, gamma, beta):
    """With eps = 0."""
    xmu = x - np.mean(x, axis=0)
    var = np.mean(xmu**2, axis=0)
    std = np.sqrt(var)
    xhat = xmu / std
    out = gamma * xhat + beta
    return out, (gamma, xhat, std)


def layernorm_forward(x, gamma, beta):
    mu = np.mean(x, axis=1, keepdims=True)
    xmu = x - mu
    var = np.mean(xmu**2, axis=1, keepdims=True)
    std = np.sqrt(var + EPS)
    xhat = xmu / std
    out = gamma * xhat + beta
    return out, (gamma, xhat, std)


def layernorm_backward(dout, cache):
    gamma, xhat, std = cache
    D = dout.shape[1]
    dbeta = dout.sum(axis=0)
    dgamma = (dout * xhat).sum(axis=0)
    dxhat = dout * gamma
    dx = dxhat - dxhat.sum(axis=1, keepdims=True) / D
    dx = dx - xhat * np.sum(dxhat * xhat, axis=1, keepdims=True) / D
    return dx / std, dgamma, dbeta


def groupnorm_forward(x, gamma, beta):
    N, C, H, W = x.shape
    G = 2
    xg = x.reshape(N, G, C // G, H, W)
    mu = np.mean(xg, axis=(2, 3, 4), keepdims=True)
    xmu = xg - mu
    var = np.mean(xmu**2, axis=(2, 3, 4), keepdims=True)
    std = np.sqrt(var + EPS)
    xn = xmu / std
    xhat = xn.reshape(N, C, H, W)
    out = gamma * xhat + beta
    return out, (gamma, xn, std, G)


def groupnorm_backward(dout, cache):
    gamma, xn, std, G = cache
    N, C, H, W = dout.shape
    m = C // G * H * W
    xhat = xn.reshape(N, C, H, W)
    dbeta = dout.sum(axis=(0, 2, 3), keepdims=True)
    dgamma = (dout * xhat).sum(axis=(0, 2, 3), keepdims=True)
    dxn = (dout * gamma).reshape(N, G, C // G, H, W)
    first = dxn.sum(axis=(2, 3, 4), keepdims=True) / m
    second = np.sum(dxn * xn, axis=(2, 3, 4), keepdims=True) / m
    dx = (dxn - first - xn * second) / std
    return dx.reshape(N, C, H, W), dgamma, dbeta


def rmsnorm_forward(x, gamma):
    r = np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + EPS)
    xhat = x / r
    out = xhat * gamma
    return out, (gamma, xhat, r)


def rmsnorm_backward(dout, cache):
    gamma, xhat, r = cache
    D = dout.shape[-1]
    dxhat = dout * gamma
    dx = (dxhat - np.sum(dxhat * xhat, axis=-1, keepdims=True) * xhat / D) / r
    return dx, np.sum(dout * xhat, axis=0)


def l2_forward(x):
    norm = np.sqrt(np.sum(x * x, axis=1, keepdims=True))
    y = x / norm
    return y, (y, norm)


def l2_backward(dy, cache):
    y, norm = cache
    return (dy - np.sum(dy * y, axis=1, keepdims=True) * y) / norm


def softmax_forward(z):
    shift = z - np.max(z, axis=1, keepdims=True)
    e = np.exp(shift)
    p = e / np.sum(e, axis=1, keepdims=True)
    return p, p


def softmax_backward(dp, p):
    dz = p * (dp - np.sum(dp * p, axis=1, keepdims=True))
    return dz


def onehot_forward(z, Y):
    shift = z - np.max(z, axis=1, keepdims=True)
    e = np.exp(shift)
    p = e / np.sum(e, axis=1, keepdims=True)
    loss = -np.sum(Y * np.log(p)) / z.shape[0]
    return loss, (p, Y)


def onehot_backward(dloss, cache):
    p, Y = cache
    rows = np.sum(Y, axis=1, keepdims=True)
    dz = dloss * (p * rows - Y) / len(p)
    dY = -dloss * np.log(p) / len(p)
    return dz, dY


def labels_forward(z, y):
    N = z.shape[0]
    shift = z - np.max(z, axis=1, keepdims=True)
    logp = shift - np.log(np.sum(np.exp(shift), axis=1, keepdims=True))
    loss = -np.sum(logp[np.arange(N), y]) / N
    return loss, (logp, y)


def labels_backward(dloss, cache):
    logp, y = cache
    N, C = logp.shape
    dz = dloss * (np.exp(logp) - np.eye(C)[y]) / N
    return dz


def labels_in_place(dloss, cache):
    logp, y = cache
    N = logp.shape[0]
    dz = np.exp(logp)
    dz[np.arange(N), y] -= 1
    dz /= N
    return dloss * dz


def labels_marked(dloss, cache):
    logp, y = cache
    N = logp.shape[0]
    onehot = np.zeros(logp.shape)
    onehot[np.arange(N), y] = 1
    dz = dloss * (np.exp(logp) - onehot) / N
    return dz


def logsumexp_forward(z):
    e = np.exp(z)
    Z = np.sum(e, axis=1)
    out = np.log(Z)
    return out, (e, Z)


def logsumexp_backward(dout, cache):
    e, Z = cache
    return (dout / Z)[:, None] * e


def sigmoid_forward(z):
    s = 1 / (1 + np.exp(-z))
    return s, s


def sigmoid_backward(ds, s):
    return ds * s * (1 - s)


def tanh_forward(z):
    a, b = np.exp(z), np.exp(-z)
    t = (a - b) / (a + b)
    return t, t


def tanh_backward(dt, t):
    return dt * (1 - t**2)


def affine_forward(x, w, b):
    out = x @ w + b
    return out, (x, w)


def affine_backward(dout, cache):
    x, w = cache
    return dout @ w.T, x.T @ dout, dout.sum(axis=0)


def relu_forward(x):
    out = np.maximum(x, 0)
    return out, x


def relu_backward(dout, x):
    return dout * (x > 0)


def attention_forward(Q, K, V):
    S = Q @ K.T / np.sqrt(Q.shape[1])
    E = np.exp(S - np.max(S, axis=1, keepdims=True))
    P = E / np.sum(E, axis=1, keepdims=True)
    O = P @ V  # noqa: E741 - as papers write it
    return O, (Q, K, V, P, O)


def attention_backward(dO, cache):
    """With FlashAttention's row sum of dO · O."""
    Q, K, V, P, O = cache  # noqa: E741
    dV = P.T @ dO
    dP = dO @ V.T
    rows = np.sum(dO * O, axis=1, keepdims=True)
    dS = P * (dP - rows) / np.sqrt(Q.shape[1])
    return dS @ K, dS.T @ Q, dV


def net_forward(x, W1, b1, gamma, beta, W2, b2):
    h = x @ W1 + b1
    mu = np.mean(h, axis=0)
    hmu = h - mu
    std = np.sqrt(np.mean(hmu**2, axis=0) + EPS)
    hhat = hmu / std
    n = gamma * hhat + beta
    a = np.maximum(n, 0)
    y = a @ W2 + b2
    return y, (x, W1, gamma, hhat, std, n, a, W2)


def net_backward(dy, cache):
    x, W1, gamma, hhat, std, n, a, W2 = cache
    N = len(x)
    db2 = dy.sum(axis=0)
    dW2 = a.T @ dy
    da = dy @ W2.T
    dn = da * (n > 0)
    dbeta = dn.sum(axis=0)
    dgamma = (dn * hhat).sum(axis=0)
    dh = gamma / std * (dn - dbeta / N - hhat * dgamma / N)
    return dh @ W1.T, x.T @ dh, dh.sum(axis=0), dgamma, dbeta, dW2, db2


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def lstm_forward(x, h_prev, c_prev, Wx, Wh, b):
    H = h_prev.shape[1]
    a = x @ Wx + h_prev @ Wh + b
    i = sigmoid(a[:, :H])
    f = sigmoid(a[:, H : 2 * H])
    o = sigmoid(a[:, 2 * H : 3 * H])
    g = np.tanh(a[:, 3 * H :])
    c = f * c_prev + i * g
    t = np.tanh(c)
    h = o * t
    return h, (x, h_prev, c_prev, Wx, Wh, i, f, o, g, t)


def lstm_backward(dh, cache):
    x, h_prev, c_prev, Wx, Wh, i, f, o, g, t = cache
    do = dh * t
    dc = dh * o * (1 - t**2)
    df = dc * c_prev
    di = dc * g
    dg = dc * i
    dc_prev = dc * f
    dai = di * i * (1 - i)
    daf = df * f * (1 - f)
    dao = do * o * (1 - o)
    dag = dg * (1 - g**2)
    da = np.concatenate([dai, daf, dao, dag], axis=1)
    return da @ Wx.T, da @ Wh.T, dc_prev, x.T @ da, h_prev.T @ da, da.sum(axis=0)


BATCH = [(6, 4), (4,), (4,)]

# name: forward, backward, shapes, what else is passed
RIGHT = {
    "batchnorm, staged": (batchnorm_forward, batchnorm_staged, BATCH, [EPS]),
    "batchnorm, closed": (batchnorm_forward, batchnorm_closed, BATCH, [EPS]),
    "batchnorm, simplified": (batchnorm_forward, batchnorm_simplified, BATCH, [EPS]),
    "batchnorm, from x": (batchnorm_forward, batchnorm_from_x, BATCH, [EPS]),
    "unbiased": (unbiased_forward, unbiased_backward, BATCH, []),
    "images": (images_forward, images_backward, [(2, 4, 3, 3), (4,), (4,)], []),
    "one pass": (one_pass_forward, normalized_backward, BATCH, []),
    "recentred": (recentred_forward, normalized_backward, BATCH, []),
    "eps = 0": (bare_forward, normalized_backward, BATCH, []),
    "layernorm": (layernorm_forward, layernorm_backward, BATCH, []),
    "groupnorm": (
        groupnorm_forward,
        groupnorm_backward,
        [(2, 6, 3, 3), (1, 6, 1, 1), (1, 6, 1, 1)],
        [],
    ),
    "rmsnorm": (rmsnorm_forward, rmsnorm_backward, [(6, 4), (4,)], []),
    "l2": (l2_forward, l2_backward, [(6, 4)], []),
    "softmax": (softmax_forward, softmax_backward, [(6, 4)], []),
    "cross-entropy, one-hot": (onehot_forward, onehot_backward, [(6, 4), (6, 4)], []),
    "cross-entropy, labels": (
        labels_forward,
        labels_backward,
        [(6, 4)],
        [np.array([0, 3, 1, 1, 2, 0])],
    ),
    **{
        f"cross-entropy, {how}": (
            labels_forward,
            backward,
            [(6, 4)],
            [np.array([0, 3, 1, 1, 2, 0])],
        )
        for how, backward in (("in place", labels_in_place), ("marked", labels_marked))
    },
    "logsumexp": (logsumexp_forward, logsumexp_backward, [(6, 4)], []),
    "sigmoid": (sigmoid_forward, sigmoid_backward, [(6, 4)], []),
    "tanh": (tanh_forward, tanh_backward, [(6, 4)], []),
    "affine": (affine_forward, affine_backward, [(6, 4), (4, 3), (3,)], []),
    "relu": (relu_forward, relu_backward, [(6, 4)], []),
    "attention": (attention_forward, attention_backward, [(5, 4), (6, 4), (6, 3)], []),
    "net": (
        net_forward,
        net_backward,
        [(6, 4), (4, 5), (5,), (5,), (5,), (5, 3), (3,)],
        [],
    ),
    "lstm": (
        lstm_forward,
        lstm_backward,
        [(2, 3), (2, 4), (2, 4), (3, 16), (4, 16), (16,)],
        [],
    ),
}


def arguments(shapes, others, seed=0):
    """Give positive random arrays, and what else is passed."""
    rng = np.random.default_rng(seed)
    return [*(rng.uniform(0.2, 1.5, size=shape) for shape in shapes), *others]
