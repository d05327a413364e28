"""Check gradients against numbers that no rule of differentiation had a part in.

`gradcheck` compares what `grad` gives for a function with differences of the function itself, to
any order, and says which input is wrong, where, by how much, and why where that can be told.

**The upstream gradient is random, never ones.** With ones the true gradient of BatchNorm's input
is 0, and every wrong formula passes.

**An error is measured by what the gradient is made of**: the largest entry for the same input, or,
where all of them cancel, as those of a bias in front of a BatchNorm do, the terms that cancelled.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from tinygraph.checks import diagnosis, differences
from tinygraph.checks.differences import CENTRAL_STEP, COMPLEX_STEP, EPS, METHODS
from tinygraph.checks.gradient_report import GradientMismatch, GradientReport, InputReport
from tinygraph.checks.guarding import (
    Function,
    as_tensors,
    called,
    changed_input,
    check_apart,
    check_finite,
    float64,
    input_names,
    kept,
    plain,
    random_signs,
    unsteady,
)
from tinygraph.checks.magnitudes import CANCELLED, uncancelled
from tinygraph.engine.autodiff import reachable
from tinygraph.engine.recording import holomorphic
from tinygraph.engine.tensor import Tensor, grad

__all__ = ["gradcheck"]

TOLERANCE = {"complex": 1e-10, "central": 1e-6}
# A difference that fails is taken again with smaller steps: for what bends sharply but smoothly.
FINER = (30, 1000)


def gradcheck(
    fn: Function,
    *inputs: Any,
    order: int = 1,
    method: str = "auto",
    seed: int = 0,
    tolerance: float | None = None,
    full: int = 2000,
    directions: int = 16,
) -> GradientReport:
    """Check the gradient that reverse mode gives for a function against the function itself.

    Parameters
    ----------
    fn : callable
        A function of Tensors that returns a Tensor.
    *inputs : array_like or Tensors
        The point, away from kinks. They are not touched: `fn` is given copies, in float64.
    order : int
        2 also checks the derivatives of the gradient, 3 theirs as well, and so on.
    method : str
        ``complex``, ``central``, or ``auto``: the complex step where a trial shows that the
        function is analytic, else central differences.
    seed : int
        Of the random upstream gradient, weights and directions.
    tolerance : float, optional
        By default 1e-10 for the complex step and 1e-6 for central differences.
    full : int
        Every entry is compared if the inputs have at most so many.
    directions : int
        Otherwise, a large input is compared along so many random directions and at five entries.

    Returns
    -------
    GradientReport

    Raises
    ------
    GradientMismatch
        If the gradient is wrong; if there is none to check (a kink, a function that is constant);
        or if `fn` is not a function (equal inputs give different values, or inputs or Tensors
        around it are changed). ``report`` has the details.
    ValueError
        If there are no inputs, or one is empty or not finite or shares memory with another, or if
        the value of `fn` is not finite.
    TypeError
        If an input is not real numbers, or `fn` does not return a Tensor.

    Notes
    -----
    Order k + 1 is the check of Σ ⟨gradient of input i, w_i⟩, for random w_i, of order k. Objects
    with ``state_dict`` and ``load_state_dict`` that `fn` is, has or closes over, such as layers
    with running statistics, get their state back.

    Examples
    --------
    >>> import numpy as np
    >>> bool(gradcheck(lambda x: np.tanh(x) / x, [0.5, -1.0, 2.0], order=2))
    True

    A path that the graph does not see is lost:

    >>> try:
    ...     gradcheck(lambda x, y: y * np.exp(x.data), [1.0, 2.0], 3.0)
    ... except GradientMismatch as error:
    ...     x, y = error.report.inputs
    ...     print(f"{x.failing} of {x.checked} fail, {error.report.cause.partition(',')[0]}")
    2 of 2 fail, missing path: no gradient arrives at x
    """
    differences.check_method(method, (*METHODS, "auto"))
    if order < 1:
        raise ValueError(f"gradcheck: order must be at least 1, not {order}")
    names = input_names(fn, inputs)
    arrays = [float64(plain(x), name) for x, name in zip(inputs, names, strict=True)]
    check_apart(inputs, names)
    used, notes = method, []
    for x, name in zip(inputs, names, strict=True):
        if (dtype := np.asarray(plain(x)).dtype) != np.float64:
            notes.append(f"{name} is {dtype} and was checked in float64")
    every = sum(x.size for x in arrays) <= full
    found: list[InputReport] = []
    with kept(fn) as changed_state:

        def changed() -> str:
            return changed_input(inputs, names, arrays) or changed_state()

        cause, level, failed = unsteady(fn, names, arrays, changed), 1, False
        while not cause and not failed and level <= order:
            point = _Point(fn, names, arrays, level, seed)
            used = point.choose() if method == "auto" else method
            results, cause = point.check(used, tolerance, every, directions)
            if cause.startswith("not analytic") and method == "auto":
                used = "central"
                results, cause = point.check(used, tolerance, every, directions)
            found += results
            failed = any(one.failing for one in results)
            fn, level = point.derivative, level + 1
        cause = cause or changed()
    report = GradientReport(
        passed=not (cause or failed),
        method=used,
        tolerance=TOLERANCE.get(used, 0.0) if tolerance is None else tolerance,
        order=max(level - 1, 1),
        inputs=tuple(found),
        cause=cause,
        notes=tuple(notes),
    )
    if not report:
        raise GradientMismatch(report)
    return report


class _Point:
    """A function at a point: its gradient by reverse mode, and its slopes by differences."""

    def __init__(
        self, fn: Function, names: list[str], arrays: list[Any], order: int, seed: int
    ) -> None:
        self.fn, self.names, self.arrays, self.order, self.seed = fn, names, arrays, order, seed
        rng = np.random.default_rng((seed, order))
        tensors = as_tensors(arrays, names)
        out = called(fn, tensors)
        self.value = out.data
        check_finite(self.value, "the value of the function")
        self.upstream = random_signs(rng, out.shape)
        self.weights = [random_signs(rng, x.shape) for x in arrays]
        self.analytic = grad(out, tensors, self.upstream)
        sizes = uncancelled(reachable([out]), {out.index: self.upstream}, plain, rng)
        self.uncancelled = [sizes.get(x.index, 0.0) for x in tensors]

    def derivative(self, *tensors: Tensor) -> Any:
        """Give Σ ⟨gradient, weights⟩, the function whose gradient is of the next order."""
        gradients = grad(self.fn(*tensors), tensors, self.upstream, create_graph=True)
        return sum((g * w).sum() for g, w in zip(gradients, self.weights, strict=True))

    def run(self, *arrays: Any) -> Any:
        return called(self.fn, as_tensors(arrays, self.names)).data

    def choose(self) -> str:
        """Choose the complex step if it runs, and gives what rough differences give."""
        along = [
            w * np.maximum(np.abs(x), 1) / math.sqrt(x.size)
            for x, w in zip(self.arrays, self.weights, strict=True)
        ]
        size = np.max(np.abs(self.value), initial=0)
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("error", np.exceptions.ComplexWarning)
                with holomorphic():
                    there = self.run(*differences.moved(self.arrays, along, 1j * COMPLEX_STEP))
                if np.max(np.abs(np.real(there) - self.value), initial=0) > 1e-6 * size:
                    return "central"
                slope = np.imag(there) / COMPLEX_STEP
                for h in (CENTRAL_STEP, *(CENTRAL_STEP / finer for finer in FINER)):
                    up, down, distance = differences.two_points(self.run, self.arrays, along, h)
                    rough = (up - down) / distance
                    allowed = 1e-3 * np.abs(rough) + 32 * EPS * size / h
                    if not np.any(np.abs(slope - rough) > allowed):
                        return "complex"
        except Exception:  # a function of real numbers need not be one of complex numbers
            pass
        return "central"

    def direction(self, i: int, test: int) -> Any:
        """Give the unit vector of entry `test`, or for a negative number a random direction."""
        x = self.arrays[i]
        if test < 0:
            rng = np.random.default_rng((self.seed, self.order, i, -test))
            return random_signs(rng, x.shape) / math.sqrt(x.size)
        v = np.zeros(x.size)
        v[test] = 1
        return v.reshape(x.shape)

    def alone(self, i: int, v: Any) -> list[Any]:
        """Move one input and leave the others."""
        return [v if k == i else None for k in range(len(self.arrays))]

    def slopes(self, i: int, v: Any, h: float = CENTRAL_STEP) -> tuple[float, float]:
        """Give the slopes on the left and on the right; the central difference is their mean."""
        h *= differences.width(self.arrays[i], v)
        up, down, distance = differences.two_points(self.run, self.arrays, self.alone(i, v), h)
        left, right = (np.vdot(self.upstream, d) for d in (self.value - down, up - self.value))
        return 2 * float(left) / distance, 2 * float(right) / distance

    def compare(
        self, i: int, v: Any, method: str, h: float = CENTRAL_STEP
    ) -> tuple[float, float, float]:
        """Give the derivative along `v`, by reverse mode and by differences, and its jump here."""
        analytic = float(np.vdot(self.analytic[i], v))
        if method == "central":
            left, right = self.slopes(i, v, h)
            return analytic, (left + right) / 2, abs(right - left)
        slope = differences.complex_step(self.run, self.arrays, self.alone(i, v))
        return analytic, float(np.vdot(self.upstream, slope)), 0.0

    def rounding(self, h: float = CENTRAL_STEP) -> float:
        """Estimate what rounding of the function's values does to a difference."""
        return EPS * float(np.linalg.norm(self.upstream * self.value)) / h

    def kink(self, i: int, v: Any) -> str:
        near = CENTRAL_STEP / 100
        slopes = self.slopes(i, v), self.slopes(i, v, near)
        return diagnosis.kink(self.names[i], *slopes, self.rounding(near))

    def check(
        self, method: str, tolerance: float | None, every: bool, directions: int
    ) -> tuple[list[InputReport], str]:
        """Check all inputs, and give the likely cause of the first failure."""
        limit = TOLERANCE[method] if tolerance is None else tolerance
        results, cause = [], ""
        for i, x in enumerate(self.arrays):
            if every or x.size <= 2 * directions + 5:  # what directions would cost as well
                tests = list(range(x.size))
            else:
                rng = np.random.default_rng((self.seed, self.order, i))
                tests = [-k for k in range(1, directions + 1)]
                tests += [int(np.argmax(np.abs(self.analytic[i])))]
                tests += rng.integers(x.size, size=4).tolist()
            result, why = self.check_input(i, method, limit, tests)
            results.append(result)
            cause = cause or why
        if self.order == 1 and not cause and not any(self.uncancelled):
            cause = "constant: the result does not depend on the inputs, so nothing was checked"
        return results, cause

    def check_input(
        self, i: int, method: str, limit: float, tests: list[int]
    ) -> tuple[InputReport, str]:
        rows = np.array([self.compare(i, self.direction(i, test), method) for test in tests])
        sizes = np.abs(rows[:, :2])
        least = CANCELLED * self.uncancelled[i] if math.isfinite(self.uncancelled[i]) else 0.0
        scale = np.max(sizes, where=np.isfinite(sizes), initial=least)

        def errors(rows: Any) -> Any:
            gap = np.abs(rows[..., 0] - rows[..., 1])
            return np.where(np.isfinite(gap), gap / (scale or 1), np.inf)

        for finer in FINER if method == "central" else ():
            for k in np.flatnonzero(errors(rows) > limit).tolist():
                v = self.direction(i, tests[k])
                again = np.array(self.compare(i, v, method, CENTRAL_STEP / finer))
                rows[k] = min(rows[k], again, key=errors)
        error = errors(rows)
        failing, worst = error > limit, int(np.argmax(error))

        cause, suspects = "", rows[:, 2] > 1e-3 * scale
        suspects[worst] |= failing[worst]
        for k in np.flatnonzero(suspects).tolist():
            if cause := self.kink(i, self.direction(i, tests[k])):
                worst, error[k], failing[k] = k, max(error[k], rows[k, 2] / (scale or 1)), True
                break
        entry, (analytic, numeric, _) = tests[worst], rows[worst].tolist()
        if entry < 0 and failing.any():
            entry = self.locate(i, self.direction(i, entry), method)
            analytic, numeric, _ = self.compare(i, self.direction(i, entry), method)
        if failing.any() and not cause:
            cause = self.cause(i, rows[:, 0], rows[:, 1], method, self.direction(i, entry))
        shape = self.arrays[i].shape
        result = InputReport(
            name=self.names[i],
            shape=shape,
            order=self.order,
            error=float(error[worst]),
            index=None if entry < 0 else tuple(map(int, np.unravel_index(entry, shape))),
            analytic=analytic,
            numeric=numeric,
            failing=int(np.count_nonzero(failing)),
            checked=len(tests),
        )
        return result, cause

    def locate(self, i: int, v: Any, method: str) -> int:
        """Find an entry to blame for a direction that fails: one half must fail, and one of its."""
        low, high = 0, v.size
        while high - low > 1:
            middle = (low + high) // 2
            halves = (low, middle), (middle, high)
            gaps = []
            for start, stop in halves:
                part = np.zeros(v.size)
                part[start:stop] = v.ravel()[start:stop]
                a, n, _ = self.compare(i, part.reshape(v.shape), method)
                gaps.append(abs(a - n))
            low, high = halves[int(np.argmax(gaps))]
        return low

    def cause(self, i: int, a: Any, n: Any, method: str, worst: Any) -> str:
        """Tell why derivatives `a` are not `n`; along `worst`, they differ most."""
        name, shape = self.names[i], self.arrays[i].shape
        if cause := diagnosis.not_finite(name, a, n):
            return cause
        if method == "complex":
            with np.errstate(all="ignore"):
                analytic, central, _ = self.compare(i, worst, "central")
            cause = diagnosis.not_analytic(a, n, abs(analytic - central))
        else:
            cause = diagnosis.rounding(a, n, self.rounding())
        if entries := a.size == math.prod(shape):
            a, n = a.reshape(shape), n.reshape(shape)
        cause = cause or diagnosis.likely_cause(name, a, n, entries=entries, at=self.arrays[i])
        if not cause and self.order > 1:
            return (
                f"order {self.order}: the lower derivatives are right, so a rule takes something "
                "for constant, such as an array that it saved or the .data of a tensor"
            )
        return cause
