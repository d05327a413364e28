"""One batch for BatchNorm: read and checked once, and handed to all that is compared on it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygraph.algebra.calling import Passes
from tinygraph.batchnorm.formulas import Axis, Layout, jacobian, layout, staged
from tinygraph.engine.functions import normalize_axes
from tinygraph.engine.tensor import Tensor
from tinygraph.engine.tracing import trace

__all__ = ["NAMES", "Batch", "ClosedForm", "feature_name", "read_batch"]

NAMES = ("dx", "dgamma", "dbeta")

ClosedForm = Callable[..., tuple[Any, Any, Any]]

# Of an (N, N, D) Jacobian. A fraction costs as much as ten floats and more.
MOST_FLOATS, MOST_FRACTIONS = 10**7, 10**6


@dataclass(frozen=True, eq=False)
class Batch:
    """The arguments of BatchNorm and its upstream gradient: arrays of one dtype, and how they lie.

    Attributes
    ----------
    x, gamma, beta, dout : ndarray
        Of floats, or objects that are all of them fractions.
    eps : float or Fraction
    axis : int or tuple of int
        As it was given.
    layout : Layout
    """

    x: Any
    gamma: Any
    beta: Any
    dout: Any
    eps: Any
    axis: Axis
    layout: Layout

    @property
    def exact(self) -> bool:
        """Whether it is one of fractions."""
        return bool(self.x.dtype.hasobject)

    @property
    def arrays(self) -> dict[str, Any]:
        """What is given, by name."""
        return {"x": self.x, "gamma": self.gamma, "beta": self.beta, "dout": self.dout}

    def staged(self) -> tuple[Tensor, list[Tensor]]:
        """Run the staged forward pass and differentiate it; give out, and x, gamma and beta."""
        tensors = [Tensor(self.arrays[name], name=name) for name in ("x", "gamma", "beta")]
        out = trace(staged)(*tensors, eps=self.eps, axis=self.axis)
        out.backward(self.dout)
        return out, tensors

    def in_closed_form(self, closed: ClosedForm) -> dict[str, Any]:
        """Ask a closed form for dx, dgamma and dbeta; it may use what it is given as it likes."""
        if not _is_called_by_place(closed):
            return self._by_name(closed)
        given = (a.copy() for a in (self.x, self.gamma, self.dout))
        answer = closed(*given, eps=self.eps, axis=self.axis)
        if not isinstance(answer, tuple | list) or len(answer) != len(NAMES):
            raise ValueError(
                "compare: the closed form is called as closed(x, gamma, dout, eps=…, axis=…) and "
                f"must return dx, dgamma and dbeta; it returned {type(answer).__name__}"
                + (f" of {len(answer)}" if isinstance(answer, tuple | list) else "")
            )
        return dict(zip(NAMES, map(np.asarray, answer), strict=True))

    def _by_name(self, closed: ClosedForm) -> dict[str, Any]:
        """Call a backward pass with what its parameters are called like; see `Passes`."""
        arguments = (self.x, self.gamma, self.beta)
        passes = Passes(staged, closed, arguments, {"eps": self.eps, "axis": self.axis}, dtype=None)
        found = passes.plain({"out": self.dout}, lines=False).gradients
        if missing := [name for name in NAMES if name[1:] not in found]:
            raise ValueError(
                f"compare: the closed form is called as {passes.called} and must return dx, dgamma "
                f"and dbeta; it returned no {' and no '.join(missing)}"
            )
        return {name: np.asarray(found[name[1:]]) for name in NAMES}

    @property
    def has_jacobian(self) -> bool:
        """Whether `jacobian` takes a batch of this shape."""
        return self.x.ndim == 2 and self.layout.axis == (0,)

    @property
    def most_jacobian(self) -> int:
        """How many entries a Jacobian may have."""
        return MOST_FRACTIONS if self.exact else MOST_FLOATS

    def by_jacobian(self) -> dict[str, Any]:
        """Contract the Jacobian with dout; nothing, where there is none or it is too large."""
        if not self.has_jacobian or self.x.size * len(self.x) > self.most_jacobian:
            return {}
        entries = jacobian(self.x, self.gamma, eps=self.eps)
        return {"dx": np.einsum("kid,kd->id", entries, self.dout)}


def _is_called_by_place(closed: ClosedForm) -> bool:
    """Whether it is one of x, gamma and dout, eps and axis; by its names if they say otherwise."""
    try:
        signature = inspect.signature(closed)
    except (TypeError, ValueError):  # some callables written in C have no signature
        return True
    try:
        signature.bind(None, None, None, eps=None, axis=None)
    except TypeError:
        return False
    known = {"x", "gamma", "beta", "dout"}
    places = zip(signature.parameters, ("x", "gamma", "dout"), strict=False)
    return not any(name in known and name != place for name, place in places)


def read_batch(
    x: Any,
    *given: Any,
    eps: Any,
    axis: Axis,
    seed: int,
    convert: Callable[[Any, str], Any],
    draw: Callable[..., Any],
) -> Batch:
    """Convert gamma, beta and dout to what x is, or draw them from the seed where they are None."""
    axes = normalize_axes(x.shape, axis, of="batchnorm")
    if 0 in axes:
        features = tuple(n for k, n in enumerate(x.shape) if k not in axes)
    else:  # LayerNorm: a value for each place that is normalized, from the first such axis on
        features = tuple(n if k in axes else 1 for k, n in enumerate(x.shape))[axes[0] :]
    shapes = {"gamma": features, "beta": features, "dout": x.shape}
    rng = np.random.default_rng(seed)
    arrays = []
    for a, (name, shape) in zip(given, shapes.items(), strict=True):
        random = np.asarray(draw(rng, shape))  # also where it is given, so that the others stay
        arrays.append(random.astype(x.dtype, copy=False) if a is None else convert(a, name))
    gamma, beta, dout = arrays
    if dout.shape != x.shape:
        raise ValueError(
            f"compare: dout has shape {dout.shape}, but x has {x.shape}; they must be equal"
        )
    return Batch(x, gamma, beta, dout, eps, axis, layout(x, gamma, beta, eps, axis))


def feature_name(place: Iterable[int], axis: tuple[int, ...]) -> str:
    """Name the feature at a place in an array whose batch axes have length 1."""
    return "feature " + ", ".join(str(k) for d, k in enumerate(place) if d not in axis)
