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

from tinygraph.engine.arrays import held, kept
from tinygraph.engine.primitive import NO_PARAMS, Primitive
from tinygraph.engine.tensor import LEAF, UNRECORDED, Recorded, Tensor, made, seen_now
from tinygraph.engine.tracing import Origin

__all__ = ["reduce_tensor"]

_here = threading.local()


class _Ancestors:
    """What a result was computed from, to be written before it."""

    def __init__(self, seen: Mapping[Tensor, Any]) -> None:
        self.seen = seen  # with their data: a leaf may be given other while this is written

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (), None, self._one_by_one()

    def _one_by_one(self) -> Iterator[Tensor]:
        _here.listed = {node.index: data for node, data in self.seen.items()}
        yield from list(self.seen)[:-1]  # the last is the result itself
        _here.listed = {}


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
    listed = getattr(_here, "listed", {})
    if tensor.op is None:
        data = listed.get(tensor.index, tensor.data)
        return _leaf, (data, tensor._recorded is UNRECORDED, marks)
    ancestors = None
    if tensor.index not in listed:
        try:
            ancestors = _Ancestors(seen_now([tensor]))
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
    return origin.scope, constants, origin.label


def _made(data: Any, recorded: Recorded, marks: tuple[Any, ...]) -> Tensor:
    gradient, name, origin = marks
    gradient = gradient if gradient is None else held(gradient)
    tensor = made(Tensor, held(data), recorded, name, gradient)
    if origin is not None:
        scope, constants, label = origin
        names = {((tensor if x is None else x).index, place): name for x, place, name in constants}
        tensor.origin = Origin(scope, names, label=label)
    return tensor


def _leaf(data: Any, unrecorded: bool, marks: tuple[Any, ...]) -> Tensor:
    return _made(data, UNRECORDED if unrecorded else LEAF, marks)


def _result(
    ancestors: Any,
    data: Any,
    op: Primitive,
    inputs: tuple[Any, ...],
    params: Mapping[str, Any],
    marks: tuple[Any, ...],
) -> Tensor:
    inputs = tuple(x if isinstance(x, Tensor) else kept(x) for x in inputs)
    params = {key: kept(x) for key, x in params.items()} or NO_PARAMS
    return _made(data, (op, inputs, params), marks)


copyreg.pickle(Tensor, reduce_tensor)
