"""Sequencing: functions in C and NumPy's in turn, as one function in Python.

Between two products of matrices there is one function in C. What they hand on to each other lies in
memory that is kept; results are new arrays.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from tinygraph.engine import ops
from tinygraph.engine.arrays import computed
from tinygraph.execution.program import Program
from tinygraph.graph.evaluation import number
from tinygraph.graph.nodes import Node

__all__ = ["InC", "InNumPy", "Sequenced"]


class InC(Protocol):
    """A step that a function in C computes.

    Attributes
    ----------
    takes, gives : sequence of int
        Arguments and results, by the index of the node.
    fixed : mapping
        Arguments that are constants.
    """

    takes: Sequence[int]
    gives: Sequence[int]
    fixed: Mapping[int, Any]

    def call(self, arguments: Sequence[Any], results: Sequence[Any]) -> None:
        """Compute the results from the arguments that are not fixed."""


class InNumPy(NamedTuple):
    """A step that NumPy computes."""

    node: Node


class Sequenced:
    """A program as a sequence of steps.

    Parameters
    ----------
    program : Program
    steps : sequence of InC and InNumPy
    values : mapping
        What each step computed once, by the index of the node: results lie in memory as these do.

    Attributes
    ----------
    source : str
        The function that runs.
    nbytes : int
        How much memory is kept for a call.
    """

    def __init__(
        self, program: Program, steps: Sequence[InC | InNumPy], values: Mapping[int, Any]
    ) -> None:
        writer = _Writer(program, values)
        for step in steps:
            writer.add(step)
        self.source = writer.source()
        self._kept, self._new = writer.kept, writer.new
        self.nbytes = sum(np.empty(*layout).nbytes for layout in self._kept)
        scope = dict(writer.scope)
        exec(compile(self.source, "<sequence>", "exec"), scope)
        self._function: Callable[..., tuple[Any, ...]] = scope["sequence"]
        self._places: deque[Sequence[Any]] = deque()  # whose append and pop are atomic

    def __call__(self, arguments: Sequence[Any], targets: Sequence[Any] = ()) -> tuple[Any, ...]:
        """Compute the results, into `targets` where there is one and it is not None."""
        given = [
            None if layout is None else np.empty(*layout) if target is None else target
            for layout, target in zip(self._new, targets or self._none, strict=True)
        ]
        try:
            places = self._places.pop()
        except IndexError:
            places = [np.empty(*layout) for layout in self._kept]
        try:
            return self._function(places, given, *arguments)
        finally:
            self._places.append(places)

    @property
    def _none(self) -> list[None]:
        return [None] * len(self._new)


Shaped = tuple[tuple[int, ...], Any]


class _Writer:
    """Writes the function, a step a line.

    Attributes
    ----------
    kept, new : list
        Shape and dtype of what is handed on; and of each result, or None where no step writes
        into an array that it is given.
    """

    def __init__(self, program: Program, values: Mapping[int, Any]) -> None:
        self.program, self.values = program, values
        self.kept: list[Shaped] = []
        self.new: list[Shaped | None] = [None] * len(program.results)
        self.scope: dict[str, Any] = {"asarray": np.asarray, "matmul": np.matmul}
        self.lines: list[str] = []
        self.variables = {node.index: f"a{k}" for k, node in enumerate(program.arguments)}
        self.nodes = {node.index: node for node in program.nodes}
        self.places = {node.index: k for k, node in reversed([*enumerate(program.results)])}

    def add(self, step: InC | InNumPy) -> None:
        """Write a step."""
        if isinstance(step, InNumPy):
            self._add_numpy(step.node)
        else:
            self._add_c(step)

    def _add_c(self, step: InC) -> None:
        arguments = [self._array(index) for index in step.takes if index not in step.fixed]
        results = [self._target(index) for index in step.gives]
        called = self._beside("kernel", step.call)
        self.lines.append(f"{called}({_tuple(arguments)}, {_tuple(results)})")
        for index, variable in zip(step.gives, results, strict=True):
            self.variables[index] = variable
            if not self.nodes[index].shape:  # a number, whose place is written into again
                self.variables[index] = f"n{index}"
                self.lines.append(f"n{index} = {variable}[()]")

    def _add_numpy(self, node: Node) -> None:
        operands = [self._value(x.index) for x in node.inputs]
        value, op = self.values[node.index], node.op
        self.variables[node.index] = f"v{node.index}"
        if op is ops.matmul and type(value) is np.ndarray and value.flags.c_contiguous:
            call = f"matmul({', '.join([*operands, self._target(node.index)])})"
        else:
            is_plain = type(value) is np.ndarray and not value.dtype.hasobject
            forward = op.forward  # type: ignore[union-attr]
            function = forward if is_plain else _computing(forward)
            if node.params:
                operands.append(f"**{self._beside('params', dict(node.params))}")
            call = f"{self._beside(str(op), function)}({', '.join(operands)})"
        self.lines.append(f"v{node.index} = {call}")

    def _target(self, index: int) -> str:
        """Give where a value is written to: a result of its own, or what is kept."""
        node = self.nodes[index]
        layout = node.shape, np.empty(0, node.dtype).dtype
        if index in self.places:
            self.new[self.places[index]] = layout
            return f"r{self.places[index]}"
        self.kept.append(layout)
        return f"b{len(self.kept) - 1}"

    def _array(self, index: int) -> str:
        value = self._value(index)
        if not self.nodes[index].shape:
            return f"asarray({value})"
        made = self.values.get(index)
        is_views = made is not None and not made.flags.c_contiguous
        return f"{self._beside('lined_up', np.ascontiguousarray)}({value})" if is_views else value

    def _value(self, index: int) -> str:
        if index not in self.variables:  # a constant
            self.variables[index] = self._beside("c", number(self.nodes[index]))
        return self.variables[index]

    def _beside(self, name: str, value: Any) -> str:
        """Put something beside the function, under a name of its own."""
        given = f"{name if name.isidentifier() else 'op'}_{len(self.scope)}"
        self.scope[given] = value
        return given

    def source(self) -> str:
        """Write all of it."""
        targets = [f"r{k}" if new else "_" for k, new in enumerate(self.new)]
        places = [f"b{k}" for k in range(len(self.kept))]
        head = f"def sequence(places, targets, {', '.join(self._passed())}):"
        unpacked = [f"{_tuple(places)} = places"] if places else []
        unpacked.append(f"{_tuple(targets)} = targets")
        returned = [self._returned(k, node) for k, node in enumerate(self.program.results)]
        body = [*unpacked, *self.lines, f"return {_tuple(returned)}"]
        return "\n    ".join([head, *body]) + "\n"

    def _passed(self) -> list[str]:
        return [f"a{k}" for k in range(len(self.program.arguments))]

    def _returned(self, k: int, node: Node) -> str:
        """Give a result, copied where it was not written to a place of its own."""
        value = self._value(node.index)
        if self.new[k] is not None:
            return value
        self.scope["copied"] = _copied
        return f"copied({value})"


def _tuple(parts: Sequence[str]) -> str:
    return f"({''.join(f'{part}, ' for part in parts)})"


def _computing(forward: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *operands, **params: computed(forward(*operands, **params))


def _copied(value: Any) -> Any:
    return np.array(value)[()]
