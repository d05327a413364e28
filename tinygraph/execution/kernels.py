"""`Kernel`: a program in C, which is called as every executor is.

What C does not do, NumPy does between two of its functions: products of matrices above all. In
**strict** code these are also the functions that C's library rounds otherwise than NumPy, as exp.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from tinygraph.engine.arrays import computed
from tinygraph.execution.c_expressions import is_written
from tinygraph.execution.c_source import HEAD, Function, function
from tinygraph.execution.calling import Call, Layout
from tinygraph.execution.compilation import FLAGS, loaded
from tinygraph.execution.plan import Plan
from tinygraph.execution.program import Program, Unsupported
from tinygraph.execution.regions import Foreign, Region
from tinygraph.execution.sequencing import InNumPy, Sequenced
from tinygraph.graph.evaluation import number
from tinygraph.graph.nodes import Node

__all__ = ["Kernel"]


class Kernel:
    """A program compiled to C, for arrays of one layout.

    Parameters
    ----------
    program : Program
    arrays : sequence of arrays
        One for each argument; what is called later has their shapes and dtypes.
    mode : str
        ``strict``: the bits of NumPy; or ``fast``: fewer sweeps, sums in another order, and exp,
        log and tanh of its own, within `tinygraph.execution.c_functions.BOUNDS`.

    Attributes
    ----------
    source : str
        The C text, the same for all lengths.
    executor : str
        The mode.
    plan : Plan

    Raises
    ------
    Unsupported
        If there is no compiler; if nothing of the program is compiled; if an array is not
        contiguous, or its dtype is not compiled; or if an axis is empty.

    Notes
    -----
    What C computes gives no warnings of NumPy's, whatever `numpy.errstate` says.

    Examples
    --------
    >>> import tinygraph
    >>> from tinygraph.execution.program import Program
    >>> x, w = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([10.0, 100.0])
    >>> program = Program.of(tinygraph.Graph.joint(tinygraph.trace(lambda x, w: x * w)(x, w)))
    >>> try:
    ...     out, dx, dw = Kernel(program, [x, w, x], "strict")(x, w, x)
    ... except Unsupported:  # there is no compiler
    ...     out, dx, dw = x * w, x * w, np.sum(x * x, axis=0)
    >>> out, dx, dw
    (array([[ 10., 200.],
           [ 30., 400.]]), array([[ 10., 200.],
           [ 30., 400.]]), array([10., 20.]))
    """

    def __init__(self, program: Program, arrays: Sequence[Any], mode: str) -> None:
        if mode not in FLAGS:
            raise ValueError(f"mode is {mode!r}, but must be one of {', '.join(FLAGS)}")
        self.executor, self._program = mode, program
        fast = mode == "fast"
        self.plan = Plan.of(program, fast=fast, is_inside=lambda node: is_written(node, fast))
        regions = [part for part in self.plan.parts if isinstance(part, Region)]
        if not any(region.sweeps or region.after for region in regions):
            raise Unsupported("there is nothing in it that is compiled")
        given = {x.index: array for x, array in zip(program.arguments, arrays, strict=True)}
        for region in regions:
            _check(region, given)
        names = ["kernel", *(f"kernel_{k}" for k in range(2, len(regions) + 1))]
        written = [
            function(region, fast=fast, name=name)
            for region, name in zip(regions, names, strict=False)
        ]
        self.source = _source(written)
        functions = loaded(self.source, mode=mode, symbols=names[: len(regions)])
        steps = iter([_RegionStep(*of) for of in zip(functions, regions, written, strict=True)])
        self._steps: list[_Step] = [
            InNumPy(part.node) if isinstance(part, Foreign) else next(steps)
            for part in self.plan.parts
        ]
        self._wanted = [Layout(x.shape, _dtype(x)) for x in program.results]
        self._alone = self._one_function()
        self._sequence: Sequenced | None = None
        if self._alone is None:
            with np.errstate(all="ignore"):  # to see how what NumPy gives lies in memory
                values = self._seen(arrays, strictly=not fast)
            self._sequence = Sequenced(program, self._steps, values)

    @property
    def nbytes(self) -> int:
        """How much memory a call holds beside its results."""
        kept = self._sequence.nbytes if self._sequence is not None else 0
        return kept + sum(step.nbytes for step in self._steps if isinstance(step, _RegionStep))

    def _one_function(self) -> _RegionStep | None:
        """Give the only step, if the results are what it gives, each for itself."""
        (step, *more) = self._steps
        wanted = [x.index for x in self._program.results]
        is_alone = not more and isinstance(step, _RegionStep) and wanted == step.gives
        return step if is_alone and isinstance(step, _RegionStep) else None

    def __call__(self, *arguments: Any, out: Sequence[Any] | None = None) -> tuple[Any, ...]:
        """Compute the results. Any number of threads may do so at a time.

        Parameters
        ----------
        *arguments : arrays
            Of the layouts that this was made for.
        out : sequence of arrays or None, optional
            What to write the results into; None where an array is to be new.

        Returns
        -------
        tuple of arrays
            And NumPy scalars, where there are no axes.

        Raises
        ------
        ValueError
            If an array has another shape or dtype, or is not contiguous.
        """
        if self._alone is None:
            results = list(self._sequence(arguments))  # type: ignore[misc]
        elif out is None:
            results = [np.empty(shape, dtype) for shape, dtype in self._wanted]
            self._alone.call(arguments, results)
        else:
            results = self._placed(arguments, out)
            self._alone.call(arguments, results)
        if out is not None:
            results = [_copied(*of) for of in zip(results, out, self._wanted, strict=True)]
        return tuple([x if x.shape else x[()] for x in results])

    def _placed(self, arguments: Sequence[Any], out: Sequence[Any]) -> list[Any]:
        """Give where C writes: the arrays that are given, if they are free for it."""
        places: list[Any] = []
        for given, (shape, dtype) in zip(out, self._wanted, strict=True):
            is_free = (
                type(given) is np.ndarray
                and (given.shape, given.dtype) == (shape, dtype)
                and given.flags.carray
                and not any(np.may_share_memory(given, x) for x in (*arguments, *places))
            )
            places.append(given if is_free else np.empty(shape, dtype))
        return places

    def again(self, kept: Sequence[Any], *arguments: Any) -> tuple[Any, ...]:
        """Compute into results of an earlier call that nobody holds any more; None where new."""
        if self._sequence is not None:
            return self._sequence(arguments, kept)
        places = [
            np.empty(shape, dtype) if x is None else x
            for x, (shape, dtype) in zip(kept, self._wanted, strict=True)
        ]
        self._alone.call(arguments, places)  # type: ignore[union-attr]
        return tuple([x if x.shape else x[()] for x in places])

    def _seen(self, arguments: Sequence[Any], strictly: bool) -> dict[int, Any]:
        """Run one step after the other, and give all that is computed, by the index of the node."""
        known = {x.index: a for x, a in zip(self._program.arguments, arguments, strict=True)}
        for step in self._steps:
            if isinstance(step, _RegionStep):
                step.run(known, strictly)
            else:
                operands = [
                    known[x.index] if x.index in known else number(x) for x in step.node.inputs
                ]
                forward = step.node.op.forward  # type: ignore[union-attr]
                known[step.node.index] = computed(forward(*operands, **step.node.params))
        return known


def _check(region: Region, given: Mapping[int, Any]) -> None:
    """Refuse arrays that C does not read, and lengths of which it would make nothing."""
    if empty := [label for label in region.labels if label.length == 0]:
        raise Unsupported(f"axis {empty[0].name} is empty")
    for x in region.arguments:
        array = given.get(x.node.index) if x.node is not None else None
        if array is None or not np.ndim(array):
            continue
        if type(array) is not np.ndarray or not (array.flags.c_contiguous and array.flags.aligned):
            raise Unsupported(f"{x.name or 'an argument'} is no contiguous array in C order")


def _source(written: Sequence[Function]) -> str:
    """Put the functions and what they call together."""
    helpers = dict.fromkeys(text for one in written for text in one.helpers)
    return "\n".join([HEAD, *helpers, *(one.text for one in written)])


def _dtype(node: Node) -> np.dtype[Any]:
    """Give the dtype object that arrays have; what was pickled has another that is equal."""
    return np.dtype(node.dtype.char if node.dtype is not None else "d")


# --------------------------------------------------------------------------- steps


class _RegionStep:
    """One region: a function in C."""

    def __init__(self, kernel: Any, region: Region, written: Function) -> None:
        self.nbytes = written.nbytes
        nodes = [x.node for x in region.arguments if x.node is not None]
        self.names = [x.name or "an argument" for x in region.arguments]
        self.takes = [x.index for x in nodes]
        self.gives = [x.node.index for x in region.results]
        self.fixed = {
            x.index: np.array(number(x), _dtype(x), order="C")
            for x in nodes
            if x.role == "constant"
        }
        self.layouts = [
            Layout(x.shape, _dtype(x)) for x in (*nodes, *(one.node for one in region.results))
        ]
        constants = [_double(x.params["value"]) for x in region.constants]
        lengths = [prod(x.length for x in loop) for loop in (region.rows, *region.columns) if loop]
        self._call = Call(kernel, self.layouts, constants, lengths, written.nbytes)

    def call(self, arguments: Sequence[Any], results: Sequence[Any]) -> None:
        """Compute the results from arrays that are as expected, or can be made so."""
        if self.fixed:
            arguments = [*arguments, *self.fixed.values()]
        if self._call((*arguments, *results)):
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


_Step = _RegionStep | InNumPy


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


def _copied(result: Any, given: Any, layout: Layout) -> Any:
    """Give a result in the array that was given for it."""
    if given is None or given is result:
        return result
    if not isinstance(given, np.ndarray) or (given.shape, given.dtype) != layout:
        raise ValueError(f"out must be an array of shape {layout.shape} and dtype {layout.dtype}")
    given[...] = result
    return given
