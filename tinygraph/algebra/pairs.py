"""A gradient twice: as the engine derives it, and as a person wrote it, in two graphs.

The graphs have the same inputs by name, the upstream gradients among them. They are taken again at
other lengths: what holds for graphs at one set of lengths need not hold for the code.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from tinygraph.algebra.axes import Axes
from tinygraph.algebra.calling import Passes
from tinygraph.engine.autodiff import reachable
from tinygraph.engine.tensor import Tensor
from tinygraph.graph import Graph, Node

__all__ = ["Code", "Line", "Pair"]

UPSTREAM = (
    15  # of the seed: a batch that was drawn with the same is no upstream gradient of its own
)


@dataclass(frozen=True)
class Line:
    """What a line of the backward pass assigned: the number of the line, a name, and the node."""

    number: int
    name: str
    node: Node


@dataclass(frozen=True)
class Pair:
    """Two graphs of one gradient.

    Attributes
    ----------
    joint : Graph
        Forward and backward pass, as the engine derives it.
    own : Graph
        The person's backward pass, on the nodes of the forward pass.
    gradients : dict
        The node of `own` by the name of the input, None where no graph leads to what was returned.
    lines : tuple of Lines
    inputs : dict
        The arrays, those of upstream gradients too, by name.
    returned : dict
        What the person's backward pass returned, as arrays.
    """

    joint: Graph
    own: Graph
    gradients: Mapping[str, Node | None]
    lines: tuple[Line, ...]
    inputs: Mapping[str, Any]
    returned: Mapping[str, Any]

    @property
    def upstream(self) -> frozenset[str]:
        """The names of the upstream gradients."""
        return frozenset(str(n.name) for n in self.joint.inputs if n.role == "upstream")

    @property
    def labels(self) -> dict[str, Any]:
        """The inputs of whole numbers."""
        return {k: x for k, x in self.inputs.items() if np.asarray(x).dtype.kind in "iu"}

    def total(self, name: str) -> Node | None:
        """Give the node of the engine's gradient of a variable; None if there is none."""
        found = [g for g in self.joint.all_gradients if g.of.name == name]
        return found[-1].node if found else None

    def parts(self, name: str) -> dict[str, Node]:
        """Give the engine's contributions to the gradient of a variable, by name."""
        gradients = self.joint.gradients
        return {g.name: g.node for g in gradients if g.of.name == name and g.kind == "part"}

    def structure(self) -> Any:
        """Give what two graphs from the same code have in common at all lengths."""
        return [[_structure(node) for node in graph.nodes] for graph in (self.joint, self.own)]

    def axes(self) -> Axes:
        """Give the axes of both graphs."""
        return Axes(self.joint, self.own)


def _structure(node: Node) -> Any:
    named = ("axis", "axes", "keepdims", "n", "disjoint")
    params = {k: node.params[k] for k in named if k in node.params}
    return str(node.op), node.role, tuple(x.index for x in node.inputs), params, len(node.shape)


class Code:
    """A forward function and its backward pass, that can be captured at other lengths.

    Parameters
    ----------
    forward, backward : callable
    args, kwargs
        Of `forward`.
    wrt : str or sequence of str, optional
    seed : int
        Of all that is random.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        wrt: str | Sequence[str] | None,
        seed: int,
    ) -> None:
        self.forward, self.backward, self.wrt, self.seed = forward, backward, wrt, seed
        self.args, self.kwargs = args, kwargs

    def capture(self, fill: Callable[[str | None, Any], Any] = lambda name, array: array) -> Pair:
        """Run both passes.

        Parameters
        ----------
        fill : callable
            Gives the array to take for one of the arguments, by name, or for an upstream gradient,
            without a name; by default itself.

        Raises
        ------
        Exception
            Whatever the functions raise.
        """
        args, kwargs = self._filled(fill)
        passes = Passes(self.forward, self.backward, args, kwargs, wrt=self.wrt)
        rng = np.random.default_rng([self.seed, UPSTREAM])
        upstream = {
            name: np.asarray(fill(None, rng.normal(size=out.shape)))
            for name, out in passes.outputs.items()
        }
        joint = Graph.joint(list(passes.outputs.values()), list(passes.inputs.values()))
        written = passes.traced(upstream)
        seeds = [g for g in joint.all_gradients if g.kind == "upstream"]
        inputs = {str(t.name): t.data for t in reachable([*passes.outputs.values()]) if not t.op}
        for (name, array), seed in zip(upstream.items(), seeds, strict=True):
            leaf = written.upstream[name]
            leaf.name = seed.node.name
            inputs[str(seed.node.name)] = array
        found = {name: x for name, x in written.gradients.items() if isinstance(x, Tensor)}
        lines = [one for one in written.assigned if isinstance(one.value, Tensor)]
        leaves = passes.inputs.values()  # of which lengths may be asked, and nothing else
        outputs = [*found.values(), *(one.value for one in lines), *leaves]
        own = Graph.capture(outputs)
        inputs |= {str(t.name): t.data for t in reachable(outputs) if not t.op}
        nodes = dict(zip([*found, *range(len(lines))], own.outputs, strict=False))
        return Pair(
            joint,
            own,
            {name: nodes.get(name) for name in written.gradients},
            tuple(Line(one.line, one.name, nodes[k]) for k, one in enumerate(lines)),
            inputs,
            {k: np.asarray(getattr(x, "data", x)) for k, x in written.gradients.items()},
        )

    def _filled(self, fill: Callable[[str | None, Any], Any]) -> tuple[list[Any], dict[str, Any]]:
        try:
            bound = inspect.signature(self.forward).bind(*self.args, **self.kwargs)
        except (TypeError, ValueError):
            return list(self.args), dict(self.kwargs)  # and let `Passes` say what is wrong
        for name, value in bound.arguments.items():
            bound.arguments[name] = _filled(name, value, fill)
        return list(bound.args), dict(bound.kwargs)

    def resized(self, axes: Axes, pair: Pair, lengths: Mapping[int, int], *, variant: int) -> Pair:
        """Capture the code again, with parts of axes at other lengths.

        Arrays of floats are filled with values that they had, in another order; whole numbers,
        such as labels, with such as are there at any of the lengths.
        """
        new = {**axes.length, **lengths}
        shapes: dict[str, tuple[int, ...]] = {}
        replaced: dict[int, int] = {}
        for node in pair.joint.inputs:
            parts = axes.of(pair.joint, node)
            shapes[str(node.name)] = tuple(prod(new[part] for part in axis) for axis in parts)
            for n, m in zip(node.shape, shapes[str(node.name)], strict=True):
                replaced.setdefault(n, m)
        rng, least = np.random.default_rng(variant), min([*lengths.values(), 2**31])

        def fill(name: str | None, array: Any) -> Any:
            if name is None:
                return array
            shape = shapes.get(name) or tuple(replaced.get(n, n) for n in array.shape)
            if shape == array.shape or not array.size:
                return array
            drawn = rng.choice(array.ravel(), size=shape)
            return drawn % least if array.dtype.kind in "iu" else drawn

        return self.capture(fill)


def _filled(name: str, value: Any, fill: Callable[[str | None, Any], Any]) -> Any:
    if isinstance(value, Tensor):
        value = value.data
    if isinstance(value, np.ndarray) and value.ndim:
        return fill(name, value)
    if isinstance(value, list) and value and all(type(x) is int for x in value):
        return fill(name, np.array(value)).tolist()
    if isinstance(value, dict):
        return {key: _filled(str(key), x, fill) for key, x in value.items()}
    if isinstance(value, tuple) and value and isinstance(value[0], np.ndarray):
        return tuple(_filled(f"{name}[{k}]", x, fill) for k, x in enumerate(value))
    return value
