"""Conventions by which forward and backward passes are written: parameters, results, gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinygraph.algebra.spelling import gradient_of
from tinygraph.engine.tensor import Tensor

__all__ = [
    "Function",
    "bind",
    "defaulted",
    "entry_name",
    "equal",
    "gradients_in",
    "is_required",
    "is_variadic",
    "name_of",
    "named_results",
    "parameters_of",
]

Function = Callable[..., Any]


def name_of(fn: Function) -> str:
    """Name a function in messages."""
    fn = getattr(fn, "func", fn)  # of a partial
    return getattr(fn, "__name__", type(fn).__name__)


def bind(fn: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
    """Bind arguments to the parameters of a function, or raise with its signature."""
    signature = inspect.Signature(parameters_of(fn))
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name_of(fn)}{signature}: {error}") from None


def defaulted(bound: inspect.BoundArguments) -> dict[str, Any]:
    """Give all arguments by name, those that were left out too, and those of a ** dictionary."""
    every = inspect.BoundArguments(bound.signature, bound.arguments.copy())
    every.apply_defaults()
    given = dict(every.arguments)
    for p in bound.signature.parameters.values():
        if p.kind is p.VAR_KEYWORD:
            given |= given.pop(p.name)
    return given


def parameters_of(fn: Function) -> list[inspect.Parameter]:
    """Give the parameters of a function, in order."""
    try:
        return list(inspect.signature(fn).parameters.values())
    except ValueError:
        raise TypeError(
            f"{name_of(fn)} has no signature that could be read; wrap it in a function of your own"
        ) from None


def is_variadic(fn: Function, name: str) -> bool:
    """Whether a parameter is one with a star."""
    p = inspect.signature(fn).parameters[name]
    return p.kind is p.VAR_POSITIONAL


def is_required(p: inspect.Parameter, candidates: Mapping[str, Any]) -> bool:
    """Whether a parameter that no variable is called like must be given something."""
    if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
        return False
    return p.default is p.empty or gradient_of(p.name, candidates) is not None


def entry_name(name: str, key: Any, taken: Mapping[str, Any]) -> str:
    """Name an entry of a dictionary: by its key, if nothing else is called so."""
    plain_key = isinstance(key, str) and key.isidentifier() and key not in taken
    return key if plain_key else f"{name}[{key!r}]"


def named_results(result: Any, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Name what a forward function returned: as `trace` did, by its variables, or by its keys."""
    if isinstance(result, dict):
        return {str(key): value for key, value in result.items()}
    parts = result if isinstance(result, tuple | list) else [result]
    named: dict[str, Any] = {}
    for k, value in enumerate(parts):
        name = value.name if isinstance(value, Tensor) else None
        name = name or next((key for key, x in variables.items() if x is value), None)
        named[name if name and name not in named else f"result {k}"] = value
    return named


def _flat(result: Any, label: str) -> Iterator[tuple[str, Any]]:
    """Give what a backward pass returned, part by part, with the keys or fields of it."""
    if isinstance(result, dict):
        for key, x in result.items():
            yield from _flat(x, str(key))
    elif isinstance(result, tuple | list):
        fields = getattr(result, "_fields", [label if len(result) == 1 else ""] * len(result))
        for field, x in zip(fields, result, strict=True):
            yield from _flat(x, field)
    elif hasattr(result, "__dict__") and not callable(result):
        for field, x in vars(result).items():
            yield from _flat(x, field)
    else:
        yield label, result


def _is_number(x: Any) -> bool:
    if isinstance(x, Tensor | float | np.floating):
        return True
    return isinstance(x, np.ndarray) and x.dtype.kind in "biufO"


def _described(result: Any) -> str:
    empty = isinstance(result, tuple | list | dict) and not result
    if isinstance(result, np.ndarray):
        return f"an array of {result.dtype}"
    return "nothing" if result is None or empty else type(result).__name__


def equal(a: Any, b: Any) -> bool:
    """Whether the arrays in one value are those in a copy of it."""
    if isinstance(a, Tensor):  # whose values nobody changes
        return True
    if isinstance(a, np.ndarray):
        return np.shape(a) == np.shape(b) and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(x, b[k]) for k, x in a.items())
    return True


def gradients_in(
    result: Any,
    variables: Mapping[str, Any],
    inputs: Mapping[str, Any],
    forward: Function,
    backward: Function,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Find the gradients among what a backward pass returned: by name, else by order.

    Give them by the name of the input, and what was returned besides.
    """
    name, names = name_of(backward), list(inputs)
    parts = [(label, x) for label, x in _flat(result, "") if _is_number(x)]
    if not parts:
        raise TypeError(
            f"{name} returned {_described(result)} and no gradient; "
            f"return {', '.join(f'd{k}' for k in names)}"
        )
    gradients: dict[str, Any] = {}
    unnamed, others = [], {}
    spelled = {gradient_of(label, names) for label, _ in parts}
    for label, x in parts:
        labels = [label] if label else [k for k, v in variables.items() if v is x]
        if not labels and isinstance(x, Tensor) and x.name:
            labels = [x.name]
        said = {gradient_of(k, names) for k in labels}
        if label in names and label not in spelled:  # grads["x"], where there is no grads["dx"]
            said.add(label)
        found = {k for k in said if k is not None and k not in gradients}
        if len(found) == 1:
            gradients[found.pop()] = x
        elif label:
            others[label] = x
        else:
            unnamed.append((labels[0] if labels else "", x))
    left = [k for k in names if k not in gradients]
    fit = not gradients or [np.size(x) for _, x in unnamed] == [inputs[k].data.size for k in left]
    if unnamed and len(unnamed) == len(left) and fit and not others:
        gradients |= {k: x for k, (_, x) in zip(left, unnamed, strict=True)}
        unnamed = []
    if not gradients and len(unnamed) == 1:
        fitting = [k for k in left if inputs[k].shape == np.shape(unnamed[0][1])]
        if len(fitting) == 1:
            gradients[fitting[0]] = unnamed.pop()[1]
    if not gradients:
        raise TypeError(
            f"{name} returned {len(parts)} arrays, but {name_of(forward)} has the inputs "
            f"{', '.join(names)}; return one gradient for each, or name them "
            f"{', '.join(f'd{k}' for k in names)}"
        )
    others |= {label or f"result {k}": x for k, (label, x) in enumerate(unnamed)}
    return gradients, others
