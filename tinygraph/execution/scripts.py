"""Scripts: a program as the text of a Python function that calls NumPy.

Each line computes a node, by the call and into the memory that are found for it
(`tinygraph.execution.calls`, `tinygraph.execution.memory`). The function is given arrays for its
temporaries, `places`, and for its results, `targets`, where None stands for a new one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from itertools import groupby
from typing import Any

import numpy as np

from tinygraph.engine.arrays import computed
from tinygraph.execution.calls import Call, is_our_own, writing_call
from tinygraph.execution.memory import Memory, Slot
from tinygraph.execution.program import Program
from tinygraph.graph.evaluation import number
from tinygraph.graph.nodes import NOTHING, Node
from tinygraph.writing.numpy_expressions import Names

__all__ = ["Script"]

LARGE = 2**14
"""Bytes of a result from which its memory serves temporaries first; a smaller one is made late."""

WHOLE = {"e": 2**11, "f": 2**24, "d": 2**53, "g": 2**53}
"""Up to where every whole number is a float, by the letter of its dtype."""


class Script:
    """The function that a replay runs, as text: one call a line.

    Parameters
    ----------
    program : Program
    values : mapping
        The value of each node as it was seen once, by index.
    errstates : mapping
        What is said to `numpy.errstate` where a node is computed.

    Attributes
    ----------
    memory : Memory
    scope : dict
        What stands beside the function.
    targets : list of Slots or None
        By result: the layout of an array that it is computed into if one is given.
    large : list of pairs
        The results, by number, that are computed into a new array that serves others before.
    """

    def __init__(
        self,
        program: Program,
        values: Mapping[int, Any],
        errstates: Mapping[int, Mapping[str, str]],
    ) -> None:
        self.program, self.values, self.errstates = program, values, errstates
        self.memory = Memory(program.nodes, program.results, values)
        self.names = Names(["replay", "places", "targets", "np"])
        self.scope: dict[str, Any] = {"np": np}
        self.beside: dict[Any, str] = {}
        self.prelude: list[str] = []
        self.places: dict[int, str] = {}
        self.large: list[tuple[int, Slot]] = []
        self.variables = {
            node.index: self.names.give(program.names[node.index])
            for node in program.nodes
            if node.role != "constant" and node.index in program.names
        }
        self.calls = {node.index: writing_call(node, values[node.index]) for node in program.nodes}
        self.targets: list[Slot | None] = []
        self.target_of: dict[int, str] = {}
        for k, node in enumerate(program.results):
            self.targets.append(self._target(k, node))
        self.bare = self._unspread()

    def _target(self, k: int, node: Node) -> Slot | None:
        """Give the layout of a result that can be computed into an array, once."""
        call, value = self.calls[node.index], self.values[node.index]
        if call is None or not value.ndim or node.index in self.target_of:
            return None
        name, slot = self.names.give(f"r{k + 1}"), Slot.of(value)
        self.target_of[node.index] = name
        if slot.nbytes >= LARGE:
            place = self.memory.offer(node, slot, over=call.is_exact(value.dtype))
            self.places[place] = name
            self.large.append((k, slot))
        return slot

    @property
    def kept(self) -> list[Slot]:
        """The layouts of what is kept from one call to the next."""
        memory = self.memory
        return [slot for k, slot in enumerate(memory.slots) if k not in memory.offered]

    def source(self) -> str:
        """Write what is executed."""
        passed = [self._variable(node) for node in self.program.arguments]
        lines = [
            line
            for said, nodes in groupby(self.program.nodes, self._errstate)
            for line in self._block(said, nodes)
        ]
        returned = ", ".join(self._returned())
        targets = [
            self.target_of[node.index] if slot else "_"
            for node, slot in zip(self.program.results, self.targets, strict=True)
        ]
        kept = [name for k, name in self.places.items() if k not in self.memory.offered]
        head = f"def replay({', '.join(['places', 'targets', *passed])}):"
        body = [f"{', '.join(kept)}, = places"] if kept else []
        body += [f"{', '.join(targets)}, = targets"] if any(self.targets) else []
        body += [*lines, f"return {returned}," if returned else "return ()"]
        return "\n".join([*self.prelude, "", "\n    ".join([head, *body]), ""])

    # ------------------------------------------------------------------ what is spread

    def _unspread(self) -> set[int]:
        """Find what is spread only to be read by arithmetic, which spreads it by itself."""
        readers = defaultdict[int, list[Node]](list)
        for node in self.program.nodes:
            for x in node.inputs:
                readers[x.index].append(node)
        bare = set()
        for node in self.program.nodes:
            is_spread = node.op is not None and node.op.name == "spread"
            by = readers[node.index]
            if (
                is_spread
                and by
                and not self.memory.is_returned(node)
                and all(map(self._spreads, by))
            ):
                bare.add(node.index)
        for node in self.program.nodes:
            if node.index in bare:
                self.memory.join(node, node.inputs[0])
        return bare

    def _spreads(self, reader: Node) -> bool:
        """Whether a node spreads its operands by itself, into memory of the layout that was seen.

        A new array is laid out as those operands are that have its shape: there must be one.
        """
        call, value = self.calls[reader.index], self.values[reader.index]
        if call is None or not call.spreads(value.dtype):
            return False
        if not self.memory.is_returned(reader):
            return True
        full = [x for x in reader.inputs if x.shape == value.shape and str(x.op) != "spread"]
        laid_out = [value, *(self.values[x.index] for x in full)]
        return bool(full) and all(x.flags.c_contiguous for x in laid_out)

    def _line_of_bare(self, node: Node) -> list[str]:
        """Give what is not spread the axes that broadcasting does not put in front by itself."""
        x, axis = node.inputs[0], node.params["axis"]
        variable, ndim = self._variable(x), len(node.params["shape"])
        if x.shape and len(x.shape) < ndim and axis != tuple(range(len(axis))):
            key = ", ".join("None" if k in axis else ":" for k in range(ndim))
            return [f"{self._variable(node)} = {variable}[{key}]"]
        if node.index in self.variables:
            return [f"{self._variable(node)} = {variable}"]
        self.variables[node.index] = variable
        return []

    # ------------------------------------------------------------------ lines

    def _errstate(self, node: Node) -> str:
        """Write what is said to `numpy.errstate` where a node is computed."""
        said = self.errstates.get(node.index, NOTHING)
        return ", ".join(f"{kind}={what!r}" for kind, what in said.items())

    def _block(self, said: str, nodes: Iterable[Node]) -> list[str]:
        lines = [line for node in nodes for line in self._lines(node)]
        if said and lines:
            return [f"with np.errstate({said}):", *(f"    {line}" for line in lines)]
        return lines

    def _lines(self, node: Node) -> list[str]:
        if node.op is None:
            return []
        if node.index in self.bare:
            return self._line_of_bare(node)
        call = self.calls[node.index]
        text = self._general(node) if call is None else self._writing(node, call)
        self.memory.release(node)
        return [f"{self._variable(node)} = {text}"]

    def _writing(self, node: Node, call: Call) -> str:
        value = self.values[node.index]
        dtypes = {self.values[x.index].dtype for x in node.inputs if x.dtype is not None}
        dtype = dtypes.pop() if len(dtypes) == 1 else None
        operands = [self._operand(x, dtype) for x in call.operands]
        out = self.target_of.get(node.index, "None")
        if value.ndim and (not self.memory.is_returned(node) or self.memory.has_own(node)):
            slot = Slot.of(value)
            if call.is_exact(value.dtype):
                self.memory.release(node, slot)
            out = self._place(self.memory.take(node, slot))
        rest = call.rest.format(out=out).removesuffix("None").removesuffix("out=")
        arguments = ", ".join([*operands, rest] if rest else operands).removesuffix(", None, ")
        return f"{self._function(call.name, call.function)}({arguments})"

    def _general(self, node: Node) -> str:
        """Call what the engine calls, with the parameters by name."""
        given = [self._operand(x, None) for x in node.inputs]
        given += [f"{name}={self._parameter(x)}" for name, x in node.params.items()]
        op: Any = node.op
        value = self.values[node.index]
        is_seen = type(value) is np.ndarray and not value.dtype.hasobject
        function = op.forward
        if not (is_our_own(node) and (is_seen or isinstance(value, np.generic))):
            function = _computing(op.forward)
        return f"{self._function(str(op), function)}({', '.join(given)})"

    def _returned(self) -> Iterator[str]:
        """Give the results, copied where others hold their memory, or an entry is there twice."""
        nodes = self.program.nodes
        others = {self.memory.group(node) for node in nodes if node.op is None}
        for node in self.program.results:
            value, variable = self.values[node.index], self._variable(node)
            if isinstance(value, np.ndarray):
                group = self.memory.group(node)
                if group in others or 0 in value.strides or not value.flags.writeable:
                    variable = f"{variable}.copy(order='K')"
                others.add(group)
            yield variable

    # ------------------------------------------------------------------ words

    def _variable(self, node: Node) -> str:
        """Give the variable that holds a node."""
        if node.index not in self.variables:
            self.variables[node.index] = self.names.number("t")
        return self.variables[node.index]

    def _place(self, k: int) -> str:
        if k not in self.places:
            self.places[k] = self.names.number("b")
        return self.places[k]

    def _operand(self, x: Any, dtype: np.dtype[Any] | None) -> str:
        """Write an operand; a number of Python's as one of the dtype that it would take."""
        is_node = isinstance(x, Node)
        if is_node and x.role != "constant":
            return self._variable(x)
        value = number(x) if is_node else x
        name = str((is_node and x.name) or "c")
        if type(value) not in (int, float) or not math.isfinite(value):
            return self._aside(id(value), name, value, None)
        if dtype is None or not _is_of(value, dtype):
            return repr(value)
        text = f"np.array({value!r}, np.{dtype.name})"
        return self._aside(text, name, np.array(value, dtype), text)

    def _parameter(self, x: Any) -> str:
        """Write a parameter, or put it beside the function under a name."""
        parts = x if isinstance(x, tuple) else (x,)
        if all(part is None or type(part) in (int, bool) for part in parts):
            return repr(x)
        return self._aside(id(x), "p", x, None)

    def _function(self, name: str, function: Any) -> str:
        ufunc = getattr(function, "__self__", function)
        is_numpys = isinstance(ufunc, np.ufunc) and getattr(np, ufunc.__name__, None) is ufunc
        text = f"np.{ufunc.__name__}" + (".reduce" if ufunc is not function else "")
        return self._aside(function, name, function, text if is_numpys else None)

    def _aside(self, key: Any, name: str, value: Any, text: str | None) -> str:
        """Give the name of what stands beside the function, and its line before it."""
        if key not in self.beside:
            given = self.beside[key] = self.names.give(name)
            self.scope[given] = value
            self.prelude.append(f"{given} = {text}" if text else f"# {given}: {_said(value)!r}")
        return self.beside[key]


def _said(value: Any) -> str:
    """Say what stands beside the function; NumPy takes long to write an array."""
    name = getattr(value, "__qualname__", None)
    return name if name is not None else f"{type(value).__name__} {value!r}"


def _computing(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Let a result be an array or a scalar, exact where arithmetic is exact."""

    @wraps(forward)
    def function(*operands: Any, **params: Any) -> Any:
        return computed(forward(*operands, **params))

    return function


def _is_of(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether a number of Python's becomes the same one of a dtype by whatever road."""
    if dtype.kind != "f":
        return False
    if isinstance(value, int):
        return abs(value) <= WHOLE[dtype.char]
    return abs(value) <= float(np.finfo(dtype).max)
