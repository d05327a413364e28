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
        self.program = Program.of(
            graph, [str(x.name) for x in reached.values()], backward=bool(reached)
        )
        self.executor: Any = None
        self._used = [k for k, x in enumerate(inputs) if x is not None]
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
        given = [arrays[k] for k in self._used]
        if out is None:
            return self._returned(executor(*given))
        targets = self._flat(out, "out")
        return self._returned(
            computed_into(executor, given, list(map(target, targets, self._outputs)), arrays)
        )

    def vjp(self, arrays: Sequence[Any], dout: Any, out: Any) -> Any:
        """Compute both passes; see `Compiled.vjp`."""
        douts = self._upstream(dout)
        executor = self._executor(arrays, douts)
        given = [*(arrays[k] for k in self._used), *douts]
        if out is None:
            results = executor(*given)
        else:
            targets = [*map(target, self._targets(out), self.program.results)]
            results = computed_into(executor, given, targets, [*arrays, *douts])
        gradients = dict(zip(self._reached, results[len(self._outputs) :], strict=True))
        if len(gradients) < len(self._wrt):
            zeros = self._zeros(arrays, out)
            gradients = {
                name: gradients[name] if name in gradients else zeros[name] for name in self._wrt
            }
        return self._returned(results), gradients

    # ------------------------------------------------------------------ parts of a call

    def _executor(self, arrays: Sequence[Any], douts: tuple[Any, ...]) -> Any:
        """Give the executor for upstream gradients that lie so, which may be a new one."""
        key = tuple([place_of(x) for x in douts])
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

    def _upstream(self, dout: Any) -> tuple[Any, ...]:
        """Check the upstream gradients: one for each output, of its shape and dtype."""
        given = self._flat(dout, "dout") if self._result is not OUTPUT else [dout]
        douts = tuple(map(_seed, given, self._outputs))
        return douts if self._reached else ()

    def _flat(self, given: Any, what: str) -> list[Any]:
        """Give what is given for each output, in their order."""
        parts = [given] if self._result is OUTPUT else list(unfolded(given))
        if len(parts) != len(self._outputs):
            raise ValueError(
                f"compile: the function returns {len(self._outputs)} arrays, and {what} has "
                f"{len(parts)}; pass a tuple with one for each"
            )
        return parts

    def _targets(self, out: Any) -> Iterator[Any]:
        """Give where each result of the program is to be written to, or None."""
        if not (isinstance(out, tuple) and len(out) == 2 and isinstance(out[1], Mapping | None)):
            raise TypeError(
                "vjp: out is a pair, as what is returned: where the result is written to, and a "
                "dictionary of where gradients are; each may be None"
            )
        result, gradients = out
        yield from [None] * len(self._outputs) if result is None else self._flat(result, "out")
        yield from ((gradients or {}).get(name) for name in self._reached)

    def _zeros(self, arrays: Sequence[Any], out: Any) -> dict[str, Any]:
        """Give the gradients by what nothing is computed from."""
        return {
            name: np.zeros(arrays[k].shape, arrays[k].dtype)[()]
            for name, k in self._wrt.items()
            if name not in self._reached
        }


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
                f"vjp: {out.name} of shape {out.shape} is not a scalar and needs an upstream "
                f"gradient: pass dout=, an array of that shape"
            )
        dout = np.ones((), out.dtype)
    exact = out.dtype is not None and out.dtype.hasobject
    array = numbers(dout, "vjp: dout", exact=exact)
    if array.shape != out.shape:
        raise ValueError(
            f"vjp: dout has shape {array.shape}, but {out.name} has {out.shape}; they must be equal"
        )
    if array.dtype != out.dtype and not (array.dtype.kind == "c" and out.dtype.kind != "c"):
        array = array.astype(out.dtype)
    return array[()] if not exact else exactly(array)


"""
"""
