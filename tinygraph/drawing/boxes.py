"""What a picture shows before it is drawn: boxes, and the arrows between them.

A *box* is what the eye takes for one thing: an input, a step, a primitive, or, where there are too
many of those, everything that was computed in one call. An *arrow* is one use of a value by
another box, together with the gradients that come back along it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, prod
from typing import Any

from tinygraph.graph.nodes import Gradient, Node
from tinygraph.graph.snapshot import Graph

__all__ = ["MOST_BOXES", "Arrow", "Box", "Boxes", "gather"]

MOST_BOXES = 500
LONG = 3
"""Ranks that an arrow passes; where all do so on average, roads hide the picture, and Graphviz
takes seconds to minutes to lay them out."""

Key = tuple[Any, ...]
Scope = tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """Nodes that are shown as one.

    Attributes
    ----------
    kind : str
        ``input``, ``step``, ``primitive``; ``call`` where one box was asked for; or ``group`` for
        several steps or inputs in one for want of room.
    nodes : tuple of Nodes
        The last of them is what the box is named after.
    title : str
        Of a call: its name; of a group: what was folded.
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

    The main line is the way from each output back through the largest operand. Where there are
    many long arrows, such as of a parameter that every step of a loop reads, each of them is `far`:
    its value is shown again beside the reader.
    """

    tail: Box
    head: Box
    value: Node
    gradients: tuple[Gradient, ...]
    main: bool
    far: bool = False


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

    def spans(self) -> list[int]:
        """Give how many ranks each arrow passes, where every box stands as near as it can.

        An input stands right before the first that reads it.
        """
        rank: dict[Box, int] = {}
        for arrow in sorted(self.arrows, key=lambda a: a.head.result.index):
            rank[arrow.head] = max(rank.get(arrow.head, 0), rank.get(arrow.tail, 0) + 1)
        first: dict[Box, int] = {}
        for arrow in self.arrows:
            if arrow.tail not in rank:
                at = rank[arrow.head] - 1
                first[arrow.tail] = min(first.get(arrow.tail, at), at)
        rank |= first
        return [rank[arrow.head] - rank[arrow.tail] for arrow in self.arrows]

    def shortened(self) -> Boxes:
        """Where arrows are long on average, take those that are for `far`."""
        spans = self.spans()
        if sum(spans) <= LONG * len(spans):
            return self
        arrows = (
            replace(arrow, far=span > LONG) for arrow, span in zip(self.arrows, spans, strict=True)
        )
        return replace(self, arrows=tuple(arrows))


def gather(
    graph: Graph, detail: str, most: int = MOST_BOXES, fold: str | Sequence[str] = ()
) -> Boxes:
    """Gather the forward nodes of `graph` into boxes.

    Parameters
    ----------
    graph : Graph
    detail : {"steps", "primitives"}
    most : int, optional
        More boxes than this are folded: by function, outermost last, then by runs of steps.
    fold : "calls" or sequence of str, optional
        The calls that are one box each: all, or those of these functions.

    Returns
    -------
    Boxes

    Raises
    ------
    ValueError
        If a function that `fold` names was not called.
    """
    forward = [n for n in graph.nodes if n.role in ("input", "forward")]
    scopes = {step.number: step.result.scope for step in graph.steps}
    asked = _depths(scopes, fold)
    for gathering, note in _foldings(forward, detail, scopes, asked, most):
        groups: dict[Key, list[Node]] = defaultdict(list)
        for node in forward:
            groups[gathering(node)].append(node)
        if len(groups) > most:
            continue
        boxes = tuple(_box(key, group, scopes) for key, group in groups.items())
        folded = note.format(len(graph.steps), len(boxes))
        found = Boxes(boxes, _arrows(graph, forward, boxes), folded).shortened()
        if len(boxes) + sum(arrow.far for arrow in found.arrows) <= most:
            break
    return found


def _arrows(graph: Graph, forward: Sequence[Node], boxes: Sequence[Box]) -> tuple[Arrow, ...]:
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
    return tuple(roads.values())


def _depths(scopes: Mapping[int, Scope], fold: str | Sequence[str]) -> dict[int, int]:
    """Give the depth of the outermost call that is asked to be one box, by the step's number.

    A later call of the same function carries a number behind its name.
    """
    named = {step: [re.split(r" #|\[", call)[0] for call in s] for step, s in scopes.items()}
    called = dict.fromkeys(name for names in named.values() for name in names)
    wanted = set(called) if fold == "calls" else set(fold)
    for name in sorted(wanted - set(called)):
        known = ", ".join(called) or "none"
        raise ValueError(f"draw: fold names {name!r}, but the functions called are: {known}")
    found = {}
    for step, names in named.items():
        if depth := next((k for k, name in enumerate(names, 1) if name in wanted), 0):
            found[step] = depth
    return found


def _foldings(
    nodes: list[Node],
    detail: str,
    scopes: Mapping[int, Scope],
    asked: Mapping[int, int],
    most: int,
) -> Iterator[tuple[Callable[[Node], Key], str]]:
    """Give ever coarser ways of gathering, with what to say of them."""

    def one(node: Node) -> Key:
        if node.role == "input":
            return "input", node.index
        if depth := asked.get(node.step):
            return "call", *scopes[node.step][:depth]
        return ("primitive", node.index) if detail == "primitives" else ("step", node.step)

    def by_call(depth: int, node: Node) -> Key:
        scope = scopes.get(node.step, ())
        is_asked = asked.get(node.step, depth + 1) <= depth
        return one(node) if is_asked or len(scope) < depth else ("calls", *scope[:depth])

    inputs = sum(node.role == "input" for node in nodes)
    forward = [node for node in nodes if node.role != "input"]
    if detail == "primitives":
        places = {node.index: k for k, node in enumerate(forward)}
    else:
        places = {node.index: node.step - 1 for node in forward}
    longest = max(places.values(), default=0) + 1
    run = ceil(2 * longest / most)

    def by_run(run: int, node: Node) -> Key:
        if node.role == "input":
            return one(node) if inputs <= most // 2 else ("inputs",)
        return "run", places[node.index] // run

    yield one, ""
    for depth in range(max(map(len, scopes.values()), default=0), 0, -1):
        yield partial(by_call, depth), "{} steps, folded by function into {} boxes"
    while run < 2 * longest:
        yield partial(by_run, run), "{} steps, folded in order into {} boxes"
        run *= 2


def _box(key: Key, group: list[Node], scopes: Mapping[int, Scope]) -> Box:
    kind, nodes = key[0], tuple(group)
    steps = sorted({node.step for node in group})
    if kind == "call":
        return Box("call", nodes, key[-1], key[1:-1])
    if kind == "calls":
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
