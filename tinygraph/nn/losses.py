"""Losses: what a network is trained to make small. Each is the mean over a batch, a scalar."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygraph.engine import ops
from tinygraph.engine.effects import checked
from tinygraph.engine.lengths import extent
from tinygraph.engine.tensor import Tensor, peek
from tinygraph.nn.module import as_tensor

__all__ = ["cross_entropy", "mse"]


def mse(prediction: Any, target: Any) -> Any:
    """Mean squared error, Σ (prediction − target)² / n over all n entries.

    Parameters
    ----------
    prediction : Tensor or array_like
    target : Tensor or array_like
        Of the same shape: (N,) and (N, 1) would broadcast to (N, N), which nobody means.

    Returns
    -------
    Tensor
        A scalar.

    Raises
    ------
    ValueError
        If the shapes differ, or there are no entries.

    Examples
    --------
    >>> mse([1.0, 2.0], [1.0, 4.0]).data
    np.float64(2.0)
    """
    prediction = as_tensor(prediction)
    if prediction.shape != np.shape(target):
        raise ValueError(
            f"mse: prediction has shape {prediction.shape}, but target {np.shape(target)}; they "
            "must be equal: reshape one of them"
        )
    if prediction.size == 0:
        raise ValueError(f"mse: prediction of shape {prediction.shape} has no entries to average")
    error = prediction - target
    loss = np.mean(error**2)
    return loss


def cross_entropy(logits: Any, labels: Any) -> Any:
    """Mean negative log-likelihood of the right classes, from logits.

    Of one sample with logits z and label k it is log Σ_j exp(z_j) − z_k, computed as
    log Σ_j exp(z_j − max z) − (z_k − max z), in which nothing can overflow. The gradient by z is
    softmax(z) − onehot(k), over N.

    Parameters
    ----------
    logits : Tensor or array_like
        Of shape (N, C): unnormalized log-probabilities of C classes.
    labels : array_like of int
        Of shape (N,): the right classes, from 0 to C − 1.

    Returns
    -------
    Tensor
        A scalar.

    Raises
    ------
    ValueError
        If the shapes do not fit or a label is out of range.
    TypeError
        If the labels are not integers.

    Examples
    --------
    A sample of which nothing is known costs log C, one that is surely right nothing:

    >>> cross_entropy([[0.0, 0.0], [10000.0, 0.0]], [1, 0]).data.round(4)
    np.float64(0.3466)
    """
    logits = as_tensor(logits)
    labels = _checked_labels(extent(logits), labels)
    # Shifting changes neither value nor gradient, so no gradient flows through the shift.
    if logits.dtype.kind == "c":
        shift = np.max(np.real(logits.data), axis=1, keepdims=True)
    else:
        shift = ops.stop(np.max(logits, axis=1, keepdims=True))
    shifted = logits - shift
    lse = np.log(np.sum(np.exp(shifted), axis=1))
    picked = shifted[np.arange(extent(labels)[0]), labels]
    loss = np.mean(lse - picked)
    return loss


def _checked_labels(shape: tuple[int, ...], given: Any) -> Any:
    """Check labels; those of a traced function stay the input that they are."""
    labels = np.asarray(peek(given) if isinstance(given, Tensor) else given)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(
            f"cross_entropy: logits have shape {shape}, but must have shape (N, C), neither being 0"
        )
    n, classes = shape
    if labels.shape != (n,):
        onehot = "; of one-hot labels pass labels.argmax(axis=1)" if labels.shape == shape else ""
        raise ValueError(
            f"cross_entropy: labels have shape {labels.shape}, but logits {shape}, which take "
            f"labels of shape ({n},): one class per row{onehot}"
        )
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"cross_entropy: labels must be integers, not {labels.dtype}; write "
            "labels.astype(int) if they are whole numbers"
        )

    def check(labels: Any) -> None:
        wrong = (labels < 0) | (labels >= classes)
        if np.count_nonzero(wrong):
            first = int(np.argmax(wrong))
            raise ValueError(
                f"cross_entropy: label {labels[first]} at {first} is no class; logits of shape "
                f"{shape} have the classes 0 to {classes - 1}"
            )

    found = given if isinstance(given, Tensor) else labels
    checked(check, found)
    return found
