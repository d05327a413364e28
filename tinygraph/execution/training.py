"""The training step: a loss that is replayed, and whose gradients find the parameters.

A loss depends on more than its arguments: on parameters, which move from step to step, on running
statistics, on what dropout draws. A `Step` is one form of such a function: a program for the
forward pass, whose inputs are all of these, and one for the backward pass, whose inputs are what
the forward pass kept for it.

It stands for the function as long as nothing is replaced that the function was seen to read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import RLock
from typing import Any, NamedTuple

import numpy as np

from tinygraph.engine.autodiff import is_discrete, reachable
from tinygraph.engine.effects import Act
from tinygraph.engine.recording import current, entered
from tinygraph.engine.tensor import Tensor, peek
from tinygraph.execution.cutting import cut
from tinygraph.execution.environment import Environment
from tinygraph.execution.layouts import fitting, key_of, remember
from tinygraph.execution.merging import merged
from tinygraph.execution.program import Make, Program
from tinygraph.execution.recordings import Recording, folded, is_traced, unfolded
from tinygraph.execution.refusals import check_premises, check_repeats
from tinygraph.execution.runs import Backward, Forward, Place, Run, operation
from tinygraph.execution.targets import check_apart
from tinygraph.graph.nodes import Node
from tinygraph.graph.snapshot import Graph

__all__ = ["Step", "Steps"]


class Outdated(Exception):
    """State has another layout than it had when the function was recorded."""


class _Doing(NamedTuple):
    """What is done with values: a check, or the replacement of state."""

    call: Callable[..., Any]
    places: Sequence[Place]


class _Plan:
    """What of a recording is computed, and where each value is found.

    Attributes
    ----------
    program : Program
        The forward pass, with all that is kept among its results.
    taken : list of int
        Which of the values of a run its arguments are.
    held : list
        These values, as they were recorded: of array arguments, of what the function brings
        itself, `constants`, and of `operands`.
    before, after : list of _Doing
        What can be done before it runs, as a check of labels should, and the rest.
    lent : set of int
        Which results others get to see.
    errstates : dict
        What the function said to `numpy.errstate`, by the index of the node.
    gives : list of callables
        Each part of the result, ``give(run, arrays, operands)``.
    """

    def __init__(self, recording: Recording, make: Make, *, backward: bool) -> None:
        graph = Graph.capture(recording.ends)
        check_premises(graph)
        effects = recording.effects
        every = [*effects.checks, *effects.acts]
        plain = [x for act in every for x in act.values if not isinstance(x, Tensor)]
        self._recording, self._make, self._backward = recording, make, backward
        self.operands = [*recording.parameters, *recording.tensors]
        self.constants = [*map(peek, recording.constants), *plain]
        leaves = [*recording.arrays, *recording.brought, *recording.constants]
        self.held = [*map(peek, leaves), *plain, *map(peek, self.operands)]
        self._own = len(self.held) - len(self.operands)
        self._slots = {x.index: k for k, x in enumerate(leaves)}
        self._slots |= {x.index: k for k, x in enumerate(self.operands, self._own)}
        self._plain = {id(x): k for k, x in enumerate(plain, len(leaves))}
        self._nodes = {x.index: n for x, n in zip(recording.nodes, _live(graph), strict=True)}
        said = recording.errstates
        self.errstates = {n.index: said[k] for k, n in self._nodes.items() if k in said}
        self._results: dict[int, int] = {}  # positions by the index of the tensor
        self.lent: set[int] = set()
        self._tensors = recording.results()
        self.gives = [self._giver(x) for x in unfolded(recording.result)]
        checks, acts = ([*map(self._doing, some)] for some in (effects.checks, effects.acts))
        self.before = [one for one in checks if self._is_early(one)]
        self.after = [*(one for one in checks if not self._is_early(one)), *acts]
        self._write(graph)

    def _doing(self, act: Act) -> _Doing:
        return _Doing(act.call, [*map(self._shown, act.values)])

    def _shown(self, x: Any) -> Place:
        """Say where a value is that others get to see."""
        is_result, k = self._place(x)
        if is_result:
            self.lent.add(k)
        return is_result, k

    def _place(self, x: Any) -> Place:
        """Say where a value is; what is computed becomes a result."""
        if not isinstance(x, Tensor):
            return False, self._plain[id(x)]
        index = x.index
        if index in self._slots:
            return False, self._slots[index]
        return True, self._results.setdefault(index, len(self._results))

    def _is_early(self, doing: _Doing) -> bool:
        return all(not is_result and k < self._own for is_result, k in doing.places)

    def _write(self, graph: Graph) -> None:
        """Write the program of the forward pass."""
        slots = {self._nodes[t].index: k for t, k in self._slots.items() if t in self._nodes}
        self.taken = [slots[node.index] for node in graph.inputs]
        results = tuple(self._nodes[index] for index in self._results)
        nodes = tuple(reachable([*results, *graph.inputs]))
        names = {node.index: node.name for node in nodes if node.name}
        self.program = merged(Program(nodes, graph.inputs, results, names))

    # ------------------------------------------------------------------ what is returned

    def _giver(self, x: Any) -> Callable[[Run, Sequence[Any], Sequence[Tensor]], Any]:
        """Say how one part of the result is had: as the function itself would return it."""
        if not isinstance(x, Tensor):
            return lambda run, arrays, operands: x.copy() if isinstance(x, np.ndarray) else x
        is_result, k = self._shown(x)
        first = self._own
        if not is_result and k < len(self._recording.arrays):
            return lambda run, arrays, operands: arrays[k]
        if not is_result and k >= first:
            return lambda run, arrays, operands: operands[k - first]
        if is_result and x.index in self._tensors and not is_discrete(x):
            op = self._differentiated(x, k)
            return lambda run, arrays, operands: operands[0].record(op, operands, {"run": run})
        return lambda run, arrays, operands: run.copy((is_result, k), operands)

    def _differentiated(self, x: Tensor, k: int) -> Any:
        """Write the program of the backward pass from a result."""
        tensors = reachable([x])
        inside = {one.index for one in tensors}
        wrt = [p for p in self.operands if p.index in inside and not is_discrete(p)]
        if not wrt or not self._backward:
            return operation(k, len(self.operands), None)
        joint = Graph.capture(x, wrt)
        check_premises(joint)
        nodes = {one.index: node for one, node in zip(tensors, _live(joint), strict=True)}
        of = {node.index: one for one, node in zip(tensors, _live(joint), strict=True)}
        program, kept, positions = cut(joint, [nodes.get(p.index) for p in self.operands])
        places = [self._place(of[node.index]) for node in kept]
        backward = Backward(merged(program), places, positions, self._make)
        return operation(k, len(self.operands), backward)


def _live(graph: Graph) -> list[Node]:
    """Give the nodes that were Tensors, in their order."""
    return [node for node in graph.nodes if node.role in ("input", "forward")]


# --------------------------------------------------------------------------- the step


class Step:
    """One form of a function: for arguments of some layout, and for all else that it reads.

    Parameters
    ----------
    function : callable
    args, kwargs
        What it is called with first.
    make : callable
        See `tinygraph.execution.program.Make`.
    backward : bool
        Whether its results are to be differentiated.

    Attributes
    ----------
    environment : Environment
    forward : Forward
    is_differentiable : bool

    Raises
    ------
    ValueError
        If the function does what a replay would not do again: reads values, branches on them,
        writes them out, draws at random or changes what it reads without saying so.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        make: Make,
        *,
        backward: bool,
    ) -> None:
        self.is_differentiable = backward
        recording = Recording(function, args, kwargs)
        effects = recording.effects
        roots = (function, *(x for x in (*args, *kwargs.values()) if not is_traced(x)))
        self.environment = Environment(roots, recording.sources, effects.recalled)
        check_repeats(recording, Recording(function, args, kwargs), self.environment)
        plan = _Plan(recording, make, backward=backward)
        self._gives = plan.gives
        self._result = folded(recording.result, iter([None] * len(plan.gives)))
        self._parameters = recording.parameters
        self._layouts = [(p, p._data.dtype, p._data.strides) for p in self._parameters]
        self._recalled = [(k, f) for k, f in enumerate(effects.fetches) if f.is_recalled]
        self._drawn = [(k, f) for k, f in enumerate(effects.fetches) if not f.is_recalled]
        self._constants = plan.constants
        self._before, self._after = plan.before, plan.after
        self._overwrites = effects.overwrites
        make = partial(make, errstates=plan.errstates) if plan.errstates else make
        executor = make(plan.program, [plan.held[k] for k in plan.taken])
        self.forward = Forward(executor, plan.taken, plan.lent)

    def is_current(self) -> bool:
        """Whether all that the function was seen to read is still there."""
        for p, dtype, strides in self._layouts:
            data = p._data
            if data.strides != strides or data.dtype != dtype:
                return False
        return self.environment.is_unchanged()

    def __call__(self, arrays: Sequence[Any], tensors: Sequence[Tensor]) -> Any:
        """Call it with the arrays and the Tensors among its arguments.

        Raises
        ------
        Outdated
            If state has another layout now; nothing has been done then.
        """
        if self._overwrites:
            check_apart(arrays)
        values = [*map(_own, arrays), *self._brought(), *self._constants]
        operands = (*self._parameters, *tensors)
        run = Run(self.forward, values)
        for call, places in self._before:
            call(*run.at(places))
        results = [give(run, arrays, operands) for give in self._gives]
        run.finish(operands)
        for call, places in self._after:
            call(*run.at(places))
        return folded(self._result, iter(results))

    def _brought(self) -> list[Any]:
        """Give what the function brings itself: state first, which may be outdated."""
        found: list[Any] = [None] * (len(self._recalled) + len(self._drawn))
        for k, fetch in self._recalled:
            found[k] = _own(fetch.read())
            if not _lies_alike(found[k], fetch.leaf):
                raise Outdated
        for k, fetch in self._drawn:
            value = np.asarray(fetch.read())
            found[k] = value if value.ndim else value[()]
            if not _lies_alike(value, fetch.leaf):
                raise ValueError(
                    f"compile: {fetch.leaf.name or 'what'} was drawn with shape "
                    f"{fetch.leaf.extent} of {fetch.leaf.dtype} when the function was recorded, "
                    f"and now with {value.shape} of {value.dtype}; draw arrays whose shape "
                    "follows from that of the arguments"
                )
        return found


def _own(x: Any) -> Any:
    """Give a value that nobody else can change, as it would lie in a graph."""
    if type(x) is np.ndarray and x.ndim:
        is_fixed = x.base is None and not x.flags.writeable
        return x if is_fixed else np.array(x)
    array = np.array(x)
    return array if array.dtype.hasobject else array[()]  # which would be a bare Fraction


def _lies_alike(x: Any, leaf: Tensor) -> bool:
    data = peek(leaf)
    if not isinstance(x, np.ndarray | np.generic):  # an attribute that is None now
        return False
    return bool(x.dtype == data.dtype and x.shape == data.shape and x.strides == data.strides)


# --------------------------------------------------------------------------- all forms


class Steps:
    """A function that is called as it was, by whichever of its forms fits.

    Parameters
    ----------
    function : callable
    make : callable
        See `tinygraph.execution.program.Make`.

    Attributes
    ----------
    why : str
        Why the last call recorded the function again, or "".
    step : Step or None
        The form that ran last.
    """

    def __init__(self, function: Callable[..., Any], make: Make) -> None:
        self.function, self.make = function, make
        self.why = ""
        self.step: Step | None = None
        self._forms: dict[Any, Step] = {}
        self._latest: tuple[Callable[..., Any], Step | None] = (lambda args, kwargs: None, None)
        self._lock = RLock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        is_recording = True
        if entered.get():
            mode = current()
            if mode.is_watched:
                return self.function(*args, **kwargs)
            is_recording = mode.recording
        fits, step = self._latest
        arrays = fits(args, kwargs) if is_recording else None
        if step is not None and arrays is not None and step.is_current():
            try:
                result = step(arrays, ())
            except Outdated:
                pass
            else:
                self.step = step
                return result
        return self._stepped(is_recording, args, kwargs)

    def _stepped(self, backward: bool, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call the form for some arguments, which may be a new one."""
        arrays: list[Any] = []
        tensors: list[Any] = []
        every = [_key(arrays, tensors, x) for x in (*args, *kwargs.values())]
        key = backward, tuple(kwargs), *every
        step = self._forms.get(key)
        if step is not None and step.is_current():
            try:
                result = step(arrays, tensors)
            except Outdated:
                pass
            else:
                self._remember(step, args, kwargs)
                return result
        step = self._recorded(key, step, args, kwargs)
        self._remember(step, args, kwargs)
        return step(arrays, tensors)

    def _remember(self, step: Step, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Let the next call ask for this form first."""
        self.step = step
        if step.is_differentiable and not any(isinstance(x, Tensor) for x in args):
            self._latest = fitting(args, kwargs), step

    def _recorded(
        self, key: Any, outdated: Step | None, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Step:
        """Record the function for what it is called with now, if nobody has just done so."""
        with self._lock:
            before = self._forms.get(key)
            if before is not None and before is not outdated:
                return before
            self._forms.pop(key, None)
            changes = before.environment.changes() if before is not None else []
            self.why = f"{', '.join(changes) or 'state'} changed" if before is not None else ""
            step = Step(self.function, args, kwargs, self.make, backward=key[0])
            remember(self._forms, key, step)
            return step


def _key(arrays: list[Any], tensors: list[Any], x: Any) -> Any:
    """Sort an argument in, and give what of it the program depends on."""
    if isinstance(x, Tensor):
        tensors.append(x)
        value = peek(x)
        return Tensor, value.dtype, value.shape, value.strides
    return key_of(arrays, x)
