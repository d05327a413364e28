"""What to write instead of a function of NumPy that tensors do not support."""

from __future__ import annotations

import difflib

from tinygraph.engine.primitive import NUMPY

__all__ = ["unsupported"]

INSTEAD = {
    "np.append": "np.concatenate",
    "np.arctan2": "a row of your own in the table (tinygraph.ops.Primitive)",
    "np.argmax": "x.data.argmax(), which has no gradient",
    "np.argmin": "x.data.argmin(), which has no gradient",
    "np.argsort": "x[np.argsort(x.data)] for sorted entries",
    "np.array": "np.stack",
    "np.array_equal": "np.array_equal(a.data, b.data)",
    "np.allclose": "np.allclose(a.data, b.data)",
    "np.atleast_1d": "x.reshape(-1)",
    "np.atleast_2d": "x.reshape(1, -1)",
    "np.average": "np.sum(w * x) / np.sum(w)",
    "np.block": "np.concatenate",
    "np.cbrt": "x ** (1 / 3) for x > 0",
    "np.column_stack": "np.stack(parts, axis=1)",
    "np.copy": "x itself, which nobody can change",
    "np.cosh": "(np.exp(x) + np.exp(-x)) / 2",
    "np.cumsum": "x @ np.triu(np.ones((n, n))) along the last axis",
    "np.diag": "x[np.arange(n), np.arange(n)]",
    "np.diagonal": "x[np.arange(n), np.arange(n)]",
    "np.diff": "x[1:] - x[:-1]",
    "np.divmod": "/",
    "np.dstack": "np.stack(parts, axis=2)",
    "np.einsum": "@, * and np.sum",
    "np.exp2": "np.exp(x * np.log(2))",
    "np.expm1": "np.exp(x) - 1",
    "np.flip": "x[::-1]",
    "np.full_like": "np.full(x.shape, value)",
    "np.heaviside": "np.where(x > 0, 1.0, 0.0)",
    "np.hstack": "np.concatenate",
    "np.hypot": "np.sqrt(a * a + b * b)",
    "np.inner": "a @ b.T",
    "np.isclose": "np.isclose(a.data, b.data)",
    "np.linalg.norm": "np.sqrt(np.sum(x * x))",
    "np.log10": "np.log(x) / np.log(10)",
    "np.log1p": "np.log(1 + x)",
    "np.log2": "np.log(x) / np.log(2)",
    "np.logaddexp": "m + np.log(np.exp(a - m) + np.exp(b - m)) with m = np.maximum(a, b)",
    "np.median": "np.mean of the middle entries of x[np.argsort(x.data)]",
    "np.moveaxis": "np.transpose",
    "np.nan_to_num": "np.where(np.isnan(x), 0, x)",
    "np.nanmean": "np.mean(x[~np.isnan(x.data)])",
    "np.nansum": "np.sum(np.where(np.isnan(x), 0, x))",
    "np.outer": "a[:, None] * b",
    "np.pad": "np.concatenate with zeros",
    "np.prod": "np.exp(np.sum(np.log(x))) for x > 0",
    "np.ptp": "np.max(x) - np.min(x)",
    "np.repeat": "x[np.repeat(np.arange(n), repeats)]",
    "np.roll": "np.concatenate([x[-k:], x[:-k]])",
    "np.sinh": "(np.exp(x) - np.exp(-x)) / 2",
    "np.sort": "x[np.argsort(x.data)]",
    "np.split": "slices of x",
    "np.take": "x[indices]",
    "np.tan": "np.sin(x) / np.cos(x)",
    "np.tensordot": "@ after np.reshape",
    "np.tile": "np.concatenate([x] * n)",
    "np.trace": "np.sum(x[np.arange(n), np.arange(n)])",
    "np.vdot": "np.sum(a * b)",
    "np.vstack": "np.concatenate, or np.stack for vectors",
}
"""What is asked for most often, and how it is written with what there is."""


def unsupported(name: str) -> str:
    """Say that a function is not supported, and name the nearest way that is.

    Examples
    --------
    >>> unsupported("np.log1p")
    'np.log1p is not supported on tensors; write np.log(1 + x)'
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
