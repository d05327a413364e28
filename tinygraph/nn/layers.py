"""Layers: a product, two activations and dropout, each a line or two of primitives.

A local variable that is returned at once (``a = np.maximum(…); return a``) names the box of the
step in a picture, as the variables of every traced function do.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygraph.engine.effects import drawn
from tinygraph.engine.lengths import extent
from tinygraph.engine.tensor import Tensor
from tinygraph.nn.module import Module, as_tensor

__all__ = ["Dropout", "Linear", "ReLU", "Rng", "Tanh", "count"]

Rng = np.random.Generator | int | None


class Linear(Module):
    """An affine map: x @ weight + bias.

    Parameters
    ----------
    in_features, out_features : int
        Lengths of the last axis of the input and of the output.
    bias : bool, optional
        Whether there is one. In front of a BatchNorm it has no effect, because the mean that is
        subtracted takes it away again.
    rng : numpy.random.Generator or int, optional
        Draws the weights; an int is a seed.
    dtype : dtype, optional
        Of the parameters.

    Attributes
    ----------
    weight : Tensor
        Of shape (in_features, out_features), at first normally distributed with mean 0 and
        variance 2/in_features (He et al. 2015), which keeps the size of activations over relus.
    bias : Tensor or None
        Of shape (out_features,), at first 0.

    Raises
    ------
    ValueError
        If a number of features is not at least 1; on calling, if x has another number of features.

    Examples
    --------
    >>> layer = Linear(3, 2, rng=0)
    >>> layer(np.ones((5, 3))).shape
    (5, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rng: Rng = None,
        dtype: Any = np.float64,
    ) -> None:
        self.in_features = count(in_features, "Linear: in_features")
        self.out_features = count(out_features, "Linear: out_features")
        drawn = np.random.default_rng(rng).normal(size=(self.in_features, self.out_features))
        weight = drawn * math.sqrt(2 / self.in_features)
        self.weight = Tensor(weight.astype(dtype), name="weight")
        self.bias = Tensor(np.zeros(self.out_features, dtype), name="bias") if bias else None

    def __call__(self, x: Any) -> Any:
        """Map x of shape (…, in_features) to shape (…, out_features)."""
        if np.shape(x)[-1:] != (self.in_features,):
            raise ValueError(
                f"{self!r}: x has shape {np.shape(x)}, but its last axis must have length "
                f"{self.in_features}"
            )
        z = x @ self.weight if self.bias is None else x @ self.weight + self.bias
        return z

    def _options(self) -> str:
        without = "" if self.bias is not None else ", bias=False"
        return f"{self.in_features}, {self.out_features}{without}"


class ReLU(Module):
    """max(x, 0), elementwise; the derivative at 0 is taken as 0.

    Examples
    --------
    >>> ReLU()([-1.0, 2.0]).data
    array([0., 2.])
    """

    def __call__(self, x: Any) -> Any:
        """Give max(x, 0)."""
        a = np.maximum(as_tensor(x), 0)
        return a


class Tanh(Module):
    """Hyperbolic tangent, elementwise.

    Examples
    --------
    >>> Tanh()([0.0, 100.0]).data
    array([0., 1.])
    """

    def __call__(self, x: Any) -> Any:
        """Give tanh(x)."""
        a = np.tanh(as_tensor(x))
        return a


class Dropout(Module):
    """In training, set entries to 0 at random and scale up the rest, so that the mean stays.

    Parameters
    ----------
    p : float, optional
        Probability of an entry to be dropped; at least 0 and less than 1. What is kept is divided
        by 1 − p, so that nothing is left to do in evaluation.
    rng : numpy.random.Generator or int, optional
        Draws the entries; an int is a seed, which makes a sequence of calls reproducible.

    Raises
    ------
    ValueError
        If `p` is no such probability.

    Notes
    -----
    Source: N. Srivastava et al., *Dropout*, 2014, in the scaling that is called inverted.

    Examples
    --------
    >>> layer = Dropout(0.5, rng=0)
    >>> layer(np.ones(6)).data
    array([2., 0., 0., 0., 2., 2.])
    >>> layer.eval()(np.ones(6)).data
    array([1., 1., 1., 1., 1., 1.])
    """

    def __init__(self, p: float = 0.5, *, rng: Rng = None) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: p is {p}, but must be at least 0 and less than 1")
        self.p = p
        self.rng = np.random.default_rng(rng)

    def __call__(self, x: Any) -> Any:
        """Drop entries of x in training; give x itself in evaluation."""
        x = as_tensor(x)
        if not self.training or self.p == 0:
            return x
        shape = extent(x)
        mask = drawn(self.rng, lambda rng: rng.random(shape) >= self.p)
        kept = x * (mask / (1 - self.p)).astype(x.dtype)
        return kept

    def _options(self) -> str:
        return f"{self.p}"


def count(n: Any, what: str) -> int:
    """Check a number of features."""
    if not hasattr(n, "__index__") or isinstance(n, bool) or n.__index__() < 1:
        raise ValueError(f"{what} must be an integer of at least 1, not {n!r}")
    return int(n.__index__())
