"""What an array's methods are on what is recorded: NumPy's functions, with NumPy's signatures."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from tinygraph.engine import functions, ops
from tinygraph.engine.library import contractions, elementwise, reductions, scans, shaping
from tinygraph.engine.library.reductions import NOTHING
from tinygraph.engine.primitive import Tracer

__all__ = ["Methods"]


class Methods(Tracer):
    """The methods of an array, on something that records."""

    __slots__ = ()

    shape: Any
    dtype: Any
    data: Any

    # ------------------------------------------------------------------ shape

    def reshape(self, *shape: Any, order: str = "C", copy: Any = None) -> Self:
        """Give the same entries another shape; one length may be -1."""
        return functions.reshape(self, shape[0] if len(shape) == 1 else shape, order)

    def ravel(self, order: str = "C") -> Self:
        """Give all entries in a row."""
        return functions.ravel(self, order)

    def flatten(self, order: str = "C") -> Self:
        """Give all entries in a row."""
        return functions.ravel(self, order)

    def transpose(self, *axes: Any) -> Self:
        """Permute the axes; all in reverse order if none are given."""
        return functions.transpose(self, axes[0] if len(axes) == 1 else axes or None)

    def swapaxes(self, axis1: int, axis2: int) -> Self:
        """Exchange two axes."""
        return functions.swapaxes(self, axis1, axis2)

    def squeeze(self, axis: Any = None) -> Self:
        """Drop axes of length 1."""
        return functions.squeeze(self, axis)

    # ------------------------------------------------------------------ entries

    def astype(
        self,
        dtype: Any,
        order: str = "K",
        casting: str = "unsafe",
        subok: bool = True,
        copy: bool = True,
    ) -> Self:
        """Convert to another dtype; the gradient comes back in this one.

        Nothing is copied for its own sake, because nobody can change an array of a graph.
        """
        dtype = np.dtype(dtype)
        if not np.can_cast(self.dtype, dtype, casting):  # type: ignore[arg-type]
            raise TypeError(
                f"astype: {functions.describe(self)} is of {self.dtype}, which is not cast to "
                f"{dtype} according to the rule {casting!r}"
            )
        return self if dtype == self.dtype else self.record(ops.cast, (self,), {"dtype": dtype})

    def copy(self, order: str = "C") -> Self:
        """Give the tensor itself, which nobody can change."""
        return self

    def clip(self, min: Any = None, max: Any = None, out: Any = None) -> Self:
        """Limit to [min, max]."""
        return functions.clip(self, min, max, out)

    def round(self, decimals: int = 0, out: Any = None) -> Any:
        """Round to a number of decimals: constant almost everywhere."""
        return elementwise.rounded(self, decimals, out)

    def take(self, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Self:
        """Pick entries along an axis, or of all entries, by their numbers."""
        return shaping.take(self, indices, axis, out, mode)

    def repeat(self, repeats: Any, axis: Any = None) -> Self:
        """Repeat entries along an axis, or all entries, each next to itself."""
        return shaping.repeat(self, repeats, axis)

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Self:
        """Pick the diagonal of two axes, as the last axis."""
        return shaping.diagonal(self, offset, axis1, axis2)

    def argsort(self, axis: Any = -1, kind: Any = None, order: Any = None) -> Any:
        """Give the places of the entries in their order, along an axis."""
        return shaping.places(self, axis)

    def tolist(self) -> Any:
        """Give all entries as Python numbers in nested lists, through which no gradient flows."""
        return self.data.tolist()

    def nonzero(self) -> Any:
        """Give the places of the entries that are not 0, axis by axis."""
        return elementwise.nonzero(self)

    # ------------------------------------------------------------------ reductions

    def sum(
        self,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        keepdims: bool = False,
        initial: Any = NOTHING,
        where: Any = True,
    ) -> Self:
        """Add up along `axis` (all axes if None)."""
        return reductions.sum_(self, axis, dtype, out, keepdims, initial, where)

    def prod(
        self,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        keepdims: bool = False,
        initial: Any = NOTHING,
        where: Any = True,
    ) -> Self:
        """Multiply along `axis` (all axes if None)."""
        return reductions.prod(self, axis, dtype, out, keepdims, initial, where)

    def mean(
        self,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        keepdims: bool = False,
        *,
        where: Any = True,
    ) -> Self:
        """Average along `axis` (all axes if None): the sum divided by the count."""
        return reductions.mean(self, axis, dtype, out, keepdims, where=where)

    def max(
        self,
        axis: Any = None,
        out: Any = None,
        keepdims: bool = False,
        initial: Any = NOTHING,
        where: Any = True,
    ) -> Self:
        """Largest entry along `axis`; entries that tie share the gradient equally."""
        return reductions.max_(self, axis, out, keepdims, initial, where)

    def min(
        self,
        axis: Any = None,
        out: Any = None,
        keepdims: bool = False,
        initial: Any = NOTHING,
        where: Any = True,
    ) -> Self:
        """Smallest entry along `axis`; entries that tie share the gradient equally."""
        return reductions.min_(self, axis, out, keepdims, initial, where)

    def var(
        self,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        ddof: Any = 0,
        keepdims: bool = False,
        **options: Any,
    ) -> Self:
        """Variance along `axis`: the mean of squared deviations."""
        return reductions.var(self, axis, dtype, out, ddof, keepdims, **options)

    def std(
        self,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        ddof: Any = 0,
        keepdims: bool = False,
        **options: Any,
    ) -> Self:
        """Give the standard deviation along `axis`.

        Where all entries are equal it is 0 and its gradient is nan: √ has no slope at 0, and what
        arrives is 0/0. Write ``np.sqrt(np.var(x) + eps)`` for one that has.
        """
        return reductions.std(self, axis, dtype, out, ddof, keepdims, **options)

    def all(
        self, axis: Any = None, out: Any = None, keepdims: bool = False, *, where: Any = True
    ) -> Any:
        """Whether all entries along `axis` are true."""
        return reductions.all_(self, axis, out, keepdims, where=where)

    def any(
        self, axis: Any = None, out: Any = None, keepdims: bool = False, *, where: Any = True
    ) -> Any:
        """Whether one entry along `axis` is true."""
        return reductions.any_(self, axis, out, keepdims, where=where)

    def argmax(self, axis: Any = None, out: Any = None, *, keepdims: bool = False) -> Any:
        """Give the index of the first largest entry along `axis`."""
        return reductions.argmax(self, axis, out, keepdims=keepdims)

    def argmin(self, axis: Any = None, out: Any = None, *, keepdims: bool = False) -> Any:
        """Give the index of the first smallest entry along `axis`."""
        return reductions.argmin(self, axis, out, keepdims=keepdims)

    def cumsum(self, axis: Any = None, dtype: Any = None, out: Any = None) -> Self:
        """Add up from the start to each entry."""
        return scans.running_sum(self, axis, dtype, out)

    def cumprod(self, axis: Any = None, dtype: Any = None, out: Any = None) -> Self:
        """Multiply from the start to each entry."""
        return scans.running_product(self, axis, dtype, out)

    def trace(
        self, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
    ) -> Self:
        """Add up the diagonal of two axes."""
        return shaping.trace(self, offset, axis1, axis2, dtype, out)

    def dot(self, b: Any, out: Any = None) -> Self:
        """Give a product for scalars, ``@`` for vectors and matrices; see `numpy.dot`."""
        return contractions.dot(self, b, out)
