"""Forms: a function of arrays, as a program for arguments of one layout.

What a function computes may depend on the lengths, dtypes and numbers that it is given, so that
each layout of its arguments has a form of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import is_
from typing import Any, NamedTuple

import numpy as np

from tinygraph.engine.arrays import exactly, numbers
from tinygraph.engine.autodiff import is_discrete
from tinygraph.execution.layouts import fitting, placement
from tinygraph.execution.merging import merged
from tinygraph.execution.program import Executor, Make, Program
from tinygraph.execution.recordings import folded, unfolded
from tinygraph.execution.targets import computed_into, target
from tinygraph.graph.nodes import Node
from tinygraph.graph.snapshot import Graph

__all__ = ["OUTPUT", "Form", "Quick"]

OUTPUT = object()
"""Stands in a result for what the graph computes."""


class Quick(NamedTuple):
    """What is done where a call is like the last one.

    Attributes
    ----------
    fit : callable
        Gives what the executor is called with, or None; see `tinygraph.execution.layouts.fitting`.
    executor : Executor
    packed : callable
        Gives what is returned, of the results.
    is_current : callable
        Whether what was recorded is still right.
    """

    fit: Callable[..., tuple[Any, ...] | None]
    executor: Executor
    packed: Callable[..., Any]
    is_current: Callable[[], bool]


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
        See `tinygraph.execution.program.Make`.
    is_current : callable
        Whether what was recorded is still right.
    constants : sequence, optional
        The values of the inputs that follow: of Tensors that the function has made itself.
    overwrites : bool, optional
        Whether the function writes into its arguments, which must then lie apart.

    Attributes
    ----------
    program : Program
    executor : Executor or None
        What ran last.
    """

    def __init__(
        self,
        graph: Graph,
        inputs: Sequence[Node | None],
        wrt: Mapping[str, int] | None,
        result: Any,
        make: Make,
        is_current: Callable[[], bool],
        *,
        constants: Sequence[Any] = (),
        overwrites: bool = False,
    ) -> None:
        arriving = graph.arriving
        named = {name: inputs[k] for name, k in (wrt or {}).items()}
        reached = {name: x for name, x in named.items() if x is not None and x.index in arriving}
        self.program = merged(
            Program.of(graph, [str(x.name) for x in reached.values()], backward=bool(reached))
        )
        self.executor: Executor | None = None
        self.is_current, self.overwrites = is_current, overwrites
        self._constants = constants
        self._wrt = wrt
        self._used = [k for k, x in enumerate(inputs) if x is not None]
        self._reached = list(reached)
        self._outputs = graph.outputs
        self._result, self._parts = result, list(unfolded(result))
        self._make = make
        self._executors: dict[Any, Executor] = {}
        self._quick: dict[Any, Quick] = {}
        if wrt is not None and (discrete := next(filter(is_discrete, graph.outputs), None)):
            raise ValueError(
                f"vjp: {discrete.name} is of {discrete.dtype}, through which no gradient flows; "
                "return it from another function"
            )

    def call(self, arrays: Sequence[Any], dout: Any, out: Any) -> Any:
        """Compute the forward pass, or both; see `tinygraph.execution.compiled.Compiled`.

        Parameters
        ----------
        arrays : sequence
            All that are passed.
        dout, out
        """
        douts = self._seeds(dout) if self._reached else []
        given = [*(arrays[k] for k in self._used), *self._constants, *douts]
        executor = self.executor = self._executor(given, douts)
        if out is None:
            return self._packed(executor(*given), arrays, {})
        targets, zeros = self._targets(out, arrays)
        read = [*arrays, *douts, *zeros.values()]
        return self._packed(computed_into(executor, given, targets, read), arrays, zeros)

    def quick(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        arrays: Sequence[Any],
        dout: Any,
    ) -> Quick | None:
        """Give what is done where the next call is like this one, which has just been made.

        What is not as usual is looked at closely each time: arguments that are no arrays yet, or
        are written into; several upstream gradients, or one that is of another dtype than its
        output; gradients of zeros.
        """
        passed = [x for x in (*args, *kwargs.values()) if isinstance(x, np.ndarray)]
        if self.overwrites or len(passed) != len(arrays) or not all(map(is_, passed, arrays)):
            return None
        is_one = self._result is OUTPUT
        if len(self._reached) < len(self._wrt or {}) or not (is_one or not self._reached):
            return None
        seed = _seed(dout, self._outputs[0]) if self._reached else None
        if dout is not None and seed is not dout:
            return None
        place = _places([] if seed is None else [seed])
        if place not in self._quick:
            fit = fitting(args, kwargs, self._used, self._constants, dout, seed)
            executor = self._executors[place]
            self._quick[place] = Quick(fit, executor, self._packing(), self.is_current)
        return self._quick[place]

    def _packing(self) -> Callable[..., Any]:
        """Write the function that gives what is returned, where that is an array and gradients."""
        if self._result is not OUTPUT:
            return lambda *results: self._packed(results, (), {})
        names = [f"r{k}" for k in range(1 + len(self._reached))]
        pairs = zip(self._reached, names[1:], strict=True)
        parts = "".join(f"{name!r}: {r}, " for name, r in pairs)
        returned = "r0" if self._wrt is None else f"(r0, {{{parts}}})"
        packed: Callable[..., Any] = eval(f"lambda {', '.join(names)}: {returned}")
        return packed

    # ------------------------------------------------------------------ parts of a call

    def _executor(self, given: Sequence[Any], douts: Sequence[Any]) -> Executor:
        """Give the executor for upstream gradients that lie so, which may be a new one."""
        places = _places(douts)
        executor = self._executors.get(places)
        if executor is None:
            executor = self._executors[places] = self._make(self.program, given)
        return executor

    def _packed(
        self, results: Sequence[Any], arrays: Sequence[Any], zeros: Mapping[str, Any]
    ) -> Any:
        """Give what is returned."""
        values = iter(results)
        result = folded(
            self._result, (next(values) if x is OUTPUT else _copied(x) for x in self._parts)
        )
        if self._wrt is None:
            return result
        gradients = dict(zip(self._reached, values, strict=True))
        for name, k in self._wrt.items():
            if name not in gradients:
                gradients[name] = _zeros(arrays[k], zeros.get(name))
        return result, {name: gradients[name] for name in self._wrt}

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
        if self._wrt is None:
            return [target(x, n.name, n) for x, n in self._with_outputs(out, "out")], {}
        if not (isinstance(out, tuple) and len(out) == 2 and isinstance(out[1], dict | None)):
            raise TypeError(
                "vjp: out is a pair, as what is returned: where the result is written to, and a "
                "dictionary of where gradients are; each may be None"
            )
        result, gradients = out[0], out[1] or {}
        if unknown := gradients.keys() - self._wrt.keys():
            known = ", ".join(self._wrt)
            raise ValueError(f"vjp: out names {min(unknown)!r}, but gradients are those by {known}")
        wanted = {
            name: target(gradients.get(name), f"d{name}", arrays[k])
            for name, k in self._wrt.items()
        }
        places = [None] * len(self._outputs)
        if result is not None:
            places = [target(x, n.name, n) for x, n in self._with_outputs(result, "out")]
        zeros = {name: x for name, x in wanted.items() if name not in self._reached}
        return [*places, *(wanted[name] for name in self._reached)], zeros


def _zeros(x: Any, place: Any) -> Any:
    """Give the gradient by what nothing is computed from."""
    if place is None:
        zeros = np.zeros(x.shape, x.dtype)
        return exactly(zeros) if x.dtype.hasobject else zeros[()]
    place[...] = 0
    return place


def _places(douts: Sequence[Any]) -> Any:
    """Say how upstream gradients lie: what executors differ in."""
    return tuple([(x.dtype.char, placement(x)) for x in douts])


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
                f"vjp: {out.name} of shape {out.shape} is no scalar and needs an upstream "
                "gradient: pass dout, an array of that shape"
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
