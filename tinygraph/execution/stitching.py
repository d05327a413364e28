"""Stitching: functions of C and operations of NumPy's, one after the other, as one Python function.

Between products of matrices there is little to do in small nets, so that what Python does in
between counts. It is therefore written out, one line per call, with nothing to be looked up: a
program is run once, and what NumPy gives is looked at then. Where that does not lie in memory as C
reads it, a line copies it, and so it does where a result would share memory with another array.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from tinygraph.engine.arrays import computed
from tinygraph.execution.c_source import Function
from tinygraph.execution.calling import Call, Layout
from tinygraph.execution.program import Program, Unsupported
from tinygraph.execution.regions import Foreign, Region
from tinygraph.graph.evaluation import number
from tinygraph.graph.nodes import Node

__all__ = ["RegionCall", "Stitched", "layout_of"]


def layout_of(node: Node) -> Layout:
    """Give the layout of a node; what was pickled has another dtype object that is equal."""
    return Layout(node.shape, np.dtype(node.dtype.char if node.dtype is not None else "d"))


class RegionCall:
    """One region as a function in C.

    Attributes
    ----------
    takes, gives : list of int
        The nodes that are its arguments, but for arrays of the traced code, and its results.
    fixed : list of ndarrays
        The arrays of the traced code, which follow the arguments.
    layouts_of_results : list of Layouts
    call : Call
    """

    def __init__(self, kernel: Any, region: Region, written: Function) -> None:
        nodes = [x.node for x in region.arguments if x.node is not None]
        self._names = [x.name or "an argument" for x in region.arguments]
        fixed = [x for x in nodes if x.role == "constant"]
        self.takes = [x.index for x in nodes if x.role != "constant"]
        self.gives = [one.node.index for one in region.results]
        self.fixed = [np.array(number(x), layout_of(x).dtype, order="C") for x in fixed]
        self.layouts_of_results = [layout_of(one.node) for one in region.results]
        self._layouts = [*map(layout_of, nodes), *self.layouts_of_results]
        constants = [_double(x.params["value"]) for x in region.constants]
        lengths = [prod(x.length for x in loop) for loop in (region.rows, *region.columns) if loop]
        self.call = Call(kernel, self._layouts, constants, lengths, written.nbytes)

    def accept(self, arguments: Sequence[Any], results: Sequence[Any]) -> None:
        """Call it with arrays that are like those it was made for: of an equal dtype, or numbers.

        Raises
        ------
        ValueError
            If they are not.
        """
        count = len(self.takes) + len(self.fixed)
        of = zip(arguments, self._layouts[:count], self._names, strict=True)
        if bad := self.call((*[_accepted(*one) for one in of], *results)):
            raise ValueError(f"array {bad} of {len(self._layouts)} cannot be passed to C")


class Stitched:
    """The parts of a plan as one function.

    Parameters
    ----------
    program : Program
    parts : sequence of RegionCalls and Foreign operations
        In order.
    arrays : sequence of arrays
        Arguments to look at what NumPy gives for.
    strictly : bool
        Whether what C reads must lie in memory as it does for the engine, in whose order sums go.

    Raises
    ------
    Unsupported
        If it must, and does not.
    """

    def __init__(
        self,
        program: Program,
        parts: Sequence[RegionCall | Foreign],
        arrays: Sequence[Any],
        strictly: bool,
    ) -> None:
        self._program, self._parts = program, parts
        self.nbytes = sum(part.call.nbytes for part in parts if isinstance(part, RegionCall))
        self._odd = {x.index for x in program.arguments if not x.shape}
        self._shared: set[int] = set()
        if len(parts) > 1 or isinstance(parts[0], Foreign):
            self._look(arrays, strictly)
        self.run = self._function("")
        self.run_into = self._function("places, ")

    def _look(self, arrays: Sequence[Any], strictly: bool) -> None:
        """Run once, and see what is not as C reads it, and which results share memory."""
        every = {i for part in self._parts if isinstance(part, RegionCall) for i in part.takes}
        odd, self._odd = self._odd, every
        with np.errstate(all="ignore"):
            values = self._function("", ends="return locals()")(*arrays)
        self._odd = odd
        for index in every & {int(name[1:]) for name in values if name[0] == "v"}:
            value = values[f"v{index}"]
            if not (isinstance(value, np.ndarray) and value.flags.carray):
                self._odd.add(index)
                if strictly and value.ndim and not value.flags.c_contiguous:
                    raise Unsupported("what NumPy computes in it does not lie in memory in C order")
        met = list(arrays)
        for node in self._program.results:
            value = values.get(f"v{node.index}")
            if isinstance(value, np.ndarray):
                if any(np.may_share_memory(value, other) for other in met):
                    self._shared.add(node.index)
                met.append(value)

    def _function(self, places: str, ends: str = "") -> Callable[..., Any]:
        """Write the function; with `places`, C writes the results there."""
        scope: dict[str, Any] = {"empty": np.empty, "asarray": np.asarray, "computed": computed}
        known = {x.index: f"a{x.index}" for x in self._program.arguments}
        passed = ", ".join(known.values())
        wanted = {x.index: k for k, x in enumerate(self._program.results)} if places else {}
        lines = []
        for k, part in enumerate(self._parts):
            if isinstance(part, RegionCall):
                lines += self._region(k, part, known, wanted, scope)
            else:
                lines.append(self._foreign(part.node, known, scope))
        lines.append(ends or f"return {self._returned(known, scope)},")
        source = "\n    ".join([f"def run({places}{passed}):", *lines]) + "\n"
        exec(compile(source, "<kernel>", "exec"), scope)
        return scope["run"]  # type: ignore[no-any-return]

    def _region(
        self,
        k: int,
        part: RegionCall,
        known: dict[int, str],
        wanted: Mapping[int, int],
        scope: dict[str, Any],
    ) -> list[str]:
        fixed = {f"fixed_{k}_{i}": array for i, array in enumerate(part.fixed)}
        taken = [
            f"asarray({known[i]}, None, 'C')" if i in self._odd else known[i] for i in part.takes
        ]
        arguments = [*taken, *fixed]
        results, lines = [f"v{index}" for index in part.gives], []
        scope |= {f"call_{k}": part.call, f"accept_{k}": part.accept, **fixed}
        for name, index, layout in zip(results, part.gives, part.layouts_of_results, strict=True):
            scope[f"shape_{index}"], scope[f"dtype_{index}"] = layout
            new = f"empty(shape_{index}, dtype_{index})"
            lines.append(
                f"{name} = places[{wanted[index]}]" if index in wanted else f"{name} = {new}"
            )
        both = ", ".join([*arguments, *results])
        inside = ", ".join(arguments) + "," * bool(arguments)
        accept = f"accept_{k}(({inside}), ({', '.join(results)},))"
        lines.append(f"if call_{k}(({both},)): {accept}")
        numbers = [n for n, x in zip(results, part.layouts_of_results, strict=True) if not x.shape]
        lines += [f"{name} = {name}[()]" for name in numbers]
        known.update(zip(part.gives, results, strict=True))
        return lines

    def _foreign(self, node: Node, known: dict[int, str], scope: dict[str, Any]) -> str:
        op = node.op
        operands = [self._operand(x, known, scope) for x in node.inputs]
        scope[f"forward_{node.index}"] = op.forward  # type: ignore[union-attr]
        if node.params:
            scope[f"params_{node.index}"] = dict(node.params)
            operands.append(f"**params_{node.index}")
        known[node.index] = name = f"v{node.index}"
        return f"{name} = computed(forward_{node.index}({', '.join(operands)}))"

    def _operand(self, node: Node, known: Mapping[int, str], scope: dict[str, Any]) -> str:
        if node.index in known:
            return known[node.index]
        scope[f"c{node.index}"] = number(node)
        return f"c{node.index}"

    def _returned(self, known: Mapping[int, str], scope: dict[str, Any]) -> str:
        """Write what is returned: arrays that nobody else has."""
        given: Collection[str] = {f"a{x.index}" for x in self._program.arguments}
        texts: list[str] = []
        for node in self._program.results:
            name = known.get(node.index)
            if name is None:
                name = f"c{node.index}"
                scope[name] = np.asarray(number(node), node.dtype)[()]
            is_own = name in known.values() and name not in given and name not in texts
            is_free = is_own and node.index not in self._shared
            texts.append(name if is_free or not node.shape else f"{name}.copy()")
        return ", ".join(texts)


def _double(value: Any) -> float:
    """Give a number of the program as C is given it.

    Raises
    ------
    Unsupported
        If it is no double: a whole number too large, or one with an imaginary part.
    """
    number = float(value) if np.isrealobj(value) else math.nan
    if number != value and value == value:
        raise Unsupported(f"the number {value} in it is no double")
    return number


def _accepted(array: Any, layout: Layout, name: str) -> Any:
    """Give an array that C takes for one that is like it: a number, or of an equal dtype.

    Raises
    ------
    ValueError
        If there is none.
    """
    array = np.asarray(array)
    if (array.shape, array.dtype) != layout or not array.flags.c_contiguous:
        raise ValueError(
            f"{name} has shape {array.shape} and dtype {array.dtype}, but this was made for a "
            f"contiguous array of shape {layout.shape} and dtype {layout.dtype}"
        )
    accepted = np.empty(*layout)
    accepted[...] = array
    return accepted
