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
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygraph.autodiff import reachable
from tinygraph.batchnorm import closed_form, jacobian, layout, staged
from tinygraph.by_hand import Batch, Error
from tinygraph.functions import normalize_axes
from tinygraph.graph import Graph
from tinygraph.notation import Notation
from tinygraph.recording import no_grad
from tinygraph.tensor import Tensor, grad
from tinygraph.tracing import trace

__all__ = ["Report", "StepRow", "compare"]

COMPLEX_STEP = 1e-20
ALL_ENTRIES, SOME_DIRECTIONS = 4096, 32
LARGEST_JACOBIAN = 10**7
REPEATS = 5
NAMES = ("dx", "dgamma", "dbeta")

LEAST_COMPLEX_BOUND = 1e-12

Axis = int | tuple[int, ...]


@dataclass(frozen=True)
class StepRow:
    """One step: its formula, and how well its gradient agrees with the one derived by hand."""

    number: int
    name: str
    formula: str
    shape: tuple[int, ...]
    gradient: str
    difference: float
    error: Error


@dataclass(frozen=True)
class Report:
    """What `compare` found. ``str(report)`` is the text that the command prints.

    Attributes
    ----------
    shape, dtype, eps, axis
        What was compared.
    steps : tuple of StepRow
        The nine steps, and step 0 for dx.
    differences : dict
        Largest absolute difference between staged and closed form: dx, dgamma, dbeta.
    relative : dict
        The same, elementwise relative, as course notebooks print it. It decides nothing.
    scaled_errors : dict
        Scaled errors of dx, dgamma and dbeta, of the worst step, of the Jacobian contraction
        (unless that would be too large, or x is not (N, D)) and of the complex step; each of the
        feature that comes closest to its bound.
    tolerances : dict
        What each of these may be.
    speedup : float
        Time of the staged forward and backward pass over that of the closed form, each the best of
        several in this run.
    directions : int
        How many directions the complex step took.
    left_out : int
        Features left out of the verdict because their input is not finite.
    graph : Graph
        The joint graph that was compared, for pictures.
    """

    shape: tuple[int, ...]
    dtype: str
    eps: float
    axis: tuple[int, ...]
    steps: tuple[StepRow, ...]
    differences: Mapping[str, float]
    relative: Mapping[str, float]
    scaled_errors: Mapping[str, float]
    tolerances: Mapping[str, float]
    speedup: float
    directions: int
    left_out: int
    graph: Graph = field(repr=False)

    @property
    def passed(self) -> bool:
        """Whether every scaled error is within its tolerance."""
        return all(error <= self.tolerances[name] for name, error in self.scaled_errors.items())

    def to_dict(self) -> dict[str, Any]:
        """Give the report as numbers, strings, lists and dicts, ready for JSON."""
        return {
            "passed": self.passed,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "eps": self.eps,
            "axis": list(self.axis),
            "steps": [
                {
                    "step": row.number,
                    "name": row.name,
                    "formula": row.formula,
                    "shape": list(row.shape),
                    "gradient": row.gradient,
                    "difference": _plain(row.difference),
                    "scaled_error": _plain(row.error.value),
                }
                for row in self.steps
            ],
            "differences": {name: _plain(x) for name, x in self.differences.items()},
            "relative": {name: _plain(x) for name, x in self.relative.items()},
            "scaled_errors": {name: _plain(x) for name, x in self.scaled_errors.items()},
            "tolerances": dict(self.tolerances),
            "speedup": self.speedup,
            "complex_step_directions": self.directions,
            "features_left_out": self.left_out,
        }

    def __str__(self) -> str:
        lines = [
            f"BatchNorm of {self.shape} over axis {_axis_text(self.axis)}, {self.dtype}, "
            f"eps = {self.eps:g}",
            "",
            _table(
                ("step", "name", "formula", "shape", "gradient", "autodiff − by hand"),
                [
                    (
                        str(row.number),
                        row.name,
                        row.formula,
                        str(row.shape),
                        row.gradient,
                        f"{row.difference:.1e}",
                    )
                    for row in self.steps
                ],
            ),
            "",
            "staged against closed form (largest absolute difference)",
        ]
        for name in ("dx", "dgamma", "dbeta"):
            lines.append(
                f"  {name + ' difference:':<20} {self.differences[name]:.3e}"
                f"   (relative {self.relative[name]:.1e})"
            )
        lines += [f"  {'speedup:':<20} {self.speedup:.2f}x", ""]
        lines.append("scaled error |a − b| / (|gamma|/√(var + eps) · max|dout|)")
        for name, error in self.scaled_errors.items():
            bound = self.tolerances[name]
            verdict = "PASS" if error <= bound else "FAIL"
            lines.append(f"  {name + ':':<20} {error:.1e}   {verdict} (at most {bound:.1e})")
        if self.left_out:
            lines.append(f"  features left out, as their input is not finite: {self.left_out}")
        lines += ["", "PASS: staged and closed form agree" if self.passed else "FAIL: they differ"]
        return "\n".join(lines)


def compare(
    x: Any,
    gamma: Any = None,
    beta: Any = None,
    dout: Any = None,
    *,
    eps: float = 1e-5,
    axis: Axis = 0,
    dtype: Any = None,
    seed: int = 0,
    closed: Callable[..., tuple[Any, Any, Any]] = closed_form,
) -> Report:
    """Hold the staged backward pass of BatchNorm against the closed form.

    Parameters
    ----------
    x : array_like
        Values, such as a batch of shape (N, D).
    gamma, beta : array_like, optional
        Scale and shift, as in `batchnorm.staged`; random by default.
    dout : array_like, optional
        Upstream gradient, of the shape of x; random by default.
    eps : float, optional
        Added to the variance.
    axis : int or tuple of int, optional
        Axes that mean and variance are taken over.
    dtype : optional
        What to compute in; by default the dtype of x.
    seed : int, optional
        Of everything that is random.
    closed : callable, optional
        The closed form to be judged, ``closed(x, gamma, dout, eps=…, axis=…)``; a course's own
        solution, for instance.

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        As `batchnorm.staged`; also if dout has another shape than x, or if eps is 0 and a feature
        is constant.

    Examples
    --------
    >>> report = compare([[1.0, 20.0], [2.0, 50.0], [4.0, 40.0]])
    >>> report.passed, max(report.differences.values()) < 1e-14
    (True, True)
    """
    x, gamma, beta, dout = _arguments(x, gamma, beta, dout, axis, dtype, seed)
    where = layout(x, gamma, beta, eps, axis)
    batch = Batch(x, gamma, dout, eps, where)

    tensors = [Tensor(x, name="x"), Tensor(gamma, name="gamma"), Tensor(beta, name="beta")]
    with np.errstate(all="ignore"):
        out = trace(staged)(*tensors, eps=eps, axis=axis)
        out.backward(dout)
        expected = _answers(closed, x, gamma, dout, eps, axis)
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
    x: Any, gamma: Any, beta: Any, dout: Any, axis: Axis, dtype: Any, seed: int
) -> tuple[Any, Any, Any, Any]:
    """Convert to one dtype; draw what was not given from the seed."""
    x, gamma, beta, dout = (a.data if isinstance(a, Tensor) else a for a in (x, gamma, beta, dout))
    x = Tensor(x, name="x").data
    x = x.astype(dtype if dtype is not None else x.dtype)
    if x.dtype.kind != "f":
        raise TypeError(f"compare: x has dtype {x.dtype}, but must be of real floats")
    axes = normalize_axes(x.shape, axis, of="batchnorm")
    if 0 in axes:
        features = tuple(n for k, n in enumerate(x.shape) if k not in axes)
    else:  # LayerNorm: a value for each place that is normalized, from the first such axis on
        features = tuple(n if k in axes else 1 for k, n in enumerate(x.shape))[axes[0] :]
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=features), rng.normal(size=features), rng.normal(size=x.shape)
    arrays = [
        np.asarray(random if given is None else Tensor(given, name=name).data).astype(x.dtype)
        for name, given, random in zip(
            ("gamma", "beta", "dout"), (gamma, beta, dout), drawn, strict=True
        )
    ]
    if arrays[2].shape != x.shape:
        raise ValueError(
            f"compare: dout has shape {arrays[2].shape}, but x has {x.shape}; they must be equal"
        )
    return x, *arrays


def _rows(graph: Graph, out: Tensor, batch: Batch) -> list[StepRow]:
    """Hold the gradient at every step against the formula written by hand."""
    tensors = {t.name: t for t in reachable([out])}
    by_hand = batch.staged_gradients()
    notation = Notation(graph)
    sources = [(s.number, s.name, notation.formula(s.result)) for s in graph.steps]
    rows = []
    for number, name, formula in [(0, "x", "the batch"), *sources]:
        g, gradient = tensors[name].grad, f"d{name}"
        expected = by_hand[gradient].reshape(g.shape)
        difference = batch.difference(g, expected)
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


def _answers(
    closed: Callable[..., Any], x: Any, gamma: Any, dout: Any, eps: float, axis: Axis
) -> dict[str, Any]:
    """Ask the closed form, which may use what it is given as it likes."""
    answer = closed(x.copy(), gamma.copy(), dout.copy(), eps=eps, axis=axis)
    return dict(zip(NAMES, map(np.asarray, answer), strict=True))


def _error_in_float64(
    arrays: tuple[Any, ...], eps: float, axis: Axis, closed: Callable[..., Any]
) -> Error:
    """Judge the formula apart from rounding: over many rows, a wrong term may hide in float32."""
    x, gamma, beta, dout = (a.astype(np.float64) for a in arrays)
    batch = Batch(x, gamma, dout, eps, layout(x, gamma, beta, eps, axis))
    tensors = [Tensor(a) for a in (x, gamma, beta)]
    with np.errstate(all="ignore"):
        found = grad(staged(*tensors, eps=eps, axis=axis), tensors, dout)
        expected = _answers(closed, x, gamma, dout, eps, axis)
    errors = [batch.error(g, expected[name], name) for name, g in zip(NAMES, found, strict=True)]
    return max(errors, key=lambda error: error.ratio)


def _speedup(
    tensors: list[Tensor], dout: Any, eps: float, axis: Axis, closed: Callable[..., Any]
) -> float:
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


# --------------------------------------------------------------------------- text


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _axis_text(axis: tuple[int, ...]) -> str:
    return str(axis[0]) if len(axis) == 1 else str(axis)


def _plain(x: float) -> float | str:
    """JSON has no nan and no infinity."""
    return x if np.isfinite(x) else str(x)
