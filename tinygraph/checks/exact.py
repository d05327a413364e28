"""`compare(…, exact=True)`: in fractions, staged and closed form are equal and not only close.

Nothing is rounded here and there is no tolerance. The one thing in BatchNorm that fractions cannot
do is its square root, so that var + eps must be the square of a fraction in every feature; where it
is none, `rational` moves the data a little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from numbers import Rational
from typing import Any

import numpy as np

from tinygraph.batchnorm.formulas import Axis, closed_form, jacobian, layout, staged
from tinygraph.checks.by_hand import NAMES, Derivation, answers, held_by_step
from tinygraph.checks.rational import (
    draw_fractions,
    fraction_array,
    mean,
    root,
    to_fractions,
    with_square_variance,
)
from tinygraph.checks.reports import axis_text
from tinygraph.engine.autodiff import reachable
from tinygraph.engine.functions import normalize_axes
from tinygraph.engine.tensor import Tensor
from tinygraph.engine.tracing import trace
from tinygraph.graph.snapshot import Graph
from tinygraph.writing.tables import table

__all__ = ["ExactReport", "ExactStep", "Held", "compare_exactly", "written_out"]

NEAR, COARSE = Fraction(1, 10**6), Fraction(1, 10)
LARGEST_JACOBIAN = 10**6


@dataclass(frozen=True)
class Held:
    """A gradient that autodiff found, held against the same one found in another way.

    Attributes
    ----------
    name : str
    entries : int
        How many were compared.
    differs : tuple of three str, or None
        Where the first entry is that differs, what autodiff found there, and what the other way
        did; None where all are equal.
    """

    name: str
    entries: int
    differs: tuple[str, str, str] | None

    @property
    def verdict(self) -> str:
        """Say that they are equal, or that they are not."""
        return "DIFFERS" if self.differs else "equal"

    def to_dict(self) -> dict[str, Any]:
        """Give it as strings and numbers."""
        found: dict[str, Any] = {"gradient": self.name, "entries": self.entries}
        if self.differs:
            found["differs"] = dict(zip(("at", "autodiff", "other"), self.differs, strict=True))
        return found | {"equal": not self.differs}


@dataclass(frozen=True)
class ExactStep:
    """One step: its formula, and its gradient held against the one derived by hand."""

    number: int
    name: str
    formula: str
    shape: tuple[int, ...]
    held: Held


@dataclass(frozen=True, eq=False)
class ExactReport:
    """What `compare` found in fractions. ``str(report)`` is the text that the command prints.

    Attributes
    ----------
    eps, axis
        What was compared.
    moved : Fraction
        By what share of its distance from the mean an x was moved at most.
    steps : tuple of ExactStep
        The nine steps, and step 0 for dx.
    others : dict
        dx, dgamma and dbeta held against the derivation by hand and against the closed form; and
        dx against the Jacobian contraction, unless that would be too large, or x is not (N, D).
    arrays : dict
        What was computed with, in fractions: x, as it was moved, gamma, beta and dout.
    gradients : dict
        dx, dgamma and dbeta by autodiff, by hand and in closed form; dx by the Jacobian.
    """

    eps: Fraction
    axis: tuple[int, ...]
    moved: Fraction
    steps: tuple[ExactStep, ...]
    others: Mapping[str, tuple[Held, ...]]
    arrays: Mapping[str, Any] = field(repr=False)
    gradients: Mapping[str, Mapping[str, Any]] = field(repr=False)

    @property
    def passed(self) -> bool:
        """Whether every entry is equal."""
        return not any(held.differs for _, held in self._all())

    def _all(self) -> list[tuple[str, Held]]:
        steps = [("by hand", step.held) for step in self.steps]
        return steps + [(other, held) for other, many in self.others.items() for held in many]

    def to_dict(self) -> dict[str, Any]:
        """Give the report as numbers, strings, lists and dicts, ready for JSON."""
        return {
            "passed": self.passed,
            "shape": list(self.arrays["x"].shape),
            "eps": str(self.eps),
            "axis": list(self.axis),
            "moved": str(self.moved),
            "steps": [
                {
                    "step": step.number,
                    "name": step.name,
                    "formula": step.formula,
                    "shape": list(step.shape),
                    **step.held.to_dict(),
                }
                for step in self.steps
            ],
            "others": {
                other: [held.to_dict() for held in many] for other, many in self.others.items()
            },
        }

    def __str__(self) -> str:
        shape, axis = self.arrays["x"].shape, axis_text(self.axis)
        moved = (
            f"x moved by at most {float(self.moved):.1e} of its distance from the mean, "
            "so that var + eps is a square"
            if self.moved
            else "x as it is: var + eps is a square"
        )
        rows = [
            (str(s.number), s.name, s.formula, s.held.name, str(s.held.entries), s.held.verdict)
            for s in self.steps
        ]
        lines = [
            f"BatchNorm of {shape} over axis {axis}, in fractions, eps = {self.eps}",
            moved,
            "",
            *table(("step", "name", "formula", "gradient", "entries", "autodiff = by hand"), rows),
        ]
        for other, many in self.others.items():
            lines += ["", f"autodiff = {other}"]
            lines += [f"  {h.name + ':':<8} {h.entries:>6} entries, {h.verdict}" for h in many]
        if "Jacobian" not in self.others and len(shape) == 2 and self.axis == (0,):
            lines += ["", "autodiff = Jacobian", f"  left out: over {LARGEST_JACOBIAN} fractions"]
        for other, held in self._all():
            if held.differs:
                where, found, expected = held.differs
                lines += [f"\n{where}", f"  autodiff: {found}", f"  {other}: {expected}"]
        verdict = "PASS: staged and closed form are equal" if self.passed else "FAIL: they differ"
        return "\n".join([*lines, "", verdict])


# --------------------------------------------------------------------------- comparison


def compare_exactly(
    x: Any,
    gamma: Any,
    beta: Any,
    dout: Any,
    eps: Any,
    axis: Axis,
    closed: Callable[..., Any] = closed_form,
    near: Fraction = NEAR,
) -> ExactReport:
    """Hold staged BatchNorm of fractions against the derivation, closed form and Jacobian."""
    where = layout(x, gamma, beta, eps, axis)
    if not x.size:
        raise ValueError(f"compare: x of shape {x.shape} has no feature to compare")
    eps = Fraction(str(eps))
    x, moved = with_square_variance(x, eps, where.axis, near)
    derivation = Derivation(x, gamma, dout, eps, where)

    tensors = [Tensor(x, name="x"), Tensor(gamma, name="gamma"), Tensor(beta, name="beta")]
    out = staged(*tensors, eps=eps, axis=axis)
    out.backward(dout)
    # The names come from zeros: to trace fractions is to trace all of their arithmetic.
    zeros = (np.zeros(a.shape) for a in (x, gamma, beta))
    named = trace(staged)(*zeros, eps=1.0, axis=axis)
    for tensor, twin in zip(reachable([out]), reachable([named]), strict=True):
        tensor.name = twin.name
    found = dict(zip(NAMES, (t.grad for t in tensors), strict=True))
    steps = tuple(
        ExactStep(number, name, formula, g.shape, _held(f"d{name}", g, expected))
        for number, name, formula, g, expected in held_by_step(
            Graph.capture(named), out, derivation
        )
    )

    by_hand = derivation.staged_gradients()
    ways = {"by hand": {name: by_hand[name] for name in NAMES}}
    try:
        ways["closed form"] = answers(closed, x, gamma, dout, eps=eps, axis=axis)
    except TypeError as error:
        if "ufunc" not in str(error) and "Fraction" not in str(error):
            raise
        raise TypeError(
            f"compare: the closed form cannot compute in fractions ({error}); "
            "take square roots by tinygraph.ops.sqrt, which can"
        ) from None
    if x.ndim == 2 and where.axis == (0,) and x.size * len(x) <= LARGEST_JACOBIAN:
        contraction = np.sum(jacobian(x, gamma, eps=eps) * dout[:, None, :], axis=0)
        ways["Jacobian"] = {"dx": contraction}
    return ExactReport(
        eps=eps,
        axis=where.axis,
        moved=moved,
        steps=steps,
        others={
            way: tuple(_held(name, found[name], g) for name, g in given.items())
            for way, given in ways.items()
        },
        arrays={"x": x, "gamma": gamma, "beta": beta, "dout": dout},
        gradients={"autodiff": found} | ways,
    )


def _held(name: str, found: Any, expected: Any) -> Held:
    """Compare entry by entry. A float is never equal, because it may have been rounded."""
    expected = np.asarray(expected)
    if found.shape != expected.shape:
        shapes = f"shape {found.shape}", f"shape {expected.shape}"
        return Held(name, found.size, (name, *shapes))
    for place in np.ndindex(found.shape):
        a, b = found[place], expected[place]
        if not (isinstance(a, Rational) and isinstance(b, Rational) and a == b):
            at = f"{name}{list(place)}"
            return Held(name, found.size, (at, _written(a), _written(b)))
    return Held(name, found.size, None)


def _written(v: Any) -> str:
    if isinstance(v, Rational):
        return str(v)
    return f"{v!r}, which is no fraction: somewhere it is computed in floats, as 0.5 and **0.5 are"


# --------------------------------------------------------------------------- a case to read


def written_out(x: Any, *, axis: Axis = 0, seed: int = 0) -> str:
    """Compare a few values of x, and write every fraction out.

    The fractions are kept short: x is rounded to one digit of its spread, eps is a square as large
    as the variance, gamma and dout are whole numbers, and x is stretched by up to a tenth.

    Parameters
    ----------
    x : array_like
        Values; the first three of the first two features are taken.
    axis : int or tuple of int, optional
        Axes that a feature lies along, as in `compare`.
    seed : int, optional
        Of gamma and dout.

    Returns
    -------
    str

    Examples
    --------
    >>> print(written_out([[1.0], [4.0]]))
    feature 0: the first 2 values, rounded to one digit of their spread, then moved by 0.6 % of it
    eps = 1, gamma = 8, mu = 5/2, var = 57600/25921, sqrtvar = 289/161
                     value 0             value 1
    ---------------  ------------------  -----------------
    x                325/322             1285/322
    dout             -1                  1
    dx, autodiff     -33386248/24137569  33386248/24137569
    dx, by hand      -33386248/24137569  33386248/24137569
    dx, closed form  -33386248/24137569  33386248/24137569
    dx, Jacobian     -33386248/24137569  33386248/24137569
    """
    x = to_fractions(x, "x")
    axes = normalize_axes(x.shape, axis, of="batchnorm")
    x = np.moveaxis(x, axes, range(len(axes))).reshape(math.prod(x.shape[k] for k in axes), -1)
    rng = np.random.default_rng(seed)
    return "\n\n".join(_feature(k, x[:3, k : k + 1], rng) for k in range(min(2, x.shape[1])))


def _feature(k: int, x: Any, rng: np.random.Generator) -> str:
    spread = np.max(np.abs(x - mean(x, (0,))))
    digits = -math.floor(math.log10(spread)) if spread else 0
    x = fraction_array((round(v, digits) for v in x.flat), x.shape)
    eps = Fraction(10) ** (-2 * digits)
    gamma, beta, dout = (
        fraction_array((Fraction(v.numerator) for v in draw_fractions(rng, shape).flat), shape)
        for shape in ((1,), (1,), x.shape)
    )
    report = compare_exactly(x, gamma, beta, dout, eps, 0, near=COARSE)
    x = report.arrays["x"]
    mu = mean(x, (0,))
    var = mean((x - mu) ** 2, (0,)).item()
    rows = [("x", *map(str, x.flat)), ("dout", *map(str, dout.flat))]
    rows += [
        (f"dx, {way}", *map(str, gradients["dx"].flat))
        for way, gradients in report.gradients.items()
    ]
    moved, sqrtvar = 100 * float(report.moved), root(var + eps)
    lines = [
        f"feature {k}: the first {len(x)} values, rounded to one digit of their spread, then moved "
        f"by {moved:.1f} % of it",
        f"eps = {eps}, gamma = {gamma[0]}, mu = {mu.item()}, var = {var}, sqrtvar = {sqrtvar}",
        *table(("", *(f"value {i}" for i in range(len(x)))), rows),
    ]
    return "\n".join(lines)
