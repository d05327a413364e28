"""Functions as other people write them, to be drawn."""

import numpy as np

from tinygraph import trace
from tinygraph.batchnorm import staged


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def lstm_step(x, h_prev, c_prev, Wx, Wh, b):
    H = h_prev.shape[1]
    a = x @ Wx + h_prev @ Wh + b
    i = sigmoid(a[:, :H])
    f = sigmoid(a[:, H : 2 * H])
    o = sigmoid(a[:, 2 * H : 3 * H])
    g = np.tanh(a[:, 3 * H :])
    c = f * c_prev + i * g
    h = o * np.tanh(c)
    return h


def gru_step(x, h_prev, Wz, Wr, Wn, Uz, Ur, Un):
    z = sigmoid(x @ Wz + h_prev @ Uz)
    r = sigmoid(x @ Wr + h_prev @ Ur)
    n = np.tanh(x @ Wn + (r * h_prev) @ Un)
    h = (1 - z) * n + z * h_prev
    return h


def rnn(x, h, Wx, Wh, b):
    for t in range(3):
        h = np.tanh(x[t] @ Wx + h @ Wh + b)
    return h


def attention(X, Wq, Wk, Wv):
    Q = X @ Wq
    K = X @ Wk
    V = X @ Wv
    S = Q @ K.T / np.sqrt(8)
    E = np.exp(S - np.max(S, axis=1, keepdims=True))
    P = E / np.sum(E, axis=1, keepdims=True)
    out = P @ V
    return out


def heads(X, W):
    A = X @ W
    return np.transpose(np.reshape(A, (6, 2, 4)), (1, 0, 2))


def multihead(X, Wq, Wk, Wv, Wo):
    Q = heads(X, Wq)
    K = heads(X, Wk)
    V = heads(X, Wv)
    S = Q @ np.transpose(K, (0, 2, 1)) / 2
    S = S - np.max(S, axis=2, keepdims=True)
    P = np.exp(S) / np.sum(np.exp(S), axis=2, keepdims=True)
    out = np.reshape(np.transpose(P @ V, (1, 0, 2)), (6, 8)) @ Wo
    return out


def residual(x, W1, b1, W2, b2):
    h = np.maximum(x @ W1 + b1, 0)
    f = h @ W2 + b2
    y = np.maximum(x + f, 0)
    return y


def softmax_cross_entropy(x, W, b, Y):
    z = x @ W + b
    shift = z - np.max(z, axis=1, keepdims=True)
    logp = shift - np.log(np.sum(np.exp(shift), axis=1, keepdims=True))
    loss = -np.mean(np.sum(Y * logp, axis=1))
    return loss


def layernorm(x, gamma, beta, eps):
    mu = np.mean(x, axis=-1, keepdims=True)
    xmu = x - mu
    var = np.mean(xmu**2, axis=-1, keepdims=True)
    xhat = xmu / np.sqrt(var + eps)
    out = gamma * xhat + beta
    return out


def vae_loss(x, We, be, Wm, Ws, Wd, bd, noise):
    h = np.tanh(x @ We + be)
    mu = h @ Wm
    logvar = h @ Ws
    std = np.exp(0.5 * logvar)
    z = mu + std * noise
    y = sigmoid(z @ Wd + bd)
    recon = -np.sum(x * np.log(y) + (1 - x) * np.log(1 - y))
    kl = -0.5 * np.sum(1 + logvar - mu**2 - np.exp(logvar))
    loss = recon + kl
    return loss


def groupnorm(x, gamma, beta, eps):
    N, C, H, W = x.shape
    g = np.reshape(x, (N, 2, C // 2, H, W))
    mu = np.mean(g, axis=(2, 3, 4), keepdims=True)
    var = np.var(g, axis=(2, 3, 4), keepdims=True)
    ghat = (g - mu) / np.sqrt(var + eps)
    xhat = np.reshape(ghat, (N, C, H, W))
    out = gamma * xhat + beta
    return out


def convolution(x, w, b):
    H, W = x.shape[0] - 2, x.shape[1] - 2
    out = b
    for i in range(3):
        for j in range(3):
            out = out + x[i : i + H, j : j + W] * w[i, j]
    y = np.maximum(out, 0)
    return y


SHAPES = {
    staged: [(178, 13), (13,), (13,)],
    lstm_step: [(4, 3), (4, 5), (4, 5), (3, 20), (5, 20), (20,)],
    gru_step: [(4, 3), (4, 5), *[(3, 5)] * 3, *[(5, 5)] * 3],
    rnn: [(3, 4, 3), (4, 5), (3, 5), (5, 5), (5,)],
    attention: [(5, 8), (8, 8), (8, 8), (8, 8)],
    multihead: [(6, 8), (8, 8), (8, 8), (8, 8), (8, 8)],
    residual: [(4, 6), (6, 8), (8,), (8, 6), (6,)],
    softmax_cross_entropy: [(4, 6), (6, 3), (3,), (4, 3)],
    layernorm: [(4, 6), (6,), (6,)],
    groupnorm: [(2, 4, 3, 3), (1, 4, 1, 1), (1, 4, 1, 1)],
    convolution: [(6, 6), (3, 3), (1,)],
    vae_loss: [(4, 6), (6, 8), (8,), (8, 2), (8, 2), (2, 6), (6,), (4, 2)],
}
NAMES = {f.__name__: f for f in SHAPES}


def make(name):
    """Trace a function at random arguments between 0 and 1."""
    f, rng = NAMES[name], np.random.default_rng(0)
    options = {"eps": 1e-5} if f in (staged, layernorm, groupnorm) else {}
    return trace(f)(*(rng.uniform(0.1, 0.9, size=shape) for shape in SHAPES[f]), **options)
