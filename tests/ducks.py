"""An array that speaks NumPy's protocols and is none of NumPy's, as dask's and CuPy's are.

`Duck` computes everything with NumPy and holds the result; it is made one of NumPy's by nobody:
``np.asarray`` of it raises, and is counted. Of the methods of ufuncs it answers calls alone.
"""

import numpy as np

__all__ = ["Duck", "opened"]


class Duck(np.lib.mixins.NDArrayOperatorsMixin):
    """An array that nobody may look into; `held` is for the test."""

    pulled = 0

    def __init__(self, held):
        self.held = np.asarray(held)

    shape = property(lambda self: self.held.shape)
    ndim = property(lambda self: self.held.ndim)
    dtype = property(lambda self: self.held.dtype)

    def __array__(self, dtype=None, copy=None):
        Duck.pulled += 1
        raise AssertionError("somebody looked into a duck")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        known = Duck | np.ndarray | np.generic | int | float | complex
        if method != "__call__" or "out" in kwargs or not all(isinstance(x, known) for x in inputs):
            return NotImplemented
        return Duck(ufunc(*opened(inputs), **kwargs))

    def __array_function__(self, func, types, args, kwargs):
        made = func(*opened(args), **opened(kwargs))
        return Duck(made) if isinstance(made, np.ndarray | np.generic) else made

    def __getitem__(self, key):
        return Duck(self.held[key])

    def __bool__(self):
        return bool(self.held)

    def astype(self, dtype):
        return Duck(self.held.astype(dtype))

    def reshape(self, *shape):
        return Duck(self.held.reshape(*shape))


def opened(x):
    """Give the arrays that ducks hold, in lists, tuples and dicts too."""
    if isinstance(x, Duck):
        return x.held
    if isinstance(x, dict):
        return {key: opened(one) for key, one in x.items()}
    return type(x)(map(opened, x)) if type(x) in (list, tuple) else x
