"""Runs: what one call of a training step has computed, and how its gradients are had from that.

The result of a step is a Tensor whose operands are the parameters, so that ``loss.backward()``,
`grad`, and whatever else is done with a Tensor are the engine's own. What it was computed by is an
operation of its own kind: its value comes from one program, and its rules run another on what the
first has kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from tinygraph.engine.operators import Operand
from tinygraph.engine.primitive import Primitive
from tinygraph.engine.tensor import Tensor
from tinygraph.execution.program import Executor, Make, Program

__all__ = ["Backward", "Forward", "Place", "Run", "operation"]

Place = tuple[bool, int]
"""Where a value is: whether among the results, or among what was there before; and which it is."""


class Forward:
    """The forward pass of a step, which writes again into what it kept for a run that is over.

    Parameters
    ----------
    executor : Executor
    taken : sequence of int
        Which of the values of a run its arguments are.
    lent : collection of int
        Which of its results others get to see, and may hold when the run is over.

    Attributes
    ----------
    kept : deque
        Results of runs that are over. Its append and pop are atomic; what would be too much of it
        is dropped.
    """

    def __init__(self, executor: Executor, taken: Sequence[int], lent: Collection[int]) -> None:
        self.executor, self.taken, self.lent = executor, taken, lent
        self.kept: deque[list[Any]] = deque(maxlen=1)  # a loop holds one loss and makes another

    def __call__(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """Compute the results."""
        arguments = [values[k] for k in self.taken]
        try:
            kept = self.kept.pop()
        except IndexError:
            kept = None
        run = self.executor if kept is None else partial(self.executor.again, kept)
        results: tuple[Any, ...] = run(*arguments)
        return results

    def keep(self, results: Sequence[Any]) -> None:
        """Take back what nobody else holds."""
        self.kept.append(
            [
                x if isinstance(x, np.ndarray) and x.ndim and k not in self.lent else None
                for k, x in enumerate(results)
            ]
        )


class Run:
    """One call of a step, and what its forward pass kept.

    Parameters
    ----------
    forward : Forward
    values : list
        What is there before: arguments, what the function brings itself, constants; and, when it
        has run, the data of the operands.

    Attributes
    ----------
    values : list
    results : tuple
        What the program returned.
    """

    __slots__ = ("_data", "_forward", "_gradients", "_seed", "results", "values")

    def __init__(self, forward: Forward, values: list[Any]) -> None:
        self._forward, self.values = forward, values
        self._data: tuple[Any, ...] | None = None
        self._seed: Any = None
        self._gradients: Sequence[Any] = ()

    def __del__(self) -> None:
        if self._data is not None:
            self._forward.keep(self.results)

    def output(self, k: int, *data: Any) -> Any:
        """Give result `k`, computed at the first time; at others the data must be the same."""
        if self._data is None:
            self._compute(data)
        elif any(a is not b for a, b in zip(data, self._data, strict=True)):
            raise ValueError(
                "step: what a compiled function has returned cannot be computed again from other "
                "data; call the function again"
            )
        return self.results[k]

    def _compute(self, data: tuple[Any, ...]) -> None:
        self.values += data
        self.results = self._forward(self.values)
        self._data = data

    def finish(self, operands: Sequence[Tensor]) -> None:
        """Compute what no result was asked for."""
        if self._data is None:
            self._compute(tuple([x._data for x in operands]))

    def copy(self, place: Place, operands: Sequence[Tensor]) -> Any:
        """Give a value to somebody who may change it."""
        self.finish(operands)
        (value,) = self.at([place])
        return np.array(value)[()]

    def at(self, places: Iterable[Place]) -> list[Any]:
        """Give values."""
        return [(self.results if r else self.values)[k] for r, k in places]

    def gradient(self, position: int, backward: Backward, g: Any) -> Any:
        """Give the gradient by one operand, of all that one run of the program gives."""
        if isinstance(g, Operand):
            raise ValueError(
                "step: the backward pass of a compiled function is computed and not recorded, so "
                "that it cannot be drawn or differentiated again; use the function itself for that"
            )
        if self._seed is None or self._seed[0] is not backward or self._seed[1] is not g:
            self._gradients = backward(self, g)
            self._seed = backward, g
        gradient = self._gradients[position]
        if position == len(self._gradients) - 1:
            self._seed, self._gradients = None, ()
        return gradient


class Backward:
    """The backward pass from one output, which finds in a run what it reads.

    Parameters
    ----------
    program : Program
    places : sequence of Place
        Of its arguments, the last of which is the gradient that arrives.
    operands : sequence of int
        Which operands the gradients belong to that it gives.
    make : callable
        See `tinygraph.execution.program.Make`.
    """

    def __init__(
        self, program: Program, places: Sequence[Place], operands: Sequence[int], make: Make
    ) -> None:
        self._program, self._places, self._make = program, places, make
        self.operands = operands
        self._executors: dict[Any, Executor] = {}

    def __call__(self, run: Run, g: Any) -> tuple[Any, ...]:
        """Compute the gradients by the operands from the one that arrives."""
        g = g if g.ndim or g.dtype.hasobject else g[()]
        arrays = run.at(self._places)
        layout = g.dtype, g.strides
        if layout not in self._executors:
            self._executors[layout] = self._make(self._program, [*arrays, g])
        gradients: tuple[Any, ...] = self._executors[layout](*arrays, g)
        return gradients


class _Result(Primitive):
    """The operation that a result was computed by: no row of the table, where it means nothing."""

    __slots__ = ()

    def _list(self) -> None:
        """Stay out of it."""

    def __reduce__(self) -> Any:
        raise TypeError(
            "what a compiled function has returned cannot be copied or pickled together with what "
            "it was computed from; take its .detach()"
        )


def operation(k: int, operands: int, backward: Backward | None) -> Primitive:
    """Make the operation of result `k`, with a rule for each operand that has a gradient."""
    rules: list[Any] = [None] * operands
    if backward is not None:
        for position, at in enumerate(backward.operands):
            rules[at] = partial(_gradient, position, backward)
    return _Result("step", "step", partial(_output, k), *rules, elementwise=False)


def _output(k: int, *data: Any, run: Run) -> Any:
    return run.output(k, *data)


def _gradient(position: int, backward: Backward, g: Any, out: Any, *data: Any, run: Run) -> Any:
    return run.gradient(position, backward, g)
