"""Subjects: what is compiled, a function or a snapshot, and how its forms are made."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tinygraph.engine.autodiff import is_discrete
from tinygraph.engine.lengths import plain
from tinygraph.engine.tensor import Tensor, peek
from tinygraph.execution.environment import Environment
from tinygraph.execution.forms import OUTPUT, Form
from tinygraph.execution.layouts import key_of
from tinygraph.execution.program import Make
from tinygraph.execution.recordings import Recording, folded, is_traced, unfolded
from tinygraph.execution.refusals import check_premises, check_repeats
from tinygraph.graph.nodes import Node
from tinygraph.graph.snapshot import Graph

__all__ = ["Arranged", "OfFunction", "OfGraph"]


class Arranged(NamedTuple):
    """What was passed: the key of its form, and the arrays as they are used."""

    key: Any
    arrays: list[Any]


class OfFunction:
    """A function, which is recorded for each layout of its arguments."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))

    def arranged(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Arranged | None:
        """Sort what was passed; None where Tensors are among it."""
        every = [*args, *kwargs.values()]
        if any(isinstance(x, Tensor) for x in every):
            return None
        arrays: list[Any] = []
        return Arranged((tuple(kwargs), *[key_of(arrays, x) for x in every]), arrays)

    def form(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        arrays: Sequence[Any],
        wrt: Iterable[str] | None,
        make: Make,
        *,
        backward: bool,
    ) -> Form | None:
        """Record the function.

        Parameters
        ----------
        args, kwargs
            What it is called with.
        arrays : sequence
            The arrays among them, as they are used.
        wrt, backward
            The names of those that gradients are taken by, if they are.
        make : callable
            See `tinygraph.execution.program.Make`.

        Returns
        -------
        Form or None
            None where Tensors, draws or state are in the function, which is then a step.
        """
        function = self.function
        recording = Recording(function, args, kwargs)
        effects = recording.effects
        if recording.parameters or effects.fetches or effects.acts or effects.checks:
            return None
        roots = (function, *(x for x in (*args, *kwargs.values()) if not is_traced(x)))
        environment = Environment(roots, recording.sources, effects.recalled)
        check_repeats(recording, Recording(function, args, kwargs), environment)
        _check_made(recording)
        named = self._named(args, kwargs, wrt, arrays) if backward else None
        reached = {x.index for x in recording.nodes}
        leaves = [
            x for name, k in (named or {}).items() if (x := recording.arrays[k]).index in reached
        ]
        graph = Graph.capture(recording.outputs, leaves or None)
        check_premises(graph)
        nodes = [node for node in graph.nodes if node.role in ("input", "forward")]
        of = {x.index: node for x, node in zip(recording.nodes, nodes, strict=True)}
        inputs = [of.get(leaf.index) for leaf in recording.arrays]
        parts = (OUTPUT if isinstance(x, Tensor) else plain(x) for x in unfolded(recording.result))
        result = folded(recording.result, parts)
        said = {of[k].index: own for k, own in recording.errstates.items() if k in of}
        return Form(
            graph,
            inputs,
            named,
            result,
            partial(make, errstates=said) if said else make,
            environment.is_unchanged,
            constants=[peek(x) for x in recording.constants],
            overwrites=effects.overwrites,
        )

    def _named(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        wrt: Iterable[str] | None,
        arrays: Sequence[Any],
    ) -> dict[str, int]:
        """Say by which arrays gradients are taken: the number of each, by its name."""
        names = _argument_names(self.function, args, kwargs)
        every = [*args, *kwargs.values()]
        names = [name for name, x in zip(names, every, strict=True) if is_traced(x)]
        return _chosen(names, arrays, wrt)


class OfGraph:
    """A snapshot, which has one form of each kind."""

    def __init__(self, graph: Graph) -> None:
        check_premises(graph)
        self.graph = graph
        self.inputs = [node for node in graph.inputs if node.role == "input"]

    def __repr__(self) -> str:
        return repr(self.graph)

    def arranged(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Arranged | None:
        """Take arrays in the order of the inputs, and by their names."""
        names = [str(node.name) for node in self.inputs]
        given = dict(zip(names, args, strict=False)) | dict(kwargs)
        if len(args) + len(kwargs) != len(names) or given.keys() != set(names):
            raise TypeError(f"compile: the graph takes an array for each of {', '.join(names)}")
        arrays: list[Any] = []
        key = tuple([key_of(arrays, _as_input(given[str(x.name)], x)) for x in self.inputs])
        return Arranged((len(args), *kwargs, key), arrays)

    def form(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        arrays: Sequence[Any],
        wrt: Iterable[str] | None,
        make: Make,
        *,
        backward: bool,
    ) -> Form | None:
        """Take the graph as it is; the parameters are those of `OfFunction.form`."""
        if backward and not self.graph.all_gradients:
            raise ValueError(
                "vjp: the graph holds the forward pass alone; take it with Graph.joint, or with "
                "Graph.capture(out, wrt=[x])"
            )
        named = None
        if backward:
            arriving = self.graph.arriving
            names = [str(x.name) for x in self.inputs]
            known = [str(x.name) for x in self.inputs if x.index in arriving]
            named = _chosen(names, arrays, known if wrt is None else wrt)
        outputs = tuple([OUTPUT] * len(self.graph.outputs))
        result = outputs if len(outputs) > 1 else OUTPUT
        return Form(self.graph, self.inputs, named, result, make, lambda: True)


def _argument_names(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Iterable[str]
) -> list[str]:
    """Say what each argument is called: by its parameter, ``xs[0]`` in ``*xs``."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some of what is written in C has none
        parameters = []
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "args")
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    named = named[: len(args)]
    return [*named, *(f"{rest}[{k}]" for k in range(len(args) - len(named))), *kwargs]


def _chosen(
    names: Sequence[str], arrays: Sequence[Any], wrt: Iterable[str] | None
) -> dict[str, int]:
    floats = {name: k for k, name in enumerate(names) if not is_discrete(arrays[k])}
    wanted = list(floats if wrt is None else wrt)
    for name in wanted:
        if name not in floats:
            known = ", ".join(floats) or "no array of floats"
            raise ValueError(
                f"compile: wrt names {name!r}, but gradients are taken by {known}; arrays of "
                "floats are passed, each as an argument"
            )
    return {name: floats[name] for name in wanted}


def _check_made(recording: Recording) -> None:
    """Refuse a function that computes nothing from arrays."""
    if not recording.outputs:
        raise ValueError(
            "compile: the function returns nothing that is computed from its arguments; pass "
            "arrays, and return what is computed from them"
        )


def _as_input(given: Any, node: Node) -> Any:
    """Give an array for an input of a snapshot, whose lengths are those that it was taken at."""
    array, dtype = np.asarray(given), np.dtype(node.dtype)
    if array.shape != node.shape:
        raise ValueError(
            f"compile: {node.name} has shape {array.shape}, but the graph was captured with "
            f"{node.shape}; compile the function itself, which is recorded at other lengths"
        )
    if array.dtype != dtype and not np.can_cast(array.dtype, dtype, "same_kind"):
        raise TypeError(f"compile: {node.name} is of {dtype}, but was given {array.dtype}")
    return array.astype(dtype, copy=False)
