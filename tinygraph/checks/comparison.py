"""`compare`: the staged backward pass against the closed form, and both against the definition.

Three kinds of evidence, each able to fail. Every gradient that autodiff found on its way back is
held against the staged derivation's formula for that step, written here by hand. The gradients of
x, gamma and beta are held against the closed form and, for a batch of shape (N, D), against the
contraction of the Jacobian. And dx is held against the complex step, which knows no rule at all.

**The upstream gradient is random.** With an upstream gradient of ones, the true dx of BatchNorm is
0, and every wrong formula passes.

**The error is scaled by what the terms are made of**, |a − b| / (|gamma|/√(var + eps) · max |dout|)
per feature. dx is a small difference of large terms, so that an error relative to dx itself would
blame the subtraction on the formula.

With ``exact=True`` all of this is done in fractions instead, without any tolerance; see
`exact`.
"""

from __future__ import annotations

import time
from fractions import Fraction
from typing import Any, Literal, overload

import numpy as np

from tinygraph.batchnorm.formulas import Axis, closed_form, jacobian, layout, staged
from tinygraph.checks.by_hand import NAMES, Batch, ClosedForm, Error, answers, held_by_step
from tinygraph.checks.exact import ExactReport, compare_exactly
from tinygraph.checks.rational import EPS, draw_fractions, to_fractions
from tinygraph.checks.reports import Report, StepRow
from tinygraph.engine.functions import normalize_axes
from tinygraph.engine.recording import no_grad
from tinygraph.engine.tensor import Tensor, grad
from tinygraph.engine.tracing import trace
from tinygraph.graph.snapshot import Graph

__all__ = ["Report", "compare"]

COMPLEX_STEP = 1e-20
ALL_ENTRIES, SOME_DIRECTIONS = 4096, 32
LARGEST_JACOBIAN = 10**7
REPEATS = 5

LEAST_COMPLEX_BOUND = 1e-12


@overload
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
    exact: Literal[False] = False,
) -> Report: ...


@overload
def compare(
    x: Any,
    gamma: Any = None,
    beta: Any = None,
    dout: Any = None,
    *,
    eps: Any = None,
    axis: Axis = 0,
    seed: int = 0,
    closed: ClosedForm = closed_form,
    exact: Literal[True],
) -> ExactReport: ...


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
) -> Report | ExactReport:
    """Hold the staged backward pass of BatchNorm against the closed form.

    Parameters
    ----------
    x : array_like
        Values, such as a batch of shape (N, D).
    gamma, beta : array_like, optional
        Scale and shift, as in `batchnorm.staged`; random by default.
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
        solution, for instance.
    exact : bool, optional
        Whether to compute in fractions, in which the gradients must be equal and not close. A
        float is taken for the decimal that it prints as, 14.23 for 1423/100, and what is random is
        a fraction of small numbers. So that √(var + eps) is a fraction as well, the distances from
        the mean are stretched, by less than a millionth; eps must be the square of a fraction.

    Returns
    -------
    Report, or ExactReport if `exact`

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
    >>> report.passed, report.steps[5].held.entries
    (True, 2)
    """
    x, gamma, beta, dout = _arguments(x, gamma, beta, dout, axis, dtype, seed, exact)
    if exact:
        return compare_exactly(x, gamma, beta, dout, EPS if eps is None else eps, axis, closed)
    eps = 1e-5 if eps is None else float(eps) if isinstance(eps, Fraction) else eps
    where = layout(x, gamma, beta, eps, axis)
    batch = Batch(x, gamma, dout, eps, where)

    tensors = [Tensor(x, name="x"), Tensor(gamma, name="gamma"), Tensor(beta, name="beta")]
    with np.errstate(all="ignore"):
        out = trace(staged)(*tensors, eps=eps, axis=axis)
        out.backward(dout)
        expected = answers(closed, x, gamma, dout, eps=eps, axis=axis)
        by_complex_step, directions = _complex_step_error(tensors, dout, eps, axis, batch)
        contraction = None
        if x.ndim == 2 and where.axis == (0,) and x.size * len(x) <= LARGEST_JACOBIAN:
            contraction = np.einsum("kid,kd->id", jacobian(x, gamma, eps=eps), dout)
    found = dict(zip(NAMES, (t.grad for t in tensors), strict=True))
    batch.check_finite(found["dx"])
    graph = Graph.capture(out, wrt=tensors)
    rows = _rows(graph, out, batch)

    checks = {name: batch.error(found[name], expected[name], name) for name in NAMES}
    checks["worst step"] = max((row.error for row in rows), key=lambda error: error.ratio)
    if contraction is not None:
        checks["jacobian"] = batch.error(found["dx"], contraction, "dx")
    checks["complex step"] = by_complex_step
    if x.dtype.itemsize < 8:
        checks["in float64"] = _error_in_float64((x, gamma, beta, dout), eps, axis, closed)
    return Report(
        shape=x.shape,
        dtype=str(x.dtype),
        eps=float(eps),
        axis=where.axis,
        steps=tuple(rows),
        differences={name: batch.difference(found[name], expected[name]) for name in NAMES},
        relative={name: batch.relative(found[name], expected[name]) for name in NAMES},
        scaled_errors={name: error.value for name, error in checks.items()},
        tolerances={name: error.bound for name, error in checks.items()},
        speedup=_speedup(tensors, dout, eps, axis, closed),
        directions=directions,
        left_out=batch.left_out,
        graph=graph,
    )


def _arguments(
    x: Any, gamma: Any, beta: Any, dout: Any, axis: Axis, dtype: Any, seed: int, exact: bool
) -> list[Any]:
    """Convert to one dtype; draw what was not given from the seed."""
    x, gamma, beta, dout = (a.data if isinstance(a, Tensor) else a for a in (x, gamma, beta, dout))
    rng = np.random.default_rng(seed)
    if exact:
        if dtype is not None:
            raise ValueError(f"compare: exact=True computes in fractions, not in {dtype}")
        x, convert, draw = to_fractions(x, "x"), to_fractions, draw_fractions
    else:
        x = Tensor(x, name="x").data
        x = x.astype(dtype if dtype is not None else x.dtype)
        if x.dtype.kind != "f":
            raise TypeError(
                f"compare: x has dtype {x.dtype}, but must be of real floats; "
                "exact=True computes in fractions"
            )

        def convert(a: Any, name: str) -> Any:
            return np.asarray(Tensor(a, name=name).data).astype(x.dtype)

        def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
            return np.asarray(rng.normal(size=shape)).astype(x.dtype)

    axes = normalize_axes(x.shape, axis, of="batchnorm")
    if 0 in axes:
        features = tuple(n for k, n in enumerate(x.shape) if k not in axes)
    else:  # LayerNorm: a value for each place that is normalized, from the first such axis on
        features = tuple(n if k in axes else 1 for k, n in enumerate(x.shape))[axes[0] :]
    given = {"gamma": gamma, "beta": beta, "dout": dout}
    shapes = {"gamma": features, "beta": features, "dout": x.shape}
    drawn = {name: draw(rng, shape) for name, shape in shapes.items()}
    arrays = [drawn[name] if a is None else convert(a, name) for name, a in given.items()]
    if arrays[2].shape != x.shape:
        raise ValueError(
            f"compare: dout has shape {arrays[2].shape}, but x has {x.shape}; they must be equal"
        )
    return [x, *arrays]


def _rows(graph: Graph, out: Tensor, batch: Batch) -> list[StepRow]:
    """Hold the gradient at every step against the formula written by hand."""
    rows = []
    for number, name, formula, g, expected in held_by_step(graph, out, batch):
        gradient, difference = f"d{name}", batch.difference(g, expected)
        error = batch.error(g, expected, gradient)
        rows.append(StepRow(number, name, formula, g.shape, gradient, difference, error))
    return rows


def _complex_step_error(
    tensors: list[Tensor], dout: Any, eps: float, axis: Axis, batch: Batch
) -> tuple[Error, int]:
    """Differentiate Σ out · dout in directions of x without any rule: Im f(x + ihv)/h.

    The step needs no balance between truncation and cancellation, because nothing is subtracted.
    Every entry of a small x is a direction of its own; a large x gets random ones.
    """
    wide = [t.data.astype(np.float64) for t in tensors]
    x, gamma, beta = wide
    dx, dout = tensors[0].grad.astype(np.float64), dout.astype(np.float64)
    scale = np.broadcast_to(batch.scales["dx"], x.shape).astype(np.float64)
    kept = np.broadcast_to(batch.finite, x.shape)
    dx, dout, scale = (np.where(kept, a, 0) for a in (dx, dout, scale))
    x = np.where(kept, x, np.arange(x.size).reshape(x.shape))
    rng = np.random.default_rng(1)
    everything = x.size <= ALL_ENTRIES
    count = x.size if everything else SOME_DIRECTIONS
    worst = 0.0
    for k in range(count):
        if everything:
            direction = np.zeros(x.shape)
            direction.flat[k] = 1.0
        else:
            direction = rng.choice([-1.0, 1.0], size=x.shape)
        with no_grad():
            moved = staged(x + 1j * COMPLEX_STEP * direction, gamma, beta, eps=eps, axis=axis)
        slope = np.sum(moved.data.imag * dout) / COMPLEX_STEP
        difference = abs(slope - np.sum(dx * direction))
        size = np.sqrt(np.sum((scale * direction) ** 2))
        worst = max(worst, float(difference / size) if difference else 0.0)
    return Error(worst, max(batch.largest_bound, LEAST_COMPLEX_BOUND)), count


def _error_in_float64(arrays: tuple[Any, ...], eps: float, axis: Axis, closed: ClosedForm) -> Error:
    """Judge the formula apart from rounding: over many rows, a wrong term may hide in float32."""
    x, gamma, beta, dout = (a.astype(np.float64) for a in arrays)
    batch = Batch(x, gamma, dout, eps, layout(x, gamma, beta, eps, axis))
    tensors = [Tensor(a) for a in (x, gamma, beta)]
    with np.errstate(all="ignore"):
        found = grad(staged(*tensors, eps=eps, axis=axis), tensors, dout)
        expected = answers(closed, x, gamma, dout, eps=eps, axis=axis)
    errors = [batch.error(g, expected[name], name) for name, g in zip(NAMES, found, strict=True)]
    return max(errors, key=lambda error: error.ratio)


def _speedup(tensors: list[Tensor], dout: Any, eps: float, axis: Axis, closed: ClosedForm) -> float:
    """Time both sides in turn; the best of several is the least disturbed."""
    x, gamma, upstream = tensors[0].data.copy(), tensors[1].data.copy(), dout.copy()

    def by_autodiff() -> None:
        grad(staged(*tensors, eps=eps, axis=axis), tensors, dout)

    def in_closed_form() -> None:
        closed(x, gamma, upstream, eps=eps, axis=axis)

    best = {by_autodiff: float("inf"), in_closed_form: float("inf")}
    with np.errstate(all="ignore"):
        for _ in range(REPEATS):
            for side in best:
                start = time.perf_counter()
                side()
                best[side] = min(best[side], time.perf_counter() - start)
    return best[by_autodiff] / best[in_closed_form]
