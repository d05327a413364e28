"""BatchNorm as one primitive, whose rules are the closed form.

`tinygraph.batchnorm.staged` shows the nine steps; this is the same function as a single row of the
table, for pictures where BatchNorm is one box, and for graphs that should hold one array for it and
not five.
The rules recompute mean and variance from x and save nothing, so that they are functions of g, x
and gamma like every other rule: the second derivative goes through the statistics and is right.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygraph.batchnorm.formulas import Axis, differentiate, layout, standardize
from tinygraph.engine.foreign import is_foreign
from tinygraph.engine.primitive import JointRules, Primitive
from tinygraph.engine.tensor import Tensor

__all__ = ["batchnorm", "normalize"]

Axes = tuple[int, ...]


def _forward(x: Any, gamma: Any, beta: Any, axis: Axes, eps: Any) -> Any:
    dtype = np.result_type(*[getattr(a, "dtype", a) for a in (x, gamma, beta)])
    where = layout(x, gamma, beta, eps, axis)
    out, ivar = standardize(x if x.dtype == dtype else x.astype(dtype), where, eps)
    if is_foreign(out):
        return out * (gamma * ivar) + beta
    out *= gamma * ivar
    out += beta
    return out


def _rules(
    g: Any, out: Any, x: Any, gamma: Any, beta: Any, axis: Axes, eps: Any
) -> tuple[Any, Any, Any]:
    return differentiate(g, x, gamma, layout(x, gamma, beta, eps, axis), eps)


batchnorm = Primitive(
    "batchnorm",
    "BN",
    _forward,
    JointRules(_rules, 3),
    elementwise=False,
    numpy="batchnorm({0}, {1}, {2}, {axis}, {eps})",
)


def normalize(x: Any, gamma: Any, beta: Any, *, eps: Any = 1e-5, axis: Axis = 0) -> Any:
    """Normalize `x` over a batch, as one node.

    Parameters
    ----------
    x, gamma, beta : Tensor or array_like
        As in `tinygraph.batchnorm.staged`.
    eps, axis : optional
        As there.

    Returns
    -------
    Tensor
        What `staged` returns, up to rounding. The gradient is the closed form of Ioffe & Szegedy
        (2015), dx = 1/√(var + eps) · (dxhat − m(dxhat) − xhat · m(dxhat · xhat)), where m is the
        mean over `axis` and dxhat = dout · gamma.

    Raises
    ------
    ValueError
        As `staged`.

    Examples
    --------
    >>> x = Tensor([[1.0, 10.0], [3.0, 50.0]], name="x")
    >>> normalize(x, [1.0, 2.0], [0.0, 5.0], eps=0.0).data
    array([[-1.,  3.],
           [ 1.,  7.]])
    """
    x, gamma, beta = (t if isinstance(t, Tensor) else Tensor(t) for t in (x, gamma, beta))
    axes, _, shape, _ = layout(x, gamma, beta, eps, axis)
    return batchnorm(x, gamma.reshape(shape), beta.reshape(shape), axis=axes, eps=eps)
