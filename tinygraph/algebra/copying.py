"""Copies of what a function hands to another: tensors in tuples, dictionaries and objects.

Inside `trace`, an array that may be written into is a handle: a tensor by another class.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np

from tinygraph.engine import lengths
from tinygraph.engine.lengths import Measured
from tinygraph.engine.tensor import Tensor, peek

__all__ = ["constant", "copied", "is_recorded", "kept", "plain", "recorded", "settled", "tensor_of"]

_SHARED = (type, ModuleType, FunctionType, BuiltinFunctionType, str, bytes)


def plain(x: Any) -> Any:
    """Give the array of a tensor, which may be written into, or the number that a length is."""
    if isinstance(x, Tensor):
        value = peek(tensor_of(x))
        return np.array(value) if x.shape else value
    return lengths.plain(x)


def copied(value: Any, leaf: Callable[[Any], Any], memo: dict[int, Any] | None = None) -> Any:
    """Copy a value down to its arrays, with `leaf` of every tensor and every length in it.

    What is one object there is one object in the copy, so that what is written into an array is
    seen wherever it is held. Functions, classes and what cannot be copied are shared.

    Examples
    --------
    >>> x = Tensor([1.0, 2.0])
    >>> cache = {"x": x, "shape": (2, [x])}
    >>> copy = copied(cache, plain)
    >>> copy, copy["x"] is copy["shape"][1][0]
    ({'x': array([1., 2.]), 'shape': (2, [array([1., 2.])])}, True)
    """
    memo = {} if memo is None else memo
    if id(value) in memo:
        return memo[id(value)][0]
    new = _copy(value, leaf, memo)
    memo[id(value)] = new, value  # which keeps the id its own
    return new


def _copy(value: Any, leaf: Callable[[Any], Any], memo: dict[int, Any]) -> Any:
    def inside(x: Any) -> Any:
        return copied(x, leaf, memo)

    kind = type(value)
    if isinstance(value, Tensor | Measured):
        return leaf(value)
    if isinstance(value, _SHARED) or value is None:
        return value
    if isinstance(value, tuple):
        parts = [inside(x) for x in value]
        return kind(*parts) if hasattr(value, "_fields") else kind(parts)
    if kind in (list, dict) or (isinstance(value, dict | list) and not hasattr(value, "__slots__")):
        new = copy.copy(value)
        memo[id(value)] = new, value  # it may hold itself
        if isinstance(value, list):
            new[:] = [inside(x) for x in value]
        else:
            new.update({key: inside(x) for key, x in value.items()})
        return new
    if (
        hasattr(value, "__dict__")
        and not inspect.isroutine(value)
        and not isinstance(value, np.ndarray)
    ):
        new = copy.copy(value)
        memo[id(value)] = new, value
        vars(new).update({key: inside(x) for key, x in vars(value).items()})
        return new
    if inspect.ismethod(value):
        return value.__func__.__get__(inside(value.__self__))
    try:
        return copy.deepcopy(value)
    except Exception:  # locks, files, generators: they are shared
        return value


# --------------------------------------------------------------------------- handles of `trace`


def recorded(value: Any) -> Any:
    """Give the tensor that a variable is; of a handle of `trace`, what is recorded of it already.

    To ask for more would record what is written there, which may be overwritten before it is read.
    """
    if not isinstance(value, Tensor):
        return kept(value)
    tensor = value if type(value) is Tensor else getattr(value, "_known", None)
    return tensor if isinstance(tensor, Tensor) else None


def settled(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Give the variables of a call that is over, its handles as the tensors that they stand for."""
    return {name: tensor_of(x) if isinstance(x, Tensor) else x for name, x in variables.items()}


def tensor_of(x: Any) -> Any:
    """Give the tensor that a handle of `trace` stands for; a tensor as it is."""
    return x if type(x) is Tensor else x.settled()


def is_recorded(tensor: Any, held_by: Any) -> bool:
    """Whether a tensor was computed or given, and is not what a handle makes of a constant."""
    return tensor is held_by or tensor.op is not None or tensor.name is not None


def constant(x: Any) -> Any:
    """Give the array of a constant that a handle of `trace` is on; anything else as it is."""
    return plain(x) if isinstance(x, Tensor) and type(x) is not Tensor else x


def kept(value: Any) -> Any:
    """Copy numbers; of other variables, nothing is remembered."""
    if isinstance(value, np.ndarray):
        return np.array(value) if value.dtype.kind in "biuf" else None
    return value if isinstance(value, float | np.floating) else None
