"""One region as a step of a program: its function in C, and the arrays that it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from tinygraph.execution.c_source import Function
from tinygraph.execution.calling import Call, Layout
from tinygraph.execution.program import Unsupported
from tinygraph.execution.regions import Region
from tinygraph.graph.evaluation import number
from tinygraph.graph.nodes import Node

__all__ = ["RegionStep", "layout_of"]


def layout_of(node: Node) -> Layout:
    """Give the layout of a node; what was pickled has another dtype object that is equal."""
    return Layout(node.shape, np.dtype(node.dtype.char if node.dtype is not None else "d"))


class RegionStep:
    """One region: a function in C."""

    def __init__(self, kernel: Any, region: Region, written: Function) -> None:
        self.nbytes = written.nbytes
        nodes = [x.node for x in region.arguments if x.node is not None]
        self.names = [x.name or "an argument" for x in region.arguments]
        self.takes = [x.index for x in nodes]
        self.gives = [x.node.index for x in region.results]
        self.fixed = {
            x.index: np.array(number(x), layout_of(x).dtype, order="C")
            for x in nodes
            if x.role == "constant"
        }
        self.layouts = [*map(layout_of, nodes), *(layout_of(one.node) for one in region.results)]
        constants = [_double(x.params["value"]) for x in region.constants]
        lengths = [prod(x.length for x in loop) for loop in (region.rows, *region.columns) if loop]
        self._call = Call(kernel, self.layouts, constants, lengths, written.nbytes)

    def call(self, arguments: Sequence[Any], results: Sequence[Any]) -> None:
        """Compute the results from arrays that are as expected, or can be made so."""
        if self.fixed:
            arguments = [*arguments, *self.fixed.values()]
        if self._call((*arguments, *results)):
            if len(arguments) != len(self.names):
                raise TypeError(f"{len(self.takes)} arguments are taken, not {len(arguments)}")
            of = zip(arguments, self.layouts, self.names, strict=False)
            accepted = [_accepted(*one) for one in of]
            if bad := self._call((*accepted, *results)):
                raise ValueError(f"array {bad} of {len(self.layouts)} cannot be passed to C")

    def run(self, known: dict[int, Any], strictly: bool) -> None:
        """Compute the results from what is known, and note them there."""
        arguments = []
        for index, name in zip(self.takes, self.names, strict=True):
            if index not in self.fixed:
                array = np.asarray(known[index])
                if strictly and not array.flags.c_contiguous:
                    raise Unsupported(f"{name}, which NumPy computes, is not contiguous in C order")
                arguments.append(array if array.flags.c_contiguous else np.array(array, order="C"))
        results = [np.empty(*layout) for layout in self.layouts[len(self.takes) :]]
        self.call(arguments, results)
        known.update(zip(self.gives, [x if x.shape else x[()] for x in results], strict=True))


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
