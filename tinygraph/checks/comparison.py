"""`compare`: the staged backward pass against the closed form, and both against the definition.

Three kinds of evidence, each able to fail. Every gradient that autodiff found on its way back is
held against the staged derivation's formula for that step, written here by hand. The gradients of
x, gamma and beta are held against the closed form and, for a batch of shape (N, D), against the
contraction of the Jacobian. And dx is held against the complex step, which knows no rule at all.

**The upstream gradient is random.** With an upstream gradient of ones, the true dx of BatchNorm is
0, and every wrong formula passes.

With ``exact=True`` all of this but the complex step is done in fractions instead, without any
tolerance; see `exact`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from tinygraph.batchnorm.formulas import Axis, closed_form, staged
from tinygraph.checks.batches import NAMES, Batch, ClosedForm, read_batch
from tinygraph.checks.by_hand import Derivation
from tinygraph.checks.closeness import Judge
from tinygraph.checks.differences import directional_derivative
from tinygraph.checks.evidence import collect
from tinygraph.checks.exact import compare_exactly
from tinygraph.checks.rational import EPS, draw_fractions, to_fractions
from tinygraph.checks.reports import Closeness, Report
from tinygraph.engine.tensor import Tensor

__all__ = ["compare"]

# Of all forward passes of the complex step together.
MOST_ENTRIES, SOME_DIRECTIONS = 2**24, 32
LEAST_COMPLEX_BOUND = 1e-12


def compare(
    x: Any,
    gamma: Any = None,
    beta: Any = None,
    dout: Any = None,
    *,
    eps: Any = None,
    axis: Axis = 0,
    dtype: Any = None,
    seed: int = 0,
    closed: ClosedForm = closed_form,
    exact: bool = False,
) -> Report:
    """Hold the staged backward pass of BatchNorm against the closed form.

    Parameters
    ----------
    x : array_like
        Values, such as a batch of shape (N, D).
    gamma, beta : array_like, optional
        Scale and shift, as in `batchnorm.staged`; random by default. The closed form is also asked
        at −gamma.
    dout : array_like, optional
        Upstream gradient, of the shape of x; random by default.
    eps : float or Fraction, optional
        Added to the variance; by default 1e-5, or (1/300)² = 1/90000 if `exact`.
    axis : int or tuple of int, optional
        Axes that mean and variance are taken over.
    dtype : optional
        What to compute in; by default the dtype of x.
    seed : int, optional
        Of everything that is random.
    closed : callable, optional
        The closed form to be judged, ``closed(x, gamma, dout, eps=…, axis=…)``; a course's own
        solution, for instance. It may also take what it needs by name, as `check` has it, in any
        order: ``closed(dout, xhat, gamma, ivar)``, of the variables of `batchnorm.staged`.
    exact : bool, optional
        Whether to compute in fractions, in which the gradients must be equal and not close. A
        float is taken for the decimal that it prints as, 14.23 for 1423/100, and what is random is
        a fraction of small numbers. So that √(var + eps) is a fraction as well, the distances from
        the mean are stretched, by less than a millionth; eps must be the square of a fraction.

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        As `batchnorm.staged`; also if dout has another shape than x, or if eps is 0 and a feature
        is constant. If `exact`, also if eps is no square of a fraction but would have to be.

    Examples
    --------
    >>> report = compare([[1.0, 20.0], [2.0, 50.0], [4.0, 40.0]])
    >>> report.passed, max(report.differences.values()) < 1e-14
    (True, True)

    In fractions there is no difference at all:

    >>> report = compare([[1.0, 20.0], [2.0, 50.0], [4.0, 40.0]], exact=True)
    >>> report.passed, report.steps[5].evidence.entries
    (True, 2)
    """
    x, *given = (a.data if isinstance(a, Tensor) else a for a in (x, gamma, beta, dout))
    if exact and dtype is not None:
        raise ValueError(f"compare: exact=True computes in fractions, not in {dtype}")
    if eps is None:
        eps = EPS if exact else 1e-5
    elif isinstance(eps, Fraction) and not exact:
        eps = float(eps)
    x = to_fractions(x, "x") if exact else _floats(x, "x", dtype)
    batch = read_batch(
        x,
        *given,
        eps=eps,
        axis=axis,
        seed=seed,
        convert=to_fractions if exact else partial(_floats, dtype=x.dtype),
        draw=draw_fractions if exact else np.random.Generator.standard_normal,
    )
    return (compare_exactly if exact else _compare_floats)(batch, closed)


def _floats(a: Any, name: str, dtype: Any) -> Any:
    array = np.asarray(Tensor(a, name=name).data)
    array = array.astype(array.dtype if dtype is None else dtype)
    if array.dtype.kind != "f":
        raise TypeError(
            f"compare: {name} has dtype {array.dtype}, but must be of real floats; "
            "exact=True computes in fractions"
        )
    return array


def _compare_floats(batch: Batch, closed: ClosedForm) -> Report:
    derivation = Derivation(batch)
    judge = Judge(derivation)
    report = collect(derivation, closed, judge, left_out=judge.left_out)
    dx = report.gradients["autodiff"]["dx"]
    judge.check_finite(dx)
    complex_step, directions = _by_complex_step(batch, judge, dx)
    ways: dict[str, tuple[Closeness, ...]] = {"complex step": (complex_step,)}
    if batch.x.dtype.itemsize < 8:
        ways["in float64"] = _in_float64(batch, closed)
    return replace(report, others={**report.others, **ways}, directions=directions)


def _by_complex_step(batch: Batch, judge: Judge, dx: Any) -> tuple[Closeness, int]:
    """Differentiate Σ out · dout in directions of x, without any rule.

    Features do not mix: the slope of each is the sum over its own entries of out, so that one
    direction does for all of them. Every place in a small batch is a direction, along which the
    slopes are dx there; a large batch gets random ones.
    """
    x, gamma, beta, dout = (a.astype(np.float64) for a in batch.arrays.values())
    axes = batch.layout.axis
    places = math.prod(x.shape[k] for k in axes)
    every = places <= SOME_DIRECTIONS or places * x.size <= MOST_ENTRIES
    rng = np.random.default_rng(1)
    one_place = np.zeros([n if k in axes else 1 for k, n in enumerate(x.shape)])

    def out(x: Any) -> Any:
        return staged(x, gamma, beta, eps=batch.eps, axis=batch.axis)

    found, slopes = [], []
    for k in range(places if every else SOME_DIRECTIONS):
        one_place.flat[k - 1], one_place.flat[k] = 0.0, 1.0
        if every:
            direction = np.broadcast_to(one_place, x.shape)
        else:
            direction = rng.choice([-1.0, 1.0], size=x.shape)
        with np.errstate(all="ignore"):
            slope = directional_derivative(out, [x], [direction]) * dout
            found.append(np.sum(dx * direction, axis=axes, keepdims=True))
            slopes.append(np.sum(slope, axis=axes, keepdims=True))
    a, b = (np.concatenate(rows, axis=axes[0]) for rows in (found, slopes))
    scale = 1.0 if every else math.sqrt(places)  # the length of a direction
    return judge.between("dx", a, b, scale, LEAST_COMPLEX_BOUND), len(found)


def _in_float64(batch: Batch, closed: ClosedForm) -> tuple[Closeness, ...]:
    """Judge the formula apart from rounding: over many rows, a wrong term may hide in float32."""
    batch = replace(batch, **{name: a.astype(np.float64) for name, a in batch.arrays.items()})
    judge = Judge(Derivation(batch))
    with np.errstate(all="ignore"):
        _, tensors = batch.staged()
        expected = batch.in_closed_form(closed)
    return tuple(
        judge(name, t.grad, expected[name]) for name, t in zip(NAMES, tensors, strict=True)
    )
