"""BatchNorm three times: staged in nine steps, in closed form, and as a Jacobian.

`staged` is the forward pass of the staged derivation, one primitive or two a line; its backward
pass is whatever autodiff makes of it. `closed_form` is the backward pass that papers give, in plain
NumPy. `jacobian` is the derivative of every output by every input. The three were derived on
different ways and must agree, which `tinygraph.compare` checks.

Sources
-------
- The nine steps and the names: F. Kratzert, *Understanding the backward pass through Batch
  Normalization Layer*, 2016.
- The closed form: S. Ioffe and C. Szegedy, *Batch Normalization*, 2015, section 3, simplified.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from tinygraph.engine import ops
from tinygraph.engine.autodiff import unbroadcast
from tinygraph.engine.foreign import is_foreign
from tinygraph.engine.functions import is_node, normalize_axes
from tinygraph.engine.lengths import Formula, Length, carrying, extent
from tinygraph.engine.tensor import Tensor

__all__ = ["closed_form", "jacobian", "staged"]

Axis = int | tuple[int, ...]


def staged(x: Any, gamma: Any, beta: Any, *, eps: Any = 1e-5, axis: Axis = 0) -> Any:
    """Normalize `x` over a batch, step by step.

    Parameters
    ----------
    x : Tensor or array_like
        Values; for ``axis=0`` of shape (N, D), N values of each of D features.
    gamma, beta : Tensor or array_like
        Scale and shift. If `axis` holds the batch axis 0, one each per feature: of the shape that
        is left of x's without the axes (BatchNorm). Otherwise any shape that broadcasts with x,
        such as x.shape[-1:] for ``axis=-1`` (LayerNorm).
    eps : float or Fraction, optional
        Added to the variance; not negative.
    axis : int or tuple of int, optional
        Axes that mean and variance are taken over: 0 for (N, D), (0, 2, 3) for images
        (N, C, H, W), -1 for LayerNorm.

    Returns
    -------
    Tensor
        gamma · (x − mu) / √(var + eps) + beta, of the shape of x, where var is the biased
        variance Σ (x − mu)² / N.

    Raises
    ------
    ValueError
        If gamma or beta has another shape, an axis does not exist, eps is negative, or there is
        only one value per feature.

    Notes
    -----
    With the steps numbered as in the derivation; the normalized values have mean 0 and variance 1
    but are not confined to [−1, 1]: |xhat| ≤ √(N − 1).

    With u the unit of rounding, out is off by at most about 5 u · (1 + max|x|/√(var + eps)) of
    gamma for a few dozen rows (tests/batchnorm/test_numerics.py). Over axis 0 of a C-ordered array
    NumPy adds row by row, so that in float32 the error grows to 5e-5 at 10⁵ rows and 5e-2 at 10⁷:
    there, take float64. Where the variance overflows, out is beta, and NumPy's warning is all that
    tells.

    Examples
    --------
    >>> x = Tensor([[1.0, 10.0], [3.0, 50.0]], name="x")
    >>> out = staged(x, [1.0, 2.0], [0.0, 5.0], eps=0.0)
    >>> out.data
    array([[-1.,  3.],
           [ 1.,  7.]])
    """
    x, gamma, beta = (t if isinstance(t, Tensor) else Tensor(t) for t in (x, gamma, beta))
    axis, keepdims, shape, per_n = layout(x, gamma, beta, eps, axis)

    mu = per_n * ops.sum(x, axis=axis, keepdims=keepdims)
    xmu = x - mu
    sq = xmu**2
    var = per_n * ops.sum(sq, axis=axis, keepdims=keepdims)
    sqrtvar = np.sqrt(var + eps)
    ivar = 1 / sqrtvar
    xhat = xmu * ivar
    gammax = gamma.reshape(shape) * xhat
    out = gammax + beta.reshape(shape)
    return out


def closed_form(
    x: Any, gamma: Any, dout: Any, *, eps: Any = 1e-5, axis: Axis = 0
) -> tuple[Any, Any, Any]:
    """Differentiate BatchNorm by the formula that papers give, in plain NumPy.

    With m the mean over `axis`, and dxhat = dout · gamma:

        dx = 1/√(var + eps) · ( dxhat − m(dxhat) − xhat · m(dxhat · xhat) ),
        dgamma = Σ dout · xhat,   dbeta = Σ dout.

    Where gamma is one number per feature, it stands before the bracket.

    Parameters
    ----------
    x, gamma : array_like
        As in `staged`.
    dout : array_like
        Upstream gradient, of the shape of x.
    eps, axis : optional
        As in `staged`.

    Returns
    -------
    dx, dgamma, dbeta : ndarray
        Gradients, of the shapes of x, gamma and gamma.
        Of arrays of another package that speak NumPy's protocols, such as dask's, they are such
        arrays too.

    Raises
    ------
    ValueError
        As `staged`; also if dout has another shape than x.

    Examples
    --------
    An upstream gradient of ones is no test of dx, which is then 0 whatever x is:

    >>> x = np.array([[1.0], [2.0], [6.0]])
    >>> dx, dgamma, dbeta = closed_form(x, [3.0], np.ones((3, 1)))
    >>> bool(abs(dx).max() < 1e-15), dbeta
    (True, array([3.]))
    """
    x, gamma, dout = (_array(a) for a in (x, gamma, dout))
    if dout.shape != x.shape:
        raise ValueError(
            f"closed_form: dout has shape {dout.shape}, but x has {x.shape}; they must be equal"
        )
    where = layout(x, gamma, gamma, eps, axis)
    dx, dgamma, dbeta = differentiate(dout, x, gamma.reshape(where.shape), where, eps)
    return dx, dgamma.reshape(gamma.shape), dbeta.reshape(gamma.shape)


def standardize(x: Any, where: Layout, eps: Any) -> tuple[Any, Any]:
    """Give x − mu, which is the caller's to change, and 1/√(var + eps)."""
    axis, keepdims, _, per_n = where
    if isinstance(eps, Fraction) and not x.dtype.hasobject:
        eps = float(eps)
    xmu = x - per_n * ops.sum(x, axis=axis, keepdims=keepdims)
    # Not _sum_of_products: einsum overflows without a warning, and 1/√∞ hides it.
    return xmu, 1 / ops.sqrt(per_n * ops.sum(xmu * xmu, axis=axis, keepdims=keepdims) + eps)


def differentiate(dout: Any, x: Any, gamma: Any, where: Layout, eps: Any) -> tuple[Any, Any, Any]:
    """Evaluate the closed form, on arrays in few passes: dx takes the place of x − mu.

    Parameters
    ----------
    dout, x, gamma : array, Tensor or symbol
        As in `closed_form`, gamma in the shape in which it broadcasts with x.
    where : Layout
    eps : float or Fraction

    Returns
    -------
    dx, dgamma, dbeta
    """
    if not dout.dtype == x.dtype == gamma.dtype:
        dtype = np.result_type(dout.dtype, x.dtype, gamma.dtype)
        dout, x = (a if a.dtype == dtype else a.astype(dtype) for a in (dout, x))
    axis, keepdims, _, per_n = where
    xmu, ivar = standardize(x, where, eps)
    scale = gamma * ivar
    one_per_feature = np.shape(scale) == np.shape(ivar)
    if not one_per_feature:
        dgamma, dbeta = unbroadcast(dout * xmu * ivar, gamma), unbroadcast(dout, gamma)
        dout, scale = dout * gamma, ivar
    total = ops.sum(dout, axis=axis, keepdims=keepdims)
    product = _sum_of_products(dout, xmu, axis, keepdims) * ivar
    if one_per_feature:
        dgamma, dbeta = unbroadcast(product, gamma), unbroadcast(total, gamma)
    plain = not any(is_node(a) or is_foreign(a) for a in (dout, x, gamma))
    into = {"out": xmu} if plain else {}
    dx = np.multiply(xmu, -per_n * product * ivar, **into)
    dx = np.add(dx, dout, **into)
    dx = np.subtract(dx, per_n * total, **into)
    dx = np.multiply(dx, scale, **into)
    return dx, dgamma, dbeta


def _sum_of_products(a: Any, b: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    """Give Σ a · b; without an array of the products, where rows are added up."""
    rows = type(a) is type(b) is np.ndarray and a.ndim - 1 not in axis and a.shape[-1] > 1
    if not (rows and a.flags.c_contiguous and b.flags.c_contiguous and a.dtype.char in "fdFD"):
        return ops.sum(a * b, axis=axis, keepdims=keepdims)
    letters = list(range(a.ndim))
    total = np.einsum(a, letters, b, letters, [k for k in letters if k not in axis])
    return np.expand_dims(total, axis) if keepdims else total


def jacobian(x: Any, gamma: Any, *, eps: Any = 1e-5) -> Any:
    """Give the derivative of every output by every input, feature by feature.

    ∂out_k/∂x_i = gamma/√(var + eps) · ( 1[k = i] − 1/N − xhat_k · xhat_i / N ).

    Parameters
    ----------
    x : array_like
        Values, of shape (N, D).
    gamma : array_like
        Scale, of shape (D,).
    eps : float or Fraction, optional

    Returns
    -------
    ndarray
        Of shape (N, N, D), ``[k, i, d]`` being ∂out[k, d]/∂x[i, d]. The features do not mix. Its
        contraction with dout over k is dx: ``np.einsum("kid,kd->id", jacobian, dout)``.

    Raises
    ------
    ValueError
        As `staged`; also if x is not of shape (N, D).

    Examples
    --------
    The rows of the bracket sum to zero, because out does not change when x moves as a whole:

    >>> J = jacobian([[1.0], [2.0], [6.0]], [3.0])
    >>> J.shape, bool(abs(J.sum(axis=1)).max() < 1e-15)
    ((3, 3, 1), True)
    """
    x, gamma = _array(x), _array(gamma)
    if x.ndim != 2:
        raise ValueError(f"jacobian: x has shape {x.shape}, but must have shape (N, D)")
    where = layout(x, gamma, gamma, eps, 0)
    per_n = where.per_n
    xmu, ivar = standardize(x, where, eps)
    xhat = xmu * ivar
    identity = np.eye(x.shape[0], dtype=x.dtype)[:, :, None]
    return gamma * ivar * (identity - per_n - xhat[:, None, :] * (per_n * xhat[None, :, :]))


# --------------------------------------------------------------------------- shapes


class Layout(NamedTuple):
    """How a batch lies in an array: what is summed, and how gamma and beta broadcast."""

    axis: tuple[int, ...]
    keepdims: bool
    shape: tuple[int, ...]
    per_n: Any


def layout(x: Any, gamma: Any, beta: Any, eps: Any, axis: Axis) -> Layout:
    """Check the arguments of BatchNorm; give axes, keepdims, gamma's shape for broadcasting, 1/N.

    Leading axes vanish in a sum and broadcast back by themselves, so that mu is (D,) for x (N, D);
    sums over other axes keep them with length 1.
    """
    if isinstance(eps, str):
        raise TypeError(f"batchnorm: eps is {eps!r}, but must be a number, such as 1e-5")
    if not 0 <= eps < math.inf:
        raise ValueError(f"batchnorm: eps is {eps}, but must be finite and not negative")
    lengths = extent(x)
    axes = normalize_axes(lengths, axis, of="batchnorm")
    upright, keepdims, n, one, per_n = _checked(lengths, extent(gamma), extent(beta), axes, x.dtype)
    if is_node(x):
        per_n = carrying(per_n, Formula("/", (one, Length(n, (x.settled(), axes)))))
    # gamma stands in x's own lengths, which may be symbols and are not what a cache may hold
    shape = tuple(1 if k in axes else n for k, n in enumerate(x.shape)) if upright else gamma.shape
    return Layout(axes, keepdims, shape, per_n)


@lru_cache(maxsize=256)
def _checked(
    x: tuple[int, ...],
    gamma: tuple[int, ...],
    beta: tuple[int, ...],
    axes: tuple[int, ...],
    dtype: np.dtype[Any],
) -> tuple[bool, bool, int, Any, Any]:
    """Check the shapes, which a training loop repeats at every step.

    Returns whether gamma, which has one value per feature, must be given axes of length 1; whether
    sums keep their axes; and N, 1 and 1/N, which is exact among fractions, else rounded once, in
    the longest type that it will meet.
    """
    n = math.prod(x[k] for k in axes)
    axis = axes[0] if len(axes) == 1 else axes
    if n < 2:
        raise ValueError(
            f"batchnorm: x of shape {x} has {n} value{'s' * (n != 1)} per feature along "
            f"axis {axis}; a batch needs at least two (at inference use the running estimates)"
        )
    keepdims = axes != tuple(range(len(axes)))
    kept = tuple(length for k, length in enumerate(x) if k not in axes)
    shapes = []
    for name, p in (("gamma", gamma), ("beta", beta)):
        if 0 in axes and p == kept:
            upright = tuple(1 if k in axes else length for k, length in enumerate(x))
            shapes.append(upright if keepdims else kept)
        elif _broadcasts_to(p, x) and (0 not in axes or _one_along(axes, p, len(x))):
            shapes.append(p)
        else:
            wanted = f"must be {kept}, one value per feature" if 0 in axes else "must broadcast"
            raise ValueError(
                f"batchnorm: {name} has shape {p}, but for x of shape {x} and axis {axis} "
                f"it {wanted}"
            )
    if shapes[0] != shapes[1]:
        raise ValueError(f"batchnorm: gamma and beta have shapes {gamma} and {beta}")
    one = Fraction(1) if dtype.hasobject else dtype.type(1) if dtype.itemsize > 8 else 1
    return shapes[0] != gamma, keepdims, n, one, one / n


def _one_along(axes: tuple[int, ...], shape: tuple[int, ...], ndim: int) -> bool:
    return len(shape) == ndim and all(shape[k] == 1 for k in axes)


def _broadcasts_to(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, wanted) == wanted
    except ValueError:
        return False


def _array(a: Any) -> Any:
    a = a.data if isinstance(a, Tensor) else a if is_foreign(a) else np.asarray(a)
    return a.astype(np.float64) if a.dtype.kind in "iub" else a
