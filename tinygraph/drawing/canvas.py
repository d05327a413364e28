"""What is written into a picture: the text of boxes and of labels.

A `Canvas` is drawn on with a few pens; which boxes and roads there are is the business of the views
in `views`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from tinygraph.drawing.breaking import broken
from tinygraph.drawing.legend import (
    ADDED,
    AGAIN,
    BACKWARD,
    ELSEWHERE,
    GROUP,
    INPUT,
    OUTPUT,
    READ,
    STEP,
    SUM,
    legend,
    line_of,
    mentions,
)
from tinygraph.drawing.numbers import value_rows
from tinygraph.drawing.sheet import Block, Frame, Look, Road, Scope, Sheet, Stroke
from tinygraph.drawing.typography import GREY, INK, RED, Line, printable, width
from tinygraph.engine.primitive import JointRules
from tinygraph.graph.marks import in_letters
from tinygraph.graph.nodes import Gradient, Node
from tinygraph.graph.snapshot import Graph
from tinygraph.writing.formulas import Notation
from tinygraph.writing.lines import named_constants
from tinygraph.writing.numbers import number_text, shape_text
from tinygraph.writing.shifts import vanishing

__all__ = ["BANDS", "Canvas"]

BANDS = ("forward", "backward")  # of the joint view, from top to bottom
LONGEST_NAME, STUB = 40, 24
MOST_LINES = 4
# In points: how wide a line is beside a road, and in a box; first of what has terms to break at.
BESIDE, INSIDE = (92.0, 190.0), (260.0, 340.0)
OF_SUMS = (130.0, 260.0)


class Canvas:
    """One picture being drawn.

    Parameters
    ----------
    graph : Graph
    direction : str
        Where values flow to: LR, TB, RL or BT.
    values : bool, optional
        Whether boxes show value and gradient.
    literal : bool, optional
        Whether formulas say what runs, operation by operation.
    """

    def __init__(
        self, graph: Graph, direction: str, *, values: bool = False, literal: bool = False
    ) -> None:
        self.graph, self.values = graph, values
        self.notation = Notation(graph, literal=literal)
        self.composites = {
            node.step: node.op.name
            for node in graph.nodes
            if node.role == "forward" and node.op and isinstance(node.op.rules, JointRules)
        }
        self.results = {step.number: step.result for step in graph.steps}
        self.sums = {g.of.index: g for g in graph.all_gradients if g.kind == "sum"}
        self.terms = _terms(graph)
        self.upstream = {g.of.index: g for g in graph.gradients[::-1] if g.kind == "upstream"}
        self.names_of: dict[int, list[Gradient]] = {}
        for g in graph.gradients:
            self.names_of.setdefault(g.node.index, []).append(g)
        self.new_shapes = _new_shapes(graph)
        self.has_numbers = False
        self.note = ""
        self.sheet = Sheet(direction)
        self.idents: dict[str, int] = {}
        self.signs: dict[str, str] = {}  # in formulas of calls, and what they mean
        self.has_bands = False

    # ------------------------------------------------------------------ what things are called

    def key(self, node: Node, prefix: str = "n") -> str:
        """Give the id of a node's box: its index, and its name as far as ids can hold it."""
        name = re.sub(r"[^A-Za-z0-9]+", "_", in_letters(stub(node.name))).strip("_")
        return f"{prefix}{node.index}_{name}" if name else f"{prefix}{node.index}"

    def rule(self, gradient: Gradient, shape: bool = False) -> str:
        """Write a gradient with its local rule: ``dxhat = dgammax · gamma``."""
        composite = self.composites.get(gradient.step)
        if composite and gradient.consumer is not None:
            return f"{gradient.name}, by {composite}'s rule"
        formula = self.notation.gradient(gradient)
        text = gradient.name if formula == gradient.name else f"{gradient.name} = {formula}"
        return f"{text}   {shape_text(gradient.node.shape)}" if shape else text

    def frames(self, node: Node) -> Scope:
        """Give the frames around a primitive: the calls, then its step with number and formula.

        Where the passes lie in two bands, theirs comes first, and the formula stands in one.
        """
        is_forward = node.role in ("forward", "input")
        band = (BANDS[not is_forward],) if self.has_bands else ()
        if not node.step:
            return band
        result = self.results[node.step]
        if self.has_bands and not is_forward:
            return (*band, *result.scope, f"{node.step}   gradients")
        formula = f"{result.name} = {self.notation.formula(result)}"
        if width(formula) > INSIDE[1]:
            formula = f"{stub(result.name)} {self.listed(formula)}"
        return (*band, *result.scope, f"{node.step}   {formula}")

    def called(self, name: str | None) -> str:
        """Give a name; of one that is very long the beginning, and the number of the whole."""
        name = name or ""
        return name if stub(name) == name else f"{stub(name)} {self.listed(name)}"

    def listed(self, text: str) -> str:
        """Put a text that is too long below the picture; give the number that it has there."""
        rules = self.sheet.rules
        text = printable(text)
        if text not in rules:
            rules.append(text)
        return f"({rules.index(text) + 1})"

    def fitted(self, text: str, name: str | None, room: tuple[float, float]) -> list[str]:
        """Break a text into lines that fit, or give a name and put the text below the picture."""
        lines = broken(text, room[1], room[0])
        if _fits(lines, room):
            return lines
        rule = text if text.startswith(f"{name} =") else f"{name} = {text}"
        return [f"{stub(name)} {self.listed(rule)}"]

    def ident(self, prefix: str, name: str) -> str:
        """Give an id that nothing else on the picture has."""
        plain = ident = prefix + re.sub(r"[^\w.-]+", "_", in_letters(name)).strip("_")
        while ident in self.idents:
            self.idents[plain] += 1
            ident = f"{plain}-{self.idents[plain]}"
        self.idents[ident] = 1
        return ident

    # ------------------------------------------------------------------ boxes

    def put_value(self, node: Node, gradients: bool = False, scope: Scope = ()) -> None:
        """Put an input, or a value that is computed outside the picture."""
        look = INPUT if node.role == "input" else ELSEWHERE
        lines = [*self._title(node), *self._sum_of_paths(node, gradients), *self._numbers(node)]
        self._put(self.key(node), node, lines, look, scope)

    def put_step(self, node: Node, gradients: bool = False, scope: Scope = ()) -> None:
        """Put a whole step: its number and its formula."""
        formula = self.fitted(self.notation.formula(node), node.name, INSIDE)
        lines = [line_of(text) for text in formula]
        lines += [*self._sum_of_paths(node, gradients), *self._numbers(node)]
        self._put(self.key(node), node, lines, STEP, scope, str(node.step))

    def put_primitive(self, node: Node) -> None:
        """Put one primitive of either pass into the frame of its step."""
        if node.role == "input":
            return self.put_value(node, scope=self.frames(node) if self.has_bands else ())
        frames = self.frames(node)
        if node.role == "upstream":
            return self._put(self.key(node), node, self._title(node, RED), OUTPUT, frames)
        look = {"forward": STEP, "backward": BACKWARD, "accumulate": SUM}[node.role]
        color = INK if node.role == "forward" else RED
        lines = [line_of(self._symbol(node), color, bold=True)]
        if node.name is not None:
            lines.append(line_of(self.called(node.name), color))
        return self._put(self.key(node), node, [*lines, *self._numbers(node)], look, frames)

    def put_gradient(self, node: Node) -> None:
        """Put a gradient with its rule, under all its names."""
        names = self.names_of[node.index]
        rule = self.rule(next(g for g in names if g.name == node.name))
        others = [g.name for g in names if g.name != node.name]
        if node.role == "upstream":
            lines = [line_of(rule, RED, bold=True), *(line_of(f"= {name}", RED) for name in others)]
            return self._put(self.key(node), node, [*lines, *_shape(node)], OUTPUT)
        text = " = ".join([*others, rule])
        lines = [line_of(text, RED) for text in self.fitted(text, names[0].name, INSIDE)]
        lines += _shape(node)
        look = ADDED if node.role == "accumulate" else BACKWARD
        return self._put(self.key(node), node, lines, look, number=str(names[0].step))

    def put_read(self, node: Node, reader: Node) -> None:
        """Put a forward value beside the rule that reads it."""
        text = self.called(node.name) or self.notation.formula(node)
        lines = [line_of(part, GREY, size=12) for part in self.fitted(text, "value", INSIDE)]
        key = self.read_key(node, reader)
        self._put(key, node, lines, READ, self.frames(reader))
        self._road(key, self.key(reader), [self._read(node, reader)])

    def read_key(self, node: Node, reader: Node) -> str:
        """Give the id of the box that shows a value beside what reads it."""
        return f"{self.key(node)}_for_{reader.index}"

    def put_again(self, node: Node, reader: Node) -> str:
        """Put a value once more, beside the box that reads it; give the key of that."""
        key = self.read_key(node, reader)
        self._put(key, node, [line_of(self.called(node.name))], AGAIN)
        return key

    def put_group(self, key: str, title: str, node: Node, scope: Scope) -> None:
        """Put several steps or inputs as one box."""
        lines = [line_of(title, bold=True), line_of(self.called(node.name)), *_shape(node)]
        self._put(key, node, lines, GROUP, scope)

    def put_call(
        self,
        key: str,
        name: str,
        nodes: Sequence[Node],
        results: Sequence[Node],
        gradients: bool,
        scope: Scope,
    ) -> None:
        """Put a call as one box: its name, and what it computes if that is one value."""
        first, last = min(node.step for node in nodes), nodes[-1].step
        steps = len({node.step for node in nodes})
        formula = self._opened(nodes) if len(results) == 1 else ""
        lines = broken(formula, INSIDE[1], INSIDE[0])
        if not formula or not _fits(lines, INSIDE) or self.notation.language.ellipsis in formula:
            lines = [f"{steps} step{'s' * (steps > 1)}"]
        written = [line_of(self.called(name), bold=True), *map(line_of, lines)]
        if len(results) == 1:
            written += [*self._sum_of_paths(results[0], gradients), *self._numbers(results[0])]
        number = str(last) if first == last else f"{first}–{last}"
        self._put(key, nodes[-1], written, GROUP, scope, number)

    def _opened(self, nodes: Sequence[Node]) -> str:
        """Write the last of some nodes, with all that it is computed from among them."""
        opened: dict[int, Node] = {}
        for node in nodes:
            inputs = tuple(opened.get(x.index, x) for x in node.inputs)
            opened[node.index] = replace(node, inputs=inputs, name=None)
        notation = Notation(
            self.graph, literal=self.notation.literal
        )  # of its own, which knows these nodes by no name
        formula = notation.formula(opened[nodes[-1].index])
        self.signs |= notation.signs()
        return formula

    def put_output(self, node: Node, source: str, gradients: Sequence[Stroke] = ()) -> None:
        """Put the end of the main line, and the road to it."""
        key = self.key(node, "out")
        self._put(key, node, self._title(node), OUTPUT)
        self.road(source, key, node, gradients, step=node.step, main=True)

    # ------------------------------------------------------------------ roads

    def road(
        self,
        tail: str,
        head: str,
        value: Node,
        gradients: Sequence[Stroke] = (),
        *,
        step: int,
        named: bool = False,
        main: bool = False,
    ) -> None:
        """Draw a value flowing forward, and the gradients that come back along its road."""
        self._road(tail, head, [self._value(value, step, named), *gradients], main=main)

    def arriving(self, out: Node) -> Stroke:
        """Give the stroke of what arrives at an output."""
        g = self.upstream[out.index]
        line, ident = line_of(self.called(g.name), RED), self.ident("g-", g.name)
        return Stroke(ident, "gradient", (line,), printable(g.name), out.step, g)

    def gradient(self, g: Gradient, rule: bool = False, shape: bool = False) -> Stroke:
        """Give the stroke of a gradient, labelled with its name, or its rule where that fits."""
        written = self.rule(g)
        if shape:
            text = self.fitted(written, g.name, BESIDE)
        else:
            text = broken(written, BESIDE[1], BESIDE[0])
            text = text if rule and _fits(text, BESIDE) else [self.called(g.name)]
        lines = [line_of(part, RED) for part in text]
        if shape:
            lines += _shape(g.node, RED)
        ident = self.ident("g-", g.name or str(g.node.index))
        return Stroke(ident, "gradient", tuple(lines), printable(written), g.step, g)

    def ranged(self, strokes: list[Stroke]) -> list[Stroke]:
        """Where many gradients come back along one road, label the first with all of them."""
        if len(strokes) <= MOST_LINES:
            return strokes
        names = [line.text for stroke in strokes for line in stroke.lines[:1]]
        label = (line_of(f"{names[-1]} … {names[0]}", RED),)
        return [replace(s, lines=() if k else label) for k, s in enumerate(strokes)]

    def dependency(self, x: Node, node: Node) -> None:
        """Draw one operand of one node in a graph of both passes.

        Gradients flow against the layout, so their roads are laid out from head to tail.
        """
        tail, head = self.key(x), self.key(node)
        if node.role in ("forward", "input"):
            self._road(tail, head, [self._value(x, node.step)])
        elif x.role in ("forward", "input"):
            self._road(tail, head, [self._read(x, node)], free=True)
        else:
            name = x.name or str(x.index)
            stroke = Stroke(
                self.ident("g-", name), "gradient", (), printable(x.name or ""), node.step
            )
            self._road(head, tail, [stroke])

    def _value(self, value: Node, step: int, named: bool = False) -> Stroke:
        """Give the stroke of a value, with its name, and its shape where that is new."""
        lines, name = [], value.name or ""
        if named and name and value.role == "forward":
            new = value.shape and value.index in self.new_shapes
            shape = shape_text(value.shape) if new else ""
            if self.sheet.upright:
                lines = [line_of(f"{self.called(value.name)} {shape}".strip())]
            else:
                lines = [
                    line_of(self.called(value.name)),
                    *([line_of(shape, GREY)] if shape else []),
                ]
        ident = self.ident("v-", value.name or str(value.index))
        title = f"{name} {shape_text(value.shape)}" if value.shape else name
        return Stroke(ident, "value", tuple(lines), printable(title), step, value)

    def _read(self, value: Node, reader: Node) -> Stroke:
        ident = self.ident("r-", value.name or str(value.index))
        return Stroke(ident, "read", (), printable(value.name or ""), reader.step)

    def _road(
        self, tail: str, head: str, strokes: list[Stroke], main: bool = False, free: bool = False
    ) -> None:
        self.sheet.roads.append(Road(tail, head, tuple(strokes), main, free))

    # ------------------------------------------------------------------ labels

    def _title(self, node: Node, color: str = INK) -> list[Line]:
        """Write name and shape; that a scalar has none goes without saying."""
        grey = GREY if color == INK else color
        return [line_of(self.called(node.name), color, bold=True), *_shape(node, grey)]

    def _sum_of_paths(self, node: Node, gradients: bool) -> list[Line]:
        total = self.sums.get(node.index)
        if not gradients or total is None:
            return []
        lines = [f"{self.terms[total.node.index]} paths add up"]
        if total.name and (node.role == "input" or node.index in self.upstream):
            lines = self.fitted(self.rule(total), total.name, OF_SUMS) + lines
        return [line_of(line, RED) for line in lines]

    def _numbers(self, node: Node) -> list[Line]:
        if not self.values or node.index not in self.graph.values:
            return []
        self.has_numbers = True
        return [line_of(row, size=12) for row in value_rows(*self.graph.values[node.index])]

    def _symbol(self, node: Node) -> str:
        """Write a primitive with the constants that it takes: ``1/N ·``, ``+ eps``, ``^3``."""
        if node.op is None:
            return ""
        symbol = node.op.symbol
        constants = [
            self.notation.reference(x) if x.role == "constant" else None for x in node.inputs
        ]
        if len(constants) == 2 and constants.count(None) == 1:
            left, right = constants
            return f"{left} {symbol}" if left is not None else f"{symbol} {right}"
        return symbol + (number_text(node.params["n"]) if "n" in node.params else "")

    def _put(
        self,
        key: str,
        node: Node,
        lines: Sequence[Line],
        look: Look,
        scope: Scope = (),
        number: str = "",
    ) -> None:
        for k in range(1, len(scope) + 1):
            is_step = k == len(scope) and scope[k - 1][:1].isdigit()
            title = line_of(scope[k - 1] if is_step else self.called(scope[k - 1]), GREY, size=12)
            step = node.step if is_step else 0
            is_shown = k > 1 or not self.has_bands
            self.sheet.frames.setdefault(scope[:k], Frame(title, step, is_shown))
        ident = key.split("_", 1)[0]
        if look in (READ, AGAIN):
            ident += f"-for-{key.rsplit('_', 1)[1]}"
        self.sheet.blocks[key] = Block(key, ident, tuple(lines), look, number, scope, node.step)

    # ------------------------------------------------------------------ below the picture

    def legend(self, *entries: str) -> None:
        """Say below the picture what those of its marks mean that are seen."""
        batch = {"N": str(self.notation.batch)} if self.notation.batch else {}
        values = batch | named_constants(self.graph, self.notation)
        signs = self.signs | self.notation.signs()
        self.sheet.legend = legend(self.sheet, entries, values, signs, numbers=self.has_numbers)
        note = "; ".join(filter(None, (self.note, self._zeros())))
        self.sheet.note = line_of(note, GREY) if note else None

    def _zeros(self) -> str:
        """Name the gradients that are seen, and are 0 though rounding seldom makes them so."""
        names = [g.name for g in vanishing(self.graph) if g.name and mentions(self.sheet, g.name)]
        return f"identically 0: {', '.join(map(self.called, names))}" if names else ""


# --------------------------------------------------------------------------- text


def stub(name: str | None) -> str:
    """Give a name, or the beginning of one that is very long."""
    name = name or ""
    return name if len(name) <= LONGEST_NAME else f"{name[:STUB]}…"


def _fits(lines: list[str], room: tuple[float, float]) -> bool:
    return len(lines) <= MOST_LINES and all(width(line) <= room[1] for line in lines)


def _shape(node: Node, color: str = GREY) -> list[Line]:
    return [line_of(shape_text(node.shape), color)] if node.shape else []


def _terms(graph: Graph) -> dict[int, int]:
    """Count what adds up in each gradient; sums of sums are opened."""
    terms: dict[int, int] = {}
    for node in graph.nodes:
        is_sum = node.role == "accumulate"
        terms[node.index] = sum(terms[x.index] for x in node.inputs) if is_sum else 1
    return terms


def _new_shapes(graph: Graph) -> set[int]:
    """Give the results whose shape is not that of the step before."""
    found = set()
    before = graph.inputs[0].shape if graph.inputs else ()
    for step in graph.steps:
        if step.result.shape != before:
            found.add(step.result.index)
        before = step.result.shape
    return found
