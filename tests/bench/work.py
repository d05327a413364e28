"""What is measured: every piece of work once, for all engines.

A piece of work is a function of `xp`, which is NumPy or what an engine has in its place, and of
leaves. An engine differentiates it: given the function, the leaves as arrays and the upstream
gradient, it gives a call without arguments, which runs forwards and backwards and returns one
gradient per leaf. Leaves are made beforehand, as they are where a network is trained.
"""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import by_hand
import numpy as np

from tinygraph import Tensor, batchnorm, grad
from tinygraph.batchnorm import primitive as fused

# --------------------------------------------------------------------------- engines


def _tinygraph(f, leaves, dout):
    leaves = [Tensor(a) for a in leaves]
    return lambda: grad(f(np, *leaves), leaves, dout)


def _pytorch(f, leaves, dout):
    import torch

    torch.set_num_threads(1)
    leaves = [torch.tensor(a, requires_grad=True) for a in leaves]
    dout = torch.tensor(dout)
    return lambda: torch.autograd.grad(f(torch, *leaves), leaves, dout)


def _autograd(f, leaves, dout):
    import autograd.numpy as anp
    from autograd import make_vjp

    differentiate = make_vjp(lambda *xs: f(anp, *xs), tuple(range(len(leaves))))
    return lambda: differentiate(*leaves)[0](dout)


def _mygrad(f, leaves, dout):
    import mygrad

    leaves = [mygrad.tensor(a) for a in leaves]

    def run():
        f(mygrad, *leaves).backward(dout)
        return [leaf.grad for leaf in leaves]

    return run


def _micrograd(f, leaves, dout):
    from micrograd.engine import Value

    def run():
        values = [Value(float(a)) for a in leaves]
        out = f(None, *values) * float(dout)
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(1_000_000)  # its sweep descends once per node of the chain
        out.backward()
        sys.setrecursionlimit(limit)
        return [value.grad for value in values]

    return run


ENGINES = {
    "tinygraph": (_tinygraph, "tinygraph"),
    "PyTorch": (_pytorch, "torch"),
    "autograd": (_autograd, "autograd"),
    "MyGrad": (_mygrad, "mygrad"),
    "micrograd": (_micrograd, "micrograd"),
}
"""By name: how it differentiates, and the package that it needs."""

BY_HAND = "by hand"


def installed(engine):
    """Whether `engine` is here."""
    return engine == BY_HAND or find_spec(ENGINES[engine][1]) is not None


# --------------------------------------------------------------------------- functions


def chain(nodes):
    """Give a chain of `nodes` scalar operations."""

    def f(xp, h, w, b):
        for _ in range(nodes // 2):
            h = h * w + b
        return h

    return f


def staged(xp, x, gamma, beta):
    """Give BatchNorm, as `tinygraph.batchnorm.staged` does it."""
    per_n = 1 / len(x)
    mu = per_n * x.sum(0)
    xmu = x - mu
    sq = xmu**2
    var = per_n * sq.sum(0)
    sqrtvar = xp.sqrt(var + by_hand.EPS)
    ivar = 1 / sqrtvar
    xhat = xmu * ivar
    gammax = gamma * xhat
    return gammax + beta


def _closed_form(dout, x, gamma, beta):
    return batchnorm.closed_form(x, gamma, dout)


def _torch_batch_norm(torch, x, gamma, beta):
    return torch.nn.functional.batch_norm(
        x, None, None, gamma, beta, training=True, eps=by_hand.EPS
    )


# --------------------------------------------------------------------------- work


class Work(NamedTuple):
    """One piece of work at one size: who does it, and how.

    A run is given the leaves and the upstream gradient. The work is the same thing `count` times
    over.
    """

    title: str
    size: str
    leaves: tuple[np.ndarray, ...]
    dout: np.ndarray
    runs: dict[str, Callable]
    count: int = 1

    def prepare(self, engine):
        """Give the call that does the work in `engine`."""
        return self.runs[engine](self.leaves, self.dout)

    def check(self, gradients):
        """Raise if `gradients` are not those that were found by hand."""
        expected = self.runs[BY_HAND](self.leaves, self.dout)()
        for k, (g, wanted) in enumerate(zip(gradients, expected, strict=True)):
            g, wanted = np.asarray(g), np.asarray(wanted)
            error = np.max(np.abs(g - wanted)) / np.max(np.abs(wanted))
            if g.shape != wanted.shape or not error <= np.sqrt(np.finfo(self.dout.dtype).eps):
                raise ValueError(f"{self.title}, {self.size}: gradient {k} is off by {error:.1e}")


def _by_hand(f):
    return lambda leaves, dout: lambda: f(dout, *leaves)


def _by(engine, f):
    return lambda leaves, dout: ENGINES[engine][0](f, leaves, dout)


def scalars(nodes):
    """Give the chain of scalar operations as work."""
    rng = np.random.default_rng(0)
    h, w, b, dout = rng.normal(), 1 - rng.uniform() / nodes, rng.normal(), rng.normal()
    return Work(
        "scalar operation",
        f"chain of {nodes}",
        tuple(np.array(value) for value in (h, w, b)),
        np.array(dout),
        {name: _by(name, chain(nodes)) for name in ENGINES}
        | {BY_HAND: _by_hand(lambda *given: by_hand.chain(nodes, *map(float, given)))},
        nodes,
    )


SIZES = (4, 3, "float64"), (64, 100, "float64"), (256, 1024, "float32"), (4096, 1024, "float32")
"""Rows, columns and dtype of a batch."""


def batchnorms(rows, columns, dtype):
    """Give BatchNorm as work: staged, by the closed form alone, and as one node."""
    rng = np.random.default_rng(0)
    x, dout = rng.normal(5, 3, size=(2, rows, columns)).astype(dtype)
    gamma, beta = rng.normal(size=(2, columns)).astype(dtype)
    size, leaves = f"{rows}×{columns} {dtype}", (x, gamma, beta)
    return [
        Work(
            "staged BatchNorm",
            size,
            leaves,
            dout,
            {name: _by(name, staged) for name in ("PyTorch", "autograd", "MyGrad")}
            | {
                "tinygraph": _by("tinygraph", lambda xp, *xs: batchnorm.staged(*xs)),
                BY_HAND: _by_hand(by_hand.staged),
            },
        ),
        Work(
            "closed form",
            size,
            leaves,
            dout,
            {
                "tinygraph": _by_hand(_closed_form),
                BY_HAND: _by_hand(by_hand.closed_form),
            },
        ),
        Work(
            "BatchNorm as one node",
            size,
            leaves,
            dout,
            {
                "tinygraph": _by("tinygraph", lambda xp, *xs: fused.normalize(*xs)),
                "PyTorch": _by("PyTorch", _torch_batch_norm),
                BY_HAND: _by_hand(by_hand.forward_and_closed_form),
            },
        ),
    ]
