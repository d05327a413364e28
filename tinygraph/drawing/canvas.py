"""What is written into a picture: the text of boxes, labels and the legend, and how roles look.

A `Canvas` is drawn on with a few pens; which boxes and roads there are is the business of the views
in `views`. Roles are told apart by colour and by shape or line, so that print and colour-blind
readers lose nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tinygraph.drawing.sheet import Block, Frame, Look, Road, Scope, Sheet, Stroke
from tinygraph.drawing.typography import BLUE, GREY, INK, LIGHT, RED, Line, printable
from tinygraph.graph.marks import in_letters
from tinygraph.graph.nodes import Gradient, Node
from tinygraph.graph.snapshot import Graph
from tinygraph.writing.formulas import Notation, number_text, shape_text
from tinygraph.writing.lines import named_constants

__all__ = ["Canvas"]

STEP = Look()
INPUT = Look("ellipse", "#dcebfa", BLUE)
OUTPUT = Look("none")
ELSEWHERE = Look(fill="white", dash="dotted")
GROUP = Look(radius=0, deep=True)
BACKWARD = Look(fill="#fdeaea", border=RED, radius=0)
ADDED = Look(fill="#fdeaea", border=RED, radius=0, rings=2)
SUM = Look("ellipse", "#fdeaea", RED, rings=2)
READ = Look(fill="white", border=GREY, radius=3, dash="dotted")

LONGEST_NAME, LONGEST_FORMULA = 40, 60
WIDEST_RULE, WIDEST_SUM = 92.0, 130.0  # on one line, beside a road and in a box, in points


class Canvas:
    """One picture being drawn.

    Parameters
    ----------
    graph : Graph
    direction : str
        Where values flow to: LR, TB, RL or BT.
    values : bool
        Whether boxes show value and gradient.
    """

    def __init__(self, graph: Graph, direction: str, values: bool) -> None:
        self.graph, self.values = graph, values
        self.notation = Notation(graph)
        self.results = {step.number: step.result for step in graph.steps}
        self.sums = {g.of.index: g for g in graph.all_gradients if g.kind == "sum"}
        self.terms = _terms(graph)
        self.upstream = {g.of.index: g.name for g in graph.gradients[::-1] if g.kind == "upstream"}
        self.names_of: dict[int, list[Gradient]] = {}
        for g in graph.gradients:
            self.names_of.setdefault(g.node.index, []).append(g)
        self.new_shapes = _new_shapes(graph)
        self.has_numbers = False
        self.note = ""
        self.sheet = Sheet(direction)
        self.idents: dict[str, int] = {}

    # ------------------------------------------------------------------ what things are called

    def key(self, node: Node, prefix: str = "n") -> str:
        """Give the id of a node's box: its index, and its name as far as ids can hold it."""
        name = re.sub(r"[^A-Za-z0-9]+", "_", in_letters(name_of(node))).strip("_")
        return f"{prefix}{node.index}_{name}" if name else f"{prefix}{node.index}"

    def rule(self, gradient: Gradient, shape: bool = False) -> str:
        """Write a gradient with its local rule: ``dxhat = dgammax · gamma``."""
        formula = self.notation.gradient(gradient)
        text = gradient.name if formula == gradient.name else f"{gradient.name} = {formula}"
        return f"{text}   {shape_text(gradient.node.shape)}" if shape else text

    def frames(self, node: Node) -> Scope:
        """Give the frames around a primitive: the calls, then its step with number and formula."""
        if not node.step:
            return ()
        result = self.results[node.step]
        title = f"{node.step}   {name_of(result)} = {self.notation.formula(result)}"
        return (*result.scope, title)

    def ident(self, prefix: str, name: str) -> str:
        """Give an id that nothing else on the picture has."""
        plain = ident = prefix + re.sub(r"[^\w.-]+", "_", in_letters(name)).strip("_")
        while ident in self.idents:
            self.idents[plain] += 1
            ident = f"{plain}-{self.idents[plain]}"
        self.idents[ident] = 1
        return ident

    # ------------------------------------------------------------------ boxes

    def put_value(self, node: Node, gradients: bool = False) -> None:
        """Put an input, or a value that is computed outside the picture."""
        lines = [*_title(node), *self._sum_of_paths(node, gradients), *self._numbers(node)]
        self._put(self.key(node), node, lines, INPUT if node.role == "input" else ELSEWHERE)

    def put_step(self, node: Node, gradients: bool = False, scope: Scope = ()) -> None:
        """Put a whole step: its number and its formula."""
        lines = [_line(_short(self.notation.formula(node), LONGEST_FORMULA))]
        lines += [*self._sum_of_paths(node, gradients), *self._numbers(node)]
        self._put(self.key(node), node, lines, STEP, scope, str(node.step))

    def put_primitive(self, node: Node) -> None:
        """Put one primitive of either pass into the frame of its step."""
        if node.role == "input":
            return self.put_value(node)
        frames = self.frames(node)
        if node.role == "upstream":
            return self._put(self.key(node), node, _title(node, RED), OUTPUT, frames)
        look = {"forward": STEP, "backward": BACKWARD, "accumulate": SUM}[node.role]
        color = INK if node.role == "forward" else RED
        lines = [_line(self._symbol(node), color, bold=True)]
        if node.name is not None:
            lines.append(_line(name_of(node), color))
        return self._put(self.key(node), node, [*lines, *self._numbers(node)], look, frames)

    def put_gradient(self, node: Node) -> None:
        """Put a gradient with its rule, under all its names."""
        names = self.names_of[node.index]
        rule = self.rule(next(g for g in names if g.name == node.name))
        others = [g.name for g in names if g.name != node.name]
        if node.role == "upstream":
            lines = [_line(rule, RED, bold=True), *(_line(f"= {name}", RED) for name in others)]
            return self._put(self.key(node), node, [*lines, *_shape(node)], OUTPUT)
        text = " = ".join([*others, _short(rule, LONGEST_FORMULA)])
        lines = [_line(text, RED), *_shape(node)]
        look = ADDED if node.role == "accumulate" else BACKWARD
        return self._put(self.key(node), node, lines, look, number=str(names[0].step))

    def put_read(self, node: Node, reader: Node) -> None:
        """Put a forward value beside the rule that reads it."""
        text = name_of(node) or _short(self.notation.formula(node), LONGEST_NAME)
        key = f"{self.key(node)}_for_{reader.index}"
        self._put(key, node, [_line(text, GREY, size=12)], READ, self.frames(reader))
        self._road(key, self.key(reader), [self._read(node, reader)])

    def put_group(self, key: str, title: str, node: Node, scope: Scope) -> None:
        """Put several steps or inputs as one box."""
        lines = [_line(title, bold=True), _line(name_of(node)), *_shape(node)]
        self._put(key, node, lines, GROUP, scope)

    def put_output(self, node: Node, source: str, gradients: Sequence[Stroke] = ()) -> None:
        """Put the end of the main line, and the road to it."""
        key = self.key(node, "out")
        self._put(key, node, _title(node), OUTPUT)
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
        name = _short(self.upstream[out.index], LONGEST_NAME)
        return Stroke(
            self.ident("g-", name), "gradient", (_line(name, RED),), printable(name), out.step
        )

    def gradient(self, g: Gradient, rule: bool = False, shape: bool = False) -> Stroke:
        """Give the stroke of a gradient, labelled with its name, or its rule where that fits."""
        written = self.rule(g)
        fits = len(written) <= LONGEST_FORMULA or shape
        text = _short(written if rule and fits else g.name, LONGEST_FORMULA)
        lines = [_line(part, RED) for part in _broken(text)]
        if shape:
            lines += _shape(g.node, RED)
        ident = self.ident("g-", g.name or str(g.node.index))
        return Stroke(ident, "gradient", tuple(lines), printable(written), g.step)

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
                self.ident("g-", name), "gradient", (), printable(name_of(x)), node.step
            )
            self._road(head, tail, [stroke])

    def _value(self, value: Node, step: int, named: bool = False) -> Stroke:
        """Give the stroke of a value, with its name, and its shape where that is new."""
        lines = []
        name = name_of(value)
        if named and name and value.role == "forward":
            new = value.shape and value.index in self.new_shapes
            shape = shape_text(value.shape) if new else ""
            if self.sheet.upright:
                lines = [_line(f"{name} {shape}".strip())]
            else:
                lines = [_line(name), *([_line(shape, GREY)] if shape else [])]
        ident = self.ident("v-", value.name or str(value.index))
        title = f"{name} {shape_text(value.shape)}" if value.shape else name
        return Stroke(ident, "value", tuple(lines), printable(title), step)

    def _read(self, value: Node, reader: Node) -> Stroke:
        ident = self.ident("r-", value.name or str(value.index))
        return Stroke(ident, "read", (), printable(name_of(value)), reader.step)

    def _road(
        self, tail: str, head: str, strokes: list[Stroke], main: bool = False, free: bool = False
    ) -> None:
        self.sheet.roads.append(Road(tail, head, tuple(strokes), main, free))

    # ------------------------------------------------------------------ labels

    def _sum_of_paths(self, node: Node, gradients: bool) -> list[Line]:
        total = self.sums.get(node.index)
        if not gradients or total is None:
            return []
        lines = [f"{self.terms[total.node.index]} paths add up"]
        if total.name and (node.role == "input" or node.index in self.upstream):
            lines = _broken(_short(self.rule(total), LONGEST_FORMULA), WIDEST_SUM) + lines
        return [_line(line, RED) for line in lines]

    def _numbers(self, node: Node) -> list[Line]:
        if not self.values or node.index not in self.graph.values:
            return []
        self.has_numbers = True
        return [_line(row, size=12) for row in _value_rows(*self.graph.values[node.index])]

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
            title = _line(_short(scope[k - 1], LONGEST_FORMULA), GREY, size=12)
            step = node.step if k == len(scope) and title.text[:1].isdigit() else 0
            self.sheet.frames.setdefault(scope[:k], Frame(title, step))
        ident = key.split("_", 1)[0] + (f"-for-{key.rsplit('_', 1)[1]}" if look is READ else "")
        self.sheet.blocks[key] = Block(key, ident, tuple(lines), look, number, scope, node.step)

    # ------------------------------------------------------------------ below the picture

    def legend(self, *entries: str) -> None:
        """Say below the picture what its marks mean."""
        marks = {
            "input": Line("○ input", BLUE),
            "step": Line("▭ step"),
            "primitive": Line("▭ primitive"),
            "value": Line("→ value"),
            "gradient": Line("⇠ gradient", RED),
            "sum": Line("◎ gradients add up", RED),
            "read": Line("→ value that a rule reads", LIGHT),
        }
        has_inputs = any(block.look is INPUT for block in self.sheet.blocks.values())
        legend = [marks[entry] for entry in entries if entry != "input" or has_inputs]
        words = ["numbers: value | gradient"] * self.has_numbers
        if self.notation.batch:
            words.append(f"N = {self.notation.batch}")
        constants = named_constants(self.graph, self.notation)
        words += [f"{name} = {numbers}" for name, numbers in constants.items()]
        words += [f"{sign}: {meaning}" for sign, meaning in self.notation.signs().items()]
        self.sheet.legend = legend + [_line(text, GREY) for text in words]
        self.sheet.note = _line(self.note, GREY) if self.note else None


# --------------------------------------------------------------------------- text


def name_of(node: Node) -> str:
    """Give a node's name, shortened."""
    return _short(node.name or "", LONGEST_NAME)


def _line(text: str, color: str = INK, *, bold: bool = False, size: int = 13) -> Line:
    return Line(printable(text), color, bold, size)


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _broken(rule: str, widest: float = WIDEST_RULE) -> list[str]:
    """Break a rule that is long at its equals sign, and a long sum between its terms."""
    left, equals, right = rule.partition(" = ")
    if not equals or Line(rule).width <= widest:
        return [rule]
    lines = [f"{left} ="]
    for k, term in enumerate(right.split(" + ")):
        longer = f"{lines[-1]} + {term}" if k else term
        if k and Line(longer).width <= widest:
            lines[-1] = longer
        else:
            lines.append(f"+ {term}" if k else term)
    return lines


def _title(node: Node, color: str = INK) -> list[Line]:
    """Write name and shape; that a scalar has none goes without saying."""
    grey = GREY if color == INK else color
    return [_line(name_of(node), color, bold=True), *_shape(node, grey)]


def _shape(node: Node, color: str = GREY) -> list[Line]:
    return [_line(shape_text(node.shape), color)] if node.shape else []


def _terms(graph: Graph) -> dict[int, int]:
    """Count what adds up in each gradient; sums of sums are opened."""
    terms: dict[int, int] = {}
    for node in graph.nodes:
        is_sum = node.role == "accumulate"
        terms[node.index] = sum(terms[x.index] for x in node.inputs) if is_sum else 1
    return terms


def _value_rows(value: Any, grad: Any) -> Iterable[str]:
    """Write small arrays entry by entry, larger ones as min, mean, max and norm."""
    if np.size(value) <= 6:
        left = [_number(v) for v in np.ravel(value)]
        right = ["–"] * len(left) if grad is None else [_number(g) for g in np.ravel(grad)]
        return [f"{v} | {g}" for v, g in zip(left, right, strict=True)]
    measures: dict[str, Any] = {"min": np.min, "mean": np.mean, "max": np.max, "norm": _norm}
    with np.errstate(all="ignore"):
        return [
            f"{what} {_number(f(value))} | {'–' if grad is None else _number(f(grad))}"
            for what, f in measures.items()
        ]


def _norm(a: Any) -> Any:
    sizes = np.abs(a).astype(np.float64)
    largest = np.max(sizes)  # taken out, so that no square overflows
    if not 0 < largest < np.inf:
        return largest
    return largest * np.sqrt(np.sum((sizes / largest) ** 2))


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)


def _new_shapes(graph: Graph) -> set[int]:
    """Give the results whose shape is not that of the step before."""
    found = set()
    before = graph.inputs[0].shape if graph.inputs else ()
    for step in graph.steps:
        if step.result.shape != before:
            found.add(step.result.index)
        before = step.result.shape
    return found
