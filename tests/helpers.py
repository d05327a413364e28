"""Numerical derivatives that share nothing with the engine, and random upstream gradients."""

import numpy as np
from hypothesis import settings


def upstream(rng, like, dtype=None):
    """Give a random upstream gradient for `like`, an array or a tensor; never ones."""
    return np.asarray(rng.normal(size=like.shape), dtype=dtype or like.dtype)


def jacobian(f, xs, k, *, step=None):
    """Differentiate ``f(*xs)`` with respect to every entry of ``xs[k]``.

    Without a step, by the complex step h = 1e-20, which is exact to rounding but asks for an
    analytic `f`; with one, by central differences.

    Returns an array of shape ``f(*xs).shape + xs[k].shape``.
    """
    x = np.asarray(xs[k])
    columns = []
    for i in np.ndindex(x.shape):

        def at(h, i=i):
            moved = x.astype(np.complex128 if step is None else np.float64)
            moved[i] += h
            return np.asarray(f(*xs[:k], moved, *xs[k + 1 :]))

        columns.append(
            at(1e-20j).imag / 1e-20 if step is None else (at(step) - at(-step)) / (2 * step)
        )
    out = np.asarray(f(*xs))
    stacked = np.stack(columns, axis=-1) if columns else np.zeros((*out.shape, 0))
    return stacked.reshape(out.shape + x.shape)


def pull_back(f, xs, k, g, *, step=None):
    """Contract the upstream gradient `g` with the Jacobian of `f` with respect to ``xs[k]``."""
    return np.tensordot(g, jacobian(f, xs, k, step=step), axes=np.ndim(g))


def close(actual, expected, tolerance):
    """Assert equal shapes, and entries that differ by at most `tolerance` of the largest."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    if actual.size:
        scale = max(1.0, float(np.max(np.abs(expected))))
        difference = float(np.max(np.abs(actual - expected)))
        assert difference <= tolerance * scale, f"differs by {difference:.3g} at scale {scale:.3g}"


def same_bits(a, b):
    """Whether two arrays agree in dtype, shape and every bit, zeros' signs and NaNs included."""
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.char in "gG":  # whose bytes are not all part of the number
        parts = [(a.real, b.real), (a.imag, b.imag)]
        return all(
            np.array_equal(x, y, equal_nan=True) and np.array_equal(np.signbit(x), np.signbit(y))
            for x, y in parts
        )
    return a.tolist() == b.tolist() if a.dtype.hasobject else a.tobytes() == b.tobytes()


def examples(n):
    """Give how many examples a test draws under this profile: `n` where all are wanted."""
    return max(10, n * settings.default.max_examples // 100)
