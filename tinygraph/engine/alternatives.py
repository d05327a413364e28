"""What to write instead of what arrays have and tensors do not support."""

from __future__ import annotations

import difflib
from typing import Any

from tinygraph.engine.primitive import NUMPY

__all__ = ["OfArray", "no_attribute", "unsupported"]

INSTEAD = {
    "np.array": "np.stack, or trace the function, in which np.array takes a list of tensors",
    "np.cbrt": "np.sign(x) * np.abs(x) ** (1 / 3)",
    "np.convolve": "np.lib.stride_tricks.sliding_window_view(x, n) @ w[::-1]",
    "np.copysign": "np.abs(x) * np.sign(y)",
    "np.correlate": "np.lib.stride_tricks.sliding_window_view(x, n) @ w",
    "np.cov": (
        "(x - np.mean(x, axis=1, keepdims=True)) @ "
        "(x - np.mean(x, axis=1, keepdims=True)).T / (n - 1)"
    ),
    "np.delete": "x[mask]",
    "np.ediff1d": "np.diff(x)",
    "np.gradient": "np.diff, and the mean of its neighbours",
    "np.heaviside": "np.where(x > 0, 1.0, 0.0)",
    "np.histogram": "np.histogram(x.data), which has no gradient",
    "np.insert": "np.concatenate",
    "np.interp": "y[k] + (x - x0[k]) * slope[k] with k = np.searchsorted(x0, x.data) - 1",
    "np.linalg.eig": "np.linalg.eigh of a symmetric matrix",
    "np.linalg.lstsq": "np.linalg.solve(a.T @ a, a.T @ b)",
    "np.linalg.pinv": "np.linalg.inv(x.T @ x) @ x.T",
    "np.meshgrid": "x[None, :] and y[:, None], which broadcast",
    "np.partition": "np.sort(x)",
    "np.piecewise": "np.where",
    "np.polyval": "a sum of coefficients times powers",
    "np.searchsorted": "np.searchsorted(a, x.data), which has no gradient",
    "np.trapezoid": "np.sum((y[1:] + y[:-1]) / 2 * np.diff(x))",
    "np.unique": "np.unique(x.data), which has no gradient",
    "scipy.special.logsumexp": (
        "m + np.log(np.sum(np.exp(x - m), axis=k, keepdims=True)) with "
        "m = np.max(x, axis=k, keepdims=True)"
    ),
    "scipy.special.softmax": (
        "e / np.sum(e, axis=k, keepdims=True) with e = np.exp(x - np.max(x, axis=k, keepdims=True))"
    ),
    "scipy.special.log_softmax": (
        "s - np.log(np.sum(np.exp(s), axis=k, keepdims=True)) with "
        "s = x - np.max(x, axis=k, keepdims=True)"
    ),
    "scipy.stats.norm.pdf": (
        "np.exp(-((x - loc) / scale) ** 2 / 2) / (scale * np.sqrt(2 * np.pi))"
    ),
    "scipy.stats.norm.logpdf": (
        "-((x - loc) / scale) ** 2 / 2 - np.log(scale) - np.log(2 * np.pi) / 2"
    ),
    "scipy.stats.norm.cdf": "scipy.special.ndtr((x - loc) / scale)",
    "scipy.stats.norm.logcdf": "scipy.special.log_ndtr((x - loc) / scale)",
}
"""What is asked for most often, and how it is written with what there is."""

ATTRIBUTES = {
    "argpartition": "np.argsort(x)",
    "base": "np.shares_memory(x.data, y.data), outside of trace",
    "conj": "np.conj(x)",
    "conjugate": "np.conj(x)",
    "flat": "x.reshape(-1)",
    "imag": "np.imag(x)",
    "partition": "x[...] = np.sort(x)",
    "put": "x[i, j] = v",
    "real": "np.real(x)",
    "searchsorted": "np.searchsorted(x.data, v), which has no gradient",
    "sort": "x[...] = np.sort(x)",
    "view": "x[...], which is a view",
}
"""What arrays have, and how it is written where they are recorded."""


def no_attribute(name: str) -> str:
    """Say that a Tensor has not what an array has, and name the way that is recorded.

    Examples
    --------
    >>> no_attribute("flat")
    "a Tensor has no attribute 'flat'; write x.reshape(-1)"
    """
    way = f"write {ATTRIBUTES[name]}" if name in ATTRIBUTES else "x.data is its array of numbers"
    return f"a Tensor has no attribute {name!r}; {way}"


def unsupported(name: str) -> str:
    """Say that a function is not supported, and name the nearest way that is.

    Examples
    --------
    >>> unsupported("np.copysign")
    'np.copysign is not supported on tensors; write np.abs(x) * np.sign(y)'
    >>> unsupported("np.maximun")
    'np.maximun is not supported on tensors; the nearest that is supported is np.maximum'
    """
    said = f"{name} is not supported on tensors; "
    if name in INSTEAD:
        return f"{said}write {INSTEAD[name]}"
    known = {f"np.{function.__name__}" for function in NUMPY}
    if near := difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.75):
        return f"{said}the nearest that is supported is {near[0]}"
    return (
        f"{said}write it with operators and the functions that are, such as np.sum, np.exp and "
        "np.where, or call it on x.data, through which no gradient flows"
    )


class OfArray:
    """An attribute of arrays that masks and indices have, and no tensor that has a gradient.

    One for each name costs nothing where there is none; `__getattr__` would slow every attribute.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, x: Any, owner: type | None = None) -> Any:
        if x is None or x.dtype.kind not in "biu":
            message = no_attribute(self.name)
            raise AttributeError(message, name=self.name, obj=x)
        return getattr(x.data, self.name)
