"""The closed form of BatchNorm, derived and proved: here, and by tensorgrad.

Both are asked for dx alone, for every batch size. tensorgrad is given var without eps, symbols that
are declared to be positive integers, and the closed form in its own language; its proof is that the
difference from what it derives is simplified to 0. tinygraph is given NumPy functions, and traces
them at three batch sizes.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from tinygraph import prove, simplify, trace


class Answer(NamedTuple):
    """What an engine made of BatchNorm: its dx, and whether the closed form is proved to be dx."""

    derive: Callable[[], Any]
    prove: Callable[[], bool]


def forward(x, gamma):
    mu = np.mean(x, axis=0)
    xmu = x - mu
    std = np.sqrt(np.mean(xmu**2, axis=0) + 1e-5)
    xhat = xmu / std
    out = gamma * xhat
    return out, (xhat, gamma, std)


def backward(dout, cache):
    xhat, gamma, std = cache
    N = dout.shape[0]
    dgamma = np.sum(dout * xhat, axis=0)
    dx = gamma / std * (dout - np.sum(dout, axis=0) / N - xhat * dgamma / N)
    return {"dx": dx}


def tinygraph_answer(*, factor=1):
    """Give what tinygraph says, of the closed form times a factor."""
    rng = np.random.default_rng(0)
    x, gamma = rng.normal(size=(6, 4)), rng.normal(size=4)

    def scaled(dout, cache):
        return {"dx": factor * backward(dout, cache)["dx"]}

    def derived():
        out, _ = trace(forward)(x, gamma)
        return simplify(out).gradients["dx"]

    return Answer(derived, lambda: prove(forward, scaled, x, gamma).verdict == "proved")


def tensorgrad_answer(*, factor=1):
    """Give what tensorgrad says."""
    import sympy
    from tensorgrad import Derivative, Variable, Zero
    from tensorgrad import functions as F

    n, d = sympy.symbols("n d", integer=True, positive=True)
    x, gamma, dout = Variable("x", n, d), Variable("gamma", d), Variable("dout", n, d)
    xmu = x - F.mean(x, "n")
    ivar = F.pow(F.mean(xmu * xmu, "n"), -1 / 2)
    xhat = xmu * ivar
    loss = F.sum(gamma * xhat * dout)
    closed = gamma * ivar * (dout - F.mean(dout, "n") - xhat * F.mean(dout * xhat, "n")) * factor

    def derived():
        return Derivative(loss, x, {"n": "n", "d": "d"}).full_simplify()

    return Answer(derived, lambda: isinstance((derived() - closed).full_simplify(), Zero))


ENGINES = {"tinygraph": tinygraph_answer, "tensorgrad": tensorgrad_answer}


def installed(engine):
    """Whether an engine can be imported."""
    return find_spec(engine) is not None
