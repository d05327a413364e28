"""Layers that normalize: BatchNorm with running statistics, and LayerNorm."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from tinygraph.batchnorm import primitive as fused
from tinygraph.batchnorm.formulas import staged
from tinygraph.engine.arrays import locked
from tinygraph.engine.effects import aside, performed, recalled, replaced
from tinygraph.engine.functions import normalize_axes
from tinygraph.engine.lengths import extent
from tinygraph.engine.tensor import Tensor
from tinygraph.nn.layers import Linear, count
from tinygraph.nn.module import Module, as_tensor

__all__ = ["BatchNorm", "LayerNorm"]

Axes = tuple[int, ...]


class BatchNorm(Module):
    """Normalize each feature: by the batch in training, by running estimates in evaluation.

    Parameters
    ----------
    features : int
        Number C of features.
    eps : float, optional
        Added to the variance; not negative.
    momentum : float or None, optional
        How much of a running estimate stays at each batch, from 0 to 1:
        running ← momentum · running + (1 − momentum) · batch. **PyTorch's momentum is one minus
        this**, Keras's is this. None takes the mean over all batches since the last reset.
    axis : int or tuple of int, optional
        Axes that mean and variance are taken over, all but that of the features: (0, 1, 2) for
        images of shape (N, H, W, C). By default all but axis 1, for (N, C) and (N, C, …).
    affine : bool, optional
        Whether the result is scaled by `gamma` and shifted by `beta`.
    track_running_stats : bool, optional
        Without, the batch is used in evaluation too.
    unbiased_running_var : bool, optional
        Whether the running variance takes Σ(x − mean)²/(n − 1) of each batch, as in PyTorch, and
        not Σ(x − mean)²/n, by which the batch itself is normalized.
    staged : bool, optional
        Nine visible steps (`tinygraph.batchnorm.staged`), or one node with the closed form for
        its rule (`tinygraph.batchnorm.normalize`), which keeps one array and not five. They agree
        up to rounding.
    dtype : dtype, optional
        Of parameters and running statistics.

    Attributes
    ----------
    gamma, beta : Tensor or None
        Of shape (C,), at first 1 and 0.
    running_mean, running_var : ndarray or None
        Of shape (C,), at first 0 and 1, read-only: each batch replaces them.
    batches : ndarray
        With ``momentum=None`` only: the number of batches so far.

    Raises
    ------
    ValueError
        If an option is out of its range. On calling: if x does not have C features, or in training
        only one value per feature, or a mean or variance that is not finite: it would stay in the
        running statistics for good.

    Notes
    -----
    Source: S. Ioffe and C. Szegedy, *Batch Normalization*, 2015. In evaluation the estimates are
    constants: the gradient is dx = gamma/√(running_var + eps) · dout, and no entry of a batch
    depends on another.

    Examples
    --------
    >>> norm = BatchNorm(2)
    >>> norm([[1.0, 10.0], [3.0, 50.0]]).data.round(2)
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> norm.running_mean, norm.running_var
    (array([0.2, 3. ]), array([ 1. , 40.9]))
    >>> norm.eval()([[1.0, 10.0]]).data.round(2)      # a batch of one will do
    array([[0.8 , 1.09]])
    """

    not_negative = ("running_var", "batches")

    def __init__(
        self,
        features: int,
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.9,
        axis: int | Axes | None = None,
        affine: bool = True,
        track_running_stats: bool = True,
        unbiased_running_var: bool = False,
        staged: bool = True,
        dtype: Any = np.float64,
    ) -> None:
        self.features = count(features, "BatchNorm: features")
        if not eps >= 0:
            raise ValueError(f"BatchNorm: eps is {eps}, but must not be negative")
        if momentum is not None and not 0 <= momentum <= 1:
            raise ValueError(
                f"BatchNorm: momentum is {momentum}, but must be from 0 to 1, or None for the mean "
                "over all batches"
            )
        self.eps, self.momentum, self.axis = eps, momentum, axis
        self.unbiased_running_var, self.staged = unbiased_running_var, staged
        self.gamma = Tensor(np.ones(self.features, dtype), name="gamma") if affine else None
        self.beta = Tensor(np.zeros(self.features, dtype), name="beta") if affine else None
        self.running_mean: Any = np.zeros(self.features, dtype) if track_running_stats else None
        self.running_var: Any = None
        self.reset_running_stats()

    def __call__(self, x: Any) -> Any:
        """Normalize x of shape (N, C), (N, C, …) or as `axis` says."""
        x = as_tensor(x)
        axes, shape = self._layout(x.shape)
        if self.running_mean is not None and not self.training:
            running_mean = recalled(self, "running_mean").reshape(shape)
            ivar = 1 / np.sqrt(recalled(self, "running_var").reshape(shape) + self.eps)
            xhat = (x - running_mean) * ivar
            if self.gamma is None or self.beta is None:
                return xhat
            out = self.gamma.reshape(shape) * xhat + self.beta.reshape(shape)
            return out
        self._check_batch(x.shape, axes)
        gamma = np.ones(self.features, x.dtype) if self.gamma is None else self.gamma
        beta = np.zeros(self.features, x.dtype) if self.beta is None else self.beta
        normalize = staged if self.staged else fused.normalize
        out = normalize(x, gamma, beta, eps=self.eps, axis=axes)
        if self.running_mean is not None:
            self._update(aside(x), axes, shape)
        return out

    def reset_running_stats(self) -> None:
        """Forget all batches: running mean 0, running variance 1."""
        if self.running_mean is not None:
            self.running_mean = locked(np.zeros_like(self.running_mean))
            self.running_var = locked(np.ones_like(self.running_mean))
            if self.momentum is None:
                self.batches = locked(np.array(0))

    def fold_into(self, linear: Linear) -> Linear:
        """Give the one Linear that equals `linear` followed by this layer in evaluation.

        With s = gamma/√(running_var + eps): weight · s and (bias − running_mean) · s + beta.

        Parameters
        ----------
        linear : Linear
            Whose outputs this layer normalizes. It is not changed.

        Returns
        -------
        Linear

        Raises
        ------
        TypeError
            If `linear` is no Linear.
        ValueError
            If it does not have as many outputs as this layer has features, or this layer keeps no
            running statistics.

        Examples
        --------
        >>> linear, norm = Linear(3, 2, rng=0), BatchNorm(2)
        >>> x = np.random.default_rng(0).normal(size=(8, 3))
        >>> _ = norm(linear(x))
        >>> folded = norm.eval().fold_into(linear)
        >>> bool(np.allclose(folded(x).data, norm(linear(x)).data, rtol=0, atol=1e-15))
        True
        """
        if not isinstance(linear, Linear):
            raise TypeError(f"{self!r}: fold_into takes a Linear, not {type(linear).__name__}")
        if linear.out_features != self.features:
            raise ValueError(
                f"{self!r} cannot be folded into {linear!r}: {linear.out_features} outputs, but "
                f"{self.features} features"
            )
        if self.running_mean is None:
            raise ValueError(
                f"{self!r} cannot be folded: it has no running statistics, so its output depends "
                "on the batch; build it with track_running_stats=True"
            )
        scale = 1 / np.sqrt(self.running_var + self.eps)
        shift = -self.running_mean * scale
        if self.gamma is not None and self.beta is not None:
            scale, shift = scale * self.gamma.data, shift * self.gamma.data + self.beta.data
        if linear.bias is not None:
            shift = shift + linear.bias.data * scale
        dtype = linear.weight.dtype
        folded = Linear(linear.in_features, linear.out_features, rng=0, dtype=dtype)
        folded.weight = Tensor((linear.weight.data * scale).astype(dtype), name="weight")
        folded.bias = Tensor(shift.astype(dtype), name="bias")
        return folded

    def _layout(self, shape: tuple[int, ...]) -> tuple[Axes, tuple[int, ...]]:
        """Give the axes of the batch, and the shape in which one value per feature broadcasts."""
        if self.axis is None:
            kept = {1}
        else:
            kept = {*range(len(shape))} - {*normalize_axes(shape, self.axis, of=repr(self))}
        if len(kept) != 1 or 0 in kept:
            raise ValueError(
                f"{self!r}: axis={self.axis} of x of shape {shape} must be all axes but that of "
                "the features, such as (0, 2, 3) for (N, C, H, W) or (0, 1, 2) for (N, H, W, C)"
            )
        (feature,) = kept
        if len(shape) < 2 or shape[feature] != self.features:
            raise ValueError(
                f"{self!r}: x of shape {shape} must have {self.features} features along axis "
                f"{feature}" + ("" if len(shape) < 2 else f", not {shape[feature]}")
            )
        axes = tuple(k for k in range(len(shape)) if k != feature)
        # What is summed over leading axes broadcasts by itself; see batchnorm.layout.
        trailing = len(shape) - 1 - feature
        return axes, (1,) * (feature if trailing else 0) + (self.features,) + (1,) * trailing

    def _check_batch(self, shape: tuple[int, ...], axes: Axes) -> None:
        n = math.prod(shape[k] for k in axes)
        if n < 2:
            raise ValueError(
                f"{self!r}: x of shape {shape} has {n} value{'s' * (n != 1)} per feature in "
                "training, but a variance needs at least two: take a larger batch, leave out a "
                "last batch of one, or call eval() to normalize by the running estimates"
            )

    def _update(self, x: Any, axes: Axes, shape: tuple[int, ...]) -> None:
        """Let the running statistics follow; the gradient of the batch has no part in them."""
        x = np.real(x) if x.dtype.kind == "c" else x  # a complex step moves it by 1e-20 i
        mean, var = _mean_and_variance(x, axes, shape)
        n = math.prod(extent(x)) // self.features
        if self.unbiased_running_var:
            var = var * (n / (n - 1))
        stays, moves = self._share(self.running_mean), self._share(mean, new=True)
        running_mean = stays * recalled(self, "running_mean") + moves * mean
        running_var = stays * recalled(self, "running_var") + moves * var
        replace = partial(self._replace, extent(x))
        performed(replace, mean, var, running_mean, running_var)
        if isinstance(running_mean, Tensor):  # it is recorded, and not replaced yet
            dtype = self.running_mean.dtype
            replaced(
                self,
                running_mean=running_mean.astype(dtype, copy=False),
                running_var=running_var.astype(dtype, copy=False),
            )

    def _share(self, of: Any, new: bool = False) -> Any:
        """Give the factor of the running estimate, or that of the batch, in the dtype of either."""
        if self.momentum is not None:
            return 1 - self.momentum if new else self.momentum

        def share(batches: Any) -> Any:
            stays = 1 - 1 / (int(batches) + 1)
            return of.dtype.type(1 - stays if new else stays)

        return recalled(self, "batches", share)

    def _replace(
        self, shape: Axes, mean: Any, var: Any, running_mean: Any, running_var: Any
    ) -> None:
        """Replace the running statistics by what a batch of some shape has moved them to."""
        dtype = self.running_mean.dtype
        if running_mean.dtype != dtype:
            with np.errstate(over="ignore"):  # what overflows is refused
                running_mean, running_var = running_mean.astype(dtype), running_var.astype(dtype)
        # A sum of products is finite only if they all are; if it is not, it may have overflowed.
        if not math.isfinite(running_mean.dot(running_var)):
            self._check_finite(shape, mean, var, running_mean, running_var)
        self.running_mean, self.running_var = locked(running_mean), locked(running_var)
        if self.momentum is None:
            self.batches = locked(np.array(int(self.batches) + 1))

    def _check_finite(
        self, shape: Axes, mean: Any, var: Any, running_mean: Any, running_var: Any
    ) -> None:
        good = np.isfinite(running_mean) & np.isfinite(running_var)
        if not good.all():
            k = int(np.argmin(good))
            raise ValueError(
                f"{self!r}: feature {k} of x of shape {shape} has mean {mean[k]} and "
                f"variance {var[k]}, which would stay in the running statistics for good; find "
                "where it comes from with detect_anomaly"
            )

    def _options(self) -> str:
        options = {
            "eps": (self.eps, 1e-5),
            "momentum": (self.momentum, 0.9),
            "axis": (self.axis, None),
            "affine": (self.gamma is not None, True),
            "track_running_stats": (self.running_mean is not None, True),
            "unbiased_running_var": (self.unbiased_running_var, False),
            "staged": (self.staged, True),
        }
        changed = [f"{name}={value}" for name, (value, usual) in options.items() if value != usual]
        return ", ".join([str(self.features), *changed])


def _mean_and_variance(x: Any, axes: Axes, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Give both as NumPy computes them, the mean but once; of float16 in float32."""
    if x.dtype == np.float16:
        mean, var = _mean_and_variance(x.astype(np.float32), axes, shape)
        return mean.astype(x.dtype), var.astype(x.dtype)
    mean = np.mean(x, axis=axes)
    return mean, np.mean(np.square(x - mean.reshape(shape)), axis=axes)


class LayerNorm(Module):
    """Normalize each sample over its features, the same in training and in evaluation.

    Parameters
    ----------
    features : int or tuple of int
        Length of the last axis of x, or lengths of its last axes.
    eps : float, optional
        Added to the variance; not negative.
    affine : bool, optional
        Whether the result is scaled by `gamma` and shifted by `beta`.
    dtype : dtype, optional
        Of the parameters.

    Attributes
    ----------
    gamma, beta : Tensor or None
        Of shape `features`, at first 1 and 0.

    Raises
    ------
    ValueError
        If an option is out of its range; on calling, if x has other last axes.

    Notes
    -----
    Source: J. L. Ba, J. R. Kiros and G. E. Hinton, *Layer Normalization*, 2016.

    Examples
    --------
    >>> LayerNorm(2, eps=0.0)([[1.0, 3.0], [70.0, 50.0]]).data
    array([[-1.,  1.],
           [ 1., -1.]])
    """

    def __init__(
        self,
        features: int | tuple[int, ...],
        *,
        eps: float = 1e-5,
        affine: bool = True,
        dtype: Any = np.float64,
    ) -> None:
        given = features if isinstance(features, tuple) else (features,)
        self.shape = tuple(count(n, "LayerNorm: features") for n in given)
        if not eps >= 0:
            raise ValueError(f"LayerNorm: eps is {eps}, but must not be negative")
        self.eps = eps
        self.gamma = Tensor(np.ones(self.shape, dtype), name="gamma") if affine else None
        self.beta = Tensor(np.zeros(self.shape, dtype), name="beta") if affine else None

    def __call__(self, x: Any) -> Any:
        """Normalize x of shape (…, *features) over its last axes."""
        x = as_tensor(x)
        if x.shape[-len(self.shape) :] != self.shape:
            raise ValueError(f"{self!r}: x of shape {x.shape} must end in {self.shape}")
        gamma = np.ones(self.shape, x.dtype) if self.gamma is None else self.gamma
        beta = np.zeros(self.shape, x.dtype) if self.beta is None else self.beta
        out = staged(x, gamma, beta, eps=self.eps, axis=tuple(range(-len(self.shape), 0)))
        return out

    def _options(self) -> str:
        return f"{self.shape[0] if len(self.shape) == 1 else self.shape}"
