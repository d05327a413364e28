"""Forms: a function of arrays, as a program for arguments of one layout.

What a function computes may depend on the lengths, dtypes and numbers that it is given, so that
each layout of its arguments has a form of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinygraph.engine.arrays import exactly, numbers
from tinygraph.engine.autodiff import is_discrete
from tinygraph.execution.layouts import place_of
from tinygraph.execution.merging import merged
from tinygraph.execution.program import Program
from tinygraph.execution.recordings import folded, unfolded
from tinygraph.execution.targets import computed_into, target
from tinygraph.graph.nodes import Node
from tinygraph.graph.snapshot import Graph

__all__ = ["OUTPUT", "Form", "Make"]

Make = Callable[[Program, Sequence[Any]], Any]
"""Gives an executor of a program, for arrays of the layouts of these."""

OUTPUT = object()
"""Stands in a result for what the graph computes."""


class Form:
    """A program, with the arguments and the results of a function.

    Parameters
    ----------
    graph : Graph
        The forward pass, or both.
    inputs : sequence of Nodes or None
        The input for each array that is passed; None where nothing is computed from it.
    wrt : mapping or None
        By name, which of the arrays gradients are returned for; None for the forward pass alone.
    result : object
        What the function returned, with `OUTPUT` for each output of the graph.
    make : callable
        See `Make`.

    Attributes
    ----------
    program : Program
    executor : executor or None
        What ran last.
    """

    def __init__(
        self,
        graph: Graph,
        inputs: Sequence[Node | None],
        wrt: Mapping[str, int] | None,
        result: Any,
        make: Make,
    ) -> None:
        arriving = {g.of.index for g in graph.all_gradients}
        self._wrt = dict(wrt or {})
        named = {name: inputs[k] for name, k in self._wrt.items()}
        reached = {name: x for name, x in named.items() if x is not None and x.index in arriving}
        self.program = merged(
            Program.of(graph, [str(x.name) for x in reached.values()], backward=bool(reached))
        )
        self.executor: Any = None
        self._used = [k for k, x in enumerate(inputs) if x is not None]
        self._uses_all = len(self._used) == len(inputs)
        self._reached = list(reached)
        self._outputs = graph.outputs
        self._result, self._parts = result, list(unfolded(result))
        self._make = make
        self._executors: dict[Any, Any] = {}
        if wrt is not None and (discrete := next(filter(is_discrete, graph.outputs), None)):
            raise ValueError(
                f"vjp: {discrete.name} is of {discrete.dtype}, through which no gradient flows; "
                "return it from another function"
            )

    def call(self, arrays: Sequence[Any], out: Any) -> Any:
        """Compute the forward pass from all the arrays that are passed."""
        executor = self._executor(arrays, ())
        given = arrays if self._uses_all else [arrays[k] for k in self._used]
        if out is None:
            return self._returned(executor(*given))
        targets = [target(x, n.name, n) for x, n in self._with_outputs(out, "out")]
        return self._returned(computed_into(executor, given, targets, arrays))

    def vjp(self, arrays: Sequence[Any], dout: Any, out: Any) -> tuple[Any, dict[str, Any]]:
        """Compute both passes; see `Compiled.vjp`."""
        douts = self._seeds(dout) if self._reached else ()
        executor = self._executor(arrays, douts)
        given = [*(arrays if self._uses_all else [arrays[k] for k in self._used]), *douts]
        if out is None:
            results = executor(*given)
            zeros: Mapping[str, Any] = {}
        else:
            targets, zeros = self._targets(out, arrays)
            results = computed_into(executor, given, targets, [*arrays, *douts, *zeros.values()])
        gradients = dict(zip(self._reached, results[len(self._outputs) :], strict=True))
        if len(gradients) < len(self._wrt):
            gradients |= self._zeros(arrays, zeros)
            gradients = {name: gradients[name] for name in self._wrt}
        return self._returned(results), gradients

    # ------------------------------------------------------------------ parts of a call

    def _executor(self, arrays: Sequence[Any], douts: Sequence[Any]) -> Any:
        """Give the executor for upstream gradients that lie so, which may be a new one."""
        key = tuple([(x.dtype.char, place_of(x)) for x in douts])
        executor = self._executors.get(key)
        if executor is None:
            given = [*(arrays[k] for k in self._used), *douts]
            executor = self._executors[key] = self._make(self.program, given)
        self.executor = executor
        return executor

    def _returned(self, results: Sequence[Any]) -> Any:
        """Give what the function returns."""
        if self._result is OUTPUT:
            return results[0]
        values = iter(results)
        parts = (next(values) if part is OUTPUT else _copied(part) for part in self._parts)
        return folded(self._result, parts)

    def _seeds(self, dout: Any) -> list[Any]:
        """Check the upstream gradients."""
        if self._result is OUTPUT:
            return [_seed(dout, self._outputs[0])]
        return [_seed(x, n) for x, n in self._with_outputs(dout, "dout")]

    def _with_outputs(self, given: Any, what: str) -> Iterator[tuple[Any, Node]]:
        """Give what is given for each output, in their order, with the output."""
        is_one = self._result is OUTPUT
        parts = [given] if is_one or given is None else list(unfolded(given))
        if len(parts) != len(self._outputs):
            raise ValueError(
                f"compile: the function returns {len(self._outputs)} arrays, and {what} has "
                f"{len(parts)}; pass a tuple with one for each"
            )
        return zip(parts, self._outputs, strict=True)

    def _targets(self, out: Any, arrays: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Give where each result of the program is to be written to; and gradients that are 0."""
        if not (isinstance(out, tuple) and len(out) == 2 and isinstance(out[1], dict | None)):
            raise TypeError(
                "vjp: out is a pair, as what is returned: where the result is written to, and a "
                "dictionary of where gradients are; each may be None"
            )
        result, gradients = out
        gradients = gradients or {}
        if unknown := gradients.keys() - self._wrt.keys():
            known = ", ".join(self._wrt)
            raise ValueError(f"vjp: out names {min(unknown)!r}, but gradients are those by {known}")
        checked = {
            name: target(gradients.get(name), f"d{name}", arrays[k])
            for name, k in self._wrt.items()
        }
        places = [None] * len(self._outputs)
        if result is not None:
            places = [target(x, n.name, n) for x, n in self._with_outputs(result, "out")]
        zeros = {name: x for name, x in checked.items() if name not in self._reached}
        return [*places, *(checked[name] for name in self._reached)], zeros

    def _zeros(self, arrays: Sequence[Any], targets: Mapping[str, Any]) -> dict[str, Any]:
        """Give the gradients by what nothing is computed from."""
        found = {}
        for name, k in self._wrt.items():
            if name not in self._reached:
                x, place = arrays[k], targets.get(name)
                if place is None:
                    found[name] = np.zeros(x.shape, x.dtype)[()]
                else:
                    place[...] = 0
                    found[name] = place
        return found


def _copied(part: Any) -> Any:
    return part.copy() if isinstance(part, np.ndarray) else part


def _seed(dout: Any, out: Node) -> Any:
    """Check an upstream gradient, which is never silently ones."""
    if (
        type(dout) is np.ndarray
        and dout.dtype is out.dtype
        and dout.shape == out.shape
        and out.shape
    ):
        return dout
    if dout is None:
        if out.shape:
            raise ValueError(
                f"vjp: {out.name} of shape {out.shape} is no scalar and needs an upstream gradient: "
                "pass dout, an array of that shape"
            )
        dout = np.ones((), out.dtype)
    dtype = np.dtype(out.dtype)
    array = numbers(dout, "vjp: dout", exact=dtype.hasobject)
    if array.shape != out.shape:
        raise ValueError(
            f"vjp: dout has shape {array.shape}, but {out.name} has {out.shape}; they must be equal"
        )
    if array.dtype != dtype and not (array.dtype.kind == "c" and dtype.kind != "c"):
        array = array.astype(dtype)
    return exactly(array) if dtype.hasobject else array[()]


"""
"""
