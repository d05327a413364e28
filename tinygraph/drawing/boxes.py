"""What a picture shows before it is drawn: boxes, and the arrows between them.

A *box* is what the eye takes for one thing: an input, a step, a primitive, or, where there are too
many of those, everything that was computed in one call. An *arrow* is one use of a value by
another box, together with the gradients that come back along it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, prod
from typing import Any

from tinygraph.graph.nodes import Gradient, Node
from tinygraph.graph.snapshot import Graph

__all__ = ["MOST_BOXES", "Arrow", "Box", "Boxes", "gather"]

MOST_BOXES = 500

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """Nodes that are shown as one.

    Attributes
    ----------
    kind : str
        ``input``, ``step``, ``primitive``, or ``group`` for several steps or inputs in one.
    nodes : tuple of Nodes
        The last of them is what the box is named after.
    title : str
        Of a group: what was folded.
    scope : tuple of str
        The calls that it stands in, outermost first.
    """

    kind: str
    nodes: tuple[Node, ...]
    title: str = ""
    scope: tuple[str, ...] = ()

    @property
    def result(self) -> Node:
        """The node that the box is named after."""
        return self.nodes[-1]

    @property
    def step(self) -> int:
        """The number of the box's step."""
        return self.result.step


@dataclass(frozen=True, slots=True, eq=False)
class Arrow:
    """A value on its way from the box that computes it to a box that reads it.

    A box that reads it twice gives two gradients back.

    The main line is the way from each output back through the largest operand.
    """

    tail: Box
    head: Box
    value: Node
    gradients: tuple[Gradient, ...]
    main: bool


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """The boxes of a graph's forward pass, and the arrows between them, in operand order.

    Attributes
    ----------
    boxes : tuple of Boxes
    arrows : tuple of Arrows
    folded : str
        What was folded for want of room; empty if nothing was.
    """

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    folded: str


def gather(graph: Graph, detail: str, most: int = MOST_BOXES) -> Boxes:
    """Gather the forward nodes of `graph` into boxes.

    Parameters
    ----------
    graph : Graph
    detail : {"steps", "primitives"}
    most : int, optional
        More boxes than this are folded: by function, outermost last, then by runs of steps.

    Returns
    -------
    Boxes
    """
    forward = [n for n in graph.nodes if n.role in ("input", "forward")]
    scopes = {step.number: step.result.scope for step in graph.steps}
    for fold, note in _foldings(forward, detail, scopes, most):  # noqa: B007
        groups: dict[Key, list[Node]] = defaultdict(list)
        for node in forward:
            groups[fold(node)].append(node)
        if len(groups) <= most:
            break
    boxes = tuple(_box(key, group, scopes) for key, group in groups.items())
    of = {node.index: box for box in boxes for node in box.nodes}
    gradients: dict[tuple[int, int], list[Gradient]] = defaultdict(list)
    for g in graph.all_gradients:
        if g.consumer is not None:
            gradients[g.of.index, g.consumer.index].append(g)
    main, roads = _main_line(graph), dict[tuple[Box, Box, int], Arrow]()
    for node in forward:
        for x in node.inputs:
            tail, head = of.get(x.index), of[node.index]
            if tail is None or tail is head:  # a constant, or within one box
                continue
            back = gradients[x.index, node.index]
            grouped = "group" in (tail.kind, head.kind)
            place = tail, head, -1 if grouped else x.index
            arrow = roads.get(place) or Arrow(tail, head, x, (), False)
            if not (grouped and arrow.gradients):
                arrow = replace(arrow, gradients=(*arrow.gradients, *back[:1]))
            roads[place] = replace(arrow, main=arrow.main or (x.index, node.index) in main)
            del back[:1]
    return Boxes(boxes, tuple(roads.values()), note.format(len(graph.steps), len(boxes)))


def _foldings(
    nodes: list[Node], detail: str, scopes: Mapping[int, tuple[str, ...]], most: int
) -> Iterator[tuple[Callable[[Node], Key], str]]:
    """Give ever coarser ways of gathering, with what to say of them."""

    def one(node: Node) -> Key:
        if node.role == "input":
            return "input", node.index
        return ("primitive", node.index) if detail == "primitives" else ("step", node.step)

    def by_call(depth: int, node: Node) -> Key:
        scope = scopes.get(node.step, ())
        return ("call", *scope[:depth]) if len(scope) >= depth else one(node)

    inputs = sum(node.role == "input" for node in nodes)
    forward = [node for node in nodes if node.role != "input"]
    if detail == "primitives":
        places = {node.index: k for k, node in enumerate(forward)}
    else:
        places = {node.index: node.step - 1 for node in forward}
    run = ceil(2 * (max(places.values(), default=0) + 1) / most)

    def by_run(node: Node) -> Key:
        if node.role == "input":
            return one(node) if inputs <= most // 2 else ("inputs",)
        return "run", places[node.index] // run

    yield one, ""
    for depth in range(max(map(len, scopes.values()), default=0), 0, -1):
        yield partial(by_call, depth), "{} steps, folded by function into {} boxes"
    yield by_run, "{} steps, folded in order into {} boxes"


def _box(key: Key, group: list[Node], scopes: Mapping[int, tuple[str, ...]]) -> Box:
    kind, nodes = key[0], tuple(group)
    steps = sorted({node.step for node in group})
    if kind == "call":
        return Box(
            "group", nodes, f"{key[-1]}: {len(steps)} step{'s' * (len(steps) > 1)}", key[1:-1]
        )
    if kind == "run":
        whole = len(steps) > 1
        title = f"steps {steps[0]} … {steps[-1]}" if whole else f"part of step {steps[0]}"
        return Box("group", nodes, title)
    if kind == "inputs":
        return Box("group", nodes, f"{len(group)} inputs")
    return Box(kind, nodes, scope=scopes.get(nodes[-1].step, ()))


def _main_line(graph: Graph) -> frozenset[tuple[int, int]]:
    """Follow each output back through its largest operand; the most recent of several.

    Given as pairs of value and reader: for BatchNorm x → xmu → xhat → gammax → out.
    """
    line = set()
    for out in graph.outputs:
        node = out
        while True:
            operands = [x for x in node.inputs if x.role in ("forward", "input")]
            if not operands:
                break
            best = max(operands, key=lambda x: (prod(x.shape), x.role == "forward", x.index))
            line.add((best.index, node.index))
            node = best
    return frozenset(line)
