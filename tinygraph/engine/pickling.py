"""How tensors are copied and pickled: without recursion, and as one graph.

A result is written as its value and its operands. The result that is asked for first writes all
that it was computed from before that, in order of creation, so that every operand has been written
when it is needed, however deep the graph is. And as `copy` and `pickle` write no object twice, what
is copied together stays together: leaves and intermediate results are those of the copied graph.
"""

from __future__ import annotations

import copyreg
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from tinygraph.engine.arrays import locked, relocked
from tinygraph.engine.autodiff import reachable
from tinygraph.engine.primitive import NO_PARAMS, Primitive
from tinygraph.engine.tensor import UNRECORDED, Tensor
from tinygraph.engine.tracing import Origin

__all__ = ["reduce_tensor"]

_here = threading.local()


class _Ancestors:
    """What a result was computed from, to be written before it."""

    def __init__(self, nodes: list[Tensor]) -> None:
        self.nodes = nodes

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (), None, self._one_by_one()

    def _one_by_one(self) -> Iterator[Tensor]:
        _here.listed = {node.index for node in self.nodes}
        yield from self.nodes
        _here.listed = set()


def reduce_tensor(tensor: Tensor) -> tuple[Any, ...]:
    """Write a tensor down, as `copyreg` asks for it.

    Raises
    ------
    ValueError
        If a leaf was given new data after `tensor` had been computed from it.

    Examples
    --------
    >>> import copy
    >>> from tinygraph import grad
    >>> x = Tensor(3.0, name="x")
    >>> x2, y2 = copy.deepcopy((x, x * x))
    >>> grad(y2, [x2])
    [np.float64(6.0)]
    """
    marks = tensor.grad, tensor.name, _written(tensor)
    if tensor.op is None:
        return _leaf, (tensor.data, tensor.params is UNRECORDED, marks)
    ancestors = None
    if tensor.index not in getattr(_here, "listed", ()):
        try:
            ancestors = _Ancestors(reachable([tensor])[:-1])
        except ValueError as error:
            raise ValueError(f"{error}; or copy the .detach() of the result") from None
    how = tensor.op, tensor.inputs, dict(tensor.params)
    return _result, (ancestors, tensor.data, *how, marks)


def _written(tensor: Tensor) -> Any:
    """Give the origin, with tensors for their indices; None for the tensor itself."""
    origin = getattr(tensor, "origin", None)
    if origin is None:
        return None
    found: dict[int, Tensor | None] = {tensor.index: None}
    stack = [tensor]
    while stack and not all(index in found for index, _ in origin.constants):
        for x in stack.pop().inputs:
            if isinstance(x, Tensor) and x.index not in found:
                found[x.index] = x
                stack.append(x)
    constants = [(found[index], place, name) for (index, place), name in origin.constants.items()]
    return origin.scope, constants


def _new(data: Any, marks: tuple[Any, ...]) -> Tensor:
    tensor = Tensor(0.0)
    tensor._data = locked(data)
    gradient, tensor.name, origin = marks
    tensor.grad = gradient if gradient is None else locked(gradient)
    if origin is not None:
        scope, constants = origin
        names = {((tensor if x is None else x).index, place): name for x, place, name in constants}
        tensor.origin = Origin(scope, names)
    return tensor


def _leaf(data: Any, unrecorded: bool, marks: tuple[Any, ...]) -> Tensor:
    tensor = _new(data, marks)
    tensor.params = UNRECORDED if unrecorded else NO_PARAMS
    return tensor


def _result(
    ancestors: Any,
    data: Any,
    op: Primitive,
    inputs: tuple[Any, ...],
    params: Mapping[str, Any],
    marks: tuple[Any, ...],
) -> Tensor:
    tensor = _new(data, marks)
    tensor.op, tensor.inputs = op, tuple(map(relocked, inputs))
    tensor.params = {key: relocked(x) for key, x in params.items()} or NO_PARAMS
    return tensor


copyreg.pickle(Tensor, reduce_tensor)
