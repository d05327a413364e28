"""Symbols: nodes that are being written down, with a shape and a dtype and without a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from tinygraph.engine.lengths import measured, plain, plainly
from tinygraph.engine.operators import Operand
from tinygraph.engine.primitive import NO_PARAMS, Primitive

__all__ = ["Symbol"]


class Symbol(Operand):
    """A node that is being written down: like a Tensor, but it has a shape and no value."""

    __slots__ = (
        "_lengths",
        "dtype",
        "extent",
        "index",
        "inputs",
        "name",
        "op",
        "origin",
        "paper",
        "params",
        "parents",
        "role",
        "step",
    )

    def __init__(
        self,
        paper: list[Symbol],
        op: Primitive | None,
        inputs: tuple[Any, ...],
        params: Mapping[str, Any],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        role: str = "backward",
        name: str | None = None,
        origin: Any = None,
    ) -> None:
        self.paper = paper
        self.op, self.inputs, self.params = op, inputs, params
        self.extent, self.dtype = shape, dtype
        self._lengths: tuple[Any, ...] | None = None
        self.role, self.name, self.origin = role, name, origin
        self.parents = [x for x in inputs if isinstance(x, Symbol)]
        self.step: int | None = None
        self.index = len(paper)
        paper.append(self)

    @property
    def shape(self) -> tuple[Any, ...]:
        """The lengths of its axes, which know that they are; `extent` is the same in ints."""
        if self._lengths is None:
            self._lengths = measured(self, self.extent)
        return self._lengths

    def record(
        self, op: Primitive, inputs: Sequence[Any], params: Mapping[str, Any] = NO_PARAMS
    ) -> Any:
        """Write down one more symbol."""
        given = {key: plainly(x) for key, x in params.items()} if params else params
        if op.elementwise:
            kinds = tuple([_kind(plain(x)) for x in inputs])
            shape, dtype = _elementwise_type(op, kinds, tuple(given.items()))
        else:
            shape, dtype = _result_type(op, [_ones(plain(x)) for x in inputs], given)
        return Symbol(self.paper, op, tuple(inputs), params, shape, dtype)


Type = tuple[tuple[int, ...], np.dtype[Any]]


def _result_type(op: Primitive, ones: Sequence[Any], params: Mapping[str, Any]) -> Type:
    """Find shape and dtype of a result by computing it on ones, which serves every primitive."""
    with np.errstate(all="ignore"):
        try:
            value = op.forward(*ones, **params)
        except np.linalg.LinAlgError:  # a matrix of ones has no inverse; the identity has one
            value = op.forward(*map(_identity, ones), **params)
    return np.shape(value), getattr(value, "dtype", np.dtype(object))


def _kind(x: Any) -> Type | type:
    return (_extent(x), x.dtype) if hasattr(x, "dtype") else type(x)


def _extent(x: Any) -> tuple[int, ...]:
    extent: tuple[int, ...] = x.extent if isinstance(x, Symbol) else x.shape
    return extent


def _identity(x: Any) -> Any:
    shape = np.shape(x)
    return np.broadcast_to(np.eye(*shape[-2:], dtype=x.dtype), shape) if len(shape) > 1 else x


def _ones(x: Any) -> Any:
    if not hasattr(x, "dtype"):
        return x
    one = 0 if x.dtype.kind in "iu" else 1  # an index 0 exists where 1 may not
    return np.broadcast_to(np.array(one, x.dtype), _extent(x))


@lru_cache(maxsize=1024)
def _elementwise_type(
    op: Primitive, kinds: tuple[Type | type, ...], params: tuple[tuple[str, Any], ...]
) -> Type:
    """Find shape and dtype of an elementwise result from one entry of each operand.

    Of a Python number only the type counts: it takes the dtype of the array that it meets.
    """
    ones = [kind(1) if isinstance(kind, type) else np.ones((), kind[1]) for kind in kinds]
    shapes = [kind[0] for kind in kinds if not isinstance(kind, type)]
    return np.broadcast_shapes(*shapes), _result_type(op, ones, dict(params))[1]
