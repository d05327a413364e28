"""What a check of a function must refuse, must not disturb, and must put back.

A gradient can only be checked of a function: something that gives the same value at the same inputs
and changes nothing. This file prepares the inputs, runs the function, notices where it is no
function, and puts the state of layers back.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from tinygraph.engine.arrays import first_nonfinite
from tinygraph.engine.tensor import Tensor

__all__ = [
    "Function",
    "as_tensors",
    "called",
    "changed_input",
    "check_apart",
    "check_finite",
    "float64",
    "input_names",
    "kept",
    "plain",
    "random_signs",
    "unsteady",
]

Function = Callable[..., Any]


# --------------------------------------------------------------------------- the function


def called(fn: Function, tensors: Sequence[Tensor]) -> Tensor:
    """Run `fn` and give its Tensor."""
    out = fn(*tensors)
    if not isinstance(out, Tensor):
        raise TypeError(f"gradcheck: the function must return a Tensor, not {type(out).__name__}")
    return out


def unsteady(fn: Function, names: list[str], arrays: list[Any], changed: Callable[[], str]) -> str:
    """Run twice, and tell what keeps `fn` from being a function of its inputs."""
    runs = []
    for _ in range(2):
        tensors = as_tensors(arrays, names)
        runs.append(called(fn, tensors).data)
        if cause := changed_input(tensors, names, arrays) or changed():
            return cause
    first, second = runs
    if np.array_equal(first, second, equal_nan=True):
        return ""
    # The last bits of a matrix product may depend on where in memory its operands lie.
    if first.shape == second.shape and np.allclose(first, second, 0, 1e-12 * np.abs(first).max()):
        return ""
    return (
        "non-determinism: two runs at the same inputs give different values; fix the seed of "
        "random numbers inside the function, and whatever it counts or remembers"
    )


def changed_input(inputs: Sequence[Any], names: list[str], arrays: list[Any]) -> str:
    """Tell which input is not what it was."""
    for x, name, array in zip(inputs, names, arrays, strict=True):
        if not np.array_equal(np.asarray(plain(x), np.float64), array):
            return f"changed state: the function changes its input {name}"
    return ""


@contextmanager
def kept(fn: Function) -> Iterator[Callable[[], str]]:
    """Put back the state of layers; give a function that tells whether Tensors changed."""
    around = _around(fn)
    layers = {id(x): x for x in around.values() if hasattr(x, "load_state_dict")}.values()
    saved = [copy.deepcopy(x.state_dict()) for x in layers]
    tensors = {k: (x, np.array(x.data)) for k, x in around.items() if isinstance(x, Tensor)}

    def changed() -> str:
        for name, (x, before) in tensors.items():
            if not np.array_equal(x.data, before, equal_nan=True):
                return f"changed state: the function changes {name}, a Tensor that it closes over"
        return ""

    try:
        yield changed
    finally:
        for layer, state in zip(layers, saved, strict=True):
            now = layer.state_dict()
            # Loading makes new points of the parameters, so it is done only where it is needed.
            if not all(np.array_equal(plain(now[k]), plain(state[k])) for k in state):
                layer.load_state_dict(state)


def _around(fn: Function) -> dict[str, Any]:
    """Give what `fn` closes over, what it is bound to, and what it holds, by name."""
    fn = inspect.unwrap(fn)
    owner = getattr(fn, "__self__", fn)
    around = {} if hasattr(owner, "load_state_dict") else dict(getattr(owner, "__dict__", {}))
    with suppress(TypeError):  # no Python function
        closed = inspect.getclosurevars(fn)
        around |= {**closed.globals, **closed.nonlocals}
    return {k: x for k, x in (around | {"self": owner}).items() if not isinstance(x, type)}


def input_names(fn: Function, inputs: Sequence[Any]) -> list[str]:
    """Name the inputs: as their tensors are named, else as the parameters of `fn` are."""
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):  # some callables written in C have no signature
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names += [f"input {k}" for k in range(len(names), len(inputs))]
    return [getattr(x, "name", None) or name for x, name in zip(inputs, names, strict=False)]


# --------------------------------------------------------------------------- the inputs


def plain(x: Any) -> Any:
    """Give the array of a Tensor; anything else as it is."""
    return x.data if isinstance(x, Tensor) else x


def as_tensors(arrays: Sequence[Any], names: Sequence[str]) -> list[Tensor]:
    """Make fresh Tensors, so that those of the user are not touched."""
    return [Tensor(x, name=name) for x, name in zip(arrays, names, strict=True)]


def random_signs(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Give random numbers of both signs, none of which is so small that it hides an entry."""
    return rng.uniform(0.5, 1.5, shape) * (1 - 2 * rng.integers(2, size=shape, dtype=np.int8))


def float64(x: Any, name: str) -> Any:
    """Copy an input to float64, or say why it cannot be checked."""
    array = np.asarray(x)
    if array.dtype.kind not in "biufO":
        raise TypeError(f"gradcheck: {name} must be real numbers, not {array.dtype}")
    array = np.array(array, dtype=np.float64)
    if array.size == 0:
        raise ValueError(f"gradcheck: {name} of shape {array.shape} is empty; nothing to check")
    check_finite(array, name)
    return array


def check_finite(array: Any, what: str) -> None:
    """Refuse values near which there are no differences."""
    if where := first_nonfinite(array):
        raise ValueError(f"gradcheck: {what} is {where}; gradients are checked at finite values")


def check_apart(inputs: Sequence[Any], names: list[str]) -> None:
    """Refuse inputs that share memory."""
    if not inputs:
        raise ValueError("gradcheck: there are no inputs; write gradcheck(fn, x, ...)")
    arrays = [plain(x) for x in inputs]
    for i, a in enumerate(arrays):
        for j, b in enumerate(arrays[:i]):
            if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and np.shares_memory(a, b):
                raise ValueError(
                    f"gradcheck: {names[j]} and {names[i]} share memory, so one cannot move "
                    "without the other; pass it once, as in gradcheck(lambda x: fn(x, x), x)"
                )
