"""Slots: what each parameter of a backward pass is given.

A parameter that is called like an argument, a result or a variable of the forward function gets
that. One that is called like a gradient gets an upstream gradient: of the result that it names,
else of the next. What is left is a cache: what the forward function returned besides.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from tinygraph.algebra.conventions import Function, is_required, name_of, parameters_of
from tinygraph.algebra.spelling import gradient_of, looks_like_gradient
from tinygraph.engine.tensor import Tensor

__all__ = ["Plan", "Slot"]

_NOTHING: Any = object()
_CACHES = {"cache", "ctx", "context", "memory", "saved", "caches", "state"}


class Slot(NamedTuple):
    """What one parameter is given: the upstream gradient of a result, or a value."""

    parameter: inspect.Parameter
    output: str  # of which it is the gradient; "" for none
    value: Any


class Plan:
    """How a backward pass is called.

    Parameters
    ----------
    forward, backward : callable
    known : mapping
        The arguments and variables of the forward function, by name.
    results : mapping
        All that it returned, by name.
    candidates : mapping
        Those of them that may have an upstream gradient.

    Attributes
    ----------
    slots : list of Slot
    upstream : dict
        The parameter that is an upstream gradient, by the result.
    outputs : list of str
        The results that are differentiated.
    called : str
        The call, as it would be written.

    Raises
    ------
    TypeError
        If there is a parameter that nothing is known for.
    """

    def __init__(
        self,
        forward: Function,
        backward: Function,
        known: Mapping[str, Any],
        results: Mapping[str, Any],
        candidates: Mapping[str, Tensor],
    ) -> None:
        self._names = name_of(forward), name_of(backward)
        parameters = parameters_of(backward)
        named = {**known, **results}
        values = {
            p.name: _NOTHING
            if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
            else named.get(p.name, _NOTHING)
            for p in parameters
        }
        free = [p for p in parameters if values[p.name] is _NOTHING and is_required(p, candidates)]
        self.upstream = self._chosen(free, candidates)
        self.outputs = list(self.upstream) or self._scalar(candidates)
        gradients = {p: output for output, p in self.upstream.items()}
        caches = [p.name for p in free if p.name not in gradients]
        left = [x for key, x in results.items() if key not in self.outputs]
        values |= zip(caches, self._caches(caches, left), strict=True)
        self.slots: list[Slot] = []
        for p in parameters:
            if p.kind is p.VAR_POSITIONAL:
                self.slots += [Slot(p, "", x) for x in left]
            elif p.name in gradients or values[p.name] is not _NOTHING:
                self.slots.append(Slot(p, gradients.get(p.name, ""), values[p.name]))
        given = [
            f"{p.name}={p.name}" if p.kind is p.KEYWORD_ONLY else p.name for p, *_ in self.slots
        ]
        self.called = f"{name_of(backward)}({', '.join(given)})"

    def _chosen(
        self, free: list[inspect.Parameter], candidates: Mapping[str, Tensor]
    ) -> dict[str, str]:
        """Find the parameters that are upstream gradients, and of which results."""
        chosen: dict[str, str] = {}
        for p in free:
            output = gradient_of(p.name, [k for k in candidates if k not in chosen])
            if output is not None:
                chosen[output] = p.name
        names = [p.name for p in free if p.name not in chosen.values()]
        alike = [name for name in names if looks_like_gradient(name)]
        if not chosen and not alike:
            alike = [name for name in names if name not in _CACHES][:1]
        for name in alike:
            rest = [k for k in candidates if k not in chosen]
            if not rest:
                forward, backward = self._names
                raise TypeError(
                    f"{backward} takes {name}, which is no variable of {forward}, and no result is "
                    "left whose gradient it could be"
                )
            chosen[rest[0]] = name
        return chosen

    def _scalar(self, candidates: Mapping[str, Tensor]) -> list[str]:
        """Give the result that is differentiated as it is: a loss."""
        name, out = next(iter(candidates.items()))
        if out.shape:
            raise TypeError(
                f"{self._names[1]} takes no upstream gradient, though {name} has shape "
                f"{out.shape}; give it a parameter, as in backward(d{name}, cache)"
            )
        return [name]

    def _caches(self, names: list[str], left: list[Any]) -> list[Any]:
        """Give the parameters that are left what the forward function returned besides."""
        if len(names) == len(left):
            return left
        if not names:
            return []
        if len(names) == 1 and left:
            return [tuple(left) if isinstance(left[-1], Tensor) else left[-1]]
        forward, backward = self._names
        raise TypeError(
            f"{backward} takes {', '.join(names)}, but {forward} has no variable of that name and "
            f"returned {len(left) or 'nothing'} besides {', '.join(self.outputs)}; return what "
            f"backward needs, as in `return {self.outputs[0]}, {names[0]}`"
        )
